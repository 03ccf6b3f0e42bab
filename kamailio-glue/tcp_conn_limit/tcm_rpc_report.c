/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands that report
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "../../core/mem/mem.h"
#include "../../core/str.h"

#include "tcm_attach.h"
#include "tcm_cluster.h"
#include "tcm_networks.h"
#include "tcm_params.h"
#include "tcm_rpc.h"
#include "tcm_text.h"
#include "tcm_time.h"

#include <tcp_conn_limit.h>

#define TOP_DEFAULT 10
#define TOP_MAX 400
/* This many entries fit into an answer to kamcmd or to jsonrpcs over a datagram socket,
 * both of which carry 128 kB. The client of a larger answer would wait forever. */
#define LIST_MAX 400
#define RULES_MAX 400
#define SUGGESTIONS_MAX 100
/* An answer about more sources than this omits the words of their rules, local times and
 * most of what concerns rate and bans, because it would not fit. */
#define DETAILED_MAX 100

static const char *stats_doc[] = {
		"Shows the settings, the size of the table and the counters since the"
		" start.",
		0};

/* Adds the counters that are numbers, in the library's order. */
static int add_counters(rpc_t *rpc, void *h, const uint64_t *values, int n)
{
	struct tcm_rpc_number numbers[TCL_MAX_COUNTERS + 1];
	struct tcl_counter counter;
	int i, added = 0;

	for(i = 0; i < n && tcl_counter(i, &counter) == TCL_OK; i++) {
		if(counter.in_stats) {
			numbers[added].name = counter.name;
			numbers[added++].value = values[i];
		}
	}
	numbers[added].name = NULL;
	return tcm_rpc_add_numbers(rpc, h, numbers);
}

static int add_stats(rpc_t *rpc, void *h, const uint64_t *values, int n)
{
	const struct tcm_rpc_number huge_pages[] = {
			{"huge_pages", tcl_huge_pages()}, {NULL, 0}};
	int32_t limit = 0, mode = TCL_MODE_ENFORCE;
	struct tcl_rate rate = {.text = "none"};
	struct tcl_load_report load = {.reserve = "none", .pressure = "none"};

	tcl_settings(&limit, &mode);
	tcl_rate(&rate);
	tcl_load_report(&load);
	if(rpc->struct_add(h, "ssss", "version", tcl_version(), "attached",
			   tcm_attach_name(), "mode", tcm_text_mode_name(mode), "on_full",
			   tcm_text_on_full_name(tcm_params.on_full))
					< 0
			|| tcm_rpc_add_limit(rpc, h, "limit", limit) < 0
			|| tcm_rpc_add_rate(rpc, h, "rate", "burst", &rate) < 0
			|| tcm_networks_add_settings(rpc, h) < 0
			|| rpc->struct_add(h, "ss", "reserve", load.reserve, "pressure",
					   load.pressure)
					   < 0
			|| add_counters(rpc, h, values, n) < 0)
		return -1;
	return tcm_rpc_add_numbers(rpc, h, huge_pages);
}

static void rpc_stats(rpc_t *rpc, void *c)
{
	uint64_t values[TCL_MAX_COUNTERS];
	int n;
	void *h;

	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) < 0)
		return;
	n = tcl_stats(values, TCL_MAX_COUNTERS);
	if(n < 0) {
		tcm_rpc_failed(rpc, c, n);
		return;
	}
	if(rpc->add(c, "{", &h) < 0 || add_stats(rpc, h, values, n) < 0)
		tcm_rpc_no_room(rpc, c);
}

/* The Unix time of something that was seen `ago` seconds ago, 0 if never. */
static time_t unix_time(uint32_t ago)
{
	return (ago == TCL_NEVER) ? 0 : time(NULL) - (time_t)ago;
}

static int add_local_time(rpc_t *rpc, void *h, const char *name, time_t at)
{
	char text[TCM_TIME_SIZE];

	return rpc->struct_add(
			h, "s", (char *)name, (char *)tcm_time_local(at, text));
}

/* Adds whether the rule of a source is trusted, and what the load of the server means for
 * it. */
