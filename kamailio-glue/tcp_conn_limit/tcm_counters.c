/*!
 * \file
 * \brief tcp_conn_limit :: the counters of the group tcp_conn_limit
 *
 * Reading a counter never walks the table, because a request route may read it. The
 * counters sources and connections have the values that the watcher counted last. All
 * others are read from shared memory.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stddef.h>
#include <string.h>

#include "../../core/counters.h"
#include "../../core/dprint.h"

#include "tcm_counters.h"

#include <tcp_conn_limit.h>

/* The counter's value is at this offset in struct tcl_stats. */
#define FIELD(name) ((void *)offsetof(struct tcl_stats, name))

static const char *stats_now(void)
{
	static struct tcl_stats stats;

	if(tcl_stats_sampled(&stats) != TCL_OK)
		memset(&stats, 0, sizeof(stats));
	return (const char *)&stats;
}

static counter_val_t read_u64(counter_handle_t handle, void *offset)
{
	return (counter_val_t) * (uint64_t *)(stats_now() + (size_t)offset);
}

static counter_val_t read_u32(counter_handle_t handle, void *offset)
{
	return (counter_val_t) * (uint32_t *)(stats_now() + (size_t)offset);
}

static counter_val_t read_i32(counter_handle_t handle, void *offset)
{
	return (counter_val_t) * (int32_t *)(stats_now() + (size_t)offset);
}

/* A limit below 0 means the same as 0, and some exporters print it as unsigned. */
static counter_val_t read_limit(counter_handle_t handle, void *offset)
{
	counter_val_t limit = read_i32(handle, offset);

	return (limit > 0) ? limit : 0;
}

/* clang-format off */
static counter_def_t counters[] = {
	{0, "sources", 0, read_u64, FIELD(sources),
		"sources with open connections, sampled within the last 2 s"},
	{0, "connections", 0, read_u64, FIELD(connections),
		"open accepted TCP and TLS connections, sampled within the last 2 s"},
	{0, "admitted", 0, read_u64, FIELD(admitted),
		"connections admitted and counted since the start"},
	{0, "rejected", 0, read_u64, FIELD(rejected),
		"connections rejected since the start because their source was at its"
		" limit"},
	{0, "would_reject", 0, read_u64, FIELD(would_reject),
		"connections admitted since the start that the mode enforce would have"
		" rejected"},
	{0, "errors", 0, read_u64, FIELD(errors),
		"connections admitted unchecked or uncounted, and internal errors, since"
		" the start"},
	{0, "panics", 0, read_u64, FIELD(panics),
		"internal errors (panics) that were caught since the start"},
	{0, "table_full", 0, read_u64, FIELD(table_full),
		"connections admitted uncounted since the start because the table had no"
		" slot for their source"},
	{0, "full_rejected", 0, read_u64, FIELD(full_rejected),
		"connections rejected since the start because the table had no slot for"
		" their source"},
	{0, "untracked", 0, read_u64, FIELD(untracked),
		"connections admitted uncounted since the start because their file"
		" descriptor is not tracked"},
	{0, "untracked_rejected", 0, read_u64, FIELD(untracked_rejected),
		"connections rejected since the start because their file descriptor is"
		" not tracked"},
	{0, "bad_address", 0, read_u64, FIELD(bad_address),
		"calls since the start with an address that is neither IPv4 nor IPv6"},
	{0, "stale_token", 0, read_u64, FIELD(stale_token),
		"releases since the start of a connection that was not counted"},
	{0, "descriptor_reused", 0, read_u64, FIELD(descriptor_reused),
		"file descriptors reused since the start while they were still counted"},
	{0, "reloads", 0, read_u64, FIELD(reloads),
		"successful reloads of the rules since the start"},
	{0, "log_suppressed", 0, read_u64, FIELD(log_suppressed),
		"rejections since the start that are logged only in a summary line"},
	{0, "rules", 0, read_u32, FIELD(rules),
		"active rules"},
	{0, "limit", 0, read_limit, FIELD(limit),
		"connections that a source without a rule may have; 0: no limit"},
	{0, "mode", 0, read_i32, FIELD(mode),
		"0: enforce, 1: monitor, 2: off"},
	{0, "on_full", 0, read_i32, FIELD(on_full),
		"a connection that cannot be counted, because the table has no slot for"
		" its source or its file descriptor is not tracked, is 0: admitted,"
		" 1: rejected"},
	{0, "ipv4_prefix", 0, read_i32, FIELD(ipv4_prefix),
		"leading bits of an IPv4 address that identify a source"},
	{0, "ipv6_prefix", 0, read_i32, FIELD(ipv6_prefix),
		"leading bits of an IPv6 address that identify a source"},
	{0, "capacity", 0, read_u32, FIELD(capacity),
		"connections that the table is sized for"},
	{0, "slots", 0, read_u64, FIELD(slots),
		"slots for sources in the table"},
	{0, "memory", 0, read_u64, FIELD(memory),
		"bytes of shared memory mapped for sources; rules use another 6 MB"},
	{0, 0, 0, 0, 0, 0}
};
/* clang-format on */

int tcm_counters_register(void)
{
	if(counter_register_array("tcp_conn_limit", counters) < 0) {
		LM_ERR("cannot register the counters of the group tcp_conn_limit\n");
		return -1;
	}
	return 0;
}
