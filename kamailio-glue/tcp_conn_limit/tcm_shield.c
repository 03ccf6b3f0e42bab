/*!
 * \file
 * \brief tcp_conn_limit :: the kernel shield
 *
 * The library does the work. This file has the parameters, and finds the sockets.
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdint.h>
#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"
#include "../../core/socket_info.h"

#include "tcm_rpc.h"
#include "tcm_shield.h"
#include "tcm_text.h"

#include <tcp_conn_limit.h>

/* Rejections in a second. */
#define THRESHOLD_MAX 1000000
/* Seconds, as tcl_shield_attach() allows them. */
#define TIME_MAX 86400
#define TIME_DEFAULT 10

static enum { SHIELD_OFF, SHIELD_AUTO, SHIELD_ON } requested = SHIELD_OFF;
static int loaded = 0;
static int threshold = 0;
static int seconds = TIME_DEFAULT;

int tcm_shield_request(const char *value)
{
	if(strcmp(value, "off") == 0)
		requested = SHIELD_OFF;
	else if(strcmp(value, "auto") == 0)
		requested = SHIELD_AUTO;
	else if(strcmp(value, "on") == 0)
		requested = SHIELD_ON;
	else
		return -1;
	return 0;
}

int tcm_shield_set_threshold(int value)
{
	if(value < 0 || value > THRESHOLD_MAX) {
		LM_ERR("modparam shield_threshold is %d: expected rejections in a"
			   " second, 1 to %d, or 0 for none\n",
				value, THRESHOLD_MAX);
		return -1;
	}
	threshold = value;
	return 0;
}

int tcm_shield_set_time(int value)
{
	if(value < 1 || value > TIME_MAX) {
		LM_ERR("modparam shield_time is %d: expected seconds, 1 to %d\n", value,
				TIME_MAX);
		return -1;
	}
	seconds = value;
	return 0;
}

int tcm_shield_check(void)
{
	if(threshold > 0 && requested == SHIELD_OFF) {
		LM_ERR("modparam shield_threshold is %d, but the shield is off: set"
			   " shield to \"auto\" or \"on\", or remove shield_threshold\n",
				threshold);
		return -1;
	}
	return 0;
}

/* Returns 0 if the server may start without the shield, else -1. */
static int unavailable(const char *reason)
{
	if(requested == SHIELD_ON) {
		LM_ERR("modparam shield is \"on\", but the kernel shield is not"
			   " available: %s; or set shield to \"auto\" to start without"
			   " it\n",
				reason);
		return -1;
	}
	LM_NOTICE("the kernel shield is not active: %s\n", reason);
	return 0;
}

int tcm_shield_load(void)
{
	char error[TCL_SHIELD_TEXT] = "internal error";

	if(requested == SHIELD_OFF)
		return 0;
	if(tcl_shield_load(error, sizeof(error)) != TCL_OK)
		return unavailable(error);
	loaded = 1;
	return 0;
}

/* Adds the descriptors of the sockets in the list that are open, if there is room for
 * them. Returns how many there are, with the `count` before them. */
static int add_listeners(
		const struct socket_info *si, int *to, int room, int count)
{
	for(; si != NULL; si = si->next) {
		if(si->socket < 0)
			continue;
		if(count < room)
			to[count] = si->socket;
		count++;
	}
	return count;
}

static int listeners(int *to, int room)
{
	int count = add_listeners(tcp_listen, to, room, 0);

#ifdef USE_TLS
	count = add_listeners(tls_listen, to, room, count);
#endif
	return count;
}

static int attach(const int *list, int count)
{
	char error[TCL_SHIELD_TEXT] = "internal error";

	if(tcl_shield_attach(list, (uint32_t)count, (uint32_t)threshold,
			   (uint32_t)seconds, error, sizeof(error))
			!= TCL_OK)
		return unavailable(error);
	LM_INFO("the kernel shield is active on %d listening sockets\n", count);
	return 0;
}

