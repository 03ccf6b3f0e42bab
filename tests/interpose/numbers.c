/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library that precedes the C library: accepted connections get the descriptors that
 * the program chooses, even those that its limit of open files does not allow. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The descriptor of the next accepted connection. It increases with each connection.
 * 0: the system chooses. */
int next_number;

static struct
{
	int number, real;
} chosen[16];

#define CHOSEN ((int)(sizeof(chosen) / sizeof(chosen[0])))

int accept(int listener, struct sockaddr *address, socklen_t *length)
{
	int (*next)(int, struct sockaddr *, socklen_t *);
	int real, i;

	*(void **)&next = dlsym(RTLD_NEXT, "accept");
	real = next(listener, address, length);
	if(real < 0 || next_number == 0)
		return real;
	for(i = 0; i < CHOSEN; i++) {
		if(chosen[i].number == 0) {
			chosen[i].number = next_number++;
			chosen[i].real = real;
			return chosen[i].number;
		}
	}
	abort();
}

int close(int number)
{
	int (*next)(int);
	int i;

	*(void **)&next = dlsym(RTLD_NEXT, "close");
	for(i = 0; i < CHOSEN; i++) {
		if(number != 0 && chosen[i].number == number) {
			chosen[i].number = 0;
			return next(chosen[i].real);
		}
	}
	return next(number);
}
