/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands about the cluster
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"

#include "tcm_cluster.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

#define TOP_DEFAULT 10
#define TOP_MAX 400
#define REASON_SIZE 32

#define OFF                                                                  \
	"this server is not a node of a cluster: set the modparam cluster, and " \
	"restart the server"

/* Answers with a fault. */
static void failed(rpc_t *rpc, void *c, int error)
{
	if(error == TCL_EOFF)
		rpc->fault(c, 500, OFF);
	else
		tcm_rpc_failed(rpc, c, error);
}

/* Adds the numbers of rejected messages that are not 0, by reason. */
static int add_rejected(rpc_t *rpc, void *h, const uint64_t *rejected)
{
	char reason[REASON_SIZE];
	void *by_reason = NULL;
	uint32_t i;

	for(i = 0; i < TCL_CLUSTER_REASONS; i++) {
		const struct tcm_rpc_number number[] = {
				{reason, rejected[i]}, {NULL, 0}};

		if(rejected[i] == 0
				|| tcl_cluster_reason(i, reason, sizeof(reason)) != TCL_OK)
			continue;
		if((by_reason == NULL
				   && rpc->struct_add(h, "{", "rejected", &by_reason) < 0)
				|| tcm_rpc_add_numbers(rpc, by_reason, number) < 0)
			return -1;
	}
	return 0;
}

/* Adds a time in milliseconds, unless it is negative. */
static int add_ms(rpc_t *rpc, void *h, const char *name, int64_t ms)
{
	const struct tcm_rpc_number number[] = {{name, (uint64_t)ms}, {NULL, 0}};

	return (ms < 0) ? 0 : tcm_rpc_add_numbers(rpc, h, number);
}

static int add_node(rpc_t *rpc, void *h, struct tcl_node *n)
{
	const struct tcm_rpc_number numbers[] = {{"sources", n->sources},
			{"connections", n->connections}, {"received", n->received},
			{"lost", n->lost}, {"capped", n->capped}, {"overflow", n->overflow},
			{"bans", n->bans}, {NULL, 0}};

	if(rpc->struct_add(h, "sss", "node", n->name, "state", n->state, "counts",
			   n->counts ? "yes" : "no")
					< 0
			|| add_ms(rpc, h, "state_ms", (int64_t)n->state_ms) < 0
			|| add_ms(rpc, h, "age_ms", n->age_ms) < 0
			|| add_ms(rpc, h, "round_trip_ms", n->round_trip_ms) < 0
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	return add_rejected(rpc, h, n->rejected);
}

static int add_cluster(rpc_t *rpc, void *h, struct tcl_cluster_report *r)
{
	const struct tcm_rpc_number numbers[] = {{"alive", r->alive},
			{"interval_ms", r->interval_ms}, {"sent", r->sent},
			{"sent_bytes", r->sent_bytes}, {"sent_records", r->sent_records},
			{"received", r->received},
			{"received_records", r->received_records}, {"lost", r->lost},
			{"not_passed_on", r->not_passed_on},
			{"reported_sources", r->reported_sources},
			{"other_sources", r->other_sources}, {"no_room", r->no_room},
			{"bans_sent", r->bans_sent}, {"bans_received", r->bans_received},
			{"bans_refused", r->bans_refused}, {NULL, 0}};

	if(rpc->struct_add(h, "ss", "node", r->node, "state",
			   r->learning ? "learning" : "ready")
					< 0
			|| tcm_rpc_add_limit(rpc, h, "cluster_limit", r->limit) < 0
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	return add_rejected(rpc, h, r->rejected);
}

typedef int (*add_one)(rpc_t *rpc, void *h, struct tcl_node *node);

/* Adds an array of the other nodes. */
static int add_nodes(
		rpc_t *rpc, void *h, struct tcl_node *nodes, int count, add_one add)
{
	void *array, *item;
	int i;

	if(rpc->struct_add(h, "[", "nodes", &array) < 0)
		return -1;
	for(i = 0; i < count; i++) {
		if(rpc->array_add(array, "{", &item) < 0
				|| add(rpc, item, &nodes[i]) < 0)
			return -1;
	}
	return 0;
}

/* Answers with this node and the others. `add` adds each of the others. */
static void answer_nodes(rpc_t *rpc, void *c, add_one add, int with_own)
{
	struct tcl_node *nodes = pkg_malloc(TCL_MAX_NODES * sizeof(*nodes));
	struct tcl_cluster_report report;
	int ret, count;
	void *h;

	ret = (nodes != NULL) ? tcl_cluster(&report) : TCL_EMEM;
	count = (ret == TCL_OK) ? tcl_cluster_nodes(nodes, TCL_MAX_NODES) : ret;
	if(count < 0)
		failed(rpc, c, count);
	else if(rpc->add(c, "{", &h) < 0
			|| (with_own && add_cluster(rpc, h, &report) < 0)
			|| add_nodes(rpc, h, nodes, count, add) < 0)
		tcm_rpc_no_room(rpc, c);
	if(nodes != NULL)
		pkg_free(nodes);
}

static const char *cluster_doc[] = {
		"Shows this node of the cluster and all others: their state, how long"
		" ago they were heard, what they have, and lost and rejected messages.",
		0};

static void rpc_cluster(rpc_t *rpc, void *c)
{
	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) == 0)
		answer_nodes(rpc, c, add_node, 1);
}

