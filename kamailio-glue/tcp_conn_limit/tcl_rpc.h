/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: RPC commands
 */

#ifndef TCL_RPC_H
#define TCL_RPC_H

/* 0, or -1 with a line in the log */
int tcl_rpc_register(void);

#endif /* TCL_RPC_H */
