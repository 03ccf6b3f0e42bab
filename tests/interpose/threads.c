/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several threads of one process accept, others close, a timer interrupts all of them,
 * and clients come and go at the limit: in the end every count is right. The listening
 * socket does not block, since two threads may be after one connection. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "host.h"

#define ACCEPTORS 3
#define CLOSERS 2
#define CLIENTS 2
#define LIMIT 100
/* Connections that each client opens, some at a time. */
#define CONNECTIONS 3000
#define AT_A_TIME 60
/* Beyond the limit: each acceptor may check before the others have counted. */
#define MOST (LIMIT + ACCEPTORS - 1)

#include "counter.h"

static int listener;
static struct sockaddr_in address;

/* Accepted connections that a closer has not taken yet. */
static int open_fds[MOST];
static int open_count = 0;
static pthread_mutex_t open_lock = PTHREAD_MUTEX_INITIALIZER;

static atomic_long accepted, closed, interrupted;
static atomic_int clients_done, acceptors_done;

static const struct tcl_host host = {
		.log = host_log, .now = host_now, .rejected = host_ignores_event};

static void on_alarm(int signal)
{
	(void)signal;
	interrupted++;
}

static void put(int fd)
{
	pthread_mutex_lock(&open_lock);
	CHECK(open_count < MOST);
	open_fds[open_count++] = fd;
	pthread_mutex_unlock(&open_lock);
}

static int take(void)
{
	int fd = -1;

	pthread_mutex_lock(&open_lock);
	if(open_count > 0)
		fd = open_fds[--open_count];
	pthread_mutex_unlock(&open_lock);
	return fd;
}

static int is_readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 10) == 1;
}

static void *accept_all(void *unused)
{
	int fd;

	(void)unused;
	while(!clients_done || is_readable(listener)) {
		if(!is_readable(listener))
			continue;
		fd = accept(listener, NULL, NULL);
		if(fd < 0) {
			CHECK(errno == EAGAIN || errno == EINTR || errno == ECONNABORTED);
			continue;
		}
		accepted++;
		put(fd);
	}
	acceptors_done++;
	return NULL;
}

static void *close_all(void *unused)
{
	int fd;

	(void)unused;
	for(;;) {
		/* Read before take(), so that the last connection is taken. */
		int is_last = acceptors_done == ACCEPTORS;

		fd = take();
		if(fd < 0) {
			if(is_last)
				return NULL;
			usleep(100);
			continue;
		}
		CHECK(close(fd) == 0 || errno == EINTR);
		closed++;
	}
}

/* For these sockets also, close() is replaced. It must not change a count. */
static void *connect_all(void *unused)
{
	int fds[AT_A_TIME];
	int i, n;

	(void)unused;
	for(n = 0; n < CONNECTIONS; n += AT_A_TIME) {
		for(i = 0; i < AT_A_TIME; i++) {
			fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
			CHECK(fds[i] >= 0);
			while(connect(fds[i], (struct sockaddr *)&address, sizeof(address))
					< 0) {
				CHECK(errno == EINTR || errno == EISCONN || errno == EALREADY);
				if(errno == EISCONN)
					break;
			}
		}
		for(i = 0; i < AT_A_TIME; i++)
			close(fds[i]);
	}
	return NULL;
}

static void attach(void)
{
	struct tcl_config config = {.max_connections = 1000,
			.limit = LIMIT,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64};
	char error[300];

	if(tcl_init(&config, &host, error, sizeof(error)) != TCL_OK
			|| tcl_interpose_attach(error, sizeof(error)) != TCL_OK) {
		fprintf(stderr, "%s\n", error);
		exit(1);
	}
	tcl_set_worker(0);
	CHECK(tcl_interpose_activate() == TCL_OK);
}

int main(void)
{
	const uint8_t loopback[4] = {127, 0, 0, 1};
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval often = {{0, 500}, {0, 500}};
	struct itimerval never = {{0, 0}, {0, 0}};
	pthread_t acceptors[ACCEPTORS], closers[CLOSERS], clients[CLIENTS];
	struct tcl_source source;
	int i;

	attach();
	listener = loopback_listener(SOCK_STREAM | SOCK_NONBLOCK, &address);
	CHECK(sigaction(SIGALRM, &action, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
	for(i = 0; i < ACCEPTORS; i++)
		CHECK(pthread_create(&acceptors[i], NULL, accept_all, NULL) == 0);
	for(i = 0; i < CLOSERS; i++)
		CHECK(pthread_create(&closers[i], NULL, close_all, NULL) == 0);
	for(i = 0; i < CLIENTS; i++)
		CHECK(pthread_create(&clients[i], NULL, connect_all, NULL) == 0);
	for(i = 0; i < CLIENTS; i++)
		CHECK(pthread_join(clients[i], NULL) == 0);
	clients_done = 1;
	for(i = 0; i < ACCEPTORS; i++)
		CHECK(pthread_join(acceptors[i], NULL) == 0);
	for(i = 0; i < CLOSERS; i++)
		CHECK(pthread_join(closers[i], NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);

	CHECK(tcl_get(loopback, 4, -1, &source) == TCL_OK);
	CHECK(accepted > 0 && interrupted > 0);
	CHECK(closed == accepted);
	CHECK(counter("admitted") <= (uint64_t)accepted);
	CHECK(counter("connections") == 0 && source.connections == 0);
	CHECK(counter("errors") == 0);
	CHECK(tcl_interpose_detach() == TCL_OK);
	return 0;
}
