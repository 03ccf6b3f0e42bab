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

struct tcl_host
{
	/* Write one line, which ends with a NUL and has no newline, to the host's
	 * log. Called from tcl_check() and its like in whatever process called
	 * them. Must return. */
	void (*log)(int32_t level, const char *line);
	/* Seconds on a clock that never runs backwards; its start does not matter,
	 * its wrap does no harm. Called for rejections only. */
	uint32_t (*now)(void);
};

#endif /* TCL_HOST_H */
