/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host of libtcp_conn_limit offers to it. src/host.rs is generated from
 * this file by bindgen (make generate).
 */
#ifndef TCL_HOST_H
#define TCL_HOST_H

#include <stdint.h>

/* How much an operator must care about a line. */
#define TCL_LOG_ERROR 0
#define TCL_LOG_WARN 1
/* Rejections and their summary: the level is the operator's choice. */
#define TCL_LOG_REJECTED 2

/* A source is at its limit. The texts are valid during the call. */
struct tcl_event
{
	const char *source; /* address, with the prefix length if it is a prefix */
	const char *rule;	/* "default", or the prefix */
	uint32_t connections;
	int32_t limit; /* 0: it has none any more */
	uint32_t rejected; /* its rejections, those that would be some included */
	int32_t would;	   /* 1 if it would be rejected, but for the mode */
};

struct tcl_host
{
	/* Write one line, which ends with a NUL and has no newline, to the host's
	 * log. Called from tcl_watch(), and for panics from whatever function and
	 * process they happen in. Must return. */
	void (*log)(int32_t level, const char *line);
	/* Seconds on a clock that never runs backwards; its start does not matter,
	 * its wrap does no harm. */
	uint32_t (*now)(void);
	/* A source is rejected, or would be; once per source and log interval.
	 * Called from tcl_watch() only. May take its time. Must return. */
	void (*rejected)(const struct tcl_event *event);
};

#endif /* TCL_HOST_H */
