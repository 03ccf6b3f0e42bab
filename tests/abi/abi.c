/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Uses every function of libtcp_conn_limit as a host in C would. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

union sockaddr_union
{
	struct sockaddr s;
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;
};

#include "counter.h"
#include "connections.h"
static const uint8_t a[4] = {192, 0, 2, 1};
static const uint8_t b[4] = {192, 0, 2, 2};
static const uint8_t shortly[4] = {192, 0, 2, 3};
static const uint8_t a_mapped[16] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
static const uint8_t v6_host1[16] = {
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1};
static const uint8_t v6_host2[16] = {
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2};

/* The folder for rules files, given as argument. */
static const char *folder;

static int events;
static struct tcl_event event;
static char event_source[TCL_SOURCE_TEXT];
static char event_rule[TCL_SOURCE_TEXT];
static char event_reason[TCL_REASON_TEXT];
static char event_ban[TCL_REASON_TEXT];
static char event_rate[TCL_RATE_TEXT];
static void host_rejected(const struct tcl_event *of)
{
	events++;
	event = *of;
	snprintf(event_source, sizeof(event_source), "%s", of->source);
	snprintf(event_rule, sizeof(event_rule), "%s", of->rule);
	snprintf(event_reason, sizeof(event_reason), "%s", of->reason);
	snprintf(event_ban, sizeof(event_ban), "%s", of->ban);
	snprintf(event_rate, sizeof(event_rate), "%s", of->rate);
}

/* How many sources were back under their limits, and the last of them. */
static int released;
static struct tcl_event released_event;

static void host_released(const struct tcl_event *back)
{
	released++;
	released_event = *back;
	CHECK(strcmp(back->source, "192.0.2.1") == 0);
	CHECK(strcmp(back->rule, "default") == 0
			|| strcmp(back->rule, "192.0.2.0/24") == 0);
}

/* How many bans began and ended, and the last of these events. */
static int banned, unbanned;
static struct tcl_event ban_event;
static char ban_source[TCL_SOURCE_TEXT];
static char ban_reason[TCL_REASON_TEXT];

static void keep_ban(const struct tcl_event *of)
{
	ban_event = *of;
	snprintf(ban_source, sizeof(ban_source), "%s", of->source);
	snprintf(ban_reason, sizeof(ban_reason), "%s", of->ban);
	CHECK(strcmp(of->reason, "ban") == 0);
}

static void host_banned(const struct tcl_event *of)
{
	banned++;
	keep_ban(of);
}

static void host_unbanned(const struct tcl_event *of)
{
	unbanned++;
	keep_ban(of);
}

static int timed_out;
static struct tcl_event timed_out_event;
static char timed_out_source[TCL_SOURCE_TEXT];

static void host_timed_out(const struct tcl_event *of)
{
	timed_out++;
	timed_out_event = *of;
	snprintf(timed_out_source, sizeof(timed_out_source), "%s", of->source);
	CHECK(strcmp(of->reason, "untrusted") == 0);
}

/* Connections of the host, of 100. */
static uint32_t in_use;

static void host_load(struct tcl_load *load)
{
	load->in_use = in_use;
	load->max = 100;
}

/* How often the level of pressure changed, and the last change. */
static int pressure_changes;
static struct tcl_pressure pressure_event;
static char pressure_text[TCL_PRESSURE_TEXT];

static void host_pressure(const struct tcl_pressure *of)
{
	pressure_changes++;
	pressure_event = *of;
	snprintf(pressure_text, sizeof(pressure_text), "%s", of->pressure);
}

static const struct tcl_host host = {.log = host_log,
		.now = host_now,
		.rejected = host_rejected,
		.released = host_released,
		.banned = host_banned,
		.unbanned = host_unbanned,
		.timed_out = host_timed_out,
		.load = host_load,
		.pressure = host_pressure};

/* Ticks a second later. Returns how many lines were logged. */
static int watch(uint32_t log_interval)
{
	int before = logged.lines;
	clock_s++;
	CHECK(tcl_watch(log_interval) == TCL_OK);
	return logged.lines - before;
}

static struct tcl_source source_now(const uint8_t *address, uint32_t length)
{
	struct tcl_source source;
	CHECK(tcl_get(address, length, -1, &source) == TCL_OK);
	return source;
}

/* Everything is reported, and the next rejection of any source is its first again. */
static void next_interval(void)
{
	CHECK(tcl_watch(60) == TCL_OK);
	clock_s += 120;
	CHECK(tcl_watch(60) == TCL_OK);
}

static void before_init(void)
{
	union sockaddr_union su = {.sin.sin_family = AF_INET};
	uint64_t values[TCL_MAX_COUNTERS];
	struct tcl_source source;
	struct tcl_rule rule;
	struct tcl_suggestion suggestion;
	const char *text = "10.0.0.0/8=5";
	uint64_t total;
	int32_t limit, mode;
	struct tcl_rate rate;
	struct tcl_ban ban;
	struct tcl_trust_settings trust;
	struct tcl_connection connection;
	uint32_t interval;
	char error[100];

	CHECK(tcl_abi() == TCL_ABI);
	CHECK(strcmp(tcl_version(), TCL_VERSION) == 0);
	tcl_set_worker(3);
	CHECK(check(a, 4) == 0);
	CHECK(opened(a, 4) == 0);
	CHECK(closed(0) == TCL_OK);
	CHECK(closed(1) == TCL_EINIT);
	CHECK(tcl_token(0) == 0 && tcl_oldest(a, 4, NULL) == TCL_EINIT);
	CHECK(tcl_interpose_tls(NULL, 0) == TCL_EINIT);
	CHECK(tcp_connection_limit_srcip(&su, 1) == 0);
	CHECK(tcl_stats(values, TCL_MAX_COUNTERS) == TCL_EINIT);
	CHECK(tcl_counter_value(counter_number("capacity")) == 0);
	CHECK(tcl_get(a, 4, -1, &source) == TCL_EINIT);
	CHECK(tcl_find(a, 4, -1, &source, error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_find_on(a, 4, 1, &source) == TCL_EINIT);
	CHECK(tcl_listeners(NULL, 0, NULL, 0) == TCL_EINIT);
	CHECK(tcl_unknown_listener(0, NULL) == TCL_EINIT);
	CHECK(tcl_limit_parse(a, 4, &limit, error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_top(&source, 1, TCL_BY_CONNECTIONS) == TCL_EINIT);
	CHECK(tcl_list(NULL, &source, 1, &total, error, sizeof(error))
			== TCL_EINIT);
	CHECK(tcl_rules(&rule, 1) == TCL_EINIT && tcl_rules(NULL, 0) == TCL_EINIT);
	CHECK(tcl_rule_set("::/0", "1", NULL, NULL, NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_rule_remove("::/0", NULL, NULL, NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_rules_count() == 0);
	CHECK(tcl_suggest(&suggestion, 1) == TCL_EINIT);
	CHECK(tcl_suggest(NULL, 0) == TCL_EINIT);
	CHECK(tcl_rules_load(&text, 1, NULL, error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_rules_load(NULL, 0, NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_set_limit(1) == TCL_EINIT);
	CHECK(tcl_set_mode(TCL_MODE_OFF) == TCL_EINIT);
	CHECK(tcl_set_mode(99) == TCL_EINIT);
	CHECK(tcl_rate(&rate) == TCL_EINIT);
	CHECK(tcl_suggest_rate(NULL) == TCL_EINIT);
	CHECK(tcl_set_rate(0, 0, NULL, 0) == TCL_EINIT);
	CHECK(tcl_rate_parse(a, 4, &interval, error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_ban("192.0.2.1", "1", NULL, NULL, &ban, NULL, NULL, 0)
			== TCL_EINIT);
	CHECK(tcl_unban("all", NULL, NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_bans(&ban, 1, &total) == TCL_EINIT);
	CHECK(tcl_cluster_prepare(NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_cluster_tick() == TCL_EINIT && tcl_cluster_bye() == TCL_EINIT);
	CHECK(tcl_cluster_receive(NULL, 0, NULL, 0) == TCL_EINIT);
	CHECK(tcl_cluster_drop(NULL, 0, 1) == TCL_EINIT);
	CHECK(tcl_cluster(NULL) == TCL_EINIT);
	CHECK(tcl_cluster_nodes(NULL, 0) == TCL_EINIT);
	CHECK(tcl_cluster_of_source(NULL, 0, NULL, 0) == TCL_EINIT);
	CHECK(tcl_cluster_top(NULL, 0) == TCL_EINIT);
	CHECK(tcl_set_cluster_limit(1) == TCL_EINIT);
	tcl_cluster_not_passed_on();
	CHECK(tcl_shield(NULL) == TCL_EINIT);
	CHECK(tcl_shield_load(NULL, 0) == TCL_EINIT);
	CHECK(tcl_shield_attach(NULL, 0, 0, 0, NULL, 0) == TCL_EINIT);
	CHECK(tcl_shield_entries(NULL, 0) == TCL_EINIT);
	CHECK(tcl_ban_address(a, 4, 1) == TCL_EINIT);
	CHECK(tcl_unban_address(a, 4) == TCL_EINIT);
	CHECK(tcl_offence(a, 4) == TCL_EINIT && tcl_banned(a, 4) == TCL_EINIT);
	CHECK(tcl_trust(0) == TCL_EINIT && tcl_untrust(1) == TCL_EINIT);
	CHECK(tcl_trust_get(&trust) == TCL_EINIT);
	CHECK(tcl_set_untrusted_limit(1) == TCL_EINIT);
	CHECK(tcl_set_trust_timeout(1) == TCL_EINIT);
	CHECK(tcl_expired() == 0 && tcl_is_expired(0) == 0);
	CHECK(tcl_connections(a, 4, &connection, 1, &total) == TCL_EINIT);
	CHECK(tcl_trusted_share() == TCL_NEVER);
	CHECK(tcl_count_for(1, a, 4, a, 4, error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_moved_to(1, NULL) == 0);
	CHECK(tcl_set_reserve(a, 1, NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_set_pressure(a, 1, NULL, NULL, 0) == TCL_EINIT);
	CHECK(tcl_load_report(NULL) == TCL_EINIT);
	CHECK(tcl_settings(&limit, &mode) == TCL_EINIT);
	CHECK(tcl_reset_stats() == TCL_EINIT);
	CHECK(tcl_watch(60) == TCL_EINIT && tcl_watch(0) == TCL_EINIT);
	CHECK(logged.lines == 0 && events == 0);
	CHECK(tcl_audit_begin(1) == NULL);
	CHECK(tcl_audit_connection(NULL, a, 4, 0) == TCL_EINIT);
	CHECK(tcl_audit_counts(NULL) == TCL_EINIT);
	CHECK(tcl_audit_result(NULL, NULL, NULL, 0) == TCL_EINIT);
	tcl_audit_end(NULL);
	CHECK(tcl_interpose_find(error, sizeof(error)) == TCL_EINTERPOSE);
	CHECK(tcl_interpose_attach(error, sizeof(error)) == TCL_EINIT);
	CHECK(tcl_interpose_activate() == TCL_EINIT);
	CHECK(tcl_interpose_detach() == TCL_EINIT);
}

static int faults;
static char last_fault[600];
static void fault(void *data, const char *line)
{
	CHECK(data == &faults);
	faults++;
	snprintf(last_fault, sizeof(last_fault), "%s", line);
}

static int rule_lines;
static char last_rule[300];
static void rule_line(void *data, const char *line)
{
	CHECK(data == &faults);
	rule_lines++;
	snprintf(last_rule, sizeof(last_rule), "%s", line);
}

static int check_rules(const char *const *texts, uint32_t count,
		const char *file, uint32_t *valid)
{
	faults = rule_lines = 0;
	return tcl_rules_check(
			texts, count, file, NULL, 0, fault, rule_line, &faults, valid);
}

/* These functions need no limiter. */
static void checks(void)
{
	const char *prefixes[] = {"2001:db8:64::/96", "2001:db8::/33"};
	struct tcl_config config = {
			.max_connections = 100, .ipv4_prefix = 32, .ipv6_prefix = 64};
	const char *texts[] = {"10.0.0.0/8=5", "garbage", "10.0.0.0/8=6"};
	const char *words = "10.0.0.0/8=5 exempt burst=20 rate=10/s";
	const char *with_null[] = {"10.0.0.0/8=5", NULL};
	const char *penalties[] = {"silent=1", "tls=2.5", "noise=1"};
	const char *many[1000];
	char error[200], path[200], grammar[2048];
	uint32_t valid, i;
	FILE *file;

	CHECK(tcl_config_check(NULL, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_config_check(&config, NULL, 0) == TCL_OK);
	config.nat64_prefixes = prefixes;
	config.nat64_count = 1;
	CHECK(tcl_config_check(&config, NULL, 0) == TCL_OK);
	config.nat64_count = 2;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "nat64_prefix `2001:db8::/33`: ") == error);
	config.nat64_prefixes = NULL;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	config.nat64_prefixes = with_null;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	config.nat64_count = 0;
	config.rate = "10/s";
	config.burst = 40;
	config.penalties = penalties;
	config.penalty_count = 2;
	config.ban_max = 20;
	CHECK(tcl_config_check(&config, NULL, 0) == TCL_OK);
	config.ban_min = 21;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "ban_max 20: must be 21 to 2592000") == 0);
	config.penalty_count = 3;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "penalty `noise=1`: unknown kind") == error);
	config.penalty_count = 2;
	config.penalties = with_null + 1;
	config.penalty_count = 1;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	config.penalties = NULL;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	config.penalty_count = 0;
	config.ban_min = config.ban_max = 0;
	config.burst = -1;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "burst -1: must be 1 to 1000000") == 0);
	config.rate = "ten";
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "invalid rate `ten`: ") == error);
	config.rate = NULL;
	config.burst = 0;
	CHECK(tcl_config_check(&config, NULL, 0) == TCL_OK);
	config.ipv6_prefix = 200;
	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "ipv6_prefix 200: must be 1 to 128") == 0);

	CHECK(tcl_rule_check(NULL, NULL, 0) == TCL_EARG);
	CHECK(tcl_rule_check(texts[0], NULL, 0) == TCL_OK);
	CHECK(tcl_rule_check(texts[1], error, sizeof(error)) == TCL_ERULES);
	CHECK(strstr(error, "`garbage`: `=` is missing") == error);

	tcl_rule_grammar(grammar, sizeof(grammar));
	CHECK(strstr(grammar, "PREFIX = LIMIT [rate=10/s]") == grammar);
	CHECK(strlen(grammar) < sizeof(grammar) - 1);
	tcl_rule_grammar(grammar, 7);
	CHECK(strcmp(grammar, "PREFIX") == 0);
	tcl_rule_grammar(NULL, 7);

	CHECK(check_rules(NULL, 0, NULL, &valid) == TCL_OK);
	CHECK(faults == 0 && valid == 0 && rule_lines == 0);
	CHECK(check_rules(texts, 1, NULL, &valid) == TCL_OK);
	CHECK(faults == 0 && valid == 1 && rule_lines == 1);
	CHECK(strcmp(last_rule, "10.0.0.0/8 = 5 # modparam 1") == 0);
	CHECK(check_rules(texts, 3, NULL, &valid) == TCL_ERULES);
	CHECK(faults == 2 && valid == 1 && rule_lines == 0);
	CHECK(check_rules(&words, 1, NULL, &valid) == TCL_OK && rule_lines == 1);
	CHECK(strcmp(last_rule,
				  "10.0.0.0/8 = 5 rate=10/s burst=20 exempt # modparam 1")
			== 0);
	CHECK(strstr(last_fault, "modparam rule 3: `10.0.0.0/8=6`: ")
			== last_fault);
	CHECK(tcl_rules_check(texts, 3, NULL, NULL, 0, NULL, NULL, NULL, NULL)
			== TCL_ERULES);
	CHECK(tcl_rules_check(texts, 1, NULL, NULL, 0, NULL, NULL, NULL, NULL)
			== TCL_OK);
	/* 192.0.2.0/24 behind a translator. */
	texts[0] = "2001:db8:64::c000:200/120=5";
	CHECK(check_rules(texts, 1, NULL, &valid) == TCL_OK);
	CHECK(tcl_rules_check(texts, 1, NULL, prefixes, 1, fault, rule_line,
				  &faults, &valid)
			== TCL_ERULES);
	CHECK(faults == 1 && valid == 0);
	CHECK(strstr(last_fault, "write 192.0.2.0/24") != NULL);
	CHECK(tcl_rules_check(texts, 1, NULL, prefixes, 2, fault, rule_line,
				  &faults, &valid)
			== TCL_EARG);
	CHECK(faults == 2);
	CHECK(strstr(last_fault, "nat64_prefix `2001:db8::/33`: ") == last_fault);
	CHECK(tcl_rules_check(
				  texts, 1, NULL, NULL, 1, fault, rule_line, &faults, &valid)
			== TCL_EARG);
	CHECK(faults == 3);
	CHECK(check_rules(NULL, 1, NULL, &valid) == TCL_EARG && faults == 1);
	CHECK(check_rules(with_null, 2, NULL, &valid) == TCL_EARG && faults == 1);
	CHECK(check_rules(texts, 1, "/nowhere", &valid) == TCL_ERULES);
	CHECK(faults == 1 && valid == 0);
	CHECK(strstr(last_fault, "cannot read /nowhere: ") == last_fault);
	for(i = 0; i < 1000; i++)
		many[i] = "x";
	CHECK(check_rules(many, 1000, NULL, &valid) == TCL_ERULES);
	CHECK(faults == TCL_MAX_FAULTS + 1 && valid == 0);
	CHECK(strcmp(last_fault, "980 more invalid rules") == 0);
	snprintf(path, sizeof(path), "%s/checked", folder);
	file = fopen(path, "w");
	CHECK(file != NULL);
	fputs("# one\n2001:db8::1 = unlimited\n\n10.0.0.0/8 = 0\n", file);
	fclose(file);
	CHECK(check_rules(texts, 1, path, &valid) == TCL_ERULES);
	CHECK(faults == 1 && valid == 2);
	CHECK(strstr(last_fault, "/checked:4: `10.0.0.0/8 = 0`: ") != NULL);
}

