/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: in a core without hooks, instead of accept and close
 */

#ifndef TCM_INTERPOSE_H
#define TCM_INTERPOSE_H

#include "tcm_attachment.h"

extern const struct tcm_attachment tcm_interpose;

#endif /* TCM_INTERPOSE_H */
