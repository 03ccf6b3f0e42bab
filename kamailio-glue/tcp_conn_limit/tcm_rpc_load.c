/*!
 * \file
 * \brief tcp_conn_limit :: the RPC commands about reserve and pressure
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/str.h"

#include "tcm_rpc.h"

#include <tcp_conn_limit.h>

#define RESERVES "a number such as 100, a share such as 5%, or none"
#define LEVELS "levels in quotes, such as \"80:50% 90:10\", or none"

static const char *load_doc[] = {
		"Shows how many connections the server uses, the reserve, the levels of"
		" pressure and what they allow now.",
		0};

static int add_load(rpc_t *rpc, void *h, const struct tcl_load_report *r)
{
	const struct tcm_rpc_number in_use[] = {{"in_use", r->in_use},
			{"max", r->max}, {"percent", r->percent}, {NULL, 0}};
	const struct tcm_rpc_number reserve[] = {
			{"reserve_connections", r->reserve_connections},
			{"reserve_used", r->reserve_used}, {NULL, 0}};
	const struct tcm_rpc_number level[] = {{"level", r->level},
			{"levels", r->levels}, {"limit_percent", r->limit_percent},
			{NULL, 0}};

	if(tcm_rpc_add_numbers(rpc, h, in_use) < 0
			|| rpc->struct_add(h, "s", "reserve", (char *)r->reserve) < 0
			|| tcm_rpc_add_numbers(rpc, h, reserve) < 0
			|| rpc->struct_add(h, "ss", "only_reserve_left",
					   r->reserved ? "yes" : "no", "pressure",
					   (char *)r->pressure)
					   < 0
			|| tcm_rpc_add_numbers(rpc, h, level) < 0)
		return -1;
	return tcm_rpc_add_limit(
			rpc, h, "limit_connections", (int32_t)r->limit_connections);
}

static void rpc_load(rpc_t *rpc, void *c)
{
	struct tcl_load_report report;
	int ret;
	void *h;

	if(tcm_rpc_end(rpc, c, TCM_RPC_NO_ARGUMENTS) < 0)
		return;
	ret = tcl_load_report(&report);
	if(ret != TCL_OK)
		tcm_rpc_failed(rpc, c, ret);
	else if(rpc->add(c, "{", &h) < 0 || add_load(rpc, h, &report) < 0)
		tcm_rpc_no_room(rpc, c);
}

/* As tcl_set_reserve(). */
typedef int32_t (*setter)(const uint8_t *name, uint32_t length, const char *by,
		char *error, size_t error_size);

/* Sets what the one argument says. Returns 0, or -1 after answering with a fault. */
static int set(rpc_t *rpc, void *c, setter change, const char *expected)
{
	char argument[1][TCM_RPC_ARGUMENT_SIZE], error[256] = "";
	const char *text[1];
	int ret;

	if(tcm_rpc_arguments(rpc, c, argument, text, 1, expected) < 0)
		return -1;
	if(text[0] == NULL) {
		rpc->fault(c, 400, "missing argument: expected %s", expected);
		return -1;
	}
	ret = change((const uint8_t *)text[0], strlen(text[0]), tcm_rpc_origin(),
			error, sizeof(error));
	if(ret == TCL_OK)
		return 0;
	tcm_rpc_refused(rpc, c, ret, error);
	return -1;
}

static const char *set_reserve_doc[] = {
		"Sets how many of the last connections of the server are kept for rules"
		" with the word trusted, until the server stops, and shows what it is"
		" and was. Parameter: " RESERVES ".",
		0};

static void rpc_set_reserve(rpc_t *rpc, void *c)
{
	struct tcl_load_report was, now;
	void *h;

	if(tcl_load_report(&was) != TCL_OK) {
		tcm_rpc_failed(rpc, c, TCL_EINIT);
		return;
	}
	if(set(rpc, c, tcl_set_reserve, RESERVES) < 0)
		return;
	if(tcl_load_report(&now) != TCL_OK || rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(
					   h, "ss", "reserve", now.reserve, "was", was.reserve)
					   < 0)
		tcm_rpc_no_room(rpc, c);
}

static const char *set_pressure_doc[] = {
		"Sets the levels of use from which on the limits of sources are lower,"
		" until the server stops, and shows what they are and were. Parameter:"
		" " LEVELS ".",
		0};

static void rpc_set_pressure(rpc_t *rpc, void *c)
{
	struct tcl_load_report was, now;
	void *h;

	if(tcl_load_report(&was) != TCL_OK) {
		tcm_rpc_failed(rpc, c, TCL_EINIT);
		return;
	}
	if(set(rpc, c, tcl_set_pressure, LEVELS) < 0)
		return;
	if(tcl_load_report(&now) != TCL_OK || rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(
					   h, "ss", "pressure", now.pressure, "was", was.pressure)
					   < 0)
		tcm_rpc_no_room(rpc, c);
}

/* clang-format off */
rpc_export_t tcm_rpc_load[] = {
	{"tcp_conn_limit.load", rpc_load, load_doc, 0},
	{"tcp_conn_limit.set_reserve", rpc_set_reserve, set_reserve_doc, 0},
	{"tcp_conn_limit.set_pressure", rpc_set_pressure, set_pressure_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
