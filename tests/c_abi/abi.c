/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Uses every function of libtcp_conn_limit as a host in C would. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tcp_conn_limit.h"

union sockaddr_union
{
	struct sockaddr s;
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;
};

#define CHECK(condition)                                                \
	do {                                                                \
		if(!(condition)) {                                              \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			exit(1);                                                    \
		}                                                               \
	} while(0)

static const uint8_t a[4] = {192, 0, 2, 1};
static const uint8_t b[4] = {192, 0, 2, 2};
static const uint8_t a_mapped[16] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
static const uint8_t v6_host1[16] = {
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
static const uint8_t v6_host2[16] = {
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2};

static int lines;
static char line[300];
static uint32_t clock_s = 100;

static void host_log(int32_t level, const char *text)
{
	CHECK(level == TCL_LOG_WARN);
	lines++;
	snprintf(line, sizeof(line), "%s", text);
}

static uint32_t host_now(void)
{
	return clock_s;
}

static const struct tcl_host host = {host_log, host_now};

static struct tcl_stats stats_now(void)
{
	struct tcl_stats stats;
	CHECK(tcl_stats(&stats) == TCL_OK);
	return stats;
}

static struct tcl_source source_now(const uint8_t *address, uint32_t length)
{
	struct tcl_source source;
	CHECK(tcl_get(address, length, &source) == TCL_OK);
	return source;
}

static void before_init(void)
{
	union sockaddr_union su = {.sin.sin_family = AF_INET};
	struct tcl_stats stats;
	struct tcl_source source;
	CHECK(strcmp(tcl_version(), TCL_VERSION) == 0);
	tcl_attach(3);
	CHECK(tcl_check(a, 4) == 0);
	CHECK(tcl_opened(a, 4) == 0);
	CHECK(tcl_closed(0) == TCL_OK);
	CHECK(tcl_closed(1) == TCL_EINIT);
	CHECK(tcp_connection_limit_srcip(&su, 1) == 0);
	CHECK(tcl_stats(&stats) == TCL_EINIT);
	CHECK(tcl_get(a, 4, &source) == TCL_EINIT);
	CHECK(tcl_top(&source, 1) == TCL_EINIT);
	CHECK(tcl_audit_begin(1) == NULL);
	CHECK(tcl_audit_connection(NULL, a, 4, 0) == TCL_EINIT);
	CHECK(tcl_audit_compare(NULL) == TCL_EINIT);
	CHECK(tcl_audit_result(NULL, NULL, NULL, 0) == TCL_EINIT);
	tcl_audit_end(NULL);
}

static void bad_init(void)
{
	struct tcl_config good = {100, 3, 32, 64};
	struct tcl_config bad;
	struct tcl_host no_clock = {host_log, NULL};
	char error[100];

	CHECK(tcl_init(NULL, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_init(&good, NULL, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_init(&good, &no_clock, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "a host function is missing") == 0);
	CHECK(tcl_init(NULL, NULL, NULL, 0) == TCL_EARG);
	CHECK(tcl_init(NULL, NULL, error, 1) == TCL_EARG && error[0] == 0);
	CHECK(tcl_init(NULL, NULL, error, 4) == TCL_EARG);
	CHECK(strcmp(error, "no ") == 0);
	bad = good;
	bad.ipv4_prefix = 33;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "ipv4_prefix 33: must be 1 to 32") == 0);
	bad = good;
	bad.ipv6_prefix = -1;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "ipv6_prefix -1: must be 1 to 128") == 0);
	bad = good;
	bad.max_connections = 0;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "max_connections 0: must be 1 to 100000000") == 0);
}

