/*!
 * \file
 * \brief tcp_conn_limit :: the watcher process
 *
 * TCP main only counts. The watcher does what takes time: it samples the table, logs
 * rejections and runs the event route.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_WATCH_H
#define TCM_WATCH_H

#include "../../core/str.h"

#include <tcp_conn_limit.h>

/* Finds what runs on an event. event_callback names a function of the KEMI script, or is
 * empty. Call it when the whole configuration has been read. Returns 0, or -1 after
 * logging an error. */
int tcm_watch_check(const str *event_callback);

/* Reserves a process in the core. Call it from mod_init(). Returns 0, or -1 after logging
 * an error. */
int tcm_watch_register(void);

/* Starts the process. Call it from child_init(PROC_MAIN). Returns 0, or -1 after
 * logging an error. */
int tcm_watch_start(void);

/* The functions of struct tcl_host that report events. */
void tcm_watch_rejected(const struct tcl_event *event);
void tcm_watch_released(const struct tcl_event *event);
void tcm_watch_banned(const struct tcl_event *event);
void tcm_watch_unbanned(const struct tcl_event *event);
void tcm_watch_timed_out(const struct tcl_event *event);
void tcm_watch_pressure(const struct tcl_pressure *event);

/* The event of a source that a script is running for in this process, NULL if no script
 * runs for one. */
const struct tcl_event *tcm_watch_event(void);

/* The change of the level of pressure that a script is running for in this process, NULL
 * if no script runs for one. */
const struct tcl_pressure *tcm_watch_pressure_event(void);

#endif /* TCM_WATCH_H */
