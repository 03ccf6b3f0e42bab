/*!
 * \file
 * \brief tcp_conn_limit :: one limit for several servers
 *
 * The library does the work, in a process of its own. This file has the parameters, and
 * moves messages between DMQ, which carries them, and that process.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_CLUSTER_H
#define TCM_CLUSTER_H

#include "../../core/ip_addr.h"
#include "../../core/rpc.h"
#include "../../core/str.h"

/* Turns the cluster on. Returns 0, or -1 if the value is not "dmq". */
int tcm_cluster_request(const char *value);

/* Whether it is on. */
int tcm_cluster_is_on(void);

/* Set the parameters of the same names. Return 0, or -1 after logging an error. */
int tcm_cluster_set_limit(int value);
int tcm_cluster_set_interval(int value);
int tcm_cluster_set_strict(int value);
int tcm_cluster_set_bans(int value);
int tcm_cluster_add_key(const char *value);
int tcm_cluster_add_key_file(const char *value);

/* The limit over all nodes of sources without a rule; 0: no limit. */
int tcm_cluster_limit(void);

/* Checks the parameters. Call it when the whole configuration has been read. Returns 0, or
 * -1 after logging an error. */
int tcm_cluster_check(void);

/* Reads the keys and reserves a process in the core. Call it from mod_init(), after the
 * library is initialised. Returns 0, or -1 after logging an error. */
int tcm_cluster_prepare(void);

/* Joins DMQ. Call it from child_init(PROC_INIT), because only then each module is
 * initialised. Returns 0, or -1 after logging an error. */
int tcm_cluster_join(void);

/* Starts the process. Call it from child_init(PROC_MAIN). Returns 0, or -1 after logging an
 * error. */
int tcm_cluster_start(void);

/* Passes a message from another node on to the process, and the address of the
 * connection by which it came; NULL: it came by UDP. Call it from any process. Does
 * not wait. Returns 0, or -1 if the message is lost. */
int tcm_cluster_pass_on(const str *body, const struct ip_addr *from);

/* Asks the process to shut a node out, or no longer. Does not wait. Returns 0, or -1 if it
 * has too much to do. */
int tcm_cluster_pass_drop(const str *node, int dropped);

#endif /* TCM_CLUSTER_H */
