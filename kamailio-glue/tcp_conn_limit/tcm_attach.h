/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the ways to learn of connections, and their choice
 *
 * hooks: a patched core tells. interpose: a core as released does not, so its
 * calls of accept() and close() are taken.
 */

#ifndef TCM_ATTACH_H
#define TCM_ATTACH_H

#include "../../core/sr_module.h"

/* A way. Those that return int: 0, or -1 with a line in the log. */
struct tcm_way
{
	const char *name;
	/* Can it be gone in this server? Changes nothing. */
	int (*usable)(void);
	/* From here on the limiter is asked; before any process is forked. */
	int (*attach)(void);
	/* This process is the one that accepts. */
	int (*in_tcp_main)(void);
	/* From here on the limiter is not asked in this process any more. */
	void (*detach)(void);
};

/* Module parameter attach: the way that is wanted. */
int tcm_attach_param(modparam_t type, void *value);

/* Chooses the way; after tcl_init(). 0, or -1 with a line in the log. */
int tcm_attach_choose(void);

/* The way's name, from the choice on. */
const char *tcm_attach_name(void);

/* Does the core keep a token with each connection? */
int tcm_attach_by_hooks(void);

/* As for struct tcm_way. After a start that failed, too, tcm_attach_end() takes
 * back what was done, and no more. */
int tcm_attach_begin(void);
int tcm_attach_in_tcp_main(void);
void tcm_attach_end(void);

#endif /* TCM_ATTACH_H */