int tcm_shield_attach(void)
{
	int count, ret;
	int *list;

	if(!loaded)
		return 0;
	count = listeners(NULL, 0);
	/* At least one, because an allocation of nothing may fail. */
	list = pkg_malloc((count + 1) * sizeof(*list));
	if(list == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	(void)listeners(list, count);
	ret = attach(list, count);
	pkg_free(list);
	return ret;
}

static const char *state_name(int32_t state)
{
	switch(state) {
		case TCL_SHIELD_ACTIVE:
			return "active";
		case TCL_SHIELD_UNAVAILABLE:
			return "unavailable";
		default:
			return "off";
	}
}

/* The entries with the most dropped packets. This many fit into an answer. */
#define ENTRIES_MAX 400
#define ENTRIES_DEFAULT 10

/* Adds the list of entries. Returns 0, or -1. */
static int add_entries(
		rpc_t *rpc, void *h, const struct tcl_shield_entry *entries, int found)
{
	int i;
	void *array;

	if(rpc->struct_add(h, "[", "list", &array) < 0)
		return -1;
	for(i = 0; i < found; i++) {
		const struct tcm_rpc_number numbers[] = {
				{"dropped", entries[i].dropped}, {NULL, 0}};

		if(tcm_rpc_add_item(rpc, array, entries[i].text, numbers) < 0)
			return -1;
	}
	return 0;
}

static int add_shield(rpc_t *rpc, void *h, const struct tcl_shield *shield)
{
	const struct tcm_rpc_number numbers[] = {{"entries", shield->entries},
			{"unlisted", shield->unlisted}, {"room", shield->room},
			{"dropped", shield->dropped}, {"floods", shield->floods},
			{"would_list", shield->would_list},
			{"shield_threshold", (uint64_t)threshold},
			{"shield_time", (uint64_t)seconds}, {NULL, 0}};

	if(rpc->struct_add(h, "s", "state", state_name(shield->state)) < 0)
		return -1;
	if(shield->reason[0] != '\0'
			&& rpc->struct_add(h, "s", "reason", shield->reason) < 0)
		return -1;
	return tcm_rpc_add_numbers(rpc, h, numbers);
}

static void answer_shield(rpc_t *rpc, void *c, int most)
{
	struct tcl_shield_entry *entries = pkg_malloc(most * sizeof(*entries));
	struct tcl_shield shield;
	int ret, found;
	void *h;

	ret = (entries != NULL) ? tcl_shield(&shield) : TCL_EMEM;
	found = (ret == TCL_OK) ? tcl_shield_entries(entries, most) : ret;
	if(found == TCL_ESHIELD)
		rpc->fault(
				c, 500, "the kernel does not let this process read the list");
	else if(found < 0)
		tcm_rpc_failed(rpc, c, found);
	else if(rpc->add(c, "{", &h) < 0 || add_shield(rpc, h, &shield) < 0
			|| add_entries(rpc, h, entries, found) < 0)
		tcm_rpc_no_room(rpc, c);
	if(entries != NULL)
		pkg_free(entries);
}

static void rpc_shield(rpc_t *rpc, void *c)
{
	str text;
	int most = ENTRIES_DEFAULT;

	if(tcm_rpc_text(rpc, c, &text) > 0) {
		if(tcm_text_number(&text, &most) < 0 || most < 1
				|| most > ENTRIES_MAX) {
			rpc->fault(c, 400,
					"invalid number \"%.*s\": expected a number from 1 to %d",
					TCM_RPC_SHOWN(text), ENTRIES_MAX);
			return;
		}
		if(tcm_rpc_end(rpc, c, "at most one number") < 0)
			return;
	}
	answer_shield(rpc, c, most);
}

static const char *shield_doc[] = {
		"Shows whether the kernel drops the connection attempts of banned"
		" sources, or why not, how many it dropped, and the sources and "
		"prefixes"
		" with the most. Parameter: how many to list (default 10, at most "
		"400).",
		0};

/* clang-format off */
rpc_export_t tcm_rpc_shield[] = {
	{"tcp_conn_limit.shield", rpc_shield, shield_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
