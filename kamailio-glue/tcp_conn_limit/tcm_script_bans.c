/*!
 * \file
 * \brief tcp_conn_limit :: functions of scripts that ban and penalize
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mod_fix.h"
#include "../../core/resolve.h"

#include "tcm_address.h"
#include "tcm_script.h"
#include "tcm_script_bans.h"
#include "tcm_watch.h"

#include <tcp_conn_limit.h>

/* Also true: the source is banned now. */
#define YES_BANNED 2

/* The address of the source that a text names. Returns 0, or what the function of the
 * script returns. */
static int read_address(const str *text, struct ip_addr *address)
{
	struct tcl_source source;
	struct ip_addr *read;
	str bare;
	int ret = tcm_script_find(NULL, text, &source);

	if(ret < 0)
		return ret;
	bare.s = source.text;
	bare.len = strcspn(source.text, "/");
	read = str2ip(&bare);
	if(read == NULL)
		read = str2ip6(&bare);
	if(read == NULL)
		return TCM_SCRIPT_NO;
	*address = *read;
	return 0;
}

static int ban(const struct ip_addr *address, int seconds)
{
	char error[96];

	switch(tcl_ban_address(
			address->u.addr, address->len, (seconds > 0) ? seconds : 0)) {
		case TCL_OK:
			return TCM_SCRIPT_YES;
		case TCL_EARG:
			snprintf(error, sizeof(error),
					"invalid seconds %d of a ban: expected 1 to 2592000",
					seconds);
			tcm_script_report_invalid(error);
			return TCM_SCRIPT_INVALID;
		default: /* exempt, or no slot */
			return TCM_SCRIPT_NO;
	}
}

static int unban(const struct ip_addr *address)
{
	return (tcl_unban_address(address->u.addr, address->len) > 0)
				   ? TCM_SCRIPT_YES
				   : TCM_SCRIPT_NO;
}

static int penalize(const struct ip_addr *address)
{
	switch(tcl_offence(address->u.addr, address->len)) {
		case 0:
			return TCM_SCRIPT_YES;
		case 1:
			return YES_BANNED;
		default: /* exempt, or no slot */
			return TCM_SCRIPT_NO;
	}
}

int tcm_script_ki_ban(sip_msg_t *msg, int seconds, str *text)
{
	struct ip_addr address;
	int ret = read_address(text, &address);

	return (ret < 0) ? ret : ban(&address, seconds);
}

int tcm_script_ki_unban(sip_msg_t *msg, str *text)
{
	struct ip_addr address;
	int ret = read_address(text, &address);

	return (ret < 0) ? ret : unban(&address);
}

int tcm_script_ki_penalize(sip_msg_t *msg, str *text)
{
	struct ip_addr address;
	int ret = read_address(text, &address);

	return (ret < 0) ? ret : penalize(&address);
}

/* The address in a parameter or, without one, of the message or the event. Returns
 * as read_address(). */
static int address_of_param(
		sip_msg_t *msg, char *param, struct ip_addr *address)
{
	const struct tcl_event *event = tcm_watch_event();
	str text;

	if(param != NULL) {
		if(fixup_get_svalue(msg, (gparam_t *)param, &text) == 0)
			return read_address(&text, address);
		LM_ERR("the address has no value\n");
		return TCM_SCRIPT_NO;
	}
	if(event != NULL) {
		text.s = (char *)event->source;
		text.len = strlen(text.s);
		return read_address(&text, address);
	}
	tcm_address_of_message(msg, address);
	return 0;
}

int tcm_script_ban(sip_msg_t *msg, char *seconds_param, char *address_param)
{
	struct ip_addr address;
	int seconds, ret;

	if(fixup_get_ivalue(msg, (gparam_t *)seconds_param, &seconds) < 0) {
		LM_ERR("tcp_conn_limit_ban: the number of seconds is not a number\n");
		return TCM_SCRIPT_NO;
	}
	ret = address_of_param(msg, address_param, &address);
	return (ret < 0) ? ret : ban(&address, seconds);
}

int tcm_script_unban(sip_msg_t *msg, char *address_param, char *unused)
{
	struct ip_addr address;
	int ret = address_of_param(msg, address_param, &address);

	return (ret < 0) ? ret : unban(&address);
}

int tcm_script_penalize(sip_msg_t *msg, char *address_param, char *unused)
{
	struct ip_addr address;
	int ret = address_of_param(msg, address_param, &address);

	return (ret < 0) ? ret : penalize(&address);
}

int tcm_script_fixup_ban(void **param, int number)
{
	return (number == 1) ? fixup_igp_null(param, 1) : fixup_spve_null(param, 1);
}

int tcm_script_free_fixup_ban(void **param, int number)
{
	return (number == 1) ? fixup_free_igp_null(param, 1)
						 : fixup_free_spve_null(param, 1);
}
