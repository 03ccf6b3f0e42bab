/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands that set and remove a rule
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "tcm_rpc.h"

#include <tcp_conn_limit.h>

/* The most arguments of a command. */
#define ARGUMENTS_MAX 3

static const char *set_rule_doc[] = {
		"Sets a rule until the server stops, and shows what the prefix had"
		" before. It takes precedence over a rule for the same prefix in the"
		" rules file or a modparam, and a reload keeps it. Parameters: a "
		"prefix;"
		" a limit, at least 1, or none, and perhaps words as in a rule, such as"
		" \"100 rate=10/s exempt\", or \"100 listener=tls:192.0.2.1:5061\" for"
		" the connections of one listener; after how many seconds the rule ends"
		" (default: it does not end).",
		0};

static void rpc_set_rule(rpc_t *rpc, void *c)
{
	char text[ARGUMENTS_MAX][TCM_RPC_ARGUMENT_SIZE], error[400] = "";
	const char *arguments[ARGUMENTS_MAX];
	struct tcl_rule_change change;
	int ret;
	void *h;

	if(tcm_rpc_arguments(rpc, c, text, arguments, ARGUMENTS_MAX,
			   "a prefix, a limit and seconds")
			< 0)
		return;
	ret = tcl_rule_set(arguments[0], arguments[1], arguments[2],
			tcm_rpc_origin(), &change, error, sizeof(error));
	if(ret != TCL_OK) {
		tcm_rpc_refused(rpc, c, ret, error);
		return;
	}
	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "s", "prefix", change.prefix) < 0
			|| tcm_rpc_add_limit(rpc, h, "limit", change.limit) < 0
			|| rpc->struct_add(h, "s", "terms", change.terms) < 0
			|| (change.seconds != TCL_NEVER
					&& rpc->struct_add(
							   h, "d", "seconds_left", (int)change.seconds)
							   < 0)
			|| rpc->struct_add(h, "s", "was", change.was) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *del_rule_doc[] = {
		"Removes a rule that set_rule has set, and shows what its sources have"
		" now. A rule for the same prefix in the rules file or a modparam"
		" applies again. Parameters: the prefix; for a rule of a listener that"
		" word, such as listener=tls:192.0.2.1:5061.",
		0};

static void rpc_del_rule(rpc_t *rpc, void *c)
{
	char text[2][TCM_RPC_ARGUMENT_SIZE], error[256] = "";
	const char *arguments[2];
	struct tcl_rule_change change;
	int ret;
	void *h;

	if(tcm_rpc_arguments(rpc, c, text, arguments, 2,
			   "a prefix, and the listener of the rule if it has one")
			< 0)
		return;
	ret = tcl_rule_remove(arguments[0], arguments[1], tcm_rpc_origin(), &change,
			error, sizeof(error));
	if(ret != TCL_OK) {
		tcm_rpc_refused(rpc, c, ret, error);
		return;
	}
	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(
					   h, "ss", "prefix", change.prefix, "was", change.was)
					   < 0
			|| rpc->struct_add(h, "s", "rule", change.rule) < 0
			|| tcm_rpc_add_limit(rpc, h, "limit", change.limit) < 0
			|| rpc->struct_add(h, "s", "terms", change.terms) < 0)
		tcm_rpc_no_room(rpc, c);
}

/* clang-format off */
rpc_export_t tcm_rpc_rules[] = {
	{"tcp_conn_limit.set_rule", rpc_set_rule, set_rule_doc, 0},
	{"tcp_conn_limit.del_rule", rpc_del_rule, del_rule_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
