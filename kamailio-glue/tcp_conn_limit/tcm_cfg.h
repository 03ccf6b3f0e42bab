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

struct cfg_group_tcp_conn_limit
{
	int limit;
	int mode;
	int log_interval;
	int log_level;
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

/* Change a variable and the limiter's value at once, for an RPC command, and log the
 * change. The value before is written to `was`. */
int tcm_cfg_set_limit(int limit, int *was);
int tcm_cfg_set_mode(int mode, int *was);

/* Applies changes that other processes made to the variables. Call it in a process
 * that the core has brought to their new values. */
void tcm_cfg_apply(void);

#endif /* TCM_CFG_H */
