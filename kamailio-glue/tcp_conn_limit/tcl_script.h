/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: functions for scripts, native and KEMI
 */

#ifndef TCL_SCRIPT_H
#define TCL_SCRIPT_H

#include "../../core/kemi.h"
#include "../../core/sr_module.h"

/* for the module interface */
extern cmd_export_t tcl_script_exports[];

/* for mod_register() */
extern sr_kemi_t tcl_script_kemi_exports[];

#endif /* TCL_SCRIPT_H */
