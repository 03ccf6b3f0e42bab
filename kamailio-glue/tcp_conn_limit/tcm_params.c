/*!
 * \file
 * \brief tcp_conn_limit :: the module parameters
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <limits.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"

#include "tcm_attach.h"
#include "tcm_cfg.h"
#include "tcm_core.h"
#include "tcm_params.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

/* Stands for the core's tcp_accept_iplimit, which may be set after modparam(). */
#define LIMIT_OF_CORE INT_MIN

static int limit = LIMIT_OF_CORE;

struct tcm_params tcm_params = {
		.ipv4_prefix = 32,
		.ipv6_prefix = 64,
		.on_full = TCL_ON_FULL_ADMIT,
		.event_callback = STR_NULL,
};

/* The rules and the name of the rules file stay in memory, because a reload loads
 * all of them again. */
static char **rules = NULL;
static uint32_t count = 0;
static uint32_t room = 0;
static char *rules_file = NULL; /* NULL if not set */

static int grow(void)
{
	uint32_t needed = (room > 0) ? 2 * room : 16;
	char **bigger = pkg_realloc(rules, needed * sizeof(*rules));

	if(bigger == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	rules = bigger;
	room = needed;
	return 0;
}

static int rule_param(modparam_t type, void *value)
{
	size_t size = strlen(value) + 1;

	if(count == room && grow() < 0)
		return -1;
	rules[count] = pkg_malloc(size);
	if(rules[count] == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	memcpy(rules[count], value, size);
	count++;
	return 0;
}

static int attach_param(modparam_t type, void *value)
{
	if(tcm_attach_request(value) < 0) {
		LM_ERR("modparam attach is \"%s\": expected auto, hooks or interpose\n",
				(char *)value);
		return -1;
	}
	return 0;
}

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

	tcm_params.on_full = tcm_text_on_full(&text);
	if(tcm_params.on_full < 0) {
		LM_ERR("modparam on_full is \"%s\": expected " TCM_TEXT_ON_FULLS "\n",
				text.s);
		return -1;
	}
	return 0;
}

/* Each parameter also has an entry for a value of the wrong type. Without it, the
 * core would report that the parameter does not exist. The core does not pass the
 * parameter's name to the function, so each parameter has a function of its own. */
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
param_export_t tcm_params_exports[] = {
	{"attach", PARAM_STRING | PARAM_USE_FUNC, attach_param},
	{"attach", PARAM_INT | PARAM_USE_FUNC, attach_is_number},
	{"tcp_conn_limit", PARAM_INT, &limit},
	{"tcp_conn_limit", PARAM_STRING | PARAM_USE_FUNC, tcp_conn_limit_is_text},
	{"ipv4_prefix", PARAM_INT, &tcm_params.ipv4_prefix},
	{"ipv4_prefix", PARAM_STRING | PARAM_USE_FUNC, ipv4_prefix_is_text},
	{"ipv6_prefix", PARAM_INT, &tcm_params.ipv6_prefix},
	{"ipv6_prefix", PARAM_STRING | PARAM_USE_FUNC, ipv6_prefix_is_text},
	{"rule", PARAM_STRING | PARAM_USE_FUNC, rule_param},
	{"rule", PARAM_INT | PARAM_USE_FUNC, rule_is_number},
	{"rules_file", PARAM_STRING, &rules_file},
	{"rules_file", PARAM_INT | PARAM_USE_FUNC, rules_file_is_number},
	{"mode", PARAM_STRING | PARAM_USE_FUNC, mode_param},
	{"mode", PARAM_INT | PARAM_USE_FUNC, mode_is_number},
	{"on_full", PARAM_STRING | PARAM_USE_FUNC, on_full_param},
	{"on_full", PARAM_INT | PARAM_USE_FUNC, on_full_is_number},
	{"log_interval", PARAM_INT, &tcm_cfg_start.log_interval},
	{"log_interval", PARAM_STRING | PARAM_USE_FUNC, log_interval_is_text},
	{"log_level", PARAM_INT, &tcm_cfg_start.log_level},
	{"log_level", PARAM_STRING | PARAM_USE_FUNC, log_level_is_text},
	{"event_callback", PARAM_STR, &tcm_params.event_callback},
	{"event_callback", PARAM_INT | PARAM_USE_FUNC, event_callback_is_number},
	{0, 0, 0}
};
/* clang-format on */

int tcm_params_limit(void)
{
	return (limit == LIMIT_OF_CORE) ? tcm_core_limit() : limit;
}

int tcm_params_load_rules(char *error, size_t error_size)
{
	return tcl_rules_load(
			(const char *const *)rules, count, rules_file, error, error_size);
}
