/*!
 * \file
 * \brief tcp_conn_limit :: the parameters and RPC commands about networks
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>

#include "../../core/dprint.h"
#include "../../core/str.h"

#include "tcm_cfg.h"
#include "tcm_networks.h"
#include "tcm_params.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

static int has_limit = 0;	/* the parameter network_limit was given */
static char *rate = NULL;	/* NULL if not set */
static int ipv4_length = 0; /* 0 if not set, here and below */
static int ipv6_length = 0;

void tcm_networks_config(struct tcl_config *config)
{
	config->networks = (has_limit || rate != NULL);
	config->network_limit = tcm_cfg_start.network_limit;
	config->network_rate = rate;
	config->network_burst = tcm_cfg_start.network_burst;
	config->ipv4_network = ipv4_length;
	config->ipv6_network = ipv6_length;
}

int tcm_network_limit_param(modparam_t type, void *value)
{
	const int given = (int)(long)value;

	if(given >= 0 && given <= TCM_CFG_LIMIT_MAX) {
		has_limit = 1;
		tcm_cfg_start.network_limit = given;
		return 0;
	}
	LM_ERR("modparam network_limit is %d: expected 1 to %d, or 0 to count"
		   " networks without a limit\n",
			given, TCM_CFG_LIMIT_MAX);
	return -1;
}

int tcm_network_rate_param(modparam_t type, void *value)
{
	return tcm_params_set_text(&rate, value);
}

int tcm_network_burst_param(modparam_t type, void *value)
{
	return tcm_params_set_number(&tcm_cfg_start.network_burst, value);
}

/* 0 would be the default, which is not what it says. */
static int set_length(int *to, const char *name, void *value)
{
	if((int)(long)value != 0)
		return tcm_params_set_number(to, value);
	LM_ERR("bad setting: %s 0: expected a number of bits; correct the"
		   " modparam\n",
			name);
	return -1;
}

int tcm_ipv4_network_param(modparam_t type, void *value)
{
	return set_length(&ipv4_length, "ipv4_network", value);
}

int tcm_ipv6_network_param(modparam_t type, void *value)
{
	return set_length(&ipv6_length, "ipv6_network", value);
}

TCM_PARAMS_IS_TEXT(tcm_, network_limit)
TCM_PARAMS_IS_NUMBER(tcm_, network_rate)
TCM_PARAMS_IS_TEXT(tcm_, network_burst)
TCM_PARAMS_IS_TEXT(tcm_, ipv4_network)
TCM_PARAMS_IS_TEXT(tcm_, ipv6_network)

int tcm_networks_add_settings(rpc_t *rpc, void *h)
{
	struct tcl_rate now;
	int32_t current;

	if(tcl_network_settings(&current, &now) < 1)
		return 0;
	if(tcm_rpc_add_limit(rpc, h, "network_limit", current) < 0)
		return -1;
	return tcm_rpc_add_rate(rpc, h, "network_rate", "network_burst", &now);
}

static const char *set_network_limit_doc[] = {
		"Sets the limit of networks without a rule until the server stops, and"
		" shows what it is and was. Parameter: a number, or none for no limit.",
		0};

/* Answers with a fault if a setting was not changed, which returned this code. Returns 0 if
 * it was changed, or -1. */
static int check(rpc_t *rpc, void *c, int ret, const char *what)
{
	if(ret == TCL_OK)
		return 0;
	if(ret == TCL_EOFF)
		rpc->fault(c, 500, TCM_NETWORKS_OFF);
	else
		rpc->fault(c, 500, "cannot set the %s; see the log", what);
	return -1;
}

static void rpc_set_network_limit(rpc_t *rpc, void *c)
{
	int32_t now;
	int was;
	void *h;

	if(tcm_rpc_limit(rpc, c, &now) < 0
			|| check(rpc, c, tcm_cfg_set_network_limit(now, &was),
					   "network limit")
					   < 0)
		return;
	if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_limit(rpc, h, "network_limit", now) < 0
			|| tcm_rpc_add_limit(rpc, h, "was", was) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *set_network_rate_doc[] = {
		"Sets the rate of networks without a rule until the server stops, and"
		" shows what it is and was. Parameters: " TCM_RPC_RATES
		"; how many connections a quiet network may open at once (default:"
		" those of one second, at least 5).",
		0};

static void rpc_set_network_rate(rpc_t *rpc, void *c)
{
	char text[TCL_RATE_TEXT], error[256] = "cannot check the rate";
	struct tcl_rate was, now;
	uint32_t interval_us;
	int burst;
	void *h;

	if(tcm_rpc_read_rate(rpc, c, &interval_us, text) < 0
			|| tcm_rpc_read_burst(rpc, c, &burst) < 0)
		return;
	if(tcm_params_check_rate(text, burst, error, sizeof(error)) < 0) {
		rpc->fault(c, 400, "%s", error);
		return;
	}
	if(check(rpc, c, tcm_cfg_set_network_rate(interval_us, burst, &was, &now),
			   "network rate")
			< 0)
		return;
	if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_rate(rpc, h, "network_rate", "network_burst", &now)
					   < 0
			|| tcm_rpc_add_rate(rpc, h, "was", "burst_was", &was) < 0)
		tcm_rpc_no_room(rpc, c);
}

/* clang-format off */
rpc_export_t tcm_rpc_networks[] = {
	{"tcp_conn_limit.set_network_limit", rpc_set_network_limit,
		set_network_limit_doc, 0},
	{"tcp_conn_limit.set_network_rate", rpc_set_network_rate,
		set_network_rate_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
