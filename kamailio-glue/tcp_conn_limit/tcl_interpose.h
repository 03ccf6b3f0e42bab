/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: in a core without hooks, instead of accept and close
 */

#ifndef TCL_INTERPOSE_H
#define TCL_INTERPOSE_H

#include "tcl_attach.h"

extern const struct tcl_way tcl_interpose;

#endif /* TCL_INTERPOSE_H */
