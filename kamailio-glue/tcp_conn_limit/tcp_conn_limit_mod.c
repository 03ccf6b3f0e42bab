/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: module interface: parameters, start, end
 *
 * Everything that counts is in libtcp_conn_limit (Rust); this module converts,
 * calls and reports.
 */

#include <limits.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"
#include "../../core/timer.h"

#include "tcl_counters.h"
#include "tcl_hooks.h"
#include "tcl_rpc.h"

#include <tcp_conn_limit.h>

MODULE_VERSION

static int mod_init(void);
static int child_init(int rank);
static void mod_destroy(void);
static int text_param(modparam_t type, void *value);

/* stands for the core's tcp_accept_iplimit, which may be set after modparam() */
#define LIMIT_OF_CORE INT_MIN

static int limit = LIMIT_OF_CORE;
static int ipv4_prefix = 32;
static int ipv6_prefix = 64;

/* clang-format off */
static param_export_t params[] = {
	{"tcp_conn_limit", PARAM_INT, &limit},
	{"tcp_conn_limit", PARAM_STRING | PARAM_USE_FUNC, text_param},
	{"ipv4_prefix", PARAM_INT, &ipv4_prefix},
	{"ipv4_prefix", PARAM_STRING | PARAM_USE_FUNC, text_param},
	{"ipv6_prefix", PARAM_INT, &ipv6_prefix},
	{"ipv6_prefix", PARAM_STRING | PARAM_USE_FUNC, text_param},
	{0, 0, 0}
};

struct module_exports exports = {
	"tcp_conn_limit", /* module name */
	DEFAULT_DLFLAGS,  /* dlopen flags */
	0,                /* exported functions */
	params,           /* exported parameters */
	0,                /* RPC method exports */
	0,                /* exported pseudo-variables */
	0,                /* response handling function */
	mod_init,         /* module initialization function */
	child_init,       /* per-child init function */
	mod_destroy       /* module destroy function */
};
/* clang-format on */

/* The core would say that there is no such parameter of this type. */
static int text_param(modparam_t type, void *value)
{
	LM_ERR("a parameter of tcp_conn_limit has the text \"%s\" as its value:"
		   " tcp_conn_limit, ipv4_prefix and ipv6_prefix are numbers, to be"
		   " written without quotes\n",
			(char *)value);
	return -1;
}

static void host_log(int32_t level, const char *line)
{
	if(level == TCL_LOG_ERROR)
		LM_ERR("%s\n", line);
	else
		LM_WARN("%s\n", line);
}

static uint32_t host_now(void)
{
	return get_ticks();
}

static const struct tcl_host host = {.log = host_log, .now = host_now};

static int mod_init(void)
{
	struct tcl_config config;
	char error[256];

	if(strcmp(tcl_version(), TCL_VERSION) != 0) {
		LM_ERR("library version %s (libtcp_conn_limit.so) does not fit module"
			   " version %s (tcp_conn_limit.so): install both from one build\n",
				tcl_version(), TCL_VERSION);
		return -1;
	}
	if(tcl_hooks_usable() < 0)
		return -1;
	config.max_connections = tcp_max_connections;
	config.limit = (limit == LIMIT_OF_CORE) ? ksr_tcp_accept_iplimit : limit;
	config.ipv4_prefix = ipv4_prefix;
	config.ipv6_prefix = ipv6_prefix;
	switch(tcl_init(&config, &host, error, sizeof(error))) {
		case TCL_OK:
			break;
		case TCL_EALREADY:
			LM_ERR("the module is loaded already, from another path: keep one"
				   " loadmodule line for it\n");
			return -1;
		case TCL_EMEM:
			LM_ERR("no table: %s; lower tcp_max_connections (now %d) or allow"
				   " the server more memory\n",
					error, tcp_max_connections);
			return -1;
		default:
			LM_ERR("bad setting: %s; correct the modparam or core parameter\n",
					error);
			return -1;
	}
	if(tcl_rpc_register() < 0 || tcl_counters_register() < 0)
		return -1;
	if(tcl_hooks_attach() < 0)
		return -1;
	LM_INFO("limit %d connections of a source, tcp_accept_iplimit is not "
			"used\n",
			config.limit);
	return 0;
}

static int child_init(int rank)
{
	/* the TCP main process is the one that accepts */
	tcl_attach((rank == PROC_TCP_MAIN) ? 0 : 1 + process_no);
	return 0;
}

/* Runs in the main process before the core removes the connections that are
 * left, see destroy_tcp(): nobody needs their counts any more. */
static void mod_destroy(void)
{
	tcl_hooks_detach();
}
