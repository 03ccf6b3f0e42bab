/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: counters of the group tcp_conn_limit
 *
 * All are read from the table when somebody asks: nothing is counted twice.
 */

#include <stddef.h>

#include "../../core/counters.h"
#include "../../core/dprint.h"

#include "tcl_counters.h"

#include <tcp_conn_limit.h>

/* the counter's number is at this offset in struct tcl_stats */
#define FIELD(name) ((void *)offsetof(struct tcl_stats, name))

static counter_val_t read_u64(counter_handle_t handle, void *offset)
{
	struct tcl_stats stats;

	if(tcl_stats(&stats) != TCL_OK)
		return 0;
	return (counter_val_t) * (uint64_t *)((char *)&stats + (size_t)offset);
}

static counter_val_t read_u32(counter_handle_t handle, void *offset)
{
	struct tcl_stats stats;

	if(tcl_stats(&stats) != TCL_OK)
		return 0;
	return (counter_val_t) * (uint32_t *)((char *)&stats + (size_t)offset);
}

/* clang-format off */
static counter_def_t counters[] = {
	{0, "sources", 0, read_u64, FIELD(sources),
		"sources that have connections now"},
	{0, "connections", 0, read_u64, FIELD(connections),
		"accepted TCP and TLS connections that are counted now"},
	{0, "admitted", 0, read_u64, FIELD(admitted),
		"connections counted since the start"},
	{0, "rejected", 0, read_u64, FIELD(rejected),
		"connections rejected since the start, their source was at its limit"},
	{0, "errors", 0, read_u64, FIELD(errors),
		"connections admitted unchecked or uncounted since the start, and other"
		" internal errors"},
	{0, "capacity", 0, read_u32, FIELD(capacity),
		"connections that the table is made for"},
	{0, 0, 0, 0, 0, 0}
};
/* clang-format on */

int tcl_counters_register(void)
{
	if(counter_register_array("tcp_conn_limit", counters) < 0) {
		LM_ERR("cannot register the counters\n");
		return -1;
	}
	return 0;
}
