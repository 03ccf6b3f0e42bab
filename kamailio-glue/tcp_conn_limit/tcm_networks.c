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

/* The parameter network_limit was not given. */
#define NOT_SET -1

static int limit = NOT_SET;
static int burst = 0;		/* 0 if not set */
static char *rate = NULL;	/* NULL if not set */
static int ipv4_length = 0; /* 0 if not set, here and below */
static int ipv6_length = 0;

void tcm_networks_config(struct tcl_config *config)
{
	config->networks = (limit != NOT_SET || rate != NULL);
	config->network_limit = (limit > 0) ? limit : 0;
	config->network_rate = rate;
	config->network_burst = burst;
	config->ipv4_network = ipv4_length;
	config->ipv6_network = ipv6_length;
}

int tcm_network_limit_param(modparam_t type, void *value)
{
	const int given = (int)(long)value;

	if(given >= 0 && given <= TCM_CFG_LIMIT_MAX) {
		limit = given;
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
	return tcm_params_set_number(&burst, value);
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

/* Reads the settings of networks. Returns 0, or -1 after answering with a fault. */
static int read_settings(
		rpc_t *rpc, void *c, int32_t *current, struct tcl_rate *now)
{
	if(tcl_network_settings(current, now) == 1)
		return 0;
	rpc->fault(c, 500,
			"networks have not been counted since the start: set the modparam"
			" network_limit (0: no limit) and restart the server");
	return -1;
}

static const char *set_network_limit_doc[] = {
		"Sets the limit of networks without a rule until the server stops, and"
		" shows what it is and was. Parameter: a number, or none for no limit.",
		0};

static void rpc_set_network_limit(rpc_t *rpc, void *c)
{
	char error[256] = "cannot read the limit";
	char before[TCM_TEXT_LIMIT_SIZE], after[TCM_TEXT_LIMIT_SIZE];
	struct tcl_rate unused;
	str text;
	int32_t now, was;
	void *h;

	if(tcm_rpc_text(rpc, c, &text) < 1) {
		rpc->fault(c, 400,
				"missing limit: expected a number, or none for no limit");
		return;
	}
	if(tcl_limit_parse((uint8_t *)text.s, text.len, &now, error, sizeof(error))
			!= TCL_OK) {
		rpc->fault(c, 400, "%s", error);
		return;
	}
	if(tcm_rpc_end(rpc, c, "one limit") < 0
			|| read_settings(rpc, c, &was, &unused) < 0)
		return;
	if(tcl_set_network_limit(now) != TCL_OK) {
		tcm_rpc_failed(rpc, c, TCL_EINIT);
		return;
	}
	if(was != now)
		LM_NOTICE("network limit changed from %s to %s by %s\n",
				tcm_text_limit(was, before), tcm_text_limit(now, after),
				tcm_rpc_origin());
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
	char text[TCL_RATE_TEXT], error[256] = "cannot set the rate";
	char before[TCM_CFG_RATE_SIZE], after[TCM_CFG_RATE_SIZE];
	struct tcl_rate was, now;
	uint32_t interval_us;
	int32_t unused;
	int new_burst;
	void *h;

	if(tcm_rpc_read_rate(rpc, c, &interval_us, text) < 0
			|| tcm_rpc_read_burst(rpc, c, &new_burst) < 0
			|| read_settings(rpc, c, &unused, &was) < 0)
		return;
	if(tcl_set_network_rate(
			   interval_us, (uint32_t)new_burst, error, sizeof(error))
			!= TCL_OK) {
		rpc->fault(c, 400, "%s", error);
		return;
	}
	if(read_settings(rpc, c, &unused, &now) < 0)
		return;
	LM_NOTICE("network rate changed from %s to %s by %s\n",
			tcm_cfg_rate_text(&was, before), tcm_cfg_rate_text(&now, after),
			tcm_rpc_origin());
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
