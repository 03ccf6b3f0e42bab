/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: RPC commands
 *
 * They run in the process that was asked, never in TCP main.
 */

#include <arpa/inet.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/rpc.h"
#include "../../core/rpc_lookup.h"
#include "../../core/tcp_conn.h"
#include "../../core/tcp_info.h"

#include "tcl_rpc.h"

#include <tcp_conn_limit.h>

#define TOP_DEFAULT 10
#define TOP_MAX 1000
/* differences that an audit lists; their number is told in full */
#define AUDIT_LIST 100

/* of core/tcp_main.c, which declares them in no header */
extern gen_lock_t *tcpconn_lock;
extern struct tcp_connection **tcpconn_id_hash;

static const char *stats_doc[] = {
		"The limit, the size of the table and what happened since the start.",
		0};

static void rpc_stats(rpc_t *rpc, void *c)
{
	struct tcl_stats stats;
	void *h;

	if(tcl_stats(&stats) != TCL_OK) {
		rpc->fault(c, 500, "the table cannot be read");
		return;
	}
	if(rpc->add(c, "{", &h) < 0) {
		rpc->fault(c, 500, "no memory for the answer");
		return;
	}
	rpc->struct_add(h, "ssdddd", "version", tcl_version(), "attached", "hooks",
			"limit", stats.limit, "ipv4_prefix", stats.ipv4_prefix,
			"ipv6_prefix", stats.ipv6_prefix, "capacity", (int)stats.capacity);
	rpc->struct_add(h, "JJJJJJ", "slots", (unsigned long long)stats.slots,
			"memory", (unsigned long long)stats.memory, "sources",
			(unsigned long long)stats.sources, "connections",
			(unsigned long long)stats.connections, "admitted",
			(unsigned long long)stats.admitted, "rejected",
			(unsigned long long)stats.rejected);
	rpc->struct_add(h, "JJJJJ", "errors", (unsigned long long)stats.errors,
			"panics", (unsigned long long)stats.panics, "table_full",
			(unsigned long long)stats.table_full, "bad_address",
			(unsigned long long)stats.bad_address, "stale_token",
			(unsigned long long)stats.stale_token);
}

static const char *get_doc[] = {
		"Connections, limit and rejections of the source to which an address"
		" belongs. Parameter: the IPv4 or IPv6 address.",
		0};

/* The bytes of an address in network byte order and their number, 0 if text is
 * none. The core's str2ip6() does not know ::ffff:192.0.2.1. */
static int parse_address(const str *text, uint8_t bytes[16])
{
	char copy[INET6_ADDRSTRLEN];

	if(text->len >= (int)sizeof(copy))
		return 0;
	memcpy(copy, text->s, text->len);
	copy[text->len] = '\0';
	if(inet_pton(AF_INET, copy, bytes) == 1)
		return 4;
	if(inet_pton(AF_INET6, copy, bytes) == 1)
		return 16;
	return 0;
}

static void rpc_get(rpc_t *rpc, void *c)
{
	str text;
	uint8_t address[16];
	int length;
	struct tcl_source source;
	void *h;

	if(rpc->scan(c, "S", &text) < 1) {
		rpc->fault(c, 400, "an IPv4 or IPv6 address is needed");
		return;
	}
	length = parse_address(&text, address);
	if(length == 0) {
		rpc->fault(c, 400, "%.*s is not an IPv4 or IPv6 address", text.len,
				text.s);
		return;
	}
	if(tcl_get(address, length, &source) != TCL_OK) {
		rpc->fault(c, 500, "the table cannot be read");
		return;
	}
	if(rpc->add(c, "{", &h) < 0) {
		rpc->fault(c, 500, "no memory for the answer");
		return;
	}
	rpc->struct_add(h, "sudu", "source", source.text, "connections",
			(unsigned int)source.connections, "limit", (int)source.limit,
			"rejected", (unsigned int)source.rejected);
}

static const char *top_doc[] = {
		"The sources with most connections. Parameter: how many, 10 if not"
		" given, 1000 at the most.",
		0};

