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
#include "../../core/kemi.h"
#include "../../core/pt.h"
#include "../../core/sr_module.h"
#include "../../core/timer.h"

#include "tcm_attach.h"
#include "tcm_cfg.h"
#include "tcm_core.h"
#include "tcm_counters.h"
#include "tcm_pv.h"
#include "tcm_rpc.h"
#include "tcm_rules.h"
#include "tcm_script.h"
#include "tcm_text.h"
#include "tcm_watch.h"

#include <tcp_conn_limit.h>

MODULE_VERSION

static int mod_init(void);
static int child_init(int rank);
static void mod_destroy(void);
static int mode_param(modparam_t type, void *value);
static int on_full_param(modparam_t type, void *value);

/* stands for the core's tcp_accept_iplimit, which may be set after modparam() */
#define LIMIT_OF_CORE INT_MIN

static int limit = LIMIT_OF_CORE;
static int ipv4_prefix = 32;
static int ipv6_prefix = 64;
static int on_full = TCL_ON_FULL_ADMIT;
static str event_callback = STR_NULL;

/* A value of the other type: the core would say that there is no such parameter, and
 * to a function it does not tell which one it is called for. */
#define IS_NUMBER(param)                                           \
	static int param##_is_number(modparam_t type, void *value)     \
	{                                                              \
		LM_ERR("modparam " #param                                  \
			   ": expected a quoted string, got the number %ld\n", \
				(long)value);                                      \
		return -1;                                                 \
	}
#define IS_TEXT(param)                                                        \
	static int param##_is_text(modparam_t type, void *value)                  \
	{                                                                         \
		LM_ERR("modparam " #param                                             \
			   ": expected a number without quotes, got the string \"%s\"\n", \
				(char *)value);                                               \
		return -1;                                                            \
	}

IS_NUMBER(attach)
IS_TEXT(tcp_conn_limit)
IS_TEXT(ipv4_prefix)
IS_TEXT(ipv6_prefix)
IS_NUMBER(rule)
IS_NUMBER(rules_file)
IS_NUMBER(mode)
IS_NUMBER(on_full)
IS_TEXT(log_interval)
IS_TEXT(log_level)
IS_NUMBER(event_callback)

/* clang-format off */
static param_export_t params[] = {
	{"attach", PARAM_STRING | PARAM_USE_FUNC, tcm_attach_param},
	{"attach", PARAM_INT | PARAM_USE_FUNC, attach_is_number},
	{"tcp_conn_limit", PARAM_INT, &limit},
	{"tcp_conn_limit", PARAM_STRING | PARAM_USE_FUNC, tcp_conn_limit_is_text},
	{"ipv4_prefix", PARAM_INT, &ipv4_prefix},
	{"ipv4_prefix", PARAM_STRING | PARAM_USE_FUNC, ipv4_prefix_is_text},
	{"ipv6_prefix", PARAM_INT, &ipv6_prefix},
	{"ipv6_prefix", PARAM_STRING | PARAM_USE_FUNC, ipv6_prefix_is_text},
	{"rule", PARAM_STRING | PARAM_USE_FUNC, tcm_rules_param},
	{"rule", PARAM_INT | PARAM_USE_FUNC, rule_is_number},
	{"rules_file", PARAM_STRING, &tcm_rules_file},
	{"rules_file", PARAM_INT | PARAM_USE_FUNC, rules_file_is_number},
	{"mode", PARAM_STRING | PARAM_USE_FUNC, mode_param},
	{"mode", PARAM_INT | PARAM_USE_FUNC, mode_is_number},
	{"on_full", PARAM_STRING | PARAM_USE_FUNC, on_full_param},
	{"on_full", PARAM_INT | PARAM_USE_FUNC, on_full_is_number},
	{"log_interval", PARAM_INT, &tcm_cfg_start.log_interval},
	{"log_interval", PARAM_STRING | PARAM_USE_FUNC, log_interval_is_text},
	{"log_level", PARAM_INT, &tcm_cfg_start.log_level},
	{"log_level", PARAM_STRING | PARAM_USE_FUNC, log_level_is_text},
	{"event_callback", PARAM_STR, &event_callback},
	{"event_callback", PARAM_INT | PARAM_USE_FUNC, event_callback_is_number},
	{0, 0, 0}
};

