/*!
 * \file
 * \brief tcp_conn_limit :: how full the server is
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_LOAD_H
#define TCM_LOAD_H

#include <tcp_conn_limit.h>

/* For tcl_host. */
void tcm_load_read(struct tcl_load *load);

/* Logs a warning if the core's maximum for TLS makes reserve and pressure useless for TLS.
 * Call it when the limiter exists. */
void tcm_load_check_tls(void);

#endif /* TCM_LOAD_H */