static int add_audit(rpc_t *rpc, void *h, struct tcl_node *n)
{
	const struct tcm_rpc_number numbers[] = {{"reported", n->reported},
			{"arrived", n->arrived}, {"differing_ranges", n->differing},
			{"lasting_ranges", n->lasting}, {NULL, 0}};
	const char *result = "agrees";

	if(n->audit_ms < 0)
		result = "not compared yet";
	else if(n->lasting > 0)
		result = "differs";
	else if(n->differing > 0)
		result = "differs, which can be a message on its way";
	if(rpc->struct_add(h, "sss", "node", n->name, "state", n->state, "result",
			   (char *)result)
			< 0)
		return -1;
	if(n->audit_ms < 0)
		return 0;
	if(add_ms(rpc, h, "age_ms", n->audit_ms) < 0)
		return -1;
	return tcm_rpc_add_numbers(rpc, h, numbers);
}

static const char *audit_doc[] = {
		"Compares what each other node says that it reported with what arrived"
		" here, by range of sources. The nodes exchange these sums every 10 s.",
		0};

static void rpc_audit(rpc_t *rpc, void *c)
{
	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) == 0)
		answer_nodes(rpc, c, add_audit, 0);
}

#define DROP_EXPECTED \
	"the name of a node as tcp_conn_limit.cluster shows it, and perhaps off"

static const char *drop_doc[] = {
		"Shuts a node out: its connections no longer count, and its messages"
		" are rejected, until this server restarts. Parameters: the name of the"
		" node as tcp_conn_limit.cluster shows it, and off to lift that.",
		0};

static void rpc_drop(rpc_t *rpc, void *c)
{
	char argument[2][TCM_RPC_ARGUMENT_SIZE];
	const char *text[2];
	struct tcl_cluster_report report;
	str node;
	int dropped, ret;
	void *h;

	if(tcm_rpc_arguments(rpc, c, argument, text, 2, DROP_EXPECTED) < 0)
		return;
	if(text[0] == NULL || (text[1] != NULL && strcmp(text[1], "off") != 0)) {
		rpc->fault(c, 400, "expected " DROP_EXPECTED);
		return;
	}
	ret = tcl_cluster(&report);
	if(ret != TCL_OK) {
		failed(rpc, c, ret);
		return;
	}
	node.s = (char *)text[0];
	node.len = strlen(text[0]);
	if(node.len >= TCL_NODE_TEXT) {
		rpc->fault(c, 400, "invalid name: expected " DROP_EXPECTED);
		return;
	}
	dropped = (text[1] == NULL);
	if(tcm_cluster_pass_drop(&node, dropped) < 0) {
		rpc->fault(c, 500, "the process of the cluster is busy; try again");
		return;
	}
	LM_NOTICE("cluster node %.*s is %s by %s\n", node.len, node.s,
			dropped ? "shut out" : "admitted again", tcm_rpc_origin());
	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "ss", "node", node.s, "dropped",
					   dropped ? "yes" : "no")
					   < 0)
		tcm_rpc_no_room(rpc, c);
}

static int add_source(rpc_t *rpc, void *c, struct tcl_cluster_source *s)
{
	const struct tcm_rpc_number numbers[] = {{"own", s->own},
			{"others", s->others},
			{"connections", (uint64_t)s->own + s->others},
			{"rejected_without_own", s->rejected}, {NULL, 0}};
	void *h;

	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "s", "source", s->text) < 0
			|| tcm_rpc_add_limit(rpc, h, "cluster_limit", s->limit) < 0)
		return -1;
	return tcm_rpc_add_numbers(rpc, h, numbers);
}

