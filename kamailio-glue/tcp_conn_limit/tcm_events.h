/*!
 * \file
 * \brief tcp_conn_limit :: the names of event routes and of the KEMI callback
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_EVENTS_H
#define TCM_EVENTS_H

#include "../../core/parser/msg_parser.h"
#include "../../core/str.h"

/* Checks that each event route with the name of this module is one that the module runs:
 * one of `known`, which ends with NULL. Returns 0, or -1 after logging an error for each
 * that is not. */
int tcm_events_check_routes(const str *const known[]);

/* Logs an error if the KEMI script has no function of this name. Call it in a process in
 * which the script is loaded. Some engines cannot be asked; then nothing is logged. */
void tcm_events_check_callback(sip_msg_t *msg, const str *callback);

#endif /* TCM_EVENTS_H */
