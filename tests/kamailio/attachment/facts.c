/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Preloaded into a server: prints the arguments with which the module calls the
 * library for a connection, and calls it. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The library is not in the global scope, where RTLD_NEXT searches. */
static void *library_function(const char *name)
{
	void *library = dlopen("libtcp_conn_limit.so.1", RTLD_LAZY | RTLD_NOLOAD);
	void *function = (library != NULL) ? dlsym(library, name) : NULL;

	if(function == NULL) {
		dprintf(STDERR_FILENO, "%s: %s\n", name, dlerror());
		abort();
	}
	return function;
}

uint64_t tcl_opened(const uint8_t *address, uint32_t length, int descriptor,
		int listener, uint32_t facts)
{
	uint64_t (*real)(const uint8_t *, uint32_t, int, int, uint32_t) =
			library_function("tcl_opened");

	dprintf(STDERR_FILENO, "opened by %d: facts %u\n", address[length - 1],
			facts);
	return real(address, length, descriptor, listener, facts);
}

int32_t tcl_closed(uint64_t token, uint32_t facts)
{
	int32_t (*real)(uint64_t, uint32_t) = library_function("tcl_closed");

	dprintf(STDERR_FILENO, "closed: facts %u\n", facts);
	return real(token, facts);
}

int32_t tcl_interpose_tls(const int *listeners, uint32_t count)
{
	int32_t (*real)(const int *, uint32_t) =
			library_function("tcl_interpose_tls");

	dprintf(STDERR_FILENO, "sockets for TLS: %u\n", count);
	return real(listeners, count);
}
