/*!
 * \file
 * \brief tcp_conn_limit :: the module's life cycle: start and end
 *
 * Everything that counts is in libtcp_conn_limit (Rust). This module converts, calls
 * and reports.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <time.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/kemi.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"

#include "tcm_attach.h"
#include "tcm_cfg.h"
#include "tcm_check.h"
#include "tcm_cluster.h"
#include "tcm_core.h"
#include "tcm_counters.h"
#include "tcm_listeners.h"
#include "tcm_load.h"
#include "tcm_params.h"
#include "tcm_rpc.h"
#include "tcm_script.h"
#include "tcm_shield.h"
#include "tcm_text.h"
#include "tcm_watch.h"

#include <tcp_conn_limit.h>

MODULE_VERSION

static int mod_init(void);
static int child_init(int rank);
static void mod_destroy(void);

/* clang-format off */
struct module_exports exports = {
	"tcp_conn_limit",      /* module name */
	DEFAULT_DLFLAGS,       /* dlopen flags */
	tcm_script_exports,    /* exported functions */
	tcm_params_exports,    /* exported parameters */
	0,                     /* RPC method exports */
	tcm_script_pv_exports, /* exported pseudo-variables */
	0,                     /* response handling function */
	mod_init,              /* module initialization function */
	child_init,            /* per-child init function */
	mod_destroy            /* module destroy function */
};
/* clang-format on */

static void host_log(int32_t level, const char *line)
{
	switch(level) {
		case TCL_LOG_ERROR:
			LM_ERR("%s\n", line);
			break;
		case TCL_LOG_REJECTED:
			LM_GEN1(cfg_get(tcp_conn_limit, tcm_cfg, log_level), "%s\n", line);
			break;
		case TCL_LOG_NOTICE:
			LM_NOTICE("%s\n", line);
			break;
		default:
			LM_WARN("%s\n", line);
	}
}

/* Not get_ticks(), which follows the time of day, and stands still while the core's timer
 * process does. */
static uint32_t host_now(void)
{
	struct timespec now;

	/* This succeeds: the clock exists in every Linux. */
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint32_t)now.tv_sec;
}

static const struct tcl_host host = {
		.log = host_log,
		.now = host_now,
		.rejected = tcm_watch_rejected,
		.released = tcm_watch_released,
		.banned = tcm_watch_banned,
		.unbanned = tcm_watch_unbanned,
		.timed_out = tcm_watch_timed_out,
		.load = tcm_load_read,
		.pressure = tcm_watch_pressure,
};

/* Creates the table. Returns 0, or -1 after logging an error. */
static int make_limiter(void)
{
	struct tcl_config config;
	char error[256];

	tcm_params_config(&config);
	if(tcm_params_have_network_rules())
		config.networks = 1;
	tcm_params.moves = tcm_params_have_proxies();
	config.moves = tcm_params.moves;
	switch(tcl_init(&config, &host, error, sizeof(error))) {
		case TCL_OK:
			return 0;
		case TCL_EALREADY:
			LM_ERR("the module is already loaded from another path: keep only"
				   " one loadmodule line for it\n");
			return -1;
		case TCL_EMEM:
			LM_ERR("cannot create the table: %s; lower tcp_max_connections (now"
				   " %d) or allow the server more memory\n",
					error, tcp_max_connections);
			return -1;
		default:
			LM_ERR("bad setting: %s; correct the modparam or core parameter\n",
					error);
			return -1;
	}
}

static int load_rules(void)
{
	/* Has room for the path of the rules file. */
	char error[1024] = "cannot load the rules";

	if(tcm_params_load_rules(error, sizeof(error)) == TCL_OK)
		return 0;
	LM_ERR("%s\n", error);
	return -1;
}

static int mod_init(void)
{
	char limit[TCM_TEXT_LIMIT_SIZE];

	tcm_cfg_start.limit = tcm_params_limit();
	if(tcm_check() < 0 || make_limiter() < 0 || load_rules() < 0)
		return -1;
	if(tcm_cluster_prepare() < 0)
		return -1;
	if(tcm_cfg_read_rates() < 0 || tcm_cfg_declare() < 0
			|| tcm_rpc_register() < 0 || tcm_counters_register() < 0
			|| tcm_watch_register() < 0 || tcm_shield_load() < 0)
		return -1;
	if(tcm_attach_begin() < 0)
		return -1;
	tcm_load_check_tls();
	LM_INFO("limit per source %s, rules: %u, mode %s, attachment %s; %s\n",
			tcm_text_limit(tcm_cfg_start.limit, limit), tcl_rules_count(),
			tcm_text_mode_name(tcm_cfg_start.mode), tcm_attach_name(),
			tcm_core_has_limit() ? "tcp_accept_iplimit is not used"
								 : "this server has no limit of its own");
	return 0;
}

static int child_init(int rank)
{
	/* TCP main is the process that accepts connections. */
	tcl_set_worker((rank == PROC_TCP_MAIN) ? 0 : 1 + process_no);
	switch(rank) {
		case PROC_INIT:
			if(tcm_attach_listening() < 0 || tcm_shield_attach() < 0
					|| tcm_cluster_join() < 0)
				return -1;
			return tcm_listeners_register();
		case PROC_MAIN:
			return (tcm_watch_start() < 0) ? -1 : tcm_cluster_start();
		case PROC_TCP_MAIN:
			return tcm_attach_in_tcp_main();
		default:
			return 0;
	}
}

/* Runs in the main process before the core removes the remaining connections, see
 * destroy_tcp(). Their counts are no longer needed. */
static void mod_destroy(void)
{
	tcm_attach_end();
}

/* The core calls this after it has loaded the module, before it sets parameters. */
int mod_register(char *path, int *dlflags, void *p1, void *p2)
{
	if(tcl_abi() != TCL_ABI) {
		LM_ERR("library ABI %d (libtcp_conn_limit.so, version %s) does not"
			   " match module ABI %d (tcp_conn_limit.so, version %s): install"
			   " both from one build\n",
				tcl_abi(), tcl_version(), TCL_ABI, TCL_VERSION);
		return -1;
	}
	sr_kemi_modules_add(tcm_script_kemi_exports);
	return tcm_check_register();
}
