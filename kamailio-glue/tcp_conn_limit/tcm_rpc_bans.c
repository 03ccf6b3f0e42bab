/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands about bans
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/mem/mem.h"
#include "../../core/str.h"

#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

#define ARGUMENTS_MAX 3

/* As LIST_MAX of tcm_rpc_report.c: this many fit into an answer. */
#define BANS_MAX 400

static int add_ban(rpc_t *rpc, void *h, const struct tcl_ban *ban)
{
	const struct tcm_rpc_number numbers[] = {{"seconds_left", ban->seconds},
			{"rejected", ban->rejected}, {"dropped", ban->dropped}, {NULL, 0}};

	if(rpc->struct_add(h, "ss", "source", ban->text, "reason", ban->reason) < 0)
		return -1;
	if(ban->node[0] != '\0' && rpc->struct_add(h, "s", "node", ban->node) < 0)
		return -1;
	return tcm_rpc_add_numbers(rpc, h, numbers);
}

static const char *ban_doc[] = {
		"Bans a source or all sources of a prefix: each new connection is"
		" rejected until the ban ends. No open connection is closed. Setting it"
		" again replaces it, and shows how many seconds were left. Parameters: "
		"an address or a prefix; seconds, 1 to"
		" 2592000; a reason for the log (default: none).",
		0};

static void rpc_ban(rpc_t *rpc, void *c)
{
	char text[ARGUMENTS_MAX][TCM_RPC_ARGUMENT_SIZE], error[256] = "";
	const char *arguments[ARGUMENTS_MAX];
	struct tcm_rpc_number numbers[] = {{"was", 0}, {NULL, 0}};
	struct tcl_ban ban;
	uint32_t was = 0;
	int ret;
	void *h;

	if(tcm_rpc_arguments(rpc, c, text, arguments, ARGUMENTS_MAX,
			   "an address or a prefix, seconds and a reason in quotes")
			< 0)
		return;
	ret = tcl_ban(arguments[0], arguments[1], arguments[2], tcm_rpc_origin(),
			&ban, &was, error, sizeof(error));
	numbers[0].value = was;
	if(ret != TCL_OK)
		tcm_rpc_refused(rpc, c, ret, error);
	else if(rpc->add(c, "{", &h) < 0 || add_ban(rpc, h, &ban) < 0
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *unban_doc[] = {
		"Ends bans at once, forgives the offences of their sources, and shows "
		"how"
		" many bans ended. Parameter: an address, a prefix, or all.",
		0};

static void rpc_unban(rpc_t *rpc, void *c)
{
	char text[1][TCM_RPC_ARGUMENT_SIZE], error[256] = "";
	const char *arguments[1];
	uint32_t lifted = 0;
	int ret;
	void *h;

	if(tcm_rpc_arguments(
			   rpc, c, text, arguments, 1, "one address or prefix, or all")
			< 0)
		return;
	ret = tcl_unban(
			arguments[0], tcm_rpc_origin(), &lifted, error, sizeof(error));
	if(ret != TCL_OK)
		tcm_rpc_refused(rpc, c, ret, error);
	else if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "d", "lifted", (int)lifted) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *bans_doc[] = {
		"Lists the bans, those with the most seconds left first, and how many"
		" there are. Parameter: how many to list (default and at most 400).",
		0};

static int add_bans(rpc_t *rpc, void *c, const struct tcl_ban *bans, int found,
		uint64_t total)
{
	const struct tcm_rpc_number numbers[] = {
			{"total", total}, {"shown", (uint64_t)found}, {NULL, 0}};
	int i;
	void *h, *array, *item;

	if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_list(rpc, h, numbers, &array) < 0)
		return -1;
	for(i = 0; i < found; i++) {
		if(rpc->array_add(array, "{", &item) < 0
				|| add_ban(rpc, item, &bans[i]) < 0)
			return -1;
	}
	return 0;
}

static void answer_bans(rpc_t *rpc, void *c, int most)
{
	struct tcl_ban *bans = pkg_malloc(most * sizeof(*bans));
	uint64_t total = 0;
	int found;

	found = (bans != NULL) ? tcl_bans(bans, most, &total) : TCL_EMEM;
	if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	else if(add_bans(rpc, c, bans, found, total) < 0)
		tcm_rpc_no_room(rpc, c);
	if(bans != NULL)
		pkg_free(bans);
}

static void rpc_bans(rpc_t *rpc, void *c)
{
	str text;
	int most = BANS_MAX;

	if(tcm_rpc_text(rpc, c, &text) > 0) {
		if(tcm_text_number(&text, &most) < 0 || most < 1 || most > BANS_MAX) {
			rpc->fault(c, 400,
					"invalid number \"%.*s\": expected a number from 1 to %d",
					TCM_RPC_SHOWN(text), BANS_MAX);
			return;
		}
		if(tcm_rpc_end(rpc, c, "at most one number") < 0)
			return;
	}
	answer_bans(rpc, c, most);
}

/* clang-format off */
rpc_export_t tcm_rpc_bans[] = {
	{"tcp_conn_limit.ban", rpc_ban, ban_doc, 0},
	{"tcp_conn_limit.unban", rpc_unban, unban_doc, 0},
	{"tcp_conn_limit.bans", rpc_bans, bans_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
