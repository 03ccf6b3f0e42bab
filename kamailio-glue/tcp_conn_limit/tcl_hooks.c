/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: between the hooks of the core and the limiter
 */

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/ip_addr.h"

#include "tcl_hooks.h"
#include "../../core/tcp_conn_hooks.h"

#include <tcp_conn_limit.h>

/* Weak, so that a core without hooks loads the module, which then can say what
 * is missing, instead of failing in the dynamic linker. */
#pragma weak ksr_tcp_conn_hooks_abi
#pragma weak ksr_tcp_conn_hooks_register

#define TCL_REMEDY                                                      \
	"run make patch KAMAILIO_SRC=DIR in the folder of tcp_conn_limit, " \
	"then build the server and the module anew"

static int hook_check(const struct ip_addr *src)
{
	return tcl_check(src->u.addr, src->len);
}

static uint64_t hook_opened(const struct ip_addr *src)
{
	return tcl_opened(src->u.addr, src->len);
}

static void hook_closed(uint64_t token)
{
	/* a stale token is counted; here is nobody who could do better */
	(void)tcl_closed(token);
}

static const ksr_tcp_conn_hooks_t hooks = {
		.abi = KSR_TCP_CONN_HOOKS_ABI,
		.check = hook_check,
		.opened = hook_opened,
		.closed = hook_closed,
};

/* the core calls the module's destroy function also after a failed start */
static int attached = 0;

int tcl_hooks_usable(void)
{
	if(tcp_disable) {
		LM_ERR("TCP is disabled (disable_tcp, or no TCP listener), so there are"
			   " no connections to limit: enable TCP or do not load this"
			   " module\n");
		return -1;
	}
	if(&ksr_tcp_conn_hooks_abi == NULL || ksr_tcp_conn_hooks_register == NULL) {
		LM_ERR("this server has no connection hooks: " TCL_REMEDY "\n");
		return -1;
	}
	if(ksr_tcp_conn_hooks_abi != KSR_TCP_CONN_HOOKS_ABI) {
		LM_ERR("this server has hooks ABI %u and the module was built for hooks"
			   " ABI %u: " TCL_REMEDY "\n",
				ksr_tcp_conn_hooks_abi, KSR_TCP_CONN_HOOKS_ABI);
		return -1;
	}
	return 0;
}

int tcl_hooks_attach(void)
{
	if(ksr_tcp_conn_hooks_register(&hooks) != 0) {
		LM_ERR("another module has registered its connection hooks already:"
			   " load only one of them\n");
		return -1;
	}
	attached = 1;
	return 0;
}

void tcl_hooks_detach(void)
{
	if(attached)
		(void)ksr_tcp_conn_hooks_register(NULL);
	attached = 0;
}
