/*!
 * \file
 * \brief tcp_conn_limit :: messages between nodes, carried by the module dmq
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_DMQ_H
#define TCM_DMQ_H

#include <stdint.h>

#include "../../core/str.h"

/* Whether the module dmq is loaded. */
int tcm_dmq_is_loaded(void);

/* Joins DMQ. Call it when each module is initialised. Returns 0, or -1 after logging an error. */
int tcm_dmq_join(void);

/* The address of this server in DMQ, the modparam server_address of dmq. It is the same
 * after a restart, and no other node has it. Empty if the module dmq does not say it. */
str tcm_dmq_own_address(void);

/* The longest body of a message, in bytes, that the transport of DMQ carries as a whole. */
uint32_t tcm_dmq_body_bytes(void);

/* Sends a text to all other nodes, or to the one with this name. Does not wait for an
 * answer. */
void tcm_dmq_send(const char *node, const char *body, uint32_t length);

#endif /* TCM_DMQ_H */