/* In a process of its own, since the limit on address space stays. */
static void no_memory(void)
{
	pid_t pid = fork();
	int status;

	if(pid == 0) {
		struct tcl_config config = {50000000, 3, 32, 64};
		struct rlimit limit = {1UL << 30, 1UL << 30};
		char error[200];
		CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
		CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_EMEM);
		CHECK(strstr(error, "shared memory") != NULL);
		/* nothing is left behind: a smaller one can be had */
		config.max_connections = 100;
		CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_OK);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void life_of_connections(void)
{
	uint64_t t[3];
	int i;

	for(i = 0; i < 3; i++) {
		CHECK(tcl_check(a, 4) == 0);
		t[i] = tcl_opened(a, 4);
		CHECK(t[i] != 0);
	}
	CHECK(lines == 0);
	CHECK(tcl_check(a, 4) == 1);
	CHECK(lines == 1);
	CHECK(strcmp(line, "rejected connection from 192.0.2.1: 3 connections, limit 3")
			== 0);
	/* the same source in another form, and no second line for it */
	CHECK(tcl_check(a_mapped, 16) == 1);
	CHECK(lines == 1);
	clock_s += 60;
	CHECK(tcl_check(a, 4) == 1);
	CHECK(lines == 2);
	/* others are not affected */
	CHECK(tcl_check(b, 4) == 0);
	CHECK(tcl_check(v6_host1, 16) == 0);
	CHECK(source_now(a, 4).connections == 3 && source_now(a, 4).rejected == 3);
	CHECK(source_now(a, 4).limit == 3);
	/* a place that is freed is free */
	CHECK(tcl_closed(t[0]) == TCL_OK);
	CHECK(tcl_check(a, 4) == 0);
	t[0] = tcl_opened(a, 4);
	CHECK(tcl_check(a, 4) == 1);
	for(i = 0; i < 3; i++)
		CHECK(tcl_closed(t[i]) == TCL_OK);
	CHECK(source_now(a, 4).connections == 0);
	/* double release, made-up tokens */
	CHECK(stats_now().stale_token == 0);
	CHECK(tcl_closed(t[0]) == TCL_ESTALE);
	CHECK(tcl_closed(UINT64_MAX) == TCL_ESTALE);
	CHECK(tcl_closed(1) == TCL_ESTALE);
	CHECK(tcl_closed(0) == TCL_OK);
	CHECK(stats_now().stale_token == 3);
	CHECK(stats_now().connections == 0);
}

static void ipv6_networks(void)
{
	uint64_t t = tcl_opened(v6_host1, 16);
	struct tcl_source source = source_now(v6_host2, 16);
	CHECK(strcmp(source.text, "2001:db8:0:1::/64") == 0);
	CHECK(source.connections == 1);
	CHECK(tcl_closed(t) == TCL_OK);
}

static void bad_addresses(void)
{
	union sockaddr_union unix_address = {.s.sa_family = AF_UNIX};
	sa_family_t family_only = 99;
	uint8_t many[64] = {0};
	struct tcl_source source;
	uint64_t before = stats_now().bad_address;

	CHECK(tcl_check(NULL, 4) == 0);
	CHECK(tcl_check(a, 0) == 0);
	CHECK(tcl_check(many, 64) == 0);
	CHECK(tcl_opened(NULL, 16) == 0);
	CHECK(tcl_opened(many, 5) == 0);
	CHECK(tcp_connection_limit_srcip(NULL, 1) == 0);
	CHECK(tcp_connection_limit_srcip(&unix_address, 1) == 0);
	/* only the family is read of an address that is neither IPv4 nor IPv6 */
	CHECK(tcp_connection_limit_srcip((union sockaddr_union *)&family_only, 1) == 0);
	CHECK(stats_now().bad_address == before + 8);
	CHECK(stats_now().errors >= before + 8);
	CHECK(tcl_get(NULL, 4, &source) == TCL_EARG);
	CHECK(tcl_get(a, 4, NULL) == TCL_EARG);
	CHECK(tcl_stats(NULL) == TCL_EARG);
	CHECK(tcl_top(NULL, 1) == TCL_EARG);
}

static void the_cores_own_function(void)
{
	union sockaddr_union v4 = {.sin.sin_family = AF_INET};
	union sockaddr_union v6 = {.sin6.sin6_family = AF_INET6};
	uint64_t t, t6;
	uint64_t rejected = stats_now().rejected;
	int before = lines;

	memcpy(&v4.sin.sin_addr, b, 4);
	memcpy(&v6.sin6.sin6_addr, v6_host1, 16);
	CHECK(tcp_connection_limit_srcip(&v4, 1) == 0);
	t = tcl_opened(b, 4);
	t6 = tcl_opened(v6_host2, 16);
	CHECK(tcp_connection_limit_srcip(&v4, 2) == 0);
	CHECK(tcp_connection_limit_srcip(&v4, 1) == 1);
	CHECK(tcp_connection_limit_srcip(&v4, 0) == 0);
	CHECK(tcp_connection_limit_srcip(&v4, -1) == 0);
	CHECK(tcp_connection_limit_srcip(&v6, 1) == 1);
	CHECK(stats_now().rejected == rejected + 2);
	CHECK(lines == before); /* the caller logs, as the core does */
	CHECK(tcl_closed(t) == TCL_OK && tcl_closed(t6) == TCL_OK);
}

