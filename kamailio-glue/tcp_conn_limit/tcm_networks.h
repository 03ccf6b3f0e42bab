/*!
 * \file
 * \brief tcp_conn_limit :: the parameters and RPC commands about networks
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TCM_NETWORKS_H
#define TCM_NETWORKS_H

#include "../../core/rpc.h"
#include "../../core/sr_module.h"

#include <tcp_conn_limit.h>

/* Adds the networks to the configuration of the limiter. They are counted if there is a
 * limit or a rate for them. */
void tcm_networks_config(struct tcl_config *config);

/* The functions of the parameters network_limit, network_rate, network_burst,
 * ipv4_network and ipv6_network, and those for values of the wrong type. */
int tcm_network_limit_param(modparam_t type, void *value);
int tcm_network_limit_is_text(modparam_t type, void *value);
int tcm_network_rate_param(modparam_t type, void *value);
int tcm_network_rate_is_number(modparam_t type, void *value);
int tcm_network_burst_param(modparam_t type, void *value);
int tcm_network_burst_is_text(modparam_t type, void *value);
int tcm_ipv4_network_param(modparam_t type, void *value);
int tcm_ipv4_network_is_text(modparam_t type, void *value);
int tcm_ipv6_network_param(modparam_t type, void *value);
int tcm_ipv6_network_is_text(modparam_t type, void *value);

/* Adds the settings of networks to the answer of stats, if networks are counted. Returns
 * 0, or -1. */
int tcm_networks_add_settings(rpc_t *rpc, void *h);

/* The commands set_network_limit and set_network_rate. */
extern rpc_export_t tcm_rpc_networks[];

#endif /* TCM_NETWORKS_H */
