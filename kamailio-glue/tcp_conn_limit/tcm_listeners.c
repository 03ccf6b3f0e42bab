/*!
 * \file
 * \brief tcp_conn_limit :: the listening sockets of the server
 *
 * Rules can be for one of them. The library names them by address, port and protocol, and
 * each connection by the descriptor of its socket, which all processes inherit.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/socket_info.h"

#include "tcm_listeners.h"

#include <tcp_conn_limit.h>

struct listeners
{
	const struct socket_info *sockets[TCL_MAX_LISTENERS];
	struct tcl_listener list[TCL_MAX_LISTENERS];
	uint32_t count;
	uint32_t surplus; /* sockets without room in the list */
};

/* All processes inherit it. Those that do not accept connections close the listening
 * sockets, and then struct socket_info no longer says which descriptor it was. Empty before
 * they are registered. */
static struct listeners known;

static void add(struct listeners *to, const struct socket_info *si, int tls)
{
	struct tcl_listener *one;

	for(; si != NULL; si = si->next) {
		/* A virtual socket listens nowhere. */
		if(si->socket < 0)
			continue;
		if(to->count == TCL_MAX_LISTENERS) {
			to->surplus++;
			continue;
		}
		to->sockets[to->count] = si;
		one = &to->list[to->count++];
		memcpy(one->address, si->address.u.addr, si->address.len);
		one->length = si->address.len;
		one->port = si->port_no;
		one->tls = tls;
		one->descriptor = si->socket;
	}
}

static int register_all(struct listeners *all)
{
	char error[256] = "internal error";

	memset(all, 0, sizeof(*all));
	add(all, tcp_listen, 0);
#ifdef USE_TLS
	add(all, tls_listen, 1);
#endif
	if(tcl_listeners(all->list, all->count, error, sizeof(error)) != TCL_OK) {
		LM_ERR("cannot use the rules with listeners: %s\n", error);
		return -1;
	}
	if(all->surplus > 0)
		LM_WARN("the server listens on %u TCP sockets, but rules can name only"
				" %d of them: those that it listens on first\n",
				all->count + all->surplus, TCL_MAX_LISTENERS);
	return 0;
}

int tcm_listeners_register(void)
{
	if(register_all(&known) < 0)
		return -1;
	tcm_listeners_warn();
	return 0;
}

void tcm_listeners_warn(void)
{
	char name[TCL_LISTENER_TEXT];
	uint32_t i;

	for(i = 0; tcl_unknown_listener(i, name) > 0; i++)
		LM_WARN("rules name the listener %s, but the server does not listen"
				" there: correct the listener of these rules, or add a listen"
				" line and restart the server\n",
				name);
}

int tcm_listeners_of_message(const sip_msg_t *msg)
{
	uint32_t i;

	if(msg == NULL || msg->rcv.bind_address == NULL)
		return -1;
	for(i = 0; i < known.count; i++) {
		if(known.sockets[i] == msg->rcv.bind_address)
			return known.list[i].descriptor;
	}
	return -1;
}
