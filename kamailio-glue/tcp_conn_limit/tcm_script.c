/*!
 * \file
 * \brief tcp_conn_limit :: what scripts see: functions, native and KEMI, and variables
 *
 * They read the table and count nothing, except those that ban or penalize. The
 * pseudo-variables $tcp_conn_limit(FIELD) are about the source of the current message or,
 * in an event route, of the event.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mod_fix.h"
#include "../../core/pvapi.h"
#include "../../core/timer.h"

#include "tcm_address.h"
#include "tcm_cfg.h"
#include "tcm_listeners.h"
#include "tcm_script.h"
#include "tcm_script_bans.h"
#include "tcm_script_moves.h"
#include "tcm_script_trust.h"
#include "tcm_text.h"
#include "tcm_watch.h"

#include <tcp_conn_limit.h>

enum kind
{
	TEXT,
	UNSIGNED,
	SIGNED,
	MODE, /* of the module, not of the source */
	LOAD  /* of the server; the offset is in struct tcl_load_report */
};

struct field
{
	const char *name;
	enum kind kind;
	size_t offset; /* in struct tcl_source */
};

#define AT(member) offsetof(struct tcl_source, member)

/* Not in the struct: the level before the event, or the present one. */
#define PRESSURE_WAS sizeof(struct tcl_load_report)

/* clang-format off */
static const struct field fields[] = {
	{"source", TEXT, AT(text)},
	{"scope", TEXT, AT(scope)},
	{"connections", UNSIGNED, AT(connections)},
	{"limit", SIGNED, AT(limit)},
	{"rejected", UNSIGNED, AT(rejected)},
	{"would_reject", UNSIGNED, AT(would_reject)},
	{"peak", UNSIGNED, AT(peak)},
	{"rule", TEXT, AT(rule)},
	{"mode", MODE, 0},
	{"rejected_for", TEXT, AT(rejected_for)},
	{"rate", TEXT, AT(rate.text)},
	{"burst", UNSIGNED, AT(rate.burst)},
	{"owed", UNSIGNED, AT(owed)},
	{"penalty", UNSIGNED, AT(penalty)},
	{"banned", UNSIGNED, AT(banned)},
	{"ban_reason", TEXT, AT(ban_reason)},
	{"ban_rejected", UNSIGNED, AT(ban_rejected)},
	{"exempt", SIGNED, AT(exempt)},
	{"listener", TEXT, AT(listener)},
	{"trusted", UNSIGNED, AT(trusted)},
	{"untrusted", UNSIGNED, AT(untrusted)},
	{"untrusted_limit", SIGNED, AT(untrusted_limit)},
	{"trusted_rule", SIGNED, AT(trusted_rule)},
	{"effective_limit", SIGNED, AT(effective_limit)},
	{"reserved", SIGNED, AT(reserved)},
	{"in_use", LOAD, offsetof(struct tcl_load_report, in_use)},
	{"in_use_max", LOAD, offsetof(struct tcl_load_report, max)},
	{"pressure_level", LOAD, offsetof(struct tcl_load_report, level)},
	{"pressure_was", LOAD, PRESSURE_WAS},
};
/* clang-format on */

/* The largest rank for tcp_conn_limit_top(). */
#define TCM_SCRIPT_TOP 20

#define FIELDS ((int)(sizeof(fields) / sizeof(fields[0])))

static int find_field(const str *name)
{
	int i;

	for(i = 0; i < FIELDS; i++) {
		if(name->len == (int)strlen(fields[i].name)
				&& strncmp(name->s, fields[i].name, name->len) == 0)
			return i;
	}
	LM_ERR("unknown field \"%.*s\" of tcp_conn_limit: expected source, scope,"
		   " connections, limit, rejected, would_reject, peak, rule, mode,"
		   " rejected_for, rate, burst, owed, penalty, banned, ban_reason,"
		   " ban_rejected, exempt, listener, trusted, untrusted,"
		   " untrusted_limit, trusted_rule, effective_limit, reserved,"
		   " in_use, in_use_max, pressure_level or pressure_was\n",
			name->len, name->s);
	return -1;
}

/* The core hands out several buffers in turn, so one expression can use two values. */
static int text_value(const char *text, pv_value_t *value)
{
	char *buffer = pv_get_buffer();

	snprintf(buffer, pv_get_buffer_size(), "%s", text);
	return pv_get_strzval(NULL, NULL, value, buffer);
}

