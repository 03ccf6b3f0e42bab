/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands that change something
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/dprint.h"
#include "../../core/str.h"

#include "tcm_cfg.h"
#include "tcm_params.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

static const char *reload_doc[] = {
		"Reads the rules file again. If any rule is invalid, nothing changes.",
		0};

static void rpc_reload(rpc_t *rpc, void *c)
{
	/* Has room for the path of the rules file. */
	char error[1024] = "";
	int ret;
	void *h;

	ret = tcm_params_load_rules(error, sizeof(error));
	if(ret != TCL_OK && error[0] != '\0') {
		/* Also logged, because some transports truncate a fault, and because the
		 * reader of the log may not be the sender of the request. */
		LM_ERR("reload: %s\n", error);
		rpc->fault(c, 500, "%s", error);
	} else if(ret != TCL_OK) {
		tcm_rpc_failed(rpc, c, ret);
	} else if(rpc->add(c, "{", &h) < 0
			  || rpc->struct_add(h, "d", "rules", (int)tcl_rules_count()) < 0) {
		tcm_rpc_no_room(rpc, c);
	}
}

static const char *set_limit_doc[] = {
		"Sets the limit of sources without a rule until the server stops."
		" Parameter: the limit; 0 or less: no limit.",
		0};

static void rpc_set_limit(rpc_t *rpc, void *c)
{
	str text;
	int limit;

	/* Not scanned as a number: some transports convert other text to 0, which
	 * would remove the limit. */
	if(tcm_rpc_text(rpc, c, &text) < 1 || tcm_text_number(&text, &limit) < 0) {
		rpc->fault(c, 400,
				"invalid limit \"%.*s\": expected a number, 0 for no limit",
				text.len, text.s);
		return;
	}
	if(tcm_cfg_set_limit(limit) < 0)
		rpc->fault(c, 500, "cannot set the limit; see the log");
}

static const char *set_mode_doc[] = {
		"Sets the mode until the server stops. Parameter: enforce, monitor or"
		" off.",
		0};

static void rpc_set_mode(rpc_t *rpc, void *c)
{
	str text;
	int mode;

	if(rpc->scan(c, "S", &text) < 1) {
		rpc->fault(c, 400, "missing mode: expected " TCM_TEXT_MODES);
		return;
	}
	mode = tcm_text_mode(&text);
	if(mode < 0) {
		rpc->fault(c, 400, "invalid mode \"%.*s\": expected " TCM_TEXT_MODES,
				text.len, text.s);
		return;
	}
	if(tcm_cfg_set_mode(mode) < 0)
		rpc->fault(c, 500, "cannot set the mode; see the log");
}

static const char *reset_stats_doc[] = {
		"Resets event counters to 0 and the peak of each source to its current"
		" number of connections.",
		0};

static void rpc_reset_stats(rpc_t *rpc, void *c)
{
	int ret = tcl_reset_stats();

	if(ret != TCL_OK)
		tcm_rpc_failed(rpc, c, ret);
}

/* clang-format off */
rpc_export_t tcm_rpc_control[] = {
	{"tcp_conn_limit.reload", rpc_reload, reload_doc, RPC_EXEC_DELTA},
	{"tcp_conn_limit.set_limit", rpc_set_limit, set_limit_doc, 0},
	{"tcp_conn_limit.set_mode", rpc_set_mode, set_mode_doc, 0},
	{"tcp_conn_limit.reset_stats", rpc_reset_stats, reset_stats_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
