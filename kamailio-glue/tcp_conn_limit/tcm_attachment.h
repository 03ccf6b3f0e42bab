/*!
 * \file
 * \brief tcp_conn_limit :: the interface of an attachment
 *
 * An attachment is the mechanism through which the server asks the limiter about its
 * connections: hooks or interpose.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_ATTACHMENT_H
#define TCM_ATTACHMENT_H

/* Each function that returns int returns 0, or -1 after logging an error. */
struct tcm_attachment
{
	const char *name;
	/* Is this attachment available in this server? Changes nothing. */
	int (*usable)(void);
	/* From here on the server asks the limiter. Called before any process is
	 * forked. */
	int (*attach)(void);
	/* The server listens. Called before the process that accepts is forked. */
	int (*listening)(void);
	/* This process is the one that accepts connections. */
	int (*in_tcp_main)(void);
	/* From here on this process no longer asks the limiter. */
	void (*detach)(void);
};

#endif /* TCM_ATTACHMENT_H */
