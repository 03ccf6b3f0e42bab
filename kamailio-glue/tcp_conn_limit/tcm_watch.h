/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the process that watches the table
 *
 * TCP main only counts. Whatever takes time is done here: sampling, the lines
 * in the log, the event route.
 */

#ifndef TCM_WATCH_H
#define TCM_WATCH_H

#include "../../core/str.h"

#include <tcp_conn_limit.h>

/* Asks the core for a process, from mod_init(). event_callback: name of a
 * function of the KEMI script, empty if none. 0, or -1 with a line in the log. */
int tcm_watch_register(const str *event_callback);

/* Starts the process, from child_init(PROC_MAIN). 0, or -1 with a line in the
 * log. */
int tcm_watch_start(void);

/* For struct tcl_host. */
void tcm_watch_rejected(const struct tcl_event *event);

/* The event for which a script runs now in this process, NULL if none does. */
const struct tcl_event *tcm_watch_event(void);

#endif /* TCM_WATCH_H */
