/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: what operators write: addresses, numbers, words
 */

#ifndef TCM_TEXT_H
#define TCM_TEXT_H

#include "../../core/str.h"

#include <tcp_conn_limit.h>

/* The source to which an address belongs. TCL_OK, TCL_EARG if text is no
 * address, or what tcl_get() returns. */
int tcm_text_source(const str *text, struct tcl_source *source);

/* 0, or -1 if text is no whole number that an int can hold */
int tcm_text_number(const str *text, int *number);

/* TCL_MODE_..., or -1 if text is none */
int tcm_text_mode(const str *text);
const char *tcm_text_mode_name(int mode);

/* TCL_ON_FULL_..., or -1 if text is none */
int tcm_text_on_full(const str *text);
const char *tcm_text_on_full_name(int on_full);

/* TCL_BY_..., or -1 if text is none */
int tcm_text_by(const str *text);

/* what the functions above understand, for messages */
#define TCM_TEXT_MODES "enforce, monitor or off"
#define TCM_TEXT_ON_FULLS "admit or reject"
#define TCM_TEXT_BYS "connections, rejected or peak"

#endif /* TCM_TEXT_H */
