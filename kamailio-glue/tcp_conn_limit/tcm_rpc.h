/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: RPC commands
 *
 * They run in the process that was asked, never in TCP main.
 */

#ifndef TCM_RPC_H
#define TCM_RPC_H

#include <stdint.h>

#include "../../core/rpc.h"
#include "../../core/str.h"

/* 5.6 and older have another name for the one, and no limit on how often a
 * command runs */
#if VERSIONVAL < 5007000
#define RPC_RET_ARRAY RET_ARRAY
#define RPC_EXEC_DELTA 0
#endif

/* 0, or -1 with a line in the log */
int tcm_rpc_register(void);

/* the commands that tell: stats, get, top, list, rules, suggest */
extern rpc_export_t tcm_rpc_report[];

/* the commands that change: reload, set_limit, set_mode, reset_stats */
extern rpc_export_t tcm_rpc_control[];

/* the audit: audit */
extern rpc_export_t tcm_rpc_audit[];

/* The answer cannot take what there is to tell. */
void tcm_rpc_no_room(rpc_t *rpc, void *c);

/* A number of an answer; the last of several has the name NULL. */
struct tcm_rpc_number
{
	const char *name;
	uint64_t value;
};

/* Adds the numbers to a struct of the answer: 0, or -1. */
int tcm_rpc_add_numbers(
		rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers);

/* Adds the numbers to a struct of the answer, then an array "list": 0, or -1. */
int tcm_rpc_add_list(rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers,
		void **array);

/* Adds a source with its numbers to an array of the answer: 0, or -1. */
int tcm_rpc_add_item(rpc_t *rpc, void *array, const char *source,
		const struct tcm_rpc_number *numbers);

/* The next argument, of whatever type, as text that is valid until the next call:
 * 1, 0 if there is none, -1 if it is none that could be a text; the text is empty
 * then. */
int tcm_rpc_text(rpc_t *rpc, void *c, str *text);

/* A function of the library returned the error. */
void tcm_rpc_failed(rpc_t *rpc, void *c, int error);

#endif /* TCM_RPC_H */
