/*!
 * \file
 * \brief tcp_conn_limit :: a function of scripts that counts a connection for a client
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/mod_fix.h"

#include "tcm_address.h"
#include "tcm_conn.h"
#include "tcm_script.h"
#include "tcm_script_moves.h"

#include <tcp_conn_limit.h>

/* The client is over one of its limits, or banned. */
#define OVER -2

int tcm_script_ki_count_for(sip_msg_t *msg, str *client)
{
	char error[256] = "";
	struct ip_addr peer;

	tcm_address_of_peer(msg, &peer);
	switch(tcl_count_for(tcm_conn_token(msg), peer.u.addr, peer.len,
			(const uint8_t *)client->s, client->len, error, sizeof(error))) {
		case TCL_OK:
			return TCM_SCRIPT_YES;
		case TCL_EOVER:
			return OVER;
		case TCL_EARG:
		case TCL_EPROXY:
		case TCL_EOFF:
			tcm_script_report(error, TCM_SCRIPT_NO);
			return TCM_SCRIPT_NO;
		default: /* closed, not counted, moved by another process, or no slot */
			return TCM_SCRIPT_NO;
	}
}

int tcm_script_count_for(sip_msg_t *msg, char *client, char *unused)
{
	str text;

	if(fixup_get_svalue(msg, (gparam_t *)client, &text) < 0) {
		LM_ERR("tcp_conn_limit_count_for: the address has no value\n");
		return TCM_SCRIPT_NO;
	}
	return tcm_script_ki_count_for(msg, &text);
}
