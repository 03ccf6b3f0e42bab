/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands
 *
 * They run in the process that received the request, never in TCP main.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_RPC_H
#define TCM_RPC_H

#include <stdint.h>

#include "../../core/rpc.h"
#include "../../core/str.h"

/* Up to 5.6 the first flag has another name, and the second, which limits how often a
 * command may run, does not exist. */
#if VERSIONVAL < 5007000
#define RPC_RET_ARRAY RET_ARRAY
#define RPC_EXEC_DELTA 0
#endif

/* Registers the commands. Returns 0, or -1 after logging an error. */
int tcm_rpc_register(void);

/* Commands that report: stats, get, top, list, rules, suggest. */
extern rpc_export_t tcm_rpc_report[];

/* Commands that change something: reload, set_limit, set_mode, reset_stats. */
extern rpc_export_t tcm_rpc_control[];

/* The command check_rules. */
extern rpc_export_t tcm_rpc_check[];

/* The command audit. */
extern rpc_export_t tcm_rpc_audit[];

/* Answers with a fault: the answer did not fit. */
void tcm_rpc_no_room(rpc_t *rpc, void *c);

/* A number in an answer. An array of them ends with the name NULL. */
struct tcm_rpc_number
{
	const char *name;
	uint64_t value;
};

/* Adds the numbers to a struct of the answer. Returns 0, or -1. */
int tcm_rpc_add_numbers(
		rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers);

/* Adds the numbers to a struct of the answer, then an array "list". Returns 0, or
 * -1. */
int tcm_rpc_add_list(rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers,
		void **array);

/* Adds a source with its numbers to an array of the answer. Returns 0, or -1. */
int tcm_rpc_add_item(rpc_t *rpc, void *array, const char *source,
		const struct tcm_rpc_number *numbers);

/* Reads the next argument, of any type, as text that is valid until the next call.
 * Returns 1, 0 if there is no argument, or -1 if the argument cannot be converted to
 * text. The text is empty in the last two cases. */
int tcm_rpc_text(rpc_t *rpc, void *c, str *text);

/* Answers with a fault: a function of the library returned the error (TCL_E...). */
void tcm_rpc_failed(rpc_t *rpc, void *c, int error);

#endif /* TCM_RPC_H */