static const char *mode_name(void)
{
	return tcm_text_mode_name(cfg_get(tcp_conn_limit, tcm_cfg, mode));
}

/* A number of the server: of the event if it is a change of pressure, else of now. */
static int load_value(size_t offset, pv_value_t *value)
{
	const struct tcl_pressure *event = tcm_watch_pressure_event();
	struct tcl_load_report report;

	if(tcl_load_report(&report) != TCL_OK)
		return pv_get_null(NULL, NULL, value);
	if(event != NULL) {
		report.in_use = event->in_use;
		report.max = event->max;
		report.level = event->level;
	}
	if(offset == PRESSURE_WAS)
		return pv_get_uintval(
				NULL, NULL, value, (event != NULL) ? event->was : report.level);
	return pv_get_uintval(
			NULL, NULL, value, *(uint32_t *)((char *)&report + offset));
}

static int field_value(
		const struct tcl_source *source, int field, pv_value_t *value)
{
	const char *member = (const char *)source + fields[field].offset;

	switch(fields[field].kind) {
		case TEXT:
			return text_value(member, value);
		case MODE:
			return text_value(mode_name(), value);
		case LOAD:
			return load_value(fields[field].offset, value);
		case UNSIGNED:
			return pv_get_uintval(NULL, NULL, value, *(uint32_t *)member);
		default:
			return pv_get_sintval(NULL, NULL, value, *(int32_t *)member);
	}
}

/* Fills in what the event says of the reason and of the ban. The table forgets a ban that
 * has ended. */
static void source_of_ban(
		const struct tcl_event *event, struct tcl_source *source)
{
	snprintf(source->rejected_for, sizeof(source->rejected_for), "%s",
			event->reason);
	if(event->ban[0] == '\0')
		return;
	snprintf(source->ban_reason, sizeof(source->ban_reason), "%s", event->ban);
	source->banned = event->seconds;
	if(source->ban_rejected == 0)
		source->ban_rejected = event->rejected;
}

/* Fills in the source from the event, and from the table what the event does not
 * contain. */
static void source_of_event(
		const struct tcl_event *event, struct tcl_source *source)
{
	const uint8_t *name = (const uint8_t *)event->source;
	const size_t length = strlen(event->source);
	int32_t counts;
	int found;

	if(strcmp(event->scope, "network") == 0)
		found = tcl_network(name, length, source, &counts) == 1;
	else
		found = tcl_find(name, length, -1, source, NULL, 0) == TCL_OK;
	if(!found)
		memset(source, 0, sizeof(*source));
	snprintf(source->scope, sizeof(source->scope), "%s", event->scope);
	snprintf(source->text, sizeof(source->text), "%s", event->source);
	snprintf(source->rule, sizeof(source->rule), "%s", event->rule);
	source->connections = event->connections;
	source->limit = event->limit;
	snprintf(source->listener, sizeof(source->listener), "%s", event->listener);
	source_of_ban(event, source);
	/* The table may have dropped the source, or the statistics been reset. */
	if(source->rejected == 0 && source->would_reject == 0) {
		if(event->would)
			source->would_reject = event->rejected;
		else
			source->rejected = event->rejected;
	}
}

static int pv_get(sip_msg_t *msg, pv_param_t *param, pv_value_t *value)
{
	const struct tcl_event *event = tcm_watch_event();
	struct tcl_source source;
	struct ip_addr address;

	if(event != NULL) {
		source_of_event(event, &source);
	} else {
		tcm_address_of_message(msg, &address);
		if(tcl_get(address.u.addr, address.len, tcm_listeners_of_message(msg),
				   &source)
				!= TCL_OK)
			return pv_get_null(msg, param, value);
	}
	return field_value(&source, param->pvn.u.isname.name.n, value);
}

static int pv_parse(pv_spec_t *spec, str *name)
{
	int field = find_field(name);

	if(field < 0)
		return -1;
	spec->pvp.pvn.type = PV_NAME_INTSTR;
	spec->pvp.pvn.u.isname.type = 0;
	spec->pvp.pvn.u.isname.name.n = field;
	return 0;
}

