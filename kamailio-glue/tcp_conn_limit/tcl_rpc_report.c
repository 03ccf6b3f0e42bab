/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: RPC commands that tell what there is
 */

#include <stdlib.h>
#include <time.h>

#include "../../core/mem/mem.h"
#include "../../core/str.h"

#include "tcl_attach.h"
#include "tcl_rpc.h"
#include "tcl_text.h"

#include <tcp_conn_limit.h>

#define TOP_DEFAULT 10
#define TOP_MAX 400
/* What fits into an answer for kamcmd or jsonrpcs over a datagram socket, which
 * both take 128 kB; more than that, and the asker waits for ever. */
#define LIST_MAX 400
#define RULES_MAX 500
#define SUGGESTIONS_MAX 100

typedef unsigned long long ull;

static const char *stats_doc[] = {
		"The settings, the size of the table and what happened since the"
		" start.",
		0};

static void rpc_stats(rpc_t *rpc, void *c)
{
	struct tcl_stats s;
	int ret;
	void *h;

	ret = tcl_stats(&s);
	if(ret != TCL_OK) {
		tcl_rpc_failed(rpc, c, ret);
		return;
	}
	if(tcl_rpc_add_struct(rpc, c, &h) < 0)
		return;
	rpc->struct_add(h, "ssssddddd", "version", tcl_version(), "attached",
			tcl_attach_name(), "mode", tcl_text_mode_name(s.mode), "on_full",
			tcl_text_on_full_name(s.on_full), "limit", (int)s.limit, "rules",
			(int)s.rules, "ipv4_prefix", (int)s.ipv4_prefix, "ipv6_prefix",
			(int)s.ipv6_prefix, "capacity", (int)s.capacity);
	rpc->struct_add(h, "JJJJJJJ", "slots", (ull)s.slots, "memory",
			(ull)s.memory, "sources", (ull)s.sources, "connections",
			(ull)s.connections, "admitted", (ull)s.admitted, "rejected",
			(ull)s.rejected, "would_reject", (ull)s.would_reject);
	rpc->struct_add(h, "JJJJJJ", "errors", (ull)s.errors, "panics",
			(ull)s.panics, "table_full", (ull)s.table_full, "bad_address",
			(ull)s.bad_address, "stale_token", (ull)s.stale_token,
			"descriptor_reused", (ull)s.descriptor_reused);
	rpc->struct_add(h, "JJJ", "full_rejected", (ull)s.full_rejected, "reloads",
			(ull)s.reloads, "log_suppressed", (ull)s.log_suppressed);
}

/* Unix time of something that was seen so many seconds ago, 0 if never */
static ull unix_time(uint32_t ago)
{
	return (ago == TCL_NEVER) ? 0 : (ull)time(NULL) - ago;
}

static int limit_or_none(int32_t limit)
{
	return (limit > 0) ? limit : 0;
}

static int add_source(rpc_t *rpc, void *h, const struct tcl_source *s)
{
	return rpc->struct_add(h, "sudsuuuJJ", "source", s->text, "connections",
			(unsigned int)s->connections, "limit", limit_or_none(s->limit),
			"rule", s->rule, "peak", (unsigned int)s->peak, "rejected",
			(unsigned int)s->rejected, "would_reject",
			(unsigned int)s->would_reject, "first_seen",
			unix_time(s->first_seen), "last_seen", unix_time(s->last_seen));
}

static const char *get_doc[] = {
		"The source to which an address belongs. Parameter: the IPv4 or IPv6"
		" address.",
		0};

static void rpc_get(rpc_t *rpc, void *c)
{
	str text;
	struct tcl_source source;
	int ret;
	void *h;

	if(rpc->scan(c, "S", &text) < 1) {
		rpc->fault(c, 400, "an IPv4 or IPv6 address is needed");
		return;
	}
	ret = tcl_text_source(&text, &source);
	if(ret == TCL_EARG)
		rpc->fault(c, 400, "%.*s is not an IPv4 or IPv6 address", text.len,
				text.s);
	else if(ret != TCL_OK)
		tcl_rpc_failed(rpc, c, ret);
	else if(tcl_rpc_add_struct(rpc, c, &h) == 0)
		add_source(rpc, h, &source);
}

