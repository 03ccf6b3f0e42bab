/*!
 * \file
 * \brief tcp_conn_limit :: the module parameters
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"
#include "../../core/mem/mem.h"
#include "../../core/ut.h"

#include "tcm_attach.h"
#include "tcm_cfg.h"
#include "tcm_cluster.h"
#include "tcm_core.h"
#include "tcm_networks.h"
#include "tcm_params.h"
#include "tcm_shield.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

/* Stands for the core's tcp_accept_iplimit, which may be set after modparam(). It is out of
 * the range of the parameter. */
#define LIMIT_OF_CORE INT_MIN

/* The longest ban, in seconds, as tcl_config_check() allows it. */
#define BAN_MAX 2592000

/* The most connections for which tcl_config_check() allows a configuration. */
#define CONNECTIONS_MAX 100000000

static int limit = LIMIT_OF_CORE;

struct tcm_params tcm_params = {
		.ipv4_prefix = 32,
		.ipv6_prefix = 64,
		.on_full = TCL_ON_FULL_ADMIT,
		.ban_min = 0, /* not set: the library's default */
		.ban_max = 0,
		.event_callback = STR_NULL,
};

/* The values of a parameter that can be given many times. */
struct texts
{
	char **list;
	uint32_t count;
	uint32_t room;
};

/* The rules and the name of the rules file stay in memory, because a reload loads
 * all of them again. */
static struct texts rules = {0};
static struct texts nat64_prefixes = {0};
static struct texts penalties = {0};
static char *rules_file = NULL; /* NULL if not set */
static char *rate = NULL;		/* NULL if not set */
static char *reserve = NULL;	/* NULL if not set */
static char *pressure = NULL;	/* NULL if not set */

