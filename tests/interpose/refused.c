/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Programs that cannot be interposed on, depending on the flags of the compiler. The
 * error must contain argv[1]. */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host.h"

#ifdef CLOSE_IN_DATA
/* A relocation of another type: calls through it would not reach the replacement. */
struct functions
{
	int (*close)(int);
};
const struct functions *volatile used;
static const struct functions here = {close};
#endif

#ifdef CLOSE_OF_ITS_OWN
int close(int fd)
{
	return fd;
}
#endif

static const struct tcl_host functions = {
		.log = host_log, .now = host_now, .rejected = host_ignores_event};

int main(int argc, char **argv)
{
	struct tcl_config config = {.max_connections = 1000,
			.limit = 3,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64};
	char error[300] = "";
	int found, attached;

	if(argc != 2
			|| tcl_init(&config, &functions, error, sizeof(error)) != TCL_OK)
		return 2;
#ifdef CLOSE_IN_DATA
	used = &here;
#endif
#ifndef NO_ACCEPT
	if(accept(-1, NULL, NULL) != -1)
		return 3;
#endif
#ifndef NO_CLOSE
	close(-1);
#endif
	found = tcl_interpose_find(error, sizeof(error));
	fprintf(stderr, "%d %s\n", found, error);
	if(found != TCL_EINTERPOSE || strstr(error, argv[1]) == NULL)
		return 4;
	error[0] = '\0';
	attached = tcl_interpose_attach(error, sizeof(error));
	if(attached != TCL_EINTERPOSE || strstr(error, argv[1]) == NULL)
		return 5;
	if(tcl_interpose_activate() != TCL_EINTERPOSE)
		return 6;
	return tcl_interpose_detach() == TCL_OK ? 0 : 7;
}
