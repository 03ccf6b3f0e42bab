/*!
 * \file
 * \brief tcp_conn_limit :: the address that a connection is counted for
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "tcm_address.h"
#include "tcm_attach.h"
#include "tcm_conn.h"
#include "tcm_core.h"
#include "tcm_params.h"

#include <tcp_conn_limit.h>

const struct ip_addr *tcm_address_of_connection(
		const struct tcp_connection *con)
{
	if(tcm_attach_by_hooks() || con->cinfo.src_ip.af == 0)
		return &con->rcv.src_ip;
	return &con->cinfo.src_ip;
}

void tcm_address_of_peer(const sip_msg_t *msg, struct ip_addr *address)
{
	struct tcp_connection *con;

	*address = msg->rcv.src_ip;
	/* Else the core has no other address than that of the message. */
	if(tcm_attach_by_hooks() || !tcm_core_speaks_proxy()
			|| msg->rcv.proto == PROTO_UDP || msg->rcv.proto == PROTO_SCTP)
		return;
	con = tcpconn_get(msg->rcv.proto_reserved1, NULL, 0, NULL, 0);
	if(con == NULL)
		return;
	*address = *tcm_address_of_connection(con);
	(void)tcpconn_put(con);
}

void tcm_address_of_message(const sip_msg_t *msg, struct ip_addr *address)
{
	uint8_t client[16];
	uint32_t length = 0;

	if(tcm_params.moves)
		length = tcl_moved_to(tcm_conn_token(msg), client);
	if(length == 0) {
		tcm_address_of_peer(msg, address);
		return;
	}
	memset(address, 0, sizeof(*address));
	address->af = (length == 4) ? AF_INET : AF_INET6;
	address->len = length;
	memcpy(address->u.addr, client, length);
}
