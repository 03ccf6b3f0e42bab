/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the ways to learn of connections, and their choice
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"

#include "tcm_attach.h"
#include "tcm_hooks.h"
#include "tcm_interpose.h"

/* NULL: hooks where they are, else interpose */
static const struct tcm_way *wanted = NULL;
static const struct tcm_way *way = NULL;

/* the core calls the module's destroy function also after a failed start */
static int attached = 0;

int tcm_attach_param(modparam_t type, void *value)
{
	if(strcmp(value, "auto") == 0) {
		wanted = NULL;
	} else if(strcmp(value, tcm_hooks.name) == 0) {
		wanted = &tcm_hooks;
	} else if(strcmp(value, tcm_interpose.name) == 0) {
		wanted = &tcm_interpose;
	} else {
		LM_ERR("modparam attach is \"%s\": expected auto, hooks or interpose\n",
				(char *)value);
		return -1;
	}
	return 0;
}

static const struct tcm_way *best(void)
{
	if(tcm_hooks_present())
		return &tcm_hooks;
	LM_NOTICE("%s, so the module interposes on its accept() and close() (attach"
			  " \"interpose\"): the limit and the counts are the same, but"
			  " behind a PROXY protocol proxy the limit applies to the proxy"
			  " instead of its clients, and tcp.local_reject does not count"
			  " rejections\n",
			tcm_hooks_missing());
	return &tcm_interpose;
}

int tcm_attach_choose(void)
{
	if(tcp_disable) {
		LM_ERR("TCP is disabled (disable_tcp, or the option -T), so there are"
			   " no connections to limit: enable TCP or do not load this"
			   " module\n");
		return -1;
	}
	way = (wanted != NULL) ? wanted : best();
	return way->usable();
}

const char *tcm_attach_name(void)
{
	return way->name;
}

int tcm_attach_by_hooks(void)
{
	return way == &tcm_hooks;
}

int tcm_attach_begin(void)
{
	if(way->attach() < 0)
		return -1;
	attached = 1;
	return 0;
}

int tcm_attach_in_tcp_main(void)
{
	return way->in_tcp_main();
}

void tcm_attach_end(void)
{
	if(attached)
		way->detach();
	attached = 0;
}
