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

#include <stdint.h>

#include "../../core/counters.h"
#include "../../core/dprint.h"

#include "tcm_counters.h"

#include <tcp_conn_limit.h>

#define GROUP "tcp_conn_limit"

/* The parameter is the counter's number in the library. */
static counter_val_t read_counter(counter_handle_t handle, void *index)
{
	return (counter_val_t)tcl_counter_value((uint32_t)(uintptr_t)index);
}

int tcm_counters_register(void)
{
	struct tcl_counter counter;
	uint32_t i;

	for(i = 0; tcl_counter(i, &counter) == TCL_OK; i++) {
		if(counter_register(0, GROUP, counter.name, 0, read_counter,
				   (void *)(uintptr_t)i, counter.help, 0)
				< 0) {
			LM_ERR("cannot register the counter " GROUP ".%s\n", counter.name);
			return -1;
		}
	}
	return 0;
}
