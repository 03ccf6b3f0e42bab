/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the C programs of the tests share: a check, the functions of a host, and a
 * listener. */

#ifndef TESTS_HOST_H
#define TESTS_HOST_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_conn_limit.h"

/* Ends the process unless the condition holds. It may be a child or have several
 * threads, so nothing else is run at its end. */
#define CHECK(condition)                                                  \
	do {                                                                  \
		if(!(condition)) {                                                \
			fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, \
					#condition, errno);                                   \
			_exit(1);                                                     \
		}                                                                 \
	} while(0)

/* The host's clock, in seconds. */
static uint32_t clock_s = 1;

/* How many lines the library has logged, and the last of them. */
static struct
{
	int lines;
	int32_t level;
	char line[300];
} logged;

static inline void host_log(int32_t level, const char *text)
{
	CHECK(strchr(text, '\n') == NULL);
	logged.lines++;
	logged.level = level;
	snprintf(logged.line, sizeof(logged.line), "%s", text);
	fprintf(stderr, "log %d: %s\n", level, text);
}

static inline uint32_t host_now(void)
{
	return clock_s;
}

static inline void host_ignores_event(const struct tcl_event *event)
{
	(void)event;
}

/* Listens on the loopback interface at a free port, which is written to `address`.
 * `type` is SOCK_STREAM, with flags. */
static inline int loopback_listener(int type, struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int listener = socket(AF_INET, type, 0);

	CHECK(listener >= 0);
	memset(address, 0, sizeof(*address));
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(bind(listener, (struct sockaddr *)address, length) == 0);
	CHECK(listen(listener, 1024) == 0);
	CHECK(getsockname(listener, (struct sockaddr *)address, &length) == 0);
	return listener;
}

/* Makes close() end the connection with RST, which leaves no TIME_WAIT. */
static inline void reset_at_close(int fd)
{
	const struct linger at_once = {1, 0};

	CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once))
			== 0);
}

#endif
