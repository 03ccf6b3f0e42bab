/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Connections of a host that has no sockets. */

#ifndef TESTS_CONNECTIONS_H
#define TESTS_CONNECTIONS_H

#include "tcp_conn_limit.h"

/* The lowest descriptor without a counted connection, as the system gives it to a new
 * connection. */
static inline int free_descriptor(void)
{
	int descriptor = 0;

	while(tcl_token(descriptor) != 0)
		descriptor++;
	return descriptor;
}

static inline int check(const uint8_t *address, uint32_t length)
{
	return tcl_check(address, length, free_descriptor(), -1);
}

static inline uint64_t opened(const uint8_t *address, uint32_t length)
{
	return tcl_opened(address, length, free_descriptor(), -1, 0);
}

static inline int32_t closed(uint64_t token)
{
	return tcl_closed(token, 0);
}

/* The descriptor of a token. */
static inline int descriptor_of(uint64_t token)
{
	return (int)(uint32_t)token;
}

#endif /* TESTS_CONNECTIONS_H */
