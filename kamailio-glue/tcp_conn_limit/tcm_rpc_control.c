/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands that change something
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/str.h"

#include "tcm_cfg.h"
#include "tcm_listeners.h"
#include "tcm_params.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

static const char *reload_doc[] = {
		"Reads the rules file again. If any rule is invalid, nothing changes."
		" Shows how many rules there are, and were.",
		0};

static int add_reloaded(rpc_t *rpc, void *c, uint32_t rules, uint32_t was)
{
	const struct tcm_rpc_number numbers[] = {
			{"rules", rules}, {"was", was}, {NULL, 0}};
	const char *file = tcm_params_rules_file();
	void *h;

	if(rpc->add(c, "{", &h) < 0 || tcm_rpc_add_numbers(rpc, h, numbers) < 0
			|| rpc->struct_add(h, "s", "rules_file",
					   (char *)((file != NULL) ? file : "none"))
					   < 0)
		return -1;
	if(file != NULL)
		return 0;
	return rpc->struct_add(h, "s", "note",
			"no rules file was read: modparam rules_file is not set");
}

/* Answers with a fault, and logs why the rules did not change: some transports truncate
 * a fault, and the reader of the log may not be the sender of the request. `error`, which
 * may be empty, names the first of the faults, if the rules have any. Each of them has a
 * line. */
static void reload_failed(rpc_t *rpc, void *c, int ret, const char *error)
{
	const char *reason = (error[0] != '\0') ? error : "internal error";

	if(ret == TCL_ERULES && tcm_params_check_rules() < 0)
		reason = "see the lines above";
	LM_ERR("reload: nothing changed: %s; active rules: %u; by %s\n", reason,
			tcl_rules_count(), tcm_rpc_origin());
	if(error[0] != '\0')
		rpc->fault(c, 500, "%s", error);
	else
		tcm_rpc_failed(rpc, c, ret);
}