static void bad_init(void)
{
	struct tcl_config good = {.max_connections = 100,
			.limit = 3,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64};
	struct tcl_config bad;
	struct tcl_host no_clock = {.log = host_log, .rejected = host_rejected};
	struct tcl_host no_events = {.log = host_log, .now = host_now};
	struct tcl_host no_load = {
			.log = host_log, .now = host_now, .rejected = host_rejected};
	char error[100];

	CHECK(tcl_init(NULL, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_init(&good, NULL, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_init(&good, &no_clock, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "log, now or rejected in tcl_host is null; these are "
						"required")
			== 0);
	CHECK(tcl_init(&good, &no_events, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "log, now or rejected in tcl_host is null; these are "
						"required")
			== 0);
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
	CHECK(strcmp(error, "tcp_max_connections 0: must be 1 to 100000000") == 0);
	bad = good;
	bad.mode = 3;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strncmp(error, "mode 3", 6) == 0);
	bad = good;
	bad.on_full = -1;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strncmp(error, "on_full -1", 10) == 0);
	bad = good;
	bad.untrusted_limit = 5;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "untrusted_limit 5: must be 0 to 0") == 0);
	bad.trust = 1;
	bad.untrusted_limit = -5;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "untrusted_limit -5: must be 0 to 100000000") == 0);
	bad.untrusted_limit = 0;
	bad.trust_timeout = 86401;
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "trust_timeout 86401: must be 0 to 86400") == 0);
	bad = good;
	bad.reserve = "100";
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "reserve `100`: it must be below tcp_max_connections "
						"(100)")
			== 0);
	bad.reserve = "none";
	bad.pressure = "80";
	CHECK(tcl_init(&bad, &host, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "pressure `80`: write one such as") == error);
	/* A host that does not say how many connections it uses. */
	bad.pressure = "80:50%";
	CHECK(tcl_init(&bad, &no_load, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "reserve and pressure need the function load of "
						"tcl_host, which is null")
			== 0);
	CHECK(tcl_stats(&(uint64_t){0}, 1) == TCL_EINIT);
	CHECK(tcl_huge_pages() == 0);
}

/* Runs in a separate process, because the limit on address space stays. */
static void no_memory(void)
{
#ifndef __SANITIZE_ADDRESS__ /* It needs far more address space than the limit. */
	pid_t pid = fork();
	int status;

	if(pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct tcl_config config = {.max_connections = 50000000,
				.limit = 3,
				.ipv4_prefix = 32,
				.ipv6_prefix = 64};
		struct rlimit limit = {1UL << 30, 1UL << 30};
		char error[200];
		CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
		CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_EMEM);
		CHECK(strstr(error, "shared memory") != NULL);
		/* The failure leaves nothing behind: a smaller table can be made. */
		config.max_connections = 100;
		CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_OK);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
#endif
}

/* Opens connections until a source finds no slot, and returns that source. */
static uint32_t fill(void)
{
	uint32_t n = 0;
	for(;;) {
		uint8_t address[4] = {10, 0, n >> 8, n & 0xff};
		if(opened(address, 4) == 0)
			return n;
		CHECK(++n < 10000);
	}
}

