/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: between the hooks of the core and the limiter
 */

#ifndef TCL_HOOKS_H
#define TCL_HOOKS_H

/* where the core comes without hooks, say so in words that help */
#if defined(__has_include)
#if !__has_include("../../core/tcp_conn_hooks.h")
#error "this Kamailio tree has no connection hooks: run make patch KAMAILIO_SRC=DIR in the folder of tcp_conn_limit, then build the server and the module anew"
#endif
#endif

#include <stdint.h>

/* Says in the log why not, and returns -1, if the core cannot serve us. */
int tcl_hooks_usable(void);

/* From here on the core asks the limiter. 0, or -1 with a line in the log. */
int tcl_hooks_attach(void);

/* From here on the core does not ask in this process any more. */
void tcl_hooks_detach(void);

#endif /* TCL_HOOKS_H */
