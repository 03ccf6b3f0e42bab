/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 */

/*!
 * \file
 * \brief tcp_conn_limit :: the rules that the module parameters name
 *
 * Their texts are kept: whoever reloads the file loads them too.
 */

#include <string.h>

#include "../../core/dprint.h"
#include "../../core/mem/mem.h"

#include "tcm_rules.h"

#include <tcp_conn_limit.h>

static char **texts = NULL;
static uint32_t count = 0;
static uint32_t room = 0;

char *tcm_rules_file = NULL;

static int grow(void)
{
	uint32_t wanted = (room > 0) ? 2 * room : 16;
	char **bigger = pkg_realloc(texts, wanted * sizeof(*texts));

	if(bigger == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	texts = bigger;
	room = wanted;
	return 0;
}

int tcm_rules_param(modparam_t type, void *value)
{
	size_t size = strlen(value) + 1;

	if(count == room && grow() < 0)
		return -1;
	texts[count] = pkg_malloc(size);
	if(texts[count] == NULL) {
		PKG_MEM_ERROR;
		return -1;
	}
	memcpy(texts[count], value, size);
	count++;
	return 0;
}

int tcm_rules_reload(char *error, size_t error_size)
{
	return tcl_rules_load((const char *const *)texts, count, tcm_rules_file,
			error, error_size);
}
