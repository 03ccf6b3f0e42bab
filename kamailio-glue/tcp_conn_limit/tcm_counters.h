/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: counters of the group tcp_conn_limit
 */

#ifndef TCM_COUNTERS_H
#define TCM_COUNTERS_H

/* 0, or -1 with a line in the log */
int tcm_counters_register(void);

#endif /* TCM_COUNTERS_H */
