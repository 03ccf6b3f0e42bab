/*!
 * \file
 * \brief tcp_conn_limit :: settings that can be changed while the server runs
 *
 * The variables of the cfg framework are authoritative; the limiter follows them.
 * set_limit and set_mode change the variable and the limiter at once. A change through
 * the framework (cfg.set_now_int) only changes the variable. The watcher process
 * applies it in tcm_cfg_apply(), after the core has brought that process to the new
 * values. If two changes race and the limiter is left with the older one, the next
 * tick of the watcher corrects it.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "../../core/cfg/cfg_ctx.h"
#include "../../core/dprint.h"

#include "tcm_cfg.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

#define LOG_INTERVAL_MIN 1
#define LOG_INTERVAL_MAX 86400

struct cfg_group_tcp_conn_limit tcm_cfg_start = {
		.mode = TCL_MODE_ENFORCE,
		.log_interval = 60,
		.log_level = L_WARN,
};

void *tcm_cfg = &tcm_cfg_start;

/* All variables are CFG_ATOMIC. For any other variable the core keeps what it
 * allocates for a change until every process has seen the change, and some processes
 * never look. */
/* clang-format off */
static cfg_def_t definition[] = {
	{"limit", CFG_VAR_INT | CFG_ATOMIC, TCM_CFG_LIMIT_MIN, TCM_CFG_LIMIT_MAX,
		0, 0,
		"Connections that a source without a rule may have; 0 or -1: no limit"},
	{"mode", CFG_VAR_INT | CFG_ATOMIC, TCL_MODE_ENFORCE, TCL_MODE_OFF, 0, 0,
		"0: enforce, 1: monitor (rejects nothing; counts and logs what enforce"
		" would reject), 2: off"},
	{"log_interval", CFG_VAR_INT | CFG_ATOMIC, LOG_INTERVAL_MIN,
		LOG_INTERVAL_MAX, 0, 0,
		"Minimum seconds between log lines about the same source"},
	{"log_level", CFG_VAR_INT | CFG_ATOMIC, L_MIN, L_MAX, 0, 0,
		"Log level of the lines about rejections"},
	{0, 0, 0, 0, 0, 0, 0}
};
/* clang-format on */

static str group_name = str_init("tcp_conn_limit");
static str limit_name = str_init("limit");
static str mode_name = str_init("mode");

static cfg_ctx_t *context = NULL;

static int set_limit(int limit)
{
	if(tcl_set_limit(limit) == TCL_OK)
		return 0;
	LM_ERR("cannot set the limit to %d\n", limit);
	return -1;
}

static int set_mode(int mode)
{
	if(tcl_set_mode(mode) == TCL_OK)
		return 0;
	LM_ERR("cannot set the mode to %d\n", mode);
	return -1;
}

/* What a log line says of the cause of a change that the watcher applies. */
#define BY_VARIABLE \
	"a cfg variable, which cfg.set_now_int or another process set"

static void log_limit(int was, int limit, const char *by)
{
	char before[TCM_TEXT_LIMIT_SIZE], now[TCM_TEXT_LIMIT_SIZE];

	if(was != limit)
		LM_NOTICE("limit changed from %s to %s by %s\n",
				tcm_text_limit(was, before), tcm_text_limit(limit, now), by);
}

static void log_mode(int was, int mode, const char *by)
{
	if(was != mode)
		LM_NOTICE("mode changed from %s to %s by %s\n", tcm_text_mode_name(was),
				tcm_text_mode_name(mode), by);
}

/* Reads the limiter's values before the variables. A process that changes the limiter
 * has changed the variable before, so the value of the variable that is read
 * afterwards is not older than the limiter's. */
void tcm_cfg_apply(void)
{
	int32_t limit, mode;

	if(tcl_settings(&limit, &mode) != TCL_OK)
		return;
	if(cfg_get(tcp_conn_limit, tcm_cfg, limit) != limit
			&& set_limit(cfg_get(tcp_conn_limit, tcm_cfg, limit)) == 0)
		log_limit(limit, cfg_get(tcp_conn_limit, tcm_cfg, limit), BY_VARIABLE);
	if(cfg_get(tcp_conn_limit, tcm_cfg, mode) != mode
			&& set_mode(cfg_get(tcp_conn_limit, tcm_cfg, mode)) == 0)
		log_mode(mode, cfg_get(tcp_conn_limit, tcm_cfg, mode), BY_VARIABLE);
}

static int in_range(const char *name, int value, int min, int max)
{
	if(value >= min && value <= max)
		return 1;
	LM_ERR("bad setting: %s is %d: expected a number from %d to %d; correct"
		   " the modparam\n",
			name, value, min, max);
	return 0;
}

int tcm_cfg_check(void)
{
	if(in_range("log_interval", tcm_cfg_start.log_interval, LOG_INTERVAL_MIN,
			   LOG_INTERVAL_MAX)
			&& in_range("log_level", tcm_cfg_start.log_level, L_MIN, L_MAX))
		return 0;
	return -1;
}

int tcm_cfg_declare(void)
{
	if(cfg_declare(group_name.s, definition, &tcm_cfg_start,
			   cfg_sizeof(tcp_conn_limit), &tcm_cfg)
					!= 0
			|| cfg_register_ctx(&context, NULL) != 0) {
		LM_ERR("cannot declare the configuration variables of the group %s\n",
				group_name.s);
		return -1;
	}
	return 0;
}

/* Changes the variable first, see tcm_cfg_apply(). */
int tcm_cfg_set_limit(int limit, int *was)
{
	int32_t limit_before, mode;

	if(tcl_settings(&limit_before, &mode) != TCL_OK
			|| cfg_set_now_int(context, &group_name, NULL, &limit_name, limit)
					   != 0
			|| set_limit(limit) < 0)
		return -1;
	log_limit(limit_before, limit, tcm_rpc_origin());
	*was = limit_before;
	return 0;
}

int tcm_cfg_set_mode(int mode, int *was)
{
	int32_t limit, mode_before;

	if(tcl_settings(&limit, &mode_before) != TCL_OK
			|| cfg_set_now_int(context, &group_name, NULL, &mode_name, mode)
					   != 0
			|| set_mode(mode) < 0)
		return -1;
	log_mode(mode_before, mode, tcm_rpc_origin());
	*was = mode_before;
	return 0;
}
