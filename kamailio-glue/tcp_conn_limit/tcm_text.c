/*!
 * \file
 * \brief tcp_conn_limit :: parses what operators write: addresses, numbers, words
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tcm_text.h"

/* The index is the number, NULL ends the list. */
static const char *const modes[] = {
		[TCL_MODE_ENFORCE] = "enforce",
		[TCL_MODE_MONITOR] = "monitor",
		[TCL_MODE_OFF] = "off",
		NULL,
};

static const char *const on_fulls[] = {
		[TCL_ON_FULL_ADMIT] = "admit",
		[TCL_ON_FULL_REJECT] = "reject",
		NULL,
};

static const char *const bys[] = {
		[TCL_BY_CONNECTIONS] = "connections",
		[TCL_BY_REJECTED] = "rejected",
		[TCL_BY_PEAK] = "peak",
		[TCL_BY_OWED] = "rate",
		[TCL_BY_UNTRUSTED] = "untrusted",
		NULL,
};

static int number_of(const char *const *words, const str *text)
{
	int i;

	for(i = 0; words[i] != NULL; i++) {
		if(text->len == (int)strlen(words[i])
				&& strncmp(text->s, words[i], text->len) == 0)
			return i;
	}
	return -1;
}

int tcm_text_mode(const str *text)
{
	return number_of(modes, text);
}

const char *tcm_text_mode_name(int mode)
{
	return modes[mode];
}

int tcm_text_on_full(const str *text)
{
	return number_of(on_fulls, text);
}

const char *tcm_text_on_full_name(int on_full)
{
	return on_fulls[on_full];
}

int tcm_text_by(const str *text)
{
	return number_of(bys, text);
}

const char *tcm_text_limit(int limit, char *number)
{
	if(limit <= 0)
		return "none";
	snprintf(number, TCM_TEXT_LIMIT_SIZE, "%d", limit);
	return number;
}

int tcm_text_number(const str *text, int *number)
{
	char copy[24];
	char *end;
	long value;

	if(text->len <= 0 || text->len >= (int)sizeof(copy))
		return -1;
	memcpy(copy, text->s, text->len);
	copy[text->len] = '\0';
	errno = 0;
	value = strtol(copy, &end, 10);
	/* A NUL within the text does not end it. */
	if(errno != 0 || end != copy + text->len || value < INT_MIN
			|| value > INT_MAX)
		return -1;
	*number = (int)value;
	return 0;
}
