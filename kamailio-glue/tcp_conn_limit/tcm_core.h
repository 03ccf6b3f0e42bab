/*!
 * \file
 * \brief tcp_conn_limit :: differences between versions of the core
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_CORE_H
#define TCM_CORE_H

/* Has the core a limit of its own, tcp_accept_iplimit? Cores before 5.7.3 lack it. */
int tcm_core_has_limit(void);

/* The core's own limit of connections per address, tcp_accept_iplimit. For a core
 * without this limit, the default that other cores have. */
int tcm_core_limit(void);

/* Sets the core's own limit, if it has one. */
void tcm_core_set_limit(int limit);

/* Can the core's own limit be switched off? Also true if the core has no limit. */
int tcm_core_limit_has_off(void);

/* Does the core look for headers of the PROXY protocol? */
int tcm_core_speaks_proxy(void);

#endif /* TCM_CORE_H */
