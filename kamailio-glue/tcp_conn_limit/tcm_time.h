/*!
 * \file
 * \brief tcp_conn_limit :: local time as text
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_TIME_H
#define TCM_TIME_H

#include <time.h>

/* Has room for 2026-11-27T14:02:32+01:00 and its NUL, and for years of up to 9
 * digits. */
#define TCM_TIME_SIZE 32

/* The Unix time as ISO 8601 in the time zone of the server, with its offset, or
 * "never" if it is 0. It is written to `text`, of TCM_TIME_SIZE bytes. */
const char *tcm_time_local(time_t at, char *text);

#endif /* TCM_TIME_H */
