/*!
 * \file
 * \brief tcp_conn_limit :: chooses the attachment
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/globals.h"

#include "tcm_attach.h"
#include "tcm_hooks.h"
#include "tcm_interpose.h"

/* NULL: hooks if the core has them, else interpose. */
static const struct tcm_attachment *requested = NULL;
static const struct tcm_attachment *chosen = NULL;

/* The core also calls the module's destroy function after a failed start. */
static int attached = 0;

int tcm_attach_request(const char *name)
{
	if(strcmp(name, "auto") == 0) {
		requested = NULL;
	} else if(strcmp(name, tcm_hooks.name) == 0) {
		requested = &tcm_hooks;
	} else if(strcmp(name, tcm_interpose.name) == 0) {
		requested = &tcm_interpose;
	} else {
		return -1;
	}
	return 0;
}

static const struct tcm_attachment *best(void)
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
	chosen = (requested != NULL) ? requested : best();
	return chosen->usable();
}

const char *tcm_attach_name(void)
{
	return chosen->name;
}

int tcm_attach_by_hooks(void)
{
	return chosen == &tcm_hooks;
}

int tcm_attach_begin(void)
{
	if(chosen->attach() < 0)
		return -1;
	attached = 1;
	return 0;
}

int tcm_attach_listening(void)
{
	return chosen->listening();
}

int tcm_attach_in_tcp_main(void)
{
	return chosen->in_tcp_main();
}

void tcm_attach_end(void)
{
	if(attached)
		chosen->detach();
	attached = 0;
}
