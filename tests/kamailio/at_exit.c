/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preloaded into a server: tells, when a process of it has ended all it had to end,
 * what the core's own limit is there. Versions differ in how a process ends, by
 * exit() or by _exit(). */

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

/* instead of that of the C library */
void _exit(int status)
{
	tell();
	for(;;)
		syscall(SYS_exit_group, status);
}
