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

/* For the module interface. */
extern cmd_export_t tcm_script_exports[];
extern pv_export_t tcm_script_pv_exports[];

/* For mod_register(). */
extern sr_kemi_t tcm_script_kemi_exports[];

#endif /* TCM_SCRIPT_H */
