/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief bench_stock :: times the core's own limit of connections per source
 *
 * No test machine has the descriptors for a million connections. So this module
 * puts connections without a socket into the core's table, each of a different
 * source, and calls the core's function on it. That runs the machine code of the
 * server that has loaded this module. Do not load it into a server with traffic.
 */

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../core/dprint.h"
#include "../../core/ip_addr.h"
#include "../../core/mem/shm_mem.h"
#include "../../core/rpc.h"
#include "../../core/rpc_lookup.h"
#include "../../core/sr_module.h"
#include "../../core/tcp_conn.h"

MODULE_VERSION

/* The core's default. */
#define LIMIT 1024
#define FIRST_SOURCE 0x0a000000 /* 10.0.0.0 */
#define MAX_COUNT (1 << 24)
#define MAX_CALLS 1000

/* core/tcp_main.c defines these and declares them in no header. */
extern gen_lock_t *tcpconn_lock;
extern struct tcp_connection **tcpconn_id_hash;
extern int tcp_connection_limit_srcip(union sockaddr_union *srcaddr, int limit);

static int mod_init(void);

struct module_exports exports = {
		"bench_stock",	 /* module name */
		DEFAULT_DLFLAGS, /* dlopen flags */
		0,				 /* exported functions */
		0,				 /* exported parameters */
		0,				 /* RPC method exports */
		0,				 /* exported pseudo-variables */
		0,				 /* response handling function */
		mod_init,		 /* module initialization function */
		0,				 /* per-child init function */
		0				 /* module destroy function */
};

/* The synthetic connections, without the read buffers that follow real ones. */
static struct tcp_connection *cons = NULL;
static int cons_count = 0;

/* Initialises the fields of a connection that the core's function reads, for
 * source number n, and puts the connection into the table. */
static void add(struct tcp_connection *con, int n)
{
	memset(con, 0, sizeof(*con));
	con->s = -1;
	con->fd = -1;
	con->initstate = S_CONN_ACCEPT;
	con->rcv.src_ip.af = AF_INET;
	con->rcv.src_ip.len = 4;
	con->rcv.src_ip.u.addr32[0] = htonl(FIRST_SOURCE + n);
	con->id = n;
	con->id_hash = tcp_id_hash(n);
	tcpconn_listadd(tcpconn_id_hash[con->id_hash], con, id_next, id_prev);
}

/* Returns the numbers from 0 to count - 1 in a random order that is the same each
 * time. */
static int *random_order(int count)
{
	unsigned short state[3] = {1, 2, 3};
	int *order;
	int i, j;

	order = shm_malloc(count * sizeof(*order));
	if(order == NULL)
		return NULL;
	for(i = 0; i < count; i++) {
		j = nrand48(state) % (i + 1);
		order[i] = order[j];
		order[j] = i;
	}
	return order;
}

static void clear(void)
{
	int i;

	TCPCONN_LOCK;
	for(i = 0; i < cons_count; i++)
		tcpconn_listrm(
				tcpconn_id_hash[cons[i].id_hash], &cons[i], id_next, id_prev);
	TCPCONN_UNLOCK;
	if(cons != NULL)
		shm_free(cons);
	cons = NULL;
	cons_count = 0;
}

/* Puts count connections into the table, in an order unrelated to their addresses
 * in memory, as in a server that has been running for a while. */
static int fill(int count)
{
	int *order;
	int i;

	order = random_order(count);
	if(order == NULL)
		return -1;
	cons = shm_malloc(count * sizeof(*cons));
	if(cons == NULL) {
		shm_free(order);
		return -1;
	}
	TCPCONN_LOCK;
	for(i = 0; i < count; i++)
		add(&cons[order[i]], i);
	TCPCONN_UNLOCK;
	cons_count = count;
	shm_free(order);
	return 0;
}

/* Returns the nanoseconds of a call for source number n; is_over gets its answer. */
static unsigned int timed_call(int n, int limit, int *is_over)
{
	union sockaddr_union su;
	struct timespec begin, end;

	memset(&su, 0, sizeof(su));
	su.sin.sin_family = AF_INET;
	su.sin.sin_addr.s_addr = htonl(FIRST_SOURCE + n);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	*is_over = tcp_connection_limit_srcip(&su, limit);
	clock_gettime(CLOCK_MONOTONIC, &end);
	return (end.tv_sec - begin.tv_sec) * 1000000000LL + end.tv_nsec
		   - begin.tv_nsec;
}

static const char *fill_doc[] = {
		"Replaces the synthetic connections. Parameter: the number of new ones,"
		" which may be 0.",
		0};

static void rpc_fill(rpc_t *rpc, void *c)
{
	int count;

	if(rpc->scan(c, "d", &count) < 1)
		return; /* scan() has set the fault. */
	if(count < 0 || count > MAX_COUNT) {
		rpc->fault(
				c, 400, "%d connections: expected 0 to %d", count, MAX_COUNT);
		return;
	}
	clear();
	if(count > 0 && fill(count) < 0)
		rpc->fault(
				c, 500, "not enough shared memory for %d connections", count);
}

static const char *time_doc[] = {
		"Nanoseconds of each call of the core's tcp_connection_limit_srcip()."
		" Parameter: the number of calls.",
		0};

static void rpc_time(rpc_t *rpc, void *c)
{
	int calls, i, is_over;
	unsigned int ns;

	if(rpc->scan(c, "d", &calls) < 1)
		return; /* scan() has set the fault. */
	if(calls < 1 || calls > MAX_CALLS || cons_count == 0) {
		rpc->fault(c, 400, "%d calls: expected 1 to %d, after bench_stock.fill",
				calls, MAX_CALLS);
		return;
	}
	timed_call(0, 1, &is_over);
	if(!is_over) {
		rpc->fault(c, 500, "the core does not see the connections");
		return;
	}
	/* This call is a warm-up. */
	timed_call(0, LIMIT, &is_over);
	for(i = 0; i < calls; i++) {
		ns = timed_call(
				(int)((long long)cons_count * i / calls), LIMIT, &is_over);
		if(is_over) {
			rpc->fault(c, 500, "the core sees too many connections");
			return;
		}
		if(rpc->add(c, "u", ns) < 0)
			return;
	}
}

/* clang-format off */
static rpc_export_t commands[] = {
	{"bench_stock.fill", rpc_fill, fill_doc, 0},
	{"bench_stock.time", rpc_time, time_doc, RET_ARRAY},
	{0, 0, 0, 0}
};
/* clang-format on */

static int mod_init(void)
{
	if(rpc_register_array(commands) != 0) {
		LM_ERR("cannot register the RPC commands\n");
		return -1;
	}
	return 0;
}
