/*!
 * \file
 * \brief tcp_conn_limit :: the RPC command check_rules
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdio.h>

#include "../../core/mem/mem.h"
#include "../../core/str.h"

#include "tcm_params.h"
#include "tcm_rpc.h"

#include <tcp_conn_limit.h>

#define PATH_SIZE 1024

/* The lines of an answer: each fault, and the number of the others. A line has room for
 * the path of the file. */
struct faults
{
	int count;
	char lines[TCL_MAX_FAULTS + 1][PATH_SIZE + 400];
};

static void collect(void *data, const char *line)
{
	struct faults *faults = data;

	if(faults->count <= TCL_MAX_FAULTS)
		snprintf(faults->lines[faults->count++], sizeof(faults->lines[0]), "%s",
				line);
}

static int add_answer(rpc_t *rpc, void *c, const char *file, uint32_t valid,
		const struct faults *faults)
{
	void *h, *array;
	int i;

	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "ssd", "file", file, "valid",
					   (faults->count == 0) ? "yes" : "no", "rules", (int)valid)
					   < 0
			|| rpc->struct_add(h, "[", "faults", &array) < 0)
		return -1;
	for(i = 0; i < faults->count; i++) {
		if(rpc->array_add(array, "s", faults->lines[i]) < 0)
			return -1;
	}
	return 0;
}

static void check_file(rpc_t *rpc, void *c, const char *file)
{
	struct faults *faults = pkg_malloc(sizeof(*faults));
	uint32_t valid = 0;
	int ret;

	if(faults == NULL) {
		tcm_rpc_failed(rpc, c, TCL_EMEM);
		return;
	}
	faults->count = 0;
	ret = tcm_params_find_faults(file, collect, faults, &valid);
	if(ret != TCL_OK && ret != TCL_ERULES)
		tcm_rpc_failed(rpc, c, ret);
	else if(add_answer(rpc, c, file, valid, faults) < 0)
		tcm_rpc_no_room(rpc, c);
	pkg_free(faults);
}

static const char *check_rules_doc[] = {
		"Checks a rules file as a reload would, and changes nothing. "
		"Parameter: the"
		" full path of a file; without it, the rules_file.",
		0};

static void rpc_check_rules(rpc_t *rpc, void *c)
{
	const char *file = tcm_params_rules_file();
	char path[PATH_SIZE];
	str text;

	if(tcm_rpc_text(rpc, c, &text) > 0) {
		/* The working directory of the server is not that of the operator. */
		if(text.len == 0 || text.s[0] != '/' || text.len >= PATH_SIZE) {
			rpc->fault(c, 400,
					"invalid file \"%.*s\": expected a full path, which begins"
					" with /",
					TCM_RPC_SHOWN(text));
			return;
		}
		snprintf(path, sizeof(path), "%.*s", text.len, text.s);
		file = path;
		if(tcm_rpc_end(rpc, c, "at most one file") < 0)
			return;
	} else if(file == NULL) {
		rpc->fault(c, 400, "no file: name one, or set the modparam rules_file");
		return;
	}
	check_file(rpc, c, file);
}

/* clang-format off */
rpc_export_t tcm_rpc_check[] = {
	{"tcp_conn_limit.check_rules", rpc_check_rules, check_rules_doc, 0},
	{0, 0, 0, 0}
};
/* clang-format on */