static void rpc_reload(rpc_t *rpc, void *c)
{
	/* Has room for the path of the rules file. */
	char error[1024] = "";
	const char *file = tcm_params_rules_file();
	uint32_t rules, was;
	int ret;

	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) < 0)
		return;
	was = tcl_rules_count();
	ret = tcm_params_load_rules(error, sizeof(error));
	if(ret != TCL_OK) {
		reload_failed(rpc, c, ret, error);
		return;
	}
	tcm_listeners_warn();
	rules = tcl_rules_count();
	LM_NOTICE("reload: active rules: %u, before: %u; rules_file %s; by %s\n",
			rules, was, (file != NULL) ? file : "is not set", tcm_rpc_origin());
	if(add_reloaded(rpc, c, rules, was) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *set_limit_doc[] = {
		"Sets the limit of sources without a rule until the server stops, and"
		" shows what it is and was. Parameter: a number, or none for no limit.",
		0};

static void rpc_set_limit(rpc_t *rpc, void *c)
{
	int32_t limit;
	int was;
	void *h;

	if(tcm_rpc_limit(rpc, c, &limit) < 0)
		return;
	if(tcm_cfg_set_limit(limit, &was) < 0)
		rpc->fault(c, 500, "cannot set the limit; see the log");
	else if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_limit(rpc, h, "limit", limit) < 0
			|| tcm_rpc_add_limit(rpc, h, "was", was) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *set_rate_doc[] = {
		"Sets the rate of sources without a rule until the server stops, and"
		" shows what it is and was. Parameters: " TCM_RPC_RATES
		"; how many connections a quiet source may open at once (default:"
		" those of one second, at least 5).",
		0};

int tcm_rpc_read_rate(rpc_t *rpc, void *c, uint32_t *interval_us, char *rate)
{
	char error[256] = "cannot read the rate";
	str text;

	if(tcm_rpc_text(rpc, c, &text) < 1) {
		rpc->fault(c, 400, "missing rate: expected " TCM_RPC_RATES);
		return -1;
	}
	if(tcl_rate_parse(
			   (uint8_t *)text.s, text.len, interval_us, error, sizeof(error))
			!= TCL_OK) {
		rpc->fault(c, 400, "%s", error);
		return -1;
	}
	snprintf(rate, TCL_RATE_TEXT, "%.*s", text.len, text.s);
	return 0;
}

int tcm_rpc_read_burst(rpc_t *rpc, void *c, int *burst)
{
	str text;

	*burst = 0;
	if(tcm_rpc_text(rpc, c, &text) < 1)
		return 0;
	if(tcm_text_number(&text, burst) == 0 && *burst >= 1)
		return tcm_rpc_end(rpc, c, "a rate and a burst");
	rpc->fault(c, 400,
			"invalid burst \"%.*s\": expected a number of at least 1",
			TCM_RPC_SHOWN(text));
	return -1;
}

static void rpc_set_rate(rpc_t *rpc, void *c)
{
	char text[TCL_RATE_TEXT], error[256] = "cannot check the rate";
	struct tcl_rate was, now;
	uint32_t interval_us;
	int burst;
	void *h;

	if(tcm_rpc_read_rate(rpc, c, &interval_us, text) < 0
			|| tcm_rpc_read_burst(rpc, c, &burst) < 0)
		return;
	if(tcm_params_check_rate(text, burst, error, sizeof(error)) < 0)
		rpc->fault(c, 400, "%s", error);
	else if(tcm_cfg_set_rate(interval_us, burst, &was, &now) < 0)
		rpc->fault(c, 500, "cannot set the rate; see the log");
	else if(rpc->add(c, "{", &h) < 0
			|| tcm_rpc_add_rate(rpc, h, "rate", "burst", &now) < 0
			|| tcm_rpc_add_rate(rpc, h, "was", "burst_was", &was) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *set_mode_doc[] = {
		"Sets the mode until the server stops, and shows what it is and was."
		" Parameter: enforce, monitor or off.",
		0};

static void rpc_set_mode(rpc_t *rpc, void *c)
{
	str text;
	int mode, was;
	void *h;

	if(tcm_rpc_text(rpc, c, &text) < 1) {
		rpc->fault(c, 400, "missing mode: expected " TCM_TEXT_MODES);
		return;
	}
	mode = tcm_text_mode(&text);
	if(mode < 0) {
		rpc->fault(c, 400, "invalid mode \"%.*s\": expected " TCM_TEXT_MODES,
				TCM_RPC_SHOWN(text));
		return;
	}
	if(tcm_rpc_end(rpc, c, "one mode") < 0)
		return;
	if(tcm_cfg_set_mode(mode, &was) < 0)
		rpc->fault(c, 500, "cannot set the mode; see the log");
	else if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "ss", "mode",
					   (char *)tcm_text_mode_name(mode), "was",
					   (char *)tcm_text_mode_name(was))
					   < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *reset_stats_doc[] = {
		"Resets event counters to 0 and the peak of each source to its current"
		" number of connections. Shows what the counters were.",
		0};

/* The present value of a counter. */
static uint64_t value_of(const char *name)
{
	struct tcl_counter counter;
	uint32_t i;

	for(i = 0; tcl_counter(i, &counter) == TCL_OK; i++) {
		if(strcmp(counter.name, name) == 0)
			return tcl_counter_value(i);
	}
	return 0;
}

static void rpc_reset_stats(rpc_t *rpc, void *c)
{
	struct tcm_rpc_number numbers[] = {
			{"admitted", 0},
			{"rejected", 0},
			{"would_reject", 0},
			{"admitted_was", value_of("admitted")},
			{"rejected_was", value_of("rejected")},
			{"would_reject_was", value_of("would_reject")},
			{NULL, 0},
	};
	int i, ret;
	void *h;

	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) < 0)
		return;
	ret = tcl_reset_stats();
	if(ret != TCL_OK) {
		tcm_rpc_failed(rpc, c, ret);
		return;
	}
	LM_NOTICE("statistics reset by %s\n", tcm_rpc_origin());
	/* Connections may have come since. */
	for(i = 0; i < 3; i++)
		numbers[i].value = value_of(numbers[i].name);
	if(rpc->add(c, "{", &h) < 0 || tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		tcm_rpc_no_room(rpc, c);
}

/* clang-format off */
rpc_export_t tcm_rpc_control[] = {
	{"tcp_conn_limit.reload", rpc_reload, reload_doc, RPC_EXEC_DELTA},
	{"tcp_conn_limit.set_limit", rpc_set_limit, set_limit_doc, 0},
	{"tcp_conn_limit.set_rate", rpc_set_rate, set_rate_doc, 0},
	{"tcp_conn_limit.set_mode", rpc_set_mode, set_mode_doc, 0},
	{"tcp_conn_limit.reset_stats", rpc_reset_stats, reset_stats_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
