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

/* An answer shows at most this many rules: operators read it. */
#define SHOWN_MAX 100

/* The lines of an answer: each fault, and the number of the others, or the rules. The line
 * of a fault has room for the path of the file. */
struct answer
{
	int faults;
	int rules;
	char fault[TCL_MAX_FAULTS + 1][PATH_SIZE + 400];
	char rule[SHOWN_MAX]
			 [TCL_SOURCE_TEXT + TCL_TERMS_TEXT + TCL_ORIGIN_TEXT + 8];
};

static void collect_fault(void *data, const char *line)
{
	struct answer *answer = data;

	if(answer->faults <= TCL_MAX_FAULTS)
		snprintf(answer->fault[answer->faults++], sizeof(answer->fault[0]),
				"%s", line);
}

static void collect_rule(void *data, const char *line)
{
	struct answer *answer = data;

	if(answer->rules < SHOWN_MAX)
		snprintf(answer->rule[answer->rules++], sizeof(answer->rule[0]), "%s",
				line);
}

static int add_answer(rpc_t *rpc, void *c, const char *file, uint32_t valid,
		const struct answer *answer)
{
	void *h, *faults, *rules;
	int i;

	if(rpc->add(c, "{", &h) < 0
			|| rpc->struct_add(h, "ssd", "file", file, "valid",
					   (answer->faults == 0) ? "yes" : "no", "rules",
					   (int)valid)
					   < 0
			|| rpc->struct_add(h, "[", "faults", &faults) < 0)
		return -1;
	for(i = 0; i < answer->faults; i++) {
		if(rpc->array_add(faults, "s", answer->fault[i]) < 0)
			return -1;
	}
	if(rpc->struct_add(h, "[", "list", &rules) < 0)
		return -1;
	for(i = 0; i < answer->rules; i++) {
		if(rpc->array_add(rules, "s", answer->rule[i]) < 0)
			return -1;
	}
	return 0;
}

static void check_file(rpc_t *rpc, void *c, const char *file)
{
	struct answer *answer = pkg_malloc(sizeof(*answer));
	uint32_t valid = 0;
	int ret;

	if(answer == NULL) {
		tcm_rpc_failed(rpc, c, TCL_EMEM);
		return;
	}
	answer->faults = answer->rules = 0;
	ret = tcm_params_check_file(
			file, collect_fault, collect_rule, answer, &valid);
	if(ret != TCL_OK && ret != TCL_ERULES)
		tcm_rpc_failed(rpc, c, ret);
	else if(add_answer(rpc, c, file, valid, answer) < 0)
		tcm_rpc_no_room(rpc, c);
	pkg_free(answer);
}

static const char *check_rules_doc[] = {
		"Checks a rules file as a reload would, and changes nothing. Lists what"
		" is wrong, or else the rules as they would be active, at most 100."
		" Parameter: the full path of a file; without it, the rules_file.",
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
