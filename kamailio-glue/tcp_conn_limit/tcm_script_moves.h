/*!
 * \file
 * \brief tcp_conn_limit :: a function of scripts that counts a connection for a client
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_SCRIPT_MOVES_H
#define TCM_SCRIPT_MOVES_H

#include "../../core/parser/msg_parser.h"
#include "../../core/str.h"

int tcm_script_count_for(sip_msg_t *msg, char *client, char *unused);

int tcm_script_ki_count_for(sip_msg_t *msg, str *client);

#endif /* TCM_SCRIPT_MOVES_H */
