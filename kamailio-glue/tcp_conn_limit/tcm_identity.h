/*!
 * \file
 * \brief tcp_conn_limit :: the user that the server will run as
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_IDENTITY_H
#define TCM_IDENTITY_H

/* Logs a warning if this process can read the file (NULL: nothing to do), but the user
 * that the server will run as cannot. Call it before the core changes its user, in a
 * process with one thread. */
void tcm_identity_check_file(const char *file);

#endif /* TCM_IDENTITY_H */
