/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A library before the C library: accepted connections get the numbers that a program
 * chooses. So it has descriptors that its limit of open files does not allow. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/socket.h>

/* The next accepted connection gets this number, the one after it the next; 0: the
 * number that the system gives. */
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
