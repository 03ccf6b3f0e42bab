/*!
 * \file
 * \brief tcp_conn_limit :: the address that a connection is counted for
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_ADDRESS_H
#define TCM_ADDRESS_H

#include "../../core/ip_addr.h"
#include "../../core/parser/msg_parser.h"
#include "../../core/tcp_conn.h"

/* The address that the connection is counted for. With hooks it is the client's, else the
 * peer's. The two differ if a PROXY protocol header named the client. */
const struct ip_addr *tcm_address_of_connection(
		const struct tcp_connection *con);

/* The address that opened the connection of this message, as the module counts it; for a
 * message without a connection its source address. */
void tcm_address_of_peer(const sip_msg_t *msg, struct ip_addr *address);

/* The address that the connection of this message is counted for: that of the client for
 * which the script counts it, else that of the peer. */
void tcm_address_of_message(const sip_msg_t *msg, struct ip_addr *address);

#endif /* TCM_ADDRESS_H */
