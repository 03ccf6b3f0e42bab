/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: what differs from version to version of the core
 */

#include <stddef.h>
#include <stdlib.h>

#include "../../core/globals.h"
#include "../../core/tcp_conn.h" /* KSR_TCPAP_HAPROXY, from 5.8 on */
#include "../../core/ver.h"

#include "tcm_core.h"

/* Weak, and declared also for cores whose globals.h does not know it: it came
 * with 5.7.3. */
extern int ksr_tcp_accept_iplimit;
#pragma weak ksr_tcp_accept_iplimit

#define DEFAULT_LIMIT 1024

static int has_limit(void)
{
	return &ksr_tcp_accept_iplimit != NULL;
}

int tcm_core_limit(void)
{
	return has_limit() ? ksr_tcp_accept_iplimit : DEFAULT_LIMIT;
}

void tcm_core_set_limit(int limit)
{
	if(has_limit())
		ksr_tcp_accept_iplimit = limit;
}

/* 0 is off from 5.8 on; before, it rejects everybody. */
int tcm_core_limit_has_off(void)
{
	char *rest;
	long major = strtol(ver_version, &rest, 10);
	long minor = (*rest == '.') ? strtol(rest + 1, NULL, 10) : 0;

	return !has_limit() || major > 5 || (major == 5 && minor >= 8);
}

int tcm_core_speaks_proxy(void)
{
#ifdef KSR_TCPAP_HAPROXY
	if(ksr_tcp_accept_protocols & KSR_TCPAP_HAPROXY)
		return 1;
#endif
	return ksr_tcp_accept_haproxy;
}
