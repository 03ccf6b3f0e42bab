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

#include "tcl_attach.h"
#include "tcl_hooks.h"
#include "tcl_interpose.h"

/* NULL: hooks where they are, else interpose */
static const struct tcl_way *wanted = NULL;
static const struct tcl_way *way = NULL;

/* the core calls the module's destroy function also after a failed start */
static int attached = 0;

int tcl_attach_param(modparam_t type, void *value)
{
	if(strcmp(value, "auto") == 0) {
		wanted = NULL;
	} else if(strcmp(value, tcl_hooks.name) == 0) {
		wanted = &tcl_hooks;
	} else if(strcmp(value, tcl_interpose.name) == 0) {
		wanted = &tcl_interpose;
	} else {
		LM_ERR("modparam attach is \"%s\": expected auto, hooks or interpose\n",
				(char *)value);
		return -1;
	}
	return 0;
}

static const struct tcl_way *best(void)
{
	if(tcl_hooks_present())
		return &tcl_hooks;
	LM_NOTICE("%s, so the module interposes on its accept() and close() (attach"
			  " \"interpose\"): the limit and the counts are the same, but"
			  " behind a PROXY protocol proxy the limit applies to the proxy"
			  " instead of its clients, and tcp.local_reject does not count"
			  " rejections\n",
			tcl_hooks_missing());
	return &tcl_interpose;
}

int tcl_attach_choose(void)
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

const char *tcl_attach_name(void)
{
	return way->name;
}

int tcl_attach_by_hooks(void)
{
	return way == &tcl_hooks;
}

int tcl_attach_begin(void)
{
	if(way->attach() < 0)
		return -1;
	attached = 1;
	return 0;
}

int tcl_attach_in_tcp_main(void)
{
	return way->in_tcp_main();
}

void tcl_attach_end(void)
{
	if(attached)
		way->detach();
	attached = 0;
}
