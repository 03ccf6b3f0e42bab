/*!
 * \file
 * \brief tcp_conn_limit :: the attachment to accept() and close() of any core
 *
 * The library replaces the two functions. This file checks that the core fits.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/mem/mem.h"
#include "../../core/poll_types.h"
#include "../../core/socket_info.h"
#include "../../core/ver.h"

#include "tcm_core.h"
#include "tcm_interpose.h"

#include <tcp_conn_limit.h>

/* The core's own limit, kept here while it is switched off. */
static int core_limit;

/* An edge-triggered method reports pending connections only once. TCP main then calls
 * accept() until it fails because none is left. After many rejections in a row the
 * replaced accept() fails in this way while connections are still pending, so that TCP
 * main can do its other work. Only a level-triggered method reports these connections
 * again. */
static int is_level_triggered(enum poll_types method)
{
	return method != POLL_EPOLL_ET && method != POLL_SIGIO_RT;
}

static int core_fits(void)
{
	if(!tcm_core_limit_has_off()) {
		LM_ERR("attach \"interpose\" does not work with Kamailio %s: its own"
			   " limit per address cannot be switched off (tcp_accept_iplimit 0"
			   " rejects every connection); use the connection hooks instead:"
			   " run make patch KAMAILIO_SRC=DIR (core-hooks.patch) in the"
			   " folder of tcp_conn_limit, then rebuild the server and the"
			   " module\n",
				ver_version);
		return 0;
	}
	if(!is_level_triggered(tcp_poll_method)) {
		LM_ERR("attach \"interpose\" does not work with tcp_poll_method %s,"
			   " which is edge-triggered and reports a pending connection only"
			   " once: set it to epoll_lt, or remove it\n",
				poll_method_name(tcp_poll_method));
		return 0;
	}
	return 1;
}

static int usable(void)
{
	char error[256] = "unknown";

	if(!core_fits())
		return -1;
	if(tcl_interpose_find(error, sizeof(error)) != TCL_OK) {
		LM_ERR("attach \"interpose\" does not work with this server: %s\n",
				error);
		return -1;
	}
	if(tcm_core_speaks_proxy())
		LM_WARN("tcp_accept_haproxy is on: attach \"interpose\" limits and"
				" counts the proxy, not its clients; to exempt the proxy:"
				" modparam(\"tcp_conn_limit\", \"rule\","
				" \"ADDRESS-OF-THE-PROXY=unlimited\")\n");
	return 0;
}

static int attach(void)
{
	char error[256] = "unknown";

	if(tcl_interpose_attach(error, sizeof(error)) != TCL_OK) {
		LM_ERR("cannot interpose on the server's accept() and close(): %s\n",
				error);
		return -1;
	}
	core_limit = tcm_core_limit();
	tcm_core_set_limit(0);
	return 0;
}

#ifdef USE_TLS
/* Returns how many sockets the server listens on for TLS, and writes the descriptors of
 * at most `room` of them. */
static int tls_listeners(int *to, int room)
{
	const struct socket_info *si;
	int count = 0;

	for(si = tls_listen; si != NULL; si = si->next) {
		if(count < room)
			to[count] = si->socket;
		count++;
	}
	return count;
}

static int listening(void)
{
	int count = tls_listeners(NULL, 0);
	int *list;

	if(count == 0)
		return 0;
	list = pkg_malloc(count * sizeof(*list));
	if(list == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	(void)tls_listeners(list, count);
	(void)tcl_interpose_tls(list, count);
	pkg_free(list);
	return 0;
}
#else
static int listening(void)
{
	return 0;
}
#endif

static int in_tcp_main(void)
{
	if(tcl_interpose_activate() == TCL_OK)
		return 0;
	LM_ERR("cannot count connections: another process already counts them\n");
	return -1;
}

static void detach(void)
{
	if(tcl_interpose_detach() != TCL_OK)
		LM_WARN("another library also replaced the server's accept() or"
				" close(): leaving its function in place\n");
	tcm_core_set_limit(core_limit);
}

const struct tcm_attachment tcm_interpose = {
		.name = "interpose",
		.usable = usable,
		.attach = attach,
		.listening = listening,
		.in_tcp_main = in_tcp_main,
		.detach = detach,
};
