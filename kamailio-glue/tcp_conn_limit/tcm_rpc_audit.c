/*!
 * \file
 * \brief tcp_conn_limit :: the RPC command audit
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/locking.h"
#include "../../core/mem/mem.h"
#include "../../core/tcp_conn.h"
#include "../../core/tcp_info.h"

#include "tcm_address.h"
#include "tcm_rpc.h"

#include <tcp_conn_limit.h>

/* At most this many differences are listed. The answer counts all of them. */
#define AUDIT_LIST 100

/* Attempts to copy the connections. An attempt fails if there are more connections
 * than it reserved memory for: the number of an instant before, plus one eighth and
 * 1,024. */
#define AUDIT_ATTEMPTS 3

/* Defined in core/tcp_main.c. No header declares them. */
extern gen_lock_t *tcpconn_lock;
extern struct tcp_connection **tcpconn_id_hash;

/* Copies the core's accepted connections and the module's counts. With hooks, no
 * connection can be opened or closed meanwhile, because that takes the same lock.
 * Without hooks, a connection is counted from accept() to close(), which is slightly
 * longer than it is in the core's table. A difference that has disappeared in the next
 * audit is therefore not an error. TCP main waits for the whole walk if it needs the
 * lock, so this function neither allocates nor compares. */
static int audit_walk(struct tcl_audit *audit)
{
	struct tcp_connection *con;
	const struct ip_addr *source;
	int i;
	int ret = TCL_OK;

	TCPCONN_LOCK;
	for(i = 0; i < TCP_ID_HASH_SIZE && ret == TCL_OK; i++) {
		for(con = tcpconn_id_hash[i]; con && ret == TCL_OK;
				con = con->id_next) {
			if(!(con->flags & F_CONN_PASSIVE))
				continue;
			source = tcm_address_of_connection(con);
			/* con->s is the connection's descriptor in TCP main. */
			ret = tcl_audit_connection(
					audit, source->u.addr, source->len, con->s);
		}
	}
	if(ret == TCL_OK)
		ret = tcl_audit_counts(audit);
	TCPCONN_UNLOCK;
	return ret;
}

static int audit_add(rpc_t *rpc, void *c, const struct tcl_audit_sums *sums,
		const struct tcl_difference *list, int found)
{
	const struct tcm_rpc_number numbers[] = {
			{"connections", sums->connections},
			{"counted", sums->counted},
			{"uncounted", sums->uncounted},
			{"differences", sums->differences},
			{NULL, 0},
	};
	int i;
	void *h, *array;

	if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_list(rpc, h, numbers, &array) < 0)
		return -1;
	for(i = 0; i < found; i++) {
		const struct tcm_rpc_number counts[] = {
				{"core", list[i].host},
				{"counted", list[i].counted},
				{NULL, 0},
		};
		if(tcm_rpc_add_item(rpc, array, list[i].text, counts) < 0)
			return -1;
	}
	return 0;
}

static void audit_answer(rpc_t *rpc, void *c, struct tcl_audit *audit)
{
	struct tcl_audit_sums sums;
	struct tcl_difference *list;
	int found;

	list = pkg_malloc(AUDIT_LIST * sizeof(*list));
	if(list == NULL) {
		tcm_rpc_failed(rpc, c, TCL_EMEM);
		return;
	}
	found = tcl_audit_result(audit, &sums, list, AUDIT_LIST);
	if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	else if(audit_add(rpc, c, &sums, list, found) < 0)
		tcm_rpc_no_room(rpc, c);
	pkg_free(list);
}

static const char *audit_doc[] = {
		"Compares the connections in the core's table with the module's"
		" counts, source by source.",
		0};

static void rpc_audit(rpc_t *rpc, void *c)
{
	struct tcp_gen_info info;
	struct tcl_audit *audit;
	int ret;
	int attempts = AUDIT_ATTEMPTS;

	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) < 0)
		return;
	do {
		tcp_get_info(&info);
		audit = tcl_audit_begin(info.tcp_connections_no);
		ret = (audit != NULL) ? audit_walk(audit) : TCL_EMEM;
		if(ret == TCL_OK)
			audit_answer(rpc, c, audit);
		tcl_audit_end(audit);
	} while(ret == TCL_EROOM && --attempts > 0);
	if(ret == TCL_EROOM)
		rpc->fault(c, 500,
				"too many connections opened during each of %d attempts to copy"
				" them: try again",
				AUDIT_ATTEMPTS);
	else if(ret != TCL_OK)
		tcm_rpc_failed(rpc, c, ret);
}

/* clang-format off */
rpc_export_t tcm_rpc_audit[] = {
	{"tcp_conn_limit.audit", rpc_audit, audit_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
