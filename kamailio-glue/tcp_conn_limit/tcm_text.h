/*!
 * \file
 * \brief tcp_conn_limit :: parses what operators write: addresses, numbers, words
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_TEXT_H
#define TCM_TEXT_H

#include "../../core/str.h"

#include <tcp_conn_limit.h>

/* Returns 0, or -1 if the text is not a whole number that fits an int. */
int tcm_text_number(const str *text, int *number);

#define TCM_TEXT_LIMIT_SIZE 16

/* A limit as text: "none" if it is 0 or less, otherwise its number, which is written to
 * `number`, of TCM_TEXT_LIMIT_SIZE bytes. */
const char *tcm_text_limit(int limit, char *number);

/* Returns TCL_MODE_..., or -1 if the text is not a mode. */
int tcm_text_mode(const str *text);
const char *tcm_text_mode_name(int mode);

/* Returns TCL_ON_FULL_..., or -1 if the text is not a value of on_full. */
int tcm_text_on_full(const str *text);
const char *tcm_text_on_full_name(int on_full);

/* Returns TCL_BY_..., or -1 if the text is not an order. */
int tcm_text_by(const str *text);

/* What the functions above accept, for messages. */
#define TCM_TEXT_MODES "enforce, monitor or off"
#define TCM_TEXT_ON_FULLS "admit or reject"
#define TCM_TEXT_BYS "connections, rejected, peak, rate or untrusted"

#endif /* TCM_TEXT_H */
