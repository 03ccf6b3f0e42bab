/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: functions for scripts, native and KEMI
 */

#ifndef TCM_SCRIPT_H
#define TCM_SCRIPT_H

#include "../../core/kemi.h"
#include "../../core/sr_module.h"

/* for the module interface */
extern cmd_export_t tcm_script_exports[];

/* for mod_register() */
extern sr_kemi_t tcm_script_kemi_exports[];

#endif /* TCM_SCRIPT_H */
