/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: RPC commands: what all of them share
 */

#include "../../core/dprint.h"
#include "../../core/rpc_lookup.h"

#include "tcl_rpc.h"

#include <tcp_conn_limit.h>

int tcl_rpc_add_struct(rpc_t *rpc, void *c, void **added)
{
	if(rpc->add(c, "{", added) == 0)
		return 0;
	tcl_rpc_no_room(rpc, c);
	return -1;
}

void tcl_rpc_no_room(rpc_t *rpc, void *c)
{
	rpc->fault(c, 500, "no memory for the answer");
}

void tcl_rpc_failed(rpc_t *rpc, void *c, int error)
{
	if(error == TCL_EMEM)
		rpc->fault(c, 500, "no memory");
	else
		rpc->fault(c, 500, "the table cannot be used (error %d)", error);
}

int tcl_rpc_register(void)
{
	if(rpc_register_array(tcl_rpc_report) != 0
			|| rpc_register_array(tcl_rpc_control) != 0
			|| rpc_register_array(tcl_rpc_audit) != 0) {
		LM_ERR("cannot register the RPC commands\n");
		return -1;
	}
	return 0;
}
