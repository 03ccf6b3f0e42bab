/*!
 * \file
 * \brief tcp_conn_limit :: functions of scripts that ban and penalize
 *
 * The native functions are for a source by its address or, if that is NULL, for the source
 * of the message or of the event.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_SCRIPT_BANS_H
#define TCM_SCRIPT_BANS_H

#include "../../core/parser/msg_parser.h"
#include "../../core/str.h"

int tcm_script_ban(sip_msg_t *msg, char *seconds, char *address);
int tcm_script_unban(sip_msg_t *msg, char *address, char *unused);
int tcm_script_penalize(sip_msg_t *msg, char *address, char *unused);

int tcm_script_fixup_ban(void **param, int number);
int tcm_script_free_fixup_ban(void **param, int number);

int tcm_script_ki_ban(sip_msg_t *msg, int seconds, str *address);
int tcm_script_ki_unban(sip_msg_t *msg, str *address);
int tcm_script_ki_penalize(sip_msg_t *msg, str *address);

#endif /* TCM_SCRIPT_BANS_H */