void tcm_rpc_answer_cluster_top(rpc_t *rpc, void *c, int n)
{
	struct tcl_cluster_source *sources = pkg_malloc(n * sizeof(*sources));
	int i, found;

	found = (sources != NULL) ? tcl_cluster_top(sources, n) : TCL_EMEM;
	if(found < 0)
		failed(rpc, c, found);
	for(i = 0; i < found; i++) {
		if(add_source(rpc, c, &sources[i]) < 0) {
			tcm_rpc_no_room(rpc, c);
			break;
		}
	}
	if(sources != NULL)
		pkg_free(sources);
}

static const char *top_doc[] = {
		"Lists the sources with the most connections on all nodes, as top"
		" cluster does. Parameter: how many (default 10, at most 400).",
		0};

static void rpc_top(rpc_t *rpc, void *c)
{
	str text;
	int n = TOP_DEFAULT;

	if(tcm_rpc_text(rpc, c, &text) > 0) {
		if(tcm_text_number(&text, &n) < 0 || n < 1 || n > TOP_MAX) {
			rpc->fault(c, 400,
					"invalid number \"%.*s\": expected a number from 1 to %d",
					TCM_RPC_SHOWN(text), TOP_MAX);
			return;
		}
		if(tcm_rpc_end(rpc, c, "at most one number") < 0)
			return;
	}
	tcm_rpc_answer_cluster_top(rpc, c, n);
}

static const char *set_limit_doc[] = {
		"Sets the limit over all nodes of sources without a rule, until the"
		" server stops, and shows what it is and was. Set it on each node."
		" Parameter: a number, or none.",
		0};

static void rpc_set_limit(rpc_t *rpc, void *c)
{
	char before[TCM_TEXT_LIMIT_SIZE], now[TCM_TEXT_LIMIT_SIZE];
	struct tcl_cluster_report report;
	int32_t limit;
	int ret;
	void *h;

	ret = tcl_cluster(&report);
	if(ret != TCL_OK) {
		failed(rpc, c, ret);
		return;
	}
	if(tcm_rpc_limit(rpc, c, &limit) < 0)
		return;
	ret = tcl_set_cluster_limit(limit);
	if(ret != TCL_OK) {
		failed(rpc, c, ret);
		return;
	}
	if(limit != report.limit)
		LM_NOTICE("cluster limit changed from %s to %s by %s\n",
				tcm_text_limit(report.limit, before),
				tcm_text_limit(limit, now), tcm_rpc_origin());
	if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_limit(rpc, h, "cluster_limit", limit) < 0
			|| tcm_rpc_add_limit(rpc, h, "was", report.limit) < 0)
		tcm_rpc_no_room(rpc, c);
}

int tcm_rpc_add_nodes_of(rpc_t *rpc, void *h, const str *name)
{
	static struct tcl_node_count nodes[TCL_MAX_NODES];
	void *array, *item;
	int i, count;

	count = tcl_cluster_of_source(
			(const uint8_t *)name->s, name->len, nodes, TCL_MAX_NODES);
	if(count <= 0)
		return 0;
	if(rpc->struct_add(h, "[", "nodes", &array) < 0)
		return -1;
	for(i = 0; i < count; i++) {
		const struct tcm_rpc_number numbers[] = {
				{"connections", nodes[i].connections}, {NULL, 0}};

		if(rpc->array_add(array, "{", &item) < 0
				|| rpc->struct_add(item, "s", "node", nodes[i].name) < 0
				|| tcm_rpc_add_numbers(rpc, item, numbers) < 0)
			return -1;
	}
	return 0;
}

/* clang-format off */
rpc_export_t tcm_rpc_cluster[] = {
	{"tcp_conn_limit.cluster", rpc_cluster, cluster_doc, 0},
	{"tcp_conn_limit.cluster_audit", rpc_audit, audit_doc, 0},
	{"tcp_conn_limit.cluster_drop", rpc_drop, drop_doc, 0},
	{"tcp_conn_limit.cluster_top", rpc_top, top_doc, RPC_RET_ARRAY},
	{"tcp_conn_limit.set_cluster_limit", rpc_set_limit, set_limit_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