static int add_load(rpc_t *rpc, void *h, const struct tcl_source *s)
{
	if(s->trusted_rule && rpc->struct_add(h, "s", "trusted_rule", "yes") < 0)
		return -1;
	if(s->reserved && rpc->struct_add(h, "s", "only_reserve_left", "yes") < 0)
		return -1;
	if(s->effective_limit == s->limit)
		return 0;
	return tcm_rpc_add_limit(rpc, h, "effective_limit", s->effective_limit);
}

/* Adds the rate of a source, and what it remembers of rate, offences and bans. */
static int add_restraints(rpc_t *rpc, void *h, const struct tcl_source *s)
{
	const struct tcm_rpc_number owed[] = {{"owed", s->owed}, {NULL, 0}};
	const struct tcm_rpc_number numbers[] = {
			{"penalty", s->penalty}, {"banned", s->banned}, {NULL, 0}};
	const struct tcm_rpc_number rejected[] = {
			{"ban_rejected", s->ban_rejected}, {NULL, 0}};

	if(tcm_rpc_add_rate(rpc, h, "rate", "burst", &s->rate) < 0
			|| (s->rate.interval_us > 0
					&& tcm_rpc_add_numbers(rpc, h, owed) < 0)
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	if(s->banned > 0
			&& (rpc->struct_add(h, "s", "ban_reason", s->ban_reason) < 0
					|| tcm_rpc_add_numbers(rpc, h, rejected) < 0))
		return -1;
	if(s->rejected_for[0] != '\0'
			&& rpc->struct_add(h, "s", "rejected_for", s->rejected_for) < 0)
		return -1;
	if(s->exempt && rpc->struct_add(h, "s", "exempt", "yes") < 0)
		return -1;
	return add_load(rpc, h, s);
}

/* Adds the trusted and the untrusted connections of a source, if connections can be
 * trusted. Networks do not count them. */
static int add_trust(rpc_t *rpc, void *h, const struct tcl_source *s)
{
	const struct tcm_rpc_number numbers[] = {
			{"trusted", s->trusted}, {"untrusted", s->untrusted}, {NULL, 0}};

	if(!tcm_params.trust || strcmp(s->scope, "source") != 0)
		return 0;
	if(tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	return tcm_rpc_add_limit(rpc, h, "untrusted_limit", s->untrusted_limit);
}

/* Adds the connections of a source on the other nodes, in a cluster. */
static int add_others(rpc_t *rpc, void *h, const struct tcl_source *s)
{
	const struct tcm_rpc_number numbers[] = {{"others", s->others}, {NULL, 0}};

	if(!tcm_cluster_is_on())
		return 0;
	if(tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	return tcm_rpc_add_limit(rpc, h, "cluster_limit", s->cluster_limit);
}

/* The numbers of them that are not 0, because an answer about many sources has no room
 * for more. */
static int add_short_restraints(rpc_t *rpc, void *h, const struct tcl_source *s)
{
	const struct tcm_rpc_number all[] = {{"owed", s->owed},
			{"penalty", s->penalty}, {"banned", s->banned},
			{"untrusted", s->untrusted}, {"others", s->others}};
	struct tcm_rpc_number one[2] = {{NULL, 0}, {NULL, 0}};
	unsigned int i;

	for(i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		one[0] = all[i];
		if(one[0].value > 0 && tcm_rpc_add_numbers(rpc, h, one) < 0)
			return -1;
	}
	return 0;
}

/* Adds a source to an answer with `sources` of them. */
static int add_source(
		rpc_t *rpc, void *h, const struct tcl_source *s, int sources)
{
	const time_t first = unix_time(s->first_seen);
	const time_t last = unix_time(s->last_seen);
	const struct tcm_rpc_number numbers[] = {
			{"connections", s->connections},
			{"peak", s->peak},
			{"rejected", s->rejected},
			{"would_reject", s->would_reject},
			{"first_seen", (uint64_t)first},
			{"last_seen", (uint64_t)last},
			{NULL, 0},
	};

	if(rpc->struct_add(h, "ss", s->scope, s->text, "rule", s->rule) < 0
			|| tcm_rpc_add_limit(rpc, h, "limit", s->limit) < 0
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	if(s->listener[0] != '\0'
			&& rpc->struct_add(h, "s", "listener", s->listener) < 0)
		return -1;
	if(sources > DETAILED_MAX)
		return add_short_restraints(rpc, h, s);
	if(rpc->struct_add(h, "s", "terms", s->terms) < 0
			|| add_local_time(rpc, h, "first_seen_local", first) < 0
			|| add_local_time(rpc, h, "last_seen_local", last) < 0
			|| add_trust(rpc, h, s) < 0 || add_others(rpc, h, s) < 0)
		return -1;
	return add_restraints(rpc, h, s);
}

/* Adds the age of the oldest connection of the source with this name, if it has one. */
static int add_oldest(rpc_t *rpc, void *h, const str *name)
{
	uint32_t seconds;

	if(tcl_oldest((const uint8_t *)name->s, name->len, &seconds) != TCL_OK
			|| seconds == TCL_NEVER)
		return 0;
	return rpc->struct_add(h, "d", "oldest", (int)seconds);
}

/* Adds the same address on each listener where it is counted apart and has connections or
 * rejections. */
static int add_listeners(rpc_t *rpc, void *h, const str *name)
{
	struct tcl_source source;
	uint32_t number;
	void *array = NULL, *item;

	for(number = 1; number <= TCL_MAX_NAMED_LISTENERS; number++) {
		if(tcl_find_on((const uint8_t *)name->s, name->len, number, &source)
						!= TCL_OK
				|| (source.connections == 0 && source.rejected == 0
						&& source.would_reject == 0))
			continue;
		if((array == NULL && rpc->struct_add(h, "[", "listeners", &array) < 0)
				|| rpc->array_add(array, "{", &item) < 0
				|| add_source(rpc, item, &source, 1) < 0)
			return -1;
	}
	return 0;
}

/* Adds the network of the source with this name, if networks are counted, and whether its
 * connections count there. */
static int add_network(rpc_t *rpc, void *h, const str *name)
{
	struct tcl_source network;
	int32_t counts;
	void *item;

	if(tcl_network((const uint8_t *)name->s, name->len, &network, &counts) != 1)
		return 0;
	if(rpc->struct_add(h, "s{", "counts_in_network", counts ? "yes" : "no",
			   "network", &item)
			< 0)
		return -1;
	return add_source(rpc, item, &network, 1);
}

static const char *get_doc[] = {
		"Shows the source that an address belongs to, and its network if"
		" networks are counted. Parameter: an IPv4 or IPv6 address, or a source"
		" as top shows it, such as 2001:db8::/64.",
		0};

static void rpc_get(rpc_t *rpc, void *c)
{
	char error[256] = "";
	str text;
	struct tcl_source source;
	int ret;
	void *h;

	if(tcm_rpc_text(rpc, c, &text) < 1) {
		rpc->fault(c, 400, "missing address: expected an IPv4 or IPv6 address");
		return;
	}
	ret = tcl_find((const uint8_t *)text.s, text.len, -1, &source, error,
			sizeof(error));
	if(ret == TCL_EARG)
		rpc->fault(c, 400, "%s", error);
	else if(ret != TCL_OK)
		tcm_rpc_failed(rpc, c, ret);
	else if(tcm_rpc_end(rpc, c, "one address") < 0)
		return;
	else if(rpc->add(c, "{", &h) < 0 || add_source(rpc, h, &source, 1) < 0
			|| add_oldest(rpc, h, &text) < 0
			|| tcm_rpc_add_nodes_of(rpc, h, &text) < 0
			|| add_listeners(rpc, h, &text) < 0
			|| add_network(rpc, h, &text) < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *top_doc[] = {
		"Lists the sources with the most connections. Parameters, in any order:"
		" how many (default 10, at most 400); by what (connections, rejected,"
		" peak, untrusted, or rate, which means the connections of its burst "
		"that"
		" a source has used; default connections); networks, to list networks;"
		" cluster, to list sources by their connections on all nodes of the"
		" cluster.",
		0};

/* What top was asked for; -1: not given. */
struct top
{
	int n;
	int by;
	int networks;
	int cluster;
};

static void answer_top(rpc_t *rpc, void *c, int n, int by, int networks)
{
	struct tcl_source *sources;
	int i, found;
	void *h;

	sources = pkg_malloc(n * sizeof(*sources));
	if(sources == NULL)
		found = TCL_EMEM;
	else if(networks)
		found = tcl_top_networks(sources, n, by);
	else
		found = tcl_top(sources, n, by);
	if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	for(i = 0; i < found; i++) {
		if(rpc->add(c, "{", &h) < 0
				|| add_source(rpc, h, &sources[i], found) < 0) {
			tcm_rpc_no_room(rpc, c);
			break;
		}
	}
	if(sources != NULL)
		pkg_free(sources);
}

static int is_word(const str *text, const char *word)
{
	return text->len == (int)strlen(word)
		   && memcmp(text->s, word, text->len) == 0;
}

/* Reads a number of sources, an order, or the word networks or cluster. Returns 0, or
 * -1 if the text is something else, or if one of this kind was given before. */
static int top_argument(const str *text, struct top *top)
{
	int number = 0;
	const int order = tcm_text_by(text);

	if(is_word(text, "networks") && top->networks < 0) {
		top->networks = 1;
		return 0;
	}
	if(is_word(text, "cluster") && top->cluster < 0) {
		top->cluster = 1;
		return 0;
	}
	if(order >= 0 && top->by < 0) {
		top->by = order;
		return 0;
	}
	if(order < 0 && top->n < 0 && tcm_text_number(text, &number) == 0
			&& number >= 1 && number <= TOP_MAX) {
		top->n = number;
		return 0;
	}
	return -1;
}

static void rpc_top(rpc_t *rpc, void *c)
{
	struct top top = {-1, -1, -1, -1};
	str text;

	while(tcm_rpc_text(rpc, c, &text) > 0) {
		if(top_argument(&text, &top) < 0) {
			rpc->fault(c, 400,
					"invalid argument \"%.*s\": expected at most three: 1 to "
					"%d;"
					" networks or cluster; " TCM_TEXT_BYS,
					TCM_RPC_SHOWN(text), TOP_MAX);
			return;
		}
	}
	if(top.networks > 0 && top.by == TCL_BY_UNTRUSTED) {
		rpc->fault(c, 400,
				"networks have no untrusted connections: expected another "
				"order");
		return;
	}
	if(top.cluster > 0 && (top.networks > 0 || top.by > TCL_BY_CONNECTIONS)) {
		rpc->fault(c, 400,
				"sources of the cluster are sorted by connections: expected no "
				"other order, and not networks");
		return;
	}
	if(top.n < 0)
		top.n = TOP_DEFAULT;
	if(top.cluster > 0)
		tcm_rpc_answer_cluster_top(rpc, c, top.n);
	else
		answer_top(rpc, c, top.n, (top.by < 0) ? TCL_BY_CONNECTIONS : top.by,
				top.networks > 0);
}

#define LISTED "sources with connections, most connections first"

static const char *list_doc[] = {
		"Lists the sources that have connections, most connections first, at"
		" most 400, and how many there are. Parameter: a prefix, to list only"
		" the sources in it.",
		0};

static int add_list(rpc_t *rpc, void *c, const char *prefix,
		const struct tcl_source *sources, int found, uint64_t total)
{
	const struct tcm_rpc_number numbers[] = {
			{"total", total}, {"shown", (uint64_t)found}, {NULL, 0}};
	int i;
	void *h, *array, *item;

	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "ss", "listed", LISTED, "prefix", prefix) < 0
			|| tcm_rpc_add_list(rpc, h, numbers, &array) < 0)
		return -1;
	for(i = 0; i < found; i++) {
		if(rpc->array_add(array, "{", &item) < 0
				|| add_source(rpc, item, &sources[i], found) < 0)
			return -1;
	}
	return 0;
}

static void rpc_list(rpc_t *rpc, void *c)
{
	struct tcl_source *sources;
	uint64_t total = 0;
	char prefix[256], error[256] = "";
	str text;
	int given, found;

	given = tcm_rpc_text(rpc, c, &text);
	/* A text that does not fit is not a prefix, even when truncated. */
	snprintf(prefix, sizeof(prefix), "%.*s", text.len, text.s);
	if(given > 0 && tcm_rpc_end(rpc, c, "at most one prefix") < 0)
		return;
	sources = pkg_malloc(LIST_MAX * sizeof(*sources));
	if(sources == NULL) {
		tcm_rpc_failed(rpc, c, TCL_EMEM);
		return;
	}
	found = tcl_list(given > 0 ? prefix : NULL, sources, LIST_MAX, &total,
			error, sizeof(error));
	if(found == TCL_EARG)
		rpc->fault(c, 400, "%s", error);
	else if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	else if(add_list(rpc, c, given > 0 ? prefix : "all", sources, found, total)
			< 0)
		tcm_rpc_no_room(rpc, c);
	pkg_free(sources);
}

static const char *rules_doc[] = {"Lists the rules and, last, the default "
								  "limit, with what each says after"
								  " its = (terms), its sources, connections "
								  "and rejections, where it comes"
								  " from (origin) and when it ends. At most "
								  "400; rules with sources or rejections take"
								  " precedence.",
		0};

/* Adds a struct about the sources of a rule to the answer. */
static int add_limit(
		rpc_t *rpc, void *c, const char *prefix, int32_t limit, void **h)
{
	if(rpc->add(c, "{", h) < 0)
		return -1;
	if(rpc->struct_add(*h, "s", "prefix", prefix) < 0)
		return -1;
	return tcm_rpc_add_limit(rpc, *h, "limit", limit);
}

static int add_rule(rpc_t *rpc, void *c, const struct tcl_rule *r)
{
	const struct tcm_rpc_number numbers[] = {
			{"sources", r->sources},
			{"connections", r->connections},
			{"rejected", r->rejected},
			{"would_reject", r->would_reject},
			{NULL, 0},
	};
	void *h;

	if(add_limit(rpc, c, r->prefix, r->limit, &h) < 0
			|| rpc->struct_add(h, "ss", "terms", r->terms, "origin", r->origin)
					   < 0
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	if(r->seconds == TCL_NEVER)
		return 0;
	return rpc->struct_add(h, "d", "seconds_left", (int)r->seconds);
}

static void rpc_rules(rpc_t *rpc, void *c)
{
	struct tcl_rule *rules;
	int i, found;

	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) < 0)
		return;
	rules = pkg_malloc(RULES_MAX * sizeof(*rules));
	found = (rules != NULL) ? tcl_rules(rules, RULES_MAX) : TCL_EMEM;
	if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	for(i = 0; i < found; i++) {
		if(add_rule(rpc, c, &rules[i]) < 0) {
			tcm_rpc_no_room(rpc, c);
			break;
		}
	}
	if(rules != NULL)
		pkg_free(rules);
}

static const char *suggest_doc[] = {
		"Proposes a limit for each rule and for the default from the peaks of"
		" their sources, and a rate for the default if it has one. Lists the"
		" sources whose peak exceeds the limit, and shows how many sources have"
		" which peak, and which share of them each limit would have hit, and"
		" which share of all connections the script trusted. At"
		" most 100; rules with sources take precedence. Parameter: networks, to"
		" propose limits and a rate of networks.",
		0};

/* Adds to a struct of the answer what is suggested for the rate of those without a rule.
 * Without a rate nothing is known of them. */
static int add_rate_suggestion(
		rpc_t *rpc, void *h, const struct tcl_rate_suggestion *s)
{
	const struct tcm_rpc_number numbers[] = {
			{"burst_sources", s->sources},
			{"burst_percentile", s->percentile},
			{"burst_usual", s->usual},
			{NULL, 0},
	};

	if(tcm_rpc_add_rate(rpc, h, "rate", "burst", &s->current) < 0)
		return -1;
	if(s->current.interval_us == 0)
		return 0;
	if(rpc->struct_add(h, "s", "burst_used", s->owed) < 0
			|| tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	return tcm_rpc_add_rate(
			rpc, h, "proposed_rate", "proposed_burst", &s->proposed);
}

/* Adds which share of the connections the script trusted, in percent, if it can trust
 * any. */
static int add_trusted_share(rpc_t *rpc, void *h)
{
	const uint32_t share = tcl_trusted_share();

	if(share == TCL_NEVER)
		return 0;
	return rpc->struct_add(h, "d", "trusted_share", (int)share);
}

/* `rate`: what is suggested for the rate, NULL if nothing. `networks`: it is about
 * networks. */
static int add_suggestion(rpc_t *rpc, void *c, const struct tcl_suggestion *s,
		const struct tcl_rate_suggestion *rate, int networks)
{
	const struct tcm_rpc_number numbers[] = {
			{"sources", s->sources},
			{"highest", s->highest},
			{"percentile", s->percentile},
			{"usual", s->usual},
			{"proposed", s->proposed},
			{"above", s->above},
			{NULL, 0},
	};
	uint64_t i;
	void *h, *array;

	if(add_limit(rpc, c, s->prefix, s->limit, &h) < 0
			|| rpc->struct_add(h, "ss", "peaks", s->peaks, "hit", s->hit) < 0
			|| (rate != NULL && add_rate_suggestion(rpc, h, rate) < 0)
			|| (rate != NULL && !networks && add_trusted_share(rpc, h) < 0)
			|| tcm_rpc_add_list(rpc, h, numbers, &array) < 0)
		return -1;
	for(i = 0; i < s->above && i < TCL_SUGGEST_SOURCES; i++) {
		const struct tcm_rpc_number peak[] = {
				{"peak", s->list[i].peak}, {NULL, 0}};
		if(tcm_rpc_add_item(rpc, array, s->list[i].text, peak) < 0)
			return -1;
	}
	return 0;
}

static void rpc_suggest(rpc_t *rpc, void *c)
{
	struct tcl_suggestion *suggestions;
	struct tcl_rate_suggestion rate;
	int i, found, has_rate, networks;
	str text;

	networks = tcm_rpc_text(rpc, c, &text) > 0;
	if(networks && !is_word(&text, "networks")) {
		rpc->fault(c, 400,
				"invalid argument \"%.*s\": expected networks, or no argument",
				TCM_RPC_SHOWN(text));
		return;
	}
	if(networks && tcm_rpc_end(rpc, c, "one argument, networks") < 0)
		return;
	suggestions = pkg_malloc(SUGGESTIONS_MAX * sizeof(*suggestions));
	if(suggestions == NULL)
		found = TCL_EMEM;
	else if(networks)
		found = tcl_suggest_networks(suggestions, SUGGESTIONS_MAX);
	else
		found = tcl_suggest(suggestions, SUGGESTIONS_MAX);
	has_rate = ((networks) ? tcl_suggest_network_rate(&rate)
						   : tcl_suggest_rate(&rate))
			   == TCL_OK;
	if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	for(i = 0; i < found; i++) {
		/* The last one stands for the sources without a rule. */
		if(add_suggestion(rpc, c, &suggestions[i],
				   (has_rate && i == found - 1) ? &rate : NULL, networks)
				< 0) {
			tcm_rpc_no_room(rpc, c);
			break;
		}
	}
	if(suggestions != NULL)
		pkg_free(suggestions);
}

/* clang-format off */
rpc_export_t tcm_rpc_report[] = {
	{"tcp_conn_limit.stats", rpc_stats, stats_doc, 0},
	{"tcp_conn_limit.get", rpc_get, get_doc, 0},
	{"tcp_conn_limit.top", rpc_top, top_doc, RPC_RET_ARRAY},
	{"tcp_conn_limit.list", rpc_list, list_doc, 0},
	{"tcp_conn_limit.rules", rpc_rules, rules_doc, RPC_RET_ARRAY},
	{"tcp_conn_limit.suggest", rpc_suggest, suggest_doc, RPC_RET_ARRAY},
	{0, 0, 0, 0}
};
/* clang-format on */
