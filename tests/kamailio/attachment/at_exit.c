/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preloaded into a server: when a process has cleaned up, it prints the core's own
 * limit in that process. Whether a process ends with exit() or with _exit() depends on
 * the version of the server. */

#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

extern int ksr_tcp_accept_iplimit;
#pragma weak ksr_tcp_accept_iplimit

__attribute__((destructor)) static void tell(void)
{
	if(&ksr_tcp_accept_iplimit != NULL)
		dprintf(STDERR_FILENO, "at exit of %d: limit of the core %d\n",
				(int)getpid(), ksr_tcp_accept_iplimit);
}

/* Replaces the function of the C library. */
void _exit(int status)
{
	tell();
	for(;;)
		syscall(SYS_exit_group, status);
}
