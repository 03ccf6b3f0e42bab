/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A host without hooks that has untracked descriptors. Their numbers come from
 * numbers.c. */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host.h"

#include "counter.h"

#define CONNECTIONS 1000
#define FIRST_UNTRACKED (CONNECTIONS + 65536)

extern int next_number; /* of numbers.c */

static const uint8_t loopback[4] = {127, 0, 0, 1};

/* --- the host --- */

static const struct tcl_host host = {
		.log = host_log, .now = host_now, .rejected = host_ignores_event};

static void logged_after_an_interval(const char *expected)
{
	logged.line[0] = '\0';
	clock_s += 60;
	CHECK(tcl_watch(60) == TCL_OK);
	CHECK(strcmp(logged.line, expected) == 0);
}

/* --- connections --- */

static int listener;
static struct sockaddr_in where;

static int client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CHECK(connect(fd, (struct sockaddr *)&where, sizeof(where)) == 0);
	reset_at_close(fd);
	return fd;
}

struct connection
{
	int client, fd;
};

static struct connection admitted(void)
{
	struct connection one;

	one.client = client();
	one.fd = accept(listener, NULL, NULL);
	CHECK(one.fd >= 0);
	return one;
}

static void rejected(void)
{
	int one = client();
	struct pollfd end = {.fd = one, .events = POLLIN};
	char byte;

	CHECK(accept(listener, NULL, NULL) == -1 && errno == EAGAIN);
	CHECK(poll(&end, 1, 10000) == 1 && recv(one, &byte, 1, 0) <= 0);
	CHECK(syscall(SYS_close, one) == 0);
}

static void ended(struct connection one)
{
	CHECK(close(one.fd) == 0);
	CHECK(syscall(SYS_close, one.client) == 0);
}

/* Audits the host's list of connections by their descriptors, as the module does. */
static struct tcl_audit_sums audited(const struct connection *list, int count)
{
	struct tcl_audit *audit = tcl_audit_begin(count);
	struct tcl_audit_sums sums;
	int i;

	for(i = 0; i < count; i++) {
		CHECK(tcl_audit_connection(audit, loopback, 4, list[i].fd) == TCL_OK);
	}
	CHECK(tcl_audit_counts(audit) == TCL_OK);
	CHECK(tcl_audit_result(audit, &sums, NULL, 0) == 0);
	tcl_audit_end(audit);
	return sums;
}

/* --- the tests: the limit is 3 --- */

static void policy_is_admit(void)
{
	struct connection list[6], third;
	struct tcl_audit_sums sums;
	int i;

	list[0] = admitted();
	next_number = FIRST_UNTRACKED - 1;
	for(i = 1; i < 6; i++) {
		list[i] = admitted();
		CHECK(list[i].fd == FIRST_UNTRACKED - 2 + i);
		CHECK((tcl_token(list[i].fd) != 0) == (i == 1));
	}
	CHECK(counter("connections") == 2 && counter("untracked") == 4);
	CHECK(counter("errors") == 4 && counter("table_full") == 0);
	CHECK(counter("rejected") == 0);
	sums = audited(list, 6);
	CHECK(sums.connections == 6 && sums.counted == 2);
	CHECK(sums.uncounted == 4 && sums.differences == 0);
	logged_after_an_interval(
			"file descriptors from 66536 up are not tracked, and TCP main has "
			"too "
			"many other open files: admitted 4 connections uncounted; raise "
			"tcp_max_connections");
	CHECK(logged.level == TCL_LOG_WARN);
	/* The counted connections alone reach the limit. */
	next_number = 0;
	third = admitted();
	next_number = FIRST_UNTRACKED + 4;
	rejected();
	CHECK(counter("rejected") == 1 && counter("untracked_rejected") == 0);
	for(i = 2; i < 6; i++)
		ended(list[i]);
	CHECK(counter("connections") == 3);
	ended(third);
	ended(list[1]);
	ended(list[0]);
	CHECK(counter("connections") == 0 && counter("stale_token") == 0);
}

static void policy_is_reject(void)
{
	struct connection list[2];

	list[0] = admitted();
	next_number = FIRST_UNTRACKED;
	rejected();
	rejected();
	CHECK(counter("rejected") == 2 && counter("untracked_rejected") == 2);
	CHECK(counter("full_rejected") == 0 && counter("errors") == 0);
	logged_after_an_interval(
			"file descriptors from 66536 up are not tracked, and TCP main has "
			"too "
			"many other open files: rejected 2 connections; raise "
			"tcp_max_connections");
	/* Lower numbers are not affected. */
	next_number = FIRST_UNTRACKED - 1;
	list[1] = admitted();
	CHECK(counter("connections") == 2);
	ended(list[0]);
	ended(list[1]);
	CHECK(counter("connections") == 0 && counter("stale_token") == 0);
}

int main(int argc, char **argv)
{
	struct tcl_config config = {.max_connections = CONNECTIONS,
			.limit = 3,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64};

	CHECK(argc == 2);
	alarm(60);
	if(strcmp(argv[1], "reject") == 0)
		config.on_full = TCL_ON_FULL_REJECT;
	listener = loopback_listener(SOCK_STREAM, &where);
	CHECK(tcl_init(&config, &host, NULL, 0) == TCL_OK);
	CHECK(tcl_interpose_attach(NULL, 0) == TCL_OK);
	CHECK(tcl_interpose_activate() == TCL_OK);
	CHECK(tcl_watch(60) == TCL_OK);
	if(config.on_full == TCL_ON_FULL_REJECT)
		policy_is_reject();
	else
		policy_is_admit();
	return 0;
}
