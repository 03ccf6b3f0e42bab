/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the pseudo-variables $tcp_conn_limit(NAME)
 */

#ifndef TCM_PV_H
#define TCM_PV_H

#include "../../core/pvar.h"

#include <tcp_conn_limit.h>

/* for the module interface */
extern pv_export_t tcm_pv_exports[];

/* Number of the NAME, or -1 with a line in the log */
int tcm_pv_field(const str *name);

/* The value that a source has under a NAME. 0, or a negative number. */
int tcm_pv_value(const struct tcl_source *source, int field, pv_value_t *value);

#endif /* TCM_PV_H */
