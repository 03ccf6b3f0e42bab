/*!
 * \file
 * \brief tcp_conn_limit :: what all RPC commands share
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/pt.h"
#include "../../core/rpc_lookup.h"

#include "tcm_networks.h"
#include "tcm_rpc.h"
#include "tcm_rpc_json.h"
#include "tcm_text.h"

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

int tcm_rpc_add_limit(rpc_t *rpc, void *h, const char *name, int32_t limit)
{
	char number[TCM_TEXT_LIMIT_SIZE];

	if(limit > 0)
		return rpc->struct_add(h, "d", (char *)name, (int)limit);
	return rpc->struct_add(
			h, "s", (char *)name, (char *)tcm_text_limit(limit, number));
}

int tcm_rpc_add_rate(rpc_t *rpc, void *h, const char *name,
		const char *burst_name, const struct tcl_rate *rate)
{
	if(rpc->struct_add(h, "s", (char *)name, (char *)rate->text) < 0)
		return -1;
	if(rate->interval_us == 0)
		return 0;
	return rpc->struct_add(h, "d", (char *)burst_name, (int)rate->burst);
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

/* Scans the next argument if it is a text. An argument of another type stays where it
 * is. jsonrpcs logs an error about it, which would be wrong: a number is as good as its
 * text. Without the modifier `.`, because with it jsonrpcs gives 1.5 as 1 and 1e20 as
 * 0, and ctl consumes a number with a fraction and gives nothing. */
static int scan_text(rpc_t *rpc, void *c, str *text)
{
	int found;

	set_local_debug_level(L_CRIT);
	found = rpc->scan(c, "*S", text);
	reset_local_debug_level();
	return found;
}

/* The number as text: whole numbers as such, other numbers with their fraction or
 * exponent, so that they are not taken for whole ones. It is valid until the next
 * call. */
static char *number_text(double number)
{
	static char text[32];

	/* Up to here, a double holds every whole number exactly. */
	if(number > -9e15 && number < 9e15 && number == (double)(long long)number)
		snprintf(text, sizeof(text), "%lld", (long long)number);
	else
		snprintf(text, sizeof(text), "%.15g", number);
	return text;
}

/* As tcm_rpc_text(). Sets `is_word` to 1 if the argument is neither text nor number. */
static int read_argument(rpc_t *rpc, void *c, str *text, int *is_word)
{
	static char none[] = "";
	const char *word;
	double number;

	*is_word = 0;
	if(scan_text(rpc, c, text) > 0)
		return 1;
	/* Whatever a scan that failed has left there: ctl a text of its own, jsonrpcs
	 * NULL. */
	text->s = none;
	text->len = 0;
	word = tcm_rpc_json_word(rpc, c);
	if(rpc->scan(c, "*.f", &number) < 1)
		return 0;
	*is_word = word != NULL;
	text->s = (word != NULL) ? (char *)word : number_text(number);
	text->len = strlen(text->s);
	return 1;
}

int tcm_rpc_text(rpc_t *rpc, void *c, str *text)
{
	int is_word;

	return read_argument(rpc, c, text, &is_word);
}

int tcm_rpc_arguments(rpc_t *rpc, void *c, char text[][TCM_RPC_ARGUMENT_SIZE],
		const char *arguments[], int most, const char *expected)
{
	int i, is_word;
	str one;

	for(i = 0; i < most; i++)
		arguments[i] = NULL;
	for(i = 0; i < most && read_argument(rpc, c, &one, &is_word) > 0; i++) {
		if(is_word) {
			rpc->fault(c, 400,
					"argument %d is `%s`, neither text nor number: expected %s",
					i + 1, one.s, expected);
			return -1;
		}
		if(one.len >= TCM_RPC_ARGUMENT_SIZE) {
			rpc->fault(c, 400,
					"argument %d is too long: \"%.*s...\": expected at most %d "
					"bytes",
					i + 1, TCM_RPC_SHOWN(one), TCM_RPC_ARGUMENT_SIZE - 1);
			return -1;
		}
		snprintf(text[i], TCM_RPC_ARGUMENT_SIZE, "%.*s", one.len, one.s);
		arguments[i] = text[i];
	}
	return (i < most) ? 0 : tcm_rpc_end(rpc, c, expected);
}

int tcm_rpc_end(rpc_t *rpc, void *c, const char *expected)
{
	str text;

	if(tcm_rpc_text(rpc, c, &text) < 1)
		return 0;
	rpc->fault(c, 400, "surplus argument \"%.*s\": expected %s",
			TCM_RPC_SHOWN(text), expected);
	return -1;
}

const char *tcm_rpc_origin(void)
{
	static char text[128];

	snprintf(text, sizeof(text), "RPC, process \"%s\"", my_desc());
	return text;
}

void tcm_rpc_failed(rpc_t *rpc, void *c, int error)
{
	if(error == TCL_EMEM)
		rpc->fault(c, 500, "not enough memory to run this command");
	else
		rpc->fault(c, 500, "the table is unusable (error %d)", error);
}

void tcm_rpc_refused(rpc_t *rpc, void *c, int error, const char *text)
{
	if(text[0] != '\0')
		rpc->fault(c, (error == TCL_EARG) ? 400 : 500, "%s", text);
	else
		tcm_rpc_failed(rpc, c, error);
}

int tcm_rpc_limit(rpc_t *rpc, void *c, int32_t *limit)
{
	char error[256] = "cannot read the limit";
	str text;

	if(tcm_rpc_text(rpc, c, &text) < 1) {
		rpc->fault(c, 400,
				"missing limit: expected a number, or none for no limit");
		return -1;
	}
	if(tcl_limit_parse((uint8_t *)text.s, text.len, limit, error, sizeof(error))
			!= TCL_OK) {
		rpc->fault(c, 400, "%s", error);
		return -1;
	}
	return tcm_rpc_end(rpc, c, "one limit");
}

int tcm_rpc_register(void)
{
	if(rpc_register_array(tcm_rpc_report) != 0
			|| rpc_register_array(tcm_rpc_control) != 0
			|| rpc_register_array(tcm_rpc_check) != 0
			|| rpc_register_array(tcm_rpc_rules) != 0
			|| rpc_register_array(tcm_rpc_bans) != 0
			|| rpc_register_array(tcm_rpc_shield) != 0
			|| rpc_register_array(tcm_rpc_trust) != 0
			|| rpc_register_array(tcm_rpc_load) != 0
			|| rpc_register_array(tcm_rpc_networks) != 0
			|| rpc_register_array(tcm_rpc_cluster) != 0
			|| rpc_register_array(tcm_rpc_audit) != 0) {
		LM_ERR("cannot register the RPC commands\n");
		return -1;
	}
	return 0;
}