static void reports(void)
{
	uint64_t t[3] = {tcl_opened(a, 4), tcl_opened(b, 4), tcl_opened(b, 4)};
	struct tcl_source top[5];
	struct tcl_stats stats = stats_now();
	int i;

	CHECK(tcl_top(top, 5) == 2);
	CHECK(strcmp(top[0].text, "192.0.2.2") == 0 && top[0].connections == 2);
	CHECK(strcmp(top[1].text, "192.0.2.1") == 0 && top[1].connections == 1);
	CHECK(tcl_top(top, 1) == 1);
	CHECK(tcl_top(top, 0) == 0);
	CHECK(stats.sources == 2 && stats.connections == 3);
	CHECK(stats.capacity == 100 && stats.limit == 3 && stats.slots >= 100);
	CHECK(stats.ipv4_prefix == 32 && stats.ipv6_prefix == 64);
	CHECK(stats.memory > 0 && stats.panics == 0 && stats.table_full == 0);
	for(i = 0; i < 3; i++)
		CHECK(tcl_closed(t[i]) == TCL_OK);
}

static void audit(void)
{
	uint64_t t[2] = {tcl_opened(a, 4), tcl_opened(b, 4)};
	struct tcl_audit *audit = tcl_audit_begin(2);
	struct tcl_audit_sums sums;
	struct tcl_difference list[4];

	CHECK(audit != NULL);
	CHECK(tcl_audit_connection(audit, a, 4, t[0]) == TCL_OK);
	CHECK(tcl_audit_connection(audit, a, 4, t[0]) == TCL_OK); /* once too often */
	CHECK(tcl_audit_connection(audit, v6_host1, 16, 0) == TCL_OK);
	CHECK(tcl_audit_connection(audit, a, 3, t[0]) == TCL_EARG);
	CHECK(tcl_audit_connection(NULL, a, 4, t[0]) == TCL_EARG);
	CHECK(tcl_audit_compare(audit) == TCL_OK);
	CHECK(tcl_audit_compare(NULL) == TCL_EARG);
	CHECK(tcl_audit_result(audit, &sums, list, 4) == 2);
	CHECK(sums.connections == 3 && sums.counted == 2 && sums.uncounted == 1);
	CHECK(sums.differences == 2);
	CHECK(list[0].host + list[1].host == 2);
	CHECK(list[0].counted == 1 && list[1].counted == 1);
	CHECK(tcl_audit_result(audit, &sums, list, 1) == 1);
	CHECK(tcl_audit_result(audit, &sums, NULL, 4) == TCL_OK);
	CHECK(tcl_audit_result(audit, NULL, list, 4) == TCL_EARG);
	CHECK(tcl_audit_result(NULL, &sums, list, 4) == TCL_EARG);
	tcl_audit_end(audit);
	CHECK(tcl_closed(t[0]) == TCL_OK && tcl_closed(t[1]) == TCL_OK);
}

static void another_process(void)
{
	uint64_t t = tcl_opened(a, 4);
	int status;
	pid_t pid = fork();

	if(pid == 0) {
		tcl_attach(7);
		CHECK(tcl_closed(t) == TCL_OK);
		CHECK(tcl_opened(b, 4) != 0);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(source_now(a, 4).connections == 0);
	CHECK(source_now(b, 4).connections == 1);
}

int main(void)
{
	struct tcl_config config = {100, 3, 32, 64};
	char error[100];

	before_init();
	bad_init();
	no_memory();
	CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_OK);
	CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_EALREADY);
	tcl_attach(0);
	life_of_connections();
	ipv6_networks();
	bad_addresses();
	the_cores_own_function();
	reports();
	audit();
	another_process();
	return 0;
}
