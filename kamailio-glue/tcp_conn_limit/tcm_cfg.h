/*!
 * \file
 * \brief tcp_conn_limit :: settings that can be changed while the server runs
 *
 * The group tcp_conn_limit of the cfg framework (cfg.set_now_int and the like).
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_CFG_H
#define TCM_CFG_H

#include "../../core/cfg/cfg.h"

#include <tcp_conn_limit.h>

struct cfg_group_tcp_conn_limit
{
	int limit;
	int mode;
	int rate;  /* connections an hour; 0: no rate */
	int burst; /* 0: the default one of the rate */
	int log_interval;
	int log_level;
	int untrusted_limit; /* 0: no limit */
	int trust_timeout;	 /* seconds; 0: never */
	int network_limit;	 /* 0: no limit */
	int network_rate;	 /* as rate */
	int network_burst;	 /* as burst */
};

/* The values at the start of the server: the module parameters. */
extern struct cfg_group_tcp_conn_limit tcm_cfg_start;

/* The range of a limit; -1 and 0: no limit. A server has at most this many connections.
 * The core cuts numbers to 32 bits, and what is left of a larger one is usually out of
 * this range. */
#define TCM_CFG_LIMIT_MIN -1
#define TCM_CFG_LIMIT_MAX 100000000

/* For cfg_get(tcp_conn_limit, tcm_cfg, NAME). */
extern void *tcm_cfg;

/* Each function that returns int returns 0, or -1 after logging an error. */

/* Checks that log_interval and log_level in tcm_cfg_start are in their ranges. */
int tcm_cfg_check(void);

/* Declares the group, with the values in tcm_cfg_start as defaults. */
int tcm_cfg_declare(void);

/* Sets the values of rate and network_rate in tcm_cfg_start to those of the limiter, which
 * has read the parameters. Call it after tcl_init() and before tcm_cfg_declare(). */
int tcm_cfg_read_rates(void);

/* A rate as text: "none", or such as "10/s, burst 20". */
#define TCM_CFG_RATE_SIZE (TCL_RATE_TEXT + 32)
const char *tcm_cfg_rate_text(const struct tcl_rate *rate, char *text);

/* Change a variable and the limiter's value at once, for an RPC command, and log the
 * change. The value before is written to `was`. */
int tcm_cfg_set_limit(int limit, int *was);
int tcm_cfg_set_mode(int mode, int *was);

/* The same for the rate and the burst, which must have passed tcm_params_check_rate().
 * The rate that applies now is written to `now`. */
int tcm_cfg_set_rate(uint32_t interval_us, int burst, struct tcl_rate *was,
		struct tcl_rate *now);

/* Why trust cannot be changed or used, and the remedy. */
#define TCM_TRUST_OFF                                                 \
	"trust is off; set the modparam untrusted_limit (0: no limit by " \
	"default) and restart the server"

/* The same for the limit of untrusted connections (0: no limit) and the seconds to trust
 * one. They return TCL_OK, TCL_EOFF without changing anything, or another code after logging
 * an error. */
int tcm_cfg_set_untrusted_limit(int limit, int *was);
int tcm_cfg_set_trust_timeout(int seconds, int *was);

/* Why nothing about networks can be changed, and the remedy. */
#define TCM_NETWORKS_OFF                                               \
	"networks have not been counted since the start: set the modparam" \
	" network_limit (0: no limit) and restart the server"

/* The same for the limit of networks (0: no limit) and their rate, which must have passed
 * tcm_params_check_rate(). They return TCL_OK, TCL_EOFF without changing anything, or
 * another code, after which the log has an error. */
int tcm_cfg_set_network_limit(int limit, int *was);
int tcm_cfg_set_network_rate(uint32_t interval_us, int burst,
		struct tcl_rate *was, struct tcl_rate *now);

/* Applies changes that other processes made to the variables. Call it in a process
 * that the core has brought to their new values. */
void tcm_cfg_apply(void);

#endif /* TCM_CFG_H */
