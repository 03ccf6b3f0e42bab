/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs one operation COUNT times, on sources in random order, under callgrind:
 * hot OPERATION SOURCES COUNT.
 *
 * SOURCES sources are connected all the time, in a table sized for twice as many
 * connections. The operations differ in the source:
 *
 *   check   has one connection; check only
 *   reject  is at its limit of two; check only, which counts the rejection
 *   cycle   has one connection; check, opened, closed
 *   return  has closed its only connection, and still has its slot; check,
 *           opened, closed. SOURCES such sources take turns.
 *   new     was never seen; check, opened, closed. It stays as an idle source.
 *   rate    as cycle, with a rate, at which the source still owes something
 *   cluster as check, on a node of a cluster with a limit over all nodes */

#include <stdlib.h>
#include <string.h>

#include "tcp_conn_limit.h"

#define LIMIT 2

static void host_log(int32_t level, const char *line)
{
	(void)level;
	(void)line;
}

static uint32_t host_now(void)
{
	return 1;
}

static void host_rejected(const struct tcl_event *event)
{
	(void)event;
}

static const struct tcl_host host = {
		.log = host_log, .now = host_now, .rejected = host_rejected};

static void address(uint32_t n, uint8_t bytes[4])
{
	bytes[0] = 10 + (n >> 24);
	bytes[1] = n >> 16;
	bytes[2] = n >> 8;
	bytes[3] = n;
}

enum operation
{
	NOTHING,
	CHECK,
	REJECT,
	CYCLE,
	RETURN,
	NEW,
	RATE,
	CLUSTER,
	OPERATIONS
};

static const char *const names[OPERATIONS] = {"nothing", "check", "reject",
		"cycle", "return", "new", "rate", "cluster"};

/* Returns 0, or 1 if the limiter gives a wrong answer. */
static int run(enum operation operation, const uint8_t bytes[4], int descriptor)
{
	switch(operation) {
		case CHECK:
		case CLUSTER:
			return tcl_check(bytes, 4, descriptor, -1) != 0;
		case REJECT:
			return tcl_check(bytes, 4, descriptor, -1) != 1;
		case CYCLE:
		case RETURN:
		case NEW:
		case RATE:
			return tcl_check(bytes, 4, descriptor, -1) != 0
				   || tcl_closed(tcl_opened(bytes, 4, descriptor, -1, 0),
							  TCL_FACT_SPOKE)
							  != TCL_OK;
		default:
			return 0;
	}
}

/* Returns the number of the source for step i; random is below sources. */
static uint32_t source_for(
		enum operation operation, uint32_t sources, uint32_t i, uint32_t random)
{
	switch(operation) {
		case RETURN:
			return sources + random;
		case NEW:
			return sources + i;
		default:
			return random;
	}
}

/* Gives slots to another `sources` sources. It closes their connections only when
 * all of them are open, so no source takes the slot of another. Returns 1 on failure. */
static int add_idle_sources(uint32_t sources)
{
	uint64_t *tokens = calloc(sources, sizeof(*tokens));
	uint8_t bytes[4];
	uint32_t i;
	int wrong = tokens == NULL;

	for(i = 0; !wrong && i < sources; i++) {
		address(sources + i, bytes);
		tokens[i] = tcl_opened(bytes, 4, sources + i, -1, 0);
		wrong = tokens[i] == 0;
	}
	for(i = 0; !wrong && i < sources; i++)
		wrong = tcl_closed(tokens[i], TCL_FACT_SPOKE) != TCL_OK;
	free(tokens);
	return wrong;
}

int main(int argc, char **argv)
{
	struct tcl_config config = {
			.limit = LIMIT, .ipv4_prefix = 32, .ipv6_prefix = 64};
	enum operation operation = 0;
	char error[200];
	uint8_t bytes[4];
	uint32_t sources, count, i, random = 1;
	int free_descriptor, wrong = 0;

	if(argc != 4)
		return 2;
	while(operation < OPERATIONS && strcmp(argv[1], names[operation]) != 0)
		operation++;
	sources = strtoul(argv[2], NULL, 10);
	count = strtoul(argv[3], NULL, 10);
	config.max_connections = sources * 2;
	if(operation == CLUSTER) {
		config.cluster = 1;
		config.cluster_limit = LIMIT;
	}
	free_descriptor = sources * 2;
	if(operation == RATE) {
		config.rate = "10000/s";
		config.burst = 1000000;
	}
	if(operation == OPERATIONS
			|| tcl_init(&config, &host, error, sizeof(error)) != TCL_OK)
		return 2;
	for(i = 0; i < sources; i++) {
		address(i, bytes);
		wrong |= tcl_opened(bytes, 4, i, -1, 0) == 0;
		if(operation == REJECT)
			wrong |= tcl_opened(bytes, 4, sources + i, -1, 0) == 0;
	}
	if(operation == RETURN)
		wrong |= add_idle_sources(sources);
	for(i = 0; i < count; i++) {
		random = random * 1664525 + 1013904223;
		address(source_for(operation, sources, i, random % sources), bytes);
		wrong |= run(operation, bytes, free_descriptor);
	}
	return wrong;
}
