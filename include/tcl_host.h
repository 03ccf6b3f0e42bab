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
/* Rejections, their summary, sources that are back under their limits, and bans. The
 * operator chooses the severity. */
#define TCL_LOG_REJECTED 2
/* Rules and bans that a command set or removed, and rules that ended. */
#define TCL_LOG_NOTICE 3

/* A source was rejected or is banned, or no longer. The texts are valid during the call. */
struct tcl_event
{
	const char *source; /* address, with the prefix length if it is a prefix */
	const char *rule;	/* prefix of its rule, or "default" */
	uint32_t
			connections; /* when it was rejected; now, if it is back under its limit */
	int32_t limit;	   /* the current one; 0: no limit */
	uint32_t rejected; /* its rejections, including those of monitor mode */
	int32_t would;	   /* 1 in monitor mode: its connections were admitted */
	const char
			*reason; /* of the rejection: "limit", "rate", "ban", "untrusted", "reserve",
						 * "pressure" or "cluster" */
	const char *
			ban; /* reason of the ban: "silent", "tls", "rejected", "rate", "script"
					  * or "rpc"; "" without a ban */
	const char *rate; /* its rate, such as "10/s, burst 20", or "none" */
	uint32_t seconds; /* left of the ban; 0: it ended, or no ban; of timed_out(): the
					   * time to trust a connection */
	const char *listener; /* where it is counted apart; "": nowhere */
	const char *scope;	  /* what the event is about: "source" or "network" */
};

/* How many of its connections the host uses. */
struct tcl_load
{
	uint32_t
			in_use; /* open ones, including those that the host opened itself */
	uint32_t max;	/* the most that there may be */
};

/* The level of pressure changed. The text is valid during the call. */
struct tcl_pressure
{
	uint32_t level; /* levels that are reached; 0: the limits apply in full */
	uint32_t was;	/* the same before */
	const char *pressure; /* all levels, such as "80:50% 90:10", or "none" */
	uint32_t in_use;	  /* as in tcl_load */
	uint32_t max;		  /* as in tcl_load */
	int32_t would;		  /* 1 in monitor mode: nothing is rejected */
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
	/* Reports that a source was rejected, or would have been in monitor mode, for any
	 * reason: at most once per source and log interval. Called only from tcl_watch(), which waits for
	 * it; it may take long. Must return. */
	void (*rejected)(const struct tcl_event *event);
	/* Reports that a source that was reported to rejected() is back under its limit or
	 * its rate: at most once after each report. Otherwise as rejected(). May be NULL. */
	void (*released)(const struct tcl_event *event);
	/* Reports that a source was banned by its offences or by the script, or would have
	 * been in monitor mode: at most 100 sources in a log interval. Otherwise as
	 * rejected(). May be NULL. */
	void (*banned)(const struct tcl_event *event);
	/* Reports that the ban of a source ended or was lifted; also one that a command set.
	 * `rejected` is the number of its connections that were rejected because of the
	 * ban. Otherwise as banned(). May be NULL. */
	void (*unbanned)(const struct tcl_event *event);
	/* Reports that connections of a source were not trusted in time, or would have been
	 * closed in monitor mode: at most 100 sources in a log interval, each at most once.
	 * `connections` is the number of these connections, `reason` is "untrusted", and
	 * `seconds` is the time to trust them. Otherwise as rejected(). May be NULL. */
	void (*timed_out)(const struct tcl_event *event);
	/* Writes how many of its connections the host uses. Called in the process that
	 * accepts for each connection while a reserve or levels of pressure are set, and from
	 * functions that report. Must return at once, and neither lock nor allocate. May be
	 * NULL; then there can be no reserve and no pressure. */
	void (*load)(struct tcl_load *load);
	/* Reports that the level of pressure changed: at most once a second. Otherwise as
	 * rejected(). May be NULL. */
	void (*pressure)(const struct tcl_pressure *event);
};

#endif /* TCL_HOST_H */
