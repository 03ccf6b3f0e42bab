/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the pseudo-variables $tcp_conn_limit(NAME)
 *
 * Of the source of the current message or, in the event route, of the event.
 */

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/pvapi.h"

#include "tcm_pv.h"
#include "tcm_text.h"
#include "tcm_watch.h"

enum kind
{
	TEXT,
	UNSIGNED,
	SIGNED
};

struct field
{
	const char *name;
	enum kind kind;
	size_t offset; /* in struct tcl_source */
};

#define AT(member) offsetof(struct tcl_source, member)

/* clang-format off */
static const struct field fields[] = {
	{"source", TEXT, AT(text)},
	{"connections", UNSIGNED, AT(connections)},
	{"limit", SIGNED, AT(limit)},
	{"rejected", UNSIGNED, AT(rejected)},
	{"would_reject", UNSIGNED, AT(would_reject)},
	{"peak", UNSIGNED, AT(peak)},
	{"rule", TEXT, AT(rule)},
};
/* clang-format on */

#define FIELDS ((int)(sizeof(fields) / sizeof(fields[0])))

int tcm_pv_field(const str *name)
{
	int i;

	for(i = 0; i < FIELDS; i++) {
		if(name->len == (int)strlen(fields[i].name)
				&& strncmp(name->s, fields[i].name, name->len) == 0)
			return i;
	}
	LM_ERR("unknown field \"%.*s\" of tcp_conn_limit: expected source,"
		   " connections, limit, rejected, would_reject, peak or rule\n",
			name->len, name->s);
	return -1;
}

/* The core hands out a few buffers in turn, so that two values can be used in
 * one expression. */
static int text_value(const char *text, pv_value_t *value)
{
	char *buffer = pv_get_buffer();

	snprintf(buffer, pv_get_buffer_size(), "%s", text);
	return pv_get_strzval(NULL, NULL, value, buffer);
}

int tcm_pv_value(const struct tcl_source *source, int field, pv_value_t *value)
{
	const char *member = (const char *)source + fields[field].offset;

	switch(fields[field].kind) {
		case TEXT:
			return text_value(member, value);
		case UNSIGNED:
			return pv_get_uintval(NULL, NULL, value, *(uint32_t *)member);
		default:
			return pv_get_sintval(NULL, NULL, value, *(int32_t *)member);
	}
}

/* What the event tells, and the rest, which it does not, from the table. */
static void source_of_event(
		const struct tcl_event *event, struct tcl_source *source)
{
	str address;

	/* the source of an event can be a prefix */
	address.s = (char *)event->source;
	address.len = strcspn(event->source, "/");
	if(tcm_text_source(&address, source) != TCL_OK)
		memset(source, 0, sizeof(*source));
	snprintf(source->text, sizeof(source->text), "%s", event->source);
	snprintf(source->rule, sizeof(source->rule), "%s", event->rule);
	source->connections = event->connections;
	source->limit = event->limit;
	/* the table may have forgotten the source, or been reset */
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

	if(event != NULL)
		source_of_event(event, &source);
	else if(tcl_get(msg->rcv.src_ip.u.addr, msg->rcv.src_ip.len, &source)
			!= TCL_OK)
		return pv_get_null(msg, param, value);
	return tcm_pv_value(&source, param->pvn.u.isname.name.n, value);
}

static int pv_parse(pv_spec_t *spec, str *name)
{
	int field = tcm_pv_field(name);

	if(field < 0)
		return -1;
	spec->pvp.pvn.type = PV_NAME_INTSTR;
	spec->pvp.pvn.u.isname.type = 0;
	spec->pvp.pvn.u.isname.name.n = field;
	return 0;
}

/* clang-format off */
pv_export_t tcm_pv_exports[] = {
	{STR_STATIC_INIT("tcp_conn_limit"), PVT_OTHER, pv_get, 0, pv_parse, 0, 0, 0},
	{{0, 0}, 0, 0, 0, 0, 0, 0, 0}
};
/* clang-format on */