/* clang-format off */
pv_export_t tcm_script_pv_exports[] = {
	{STR_STATIC_INIT("tcp_conn_limit"), PVT_OTHER, pv_get, 0, pv_parse, 0, 0, 0},
	{{0, 0}, 0, 0, 0, 0, 0, 0, 0}
};
/* clang-format on */

void tcm_script_report_invalid(const char *error)
{
	tcm_script_report(error, TCM_SCRIPT_INVALID);
}

void tcm_script_report(const char *error, int ret)
{
	static unsigned int next = 0;
	unsigned int now = get_ticks();

	if(next != 0 && now < next) {
		LM_DBG("%s\n", error);
		return;
	}
	next = now + cfg_get(tcp_conn_limit, tcm_cfg, log_interval);
	LM_WARN("%s; the function returns %d\n", error, ret);
}

int tcm_script_find(
		const sip_msg_t *msg, const str *address, struct tcl_source *source)
{
	char error[256] = "";

	switch(tcl_find((const uint8_t *)address->s, address->len,
			tcm_listeners_of_message(msg), source, error, sizeof(error))) {
		case TCL_OK:
			return 0;
		case TCL_EARG:
			tcm_script_report_invalid(error);
			return TCM_SCRIPT_INVALID;
		default:
			LM_ERR("cannot read the table\n");
			return TCM_SCRIPT_NO;
	}
}

/* May the address open one more connection? */
static int ki_check(sip_msg_t *msg, str *address)
{
	struct tcl_source source;
	int ret = tcm_script_find(msg, address, &source);

	if(ret < 0)
		return ret;
	if(cfg_get(tcp_conn_limit, tcm_cfg, mode) != TCL_MODE_ENFORCE)
		return TCM_SCRIPT_YES;
	if(source.banned > 0 || source.reserved || source.over_network
			|| (source.rate.interval_us > 0 && source.owed >= source.rate.burst)
			|| (source.effective_limit > 0
					&& source.connections >= (uint32_t)source.effective_limit)
			|| (source.untrusted_limit > 0
					&& source.untrusted >= (uint32_t)source.untrusted_limit))
		return TCM_SCRIPT_NO;
	return TCM_SCRIPT_YES;
}

/* One of the source's unsigned numbers, capped at INT_MAX, because KEMI has no unsigned
 * type. A negative result means an error. */
static int ki_number(sip_msg_t *msg, const str *address, size_t member)
{
	struct tcl_source source;
	uint32_t number;
	int ret = tcm_script_find(msg, address, &source);

	if(ret < 0)
		return ret;
	number = *(uint32_t *)((char *)&source + member);
	return (number > INT_MAX) ? INT_MAX : (int)number;
}

static int ki_connections(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, connections));
}

static int ki_rejected(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, rejected));
}

static int ki_would_reject(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, would_reject));
}

static int ki_peak(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, peak));
}

static int ki_banned(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, banned));
}

static int ki_trusted(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, trusted));
}

static int ki_untrusted(sip_msg_t *msg, str *address)
{
	return ki_number(msg, address, offsetof(struct tcl_source, untrusted));
}

static int ki_limit(sip_msg_t *msg, str *address)
{
	struct tcl_source source;
	int ret = tcm_script_find(msg, address, &source);

	if(ret < 0)
		return ret;
	return (source.limit > 0) ? source.limit : 0;
}

/* KEMI copies the text before it calls the next function. */
static sr_kemi_xval_t *ki_text(const char *text)
{
	static char buffer[TCL_SOURCE_TEXT];
	static sr_kemi_xval_t result;

	memset(&result, 0, sizeof(result));
	snprintf(buffer, sizeof(buffer), "%s", text);
	result.vtype = SR_KEMIP_STR;
	result.v.s.s = buffer;
	result.v.s.len = strlen(buffer);
	return &result;
}

static sr_kemi_xval_t *ki_source(sip_msg_t *msg, str *address)
{
	struct tcl_source source;

	return ki_text(
			(tcm_script_find(msg, address, &source) < 0) ? "" : source.text);
}

static sr_kemi_xval_t *ki_rule(sip_msg_t *msg, str *address)
{
	struct tcl_source source;

	return ki_text(
			(tcm_script_find(msg, address, &source) < 0) ? "" : source.rule);
}

static int ki_pressure_level(sip_msg_t *msg)
{
	struct tcl_load_report report;

	return (tcl_load_report(&report) == TCL_OK) ? (int)report.level : 0;
}

