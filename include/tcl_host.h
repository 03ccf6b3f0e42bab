/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the host of libtcp_conn_limit must provide. bindgen generates src/host.rs from
 * this file (make generate).
 */
#ifndef TCL_HOST_H
#define TCL_HOST_H

#include <stdint.h>

/* Severity of a log line. */
#define TCL_LOG_ERROR 0
#define TCL_LOG_WARN 1
/* Rejections, their summary, and sources that are back under their limits. The operator
 * chooses the severity. */
#define TCL_LOG_REJECTED 2
/* Rules that were set or removed, or that ended. */
#define TCL_LOG_NOTICE 3

/* A source is at its limit, or back under it. The texts are valid during the call. */
struct tcl_event
{
	const char *source; /* address, with the prefix length if it is a prefix */
	const char *rule;	/* prefix of its rule, or "default" */
	uint32_t
			connections; /* when it was rejected; now, if it is back under its limit */
	int32_t limit;	   /* the current one; 0: no limit */
	uint32_t rejected; /* its rejections, including those of monitor mode */
	int32_t would;	   /* 1 in monitor mode: its connections were admitted */
};

struct tcl_host
{
	/* Writes one line to the host's log. The line ends with a NUL and has no
	 * newline. Called from tcl_watch(), tcl_set_worker(), tcl_rule_set() and
	 * tcl_rule_remove(), and after a panic from the function and in the process where
	 * it happened. Must return. */
	void (*log)(int32_t level, const char *line);
	/* Returns seconds of a clock that never runs backwards. It may start at any
	 * number and may wrap around. */
	uint32_t (*now)(void);
	/* Reports that a source was rejected, or would have been in monitor mode: at most
	 * once per source and log interval. Called only from tcl_watch(), which waits for
	 * it; it may take long. Must return. */
	void (*rejected)(const struct tcl_event *event);
	/* Reports that a source that was reported to rejected() is back under its limit: at
	 * most once after each report. Otherwise as rejected(). May be NULL. */
	void (*released)(const struct tcl_event *event);
};

#endif /* TCL_HOST_H */
