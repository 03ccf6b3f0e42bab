/*!
 * \file
 * \brief tcp_conn_limit :: the core's connections, found and closed by other processes
 *
 * The core hands out connections with tcpconn_get(), which changes the time at which an
 * idle connection ends. So this file searches the core's table itself, as the core does.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../../core/atomic_ops.h"
#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/locking.h"
#include "../../core/tcp_conn.h"

#include "tcm_conn.h"

#include <tcp_conn_limit.h>

/* Connections that are closed in one second. More would fill the socket to TCP main. */
#define MAX_CLOSED 500

/* Buckets of the core's table that are searched while its lock is held. TCP main waits for
 * the lock, so these are few: 35,000 connections have about 20 in this many. */
#define SLICE 16

/* Defined in core/tcp_main.c. No header declares them. */
extern gen_lock_t *tcpconn_lock;
extern struct tcp_connection **tcpconn_id_hash;

/* The accepted connection with this id, NULL if no connection has it. The caller holds the core's
 * lock, and the connection is valid as long as it does. */
static struct tcp_connection *find(int id)
{
	struct tcp_connection *con = tcpconn_id_hash[tcp_id_hash(id)];

	while(con != NULL && con->id != id)
		con = con->id_next;
	if(con == NULL || con->state == S_CONN_BAD
			|| !(con->flags & F_CONN_PASSIVE))
		return NULL;
	return con;
}

/* TCP main removes a connection from the table, with the lock, before it closes the
 * descriptor. So while the lock is held, the descriptor is that of this connection. */
uint64_t tcm_conn_token(const sip_msg_t *msg)
{
	struct tcp_connection *con;
	uint64_t token = 0;

	if(msg->rcv.proto == PROTO_UDP || msg->rcv.proto == PROTO_SCTP
			|| msg->rcv.proto_reserved1 == 0)
		return 0;
	TCPCONN_LOCK;
	con = find(msg->rcv.proto_reserved1);
	if(con != NULL)
		token = tcl_token(con->s);
	TCPCONN_UNLOCK;
	return token;
}

/* Writes the ids of connections in some buckets that must be closed. */
static int expired_in(int first, int *ids, int room)
{
	const struct tcp_connection *con;
	int i, count = 0;

	TCPCONN_LOCK;
	for(i = first; i < first + SLICE && i < TCP_ID_HASH_SIZE; i++) {
		for(con = tcpconn_id_hash[i]; con != NULL && count < room;
				con = con->id_next) {
			if((con->flags & F_CONN_PASSIVE) && tcl_is_expired(con->s))
				ids[count++] = con->id;
		}
	}
	TCPCONN_UNLOCK;
	return count;
}

/* Asks TCP main to close the connection, unless it was trusted or closed meanwhile: the
 * request that the core sends after its timeouts. TCP main releases the reference that comes with it.
 * Does not wait if the socket is full. Returns 0, or -1 if it was not possible. */
static int request_close(int id)
{
	struct tcp_connection *con;
	long request[2];
	int ret = 0;

	TCPCONN_LOCK;
	con = find(id);
	if(con != NULL && tcl_is_expired(con->s)) {
		request[0] = (long)con;
		request[1] = CONN_EOF;
		/* The table also holds a reference while the lock is held, so this one is
		 * never the last. */
		atomic_inc(&con->refcnt);
		con->send_flags.f |= SND_F_CON_CLOSE;
		if(send(unix_tcp_sock, request, sizeof(request),
				   MSG_DONTWAIT | MSG_NOSIGNAL)
				!= (ssize_t)sizeof(request)) {
			atomic_dec(&con->refcnt);
			ret = -1;
		}
	}
	TCPCONN_UNLOCK;
	return ret;
}

void tcm_conn_close_expired(void)
{
	/* Where the next search begins: all buckets have their turn. */
	static int next = 0;
	int ids[MAX_CLOSED];
	int i, slice, found = 0;
	const int slices = TCP_ID_HASH_SIZE / SLICE;

	for(slice = 0; slice < slices && found < MAX_CLOSED; slice++) {
		found += expired_in(next, ids + found, MAX_CLOSED - found);
		next = (next + SLICE) % TCP_ID_HASH_SIZE;
	}
	for(i = 0; i < found; i++) {
		if(request_close(ids[i]) < 0) {
			if(errno != EAGAIN && errno != EWOULDBLOCK)
				LM_ERR("cannot ask TCP main to close a connection: %s\n",
						strerror(errno));
			return;
		}
	}
}