static sr_kemi_xval_t *ki_mode(sip_msg_t *msg)
{
	return ki_text(mode_name());
}

static int w_check(sip_msg_t *msg, char *address_param, char *unused)
{
	str address;

	if(fixup_get_svalue(msg, (gparam_t *)address_param, &address) < 0) {
		LM_ERR("tcp_conn_limit_check: the address has no value\n");
		return TCM_SCRIPT_NO;
	}
	return ki_check(msg, &address);
}

static int w_get(
		sip_msg_t *msg, char *address_param, char *name_param, char *result)
{
	str address, name;
	struct tcl_source source;
	pv_value_t value = {0};
	int field, ret;

	if(fixup_get_svalue(msg, (gparam_t *)address_param, &address) < 0) {
		LM_ERR("tcp_conn_limit_get: the address has no value\n");
		return TCM_SCRIPT_NO;
	}
	name.s = name_param;
	name.len = strlen(name.s);
	field = find_field(&name);
	ret = tcm_script_find(msg, &address, &source);
	if(ret < 0)
		return ret;
	if(field < 0 || field_value(&source, field, &value) < 0)
		return TCM_SCRIPT_NO;
	if(pv_set_spec_value(msg, (pv_spec_t *)result, 0, &value) < 0) {
		LM_ERR("tcp_conn_limit_get: cannot set the result variable\n");
		return TCM_SCRIPT_NO;
	}
	return TCM_SCRIPT_YES;
}

/* The sources with the most connections, when this process last asked for the first of
 * them. A script that asks for one after another thus gets each source once. */
static struct tcl_source top[TCM_SCRIPT_TOP];
static int top_found = 0;

/* Returns 0, or -1 if there is no source of this rank, counted from 1. */
static int find_top(int rank, struct tcl_source *source)
{
	if(rank == 1)
		top_found = tcl_top(top, TCM_SCRIPT_TOP, TCL_BY_CONNECTIONS);
	if(rank < 1 || rank > top_found)
		return -1;
	*source = top[rank - 1];
	return 0;
}

static int w_top(
		sip_msg_t *msg, char *rank_param, char *name_param, char *result)
{
	str name;
	struct tcl_source source;
	pv_value_t value = {0};
	int rank, field;

	if(fixup_get_ivalue(msg, (gparam_t *)rank_param, &rank) < 0) {
		LM_ERR("tcp_conn_limit_top: the rank is not a number\n");
		return TCM_SCRIPT_NO;
	}
	name.s = name_param;
	name.len = strlen(name.s);
	field = find_field(&name);
	if(field < 0 || find_top(rank, &source) < 0
			|| field_value(&source, field, &value) < 0)
		return TCM_SCRIPT_NO;
	if(pv_set_spec_value(msg, (pv_spec_t *)result, 0, &value) < 0) {
		LM_ERR("tcp_conn_limit_top: cannot set the result variable\n");
		return TCM_SCRIPT_NO;
	}
	return TCM_SCRIPT_YES;
}

/* Accepts only a variable that can be set. */
static int fixup_result(void **param)
{
	char *name = *param;

	if(fixup_pvar_null(param, 1) != 0) {
		LM_ERR("result \"%s\" is not a variable: expected one such"
			   " as $var(x)\n",
				name);
		return E_CFG;
	}
	if(((pv_spec_t *)*param)->setf == NULL) {
		LM_ERR("result variable %s is read-only: expected one such"
			   " as $var(x)\n",
				name);
		return E_CFG;
	}
	return 0;
}

static int fixup_get(void **param, int number)
{
	str name;

	switch(number) {
		case 1:
			return fixup_spve_null(param, 1);
		case 2:
			/* Stays as text, but must be the name of a field. */
			name.s = *param;
			name.len = strlen(name.s);
			return (find_field(&name) < 0) ? E_CFG : 0;
		default:
			return fixup_result(param);
	}
}

static int fixup_top(void **param, int number)
{
	return (number == 1) ? fixup_igp_null(param, 1) : fixup_get(param, number);
}

static int free_fixup_get(void **param, int number)
{
	switch(number) {
		case 1:
			return fixup_free_spve_null(param, 1);
		case 2:
			return 0;
		default:
			return fixup_free_pvar_null(param, 1);
	}
}

