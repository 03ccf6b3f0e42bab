/*!
 * \file
 * \brief tcp_conn_limit :: the kernel shield
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_SHIELD_H
#define TCM_SHIELD_H

/* Sets the parameter shield from its text. Returns 0, or -1 if it is not a valid one. */
int tcm_shield_request(const char *value);

/* Set the parameters shield_threshold and shield_time. Return 0, or -1 after logging an
 * error. */
int tcm_shield_set_threshold(int value);
int tcm_shield_set_time(int value);

/* Do the parameters fit together? Returns 0, or -1 after logging an error. */
int tcm_shield_check(void);

/* Loads the program, while the server still has its privileges. Returns 0, or -1 after
 * logging an error. */
int tcm_shield_load(void);

/* Attaches the program to the sockets that listen for TCP and TLS, as the server's user
 * and before any process is forked. Returns 0, or -1 after logging an error. */
int tcm_shield_attach(void);

#endif /* TCM_SHIELD_H */
