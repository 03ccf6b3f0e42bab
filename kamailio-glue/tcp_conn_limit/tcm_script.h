/*!
 * \file
 * \brief tcp_conn_limit :: what scripts see: functions, native and KEMI, and variables
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_SCRIPT_H
#define TCM_SCRIPT_H

#include "../../core/kemi.h"
#include "../../core/pvar.h"
#include "../../core/sr_module.h"

#include <tcp_conn_limit.h>

/* For the module interface. */
extern cmd_export_t tcm_script_exports[];
extern pv_export_t tcm_script_pv_exports[];

/* For mod_register(). */
extern sr_kemi_t tcm_script_kemi_exports[];

/* The core's values for true and false; the third is also false, but differs from an
 * answer. */
#define TCM_SCRIPT_YES 1
#define TCM_SCRIPT_NO -1
#define TCM_SCRIPT_INVALID -2

/* Finds the source of an address. Returns 0, or what the function of the script returns:
 * TCM_SCRIPT_INVALID, after reporting it, or TCM_SCRIPT_NO. */
int tcm_script_find(
		const sip_msg_t *msg, const str *address, struct tcl_source *source);

/* A script can pass something invalid with every message, so a process logs at most one
 * in an interval. */
void tcm_script_report_invalid(const char *error);

/* The same for a function that returns another value. */
void tcm_script_report(const char *error, int ret);

#endif /* TCM_SCRIPT_H */