/* Runs in a separate process, because a process has one limiter. */
static void full_table(int32_t mode, int32_t on_full)
{
	pid_t pid = fork();
	int status;

	if(pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		struct tcl_config config = {.max_connections = 1,
				.ipv4_prefix = 32,
				.ipv6_prefix = 64,
				.mode = mode,
				.on_full = on_full};
		int rejects = mode == TCL_MODE_ENFORCE && on_full == TCL_ON_FULL_REJECT;
		uint32_t n;
		char expected[300];
		CHECK(tcl_init(&config, &host, NULL, 0) == TCL_OK);
		CHECK(counter("mode") == (uint64_t)mode
				&& counter("on_full") == (uint64_t)on_full);
		n = fill();
		CHECK(counter("table_full") == 1 && counter("rejected") == 0);
		CHECK(watch(60) == 0);
		{
			uint8_t address[4] = {10, 0, n >> 8, n & 0xff};
			CHECK(check(address, 4) == rejects);
			CHECK(check(address, 4) == rejects);
			if(!rejects)
				CHECK(opened(address, 4) == 0);
		}
		CHECK(counter("full_rejected") == (rejects ? 2 : 0));
		CHECK(counter("rejected") == (rejects ? 2 : 0));
		CHECK(counter("would_reject")
				== (on_full == TCL_ON_FULL_REJECT && mode == TCL_MODE_MONITOR
								? 2
								: 0));
		CHECK(counter("table_full") == (rejects ? 1 : 2));
		CHECK(watch(60) == 0 && events == 0);
		clock_s += 60;
		CHECK(watch(60) == 1 && logged.level == TCL_LOG_WARN && events == 0);
		snprintf(expected, sizeof(expected),
				"the table had no slot for new sources: %s; raise "
				"tcp_max_connections",
				rejects ? "admitted 1 connection uncounted and rejected 2"
						: "admitted 2 connections uncounted");
		CHECK(strcmp(logged.line, expected) == 0);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void full_tables(void)
{
	int32_t mode;
	for(mode = TCL_MODE_ENFORCE; mode <= TCL_MODE_OFF; mode++) {
		full_table(mode, TCL_ON_FULL_ADMIT);
		full_table(mode, TCL_ON_FULL_REJECT);
	}
}

static void life_of_connections(void)
{
	uint64_t t[3];
	int i;

	for(i = 0; i < 3; i++) {
		CHECK(check(a, 4) == 0);
		t[i] = opened(a, 4);
		CHECK(t[i] != 0);
	}
	CHECK(watch(60) == 0);
	CHECK(check(a, 4) == 1);
	/* The same source in another form. */
	CHECK(check(a_mapped, 16) == 1);
	CHECK(logged.lines == 0); /* Only tcl_watch() logs. */
	CHECK(watch(60) == 1 && logged.level == TCL_LOG_REJECTED);
	CHECK(strcmp(logged.line,
				  "rejected connection from 192.0.2.1: 3 connections, limit 3, "
				  "rule default")
			== 0);
	CHECK(events == 1 && event.would == 0);
	CHECK(strcmp(event_source, "192.0.2.1") == 0);
	CHECK(strcmp(event_rule, "default") == 0);
	CHECK(event.connections == 3 && event.limit == 3 && event.rejected == 2);
	CHECK(watch(60) == 0);
	CHECK(check(a, 4) == 1);
	CHECK(watch(60) == 0);
	CHECK(counter("log_suppressed") == 0);
	/* The end of the interval. */
	clock_s += 57;
	CHECK(watch(60) == 1 && logged.level == TCL_LOG_REJECTED && events == 1);
	CHECK(strstr(logged.line, "rejected 2 more connections from 192.0.2.1 in ")
			== logged.line);
	CHECK(counter("log_suppressed") == 2);
	CHECK(tcl_watch(0) == TCL_EARG);
	/* Other sources are not affected. */
	CHECK(check(b, 4) == 0);
	CHECK(check(v6_host1, 16) == 0);
	CHECK(source_now(a, 4).connections == 3 && source_now(a, 4).rejected == 3);
	CHECK(source_now(a, 4).limit == 3 && source_now(a, 4).last_seen == 0);
	CHECK(source_now(a, 4).first_seen > 60 && source_now(a, 4).peak == 3);
	/* The report of an unknown source has only its rule and limit. */
	CHECK(strcmp(source_now(b, 4).text, "192.0.2.2") == 0);
	CHECK(strcmp(source_now(b, 4).rule, "default") == 0);
	CHECK(source_now(b, 4).limit == 3 && source_now(b, 4).connections == 0);
	CHECK(source_now(b, 4).first_seen == TCL_NEVER);
	CHECK(source_now(b, 4).last_seen == TCL_NEVER);
	/* A close makes room. */
	CHECK(closed(t[0]) == TCL_OK);
	CHECK(check(a, 4) == 0);
	t[0] = opened(a, 4);
	CHECK(check(a, 4) == 1);
	CHECK(watch(60) == 1 && events == 2 && event.rejected == 4);
	for(i = 0; i < 3; i++)
		CHECK(closed(t[i]) == TCL_OK);
	CHECK(source_now(a, 4).connections == 0);
	/* The source is back under its limit, once. */
	CHECK(watch(60) == 1 && logged.level == TCL_LOG_REJECTED && events == 2);
	CHECK(strcmp(logged.line, "source 192.0.2.1 is back under its limit: 0 "
							  "connections, limit 3, rule default")
			== 0);
	CHECK(released == 1 && released_event.connections == 0);
	CHECK(released_event.limit == 3 && released_event.rejected == 4);
	CHECK(watch(60) == 0 && released == 1);
	/* A double release and made-up tokens. */
	CHECK(counter("stale_token") == 0);
	CHECK(closed(t[0]) == TCL_ESTALE);
	CHECK(closed(UINT64_MAX) == TCL_ESTALE);
	CHECK(closed(1) == TCL_ESTALE);
	CHECK(closed(0) == TCL_OK);
	CHECK(counter("stale_token") == 3);
	CHECK(counter("connections") == 0);
}

static void descriptors(void)
{
	const int first_untracked = (int)(counter("capacity") + 65536);
	const uint64_t before = counter("untracked");
	uint64_t t = tcl_opened(a, 4, 5, -1, TCL_FACT_TLS), later;

	CHECK(t != 0 && tcl_token(5) == t);
	CHECK(tcl_token(4) == 0 && tcl_token(-1) == 0 && tcl_token(INT_MAX) == 0);
	/* A token is valid once, even if its source has other connections. */
	later = tcl_opened(a, 4, 6, -1, 0);
	CHECK(tcl_closed(t, TCL_FACT_SPOKE | TCL_FACT_TIMED_OUT) == TCL_OK);
	CHECK(tcl_closed(t, 0) == TCL_ESTALE && tcl_token(5) == 0);
	CHECK(source_now(a, 4).connections == 1);
	/* A connection whose end was not seen. */
	t = tcl_opened(b, 4, 6, -1, ~0u);
	CHECK(counter("descriptor_reused") == 1);
	CHECK(source_now(a, 4).connections == 0);
	CHECK(tcl_closed(later, 0) == TCL_ESTALE);
	CHECK(tcl_closed(t, ~0u) == TCL_OK);
	CHECK(source_now(b, 4).connections == 0);
	/* Descriptors that are not tracked. */
	t = tcl_opened(a, 4, first_untracked - 1, -1, 0);
	CHECK(t != 0 && tcl_closed(t, 0) == TCL_OK);
	CHECK(tcl_check(a, 4, first_untracked, -1) == 0);
	CHECK(tcl_opened(a, 4, first_untracked, -1, 0) == 0);
	CHECK(tcl_opened(a, 4, -1, -1, 0) == 0);
	CHECK(counter("untracked") == before + 2);
}

static uint32_t oldest(const char *name)
{
	uint32_t seconds = 0;

	CHECK(tcl_oldest((const uint8_t *)name, strlen(name), &seconds) == TCL_OK);
	return seconds;
}

static void ages(void)
{
	const uint8_t *name = (const uint8_t *)"192.0.2.1";
	uint32_t seconds = 7;
	uint64_t t[2];

	CHECK(oldest("192.0.2.1") == TCL_NEVER);
	CHECK(watch(60) == 0);
	t[0] = opened(a, 4);
	clock_s += 5;
	CHECK(tcl_watch(60) == TCL_OK);
	t[1] = opened(a, 4);
	clock_s += 2;
	CHECK(oldest("192.0.2.1") == 7 && oldest("192.0.2.2") == TCL_NEVER);
	CHECK(closed(t[0]) == TCL_OK);
	CHECK(oldest("192.0.2.1:5060") == 2);
	CHECK(closed(t[1]) == TCL_OK);
	CHECK(tcl_oldest(name, 9, NULL) == TCL_EARG);
	CHECK(tcl_oldest(NULL, 9, &seconds) == TCL_EARG);
	CHECK(tcl_oldest(name, 3, &seconds) == TCL_EARG && seconds == 7);
}

static void ipv6_networks(void)
{
	uint64_t t = opened(v6_host1, 16);
	struct tcl_source source = source_now(v6_host2, 16);
	CHECK(strcmp(source.text, "2001:db8:0:1::/64") == 0);
	CHECK(source.connections == 1);
	CHECK(closed(t) == TCL_OK);
}

static int find(const char *text, struct tcl_source *source, char *error)
{
	return tcl_find(
			(const uint8_t *)text, strlen(text), -1, source, error, 100);
}

static void sources_by_text(void)
{
	uint64_t t = opened(v6_host1, 16);
	struct tcl_source source;
	char error[100] = "untouched";

	CHECK(find("2001:db8:0:1::9", &source, error) == TCL_OK);
	CHECK(strcmp(source.text, "2001:db8:0:1::/64") == 0);
	/* As it is shown. */
	CHECK(find(source.text, &source, error) == TCL_OK);
	CHECK(source.connections == 1 && strcmp(error, "untouched") == 0);
	/* It has connections but was not sampled: it is seen now. */
	CHECK(source.first_seen == 0 && source.last_seen == 0);
	CHECK(find("2001:db8::/32", &source, error) == TCL_EARG);
	CHECK(strstr(error, "invalid address `2001:db8::/32`: ") == error);
	CHECK(find("nowhere", &source, error) == TCL_EARG);
	CHECK(strcmp(error, "invalid address `nowhere`: expected an IPv4 or IPv6"
						" address")
			== 0);
	/* All pointers may be null. */
	CHECK(tcl_find(NULL, 4, -1, &source, NULL, 0) == TCL_EARG);
	CHECK(find("192.0.2.1", NULL, NULL) == TCL_EARG);
	CHECK(find("192.0.2.1", NULL, error) == TCL_EARG);
	CHECK(closed(t) == TCL_OK);
	/* The next sample records it, although it came and went since the last one. */
	t = opened(shortly, 4);
	CHECK(closed(t) == TCL_OK);
	CHECK(source_now(shortly, 4).first_seen == TCL_NEVER);
	watch(60);
	CHECK(source_now(shortly, 4).first_seen == 0);
	CHECK(source_now(shortly, 4).last_seen == 0);
	clock_s += 5;
	watch(60);
	CHECK(source_now(shortly, 4).first_seen == 6);
	CHECK(source_now(shortly, 4).last_seen == 6);
}

static int limit_of(const char *text, int32_t *limit, char *error)
{
	return tcl_limit_parse(
			(const uint8_t *)text, strlen(text), limit, error, 120);
}

static void limits_by_text(void)
{
	int32_t limit = 77;
	char error[120] = "untouched";

	CHECK(limit_of("12", &limit, error) == TCL_OK && limit == 12);
	CHECK(limit_of("none", &limit, error) == TCL_OK && limit == 0);
	CHECK(limit_of("unlimited", &limit, error) == TCL_OK && limit == 0);
	CHECK(strcmp(error, "untouched") == 0);
	limit = 77;
	CHECK(limit_of("0", &limit, error) == TCL_EARG && limit == 77);
	CHECK(strstr(error, "invalid limit `0`: ") == error);
	CHECK(strstr(error, "none for no limit") != NULL);
	CHECK(limit_of("-3", &limit, error) == TCL_EARG && limit == 77);
	CHECK(limit_of("1.5", &limit, NULL) == TCL_EARG && limit == 77);
	CHECK(limit_of("5", NULL, error) == TCL_EARG);
	CHECK(tcl_limit_parse(NULL, 4, &limit, NULL, 0) == TCL_EARG);
}

static void bad_addresses(void)
{
	union sockaddr_union unix_address = {.s.sa_family = AF_UNIX};
	sa_family_t family_only = 99;
	uint8_t many[64] = {0};
	struct tcl_source source;
	uint64_t before = counter("bad_address");

	CHECK(check(NULL, 4) == 0);
	CHECK(check(a, 0) == 0);
	CHECK(check(many, 64) == 0);
	CHECK(opened(NULL, 16) == 0);
	CHECK(opened(many, 5) == 0);
	CHECK(tcp_connection_limit_srcip(NULL, 1) == 0);
	CHECK(tcp_connection_limit_srcip(&unix_address, 1) == 0);
	/* Only the family is read if it is neither IPv4 nor IPv6. */
	CHECK(tcp_connection_limit_srcip((union sockaddr_union *)&family_only, 1)
			== 0);
	CHECK(counter("bad_address") == before + 8);
	CHECK(counter("errors") >= before + 8);
	CHECK(tcl_get(NULL, 4, -1, &source) == TCL_EARG);
	CHECK(tcl_get(a, 4, -1, NULL) == TCL_EARG);
	CHECK(tcl_stats(NULL, TCL_MAX_COUNTERS) == TCL_EARG);
	CHECK(tcl_counter(0, NULL) == TCL_EARG);
	CHECK(tcl_top(NULL, 1, TCL_BY_CONNECTIONS) == TCL_EARG);
	CHECK(tcl_top(&source, 1, 5) == TCL_EARG);
	CHECK(tcl_top(&source, 1, -1) == TCL_EARG);
}

static void the_cores_own_function(void)
{
	union sockaddr_union v4 = {.sin.sin_family = AF_INET};
	union sockaddr_union v6 = {.sin6.sin6_family = AF_INET6};
	uint64_t t, t6;
	uint64_t rejected = counter("rejected");
	int before = logged.lines;

	memcpy(&v4.sin.sin_addr, b, 4);
	memcpy(&v6.sin6.sin6_addr, v6_host1, 16);
	CHECK(tcp_connection_limit_srcip(&v4, 1) == 0);
	t = opened(b, 4);
	t6 = opened(v6_host2, 16);
	CHECK(tcp_connection_limit_srcip(&v4, 2) == 0);
	CHECK(tcp_connection_limit_srcip(&v4, 1) == 1);
	CHECK(tcp_connection_limit_srcip(&v4, 0) == 0);
	CHECK(tcp_connection_limit_srcip(&v4, -1) == 0);
	CHECK(tcp_connection_limit_srcip(&v6, 1) == 1);
	CHECK(counter("rejected") == rejected + 2);
	/* The caller logs, as the core does. */
	CHECK(watch(60) == 0 && logged.lines == before);
	CHECK(source_now(b, 4).rejected == 0);
	CHECK(closed(t) == TCL_OK && closed(t6) == TCL_OK);
}

/* The value of the counter without a walk through the table. */
static uint64_t sampled(const char *name)
{
	return tcl_counter_value(counter_number(name));
}

static void descriptions(void)
{
	struct tcl_counter counter;
	uint64_t values[3] = {77, 77, 77};
	uint32_t count = 0;

	while(tcl_counter(count, &counter) == TCL_OK) {
		CHECK(counter_number(counter.name)
				== count); /* No name occurs twice. */
		CHECK(strlen(counter.help) > 10);
		CHECK(counter.in_stats == 0 || counter.in_stats == 1);
		count++;
	}
	CHECK(count > 20 && count <= TCL_MAX_COUNTERS);
	CHECK(tcl_counter(UINT32_MAX, &counter) == TCL_EARG);
	CHECK(tcl_counter_value(count) == 0 && tcl_counter_value(UINT32_MAX) == 0);
	CHECK(tcl_stats(values, 2) == 2 && values[1] != 77 && values[2] == 77);
	CHECK(tcl_stats(values, 0) == 0);
}

static void reports(void)
{
	uint64_t t[3] = {opened(a, 4), opened(b, 4), opened(b, 4)};
	struct tcl_source top[5];
	uint64_t bad_address = counter("bad_address");
	int i;

	CHECK(tcl_top(top, 5, TCL_BY_CONNECTIONS) == 2);
	CHECK(strcmp(top[0].text, "192.0.2.2") == 0 && top[0].connections == 2);
	CHECK(strcmp(top[1].text, "192.0.2.1") == 0 && top[1].connections == 1);
	CHECK(tcl_top(top, 1, TCL_BY_CONNECTIONS) == 1);
	CHECK(tcl_top(top, 0, TCL_BY_CONNECTIONS) == 0);
	CHECK(counter("sources") == 2 && counter("connections") == 3);
	CHECK(counter("capacity") == 100 && counter("limit") == 3
			&& counter("slots") >= 100);
	CHECK(counter("ipv4_prefix") == 32 && counter("ipv6_prefix") == 64);
	CHECK(tcl_huge_pages() == 0); /* The table is too small. */
	CHECK(counter("memory") > 0 && counter("panics") == 0
			&& counter("table_full") == 0);
	/* The gauges are from the last tcl_watch(), everything else is current. */
	CHECK(watch(60) == 0);
	for(i = 0; i < 3; i++)
		CHECK(closed(t[i]) == TCL_OK);
	CHECK(check(a, 3) == 0);
	CHECK(sampled("sources") == 2 && sampled("connections") == 3);
	CHECK(sampled("bad_address") == bad_address + 1);
	CHECK(sampled("admitted") == counter("admitted"));
	CHECK(sampled("slots") == counter("slots"));
	CHECK(counter("sources") == 0 && counter("connections") == 0);
	CHECK(watch(60) == 0);
	CHECK(sampled("sources") == 0 && sampled("connections") == 0);
}

static void put_file(const char *path, const char *content, size_t size)
{
	FILE *file = fopen(path, "w");
	CHECK(file != NULL && fwrite(content, 1, size, file) == size);
	CHECK(fclose(file) == 0);
}

/* Loads one modparam and the file. Returns the code; the message is in error. */
static char error[400];
static int32_t load(const char *text, const char *file)
{
	memset(error, 'x', sizeof(error));
	return tcl_rules_load(&text, text != NULL, file, error, sizeof(error));
}

static void rules(void)
{
	const char *two[] = {"192.0.2.0/24 = 2", "2001:db8::/32=unlimited"};
	const char *null[] = {"192.0.2.0/24=2", NULL};
	struct tcl_rule found[4];
	uint64_t t[2];
	char small[8];
	uint64_t reloads;
	int before = events;

	/* There are no rules at the start. */
	CHECK(tcl_rules_count() == 0 && counter("rules") == 0);
	CHECK(tcl_rules_load(NULL, 0, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_rules_load(NULL, 7, NULL, NULL, 0) == TCL_EARG);
	CHECK(tcl_rules(found, 4) == 1);
	CHECK(strcmp(found[0].prefix, "default") == 0 && found[0].limit == 3);
	reloads = counter("reloads");
	CHECK(tcl_rules_load(two, 2, NULL, error, sizeof(error)) == TCL_OK);
	CHECK(counter("reloads") == reloads + 1 && counter("rules") == 2);
	t[0] = opened(a, 4);
	t[1] = opened(a, 4);
	CHECK(check(a, 4) == 1 && check(v6_host1, 16) == 0);
	memset(found, 'x', sizeof(found));
	CHECK(tcl_rules(found, 4) == 3);
	CHECK(strcmp(found[0].prefix, "192.0.2.0/24") == 0 && found[0].limit == 2);
	CHECK(found[0].sources == 1 && found[0].connections == 2);
	CHECK(found[0].rejected == 1 && found[0].would_reject == 0);
	CHECK(strcmp(found[1].prefix, "2001:db8::/32") == 0 && found[1].limit == 0);
	CHECK(strcmp(found[2].prefix, "default") == 0 && found[2].limit == 3);
	CHECK(found[3].prefix[0] == 'x');
	memset(found, 'x', sizeof(found));
	/* The default is always included, then rules that have sources. */
	CHECK(tcl_rules(found, 1) == 1 && found[1].prefix[0] == 'x');
	CHECK(strcmp(found[0].prefix, "default") == 0);
	CHECK(tcl_rules(found, 2) == 2 && found[2].prefix[0] == 'x');
	CHECK(strcmp(found[0].prefix, "192.0.2.0/24") == 0);
	CHECK(strcmp(found[1].prefix, "default") == 0);
	CHECK(tcl_rules(found, 0) == 0);
	CHECK(tcl_rules(NULL, 0) == TCL_EARG && tcl_rules(NULL, 4) == TCL_EARG);
	CHECK(strcmp(source_now(a, 4).rule, "192.0.2.0/24") == 0);
	CHECK(source_now(a, 4).limit == 2);
	CHECK(strcmp(source_now(v6_host1, 16).rule, "2001:db8::/32") == 0);
	CHECK(source_now(v6_host1, 16).limit == 0);
	CHECK(watch(1) >= 1 && events == before + 1);
	CHECK(strcmp(event_rule, "192.0.2.0/24") == 0 && event.limit == 2);

	/* The error says what is wrong and where, and nothing changes. */
	CHECK(tcl_rules_load(null, 2, NULL, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_rules_load(null, 2, NULL, NULL, 0) == TCL_EARG);
	CHECK(load("192.0.2.0/24=0", NULL) == TCL_ERULES);
	CHECK(strstr(error, "modparam rule 1")
			&& strstr(error, "`192.0.2.0/24=0`"));
	CHECK(strstr(error, "a limit must be at least 1"));
	CHECK(load("192.0.2.1/24=5", NULL) == TCL_ERULES);
	CHECK(strstr(error, "write 192.0.2.0/24"));
	CHECK(load("64:ff9b::1.2.3.4=5", NULL) == TCL_ERULES);
	CHECK(strstr(error, "translator") && strstr(error, "write 1.2.3.4"));
	CHECK(load("", NULL) == TCL_ERULES);
	CHECK(load("=", NULL) == TCL_ERULES);
	CHECK(load("\xff\xfe=5", NULL) == TCL_ERULES);
	CHECK(strstr(error, "modparam rule 1"));
	two[1] = "192.0.2.0/24=7";
	CHECK(tcl_rules_load(two, 2, NULL, error, sizeof(error)) == TCL_ERULES);
	CHECK(strstr(error, "modparam rule 2") && strstr(error, "modparam rule 1"));
	/* In a small buffer the text is cut and ends with a NUL. */
	memset(small, 'x', sizeof(small));
	two[1] = "nonsense";
	CHECK(tcl_rules_load(two, 2, NULL, small, 6) == TCL_ERULES);
	CHECK(strcmp(small, "modpa") == 0 && small[6] == 'x');
	memset(small, 'x', sizeof(small));
	CHECK(tcl_rules_load(two, 2, NULL, small, 1) == TCL_ERULES
			&& small[0] == 0);
	CHECK(small[1] == 'x');
	CHECK(tcl_rules_load(two, 2, NULL, small, 0) == TCL_ERULES
			&& small[1] == 'x');
	CHECK(tcl_rules_load(two, 2, NULL, NULL, 100) == TCL_ERULES);
	CHECK(counter("rules") == 2 && counter("reloads") == reloads + 1);
	CHECK(check(a, 4) == 1);

	/* A rule's statistics stay with its prefix. */
	CHECK(load("192.0.2.0/24=3", NULL) == TCL_OK);
	CHECK(check(a, 4) == 0);
	CHECK(tcl_rules(found, 4) == 2 && found[0].rejected == 2);
	CHECK(closed(t[0]) == TCL_OK && closed(t[1]) == TCL_OK);
}

/* Rules that are set and removed, and that end. */
static void set_rules(void)
{
	const char *one = "192.0.2.0/24=2";
	struct tcl_rule_change change;
	struct tcl_rule found[2];
	uint64_t reloads = counter("reloads");

	CHECK(tcl_rules_load(&one, 1, NULL, error, sizeof(error)) == TCL_OK);
	CHECK(tcl_rules(found, 2) == 2);
	CHECK(strcmp(found[0].origin, "modparam 1") == 0);
	CHECK(strcmp(found[1].origin, "default") == 0);
	CHECK(found[0].seconds == TCL_NEVER && found[1].seconds == TCL_NEVER);
	logged.lines = 0;
	CHECK(tcl_rule_set("192.0.2.0/24", " 5", "60", "a test", &change, error,
				  sizeof(error))
			== TCL_OK);
	CHECK(strcmp(change.prefix, "192.0.2.0/24") == 0);
	CHECK(strcmp(change.rule, "192.0.2.0/24") == 0 && change.limit == 5);
	CHECK(strcmp(change.was, "2 from modparam 1") == 0 && change.seconds == 60);
	CHECK(strcmp(change.terms, "5") == 0);
	CHECK(logged.lines == 1 && logged.level == TCL_LOG_NOTICE);
	CHECK(strcmp(logged.line,
				  "rule 192.0.2.0/24 = 5 set for 60 s by a test, was: "
				  "2 from modparam 1")
			== 0);
	clock_s += 20;
	CHECK(tcl_rules(found, 2) == 2 && found[0].limit == 5);
	CHECK(strcmp(found[0].origin, "rpc") == 0 && found[0].seconds == 40);
	CHECK(source_now(a, 4).limit == 5);
	CHECK(tcl_rule_set("192.0.2.0/24", "5 exempt burst=9", "40", "a test",
				  &change, error, sizeof(error))
			== TCL_OK);
	CHECK(strcmp(change.terms, "5 burst=9 exempt") == 0);
	CHECK(tcl_rules(found, 2) == 2);
	CHECK(strcmp(found[0].terms, "5 burst=9 exempt") == 0);
	CHECK(strcmp(found[1].terms, "3") == 0);
	CHECK(strcmp(source_now(a, 4).terms, "5 burst=9 exempt") == 0);
	CHECK(tcl_rule_set("192.0.2.0/24", "5", "40", "a test", &change, error,
				  sizeof(error))
			== TCL_OK);
	CHECK(strcmp(change.was, "5 burst=9 exempt from rpc") == 0);
	CHECK(tcl_rule_set("192.0.2.0/24", "5 brust=9", NULL, NULL, &change, error,
				  sizeof(error))
			== TCL_EARG);
	CHECK(strcmp(error, "invalid limit `5 brust=9`: unknown word `brust`; did"
						" you mean `burst`?")
			== 0);
	CHECK(counter("rules") == 1 && counter("rules_set") == 1);
	/* Loading keeps it. */
	CHECK(tcl_rules_load(NULL, 0, NULL, NULL, 0) == TCL_OK);
	CHECK(counter("reloads") == reloads + 2 && tcl_rules_count() == 1);
	/* It ends after its last second; watch() lets one pass. */
	clock_s += 39;
	watch(60);
	CHECK(tcl_rules_count() == 1);
	CHECK(watch(60) >= 1 && tcl_rules_count() == 0);
	CHECK(source_now(a, 4).limit == 3);

	CHECK(tcl_rule_set(
				  "192.0.2.0/24", "unlimited", NULL, NULL, &change, NULL, 0)
			== TCL_OK);
	CHECK(change.limit == 0 && change.seconds == TCL_NEVER);
	CHECK(strcmp(change.was, "no rule") == 0);
	CHECK(tcl_rule_remove(
				  "192.0.2.0/24", NULL, NULL, &change, error, sizeof(error))
			== TCL_OK);
	CHECK(strcmp(change.was, "none from rpc") == 0);
	CHECK(strcmp(change.rule, "default") == 0 && change.limit == 3);
	/* The answer may be NULL. */
	CHECK(tcl_rule_set("::/0", "1", "1", NULL, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_rule_remove("::/0", NULL, NULL, NULL, NULL, 0) == TCL_OK);

	CHECK(tcl_rule_remove("::/0", NULL, NULL, &change, error, sizeof(error))
			== TCL_ERULES);
	CHECK(strcmp(error, "there is no rule for this prefix") == 0);
	CHECK(tcl_rule_remove(NULL, NULL, NULL, &change, error, sizeof(error))
			== TCL_EARG);
	CHECK(tcl_rule_set(NULL, "1", NULL, NULL, &change, error, sizeof(error))
			== TCL_EARG);
	CHECK(tcl_rule_set("::/0", NULL, NULL, NULL, &change, error, sizeof(error))
			== TCL_EARG);
	CHECK(tcl_rule_set("::/0", "0", NULL, NULL, &change, error, sizeof(error))
			== TCL_EARG);
	CHECK(strstr(error, "invalid limit `0`") == error);
	CHECK(tcl_rule_set("::/0", "1", "0", NULL, &change, error, 5) == TCL_EARG);
	CHECK(strcmp(error, "inva") == 0);
	CHECK(tcl_rules_count() == 0);
}

/* There are rules for 10.0.0.0 to 10.0.255.254, one for each address. */
static void few_of_many_rules(void)
{
	static const uint8_t busy[4] = {10, 0, 255, 254};
	struct tcl_rule rules[3];
	struct tcl_suggestion suggestions[3];
	uint64_t t = opened(busy, 4);

	watch(60);
	CHECK(tcl_rules(rules, 3) == 3);
	CHECK(strcmp(rules[0].prefix, "10.0.0.0") == 0 && rules[0].sources == 0);
	CHECK(strcmp(rules[1].prefix, "10.0.255.254") == 0);
	CHECK(rules[1].sources == 1 && rules[1].limit == 1);
	CHECK(strcmp(rules[2].prefix, "default") == 0);
	CHECK(tcl_suggest(suggestions, 3) == 3);
	CHECK(strcmp(suggestions[0].prefix, "10.0.0.0") == 0);
	CHECK(strcmp(suggestions[1].prefix, "10.0.255.254") == 0);
	CHECK(suggestions[1].sources == 1 && suggestions[1].highest == 1);
	CHECK(strcmp(suggestions[2].prefix, "default") == 0);
	CHECK(closed(t) == TCL_OK);
}

static void rules_in_a_file(void)
{
	static const char good[] = "# who\n\n 192.0.2.1 = 7 # a\r\n2001:db8::/32=9";
	static const char nul[] = "10.0.0.1=5\n10.0.0.2=5\0\n";
	static const char no_text[] = "10.0.0.1=5\n\n\xff\xfe=5\n";
	static char many[65537 * 20];
	char path[300], fifo[300], missing[300];
	size_t size = 0;
	uint32_t i;

	snprintf(path, sizeof(path), "%s/rules", folder);
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	snprintf(missing, sizeof(missing), "%s/missing", folder);
	put_file(path, good, sizeof(good) - 1);
	CHECK(load("192.0.2.0/24=4", path) == TCL_OK);
	CHECK(counter("rules") == 3);
	CHECK(source_now(a, 4).limit == 7 && source_now(b, 4).limit == 4);
	CHECK(source_now(v6_host1, 16).limit == 9);

	CHECK(load(NULL, missing) == TCL_ERULES && strstr(error, missing));
	CHECK(load(NULL, folder) == TCL_ERULES && strstr(error, folder));
	CHECK(load(NULL, "") == TCL_ERULES);
	/* No process writes to the FIFO. The library must not wait for one. */
	alarm(20);
	CHECK(mkfifo(fifo, 0600) == 0);
	CHECK(load(NULL, fifo) == TCL_ERULES && strstr(error, fifo));
	CHECK(load(NULL, "/dev/zero") == TCL_ERULES && strstr(error, "/dev/zero"));
	alarm(0);
	put_file(path, no_text, sizeof(no_text) - 1);
	CHECK(load(NULL, path) == TCL_ERULES && strstr(error, path));
	CHECK(strstr(error, "rules:3: ") && strstr(error, "UTF-8"));
	put_file(path, nul, sizeof(nul) - 1);
	CHECK(load(NULL, path) == TCL_ERULES && strstr(error, "rules:2: "));
	put_file(path, "192.0.2.0/24=5\n192.0.2.0/24=6\n", 30);
	CHECK(load("192.0.2.0/24=4", path) == TCL_ERULES);
	CHECK(strstr(error, "rules:2: ") && strstr(error, "rules:1 already has"));
	put_file(path, "10.0.0.0/8=x", 12);
	CHECK(load(NULL, path) == TCL_ERULES);
	CHECK(strstr(error, "rules:1: `10.0.0.0/8=x`: "));
	/* Larger than the maximum of a rules file. */
	CHECK(truncate(path, (16 << 20) + 1) == 0);
	CHECK(load(NULL, path) == TCL_ERULES && strstr(error, "16 MiB"));
	/* The maximum number of rules and one more. */
	for(i = 0; i < 65536; i++)
		size += (size_t)sprintf(
				many + size, "10.0.%u.%u=1\n", i >> 8, i & 0xff);
	put_file(path, many, size);
	CHECK(load(NULL, path) == TCL_ERULES);
	CHECK(strstr(error, "rules:65536: ") && strstr(error, "65535"));
	CHECK(counter("rules") == 3 && source_now(a, 4).limit == 7);
	size -= strlen("10.0.255.255=1\n");
	put_file(path, many, size);
	CHECK(load(NULL, path) == TCL_OK && tcl_rules_count() == 65535);
	CHECK(counter("rules") == 65535);
	few_of_many_rules();
	put_file(path, "", 0);
	CHECK(load(NULL, path) == TCL_OK && counter("rules") == 0);
}

/* A file that the server's user must not read. */
static void rules_of_another_user(void)
{
	pid_t pid = fork();
	int status;

	if(pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		char path[300];
		snprintf(path, sizeof(path), "%s/secret", folder);
		put_file(path, "10.0.0.0/8=5\n", 13);
		CHECK(chmod(path, 0) == 0);
		CHECK(geteuid() != 0 || setuid(65534) == 0);
		CHECK(load(NULL, path) == TCL_ERULES && strstr(error, path));
		CHECK(strstr(error, "Kamailio's user can read it"));
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static void modes_and_limits(void)
{
	uint64_t t[3] = {opened(a, 4), opened(a, 4), opened(a, 4)};
	uint64_t rejected = counter("rejected");
	int32_t limit, mode;
	int before, i;

	next_interval();
	before = events;
	CHECK(check(a, 4) == 1);
	CHECK(counter("rejected") == rejected + 1);
	CHECK(tcl_set_mode(-1) == TCL_EARG && tcl_set_mode(3) == TCL_EARG);
	CHECK(counter("mode") == TCL_MODE_ENFORCE);
	CHECK(tcl_set_mode(TCL_MODE_MONITOR) == TCL_OK);
	/* The rejection is reported, whatever the mode is now. */
	CHECK(watch(60) == 1
			&& strncmp(logged.line, "rejected connection from ", 25) == 0);
	CHECK(events == before + 1 && event.would == 0);
	next_interval();
	CHECK(check(a, 4) == 0 && check(a, 4) == 0);
	CHECK(counter("mode") == TCL_MODE_MONITOR);
	CHECK(counter("would_reject") == 2);
	CHECK(counter("rejected") == rejected + 1);
	CHECK(source_now(a, 4).would_reject == 2);
	CHECK(watch(60) == 1 && logged.level == TCL_LOG_REJECTED);
	CHECK(strcmp(logged.line,
				  "would reject connection from 192.0.2.1: 3 connections, "
				  "limit 3, rule default")
			== 0);
	CHECK(events == before + 2 && event.would == 1);
	CHECK(tcl_set_mode(TCL_MODE_OFF) == TCL_OK);
	CHECK(check(a, 4) == 0 && counter("would_reject") == 2);
	CHECK(tcl_set_mode(TCL_MODE_ENFORCE) == TCL_OK);
	CHECK(tcl_set_limit(4) == TCL_OK && counter("limit") == 4);
	CHECK(tcl_settings(&limit, NULL) == TCL_EARG);
	CHECK(tcl_settings(NULL, &mode) == TCL_EARG);
	CHECK(tcl_settings(&limit, &mode) == TCL_OK);
	CHECK(limit == 4 && mode == TCL_MODE_ENFORCE);
	CHECK(check(a, 4) == 0 && source_now(a, 4).limit == 4);
	CHECK(tcl_set_limit(1) == TCL_OK && check(a, 4) == 1);
	CHECK(tcl_set_limit(-7) == TCL_OK && check(a, 4) == 0);
	CHECK(source_now(a, 4).limit == 0);
	CHECK(counter("rules") == 0);
	CHECK(tcl_set_limit(3) == TCL_OK);
	for(i = 0; i < 3; i++)
		CHECK(closed(t[i]) == TCL_OK);
}

static void resets(void)
{
	uint64_t t = opened(a, 4);
	struct tcl_source source;

	CHECK(counter("rejected") > 0 && counter("errors") > 0);
	CHECK(tcl_reset_stats() == TCL_OK);
	CHECK(counter("admitted") == 0 && counter("rejected") == 0
			&& counter("would_reject") == 0);
	CHECK(counter("full_rejected") == 0 && counter("errors") == 0
			&& counter("panics") == 0);
	CHECK(counter("table_full") == 0 && counter("bad_address") == 0);
	CHECK(counter("stale_token") == 0 && counter("log_suppressed") == 0);
	CHECK(counter("descriptor_reused") == 0);
	CHECK(counter("connections") == 1 && counter("sources") == 1
			&& counter("limit") == 3);
	source = source_now(a, 4);
	CHECK(source.rejected == 0 && source.would_reject == 0);
	CHECK(source.connections == 1 && source.peak == 1);
	CHECK(closed(t) == TCL_OK);
}

static void lists_and_suggestions(void)
{
	uint64_t t[14];
	struct tcl_source list[5];
	struct tcl_suggestion found[3];
	const char *rule = "192.0.2.0/30=20";
	uint64_t total = 77;
	int i;

	CHECK(tcl_set_limit(0) == TCL_OK);
	CHECK(tcl_reset_stats() == TCL_OK);
	for(i = 0; i < 12; i++)
		CHECK((t[i] = opened(a, 4)) != 0);
	t[12] = opened(b, 4);
	t[13] = opened(v6_host1, 16);
	clock_s += 10;
	watch(60);
	clock_s += 5;
	CHECK(tcl_list(NULL, list, 5, &total, NULL, 0) == 3 && total == 3);
	CHECK(strcmp(list[0].text, "192.0.2.1") == 0 && list[0].connections == 12);
	CHECK(list[0].last_seen == 0 && list[0].first_seen >= 5);
	CHECK(list[0].peak == 12 && list[0].limit == 0);
	CHECK(tcl_list("192.0.2.0/24", list, 1, &total, NULL, 0) == 1
			&& total == 2);
	CHECK(tcl_list("192.0.2.2", list, 5, NULL, NULL, 0) == 1);
	CHECK(strcmp(list[0].text, "192.0.2.2") == 0);
	CHECK(tcl_list("2001:db8::/32", list, 5, &total, NULL, 0) == 1
			&& total == 1);
	CHECK(tcl_list("10.0.0.0/8", list, 5, &total, NULL, 0) == 0 && total == 0);
	CHECK(tcl_list(NULL, list, 0, &total, NULL, 0) == 0 && total == 3);
	/* Not a prefix. */
	CHECK(tcl_list("x", list, 5, &total, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "`x`") != NULL);
	CHECK(tcl_list("", list, 5, &total, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_list("10.0.0.1/8", list, 5, &total, error, 5) == TCL_EARG);
	CHECK(strcmp(error, "`10.") == 0);
	CHECK(tcl_list("10.0.0.0/33", list, 5, NULL, NULL, 0) == TCL_EARG);
	CHECK(tcl_top(list, 5, TCL_BY_PEAK) == 3 && list[0].peak == 12);
	CHECK(tcl_top(list, 5, TCL_BY_REJECTED) == 0);

	CHECK(tcl_rules_load(&rule, 1, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_suggest(NULL, 0) == TCL_EARG);
	CHECK(tcl_suggest(NULL, 9) == TCL_EARG && tcl_suggest(found, 0) == 0);
	memset(found, 'x', sizeof(found));
	CHECK(tcl_suggest(found, 1) == 1 && found[1].prefix[0] == 'x');
	CHECK(strcmp(found[0].prefix, "default") == 0);
	CHECK(tcl_suggest(found, 3) == 2 && found[2].prefix[0] == 'x');
	CHECK(strcmp(found[0].prefix, "192.0.2.0/30") == 0 && found[0].limit == 20);
	CHECK(found[0].sources == 2 && found[0].highest == 12
			&& found[0].percentile == 50 && found[0].usual == 1);
	CHECK(strcmp(found[0].peaks, "1: 1, 2: 0, 3-4: 0, 5-8: 0, 9-16: 1") == 0);
	CHECK(strstr(found[0].hit, "8: 50.00 %, 16: 0 %") != NULL);
	CHECK(found[0].proposed == 8 && found[0].above == 1);
	CHECK(found[0].list[0].peak == 12 && found[0].list[1].text[0] == 0);
	CHECK(strcmp(found[1].prefix, "default") == 0 && found[1].limit == 0);
	CHECK(found[1].sources == 1 && found[1].highest == 1);
	CHECK(found[1].proposed == 8 && found[1].list[9].text[0] == 0);
	for(i = 0; i < 14; i++)
		CHECK(closed(t[i]) == TCL_OK);
	CHECK(tcl_rules_load(NULL, 0, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_set_limit(3) == TCL_OK);
}

static void audit(void)
{
	uint64_t t[2] = {opened(a, 4), opened(b, 4)};
	struct tcl_audit *audit = tcl_audit_begin(2);
	struct tcl_audit_sums sums;
	struct tcl_difference list[4];
	int i;

	CHECK(audit != NULL);
	CHECK(tcl_audit_connection(audit, a, 4, descriptor_of(t[0])) == TCL_OK);
	CHECK(tcl_audit_connection(audit, a, 4, descriptor_of(t[0]))
			== TCL_OK); /* Once more than counted. */
	CHECK(tcl_audit_connection(audit, v6_host1, 16, free_descriptor())
			== TCL_OK);
	CHECK(tcl_audit_connection(audit, a, 3, 0) == TCL_EARG);
	CHECK(tcl_audit_connection(NULL, a, 4, 0) == TCL_EARG);
	CHECK(tcl_audit_counts(audit) == TCL_OK);
	CHECK(tcl_audit_counts(NULL) == TCL_EARG);
	CHECK(tcl_audit_result(audit, &sums, list, 4) == 2);
	CHECK(sums.connections == 3 && sums.counted == 2 && sums.uncounted == 1);
	CHECK(sums.differences == 2);
	CHECK(strcmp(list[0].text, "192.0.2.1") == 0);
	CHECK(list[0].host == 2 && list[0].counted == 1);
	CHECK(strcmp(list[1].text, "192.0.2.2") == 0);
	CHECK(list[1].host == 0 && list[1].counted == 1);
	CHECK(tcl_audit_result(audit, &sums, list, 1) == 1);
	CHECK(tcl_audit_result(audit, &sums, NULL, 4) == TCL_OK);
	CHECK(tcl_audit_result(audit, NULL, list, 4) == TCL_EARG);
	CHECK(tcl_audit_result(NULL, &sums, list, 4) == TCL_EARG);
	tcl_audit_end(audit);
	audit = tcl_audit_begin(0);
	CHECK(audit != NULL);
	for(i = 0; i < 1024; i++)
		CHECK(tcl_audit_connection(audit, a, 4, descriptor_of(t[0])) == TCL_OK);
	CHECK(tcl_audit_connection(audit, a, 4, descriptor_of(t[0])) == TCL_EROOM);
	tcl_audit_end(audit);
	CHECK(closed(t[0]) == TCL_OK && closed(t[1]) == TCL_OK);
}

static void another_process(void)
{
	uint64_t t = opened(a, 4);
	int status;
	pid_t pid = fork();

	if(pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tcl_set_worker(7);
		CHECK(closed(t) == TCL_OK);
		CHECK(opened(b, 4) != 0);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(source_now(a, 4).connections == 0);
	CHECK(source_now(b, 4).connections == 1);
}

static void addresses_as_text(void)
{
	static const char *const wrong[] = {"", "no-address", "[192.0.2.1]",
			"192.0.2.1:", "2001:db8::/32", "\xff", NULL};
	struct tcl_source source;
	int i;

	CHECK(find("192.0.2.1:5060", &source, NULL) == TCL_OK);
	CHECK(strcmp(source.text, "192.0.2.1") == 0);
	CHECK(find("[2001:db8:0:1::9]:5061", &source, NULL) == TCL_OK);
	CHECK(strcmp(source.text, "2001:db8:0:1::/64") == 0);
	CHECK(find(source.text, &source, NULL) == TCL_OK);
	CHECK(strcmp(source.text, "2001:db8:0:1::/64") == 0);
	/* Only the given length is read. */
	CHECK(tcl_find((const uint8_t *)"192.0.2.1garbage", 9, -1, &source, NULL, 0)
			== TCL_OK);
	CHECK(find("64:ff9b::192.0.2.1", &source, NULL) == TCL_OK);
	CHECK(strcmp(source.text, "192.0.2.1") == 0);
	for(i = 0; wrong[i] != NULL; i++)
		CHECK(find(wrong[i], &source, NULL) == TCL_EARG);
}

/* This program does not call accept(), so there is nothing to replace. Interposing is
 * tested in tests/interpose. */
static void nothing_to_interpose(void)
{
	CHECK(tcl_interpose_find(NULL, 0) == TCL_EINTERPOSE);
	CHECK(tcl_interpose_find(error, 5) == TCL_EINTERPOSE);
	CHECK(strcmp(error, "the ") == 0);
	CHECK(tcl_interpose_attach(error, sizeof(error)) == TCL_EINTERPOSE);
	CHECK(strstr(error, "does not call accept") != NULL);
	CHECK(tcl_interpose_activate() == TCL_EINTERPOSE);
	CHECK(tcl_interpose_detach() == TCL_OK);
	CHECK(tcl_interpose_tls(NULL, 1) == TCL_EARG);
	CHECK(tcl_interpose_tls(NULL, 0) == TCL_OK);
}

/* The limiter's own clock of rates and bans runs as time does, so these tests do not wait
 * for the end of anything. */
static void rates(void)
{
	const uint8_t *text = (const uint8_t *)"2/m";
	struct tcl_source top[2];
	struct tcl_rate rate;
	struct tcl_rate_suggestion suggestion;
	uint32_t interval = 0;

	CHECK(tcl_rate_parse(text, 3, &interval, error, sizeof(error)) == TCL_OK);
	CHECK(interval == 30000000);
	CHECK(tcl_rate_parse(text, 3, NULL, error, sizeof(error)) == TCL_EARG);
	CHECK(tcl_rate_parse(text, 2, &interval, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "invalid rate `2/`: ") == error);
	CHECK(tcl_rate_parse(NULL, 0, &interval, NULL, 0) == TCL_EARG);
	CHECK(tcl_rate(NULL) == TCL_EARG);
	CHECK(tcl_rate(&rate) == TCL_OK && rate.interval_us == 0);
	CHECK(strcmp(rate.text, "none") == 0 && rate.burst == 0);

	CHECK(tcl_set_rate(99, 1, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "the rate must be 1/h to 10000/s") == 0);
	CHECK(tcl_set_rate(3600000000, 73, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "burst 73 ") == error);
	CHECK(tcl_set_rate(30000000, 0, error, sizeof(error)) == TCL_OK);
	CHECK(tcl_rate(&rate) == TCL_OK && rate.burst == 5);
	CHECK(tcl_set_rate(30000000, 2, error, sizeof(error)) == TCL_OK);
	CHECK(tcl_rate(&rate) == TCL_OK && rate.interval_us == 30000000);
	CHECK(strcmp(rate.text, "2/m") == 0 && rate.burst == 2);
	CHECK(tcl_counter_value(counter_number("burst")) == 2);

	closed(opened(shortly, 4));
	closed(opened(shortly, 4));
	CHECK(check(shortly, 4) == 1 && check(b, 4) == 0);
	CHECK(tcl_top(top, 2, TCL_BY_OWED) == 1);
	CHECK(strcmp(top->text, "192.0.2.3") == 0 && top->owed == 2);
	CHECK(strcmp(top->rejected_for, "rate") == 0);
	CHECK(strcmp(top->rate.text, "2/m") == 0 && top->rate.burst == 2);
	events = 0;
	next_interval();
	CHECK(tcl_suggest_rate(NULL) == TCL_EARG);
	CHECK(tcl_suggest_rate(&suggestion) == TCL_OK && suggestion.sources == 1);
	CHECK(strcmp(suggestion.owed, "1: 0, 2: 1") == 0);
	CHECK(suggestion.usual == 2 && suggestion.percentile == 50);
	CHECK(strcmp(suggestion.current.text, "2/m") == 0);
	CHECK(strcmp(suggestion.proposed.text, "4/m") == 0);
	CHECK(suggestion.proposed.burst == 5);
	CHECK(events == 1 && strcmp(event_source, "192.0.2.3") == 0);
	CHECK(strcmp(event_reason, "rate") == 0);
	CHECK(strcmp(event_rate, "2/m, burst 2") == 0);
	CHECK(tcl_counter_value(counter_number("rate_rejected")) == 1);
	CHECK(tcl_set_rate(0, 0, error, sizeof(error)) == TCL_OK);
	CHECK(check(shortly, 4) == 0);
}

#define TEXT(text) (const uint8_t *)(text), sizeof(text) - 1

static void reserve_and_pressure(void)
{
	const char *trusted[] = {"192.0.2.2=10 trusted"};
	struct tcl_load_report report;
	struct tcl_source source;
	uint64_t tokens[3];
	int i;

	CHECK(tcl_load_report(NULL) == TCL_EARG);
	CHECK(tcl_load_report(&report) == TCL_OK && report.max == 100);
	CHECK(strcmp(report.reserve, "none") == 0 && report.levels == 0);
	CHECK(strcmp(report.pressure, "none") == 0 && report.limit_percent == 100);
	CHECK(tcl_rules_load(trusted, 1, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_set_limit(6) == TCL_OK);
	CHECK(tcl_set_reserve(TEXT("5%"), "RPC", error, sizeof(error)) == TCL_OK);
	CHECK(strcmp(logged.line, "reserve changed from none to 5% by RPC") == 0);
	CHECK(tcl_set_pressure(TEXT("80:50%"), NULL, NULL, 0) == TCL_OK);
	CHECK(strcmp(logged.line,
				  "pressure changed from none to 80:50% by the host")
			== 0);
	for(i = 0; i < 3; i++)
		tokens[i] = opened(a, 4);

	/* Pressure. */
	CHECK(check(a, 4) == 0);
	in_use = 80;
	CHECK(check(a, 4) == 1 && check(b, 4) == 0);
	source = source_now(a, 4);
	CHECK(source.limit == 6 && source.effective_limit == 3);
	CHECK(strcmp(source.rejected_for, "pressure") == 0);
	pressure_changes = events = 0;
	next_interval();
	CHECK(pressure_changes == 1 && pressure_event.level == 1);
	CHECK(pressure_event.was == 0 && pressure_event.in_use == 80);
	CHECK(pressure_event.max == 100 && pressure_event.would == 0);
	CHECK(strcmp(pressure_text, "80:50%") == 0);
	CHECK(events == 1 && strcmp(event_reason, "pressure") == 0);
	CHECK(event.limit == 3);

	/* Reserve. */
	in_use = 95;
	CHECK(check(shortly, 4) == 1 && check(b, 4) == 0);
	CHECK(source_now(shortly, 4).reserved && !source_now(b, 4).reserved);
	CHECK(source_now(b, 4).trusted_rule && !source_now(a, 4).trusted_rule);
	CHECK(tcl_load_report(&report) == TCL_OK && report.reserved);
	CHECK(report.reserve_connections == 5 && report.percent == 95);
	CHECK(report.level == 1 && report.limit_percent == 50);
	CHECK(tcl_counter_value(counter_number("reserve_rejected")) == 1);
	CHECK(tcl_counter_value(counter_number("pressure_rejected")) == 1);
	CHECK(tcl_counter_value(counter_number("pressure_level")) == 1);

	/* Errors change nothing. */
	CHECK(tcl_set_reserve(NULL, 9, NULL, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "reserve ``: expected one such as") == error);
	CHECK(tcl_set_reserve(TEXT("100"), NULL, NULL, 0) == TCL_EARG);
	CHECK(tcl_set_pressure(TEXT("\xff"), NULL, error, 6) == TCL_EARG);
	CHECK(strcmp(error, "press") == 0);
	CHECK(tcl_load_report(&report) == TCL_OK && report.levels == 1);
	CHECK(strcmp(report.reserve, "5%") == 0);

	CHECK(tcl_set_reserve(TEXT("none"), NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_set_pressure(TEXT("none"), NULL, NULL, 0) == TCL_OK);
	CHECK(check(a, 4) == 0);
	in_use = 0;
	for(i = 0; i < 3; i++)
		CHECK(closed(tokens[i]) == TCL_OK);
	CHECK(tcl_rules_load(NULL, 0, NULL, NULL, 0) == TCL_OK);
	next_interval();
	CHECK(pressure_changes == 2 && pressure_event.level == 0);
}

static void bans(void)
{
	const char *exempt[] = {"192.0.2.9=unlimited"};
	const uint8_t other[4] = {192, 0, 2, 9};
	struct tcl_source source;
	struct tcl_ban ban, list[4];
	uint32_t lifted, was;
	uint64_t total;
	int lines = logged.lines;

	/* By command. */
	CHECK(tcl_ban("192.0.2.1", "60", "scanner", "RPC", &ban, &was, NULL, 0)
			== TCL_OK);
	CHECK(strcmp(ban.text, "192.0.2.1") == 0 && ban.seconds == 60);
	CHECK(strcmp(ban.reason, "rpc") == 0 && ban.rejected == 0 && was == 0);
	CHECK(logged.lines == ++lines);
	CHECK(strcmp(logged.line, "ban of 192.0.2.1 set for 60 s by RPC: scanner")
			== 0);
	CHECK(check(a, 4) == 1 && check(a_mapped, 16) == 1);
	CHECK(check(b, 4) == 0);
	CHECK(tcl_banned(a, 4) == 60 && tcl_banned(b, 4) == 0);
	source = source_now(a, 4);
	CHECK(source.banned == 60 && source.ban_rejected == 2);
	CHECK(strcmp(source.ban_reason, "rpc") == 0);
	CHECK(strcmp(source.rejected_for, "ban") == 0);
	events = banned = unbanned = 0;
	next_interval();
	CHECK(events == 1 && strcmp(event_reason, "ban") == 0);
	CHECK(strcmp(event_ban, "rpc") == 0 && event.seconds == 60);
	CHECK(banned == 0 && unbanned == 0);

	/* Set again. */
	CHECK(tcl_ban("192.0.2.1", "50", NULL, "RPC", &ban, &was, NULL, 0)
			== TCL_OK);
	CHECK(ban.seconds == 50 && ban.rejected == 2 && was == 60);
	CHECK(strcmp(logged.line, "ban of 192.0.2.1 set for 50 s by RPC, was: 60 s,"
							  " reason rpc")
			== 0);

	/* Of a prefix. */
	CHECK(tcl_ban("2001:db8::/32", "70", NULL, NULL, &ban, &was, NULL, 0)
			== TCL_OK);
	CHECK(strcmp(ban.text, "2001:db8::/32") == 0 && was == 0);
	CHECK(check(v6_host1, 16) == 1 && tcl_banned(v6_host1, 16) == 70);
	CHECK(tcl_ban("198.51.100.0/24", "30", NULL, NULL, NULL, NULL, NULL, 0)
			== TCL_OK);
	CHECK(tcl_bans(list, 4, &total) == 3 && total == 3);
	CHECK(strcmp(list[0].text, "2001:db8::/32") == 0 && list[0].rejected == 1);
	CHECK(strcmp(list[1].text, "192.0.2.1") == 0 && list[1].rejected == 2);
	CHECK(strcmp(list[2].text, "198.51.100.0/24") == 0);
	CHECK(tcl_bans(list, 1, NULL) == 1);
	CHECK(tcl_bans(NULL, 1, &total) == TCL_EARG);

	/* Lifted. */
	CHECK(tcl_unban("192.0.2.0/24", "RPC", &lifted, NULL, 0) == TCL_OK);
	CHECK(lifted == 1 && check(a, 4) == 0);
	CHECK(strcmp(logged.line, "ban of 192.0.2.0/24 lifted by RPC") == 0);
	CHECK(tcl_unban("192.0.2.1", NULL, &lifted, error, sizeof(error))
			== TCL_ERULES);
	CHECK(strstr(error, "nothing is banned in `192.0.2.1`") == error);
	CHECK(tcl_unban("all", NULL, &lifted, NULL, 0) == TCL_OK && lifted == 2);
	CHECK(strcmp(logged.line, "all 2 bans lifted by a command") == 0);
	CHECK(tcl_unban("all", NULL, NULL, error, sizeof(error)) == TCL_ERULES);
	CHECK(strcmp(error, "nothing is banned") == 0);
	CHECK(check(v6_host1, 16) == 0);
	next_interval();
	/* The command has logged it, and the watch would log it last. */
	CHECK(strstr(logged.line, "no longer banned") == NULL);
	CHECK(unbanned == 1 && strcmp(ban_source, "192.0.2.1") == 0);
	CHECK(ban_event.rejected == 2 && ban_event.seconds == 0);

	/* By the script. */
	CHECK(tcl_ban_address(b, 4, 0) == TCL_EARG);
	CHECK(tcl_ban_address(b, 3, 9) == TCL_EARG);
	CHECK(tcl_ban_address(b, 4, 2592001) == TCL_EARG);
	CHECK(tcl_ban_address(b, 4, 9) == TCL_OK && tcl_banned(b, 4) == 9);
	CHECK(watch(60) == 1 && banned == 1);
	CHECK(strcmp(logged.line, "banned source 192.0.2.2 for 9 s, reason script")
			== 0);
	CHECK(strcmp(ban_reason, "script") == 0 && ban_event.seconds == 9);
	CHECK(tcl_offence(b, 4) == 1 && tcl_offence(a, 4) == 0);
	CHECK(tcl_unban_address(b, 4) == 1 && tcl_unban_address(b, 4) == 0);
	CHECK(tcl_unban_address(NULL, 4) == TCL_EARG);
	CHECK(tcl_offence(a, 0) == TCL_EARG && tcl_banned(NULL, 9) == TCL_EARG);

	/* Errors. */
	CHECK(tcl_ban(NULL, "9", NULL, NULL, &ban, NULL, error, sizeof(error))
			== TCL_EARG);
	CHECK(strstr(error, "missing address or prefix") == error);
	CHECK(tcl_ban("x", "9", NULL, NULL, &ban, NULL, error, sizeof(error))
			== TCL_EARG);
	CHECK(strstr(error, "invalid address or prefix `x`: ") == error);
	CHECK(tcl_ban("192.0.2.1", NULL, NULL, NULL, &ban, NULL, error,
				  sizeof(error))
			== TCL_EARG);
	CHECK(strstr(error, "missing seconds") == error);
	CHECK(tcl_ban("192.0.2.1", "+1", NULL, NULL, &ban, NULL, error,
				  sizeof(error))
			== TCL_EARG);
	CHECK(strstr(error, "invalid seconds `+1`") == error);
	CHECK(tcl_rules_load(exempt, 1, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_ban("192.0.2.9", "9", NULL, NULL, &ban, NULL, error,
				  sizeof(error))
			== TCL_EEXEMPT);
	CHECK(tcl_ban_address(other, 4, 9) == TCL_EEXEMPT);
	CHECK(source_now(other, 4).exempt == 1 && source_now(a, 4).exempt == 0);
	CHECK(tcl_rules_load(NULL, 0, NULL, NULL, 0) == TCL_OK);
}

static void listeners(void)
{
	struct tcl_listener one = {.address = {192, 0, 2, 1},
			.length = 4,
			.port = 5060,
			.descriptor = 900};
	const uint8_t client[] = {198, 51, 100, 77};
	char name[TCL_LISTENER_TEXT] = "untouched";
	struct tcl_source source;
	struct tcl_listener wrong;
	struct tcl_rule_change change;
	uint64_t t;

	CHECK(load("0.0.0.0/0 = 1 listener=192.0.2.1:5060", NULL) == TCL_OK);
	CHECK(tcl_unknown_listener(0, name) == 0
			&& tcl_check(client, 4, 5, 900) == 0);
	CHECK(tcl_listeners(NULL, 1, NULL, 0) == TCL_EARG);
	CHECK(tcl_listeners(&one, TCL_MAX_LISTENERS + 1, NULL, 0) == TCL_EARG);
	wrong = one;
	wrong.length = 5;
	CHECK(tcl_listeners(&wrong, 1, NULL, 0) == TCL_EARG);
	wrong = one;
	wrong.port = 65536;
	CHECK(tcl_listeners(&wrong, 1, NULL, 0) == TCL_EARG);
	wrong = one;
	wrong.descriptor = -1;
	CHECK(tcl_listeners(&wrong, 1, NULL, 0) == TCL_EARG);
	CHECK(tcl_listeners(&one, 1, NULL, 0) == TCL_OK);
	CHECK(tcl_rule_set("0.0.0.0/0", "9 listener=192.0.2.1:5060", NULL, NULL,
				  &change, error, sizeof(error))
			== TCL_OK);
	CHECK(strcmp(change.terms, "9 listener=192.0.2.1:5060") == 0);
	CHECK(strcmp(change.was, "1 listener=192.0.2.1:5060 from modparam 1") == 0);
	CHECK(tcl_rule_set("0.0.0.0/0", "9 listener=tls:192.0.2.1:5060", NULL, NULL,
				  NULL, error, sizeof(error))
			== TCL_EARG);
	CHECK(strstr(error, "does not listen on tls:192.0.2.1:5060") != NULL);
	CHECK(tcl_rule_remove("0.0.0.0/0", NULL, NULL, NULL, error, sizeof(error))
			== TCL_ERULES);
	CHECK(tcl_rule_remove("0.0.0.0/0", "192.0.2.1:5060", NULL, NULL, error,
				  sizeof(error))
			== TCL_EARG);
	CHECK(tcl_rule_remove("0.0.0.0/0", "listener=192.0.2.1:5060", NULL, &change,
				  NULL, 0)
			== TCL_OK);
	CHECK(change.limit == 1);

	/* One connection there; any other socket has the limit of all. */
	t = tcl_opened(client, 4, 40, 900, 0);
	CHECK(t != 0 && tcl_check(client, 4, 41, 900) == 1);
	CHECK(tcl_check(client, 4, 41, 901) == 0);
	CHECK(tcl_check(client, 4, 41, -1) == 0);
	CHECK(tcl_get(client, 4, 900, &source) == TCL_OK);
	CHECK(source.connections == 1 && source.limit == 1);
	CHECK(strcmp(source.listener, "tcp:192.0.2.1:5060") == 0);
	CHECK(tcl_get(client, 4, 901, &source) == TCL_OK);
	CHECK(source.connections == 0 && source.listener[0] == '\0');
	CHECK(tcl_find_on((const uint8_t *)"198.51.100.77", 13, 1, &source)
			== TCL_OK);
	CHECK(source.connections == 1);
	CHECK(tcl_find_on((const uint8_t *)"198.51.100.77", 13, 1, NULL)
			== TCL_EARG);
	CHECK(tcl_find_on((const uint8_t *)"198.51.100.77", 13, 2, &source)
			== TCL_EARG);
	CHECK(tcl_find_on((const uint8_t *)"198.51.100.77", 13, 0, &source)
			== TCL_EARG);
	CHECK(tcl_find_on(NULL, 4, 1, &source) == TCL_EARG);
	CHECK(closed(t) == TCL_OK);

	CHECK(load("0.0.0.0/0 = 1 listener=tls:192.0.2.1:5060", NULL) == TCL_OK);
	CHECK(tcl_unknown_listener(0, NULL) == TCL_EARG);
	CHECK(tcl_unknown_listener(0, name) == 1);
	CHECK(strcmp(name, "tls:192.0.2.1:5060") == 0);
	CHECK(tcl_unknown_listener(1, name) == 0);
	CHECK(load(NULL, NULL) == TCL_OK);
}

/* Runs in a separate process, because the limiter is created once. */
static void without_trust(void)
{
	struct tcl_config config = {
			.max_connections = 10, .ipv4_prefix = 32, .ipv6_prefix = 64};
	struct tcl_trust_settings trust;
	const char *rule = "192.0.2.1=5 untrusted=2";
	uint64_t token;
	pid_t child = fork();

	CHECK(child >= 0);
	if(child != 0) {
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		return;
	}
	CHECK(tcl_init(&config, &host, NULL, 0) == TCL_OK);
	token = opened(a, 4);
	CHECK(tcl_trust(token) == TCL_EOFF && tcl_untrust(token) == TCL_EOFF);
	CHECK(tcl_set_untrusted_limit(5) == TCL_EOFF);
	CHECK(tcl_set_trust_timeout(5) == TCL_EOFF);
	CHECK(tcl_trust_get(&trust) == TCL_OK);
	CHECK(trust.on == 0 && trust.untrusted_limit == 0);
	CHECK(tcl_rules_load(&rule, 1, NULL, error, sizeof(error)) == TCL_ERULES);
	CHECK(strstr(error, "set the modparam untrusted_limit") != NULL);
	CHECK(tcl_trusted_share() == TCL_NEVER);
	CHECK(source_now(a, 4).untrusted == 0);
	exit(0);
}

static void trust(void)
{
	static const uint8_t c[4] = {192, 0, 2, 77};
	struct tcl_trust_settings set;
	struct tcl_connection list[4];
	struct tcl_source source, top[1];
	uint64_t total, first, second, third;

	CHECK(tcl_trust_get(&set) == TCL_OK && tcl_trust_get(NULL) == TCL_EARG);
	CHECK(set.on == 1 && set.untrusted_limit == 0 && set.trust_timeout == 0);
	CHECK(tcl_set_limit(10) == TCL_OK && tcl_set_untrusted_limit(1) == TCL_OK);
	CHECK(tcl_trust(0) == TCL_ESTALE && tcl_untrust(1) == TCL_ESTALE);

	first = tcl_opened(c, 4, 70, -1, TCL_FACT_TLS);
	CHECK(check(c, 4) == 1 && counter("untrusted_rejected") == 1);
	CHECK(tcl_trust(first) == TCL_OK && tcl_trust(first) == TCL_OK);
	CHECK(counter("became_trusted") == 1 && check(c, 4) == 0);
	second = tcl_opened(c, 4, 71, -1, 0);
	source = source_now(c, 4);
	CHECK(source.trusted == 1 && source.untrusted == 1);
	CHECK(source.untrusted_limit == 1);
	CHECK(strcmp(source.rejected_for, "untrusted") == 0);
	CHECK(tcl_top(top, 1, TCL_BY_UNTRUSTED) == 1);
	CHECK(strcmp(top[0].text, "192.0.2.77") == 0);
	CHECK(tcl_trusted_share() <= 100);

	clock_s += 7;
	CHECK(tcl_connections((const uint8_t *)"192.0.2.77", 10, list, 4, &total)
			== 2);
	CHECK(total == 2 && list[0].age >= 7 && list[0].descriptor == 70);
	CHECK(list[0].facts == (TCL_FACT_TLS | TCL_FACT_TRUSTED | TCL_FACT_SPOKE));
	CHECK(list[1].descriptor == 71 && list[1].facts == 0);
	CHECK(tcl_connections((const uint8_t *)"192.0.2.77", 10, list, 1, NULL)
			== 1);
	CHECK(tcl_connections((const uint8_t *)"x", 1, list, 1, NULL) == TCL_EARG);
	CHECK(tcl_connections(NULL, 0, list, 1, NULL) == TCL_EARG);
	CHECK(tcl_connections((const uint8_t *)"192.0.2.77", 10, NULL, 1, NULL)
			== TCL_EARG);

	/* In time. */
	CHECK(tcl_set_trust_timeout(-1) == TCL_EARG);
	CHECK(tcl_set_trust_timeout(86401) == TCL_EARG);
	CHECK(tcl_set_trust_timeout(30) == TCL_OK);
	next_interval();
	CHECK(timed_out >= 1 && tcl_is_expired(71) == 1 && tcl_is_expired(70) == 0);
	CHECK(tcl_expired() >= 1 && tcl_is_expired(-1) == 0);
	CHECK(timed_out_event.seconds == 30 && timed_out_event.would == 0);
	CHECK(tcl_untrust(first) == TCL_OK && closed(second) == TCL_OK);
	CHECK(tcl_is_expired(71) == 0);

	/* A late call. */
	third = tcl_opened(c, 4, 71, -1, 0);
	CHECK(tcl_trust(second) == TCL_ESTALE && source_now(c, 4).trusted == 0);
	CHECK(closed(first) == TCL_OK && closed(third) == TCL_OK);
	CHECK(tcl_set_trust_timeout(0) == TCL_OK);
	CHECK(tcl_set_untrusted_limit(-1) == TCL_OK);
	CHECK(tcl_trust_get(&set) == TCL_OK && set.untrusted_limit == 0);
	CHECK(tcl_set_limit(3) == TCL_OK);
}

/* Where the system does not allow the shield, only the reason is checked. */
static void shield(void)
{
	struct tcl_shield now;
	struct tcl_ban list[1];
	struct tcl_shield_entry entries[2];
	struct sockaddr_in any = {.sin_family = AF_INET};
	int listening = socket(AF_INET, SOCK_STREAM, 0);
	int negative = -1;
	int no_socket = open("/dev/null", O_RDONLY);

	CHECK(bind(listening, (struct sockaddr *)&any, sizeof(any)) == 0);
	CHECK(listen(listening, 1) == 0);
	CHECK(tcl_shield(NULL) == TCL_EARG);
	CHECK(tcl_shield(&now) == TCL_OK && now.state == TCL_SHIELD_OFF);
	CHECK(strcmp(now.reason, "shield is off") == 0);
	CHECK(tcl_shield_attach(&listening, 1, 0, 0, NULL, 0) == TCL_EARG);
	CHECK(tcl_shield_entries(NULL, 9) == TCL_EARG);
	CHECK(tcl_shield_entries(entries, 2) == 0);
	if(tcl_shield_load(error, sizeof(error)) != TCL_OK) {
		fprintf(stderr, "SKIPPED the shield: %s\n", error);
		CHECK(tcl_shield(&now) == TCL_OK);
		CHECK(now.state == TCL_SHIELD_UNAVAILABLE);
		CHECK(strcmp(now.reason, error) == 0);
		close(listening);
		close(no_socket);
		return;
	}
	CHECK(tcl_shield_attach(NULL, 1, 0, 0, NULL, 0) == TCL_EARG);
	CHECK(tcl_shield_attach(&listening, 1, 9, 0, NULL, 0) == TCL_EARG);
	CHECK(tcl_shield_attach(&listening, 1, 9, 86401, NULL, 0) == TCL_EARG);
	CHECK(tcl_shield_attach(&negative, 1, 0, 0, NULL, 0) == TCL_EARG);
	CHECK(tcl_shield_attach(&no_socket, 1, 0, 0, error, sizeof(error))
			== TCL_ESHIELD);
	CHECK(strstr(error, "cannot attach the eBPF program") == error);
	CHECK(tcl_shield(&now) == TCL_OK && now.state == TCL_SHIELD_UNAVAILABLE);
	CHECK(tcl_shield_load(NULL, 0) == TCL_OK);
	CHECK(tcl_shield_attach(&listening, 1, 9, 10, NULL, 0) == TCL_OK);
	CHECK(tcl_shield(&now) == TCL_OK && now.state == TCL_SHIELD_ACTIVE);
	CHECK(now.reason[0] == '\0' && now.entries == 0 && now.room == 65536);

	CHECK(tcl_ban("192.0.2.1", "60", NULL, NULL, NULL, NULL, NULL, 0)
			== TCL_OK);
	CHECK(tcl_watch(60) == TCL_OK);
	CHECK(tcl_shield(&now) == TCL_OK && now.entries == 1);
	CHECK(now.unlisted == 0 && now.dropped == 0 && now.floods == 0);
	CHECK(tcl_bans(list, 1, NULL) == 1 && list[0].dropped == 0);
	CHECK(tcl_shield_entries(entries, 0) == 0);
	CHECK(tcl_shield_entries(entries, 2) == 1 && entries[0].dropped == 0);
	CHECK(strcmp(entries[0].text, "192.0.2.1") == 0);
	CHECK(tcl_unban("all", NULL, NULL, NULL, 0) == TCL_OK);
	CHECK(tcl_watch(60) == TCL_OK);
	CHECK(tcl_shield(&now) == TCL_OK && now.entries == 0);
	close(listening);
	close(no_socket);
}

/* In a separate process, as a full table. */
static void networks(void)
{
	const uint8_t *name = (const uint8_t *)"192.0.2.9";
	const char *rule = "network 192.0.2.0/24 = 9";
	pid_t pid = fork();
	int status;

	if(pid == 0) {
		struct tcl_config config = {.max_connections = 100,
				.ipv4_prefix = 32,
				.ipv6_prefix = 64,
				.networks = 1,
				.network_limit = 2,
				.network_rate = "100/h",
				.network_burst = 7};
		struct tcl_source network;
		struct tcl_suggestion suggestion;
		struct tcl_rate_suggestion proposal;
		struct tcl_rate rate;
		int32_t limit, counts;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(tcl_rules_have_networks(&rule, 1, NULL) == 1);
		CHECK(tcl_rules_have_networks(NULL, 0, NULL) == 0);
		config.ipv4_network = 32;
		CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_EARG);
		CHECK(strcmp(error, "ipv4_network 32: must be 8 to 31") == 0);
		config.ipv4_network = 0;
		CHECK(tcl_init(&config, &host, NULL, 0) == TCL_OK);
		tcl_set_worker(0);
		CHECK(tcl_network_settings(&limit, &rate) == 1 && limit == 2);
		CHECK(strcmp(rate.text, "100/h") == 0 && rate.burst == 7);
		CHECK(tcl_network_settings(NULL, &rate) == TCL_EARG);

		CHECK(opened(a, 4) != 0 && opened(b, 4) != 0);
		CHECK(check(a, 4) == 1 && check(shortly, 4) == 1);
		CHECK(counter("network_rejected") == 2);
		CHECK(tcl_network(name, 9, &network, &counts) == 1 && counts == 1);
		CHECK(strcmp(network.text, "192.0.2.0/24") == 0);
		CHECK(strcmp(network.scope, "network") == 0);
		CHECK(network.connections == 2 && network.rejected == 2);
		CHECK(source_now(a, 4).over_network == 1);
		CHECK(strcmp(source_now(a, 4).scope, "source") == 0);
		CHECK(tcl_network(name, 3, &network, &counts) == TCL_EARG);
		CHECK(tcl_top_networks(&network, 1, TCL_BY_CONNECTIONS) == 1);
		CHECK(tcl_top_networks(&network, 1, 9) == TCL_EARG);
		CHECK(tcl_top_networks(NULL, 1, 0) == TCL_EARG);
		CHECK(watch(60) == 1);
		CHECK(strstr(logged.line, "from network 192.0.2.0/24: ") != NULL);
		CHECK(tcl_suggest_networks(&suggestion, 1) == 1);
		CHECK(suggestion.highest == 2 && suggestion.limit == 2);
		CHECK(tcl_suggest_networks(NULL, 1) == TCL_EARG);
		CHECK(tcl_suggest_network_rate(NULL) == TCL_EARG);
		CHECK(tcl_suggest_network_rate(&proposal) == TCL_OK);
		CHECK(proposal.sources == 1 && proposal.usual == 2);
		CHECK(strcmp(proposal.current.text, "100/h") == 0);
		CHECK(strcmp(proposal.owed, "1: 0, 2: 1") == 0);
		CHECK(counter("near_network_limit") == 1);

		CHECK(tcl_set_network_limit(0) == TCL_OK && check(a, 4) == 0);
		CHECK(tcl_set_network_rate(9, 1, error, sizeof(error)) == TCL_EARG);
		CHECK(tcl_set_network_rate(0, 0, error, sizeof(error)) == TCL_OK);
		CHECK(tcl_rules_load(&rule, 1, NULL, NULL, 0) == TCL_OK);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(tcl_network_settings(NULL, NULL) == TCL_EINIT);
	CHECK(tcl_set_network_limit(1) == TCL_EINIT);
	CHECK(tcl_set_network_rate(0, 0, NULL, 0) == TCL_EINIT);
	CHECK(tcl_network(name, 9, NULL, NULL) == TCL_EINIT);
	CHECK(tcl_top_networks(NULL, 1, 0) == TCL_EINIT);
	CHECK(tcl_suggest_networks(NULL, 1) == TCL_EINIT);
	CHECK(tcl_suggest_network_rate(NULL) == TCL_EINIT);
}

static int32_t count_for(
		uint64_t token, const uint8_t *peer, const char *client)
{
	return tcl_count_for(token, peer, 4, (const uint8_t *)client,
			strlen(client), error, sizeof(error));
}

/* In a separate process, as a full table. */
static void moves(void)
{
	const char *rules[] = {"10.0.0.0/8 = 5", "192.0.2.9 = none proxy"};
	pid_t pid = fork();
	int status;

	if(pid == 0) {
		static const uint8_t proxy[4] = {192, 0, 2, 9};
		static const uint8_t client[4] = {198, 51, 100, 1};
		struct tcl_config config = {.max_connections = 100,
				.limit = 1,
				.ipv4_prefix = 32,
				.ipv6_prefix = 64,
				.trust = 1,
				.moves = 1};
		struct tcl_connection list[1];
		uint8_t address[16];
		uint64_t first, second;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		CHECK(tcl_rules_have_proxies(rules, 2, NULL) == 1);
		CHECK(tcl_rules_have_proxies(rules, 1, NULL) == 0);
		CHECK(tcl_rules_have_proxies(NULL, 0, NULL) == 0);
		CHECK(tcl_init(&config, &host, NULL, 0) == TCL_OK);
		tcl_set_worker(0);
		CHECK(tcl_rules_load(rules, 2, NULL, NULL, 0) == TCL_OK);
		first = tcl_opened(proxy, 4, 70, -1, 0);
		second = tcl_opened(proxy, 4, 71, -1, 0);
		CHECK(tcl_moved_to(first, address) == 0);
		CHECK(count_for(first, client, "198.51.100.1") == TCL_EPROXY);
		CHECK(strstr(error, "write a rule with the word `proxy`") != NULL);
		CHECK(count_for(first, proxy, "198.51.100.1:5060") == TCL_EARG);
		CHECK(strstr(error, "`198.51.100.1:5060`") != NULL);
		CHECK(tcl_count_for(first, NULL, 0, NULL, 0, NULL, 0) == TCL_EARG);
		CHECK(counter("move_invalid") == 3 && counter("moved") == 0);

		CHECK(tcl_trust(first) == TCL_OK);
		CHECK(count_for(first, proxy, "198.51.100.1") == TCL_OK);
		CHECK(count_for(first, proxy, "198.51.100.1") == TCL_OK);
		CHECK(counter("moved") == 1);
		CHECK(tcl_moved_to(first, address) == 4);
		CHECK(memcmp(address, client, 4) == 0);
		CHECK(tcl_moved_to(first, NULL) == 0);
		CHECK(source_now(client, 4).connections == 1);
		CHECK(source_now(client, 4).trusted == 1);
		CHECK(source_now(proxy, 4).connections == 1);
		CHECK(tcl_connections(
					  (const uint8_t *)"198.51.100.1", 12, list, 1, NULL)
				== 1);
		CHECK((list[0].facts & TCL_FACT_MOVED) != 0);

		CHECK(count_for(second, proxy, "198.51.100.1") == TCL_EOVER);
		CHECK(strstr(error, "is not admitted") != NULL);
		CHECK(counter("move_rejected") == 1 && counter("rejected") == 1);
		CHECK(count_for(second, proxy, " [2001:db8::1] ") == TCL_OK);
		CHECK(tcl_moved_to(second, address) == 16 && address[1] == 0x01);
		CHECK(closed(first) == TCL_OK && tcl_moved_to(first, address) == 0);
		CHECK(count_for(first, proxy, "198.51.100.1") == TCL_ESTALE);
		CHECK(source_now(client, 4).connections == 0);
		CHECK(closed(second) == TCL_OK && counter("errors") == 0);
		_exit(0);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

/* This process moves no connections. */
static void no_moves(void)
{
	const char *rule = "192.0.2.9 = none proxy";
	uint64_t token = opened(a, 4);

	CHECK(count_for(token, a, "198.51.100.1") == TCL_EOFF);
	CHECK(strstr(error, "restart the server") != NULL);
	CHECK(closed(token) == TCL_OK);
	CHECK(tcl_rules_load(&rule, 1, NULL, error, sizeof(error)) == TCL_ERULES);
	CHECK(strstr(error, "started without such a rule") != NULL);
}

/* This process does not count networks. */
static void no_networks(void)
{
	const char *rule = "network 192.0.2.0/24 = 9";

	CHECK(tcl_network_settings(NULL, NULL) == 0);
	CHECK(tcl_set_network_limit(1) == TCL_EARG);
	CHECK(tcl_set_network_rate(0, 0, error, sizeof(error)) == TCL_EARG);
	CHECK(strcmp(error, "networks are not counted") == 0);
	CHECK(tcl_network(a, 4, NULL, NULL) == 0);
	CHECK(tcl_rules_load(&rule, 1, NULL, error, sizeof(error)) == TCL_ERULES);
	CHECK(strstr(error, "networks have not been counted") != NULL);
	CHECK(tcl_rule_set("network ::/0", "1", NULL, NULL, NULL, NULL, 0)
			== TCL_EARG);
}

static void without_cluster(void)
{
	struct tcl_config config = {.max_connections = 10,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64,
			.cluster_limit = 5};
	struct tcl_cluster_report report;
	struct tcl_node nodes[1];

	CHECK(tcl_config_check(&config, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "cluster_limit 5: must be 0 to 0") == error);
	CHECK(tcl_cluster_prepare(NULL, NULL, 0) == TCL_EOFF);
	CHECK(tcl_cluster_tick() == TCL_EOFF && tcl_cluster_bye() == TCL_EOFF);
	CHECK(tcl_cluster_receive(a, 4, NULL, 0) == TCL_EOFF);
	CHECK(tcl_cluster(&report) == TCL_EOFF);
	CHECK(tcl_cluster_nodes(nodes, 1) == TCL_EOFF);
	CHECK(tcl_cluster_of_source(a, 4, NULL, 0) == TCL_EOFF);
	CHECK(tcl_set_cluster_limit(1) == TCL_EOFF);
	CHECK(source_now(a, 4).others == 0 && source_now(a, 4).cluster_limit == 0);
}

/* The last message that this node sent, and to which node. */
static char sent_to[TCL_NODE_TEXT], sent[2000];
static uint32_t sent_length, sent_messages;
static void send_message(const char *node, const char *body, uint32_t length)
{
	CHECK(length < sizeof(sent));
	snprintf(sent_to, sizeof(sent_to), "%s", node == NULL ? "" : node);
	memcpy(sent, body, length);
	sent_length = length;
	sent_messages++;
}

/* A node that hears no other one. */
static void cluster(void)
{
	struct tcl_config config = {.max_connections = 100,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64,
			.cluster = 1,
			.cluster_limit = 5};
	const char *keys[] = {
			"sixteen bytes...", "another sixteen.", "a third one....."};
	struct tcl_cluster_config node = {.node = "sip:192.0.2.1:5060",
			.keys = keys,
			.key_count = 1,
			.interval_ms = 1000,
			.body_bytes = 1000,
			.send = send_message};
	struct tcl_cluster_report report;
	struct tcl_cluster_source sources[2];
	struct tcl_node_count counts[2];
	struct tcl_node nodes[2];
	char reason[32];
	uint32_t i;
	pid_t child = fork();

	CHECK(child >= 0);
	if(child != 0) {
		int status;
		CHECK(waitpid(child, &status, 0) == child && status == 0);
		return;
	}
	CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_OK);
	CHECK(tcl_cluster_tick() == TCL_EOFF);
	CHECK(tcl_cluster_prepare(NULL, error, sizeof(error)) == TCL_EARG);
	node.interval_ms = 99;
	CHECK(tcl_cluster_prepare(&node, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "cluster_interval 99: must be 100 to 10000") == error);
	node.interval_ms = 100;
	node.key_count = 3;
	CHECK(tcl_cluster_prepare(&node, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "there are 3 keys") == error);
	node.key_count = 0;
	CHECK(tcl_cluster_prepare(&node, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "there is no key") == error);
	node.key_count = 2;
	node.node = "";
	CHECK(tcl_cluster_prepare(&node, error, sizeof(error)) == TCL_EARG);
	CHECK(strstr(error, "the name `` of this node is invalid") == error);
	node.node = NULL;
	CHECK(tcl_cluster_prepare(&node, error, sizeof(error)) == TCL_EARG);
	node.node = "sip:192.0.2.1:5060";
	node.send = NULL;
	CHECK(tcl_cluster_prepare(&node, NULL, 0) == TCL_EARG);
	node.send = send_message;
	CHECK(tcl_cluster_prepare(&node, error, sizeof(error)) == TCL_OK);

	CHECK(tcl_cluster_tick() == TCL_OK && sent_messages > 0);
	CHECK(strcmp(sent_to, "") == 0 && memchr(sent, '\0', sent_length) == NULL);
	/* Its own message, a forged one, and an empty one. */
	CHECK(tcl_cluster_receive((uint8_t *)sent, sent_length, NULL, 0) == TCL_OK);
	sent[0] ^= 1;
	CHECK(tcl_cluster_receive((uint8_t *)sent, sent_length, NULL, 0) == TCL_OK);
	CHECK(tcl_cluster_receive(NULL, 0, NULL, 0) == TCL_OK);
	CHECK(tcl_cluster_receive(a, 4, a, 4) == TCL_OK);
	tcl_cluster_not_passed_on();
	/* Also shows what happened since the last tick. */
	CHECK(tcl_cluster_drop((uint8_t *)"other", 5, 1) == TCL_OK);
	CHECK(tcl_cluster(NULL) == TCL_EARG);
	CHECK(tcl_cluster(&report) == TCL_OK);
	CHECK(strcmp(report.node, "sip:192.0.2.1:5060") == 0);
	CHECK(report.learning == 1 && report.alive == 0 && report.limit == 5);
	CHECK(report.interval_ms == 100 && report.sent >= sent_messages);
	CHECK(report.not_passed_on == 1);
	for(i = 0; i < TCL_CLUSTER_REASONS; i++) {
		CHECK(tcl_cluster_reason(i, reason, sizeof(reason)) == TCL_OK);
		if(strcmp(reason, "own") == 0)
			CHECK(report.rejected[i] == 1);
	}
	CHECK(tcl_cluster_reason(i, reason, sizeof(reason)) == TCL_EARG);
	CHECK(tcl_cluster_nodes(NULL, 1) == TCL_EARG);
	CHECK(tcl_cluster_of_source((uint8_t *)"192.0.2.9", 9, counts, 2) == 0);
	CHECK(tcl_cluster_of_source((uint8_t *)"x", 1, counts, 2) == TCL_EARG);
	CHECK(tcl_cluster_of_source((uint8_t *)"192.0.2.9", 9, NULL, 2)
			== TCL_EARG);
	CHECK(tcl_cluster_top(NULL, 2) == TCL_EARG);
	CHECK(tcl_cluster_top(sources, 2) == 0);
	CHECK(tcl_cluster_drop((uint8_t *)"a b", 3, 1) == TCL_EARG);
	CHECK(tcl_cluster_nodes(nodes, 2) == 1);
	CHECK(strcmp(nodes[0].name, "other") == 0 && nodes[0].counts == 0);
	CHECK(strcmp(nodes[0].state, "dropped") == 0 && nodes[0].age_ms == -1);
	CHECK(tcl_cluster_drop((uint8_t *)"other", 5, 0) == TCL_OK);

	for(i = 0; i < 5; i++)
		CHECK(tcl_check(a, 4, -1, -1) == 0 && opened(a, 4) != 0);
	CHECK(tcl_check(a, 4, -1, -1) == 1);
	CHECK(source_now(a, 4).cluster_limit == 5 && source_now(a, 4).others == 0);
	CHECK(strcmp(source_now(a, 4).rejected_for, "cluster") == 0);
	CHECK(tcl_set_cluster_limit(-1) == TCL_EARG);
	CHECK(tcl_set_cluster_limit(6) == TCL_OK);
	CHECK(tcl_check(a, 4, -1, -1) == 0);
	sent_messages = 0;
	CHECK(tcl_cluster_bye() == TCL_OK && sent_messages > 0);
	exit(0);
}

int main(int argc, char **argv)
{
	struct tcl_config config = {.max_connections = 100,
			.limit = 3,
			.ipv4_prefix = 32,
			.ipv6_prefix = 64,
			.trust = 1};

	CHECK(argc == 2);
	folder = argv[1];
	clock_s = 100;
	before_init();
	checks();
	bad_init();
	no_memory();
	full_tables();
	without_trust();
	networks();
	moves();
	cluster();
	CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_OK);
	CHECK(tcl_init(&config, &host, error, sizeof(error)) == TCL_EALREADY);
	tcl_set_worker(0);
	without_cluster();
	life_of_connections();
	descriptors();
	ages();
	ipv6_networks();
	sources_by_text();
	limits_by_text();
	bad_addresses();
	the_cores_own_function();
	reports();
	descriptions();
	rules();
	set_rules();
	rules_in_a_file();
	rules_of_another_user();
	modes_and_limits();
	resets();
	lists_and_suggestions();
	rates();
	reserve_and_pressure();
	bans();
	shield();
	trust();
	no_networks();
	no_moves();
	audit();
	another_process();
	nothing_to_interpose();
	checks();
	addresses_as_text();
	listeners();
	return 0;
}
