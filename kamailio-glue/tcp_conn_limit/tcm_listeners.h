/*!
 * \file
 * \brief tcp_conn_limit :: the listening sockets of the server
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_LISTENERS_H
#define TCM_LISTENERS_H

#include "../../core/parser/msg_parser.h"

/* Names the server's sockets to the library, for rules with listener=. To be called once,
 * when they are open and before TCP main is forked. Returns 0, or -1 after logging an
 * error. */
int tcm_listeners_register(void);

/* Logs each listener that active rules name but that the server does not have. */
void tcm_listeners_warn(void);

/* The descriptor of the socket on which the message arrived, or -1 if it is unknown. */
int tcm_listeners_of_message(const sip_msg_t *msg);

#endif /* TCM_LISTENERS_H */
