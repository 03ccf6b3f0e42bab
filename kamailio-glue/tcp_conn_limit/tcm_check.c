/*!
 * \file
 * \brief tcp_conn_limit :: checks before the start
 *
 * With the option -c the core reads the configuration, which includes loading the modules
 * and setting their parameters, and ends. It calls no function of a module afterwards: no
 * mod_init(), no fixup. So the function of a parameter checks what the value alone shows,
 * and the core adds the file and line. Everything else depends on other parameters, or on
 * routes further below, and is checked when the process ends.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"

#include "tcm_attach.h"
#include "tcm_cfg.h"
#include "tcm_check.h"
#include "tcm_cluster.h"
#include "tcm_identity.h"
#include "tcm_params.h"
#include "tcm_shield.h"
#include "tcm_watch.h"

/* Errors in the configuration file. Defined in core/cfg.y; no header declares it. */
extern int cfg_errors;

/* As main() returns for a wrong configuration. */
#define EXIT_INVALID 255

int tcm_check(void)
{
	int ret = 0;

	if(tcm_cfg_check() < 0)
		ret = -1;
	if(tcm_params_check() < 0)
		ret = -1;
	if(tcm_attach_choose() < 0)
		ret = -1;
	if(tcm_shield_check() < 0)
		ret = -1;
	if(tcm_cluster_check() < 0)
		ret = -1;
	if(tcm_params_check_rules() < 0)
		ret = -1;
	else
		tcm_identity_check_file(tcm_params_rules_file());
	if(tcm_watch_check(&tcm_params.event_callback) < 0)
		ret = -1;
	return ret;
}

/* Runs after main() has returned. */
static void check_at_end(void)
{
	/* The parameters may be incomplete, and main() has returned an error. */
	if(cfg_errors > 0 || tcm_check() == 0)
		return;
	LM_ERR("the configuration is not ok: see the errors above\n");
	/* exit() cannot be called again to change the exit status, so what it would
	 * still do is done here. */
	fflush(NULL);
	_exit(EXIT_INVALID);
}

int tcm_check_register(void)
{
	if(!config_check || atexit(check_at_end) == 0)
		return 0;
	LM_ERR("cannot register the check of the configuration\n");
	return -1;
}
