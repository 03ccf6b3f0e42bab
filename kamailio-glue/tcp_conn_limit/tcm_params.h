/*!
 * \file
 * \brief tcp_conn_limit :: the module parameters
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_PARAMS_H
#define TCM_PARAMS_H

#include <stddef.h>

#include "../../core/sr_module.h"
#include "../../core/str.h"

#include <tcp_conn_limit.h>

/* The parameters that do not change after the start. The others are in
 * tcm_cfg_start. */
struct tcm_params
{
	int ipv4_prefix;
	int ipv6_prefix;
	int on_full;		/* TCL_ON_FULL_... */
	int ban_min;		/* seconds; 0 if not set */
	int ban_max;		/* seconds; 0 if not set */
	int trust;			/* 1 if untrusted_limit or trust_timeout is set */
	int moves;			/* 1 if a rule has the word proxy, once it is known */
	str event_callback; /* empty if not set */
};

extern struct tcm_params tcm_params;

/* For the module interface. */
extern param_export_t tcm_params_exports[];

/* The default limit: the parameter, or the core's own limit if it is not set. Call it
 * when the whole configuration has been read. */
int tcm_params_limit(void);

/* The configuration of the limiter. Call it when the whole configuration has been
 * read. */
void tcm_params_config(struct tcl_config *config);

/* Checks that configuration. Returns 0, or -1 after logging an error. */
int tcm_params_check(void);

/* Checks a rate and a burst (0: the default one) in place of those of the parameters.
 * Returns 0, or -1 with the reason and the remedy in `error`. */
int tcm_params_check_rate(
		const char *rate, int burst, char *error, size_t error_size);

/* The path of the rules file, NULL without a rules file. */
const char *tcm_params_rules_file(void);

/* Checks the rules that the parameters name. Returns 0, or -1 after logging an error for
 * each fault. */
int tcm_params_check_rules(void);

/* As tcl_rules_check(), with the rules of the parameters and those in this file. */
int tcm_params_check_file(const char *file, tcl_fault fault, tcl_rule_line rule,
		void *data, uint32_t *valid);

/* Loads the rules that the parameters name: those written there, then the rules
 * file. Returns as tcl_rules_load(), with the same message. Logs nothing. */
int tcm_params_load_rules(char *error, size_t error_size);

/* Has one of the rules that the parameters name the word proxy? Reads the rules file. */
int tcm_params_have_proxies(void);

/* Is one of the rules that the parameters name for networks? Reads the rules file. */
int tcm_params_have_network_rules(void);

/* Sets a parameter, which must be one of the configuration of the limiter. Returns 0, or
 * -1 after logging an error; then it keeps its value. */
int tcm_params_set_text(char **to, const char *value);
int tcm_params_set_number(int *to, void *value);

/* Defines PREFIXparam_is_number() and PREFIXparam_is_text(), which report a value of the
 * wrong type. */
#define TCM_PARAMS_IS_NUMBER(prefix, param)                        \
	int prefix##param##_is_number(modparam_t type, void *value)    \
	{                                                              \
		LM_ERR("modparam " #param                                  \
			   ": expected a quoted string, got the number %ld\n", \
				(long)value);                                      \
		return -1;                                                 \
	}
#define TCM_PARAMS_IS_TEXT(prefix, param)                                     \
	int prefix##param##_is_text(modparam_t type, void *value)                 \
	{                                                                         \
		LM_ERR("modparam " #param                                             \
			   ": expected a number without quotes, got the string \"%s\"\n", \
				(char *)value);                                               \
		return -1;                                                            \
	}

#endif /* TCM_PARAMS_H */
