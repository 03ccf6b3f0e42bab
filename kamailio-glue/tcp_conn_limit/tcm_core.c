/*!
 * \file
 * \brief tcp_conn_limit :: differences between versions of the core
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stddef.h>
#include <stdlib.h>

#include "../../core/globals.h"
#include "../../core/tcp_conn.h" /* KSR_TCPAP_HAPROXY, since 5.8 */
#include "../../core/ver.h"

#include "tcm_core.h"

/* Weak, and also declared for cores whose globals.h does not declare it: 5.7.3 added
 * it. */
extern int ksr_tcp_accept_iplimit;
#pragma weak ksr_tcp_accept_iplimit

#define DEFAULT_LIMIT 1024

int tcm_core_has_limit(void)
{
	return &ksr_tcp_accept_iplimit != NULL;
}

int tcm_core_limit(void)
{
	return tcm_core_has_limit() ? ksr_tcp_accept_iplimit : DEFAULT_LIMIT;
}

void tcm_core_set_limit(int limit)
{
	if(tcm_core_has_limit())
		ksr_tcp_accept_iplimit = limit;
}

/* 0 means off since 5.8. Before, it rejects every connection. */
int tcm_core_limit_has_off(void)
{
	char *rest;
	long major = strtol(ver_version, &rest, 10);
	long minor = (*rest == '.') ? strtol(rest + 1, NULL, 10) : 0;

	return !tcm_core_has_limit() || major > 5 || (major == 5 && minor >= 8);
}

int tcm_core_speaks_proxy(void)
{
#ifdef KSR_TCPAP_HAPROXY
	if(ksr_tcp_accept_protocols & KSR_TCPAP_HAPROXY)
		return 1;
#endif
	return ksr_tcp_accept_haproxy;
}
