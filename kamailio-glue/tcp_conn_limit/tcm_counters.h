/*!
 * \file
 * \brief tcp_conn_limit :: the counters of the group tcp_conn_limit
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_COUNTERS_H
#define TCM_COUNTERS_H

/* Registers the counters. Returns 0, or -1 after logging an error. */
int tcm_counters_register(void);

#endif /* TCM_COUNTERS_H */
