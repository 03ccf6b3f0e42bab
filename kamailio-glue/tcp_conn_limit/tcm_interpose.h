/*!
 * \file
 * \brief tcp_conn_limit :: the attachment to accept() and close() of any core
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_INTERPOSE_H
#define TCM_INTERPOSE_H

#include "tcm_attachment.h"

extern const struct tcm_attachment tcm_interpose;

#endif /* TCM_INTERPOSE_H */
