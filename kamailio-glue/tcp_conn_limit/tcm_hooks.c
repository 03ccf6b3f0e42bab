/*!
 * \file
 * \brief tcp_conn_limit :: the attachment to the hooks of a patched core
 *
 * The core asks the limiter and keeps the limiter's token with each connection.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/dprint.h"
#include "../../core/ip_addr.h"

#include "tcm_hooks.h"

#define TCM_REMEDY                                                      \
	"run make patch KAMAILIO_SRC=DIR in the folder of tcp_conn_limit, " \
	"then rebuild the server and the module; or set attach to "         \
	"\"interpose\""

#define TCM_ABI_REMEDY                                                    \
	"remove the hooks from the source tree with the tcp_conn_limit that " \
	"put them in (make unpatch KAMAILIO_SRC=DIR), run make patch with "   \
	"this one, then rebuild the server and the module; or set attach to " \
	"\"interpose\""

/* Weak, so that a core without hooks loads the module, which can then report what is
 * missing. Otherwise the dynamic linker would not load it. */
#pragma weak ksr_tcp_conn_hooks_abi
#pragma weak ksr_tcp_conn_hooks_register

#ifdef TCM_WITH_HOOKS

#include "../../core/tcp_conn_hooks.h"

#include <tcp_conn_limit.h>

/* The functions and constants below are those of this ABI. */
#if KSR_TCP_CONN_HOOKS_ABI != 2
#error "the hooks in this tree have another ABI: run make status KAMAILIO_SRC=DIR"
#endif

/* The core and the library give the facts the same bits. */
_Static_assert(KSR_TCP_CONN_TLS == TCL_FACT_TLS, "TLS");
_Static_assert(KSR_TCP_CONN_SPOKE == TCL_FACT_SPOKE, "spoke");
_Static_assert(KSR_TCP_CONN_TIMED_OUT == TCL_FACT_TIMED_OUT, "timed out");
_Static_assert(KSR_TCP_CONN_CLOSED_BY_US == TCL_FACT_CLOSED_BY_HOST, "closed");

static int listener_of(const ksr_tcp_conn_info_t *info)
{
	return (info->listener != NULL) ? info->listener->socket : -1;
}

static int hook_check(const ksr_tcp_conn_info_t *info)
{
	return tcl_check(
			info->src->u.addr, info->src->len, info->s, listener_of(info));
}

static uint64_t hook_opened(const ksr_tcp_conn_info_t *info)
{
	return tcl_opened(info->src->u.addr, info->src->len, info->s,
			listener_of(info), info->facts);
}

static void hook_closed(uint64_t token, unsigned int facts)
{
	/* The library counts a stale token. The core can do nothing about it. */
	(void)tcl_closed(token, facts);
}

static const ksr_tcp_conn_hooks_t hooks = {
		.abi = KSR_TCP_CONN_HOOKS_ABI,
		.check = hook_check,
		.opened = hook_opened,
		.closed = hook_closed,
};

int tcm_hooks_present(void)
{
	return &ksr_tcp_conn_hooks_abi != NULL
		   && ksr_tcp_conn_hooks_register != NULL;
}

const char *tcm_hooks_missing(void)
{
	return "this server has no connection hooks";
}

static int usable(void)
{
	if(!tcm_hooks_present()) {
		LM_ERR("%s: " TCM_REMEDY "\n", tcm_hooks_missing());
		return -1;
	}
	if(ksr_tcp_conn_hooks_abi != KSR_TCP_CONN_HOOKS_ABI) {
		LM_ERR("this server has hooks ABI %u, but the module was built for"
			   " hooks ABI %u: " TCM_ABI_REMEDY "\n",
				ksr_tcp_conn_hooks_abi, KSR_TCP_CONN_HOOKS_ABI);
		return -1;
	}
	return 0;
}

static int attach(void)
{
	if(ksr_tcp_conn_hooks_register(&hooks) != 0) {
		LM_ERR("another module has already registered connection hooks: load"
			   " only one of the two\n");
		return -1;
	}
	return 0;
}

static void detach(void)
{
	(void)ksr_tcp_conn_hooks_register(NULL);
}

#else /* TCM_WITH_HOOKS */

/* The server may have hooks even if the tree that the module was built for has not. */
extern const unsigned int ksr_tcp_conn_hooks_abi;

int tcm_hooks_present(void)
{
	return 0;
}

const char *tcm_hooks_missing(void)
{
	if(&ksr_tcp_conn_hooks_abi != NULL)
		return "this server has connection hooks, but this module was built"
			   " for a server without them";
	return "this server has no connection hooks";
}

static int usable(void)
{
	LM_ERR("%s: " TCM_REMEDY "\n", tcm_hooks_missing());
	return -1;
}

static int attach(void)
{
	return -1;
}

static void detach(void)
{
}

#endif /* TCM_WITH_HOOKS */

/* The core says what a connection's listening socket is for. */
static int listening(void)
{
	return 0;
}

/* The core calls the hooks in the process that accepts. */
static int in_tcp_main(void)
{
	return 0;
}

const struct tcm_attachment tcm_hooks = {
		.name = "hooks",
		.usable = usable,
		.attach = attach,
		.listening = listening,
		.in_tcp_main = in_tcp_main,
		.detach = detach,
};
