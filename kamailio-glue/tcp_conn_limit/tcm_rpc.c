/*!
 * \file
 * \brief tcp_conn_limit :: what all RPC commands share
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <limits.h>

#include "../../core/dprint.h"
#include "../../core/rpc_lookup.h"

#include "tcm_rpc.h"

#include <tcp_conn_limit.h>

void tcm_rpc_no_room(rpc_t *rpc, void *c)
{
	rpc->fault(c, 500,
			"no memory for the answer, or the transport cannot carry it:"
			" ask through ctl (kamcmd) or jsonrpcs");
}

/* Adds the number as an int if it fits: xhttp_rpc and some other transports carry no
 * larger type. */
static int add_number(rpc_t *rpc, void *h, const struct tcm_rpc_number *number)
{
	char *name = (char *)number->name;

	if(number->value <= INT_MAX)
		return rpc->struct_add(h, "d", name, (int)number->value);
	return rpc->struct_add(h, "J", name, (unsigned long long)number->value);
}

int tcm_rpc_add_numbers(
		rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers)
{
	for(; numbers->name != NULL; numbers++) {
		if(add_number(rpc, h, numbers) < 0)
			return -1;
	}
	return 0;
}

int tcm_rpc_add_list(
		rpc_t *rpc, void *h, const struct tcm_rpc_number *numbers, void **array)
{
	if(tcm_rpc_add_numbers(rpc, h, numbers) < 0)
		return -1;
	return rpc->struct_add(h, "[", "list", array);
}

int tcm_rpc_add_item(rpc_t *rpc, void *array, const char *source,
		const struct tcm_rpc_number *numbers)
{
	void *item;

	if(rpc->array_add(array, "{", &item) < 0
			|| rpc->struct_add(item, "s", "source", source) < 0)
		return -1;
	return tcm_rpc_add_numbers(rpc, item, numbers);
}

int tcm_rpc_text(rpc_t *rpc, void *c, str *text)
{
	static char none[] = "";

	/* scan() returns 0 if there is no argument. It also returns 0 for an argument
	 * of the wrong type, because modifiers are not counted. In the second case
	 * jsonrpcs sets the text to NULL and reports nothing. */
	text->s = none;
	text->len = 0;
	if(rpc->scan(c, "*.S", text) > 0)
		return 1;
	if(text->s != NULL)
		return 0;
	text->s = none;
	return -1;
}

void tcm_rpc_failed(rpc_t *rpc, void *c, int error)
{
	if(error == TCL_EMEM)
		rpc->fault(c, 500, "not enough memory to run this command");
	else
		rpc->fault(c, 500, "the table is unusable (error %d)", error);
}

int tcm_rpc_register(void)
{
	if(rpc_register_array(tcm_rpc_report) != 0
			|| rpc_register_array(tcm_rpc_control) != 0
			|| rpc_register_array(tcm_rpc_check) != 0
			|| rpc_register_array(tcm_rpc_audit) != 0) {
		LM_ERR("cannot register the RPC commands\n");
		return -1;
	}
	return 0;
}
