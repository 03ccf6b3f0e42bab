/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the rules that the module parameters name
 */

#ifndef TCM_RULES_H
#define TCM_RULES_H

#include <stddef.h>

#include "../../core/sr_module.h"

/* Takes one more rule, while the configuration is read. */
int tcm_rules_param(modparam_t type, void *value);

/* Name of the file with rules, NULL if none */
extern char *tcm_rules_file;

/* Loads all: TCL_OK, or what tcl_rules_load() returns and tells. */
int tcm_rules_reload(char *error, size_t error_size);

#endif /* TCM_RULES_H */