static int free_fixup_top(void **param, int number)
{
	if(number == 1)
		return fixup_free_igp_null(param, 1);
	return free_fixup_get(param, number);
}

/* clang-format off */
cmd_export_t tcm_script_exports[] = {
	{"tcp_conn_limit_check", (cmd_function)w_check, 1,
		fixup_spve_null, fixup_free_spve_null, ANY_ROUTE},
	{"tcp_conn_limit_get", (cmd_function)w_get, 3,
		fixup_get, free_fixup_get, ANY_ROUTE},
	{"tcp_conn_limit_top", (cmd_function)w_top, 3,
		fixup_top, free_fixup_top, ANY_ROUTE},
	{"tcp_conn_limit_ban", (cmd_function)tcm_script_ban, 1,
		tcm_script_fixup_ban, tcm_script_free_fixup_ban, ANY_ROUTE},
	{"tcp_conn_limit_ban", (cmd_function)tcm_script_ban, 2,
		tcm_script_fixup_ban, tcm_script_free_fixup_ban, ANY_ROUTE},
	{"tcp_conn_limit_unban", (cmd_function)tcm_script_unban, 0,
		0, 0, ANY_ROUTE},
	{"tcp_conn_limit_unban", (cmd_function)tcm_script_unban, 1,
		fixup_spve_null, fixup_free_spve_null, ANY_ROUTE},
	{"tcp_conn_limit_penalize", (cmd_function)tcm_script_penalize, 0,
		0, 0, ANY_ROUTE},
	{"tcp_conn_limit_penalize", (cmd_function)tcm_script_penalize, 1,
		fixup_spve_null, fixup_free_spve_null, ANY_ROUTE},
	{"tcp_conn_limit_count_for", (cmd_function)tcm_script_count_for, 1,
		fixup_spve_null, fixup_free_spve_null, ANY_ROUTE},
	{"tcp_conn_limit_trust", (cmd_function)tcm_script_trust, 0,
		0, 0, ANY_ROUTE},
	{"tcp_conn_limit_untrust", (cmd_function)tcm_script_untrust, 0,
		0, 0, ANY_ROUTE},
	{0, 0, 0, 0, 0, 0}
};

sr_kemi_t tcm_script_kemi_exports[] = {
	{ str_init("tcp_conn_limit"), str_init("check"),
		SR_KEMIP_INT, ki_check,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("connections"),
		SR_KEMIP_INT, ki_connections,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("limit"),
		SR_KEMIP_INT, ki_limit,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("rejected"),
		SR_KEMIP_INT, ki_rejected,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("would_reject"),
		SR_KEMIP_INT, ki_would_reject,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("source"),
		SR_KEMIP_XVAL, ki_source,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("rule"),
		SR_KEMIP_XVAL, ki_rule,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("mode"),
		SR_KEMIP_XVAL, ki_mode,
		{ SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("peak"),
		SR_KEMIP_INT, ki_peak,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("banned"),
		SR_KEMIP_INT, ki_banned,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("pressure_level"),
		SR_KEMIP_INT, ki_pressure_level,
		{ SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("ban"),
		SR_KEMIP_INT, tcm_script_ki_ban,
		{ SR_KEMIP_INT, SR_KEMIP_STR, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("unban"),
		SR_KEMIP_INT, tcm_script_ki_unban,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("penalize"),
		SR_KEMIP_INT, tcm_script_ki_penalize,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},

	{ str_init("tcp_conn_limit"), str_init("count_for"),
		SR_KEMIP_INT, tcm_script_ki_count_for,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("trust"),
		SR_KEMIP_INT, tcm_script_ki_trust,
		{ SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("untrust"),
		SR_KEMIP_INT, tcm_script_ki_untrust,
		{ SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("trusted"),
		SR_KEMIP_INT, ki_trusted,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},
	{ str_init("tcp_conn_limit"), str_init("untrusted"),
		SR_KEMIP_INT, ki_untrusted,
		{ SR_KEMIP_STR, SR_KEMIP_NONE, SR_KEMIP_NONE,
			SR_KEMIP_NONE, SR_KEMIP_NONE, SR_KEMIP_NONE }
	},

	{ {0, 0}, {0, 0}, 0, NULL, { 0, 0, 0, 0, 0, 0 } }
};
/* clang-format on */
