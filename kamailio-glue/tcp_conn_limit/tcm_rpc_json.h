/*!
 * \file
 * \brief tcp_conn_limit :: arguments of jsonrpcs that are neither text nor number
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_RPC_JSON_H
#define TCM_RPC_JSON_H

#include "../../core/rpc.h"

/* The next argument as text, if the transport is jsonrpcs and the argument is true,
 * false, null, an array or an object, whose content is left out. NULL in all other cases.
 * The argument is not consumed. */
const char *tcm_rpc_json_word(rpc_t *rpc, void *c);

#endif /* TCM_RPC_JSON_H */