static const char *top_doc[] = {
		"The sources with most connections. Parameters: how many, 10 if not"
		" given, 400 at the most; by what instead, rejected or peak.",
		0};

static void answer_top(rpc_t *rpc, void *c, int n, int by)
{
	struct tcl_source *sources;
	int i, found;
	void *h;

	sources = pkg_malloc(n * sizeof(*sources));
	found = (sources != NULL) ? tcl_top(sources, n, by) : TCL_EMEM;
	if(found < 0)
		tcl_rpc_failed(rpc, c, found);
	for(i = 0; i < found; i++) {
		if(tcl_rpc_add_struct(rpc, c, &h) < 0)
			break;
		add_source(rpc, h, &sources[i]);
	}
	if(sources != NULL)
		pkg_free(sources);
}

static void rpc_top(rpc_t *rpc, void *c)
{
	int n = TOP_DEFAULT;
	int by = TCL_BY_CONNECTIONS;
	int given;
	str text;

	/* what is not given may be overwritten all the same */
	given = rpc->scan(c, "*dS", &n, &text);
	if(given < 0)
		return; /* scan() has told */
	if(given < 1)
		n = TOP_DEFAULT;
	if(n < 1 || n > TOP_MAX) {
		rpc->fault(c, 400, "%d: a number from 1 to %d is needed", n, TOP_MAX);
		return;
	}
	if(given > 1)
		by = tcl_text_by(&text);
	if(by < 0) {
		rpc->fault(
				c, 400, "%.*s: " TCL_TEXT_BYS " is needed", text.len, text.s);
		return;
	}
	answer_top(rpc, c, n, by);
}

static const char *list_doc[] = {
		"The sources in the table, most connections first, 400 at the most,"
		" and how many there are. Parameter: a prefix, for those in it.",
		0};

static void answer_list(rpc_t *rpc, void *c, const struct tcl_source *sources,
		int found, uint64_t total)
{
	int i;
	void *h, *array, *item;

	if(tcl_rpc_add_struct(rpc, c, &h) < 0)
		return;
	rpc->struct_add(h, "J[", "total", (ull)total, "list", &array);
	for(i = 0; i < found; i++) {
		if(rpc->array_add(array, "{", &item) < 0) {
			tcl_rpc_no_room(rpc, c);
			return;
		}
		add_source(rpc, item, &sources[i]);
	}
}

static void rpc_list(rpc_t *rpc, void *c)
{
	char *prefix = NULL;
	struct tcl_source *sources;
	uint64_t total = 0;
	char error[256] = "";
	int given, found;

	given = rpc->scan(c, "*s", &prefix);
	if(given < 0)
		return; /* scan() has told */
	if(given < 1)
		prefix = NULL;
	sources = pkg_malloc(LIST_MAX * sizeof(*sources));
	if(sources == NULL) {
		tcl_rpc_failed(rpc, c, TCL_EMEM);
		return;
	}
	found = tcl_list(prefix, sources, LIST_MAX, &total, error, sizeof(error));
	if(found == TCL_EARG)
		rpc->fault(c, 400, "%s", error);
	else if(found < 0)
		tcl_rpc_failed(rpc, c, found);
	else
		answer_list(rpc, c, sources, found, total);
	pkg_free(sources);
}

/* There can be 65,535 rules, which is too much for the memory of a process that
 * the core manages: hence malloc(). It is too much for an answer too: then those
 * that matter go first, and the default is never left out. */

struct places
{
	int busy; /* for rules that hold for some source */
	int idle;
};

static struct places share_places(int max, int busy)
{
	struct places places;

	/* one is the default's */
	places.busy = (busy < max) ? busy : max - 1;
	places.idle = max - 1 - places.busy;
	return places;
}

static int is_shown(struct places *places, int is_busy, int is_default)
{
	int *left = is_busy ? &places->busy : &places->idle;

	return is_default || (*left)-- > 0;
}

static const char *rules_doc[] = {
		"The rules, with the default limit at the end, and what they hold for."
		" 500 at the most, first those that hold for some source or have"
		" rejections.",
		0};

static int is_busy(const struct tcl_rule *r)
{
	return r->sources > 0 || r->rejected > 0 || r->would_reject > 0;
}