static int grow(struct texts *texts)
{
	uint32_t needed = (texts->room > 0) ? 2 * texts->room : 16;
	char **bigger = pkg_realloc(texts->list, needed * sizeof(*bigger));

	if(bigger == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	texts->list = bigger;
	texts->room = needed;
	return 0;
}

/* Returns a copy of the value, or NULL after logging an error. */
static char *copy_of(const char *value)
{
	size_t size = strlen(value) + 1;
	char *copy = pkg_malloc(size);

	if(copy == NULL) {
		PKG_MEM_ERROR;
		return NULL;
	}
	memcpy(copy, value, size);
	return copy;
}

/* Adds a copy of the value. Returns 0, or -1 after logging an error. */
static int add(struct texts *texts, const char *value)
{
	char *copy;

	if(texts->count == texts->room && grow(texts) < 0)
		return -1;
	copy = copy_of(value);
	if(copy == NULL)
		return -1;
	texts->list[texts->count++] = copy;
	return 0;
}

static int rule_param(modparam_t type, void *value)
{
	char error[512] = "internal error";

	if(add(&rules, value) < 0)
		return -1;
	if(tcl_rule_check(value, error, sizeof(error)) != TCL_OK) {
		LM_ERR("modparam rule %u: %s\n", rules.count, error);
		return -1;
	}
	return 0;
}

static int check_config(const struct tcl_config *config)
{
	char error[256] = "internal error";

	if(tcl_config_check(config, error, sizeof(error)) == TCL_OK)
		return 0;
	LM_ERR("bad setting: %s; correct the modparam or core parameter\n", error);
	return -1;
}

/* Checks the parameters of this module that have been set. Those of the core, and the
 * other bound of bans, may be set later. */
static int check_own(void)
{
	struct tcl_config config;

	tcm_params_config(&config);
	config.max_connections = CONNECTIONS_MAX;
	/* Their lengths are compared with those of sources, which may be set later. */
	config.networks = 0;
	if(config.ban_min == 0)
		config.ban_min = 1;
	if(config.ban_max == 0)
		config.ban_max = BAN_MAX;
	return check_config(&config);
}

/* Sets a number. An invalid one is reported once and not kept, so that it is not
 * reported again with the next parameter. */
static int set_number(int *to, void *value, int (*check)(void))
{
	int before = *to;

	*to = (int)(long)value;
	if(check() == 0)
		return 0;
	*to = before;
	return -1;
}

static int tcp_conn_limit_param(modparam_t type, void *value)
{
	limit = (int)(long)value;
	if(limit >= TCM_CFG_LIMIT_MIN && limit <= TCM_CFG_LIMIT_MAX)
		return 0;
	LM_ERR("modparam tcp_conn_limit is %d: expected 1 to %d, or 0 for no limit;"
		   " it may be a larger number, which the core cuts to 32 bits\n",
			limit, TCM_CFG_LIMIT_MAX);
	return -1;
}

static int ipv4_prefix_param(modparam_t type, void *value)
{
	return set_number(&tcm_params.ipv4_prefix, value, check_own);
}

static int ipv6_prefix_param(modparam_t type, void *value)
{
	return set_number(&tcm_params.ipv6_prefix, value, check_own);
}

static int log_interval_param(modparam_t type, void *value)
{
	return set_number(&tcm_cfg_start.log_interval, value, tcm_cfg_check);
}

static int log_level_param(modparam_t type, void *value)
{
	return set_number(&tcm_cfg_start.log_level, value, tcm_cfg_check);
}

/* Adds one of several values. An invalid one is reported once and not kept. */
static int add_checked(struct texts *texts, const char *value)
{
	if(add(texts, value) < 0)
		return -1;
	if(check_own() == 0)
		return 0;
	pkg_free(texts->list[--texts->count]);
	return -1;
}

static int nat64_prefix_param(modparam_t type, void *value)
{
	return add_checked(&nat64_prefixes, value);
}

static int penalty_param(modparam_t type, void *value)
{
	return add_checked(&penalties, value);
}

int tcm_params_set_text(char **to, const char *value)
{
	char *before = *to;

	*to = copy_of(value);
	if(*to != NULL && check_own() == 0) {
		if(before != NULL)
			pkg_free(before);
		return 0;
	}
	if(*to != NULL)
		pkg_free(*to);
	*to = before;
	return -1;
}

int tcm_params_set_number(int *to, void *value)
{
	return set_number(to, value, check_own);
}

static int rate_param(modparam_t type, void *value)
{
	return tcm_params_set_text(&rate, value);
}

static int reserve_param(modparam_t type, void *value)
{
	return tcm_params_set_text(&reserve, value);
}

/* A number of connections without quotes. */
static int reserve_number_param(modparam_t type, void *value)
{
	char text[INT2STR_MAX_LEN];

	snprintf(text, sizeof(text), "%ld", (long)value);
	return tcm_params_set_text(&reserve, text);
}

static int pressure_param(modparam_t type, void *value)
{
	return tcm_params_set_text(&pressure, value);
}

static int burst_param(modparam_t type, void *value)
{
	return set_number(&tcm_cfg_start.burst, value, check_own);
}

/* Sets a bound of bans. 0 would be the default, which is not what it says. */
static int set_bound(int *to, const char *name, void *value)
{
	if((int)(long)value != 0)
		return set_number(to, value, check_own);
	LM_ERR("bad setting: %s 0: must be at least 1; correct the modparam\n",
			name);
	return -1;
}

static int ban_min_param(modparam_t type, void *value)
{
	return set_bound(&tcm_params.ban_min, "ban_min", value);
}

static int ban_max_param(modparam_t type, void *value)
{
	return set_bound(&tcm_params.ban_max, "ban_max", value);
}

/* Sets a number that also turns trust on, so that 0 can be set. */
static int set_trust(int *to, void *value)
{
	int before = tcm_params.trust;

	tcm_params.trust = 1;
	if(set_number(to, value, check_own) == 0)
		return 0;
	tcm_params.trust = before;
	return -1;
}

static int untrusted_limit_param(modparam_t type, void *value)
{
	return set_trust(&tcm_cfg_start.untrusted_limit, value);
}

static int trust_timeout_param(modparam_t type, void *value)
{
	return set_trust(&tcm_cfg_start.trust_timeout, value);
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

static int shield_param(modparam_t type, void *value)
{
	if(tcm_shield_request(value) < 0) {
		LM_ERR("modparam shield is \"%s\": expected off, auto or on\n",
				(char *)value);
		return -1;
	}
	return 0;
}

static int shield_threshold_param(modparam_t type, void *value)
{
	return tcm_shield_set_threshold((int)(long)value);
}

static int shield_time_param(modparam_t type, void *value)
{
	return tcm_shield_set_time((int)(long)value);
}

static int cluster_param(modparam_t type, void *value)
{
	if(tcm_cluster_request(value) < 0) {
		LM_ERR("modparam cluster is \"%s\": expected dmq\n", (char *)value);
		return -1;
	}
	return 0;
}

static int cluster_limit_param(modparam_t type, void *value)
{
	return tcm_cluster_set_limit((int)(long)value);
}

static int cluster_interval_param(modparam_t type, void *value)
{
	return tcm_cluster_set_interval((int)(long)value);
}

static int cluster_strict_param(modparam_t type, void *value)
{
	return tcm_cluster_set_strict((int)(long)value);
}

static int cluster_bans_param(modparam_t type, void *value)
{
	return tcm_cluster_set_bans((int)(long)value);
}

static int cluster_key_param(modparam_t type, void *value)
{
	return tcm_cluster_add_key(value);
}

static int cluster_key_file_param(modparam_t type, void *value)
{
	return tcm_cluster_add_key_file(value);
}

/* Each parameter also has an entry for a value of the wrong type. Without it, the
 * core would report that the parameter does not exist. The core does not pass the
 * parameter's name to the function, so each parameter has a function of its own. */
#define IS_NUMBER(param) static TCM_PARAMS_IS_NUMBER(, param)
#define IS_TEXT(param) static TCM_PARAMS_IS_TEXT(, param)

IS_NUMBER(attach)
IS_TEXT(tcp_conn_limit)
IS_TEXT(ipv4_prefix)
IS_TEXT(ipv6_prefix)
IS_NUMBER(nat64_prefix)
IS_NUMBER(rule)
IS_NUMBER(rules_file)
IS_NUMBER(mode)
IS_NUMBER(on_full)
IS_NUMBER(rate)
IS_TEXT(burst)
IS_NUMBER(pressure)
IS_NUMBER(penalty)
IS_TEXT(ban_min)
IS_TEXT(ban_max)
IS_TEXT(log_interval)
IS_TEXT(log_level)
IS_NUMBER(event_callback)
IS_TEXT(untrusted_limit)
IS_TEXT(trust_timeout)
IS_NUMBER(shield)
IS_TEXT(shield_threshold)
IS_TEXT(shield_time)
IS_NUMBER(cluster)
IS_TEXT(cluster_limit)
IS_TEXT(cluster_interval)
IS_TEXT(cluster_strict)
IS_TEXT(cluster_bans)
IS_NUMBER(cluster_key)
IS_NUMBER(cluster_key_file)

/* clang-format off */
param_export_t tcm_params_exports[] = {
	{"attach", PARAM_STRING | PARAM_USE_FUNC, attach_param},
	{"attach", PARAM_INT | PARAM_USE_FUNC, attach_is_number},
	{"tcp_conn_limit", PARAM_INT | PARAM_USE_FUNC, tcp_conn_limit_param},
	{"tcp_conn_limit", PARAM_STRING | PARAM_USE_FUNC, tcp_conn_limit_is_text},
	{"ipv4_prefix", PARAM_INT | PARAM_USE_FUNC, ipv4_prefix_param},
	{"ipv4_prefix", PARAM_STRING | PARAM_USE_FUNC, ipv4_prefix_is_text},
	{"ipv6_prefix", PARAM_INT | PARAM_USE_FUNC, ipv6_prefix_param},
	{"ipv6_prefix", PARAM_STRING | PARAM_USE_FUNC, ipv6_prefix_is_text},
	{"nat64_prefix", PARAM_STRING | PARAM_USE_FUNC, nat64_prefix_param},
	{"nat64_prefix", PARAM_INT | PARAM_USE_FUNC, nat64_prefix_is_number},
	{"rule", PARAM_STRING | PARAM_USE_FUNC, rule_param},
	{"rule", PARAM_INT | PARAM_USE_FUNC, rule_is_number},
	{"rules_file", PARAM_STRING, &rules_file},
	{"rules_file", PARAM_INT | PARAM_USE_FUNC, rules_file_is_number},
	{"mode", PARAM_STRING | PARAM_USE_FUNC, mode_param},
	{"mode", PARAM_INT | PARAM_USE_FUNC, mode_is_number},
	{"on_full", PARAM_STRING | PARAM_USE_FUNC, on_full_param},
	{"on_full", PARAM_INT | PARAM_USE_FUNC, on_full_is_number},
	{"rate", PARAM_STRING | PARAM_USE_FUNC, rate_param},
	{"rate", PARAM_INT | PARAM_USE_FUNC, rate_is_number},
	{"burst", PARAM_INT | PARAM_USE_FUNC, burst_param},
	{"burst", PARAM_STRING | PARAM_USE_FUNC, burst_is_text},
	{"reserve", PARAM_STRING | PARAM_USE_FUNC, reserve_param},
	{"reserve", PARAM_INT | PARAM_USE_FUNC, reserve_number_param},
	{"pressure", PARAM_STRING | PARAM_USE_FUNC, pressure_param},
	{"pressure", PARAM_INT | PARAM_USE_FUNC, pressure_is_number},
	{"penalty", PARAM_STRING | PARAM_USE_FUNC, penalty_param},
	{"penalty", PARAM_INT | PARAM_USE_FUNC, penalty_is_number},
	{"ban_min", PARAM_INT | PARAM_USE_FUNC, ban_min_param},
	{"ban_min", PARAM_STRING | PARAM_USE_FUNC, ban_min_is_text},
	{"ban_max", PARAM_INT | PARAM_USE_FUNC, ban_max_param},
	{"ban_max", PARAM_STRING | PARAM_USE_FUNC, ban_max_is_text},
	{"network_limit", PARAM_INT | PARAM_USE_FUNC, tcm_network_limit_param},
	{"network_limit", PARAM_STRING | PARAM_USE_FUNC, tcm_network_limit_is_text},
	{"network_rate", PARAM_STRING | PARAM_USE_FUNC, tcm_network_rate_param},
	{"network_rate", PARAM_INT | PARAM_USE_FUNC, tcm_network_rate_is_number},
	{"network_burst", PARAM_INT | PARAM_USE_FUNC, tcm_network_burst_param},
	{"network_burst", PARAM_STRING | PARAM_USE_FUNC, tcm_network_burst_is_text},
	{"ipv4_network", PARAM_INT | PARAM_USE_FUNC, tcm_ipv4_network_param},
	{"ipv4_network", PARAM_STRING | PARAM_USE_FUNC, tcm_ipv4_network_is_text},
	{"ipv6_network", PARAM_INT | PARAM_USE_FUNC, tcm_ipv6_network_param},
	{"ipv6_network", PARAM_STRING | PARAM_USE_FUNC, tcm_ipv6_network_is_text},
	{"log_interval", PARAM_INT | PARAM_USE_FUNC, log_interval_param},
	{"log_interval", PARAM_STRING | PARAM_USE_FUNC, log_interval_is_text},
	{"log_level", PARAM_INT | PARAM_USE_FUNC, log_level_param},
	{"log_level", PARAM_STRING | PARAM_USE_FUNC, log_level_is_text},
	{"event_callback", PARAM_STR, &tcm_params.event_callback},
	{"event_callback", PARAM_INT | PARAM_USE_FUNC, event_callback_is_number},
	{"untrusted_limit", PARAM_INT | PARAM_USE_FUNC, untrusted_limit_param},
	{"untrusted_limit", PARAM_STRING | PARAM_USE_FUNC, untrusted_limit_is_text},
	{"trust_timeout", PARAM_INT | PARAM_USE_FUNC, trust_timeout_param},
	{"trust_timeout", PARAM_STRING | PARAM_USE_FUNC, trust_timeout_is_text},
	{"shield", PARAM_STRING | PARAM_USE_FUNC, shield_param},
	{"shield", PARAM_INT | PARAM_USE_FUNC, shield_is_number},
	{"shield_threshold", PARAM_INT | PARAM_USE_FUNC, shield_threshold_param},
	{"shield_threshold", PARAM_STRING | PARAM_USE_FUNC, shield_threshold_is_text},
	{"shield_time", PARAM_INT | PARAM_USE_FUNC, shield_time_param},
	{"shield_time", PARAM_STRING | PARAM_USE_FUNC, shield_time_is_text},
	{"cluster", PARAM_STRING | PARAM_USE_FUNC, cluster_param},
	{"cluster", PARAM_INT | PARAM_USE_FUNC, cluster_is_number},
	{"cluster_limit", PARAM_INT | PARAM_USE_FUNC, cluster_limit_param},
	{"cluster_limit", PARAM_STRING | PARAM_USE_FUNC, cluster_limit_is_text},
	{"cluster_interval", PARAM_INT | PARAM_USE_FUNC, cluster_interval_param},
	{"cluster_interval", PARAM_STRING | PARAM_USE_FUNC, cluster_interval_is_text},
	{"cluster_strict", PARAM_INT | PARAM_USE_FUNC, cluster_strict_param},
	{"cluster_strict", PARAM_STRING | PARAM_USE_FUNC, cluster_strict_is_text},
	{"cluster_bans", PARAM_INT | PARAM_USE_FUNC, cluster_bans_param},
	{"cluster_bans", PARAM_STRING | PARAM_USE_FUNC, cluster_bans_is_text},
	{"cluster_key", PARAM_STRING | PARAM_USE_FUNC, cluster_key_param},
	{"cluster_key", PARAM_INT | PARAM_USE_FUNC, cluster_key_is_number},
	{"cluster_key_file", PARAM_STRING | PARAM_USE_FUNC, cluster_key_file_param},
	{"cluster_key_file", PARAM_INT | PARAM_USE_FUNC, cluster_key_file_is_number},
	{0, 0, 0}
};
/* clang-format on */

int tcm_params_limit(void)
{
	return (limit == LIMIT_OF_CORE) ? tcm_core_limit() : limit;
}

void tcm_params_config(struct tcl_config *config)
{
	config->max_connections = tcp_max_connections;
	config->limit = tcm_params_limit();
	config->ipv4_prefix = tcm_params.ipv4_prefix;
	config->ipv6_prefix = tcm_params.ipv6_prefix;
	config->mode = tcm_cfg_start.mode;
	config->on_full = tcm_params.on_full;
	config->nat64_prefixes = (const char *const *)nat64_prefixes.list;
	config->nat64_count = nat64_prefixes.count;
	config->rate = rate;
	config->burst = tcm_cfg_start.burst;
	config->penalties = (const char *const *)penalties.list;
	config->penalty_count = penalties.count;
	config->ban_min = tcm_params.ban_min;
	config->ban_max = tcm_params.ban_max;
	config->trust = tcm_params.trust;
	config->untrusted_limit = tcm_cfg_start.untrusted_limit;
	config->trust_timeout = tcm_cfg_start.trust_timeout;
	config->reserve = reserve;
	config->pressure = pressure;
	config->cluster = tcm_cluster_is_on();
	/* Without a cluster, tcm_cluster_check() reports it. */
	config->cluster_limit = tcm_cluster_is_on() ? tcm_cluster_limit() : 0;
	tcm_networks_config(config);
}

int tcm_params_have_proxies(void)
{
	return tcl_rules_have_proxies(
			(const char *const *)rules.list, rules.count, rules_file);
}

int tcm_params_have_network_rules(void)
{
	return tcl_rules_have_networks(
			(const char *const *)rules.list, rules.count, rules_file);
}

int tcm_params_check_rate(
		const char *new_rate, int burst, char *error, size_t error_size)
{
	struct tcl_config config;

	tcm_params_config(&config);
	config.rate = new_rate;
	config.burst = burst;
	return (tcl_config_check(&config, error, error_size) == TCL_OK) ? 0 : -1;
}

int tcm_params_check(void)
{
	struct tcl_config config;

	tcm_params_config(&config);
	return check_config(&config);
}

const char *tcm_params_rules_file(void)
{
	return rules_file;
}

static void log_fault(void *data, const char *line)
{
	LM_ERR("%s\n", line);
}

int tcm_params_check_rules(void)
{
	int ret = tcm_params_check_file(rules_file, log_fault, NULL, NULL, NULL);

	if(ret == TCL_EPANIC)
		LM_ERR("cannot check the rules: internal error\n");
	return (ret == TCL_OK) ? 0 : -1;
}

int tcm_params_check_file(const char *file, tcl_fault fault, tcl_rule_line rule,
		void *data, uint32_t *valid)
{
	return tcl_rules_check((const char *const *)rules.list, rules.count, file,
			(const char *const *)nat64_prefixes.list, nat64_prefixes.count,
			fault, rule, data, valid);
}

int tcm_params_load_rules(char *error, size_t error_size)
{
	return tcl_rules_load((const char *const *)rules.list, rules.count,
			rules_file, error, error_size);
}
