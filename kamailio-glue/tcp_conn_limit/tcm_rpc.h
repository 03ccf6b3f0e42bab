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

#include <tcp_conn_limit.h>

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

/* Commands that change something: reload, set_limit, set_rate, set_mode, reset_stats. */
extern rpc_export_t tcm_rpc_control[];

/* The command check_rules. */
extern rpc_export_t tcm_rpc_check[];

/* Commands that change one rule: set_rule, del_rule. */
extern rpc_export_t tcm_rpc_rules[];

/* Commands about bans: ban, unban, bans. */
extern rpc_export_t tcm_rpc_bans[];

/* Commands about trusted connections: connections, set_untrusted_limit,
 * set_trust_timeout. */
extern rpc_export_t tcm_rpc_trust[];

/* Commands about reserve and pressure: load, set_reserve, set_pressure. */
extern rpc_export_t tcm_rpc_load[];

/* Commands about the cluster: cluster, cluster_audit, cluster_drop, cluster_top,
 * set_cluster_limit. */
extern rpc_export_t tcm_rpc_cluster[];

/* Adds an array of the other nodes of the cluster that have connections of the source with
 * this name, if there are any. Returns 0, or -1. */
int tcm_rpc_add_nodes_of(rpc_t *rpc, void *h, const str *name);

/* Answers with the `n` sources that have the most connections on all nodes. */
void tcm_rpc_answer_cluster_top(rpc_t *rpc, void *c, int n);

/* The command shield. */
extern rpc_export_t tcm_rpc_shield[];

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

/* Adds a limit to a struct of the answer: a number, or the text "none". Returns 0, or
 * -1. */
int tcm_rpc_add_limit(rpc_t *rpc, void *h, const char *name, int32_t limit);

/* Adds a rate to a struct of the answer: its text and, unless that is "none", its burst.
 * Returns 0, or -1. */
int tcm_rpc_add_rate(rpc_t *rpc, void *h, const char *name,
		const char *burst_name, const struct tcl_rate *rate);

/* Adds the numbers to a struct of the answer, then an array "list". Returns 0, or
 * -1. */
int tcm_rpc_add_list(rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers,
		void **array);

/* Adds a source with its numbers to an array of the answer. Returns 0, or -1. */
int tcm_rpc_add_item(rpc_t *rpc, void *array, const char *source,
		const struct tcm_rpc_number *numbers);

/* Reads the next argument, a text or a number, as text that is valid until the next
 * call. All transports are read in this way, and the module parses the text itself,
 * because each transport converts numbers differently and cuts those that do not fit.
 * Other values in JSON become a text such as true, which is not a valid argument of any
 * command that uses this function. Returns 1, or 0 if there is no argument; then the text
 * is empty. */
int tcm_rpc_text(rpc_t *rpc, void *c, str *text);

/* Has room for any valid argument of tcm_rpc_arguments(). */
#define TCM_RPC_ARGUMENT_SIZE 128

/* Reads at most `most` arguments, texts or numbers, as text; those that are missing become
 * NULL. `expected` says what the command expects. Returns 0, or -1 after answering with a
 * fault. */
int tcm_rpc_arguments(rpc_t *rpc, void *c, char text[][TCM_RPC_ARGUMENT_SIZE],
		const char *arguments[], int most, const char *expected);

/* Answers with a fault if there is another argument. `expected` says what the command
 * expects. Returns 0 without one, or -1. */
int tcm_rpc_end(rpc_t *rpc, void *c, const char *expected);

/* Reads the only argument, a limit: a number, or none, which becomes 0. Returns 0, or -1
 * after answering with a fault. */
int tcm_rpc_limit(rpc_t *rpc, void *c, int32_t *limit);

/* What commands expect as a rate. */
#define TCM_RPC_RATES "one such as 10/s, 100/m or 2/h, or none for no rate"

/* Reads a rate: its interval, and its text with a NUL, which has room for TCL_RATE_TEXT
 * bytes. Returns 0, or -1 after answering with a fault. */
int tcm_rpc_read_rate(rpc_t *rpc, void *c, uint32_t *interval_us, char *rate);

/* Reads a burst after a rate, 0 if it is missing. Returns as above. */
int tcm_rpc_read_burst(rpc_t *rpc, void *c, int *burst);

#define TCM_RPC_NO_ARGUMENTS "no arguments"

/* The beginning of a text, for "%.*s" in a fault: some transports send only short
 * ones. */
#define TCM_RPC_SHOWN(text) (((text).len < 60) ? (text).len : 60), (text).s

/* Who changes something, for a log line. The core does not pass on who sent a request;
 * the name of the process shows the transport. It is valid until the next call. */
const char *tcm_rpc_origin(void);

/* Answers with a fault: a function of the library returned the error (TCL_E...). */
void tcm_rpc_failed(rpc_t *rpc, void *c, int error);

/* The same with the text that the function wrote, if it is not empty. */
void tcm_rpc_refused(rpc_t *rpc, void *c, int error, const char *text);

#endif /* TCM_RPC_H */