static void rpc_top(rpc_t *rpc, void *c)
{
	int n = TOP_DEFAULT;
	int i, found;
	struct tcl_source *sources;
	void *h;

	if(rpc->scan(c, "*d", &n) < 0)
		return; /* scan() has told */
	if(n < 1 || n > TOP_MAX) {
		rpc->fault(c, 400, "%d: a number from 1 to %d is needed", n, TOP_MAX);
		return;
	}
	sources = pkg_malloc(n * sizeof(*sources));
	found = (sources != NULL) ? tcl_top(sources, n) : TCL_EMEM;
	if(found < 0)
		rpc->fault(c, 500, "no memory for %d sources", n);
	for(i = 0; i < found; i++) {
		if(rpc->add(c, "{", &h) < 0) {
			rpc->fault(c, 500, "no memory for the answer");
			break;
		}
		rpc->struct_add(h, "suu", "source", sources[i].text, "connections",
				(unsigned int)sources[i].connections, "rejected",
				(unsigned int)sources[i].rejected);
	}
	if(sources != NULL)
		pkg_free(sources);
}

/* Feeds the accepted connections of the core to the audit. No connection can be
 * opened or closed meanwhile, since that takes the lock as well. TCP main waits
 * for this long if it needs the lock: one walk through the connections and one
 * through the table. */
static int audit_walk(struct tcl_audit *audit)
{
	struct tcp_connection *con;
	int i;
	int ret = TCL_OK;

	TCPCONN_LOCK;
	for(i = 0; i < TCP_ID_HASH_SIZE && ret == TCL_OK; i++) {
		for(con = tcpconn_id_hash[i]; con && ret == TCL_OK;
				con = con->id_next) {
			if(con->initstate == S_CONN_ACCEPT)
				ret = tcl_audit_connection(audit, con->rcv.src_ip.u.addr,
						con->rcv.src_ip.len, con->hooks_token);
		}
	}
	if(ret == TCL_OK)
		ret = tcl_audit_compare(audit);
	TCPCONN_UNLOCK;
	return ret;
}

static void audit_answer(rpc_t *rpc, void *c, struct tcl_audit *audit)
{
	struct tcl_audit_sums sums;
	struct tcl_difference *list;
	int i, found;
	void *h, *array, *item;

	list = pkg_malloc(AUDIT_LIST * sizeof(*list));
	if(list == NULL) {
		rpc->fault(c, 500, "no memory for the answer");
		return;
	}
	found = tcl_audit_result(audit, &sums, list, AUDIT_LIST);
	if(found < 0 || rpc->add(c, "{", &h) < 0) {
		rpc->fault(c, 500, "no memory for the answer");
		pkg_free(list);
		return;
	}
	rpc->struct_add(h, "JJJJ[", "connections",
			(unsigned long long)sums.connections, "counted",
			(unsigned long long)sums.counted, "uncounted",
			(unsigned long long)sums.uncounted, "differences",
			(unsigned long long)sums.differences, "list", &array);
	for(i = 0; i < found; i++) {
		if(rpc->array_add(array, "{", &item) < 0)
			break;
		rpc->struct_add(item, "suu", "source", list[i].text, "core",
				(unsigned int)list[i].host, "counted",
				(unsigned int)list[i].counted);
	}
	pkg_free(list);
}

static const char *audit_doc[] = {
		"Recounts the connections in the core's table and compares, source by"
		" source.",
		0};

static void rpc_audit(rpc_t *rpc, void *c)
{
	struct tcp_gen_info info;
	struct tcl_audit *audit;

	tcp_get_info(&info);
	audit = tcl_audit_begin(info.tcp_connections_no);
	if(audit == NULL || audit_walk(audit) != TCL_OK)
		rpc->fault(c, 500, "no memory for the recount");
	else
		audit_answer(rpc, c, audit);
	tcl_audit_end(audit);
}

/* clang-format off */
static rpc_export_t commands[] = {
	{"tcp_conn_limit.stats", rpc_stats, stats_doc, 0},
	{"tcp_conn_limit.get", rpc_get, get_doc, 0},
	{"tcp_conn_limit.top", rpc_top, top_doc, RET_ARRAY},
	{"tcp_conn_limit.audit", rpc_audit, audit_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */

int tcl_rpc_register(void)
{
	if(rpc_register_array(commands) != 0) {
		LM_ERR("cannot register the RPC commands\n");
		return -1;
	}
	return 0;
}