struct module_exports exports = {
	"tcp_conn_limit",   /* module name */
	DEFAULT_DLFLAGS,    /* dlopen flags */
	tcm_script_exports, /* exported functions */
	params,             /* exported parameters */
	0,                  /* RPC method exports */
	tcm_pv_exports,     /* exported pseudo-variables */
	0,                  /* response handling function */
	mod_init,           /* module initialization function */
	child_init,         /* per-child init function */
	mod_destroy         /* module destroy function */
};
/* clang-format on */

static int mode_param(modparam_t type, void *value)
{
	str text = {value, strlen(value)};

	tcm_cfg_start.mode = tcm_text_mode(&text);
	if(tcm_cfg_start.mode < 0) {
		LM_ERR("modparam mode is \"%s\": expected " TCM_TEXT_MODES "\n",
				text.s);
		return -1;
	}
	return 0;
}

static int on_full_param(modparam_t type, void *value)
{
	str text = {value, strlen(value)};

	on_full = tcm_text_on_full(&text);
	if(on_full < 0) {
		LM_ERR("modparam on_full is \"%s\": expected " TCM_TEXT_ON_FULLS "\n",
				text.s);
		return -1;
	}
	return 0;
}

static void host_log(int32_t level, const char *line)
{
	switch(level) {
		case TCL_LOG_ERROR:
			LM_ERR("%s\n", line);
			break;
		case TCL_LOG_REJECTED:
			LM_GEN1(cfg_get(tcp_conn_limit, tcm_cfg, log_level), "%s\n", line);
			break;
		default:
			LM_WARN("%s\n", line);
	}
}

static uint32_t host_now(void)
{
	return get_ticks();
}

static const struct tcl_host host = {
		.log = host_log,
		.now = host_now,
		.rejected = tcm_watch_rejected,
};

/* Makes the table. 0, or -1 with a line in the log. */
static int make_limiter(void)
{
	struct tcl_config config;
	char error[256];

	config.max_connections = tcp_max_connections;
	config.limit = tcm_cfg_start.limit;
	config.ipv4_prefix = ipv4_prefix;
	config.ipv6_prefix = ipv6_prefix;
	config.mode = tcm_cfg_start.mode;
	config.on_full = on_full;
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
	/* may hold the path of the file */
	char error[1024] = "cannot load the rules";

	if(tcm_rules_reload(error, sizeof(error)) == TCL_OK)
		return 0;
	LM_ERR("%s\n", error);
	return -1;
}

static int mod_init(void)
{
	if(strcmp(tcl_version(), TCL_VERSION) != 0) {
		LM_ERR("library version %s (libtcp_conn_limit.so) does not match module"
			   " version %s (tcp_conn_limit.so): install both from one build\n",
				tcl_version(), TCL_VERSION);
		return -1;
	}
	tcm_cfg_start.limit = (limit == LIMIT_OF_CORE) ? tcm_core_limit() : limit;
	if(tcm_cfg_check() < 0 || make_limiter() < 0 || tcm_attach_choose() < 0
			|| load_rules() < 0)
		return -1;
	if(tcm_cfg_declare() < 0 || tcm_rpc_register() < 0
			|| tcm_counters_register() < 0
			|| tcm_watch_register(&event_callback) < 0)
		return -1;
	if(tcm_attach_begin() < 0)
		return -1;
	LM_INFO("limit %d connections per source, %d rules, mode %s, attachment %s;"
			" tcp_accept_iplimit is not used\n",
			tcm_cfg_start.limit, tcl_rules(NULL, 0) - 1,
			tcm_text_mode_name(tcm_cfg_start.mode), tcm_attach_name());
	return 0;
}

static int child_init(int rank)
{
	/* the TCP main process is the one that accepts */
	tcl_set_worker((rank == PROC_TCP_MAIN) ? 0 : 1 + process_no);
	switch(rank) {
		case PROC_MAIN:
			return tcm_watch_start();
		case PROC_TCP_MAIN:
			return tcm_attach_in_tcp_main();
		default:
			return 0;
	}
}

/* Runs in the main process before the core removes the connections that are
 * left, see destroy_tcp(): nobody needs their counts any more. */
static void mod_destroy(void)
{
	tcm_attach_end();
}

/* The core calls this when it has loaded the module. */
int mod_register(char *path, int *dlflags, void *p1, void *p2)
{
	sr_kemi_modules_add(tcm_script_kemi_exports);
	return 0;
}