static int add_rule(rpc_t *rpc, void *c, const struct tcl_rule *r)
{
	void *h;

	if(tcl_rpc_add_struct(rpc, c, &h) < 0)
		return -1;
	return rpc->struct_add(h, "sdJJJJ", "prefix", r->prefix, "limit",
			limit_or_none(r->limit), "sources", (ull)r->sources, "connections",
			(ull)r->connections, "rejected", (ull)r->rejected, "would_reject",
			(ull)r->would_reject);
}

static void rpc_rules(rpc_t *rpc, void *c)
{
	struct tcl_rule *rules;
	struct places places;
	int i, room, found;
	int busy = 0;

	room = tcl_rules(NULL, 0);
	rules = (room > 0) ? malloc(room * sizeof(*rules)) : NULL;
	found = (rules != NULL) ? tcl_rules(rules, room) : TCL_EMEM;
	if(found < 0)
		tcl_rpc_failed(rpc, c, (room < 0) ? room : found);
	/* a reload in between may have made more of them */
	if(found > room)
		found = room;
	for(i = 0; i < found - 1; i++)
		busy += is_busy(&rules[i]);
	places = share_places(RULES_MAX, busy);
	for(i = 0; i < found; i++) {
		if(is_shown(&places, is_busy(&rules[i]), i == found - 1)
				&& add_rule(rpc, c, &rules[i]) < 0)
			break;
	}
	free(rules);
}

static const char *suggest_doc[] = {
		"A limit for each rule and for the default, from the peaks of the"
		" sources, and the sources whose peak would be above it. For 100 at the"
		" most, those that hold for some source first.",
		0};

static int add_suggestion(rpc_t *rpc, void *c, const struct tcl_suggestion *s)
{
	uint64_t i;
	void *h, *array, *item;

	if(tcl_rpc_add_struct(rpc, c, &h) < 0)
		return -1;
	rpc->struct_add(h, "sdJuudJ[", "prefix", s->prefix, "limit",
			limit_or_none(s->limit), "sources", (ull)s->sources, "highest",
			(unsigned int)s->highest, "p99", (unsigned int)s->p99, "proposed",
			(int)s->proposed, "above", (ull)s->above, "list", &array);
	for(i = 0; i < s->above && i < TCL_SUGGEST_SOURCES; i++) {
		if(rpc->array_add(array, "{", &item) < 0) {
			tcl_rpc_no_room(rpc, c);
			return -1;
		}
		rpc->struct_add(item, "su", "source", s->list[i].text, "peak",
				(unsigned int)s->list[i].peak);
	}
	return 0;
}

static void rpc_suggest(rpc_t *rpc, void *c)
{
	struct tcl_suggestion *suggestions;
	struct places places;
	int i, room, found;
	int busy = 0;

	room = tcl_suggest(NULL, 0);
	suggestions = (room > 0) ? malloc(room * sizeof(*suggestions)) : NULL;
	found = (suggestions != NULL) ? tcl_suggest(suggestions, room) : TCL_EMEM;
	if(found < 0)
		tcl_rpc_failed(rpc, c, (room < 0) ? room : found);
	if(found > room)
		found = room;
	for(i = 0; i < found - 1; i++)
		busy += (suggestions[i].sources > 0);
	places = share_places(SUGGESTIONS_MAX, busy);
	for(i = 0; i < found; i++) {
		if(is_shown(&places, suggestions[i].sources > 0, i == found - 1)
				&& add_suggestion(rpc, c, &suggestions[i]) < 0)
			break;
	}
	free(suggestions);
}

/* clang-format off */
rpc_export_t tcl_rpc_report[] = {
	{"tcp_conn_limit.stats", rpc_stats, stats_doc, 0},
	{"tcp_conn_limit.get", rpc_get, get_doc, 0},
	{"tcp_conn_limit.top", rpc_top, top_doc, RPC_RET_ARRAY},
	{"tcp_conn_limit.list", rpc_list, list_doc, 0},
	{"tcp_conn_limit.rules", rpc_rules, rules_doc, RPC_RET_ARRAY},
	{"tcp_conn_limit.suggest", rpc_suggest, suggest_doc, RPC_RET_ARRAY},
	{0, 0, 0, 0}
};
/* clang-format on */
