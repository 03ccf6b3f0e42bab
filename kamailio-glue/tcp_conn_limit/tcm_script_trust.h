/*!
 * \file
 * \brief tcp_conn_limit :: functions of scripts that trust connections
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_SCRIPT_TRUST_H
#define TCM_SCRIPT_TRUST_H

#include "../../core/parser/msg_parser.h"

int tcm_script_trust(sip_msg_t *msg, char *unused, char *unused2);
int tcm_script_untrust(sip_msg_t *msg, char *unused, char *unused2);

int tcm_script_ki_trust(sip_msg_t *msg);
int tcm_script_ki_untrust(sip_msg_t *msg);

#endif /* TCM_SCRIPT_TRUST_H */
