/*!
 * \file
 * \brief tcp_conn_limit :: the core's connections, found and closed by other processes
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_CONN_H
#define TCM_CONN_H

#include <stdint.h>

#include "../../core/parser/msg_parser.h"

/* The library's token of the connection on which the message arrived; 0 if the message has
 * no accepted connection, or that is closed or not counted. */
uint64_t tcm_conn_token(const sip_msg_t *msg);

/* Asks TCP main to close the connections that were not trusted in time, at most some
 * hundreds. Call it in a process that has a socket to TCP main. */
void tcm_conn_close_expired(void);

#endif /* TCM_CONN_H */
