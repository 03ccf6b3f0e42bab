/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands that set and remove a rule
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>

#include "../../core/str.h"

#include "tcm_rpc.h"

#include <tcp_conn_limit.h>

/* Has room for any valid argument. */
#define ARGUMENT_SIZE 128

/* The most arguments of a command. */
#define ARGUMENTS_MAX 3

/* Reads at most `most` arguments as text; those that are missing become NULL. `expected`
 * says what the command expects. Returns 0, or -1 after answering with a fault. */
static int read_arguments(rpc_t *rpc, void *c, char text[][ARGUMENT_SIZE],
		const char *arguments[], int most, const char *expected)
{
	int i;
	str one;

	for(i = 0; i < most; i++)
		arguments[i] = NULL;
	for(i = 0; i < most && tcm_rpc_text(rpc, c, &one) > 0; i++) {
		if(one.len >= ARGUMENT_SIZE) {
			rpc->fault(c, 400,
					"argument %d is too long: \"%.*s...\": expected at most %d "
					"bytes",
					i + 1, TCM_RPC_SHOWN(one), ARGUMENT_SIZE - 1);
			return -1;
		}
		snprintf(text[i], ARGUMENT_SIZE, "%.*s", one.len, one.s);
		arguments[i] = text[i];
	}
	return (i < most) ? 0 : tcm_rpc_end(rpc, c, expected);
}

/* Answers with a fault: a change of the rules failed. */
static void failed(rpc_t *rpc, void *c, int ret, const char *error)
{
	if(error[0] != '\0')
		rpc->fault(c, (ret == TCL_EARG) ? 400 : 500, "%s", error);
	else
		tcm_rpc_failed(rpc, c, ret);
}

static const char *set_rule_doc[] = {
		"Sets a rule until the server stops, and shows what the prefix had"
		" before. It takes precedence over a rule for the same prefix in the"
		" rules file or a modparam, and a reload keeps it. Parameters: a "
		"prefix;"
		" a limit, at least 1, or none; after how many seconds the rule"
		" ends (default: it does not end).",
		0};

static void rpc_set_rule(rpc_t *rpc, void *c)
{
	char text[ARGUMENTS_MAX][ARGUMENT_SIZE], error[256] = "";
	const char *arguments[ARGUMENTS_MAX];
	struct tcl_rule_change change;
	int ret;
	void *h;

	if(read_arguments(rpc, c, text, arguments, ARGUMENTS_MAX,
			   "a prefix, a limit and seconds")
			< 0)
		return;
	ret = tcl_rule_set(arguments[0], arguments[1], arguments[2],
			tcm_rpc_origin(), &change, error, sizeof(error));
	if(ret != TCL_OK) {
		failed(rpc, c, ret, error);
		return;
	}
	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "s", "prefix", change.prefix) < 0
			|| tcm_rpc_add_limit(rpc, h, "limit", change.limit) < 0
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
		" applies again. Parameter: the prefix.",
		0};

static void rpc_del_rule(rpc_t *rpc, void *c)
{
	char text[1][ARGUMENT_SIZE], error[256] = "";
	const char *arguments[1];
	struct tcl_rule_change change;
	int ret;
	void *h;

	if(read_arguments(rpc, c, text, arguments, 1, "one prefix") < 0)
		return;
	ret = tcl_rule_remove(
			arguments[0], tcm_rpc_origin(), &change, error, sizeof(error));
	if(ret != TCL_OK) {
		failed(rpc, c, ret, error);
		return;
	}
	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(
					   h, "ss", "prefix", change.prefix, "was", change.was)
					   < 0
			|| rpc->struct_add(h, "s", "rule", change.rule) < 0
			|| tcm_rpc_add_limit(rpc, h, "limit", change.limit) < 0)
		tcm_rpc_no_room(rpc, c);
}

/* clang-format off */
rpc_export_t tcm_rpc_rules[] = {
	{"tcp_conn_limit.set_rule", rpc_set_rule, set_rule_doc, 0},
	{"tcp_conn_limit.del_rule", rpc_del_rule, del_rule_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
