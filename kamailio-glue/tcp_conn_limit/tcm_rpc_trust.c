/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands about trusted connections
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/mem/mem.h"
#include "../../core/str.h"

#include "tcm_cfg.h"
#include "tcm_rpc.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

#define CONNECTIONS_DEFAULT 20
#define CONNECTIONS_MAX 400

static const char *connections_doc[] = {
		"Lists the open connections of a source, oldest first, and how many it"
		" has: the age in seconds, and whether each is trusted, is for TLS, has"
		" spoken and came through a proxy. Parameters: an address; how many"
		" (default 20, at most 400).",
		0};

static const char *yes_no(uint32_t facts, uint32_t fact)
{
	return (facts & fact) ? "yes" : "no";
}

/* Adds an open connection to a list of the answer. Of one that is neither trusted nor
 * proxied it is not known whether it has spoken. */
static int add_connection(
		rpc_t *rpc, void *array, const struct tcl_connection *con)
{
	const struct tcm_rpc_number numbers[] = {{"age", con->age},
			{"descriptor", (uint64_t)con->descriptor}, {NULL, 0}};
	const char *spoke = (con->facts & TCL_FACT_SPOKE) ? "yes" : "unknown";
	void *item;

	if(rpc->array_add(array, "{", &item) < 0
			|| tcm_rpc_add_numbers(rpc, item, numbers) < 0)
		return -1;
	return rpc->struct_add(item, "ssss", "trusted",
			(char *)yes_no(con->facts, TCL_FACT_TRUSTED), "tls",
			(char *)yes_no(con->facts, TCL_FACT_TLS), "spoke", (char *)spoke,
			"proxied", (char *)yes_no(con->facts, TCL_FACT_MOVED));
}

static int add_connections(rpc_t *rpc, void *c, const char *source,
		const struct tcl_connection *list, int found, uint64_t total)
{
	const struct tcm_rpc_number numbers[] = {
			{"total", total}, {"shown", (uint64_t)found}, {NULL, 0}};
	void *h, *array;
	int i;

	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "s", "source", (char *)source) < 0
			|| tcm_rpc_add_list(rpc, h, numbers, &array) < 0)
		return -1;
	for(i = 0; i < found; i++) {
		if(add_connection(rpc, array, &list[i]) < 0)
			return -1;
	}
	return 0;
}

static void answer_connections(
		rpc_t *rpc, void *c, const struct tcl_source *source, int n)
{
	struct tcl_connection *list = pkg_malloc(n * sizeof(*list));
	uint64_t total = 0;
	str name = {(char *)source->text, strlen(source->text)};
	int found;

	found = (list != NULL) ? tcl_connections(
					(const uint8_t *)name.s, name.len, list, n, &total)
						   : TCL_EMEM;
	if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	else if(add_connections(rpc, c, source->text, list, found, total) < 0)
		tcm_rpc_no_room(rpc, c);
	if(list != NULL)
		pkg_free(list);
}

/* Reads how many, the default if it is missing. Returns 0, or -1 after answering with a
 * fault. */
static int read_number(rpc_t *rpc, void *c, int *n)
{
	str text;

	*n = CONNECTIONS_DEFAULT;
	if(tcm_rpc_text(rpc, c, &text) < 1)
		return 0;
	if(tcm_text_number(&text, n) == 0 && *n >= 1 && *n <= CONNECTIONS_MAX)
		return tcm_rpc_end(rpc, c, "an address and a number");
	rpc->fault(c, 400, "invalid number \"%.*s\": expected 1 to %d",
			TCM_RPC_SHOWN(text), CONNECTIONS_MAX);
	return -1;
}

static void rpc_connections(rpc_t *rpc, void *c)
{
	char error[256] = "";
	struct tcl_source source;
	str text;
	int n, ret;

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
	else if(read_number(rpc, c, &n) == 0)
		answer_connections(rpc, c, &source, n);
}

static const char *set_untrusted_limit_doc[] = {
		"Sets the limit of untrusted connections of sources without a rule"
		" until the server stops, and shows what it is and was. Parameter: a"
		" number, or none for no limit.",
		0};

static void rpc_set_untrusted_limit(rpc_t *rpc, void *c)
{
	int32_t limit;
	int was;
	void *h;

	if(tcm_rpc_limit(rpc, c, &limit) < 0)
		return;
	switch(tcm_cfg_set_untrusted_limit(limit, &was)) {
		case TCL_OK:
			if(rpc->add(c, "{", &h) < 0
					|| tcm_rpc_add_limit(rpc, h, "untrusted_limit", limit) < 0
					|| tcm_rpc_add_limit(rpc, h, "was", was) < 0)
				tcm_rpc_no_room(rpc, c);
			break;
		case TCL_EOFF:
			rpc->fault(c, 400, "%s", TCM_TRUST_OFF);
			break;
		default:
			rpc->fault(c, 500, "cannot set the limit; see the log");
	}
}

#define SECONDS "expected 1 to 86400, or none to close no connection"

static const char *set_trust_timeout_doc[] = {
		"Sets the seconds after which an untrusted connection is closed until"
		" the server stops, and shows what they are and were. Parameter: a"
		" number from 1 to 86400, or none to close no connection.",
		0};

/* Reads seconds, 0 for none. The number 0 is refused: it may be what is left of a larger
 * number. Returns 0, or -1 after answering with a fault. */
static int read_seconds(rpc_t *rpc, void *c, int *seconds)
{
	str text;

	if(tcm_rpc_text(rpc, c, &text) < 1) {
		rpc->fault(c, 400, "missing seconds: " SECONDS);
		return -1;
	}
	*seconds = 0;
	if((text.len == 4 && strncmp(text.s, "none", 4) == 0)
			|| (tcm_text_number(&text, seconds) == 0 && *seconds >= 1
					&& *seconds <= TCL_MAX_TRUST_TIMEOUT))
		return tcm_rpc_end(rpc, c, "one number of seconds");
	rpc->fault(
			c, 400, "invalid seconds \"%.*s\": " SECONDS, TCM_RPC_SHOWN(text));
	return -1;
}

static void rpc_set_trust_timeout(rpc_t *rpc, void *c)
{
	int seconds, was;
	void *h;

	if(read_seconds(rpc, c, &seconds) < 0)
		return;
	switch(tcm_cfg_set_trust_timeout(seconds, &was)) {
		case TCL_OK:
			if(rpc->add(c, "{", &h) < 0
					|| tcm_rpc_add_limit(rpc, h, "trust_timeout", seconds) < 0
					|| tcm_rpc_add_limit(rpc, h, "was", was) < 0)
				tcm_rpc_no_room(rpc, c);
			break;
		case TCL_EOFF:
			rpc->fault(c, 400, "%s", TCM_TRUST_OFF);
			break;
		default:
			rpc->fault(c, 500, "cannot set the seconds; see the log");
	}
}

/* clang-format off */
rpc_export_t tcm_rpc_trust[] = {
	{"tcp_conn_limit.connections", rpc_connections, connections_doc, 0},
	{"tcp_conn_limit.set_untrusted_limit", rpc_set_untrusted_limit,
		set_untrusted_limit_doc, 0},
	{"tcp_conn_limit.set_trust_timeout", rpc_set_trust_timeout,
		set_trust_timeout_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
