/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: what differs from version to version of the core
 */

#ifndef TCM_CORE_H
#define TCM_CORE_H

/* The core's own limit of connections for an address, tcp_accept_iplimit; in a
 * core that has none: what others have if it is not set. */
int tcm_core_limit(void);

/* Sets the core's own limit, if it has one. */
void tcm_core_set_limit(int limit);

/* Can the core's own limit be switched off, or has it none? */
int tcm_core_limit_has_off(void);

/* Does the core look for headers of the PROXY protocol? */
int tcm_core_speaks_proxy(void);

#endif /* TCM_CORE_H */
