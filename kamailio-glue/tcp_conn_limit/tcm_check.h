/*!
 * \file
 * \brief tcp_conn_limit :: checks before the start
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_CHECK_H
#define TCM_CHECK_H

/* Checks everything that can be checked before anything is created: parameters, rules,
 * the rules file, the attachment, event routes and callbacks. Call it when the whole
 * configuration has been read. Logs every fault. Returns 0, or -1 if there is one. */
int tcm_check(void);

/* If the server only checks its configuration (kamailio -c), lets it also make these
 * checks, and end with an error if one fails. Call it when the module is loaded. Returns
 * 0, or -1 after logging an error. */
int tcm_check_register(void);

#endif /* TCM_CHECK_H */
