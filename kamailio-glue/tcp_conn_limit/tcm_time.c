/*!
 * \file
 * \brief tcp_conn_limit :: local time as text
 *
 * This file is part of tcp_conn_limit, a module for Kamailio, a free SIP server.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <string.h>

#include "tcm_time.h"

/* The end of +0100, which becomes +01:00. */
#define MINUTES 2

const char *tcm_time_local(time_t at, char *text)
{
	struct tm local;
	size_t length;

	if(at == 0 || localtime_r(&at, &local) == NULL)
		return "never";
	/* One byte is kept for the colon. */
	length = strftime(text, TCM_TIME_SIZE - 1, "%Y-%m-%dT%H:%M:%S%z", &local);
	if(length <= MINUTES)
		return "never";
	memmove(text + length - MINUTES + 1, text + length - MINUTES, MINUTES + 1);
	text[length - MINUTES] = ':';
	return text;
}
