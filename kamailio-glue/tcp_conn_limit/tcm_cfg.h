/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: settings that can be changed while the server runs
 *
 * The group tcp_conn_limit of the cfg framework (cfg.set_now_int and the like).
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

/* what the server starts with: the module parameters */
extern struct cfg_group_tcp_conn_limit tcm_cfg_start;

/* for cfg_get(tcp_conn_limit, tcm_cfg, NAME) */
extern void *tcm_cfg;

/* Each returns 0, or -1 with a line in the log. */

/* Are the module parameters in tcm_cfg_start in their ranges? */
int tcm_cfg_check(void);

/* Declares the group, with the values in tcm_cfg_start. */
int tcm_cfg_declare(void);

/* Change a variable, and what it stands for at once. */
int tcm_cfg_set_limit(int limit);
int tcm_cfg_set_mode(int mode);

/* Puts in force what others have changed the variables to. For a process that the
 * core has brought to their new values. */
void tcm_cfg_apply(void);

#endif /* TCM_CFG_H */
