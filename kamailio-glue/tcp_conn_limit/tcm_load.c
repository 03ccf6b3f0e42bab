/*!
 * \file
 * \brief tcp_conn_limit :: how full the server is
 *
 * The core counts its connections itself, and rejects those beyond its maximum. Reserve
 * and pressure compare with the same two numbers, so they include the connections that
 * the server opened itself. TCP main reads them for each connection that it accepts,
 * without a lock: it is the process that changes them.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/cfg/cfg.h"
#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/tcp_info.h"
#include "../../core/tcp_options.h"

#include "tcm_load.h"

void tcm_load_read(struct tcl_load *load)
{
	struct tcp_gen_info info;

	tcp_get_info(&info);
	load->in_use = (uint32_t)info.tcp_connections_no;
	/* cfg.set_now_int may have lowered it since the start. */
	load->max = (uint32_t)cfg_get(tcp, tcp_cfg, max_connections);
}

void tcm_load_check_tls(void)
{
	struct tcl_load_report report;

	if(tls_disable || tls_max_connections >= tcp_max_connections
			|| tcl_load_report(&report) != TCL_OK
			|| (report.reserve_connections == 0 && report.levels == 0))
		return;
	LM_WARN("reserve and pressure follow tcp_max_connections (%d), but the core"
			" also rejects TLS connections beyond tls_max_connections (%d), and"
			" keeps none of them for trusted rules: set tls_max_connections to"
			" %d\n",
			tcp_max_connections, tls_max_connections, tcp_max_connections);
}
