/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Generated from src/ffi by `make generate`; do not edit. */

#ifndef TCP_CONN_LIMIT_H
#define TCP_CONN_LIMIT_H

#include <stddef.h>
#include <stdint.h>
#include "tcl_host.h"

#define TCL_VERSION "0.1.0"

/**
 * The contract:
 *
 * - A process has one limiter. `tcl_init` creates it before the server forks. It
 *   lives until the process ends, so calls late in the shutdown are still safe.
 *   Before `tcl_init`, every function returns its harmless answer: admit, no token,
 *   nothing found. Only the functions that check something work before it:
 *   `tcl_config_check`, `tcl_rule_check`, `tcl_rules_check` and `tcl_interpose_find`.
 * - All functions may be called from any thread of any process that was forked
 *   after `tcl_init`; `tcl_watch` must always be called from the same process. No
 *   function blocks or waits for a lock, with these exceptions: `tcl_init`,
 *   `tcl_watch` and each `tcl_interpose_` function wait while another thread is in
 *   the same function; `tcl_watch` waits for the host functions that it calls;
 *   each `tcl_cluster_` function of the process that runs the node waits for the functions
 *   that it calls;
 *   `tcl_bans` and each `tcl_shield` function wait while another thread of the process
 *   is in one of them or in `tcl_watch`;
 *   `tcl_rules_load` and `tcl_rules_check` read a file. `tcl_rules_load`, `tcl_rule_set`
 *   and `tcl_rule_remove` fail while another process or thread is in one of them. The
 *   code that runs for every connection allocates
 *   nothing: `tcl_check`, `tcl_opened`, `tcl_closed`, `tcp_connection_limit_srcip`,
 *   and the functions with which `tcl_interpose_attach` replaces those of the C
 *   library.
 * - Pointers may be null. A null input counts as a missing address or text. A null
 *   output is not written, and the function reports it. All other pointers must be
 *   valid as described at each function. The library keeps no pointers except those
 *   described at `tcl_init`.
 * - A panic is counted, logged once, and answered as before `tcl_init`: the
 *   connection is admitted.
 */

/* Kamailio's, core/ip_addr.h: a struct sockaddr_in or sockaddr_in6. */
union sockaddr_union;

/**
 * The number of this C ABI. It is raised when a declaration in the headers changes, and
 * the file name of the shared library ends with it. A host must not use a library whose
 * `tcl_abi()` is another number.
 */
#define TCL_ABI 1

/**
 * Success.
 */
#define TCL_OK 0

/**
 * An argument is null or out of range.
 */
#define TCL_EARG -1

/**
 * This process already has a limiter.
 */
#define TCL_EALREADY -2

/**
 * The system provides no memory, shared or private.
 */
#define TCL_EMEM -3

/**
 * The function was called before `tcl_init()`, or it caught a panic, which the
 * statistics count.
 */
#define TCL_EINIT -4

/**
 * The token does not belong to a counted connection.
 */
#define TCL_ESTALE -5

/**
 * `tcl_init()` caught a panic.
 */
#define TCL_EPANIC -6

/**
 * Another process or thread is loading rules.
 */
#define TCL_ELOCKED -7

/**
 * A rule or the rules file is invalid; the error text says where.
 */
#define TCL_ERULES -8

/**
 * The functions of this executable cannot be replaced; the error text says why.
 */
#define TCL_EINTERPOSE -9

/**
 * There are more connections than `tcl_audit_begin()` reserved memory for.
 */
#define TCL_EROOM -10

/**
 * A rule exempts the source from penalties and bans.
 */
#define TCL_EEXEMPT -11

/**
 * The table has no slot for the source.
 */
#define TCL_ESLOT -12

/**
 * Connections cannot be trusted or moved: `tcl_config.trust` or `tcl_config.moves` was 0. Of
 * functions about the cluster: `tcl_config.cluster` was 0.
 */
#define TCL_EOFF -13

/**
 * The kernel shield is not available; the error text says why.
 */
#define TCL_ESHIELD -14

/**
 * The connection was not moved, because the new source is not admitted.
 */
#define TCL_EOVER -15

/**
 * The connection was not opened by a proxy, which is an address of a rule with the word
 * `proxy`.
 */
#define TCL_EPROXY -16

/**
 * Size of why the kernel shield is not active as text, in bytes, including the NUL.
 */
#define TCL_SHIELD_TEXT 256

/**
 * Size of a rate with its burst as text, in bytes, including the NUL.
 */
#define TCL_RATE_TEXT 40

/**
 * Size of the reason of a rejection or a ban as text, in bytes, including the NUL.
 */
#define TCL_REASON_TEXT 16

/**
 * Size of a reserve as text, in bytes, including the NUL.
 */
#define TCL_RESERVE_TEXT 16

/**
 * Size of levels of pressure as text, in bytes, including the NUL.
 */
#define TCL_PRESSURE_TEXT 64

/**
 * Size of the scope of a source as text, in bytes, including the NUL.
 */
#define TCL_SCOPE_TEXT 8

/**
 * Size of a source as text, in bytes, including the NUL.
 */
#define TCL_SOURCE_TEXT 52

/**
 * Size of the name of a listener as text, in bytes, including the NUL.
 */
#define TCL_LISTENER_TEXT 60

/**
 * Size of the name of a node of the cluster as text, in bytes, including the NUL.
 */
#define TCL_NODE_TEXT 65

/**
 * Reasons for which a message of the cluster is rejected.
 */
#define TCL_CLUSTER_REASONS 12

/**
 * Size of what a rule says after its `=` as text, in bytes, including the NUL: a limit and
 * words, such as "100 rate=10/s".
 */
#define TCL_TERMS_TEXT 192

/**
 * Size of what a rule says after its `=`, and where the rule comes from, as text, in bytes,
 * including the NUL.
 */
#define TCL_WAS_TEXT 224

/**
 * Connections over the limit are rejected.
 */
#define TCL_MODE_ENFORCE 0

/**
 * Connections over the limit are admitted, counted and logged.
 */
#define TCL_MODE_MONITOR 1

/**
 * Nothing is checked.
 */
#define TCL_MODE_OFF 2

/**
 * A connection that cannot be counted is admitted. It cannot be counted if the table
 * has no slot for its source or, where functions are replaced, its descriptor is not
 * tracked.
 */
#define TCL_ON_FULL_ADMIT 0

/**
 * A connection that cannot be counted is rejected.
 */
#define TCL_ON_FULL_REJECT 1

/**
 * Upper bound of `trust_timeout`, in seconds.
 */
#define TCL_MAX_TRUST_TIMEOUT 86400

/**
 * `tcl_rules_check()` reports at most this many faults in lines of their own.
 */
#define TCL_MAX_FAULTS 20

/**
 * The connection was accepted on a socket for TLS.
 */
#define TCL_FACT_TLS 1

/**
 * The client has sent a whole message, or as much as the host can say: it has sent
 * something, or the host cannot say that it has not.
 */
#define TCL_FACT_SPOKE 2

/**
 * The connection was closed after a timeout.
 */
#define TCL_FACT_TIMED_OUT 4

/**
 * The host, not the client, wanted to close the connection.
 */
#define TCL_FACT_CLOSED_BY_HOST 8

/**
 * `tcl_listeners()` takes at most this many sockets.
 */
#define TCL_MAX_LISTENERS 256

/**
 * At most this many listeners can be named in rules, from the start to the end of the
 * server. They have the numbers from 1 on.
 */
#define TCL_MAX_NAMED_LISTENERS 64

/**
 * Rank by connections.
 */
#define TCL_BY_CONNECTIONS 0

/**
 * Rank by rejections, including those that would have happened in monitor mode.
 */
#define TCL_BY_REJECTED 1

/**
 * Rank by peak.
 */
#define TCL_BY_PEAK 2

/**
 * Rank by what sources owe at their rates, in time.
 */
#define TCL_BY_OWED 3

/**
 * Rank by connections that are not trusted.
 */
#define TCL_BY_UNTRUSTED 4

/**
 * Number of sources that a suggestion lists.
 */
#define TCL_SUGGEST_SOURCES 10

/**
 * Size of the origin of a rule as text, in bytes, including the NUL.
 */
#define TCL_ORIGIN_TEXT 20

/**
 * Size of a histogram as text, in bytes, including the NUL.
 */
#define TCL_HISTOGRAM_TEXT 512

/**
 * Stands for a time that does not exist.
 */
#define TCL_NEVER UINT32_MAX

/**
 * `tcl_stats()` writes at most this many numbers.
 */
#define TCL_MAX_COUNTERS 96

/**
 * The shield was not asked for.
 */
#define TCL_SHIELD_OFF 0

/**
 * The kernel drops the connection attempts of banned sources.
 */
#define TCL_SHIELD_ACTIVE 1

/**
 * The shield was asked for, but the system does not allow it.
 */
#define TCL_SHIELD_UNAVAILABLE 2

/**
 * The shortest time between two reports, in ms.
 */
#define TCL_MIN_CLUSTER_INTERVAL 100

/**
 * The longest time between two reports, in ms.
 */
#define TCL_MAX_CLUSTER_INTERVAL 10000

/**
 * The most other nodes.
 */
#define TCL_MAX_NODES 32

/**
 * The script trusts the connection, see `tcl_trust()`.
 */
#define TCL_FACT_TRUSTED 16

/**
 * The connection was moved to the source of a client, see `tcl_count_for()`.
 */
#define TCL_FACT_MOVED 64

/**
 * An audit in progress.
 */
struct tcl_audit;

/**
 * The configuration for `tcl_init()`.
 */
struct tcl_config {
  /**
   * Connections that the server allows, 1 to 100,000,000. Determines the size of the
   * table.
   */
  int32_t max_connections;
  /**
   * Limit of a source without a rule, in connections; 0 or less: no limit.
   */
  int32_t limit;
  /**
   * Leading bits of an IPv4 address that identify a source, 1 to 32.
   */
  int32_t ipv4_prefix;
  /**
   * Leading bits of an IPv6 address that identify a source, 1 to 128.
   */
  int32_t ipv6_prefix;
  /**
   * `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
   */
  int32_t mode;
  /**
   * `TCL_ON_FULL_ADMIT` or `TCL_ON_FULL_REJECT`.
   */
  int32_t on_full;
  /**
   * Prefixes of translators between IPv4 and IPv6, whose addresses have an IPv4 address
   * in them (RFC 6052): strings like 2001:db8:64::/96, with the length 32, 40, 48, 56,
   * 64 or 96. Their clients count as IPv4, as those behind 64:ff9b::/96 always do. Null:
   * no such prefix.
   */
  const char *const *nat64_prefixes;
  /**
   * The number of these strings, at most 16.
   */
  uint32_t nat64_count;
  /**
   * The rate of a source without another one: a string like 10/s, 100/m or 2/h. Null or
   * "none": no rate.
   */
  const char *rate;
  /**
   * Connections that a quiet source may open at once; 0: those of one second, at least 5.
   */
  int32_t burst;
  /**
   * What offences cost: strings like silent=1, a kind (silent, tls, rejected, rate,
   * script) and a number of seconds from 0 to 3600 with at most one decimal. The last one
   * of a kind counts; kinds that are not named cost nothing. Null: no offence costs
   * anything.
   */
  const char *const *penalties;
  /**
   * The number of these strings.
   */
  uint32_t penalty_count;
  /**
   * A source is banned when its offences add up to this many seconds, 1 to 86400;
   * 0: 15.
   */
  int32_t ban_min;
  /**
   * The longest ban by offences, in seconds, from `ban_min` to 2592000; 0: 600.
   */
  int32_t ban_max;
  /**
   * 1: connections can be trusted, which takes 28 bytes more for each; 0: they cannot, and
   * the two below must be 0.
   */
  int32_t trust;
  /**
   * Limit of the untrusted connections of a source without a rule; 0: no limit.
   */
  int32_t untrusted_limit;
  /**
   * Seconds after which an untrusted connection must be closed, at most 86400; 0: never.
   */
  int32_t trust_timeout;
  /**
   * The last connections of the host, which only sources of rules with the word trusted
   * get: a number of connections below `max_connections`, or a share of them such as 5%.
   * Null or "none": no reserve.
   */
  const char *reserve;
  /**
   * The levels of use from which on the limits of sources are lower: a string like
   * "80:50% 90:10". Null or "none": no levels.
   */
  const char *pressure;
  /**
   * 1: the networks of sources are also counted, and the members below apply. 0: they are
   * not, and rules for networks are errors.
   */
  int32_t networks;
  /**
   * Limit of a network without a rule, in connections; 0 or less: no limit.
   */
  int32_t network_limit;
  /**
   * The rate of a network without another one, as `rate`.
   */
  const char *network_rate;
  /**
   * The burst of that rate, as `burst`.
   */
  int32_t network_burst;
  /**
   * Leading bits of an IPv4 address that make a network, 8 to 31 and at most
   * `ipv4_prefix`; 0: 24.
   */
  int32_t ipv4_network;
  /**
   * Leading bits of an IPv6 address that make a network, 16 to 64 and at most
   * `ipv6_prefix`; 0: 48.
   */
  int32_t ipv6_network;
  /**
   * 1: connections can be moved to the clients of proxies, which takes 8 bytes more for each
   * descriptor, 24 if networks are counted; 0: they cannot, and rules with the word `proxy` are
   * errors.
   */
  int32_t moves;
  /**
   * 1: this host is a node of a cluster, which takes 480 bytes of address space more for
   * each connection; 0: it is not, and `cluster_limit` must be 0.
   */
  int32_t cluster;
  /**
   * Limit over all nodes of a source without a rule; 0: no limit.
   */
  int32_t cluster_limit;
};

/**
 * Receives a fault as a line of text, which is valid until it returns. `data` is what the
 * caller of `tcl_rules_check()` passed.
 */
typedef void (*tcl_fault)(void *data, const char *line);

/**
 * Receives a rule as a line of text, such as "192.0.2.0/24 = 100 rate=10/s # file:12", which
 * is valid until it returns. A rules file with such lines has the same rules. `data` is what
 * the caller of `tcl_rules_check()` passed.
 */
typedef void (*tcl_rule_line)(void *data, const char *line);

/**
 * A listening socket.
 */
struct tcl_listener {
  /**
   * Its address in network byte order, 4 or 16 bytes.
   */
  uint8_t address[16];
  /**
   * 4 or 16.
   */
  uint32_t length;
  /**
   * Its port, 1 to 65535.
   */
  uint32_t port;
  /**
   * 1 if it is for TLS, 0 if it is for TCP without TLS.
   */
  int32_t tls;
  /**
   * Its descriptor in the process that accepts.
   */
  int descriptor;
};

/**
 * A rate.
 */
struct tcl_rate {
  /**
   * Such as "10/s", or "none".
   */
  char text[TCL_RATE_TEXT];
  /**
   * Microseconds for each connection; 0: no rate.
   */
  uint32_t interval_us;
  /**
   * Connections that a quiet source may open at once; 0 without a rate.
   */
  uint32_t burst;
};

/**
 * A source.
 */
struct tcl_source {
  /**
   * Address, with the prefix length if that is shorter than an address.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * "source", or "network" if it is a network.
   */
  char scope[TCL_SCOPE_TEXT];
  /**
   * Prefix of its rule; "default" if no rule applies to it.
   */
  char rule[TCL_SOURCE_TEXT];
  /**
   * What its rule says after the `=`; the default limit if no rule applies to it.
   */
  char terms[TCL_TERMS_TEXT];
  /**
   * Its connections.
   */
  uint32_t connections;
  /**
   * Its limit; 0: no limit.
   */
  int32_t limit;
  /**
   * Its rejections since it entered the table, or since the last reset.
   */
  uint32_t rejected;
  /**
   * Connections that would have been rejected, in monitor mode.
   */
  uint32_t would_reject;
  /**
   * The most connections it had at a time: exact from 8 on, below that as sampled by
   * `tcl_watch()`.
   */
  uint32_t peak;
  /**
   * Seconds since it was first seen, or `TCL_NEVER` if it was not: `tcl_watch()` sees the
   * sources in the table, and this report sees those with connections.
   */
  uint32_t first_seen;
  /**
   * Seconds since it was last seen with connections, 0 if it has connections now, or
   * `TCL_NEVER`.
   */
  uint32_t last_seen;
  /**
   * Why a connection of it was last rejected, or would have been: "limit", "rate", "ban",
   * "untrusted", "reserve", "pressure" or "cluster"; "" if none was.
   */
  char rejected_for[TCL_REASON_TEXT];
  /**
   * Why it is banned: "silent", "tls", "rejected", "rate", "script" or "rpc"; "" if it
   * is not.
   */
  char ban_reason[TCL_REASON_TEXT];
  /**
   * Seconds until its ban ends, rounded up; 0: it is not banned.
   */
  uint32_t banned;
  /**
   * Connections rejected since its ban began, or that would have been.
   */
  uint32_t ban_rejected;
  /**
   * The sum of its offences in seconds, rounded up, if that is not a ban.
   */
  uint32_t penalty;
  /**
   * How many connections of its burst it has used up, rounded up. It may open the rest at
   * once, and gets them back at its rate.
   */
  uint32_t owed;
  /**
   * Its rate.
   */
  struct tcl_rate rate;
  /**
   * 1 if a rule exempts it from penalties and bans, else 0.
   */
  int32_t exempt;
  /**
   * The listener whose connections these are, if rules name it and it counts apart, such
   * as "tcp:192.0.2.1:5060"; "": all others.
   */
  char listener[TCL_LISTENER_TEXT];
  /**
   * Its trusted connections: all if its rule trusts it; 0 if connections cannot be trusted.
   */
  uint32_t trusted;
  /**
   * Its other connections; 0 if connections cannot be trusted.
   */
  uint32_t untrusted;
  /**
   * Its limit of untrusted connections; 0: no limit.
   */
  int32_t untrusted_limit;
  /**
   * 1 if a rule says that it is trusted, else 0.
   */
  int32_t trusted_rule;
  /**
   * Its limit now, which pressure may have lowered; 0: no limit.
   */
  int32_t effective_limit;
  /**
   * 1 if it cannot connect because only connections of the reserve are left, else 0.
   */
  int32_t reserved;
  /**
   * 1 if it counts in its network, and that is at its limit or over its rate, else 0.
   */
  int32_t over_network;
  /**
   * Its connections on the other nodes of the cluster, as far as they are known.
   */
  uint32_t others;
  /**
   * Its limit over all nodes of the cluster; 0: no limit.
   */
  int32_t cluster_limit;
};

/**
 * What a counter means.
 */
struct tcl_counter {
  /**
   * Its name, valid until the process ends.
   */
  const char *name;
  /**
   * What it counts and since when, valid until the process ends.
   */
  const char *help;
  /**
   * 1 if a report of all counters should show its value; 0 if it should show the
   * setting in another form, such as the name of a mode.
   */
  int32_t in_stats;
};

/**
 * A rule.
 */
struct tcl_rule {
  /**
   * Its prefix; "default" for the sources without a rule.
   */
  char prefix[TCL_SOURCE_TEXT];
  /**
   * Where it comes from: "modparam" or "file:" and a number, "rpc", "ban" or "default".
   */
  char origin[TCL_ORIGIN_TEXT];
  /**
   * What it says after the `=`, as a rule for this prefix would be written; for a ban what
   * applies without it.
   */
  char terms[TCL_TERMS_TEXT];
  /**
   * Limit of each source, in connections; 0: no limit.
   */
  int32_t limit;
  /**
   * Seconds until it ends, or `TCL_NEVER`.
   */
  uint32_t seconds;
  /**
   * Its sources that have connections.
   */
  uint64_t sources;
  /**
   * Their connections.
   */
  uint64_t connections;
  /**
   * Rejections of its sources.
   */
  uint64_t rejected;
  /**
   * Connections that would have been rejected, in monitor mode.
   */
  uint64_t would_reject;
};

/**
 * A source and its peak.
 */
struct tcl_peak {
  /**
   * Address, with the prefix length if that is shorter than an address.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * The most connections it had at a time.
   */
  uint32_t peak;
};

/**
 * A limit suggested by the peaks.
 */
struct tcl_suggestion {
  /**
   * A rule's prefix; "default" for the sources without a rule.
   */
  char prefix[TCL_SOURCE_TEXT];
  /**
   * The current limit; 0: no limit.
   */
  int32_t limit;
  /**
   * Highest peak.
   */
  uint32_t highest;
  /**
   * 99 if there are 100 sources or more, 90 if there are 10 or more, else 50.
   */
  uint32_t percentile;
  /**
   * This percentage of the sources have no higher peak.
   */
  uint32_t usual;
  /**
   * The proposed limit: one and a half times `usual`, but at least 8.
   */
  int32_t proposed;
  /**
   * How many sources have which peak, such as "1: 120, 2: 30, 3-4: 7"; empty if there are
   * no sources.
   */
  char peaks[TCL_HISTOGRAM_TEXT];
  /**
   * Which share of the sources each limit would have hit, such as "1: 23.57 %, 2: 4.46
   * %, 4: 0 %"; empty if there are no sources.
   */
  char hit[TCL_HISTOGRAM_TEXT];
  /**
   * Sources in the table that have a peak.
   */
  uint64_t sources;
  /**
   * Those with a peak above `proposed`.
   */
  uint64_t above;
  /**
   * The highest of these; unused entries have an empty text.
   */
  struct tcl_peak list[TCL_SUGGEST_SOURCES];
};

/**
 * What a command did to a rule.
 */
struct tcl_rule_change {
  /**
   * The prefix of the rule that was set or removed.
   */
  char prefix[TCL_SOURCE_TEXT];
  /**
   * What the prefix itself had before: a limit with the words after it, and where it came
   * from, such as "5 rate=10/s from file:12", or "no rule".
   */
  char was[TCL_WAS_TEXT];
  /**
   * The prefix of the rule that its sources have now, except those with rules for longer
   * prefixes; "default" if no rule applies to them.
   */
  char rule[TCL_SOURCE_TEXT];
  /**
   * What that rule says after its `=`.
   */
  char terms[TCL_TERMS_TEXT];
  /**
   * Its limit; 0: no limit.
   */
  int32_t limit;
  /**
   * Seconds until the rule that was set ends, or `TCL_NEVER`.
   */
  uint32_t seconds;
};

/**
 * A rate and a burst that would fit the sources without a rate of their own.
 */
struct tcl_rate_suggestion {
  /**
   * The rate that they have.
   */
  struct tcl_rate current;
  /**
   * Sources of which `tcl_watch()` sampled a debt since the rate was last changed.
   */
  uint64_t sources;
  /**
   * How many sources used how many connections of the burst, such as "1: 120, 2: 30,
   * 3-4: 7"; empty if there are no sources.
   */
  char owed[TCL_HISTOGRAM_TEXT];
  /**
   * 99 if there are 100 sources or more, 90 if there are 10 or more, else 50.
   */
  uint32_t percentile;
  /**
   * This percentage of the sources used no more connections of the burst; 0 without
   * sources.
   */
  uint32_t usual;
  /**
   * One and a half times `usual` at the current rate, but at least 5. If `usual` is the
   * whole burst: twice the rate and the burst. Without sources the current rate.
   */
  struct tcl_rate proposed;
};

/**
 * A ban.
 */
struct tcl_ban {
  /**
   * The banned source or prefix.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * Why: "silent", "tls", "rejected", "rate", "script", "rpc" or "cluster".
   */
  char reason[TCL_REASON_TEXT];
  /**
   * The node of the cluster that set it, if that is the reason; else empty.
   */
  char node[TCL_NODE_TEXT];
  /**
   * Seconds until it ends, rounded up.
   */
  uint32_t seconds;
  /**
   * Connections rejected because of the ban since it began; in monitor mode those that
   * would have been.
   */
  uint64_t rejected;
  /**
   * Connection attempts (SYN packets) that the kernel shield dropped because of the ban.
   */
  uint64_t dropped;
};

/**
 * The kernel shield.
 */
struct tcl_shield {
  /**
   * `TCL_SHIELD_OFF`, `TCL_SHIELD_ACTIVE` or `TCL_SHIELD_UNAVAILABLE`.
   */
  int32_t state;
  /**
   * Sources and prefixes whose connection attempts the kernel drops.
   */
  uint32_t entries;
  /**
   * Those that it should drop, but for which there was no room.
   */
  uint32_t unlisted;
  /**
   * The most sources that can be listed.
   */
  uint32_t room;
  /**
   * SYN packets dropped since the start or the last reset, as `tcl_watch()` last read it.
   */
  uint64_t dropped;
  /**
   * Sources that were listed because of a flood.
   */
  uint64_t floods;
  /**
   * Sources that would have been, in the mode monitor.
   */
  uint64_t would_list;
  /**
   * Why it is not active; empty if it is.
   */
  char reason[TCL_SHIELD_TEXT];
};

/**
 * A source or a prefix that the kernel drops.
 */
struct tcl_shield_entry {
  /**
   * The source or the prefix.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * SYN packets dropped since it was listed.
   */
  uint64_t dropped;
};

/**
 * Sends `length` bytes of text to the other node `node`; null: to all of them. The message
 * may be lost, late and repeated. Must not wait.
 */
typedef void (*tcl_cluster_send)(const char *node, const char *body, uint32_t length);

/**
 * How this node takes part in the cluster.
 */
struct tcl_cluster_config {
  /**
   * The name of this node: at most 64 visible ASCII characters, such as its address. It is
   * unique in the cluster, and the same after a restart.
   */
  const char *node;
  /**
   * The keys, each a text of at least 16 bytes, or "file:" and the path of a file with a
   * key on each line. With the first one messages are signed; all are accepted. There are
   * one or two in all.
   */
  const char *const *keys;
  /**
   * The number of these strings.
   */
  uint32_t key_count;
  /**
   * The time between two reports, in ms: `TCL_MIN_CLUSTER_INTERVAL` to
   * `TCL_MAX_CLUSTER_INTERVAL`.
   */
  int32_t interval_ms;
  /**
   * 1: each node may use only its share of what is left of a limit over all nodes; 0: all of
   * it.
   */
  int32_t strict;
  /**
   * 1: bans are sent to the other nodes, and theirs apply here; 0: they are not.
   */
  int32_t bans;
  /**
   * The longest body of a message, in bytes.
   */
  uint32_t body_bytes;
  /**
   * How messages are sent.
   */
  tcl_cluster_send send;
};

/**
 * This node, and sums over the others since the start.
 */
struct tcl_cluster_report {
  /**
   * The name of this node.
   */
  char node[TCL_NODE_TEXT];
  /**
   * 1 if it may not know all counts of the others yet, because it started just now.
   */
  int32_t learning;
  /**
   * Other nodes that are alive.
   */
  uint32_t alive;
  /**
   * The limit over all nodes of a source without a rule; 0: no limit.
   */
  int32_t limit;
  /**
   * The time between two reports, in ms.
   */
  uint32_t interval_ms;
  /**
   * Messages sent; one to all nodes counts once.
   */
  uint64_t sent;
  /**
   * The bytes of their bodies.
   */
  uint64_t sent_bytes;
  /**
   * Records in them.
   */
  uint64_t sent_records;
  /**
   * Messages that were accepted.
   */
  uint64_t received;
  /**
   * Records in them.
   */
  uint64_t received_records;
  /**
   * Messages that did not arrive.
   */
  uint64_t lost;
  /**
   * Messages that processes of the host could not pass on.
   */
  uint64_t not_passed_on;
  /**
   * Messages that were rejected, by reason, see `tcl_cluster_reason()`.
   */
  uint64_t rejected[TCL_CLUSTER_REASONS];
  /**
   * Sources that this node reports.
   */
  uint64_t reported_sources;
  /**
   * Sources with connections on other nodes.
   */
  uint64_t other_sources;
  /**
   * Times that a source of other nodes did not count because there was no room.
   */
  uint64_t no_room;
  /**
   * Bans of this node that were sent to the others.
   */
  uint64_t bans_sent;
  /**
   * Bans of other nodes that were applied.
   */
  uint64_t bans_received;
  /**
   * Bans of other nodes that were not applied: a rule exempts or trusts the source, or there
   * is room for no more.
   */
  uint64_t bans_refused;
};

/**
 * Another node.
 */
struct tcl_node {
  /**
   * Its name.
   */
  char name[TCL_NODE_TEXT];
  /**
   * "joining", "alive", "silent", "deaf", "left" or "dropped".
   */
  char state[TCL_REASON_TEXT];
  /**
   * How long this state lasts, in ms.
   */
  uint64_t state_ms;
  /**
   * 1 if its connections count, else 0.
   */
  int32_t counts;
  /**
   * How long ago its last valid message arrived, in ms; -1: none did.
   */
  int64_t age_ms;
  /**
   * The last measured time of a message to it and back, in ms; -1: not measured yet.
   */
  int64_t round_trip_ms;
  /**
   * Sources of which it reported connections.
   */
  uint64_t sources;
  /**
   * The sum of these connections.
   */
  uint64_t connections;
  /**
   * Its messages that were accepted.
   */
  uint64_t received;
  /**
   * Its messages that did not arrive.
   */
  uint64_t lost;
  /**
   * Its messages that were rejected, by reason, see `tcl_cluster_reason()`.
   */
  uint64_t rejected[TCL_CLUSTER_REASONS];
  /**
   * Counts that were above the limit of their source here.
   */
  uint64_t capped;
  /**
   * Records without room.
   */
  uint64_t overflow;
  /**
   * Its bans that are in effect here.
   */
  uint64_t bans;
  /**
   * How long ago what it reported was compared with what arrived here, in ms; -1: not yet.
   */
  int64_t audit_ms;
  /**
   * Of 64 ranges of sources, those that differed the last time.
   */
  uint32_t differing;
  /**
   * Those that differed the last two times.
   */
  uint32_t lasting;
  /**
   * The sum of connections that it reported, by its own figures.
   */
  uint64_t reported;
  /**
   * The same sum, by what arrived here.
   */
  uint64_t arrived;
};

/**
 * The connections of a source on one other node.
 */
struct tcl_node_count {
  /**
   * The name of the node.
   */
  char name[TCL_NODE_TEXT];
  /**
   * The connections, at most 65535.
   */
  uint32_t connections;
};

/**
 * A source and its connections on all nodes.
 */
struct tcl_cluster_source {
  /**
   * Address, with the prefix length if that is shorter than an address.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * Its connections here.
   */
  uint32_t own;
  /**
   * Its connections on the other nodes.
   */
  uint32_t others;
  /**
   * Its limit over all nodes; 0: no limit.
   */
  int32_t limit;
  /**
   * Its rejections while it had no connection here, and those that would have happened.
   */
  uint32_t rejected;
};

/**
 * The settings of trusted connections.
 */
struct tcl_trust_settings {
  /**
   * 1 if connections can be trusted, else 0, and then the others are 0.
   */
  int32_t on;
  /**
   * The limit of untrusted connections of a source without a rule; 0: no limit.
   */
  int32_t untrusted_limit;
  /**
   * Seconds after which an untrusted connection is closed; 0: never.
   */
  int32_t trust_timeout;
};

/**
 * An open connection of a source.
 */
struct tcl_connection {
  /**
   * Its descriptor in the process that accepts.
   */
  int descriptor;
  /**
   * Seconds since it opened; may be one too many.
   */
  uint32_t age;
  /**
   * The facts that are known so far: the sum of `TCL_FACT_` constants. `TCL_FACT_SPOKE` is known
   * of an open connection only if it is trusted or moved.
   */
  uint32_t facts;
};

/**
 * How many of its connections the host uses, and what follows from that.
 */
struct tcl_load_report {
  /**
   * Open connections, including those that the host opened itself.
   */
  uint32_t in_use;
  /**
   * The most that there may be.
   */
  uint32_t max;
  /**
   * The share in use, in percent, rounded down.
   */
  uint32_t percent;
  /**
   * The reserve as it is set, such as "100" or "5%", or "none".
   */
  char reserve[TCL_RESERVE_TEXT];
  /**
   * The reserve in connections.
   */
  uint32_t reserve_connections;
  /**
   * Connections of the reserve that are in use.
   */
  uint32_t reserve_used;
  /**
   * 1 if only connections of the reserve are left, else 0.
   */
  int32_t reserved;
  /**
   * The levels of pressure, such as "80:50% 90:10", or "none".
   */
  char pressure[TCL_PRESSURE_TEXT];
  /**
   * How many levels there are.
   */
  uint32_t levels;
  /**
   * How many of them are reached.
   */
  uint32_t level;
  /**
   * The share of its limit that each source may use, in percent.
   */
  uint32_t limit_percent;
  /**
   * The most connections that each source may have; 0: any number.
   */
  uint32_t limit_connections;
};

/**
 * The sums of an audit.
 */
struct tcl_audit_sums {
  /**
   * The host's connections.
   */
  uint64_t connections;
  /**
   * The connections in our table.
   */
  uint64_t counted;
  /**
   * The host's connections that are not counted.
   */
  uint64_t uncounted;
  /**
   * Sources for which the host and the table disagree.
   */
  uint64_t differences;
};

/**
 * A source for which the host and the table disagree.
 */
struct tcl_difference {
  /**
   * Address, with the prefix length if that is shorter than an address; for a network
   * after the word `network` and a blank.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * Its connections according to the host.
   */
  uint32_t host;
  /**
   * Its connections according to our table.
   */
  uint32_t counted;
};

/**
 * The C ABI of the library. Before any other call, the host must compare it with the
 * `TCL_ABI` that it was compiled with.
 */
int32_t tcl_abi(void);

/**
 * The version of the library, for display. A library of another version than `TCL_VERSION`
 * works with the host if its ABI is the same.
 */
const char *tcl_version(void);

/**
 * Creates the limiter of this process and of all processes that it forks from now on.
 *
 * If this fails, nothing is left behind, and a text that names the value or the reason
 * is written to `error`, truncated to `error_size` bytes including the NUL. The
 * functions in `host` are kept; all other memory behind the pointers can be freed.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EALREADY`, `TCL_EMEM` or `TCL_EPANIC`.
 *
 * # Safety
 *
 * `config` and `host` are null or valid, with valid strings; the functions in `host` can
 * be called until the process ends; `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_init(const struct tcl_config *config,
                 const struct tcl_host *host,
                 char *error,
                 uintptr_t error_size);

/**
 * Replaces all rules, except those of `tcl_rule_set()`, at once with the `count` texts and
 * the rules in `file` (null: no file), together at most 65,535. If a text and the file
 * have a rule for the same prefix, the one in the file applies. A text is
 * `PREFIX = LIMIT` with words after it, see `tcl_rule_grammar()`. The file
 * has one rule in each line, `#` begins a comment, and its size is at most 16 MiB. If any rule is invalid, nothing changes, and a text
 * that names its origin, the rule, the reason and the remedy is written to `error`,
 * truncated to `error_size` bytes including the NUL.
 *
 * Reads the file and allocates, so the process that accepts connections should not call
 * it.
 *
 * Returns `TCL_OK`, `TCL_ERULES`, `TCL_ELOCKED`, `TCL_EMEM`, `TCL_EARG` or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `texts` is null or points to `count` pointers, each null or a string; `file` is
 * null or a string; `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_rules_load(const char *const *texts,
                       uint32_t count,
                       const char *file,
                       char *error,
                       uintptr_t error_size);

/**
 * Changes the limit of the sources without a rule; 0 or less: no limit. No connection
 * is closed: a source over a lowered limit keeps its connections but cannot open
 * another until it drops below it.
 *
 * Returns `TCL_OK` or `TCL_EINIT`.
 */
int32_t tcl_set_limit(int32_t limit);

/**
 * Changes the mode to `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
 *
 * Returns `TCL_OK`, `TCL_EARG` for any other number, or `TCL_EINIT`.
 */
int32_t tcl_set_mode(int32_t mode);

/**
 * Reads a limit that an operator sets while the server runs: a number from 1 to
 * 100,000,000, or `none` or `unlimited`, which is written to `limit` as 0. The number 0 is
 * refused, because it may be what is left of a text or of a larger number.
 *
 * Returns `TCL_OK`, or `TCL_EARG`: the text is not a limit, and a text with the reason and
 * the remedy is written to `error`, truncated to `error_size` bytes including the NUL; or
 * `limit` is null, and nothing is written to `error`. Returns `TCL_EINIT` before
 * `tcl_init()`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `limit` is null or valid for writing;
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_limit_parse(const uint8_t *name,
                        uint32_t length,
                        int32_t *limit,
                        char *error,
                        uintptr_t error_size);

/**
 * Writes the current limit of the sources without a rule to `limit`, and the current
 * mode to `mode`.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `limit` and `mode` are null or valid for writing.
 */
int32_t tcl_settings(int32_t *limit, int32_t *mode);

/**
 * Resets all statistics: the totals and the rejections of sources and rules to 0, and
 * each peak to the current count of its source. Counts of connections do not change.
 *
 * Returns `TCL_OK` or `TCL_EINIT`.
 */
int32_t tcl_reset_stats(void);

/**
 * Removes the rules that ended, samples the sources, and reports the rejections since the
 * last call to the host: the first one of each source in `log_interval` seconds in its own
 * log line and through `rejected()`, all others in one log line at the end of the
 * interval. At most 100 sources have a line in an interval: 80 at once, and at its end
 * those with the most rejections. A source that had one has another line, and is reported
 * through `released()`, when it is back under its limit or its rate. Bans that begin and end
 * have a line each, unless a command has logged it, and are reported through `banned()` and
 * `unbanned()`, at most 100 of each in an interval. What sources have paid off is forgotten.
 * Connections that were not trusted in time have a line for each source and are reported
 * through `timed_out()`, at most 100 in an interval; the host then closes them, see
 * `tcl_expired()`. If the kernel shield is active, its list in the kernel is brought up to
 * date.
 *
 * Must be called once a second, always from the same process, which must not accept
 * connections.
 *
 * Returns `TCL_OK`, `TCL_EARG` if `log_interval` is 0, or `TCL_EINIT`.
 */
int32_t tcl_watch(uint32_t log_interval);

/**
 * Checks a configuration as `tcl_init()` does, and creates nothing.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EPANIC`. Unless it is `TCL_OK`, a text that names
 * the value is written to `error`, truncated to `error_size` bytes including the NUL.
 *
 * # Safety
 *
 * `config` is null or valid, with valid strings; `error` is null or has room for
 * `error_size` bytes.
 */
int32_t tcl_config_check(const struct tcl_config *config, char *error, uintptr_t error_size);

/**
 * Checks one rule, such as `192.0.2.0/24=100`, by itself.
 *
 * Returns `TCL_OK`, `TCL_ERULES`, `TCL_EARG` if `rule` is null, or `TCL_EPANIC`. With
 * `TCL_ERULES`, the rule, the reason and the remedy are written to `error`, truncated to
 * `error_size` bytes including the NUL.
 *
 * # Safety
 *
 * `rule` is null or a string; `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_rule_check(const char *rule, char *error, uintptr_t error_size);

/**
 * Writes the grammar of a rule and a line about each of its words to `text`, truncated to
 * `size` bytes including the NUL. 2,048 bytes are enough.
 *
 * # Safety
 *
 * `text` is null or has room for `size` bytes.
 */
void tcl_rule_grammar(char *text, uintptr_t size);

/**
 * Checks rules as `tcl_rules_load()` does, but publishes none. `nat64_prefixes` and
 * `nat64_count` are those of `tcl_config`. Calls `fault` for each
 * invalid rule with its origin, its text, the reason and the remedy, at most 20 times
 * (`TCL_MAX_FAULTS`), and then once with the number of the others. A file that cannot be
 * read is one fault. Without faults, calls `rule` for each rule that would be active, sorted
 * by prefix, except those that commands set: a rule in the file replaces one for the same
 * prefix among the texts. If the host has named its listeners, the comment in the line says
 * if that of the rule is missing. Writes the number of valid rules to `valid`.
 *
 * Reads the file and allocates, so the process that accepts connections should not call
 * it.
 *
 * Returns `TCL_OK`, `TCL_ERULES`, `TCL_EARG`, `TCL_EMEM` or `TCL_EPANIC`. `fault` was
 * called at least once unless it is `TCL_OK` or `TCL_EPANIC`.
 *
 * # Safety
 *
 * `texts` is null or points to `count` pointers, each null or a string; so is
 * `nat64_prefixes`, with `nat64_count`; `file` is null or a string; `fault` and `rule` are
 * null or can be called with `data`; `valid` is null or valid for writing.
 */
int32_t tcl_rules_check(const char *const *texts,
                        uint32_t count,
                        const char *file,
                        const char *const *nat64_prefixes,
                        uint32_t nat64_count,
                        tcl_fault fault,
                        tcl_rule_line rule,
                        void *data,
                        uint32_t *valid);

/**
 * Sets the worker number of this process: 0 for the process that accepts connections,
 * any other number for the others. Must be called after each fork.
 *
 * With 0 it also makes the system allocate the memory that is used for every
 * connection, about 72 bytes for each of `max_connections`, up to 1 GiB. This takes a
 * few microseconds for each page: a millisecond or two for 35,000 connections, 50 ms
 * for a million. So call it before connections are accepted, and on the CPU or memory
 * node that will accept them. If the system refuses, one line is logged, and each page
 * is allocated when a connection first needs it.
 */
void tcl_set_worker(uint32_t worker);

/**
 * Decides whether the address, in network byte order, may open one more connection, which
 * has `descriptor` in the process that accepts, and was accepted on `listener`, a descriptor
 * of `tcl_listeners()`, or -1 if that is unknown. 4 bytes are IPv4, 16 bytes are IPv6. An
 * address of any other length is admitted and counted as an error.
 *
 * Returns 1 if the connection must be closed: its source is banned, over its rate, or at or
 * over its limit; or its source has no slot in the table, or its descriptor is not tracked,
 * and the policy is to reject it. Returns 0 to admit it; in monitor mode and with the mode
 * off it always does. A rejection is counted, in monitor mode as one that would have
 * happened. `tcl_watch()` logs it.
 *
 * Between this call and `tcl_opened()`, other threads or processes may do the same, so
 * a source can exceed its limit by the number of those that accept at the same moment.
 * With one acceptor, as in Kamailio, the limit is exact.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
int tcl_check(const uint8_t *address, uint32_t length, int descriptor, int listener);

/**
 * Counts a connection of the address (network byte order, 4 or 16 bytes), regardless
 * of the limit, and charges it to the rate of its source. `listener` is that of
 * `tcl_check()`, `facts` is `TCL_FACT_TLS` or 0. Must be called in the process that has `descriptor`. If a connection
 * with the same descriptor is still counted, it is released, and a fault is counted.
 *
 * Returns a token for `tcl_closed()`, or 0 if the connection is not counted because its
 * source has no slot, its descriptor is not tracked, or the address is invalid; then there
 * is nothing to release. A descriptor is tracked if it is less than `max_connections` plus
 * 65,536.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
uint64_t tcl_opened(const uint8_t *address,
                    uint32_t length,
                    int descriptor,
                    int listener,
                    uint32_t facts);

/**
 * Releases the connection that `token` stands for. `facts` says how it ended: the sum of
 * `TCL_FACT_` constants. Must be called before the descriptor is closed; may be called
 * from any process. A token must be released exactly once; 0 is not a token and releases
 * nothing.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_ESTALE` if the token does not belong to a
 * counted connection: then nothing was changed, and an error was counted.
 */
int32_t tcl_closed(uint64_t token, uint32_t facts);

/**
 * The token of the connection that is counted with `descriptor`, in the process that
 * accepts. May be called in any process.
 *
 * Returns 0 if no such connection is counted: there was no slot for its source, or its
 * descriptor is not tracked.
 */
uint64_t tcl_token(int descriptor);

/**
 * A function with the name of Kamailio's own, for programs that link this library.
 * Returns 1 if the source of `address` has `limit` connections or more, and 0 if it has
 * fewer or `limit` is 0 or less, regardless of rules and mode. A rejection is counted
 * in the totals only; logging is left to the caller, as with the core's function.
 *
 * Inside Kamailio this name resolves to the core's function, since the dynamic linker
 * prefers the executable; the module calls `tcl_check()`.
 *
 * # Safety
 *
 * `address` is null or points to the `struct sockaddr_in` or `sockaddr_in6` that its
 * family announces, or to another `struct sockaddr`, of which only the family is read.
 */
int tcp_connection_limit_srcip(union sockaddr_union *address, int limit);

/**
 * Names the sockets on which the host listens for connections, so that rules can be for one
 * of them. At most `TCL_MAX_LISTENERS`; rules cannot name any others. Must be called at most
 * once, after `tcl_rules_load()` and before the process that accepts is forked.
 *
 * Returns `TCL_OK`, `TCL_EARG` (`listeners` is null, there are too many, or one is invalid),
 * `TCL_ERULES` (the rules name too many listeners), `TCL_ELOCKED`, `TCL_EMEM` or
 * `TCL_EINIT`. With `TCL_ERULES` the reason is written to `error`, truncated to `error_size`
 * bytes including the NUL.
 *
 * # Safety
 *
 * `listeners` is null or points to `count` of them; `error` is null or has room for
 * `error_size` bytes.
 */
int32_t tcl_listeners(const struct tcl_listener *listeners,
                      uint32_t count,
                      char *error,
                      uintptr_t error_size);

/**
 * Writes a listener that active rules name but that none of `tcl_listeners()` is, number
 * `index` of them, as text of at most `TCL_LISTENER_TEXT` bytes with its NUL. Allocates, so
 * the process that accepts connections should not call it.
 *
 * Returns 1 if there is such a listener, 0 if `index` is too high, or `TCL_EARG`,
 * `TCL_EMEM` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `name` is null or has room for `TCL_LISTENER_TEXT` bytes.
 */
int32_t tcl_unknown_listener(uint32_t index, char *name);

/**
 * As `tcl_find()`, for connections that were accepted on the listener with this number,
 * which is from 1 to `TCL_MAX_NAMED_LISTENERS`.
 *
 * Returns `TCL_OK`, `TCL_EARG` (the text does not name a source, `source` is null, or rules
 * never named a listener with this number) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `source` is null or valid for writing.
 */
int32_t tcl_find_on(const uint8_t *name,
                    uint32_t length,
                    uint32_t number,
                    struct tcl_source *source);

/**
 * Checks whether the functions with which this executable accepts and closes
 * connections can be replaced. Changes nothing. Also works before `tcl_init()`.
 *
 * Returns `TCL_OK`, `TCL_EINIT` after a panic, `TCL_EALREADY` if they are already replaced, or
 * `TCL_EINTERPOSE` if something is missing or not supported. With the last two, a text
 * with the reason is written to `error`, truncated to `error_size` bytes including the
 * NUL.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_interpose_find(char *error, uintptr_t error_size);

/**
 * Replaces the functions with which the executable accepts and closes connections, in
 * this process and in all processes that it forks from now on. They behave as before
 * until `tcl_interpose_activate()`. Must be called while the process has one thread.
 *
 * Returns the same codes as `tcl_interpose_find()`. Unless the code is `TCL_OK`, nothing
 * has changed.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_interpose_attach(char *error, uintptr_t error_size);

/**
 * From now on, this process counts the connections that its executable accepts, and
 * rejects those over the limit: they are closed, and `accept()` fails with `EAGAIN`
 * without waiting, even if the listening socket is a blocking one. Must be called in
 * the one process that accepts.
 *
 * Returns `TCL_OK`, `TCL_EINTERPOSE` if nothing is attached, `TCL_EALREADY` if another
 * process is already counting, or `TCL_EINIT`.
 */
int32_t tcl_interpose_activate(void);

/**
 * Names the listening sockets for TLS, by their `count` descriptors in the process that
 * will accept. It is recorded of each connection whether it was accepted on one of them.
 * Must be called at most once, before that process is forked.
 *
 * Returns `TCL_OK`, `TCL_EARG` if `listeners` is null but `count` is not 0, or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `listeners` is null or points to `count` descriptors.
 */
int32_t tcl_interpose_tls(const int *listeners, uint32_t count);

/**
 * Restores, in this process, the functions that `tcl_interpose_attach()` has replaced,
 * and releases all connections that the process has counted. Succeeds if there is
 * nothing to do.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EINTERPOSE` if another library has replaced
 * the functions since: its functions stay, and can still call ours.
 */
int32_t tcl_interpose_detach(void);

/**
 * Describes counter number `index`, also before `tcl_init()`. The counters have the
 * numbers from 0 on, without gaps.
 *
 * Returns `TCL_OK`, or `TCL_EARG` if `counter` is null or there is no such counter.
 *
 * # Safety
 *
 * `counter` is null or valid for writing.
 */
int32_t tcl_counter(uint32_t index, struct tcl_counter *counter);

/**
 * The value of counter number `index`. Does not walk through the table: `sources` and
 * `connections` are those that `tcl_watch()` counted last, 0 before its first call. All
 * other values are current.
 *
 * Returns 0 before `tcl_init()`, and if there is no such counter.
 */
uint64_t tcl_counter_value(uint32_t index);

/**
 * Writes the current values of the counters in the order of their numbers, at most
 * `room`. Walks through the table to count `sources` and `connections`, which takes about
 * 10 ms if it is sized for a million connections.
 *
 * Returns the number of values written, or `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `values` is null or has room for `room` of them.
 */
int32_t tcl_stats(uint64_t *values, uint32_t room);

/**
 * Bytes of the table that are in huge pages of 2 MiB: either none, or most of the bytes
 * that `tcl_set_worker(0)` allocates. A table has huge pages if those bytes are 2 MiB
 * or more (29,000 connections) and the setting
 * `/sys/kernel/mm/transparent_hugepage/shmem_enabled` was `advise` or `always` when
 * `tcl_set_worker(0)` was called.
 *
 * Reads a file, so the process that accepts connections should not call it. For the
 * same reason it is not a counter: those may be read many times a second.
 * Returns 0 before `tcl_init()`, and if `/proc` does not show the number.
 */
uint64_t tcl_huge_pages(void);

/**
 * Reports the source of an address (network byte order, 4 or 16 bytes). If it has no
 * slot in the table, its numbers are 0 and its times are `TCL_NEVER`; text, rule and
 * limit are those that it would have. If a rule with a prefix longer than a source
 * contains the address, rule and limit are those of this rule. `listener` is that of
 * `tcl_check()`: if rules name it, the report is about its connections.
 *
 * Returns `TCL_OK`, `TCL_EARG` (`source` is null, or the address is invalid) or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes; `source` is null or valid for
 * writing.
 */
int32_t tcl_get(const uint8_t *address, uint32_t length, int listener, struct tcl_source *source);

/**
 * As `tcl_get()`, for a text of `length` bytes: an address, `192.0.2.1` or `2001:db8::1`,
 * perhaps in brackets, with a zone or a port; or a network `ADDRESS/LENGTH` whose addresses
 * all belong to one source, as `tcl_source.text` shows it. A network has the rule and the
 * limit of its source. `listener` is that of `tcl_get()`.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`. `TCL_EARG` means that the text does not name
 * a source, and a text with the reason and the remedy is written to `error`, truncated to
 * `error_size` bytes including the NUL; or that `source` is null, and nothing is written to
 * `error`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `source` is null or valid for writing;
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_find(const uint8_t *name,
                 uint32_t length,
                 int listener,
                 struct tcl_source *source,
                 char *error,
                 uintptr_t error_size);

/**
 * Writes the age in seconds of the oldest connection of a source, or `TCL_NEVER` if it has
 * no connection. `name` is a text as for `tcl_find()`. The age may be a second too high.
 * Reads the record of each descriptor that is tracked: 16 bytes for each of
 * `max_connections`, and 1 MiB.
 *
 * Returns `TCL_OK`, `TCL_EARG` (the text does not name a source, or `seconds` is null) or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `seconds` is null or valid for writing.
 */
int32_t tcl_oldest(const uint8_t *name, uint32_t length, uint32_t *seconds);

/**
 * Writes at most `room` sources ranked by `TCL_BY_CONNECTIONS`, `TCL_BY_REJECTED`,
 * `TCL_BY_PEAK`, `TCL_BY_OWED` or `TCL_BY_UNTRUSTED`, highest first. Sources whose number is 0 are left out.
 *
 * Returns the number of sources written, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `sources` is null or has room for `room` of them.
 */
int32_t tcl_top(struct tcl_source *sources,
                uint32_t room,
                int32_t by);

/**
 * Writes the sources in `prefix` (null: all sources) with the most connections, at most
 * `room` of them, highest first, and the number of sources in it that have connections
 * to `total`.
 *
 * Returns the number of sources written, `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
 * `TCL_EARG` means that `prefix` is invalid, and a text with the reason is written to
 * `error`, truncated to `error_size` bytes including the NUL; or that `sources` is
 * null, and nothing is written to `error`.
 *
 * # Safety
 *
 * `prefix` is null or a string; `sources` is null or has room for `room` of them;
 * `total` is null or valid for writing; `error` is null or has room for
 * `error_size` bytes.
 */
int32_t tcl_list(const char *prefix,
                 struct tcl_source *sources,
                 uint32_t room,
                 uint64_t *total,
                 char *error,
                 uintptr_t error_size);

/**
 * The number of active rules; 0 before `tcl_init()`.
 */
uint32_t tcl_rules_count(void);

/**
 * Writes at most `room` rules with the numbers of their sources, sorted by prefix. The
 * last one stands for the sources without a rule and is always included. If there are more
 * than `room`, rules with sources or rejections take precedence over others.
 *
 * Allocates up to 7 MB if there are 65,535 rules, and frees it.
 *
 * Returns the number of rules written, or `TCL_EARG` (`rules` is null), `TCL_EINIT` or
 * `TCL_EMEM`.
 *
 * # Safety
 *
 * `rules` is null or has room for `room` of them.
 */
int32_t tcl_rules(struct tcl_rule *rules, uint32_t room);

/**
 * Writes at most `room` suggestions, sorted by prefix: one for each rule, and a last one
 * for the sources without a rule, which is always included. If there are more than `room`,
 * rules whose sources have a peak take precedence over others.
 *
 * Allocates up to 7 MB if there are 65,535 rules, and 480 bytes for each suggestion that it
 * writes, and frees it.
 *
 * Returns the number of suggestions written, or `TCL_EARG` (`suggestions` is null),
 * `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `suggestions` is null or has room for `room` of them.
 */
int32_t tcl_suggest(struct tcl_suggestion *suggestions, uint32_t room);

/**
 * Sets a rule for `prefix`, for `seconds` (null: until it is removed or the server stops).
 * `limit` is what comes after the `=` of a rule: a number from 1 to 2147483647 or `none`,
 * and words if the rule has any, such as `100 rate=10/s`. It takes precedence over a
 * rule for the same prefix from a file or a parameter, and replaces one that was set
 * before. A rule with the word `listener` is one of its own: it replaces only rules for the
 * same listener, which must be one of `tcl_listeners()`. `tcl_rules_load()` keeps it. There are at most 1,024 such rules at a time. A rule
 * ends within two seconds after its time, when `tcl_watch()` next runs, and a log line says
 * so. Each change has a log line, in which `by` says who made it (null: a command).
 *
 * If it fails, nothing changes, and a text with the value, the reason and the remedy is
 * written to `error`, truncated to `error_size` bytes including the NUL.
 *
 * Allocates, so the process that accepts connections should not call it.
 *
 * Returns `TCL_OK`, `TCL_EARG` (an argument is missing or invalid), `TCL_ERULES` (too many
 * rules), `TCL_ELOCKED`, `TCL_EMEM` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `prefix`, `limit`, `seconds` and `by` are null or strings; `change` is null or valid for
 * writing; `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_rule_set(const char *prefix,
                     const char *limit,
                     const char *seconds,
                     const char *by,
                     struct tcl_rule_change *change,
                     char *error,
                     uintptr_t error_size);

/**
 * Removes the rule that `tcl_rule_set()` set for `prefix`, and for `listener` if it is not
 * null: the word as it is in a rule, such as `listener=tcp:192.0.2.1:5060`. A rule for the same
 * prefix and listener from a file or a parameter applies again. `by` is that of
 * `tcl_rule_set()`.
 *
 * If it fails, nothing changes, and `error` is written as by `tcl_rule_set()`.
 *
 * Allocates, so the process that accepts connections should not call it.
 *
 * Returns `TCL_OK`, `TCL_EARG` (an argument is missing or invalid), `TCL_ERULES` (there is
 * no such rule), `TCL_ELOCKED`, `TCL_EMEM` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `prefix`, `listener` and `by` are null or strings; `change` is null or valid for writing;
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_rule_remove(const char *prefix,
                        const char *listener,
                        const char *by,
                        struct tcl_rule_change *change,
                        char *error,
                        uintptr_t error_size);

/**
 * Reads a rate that an operator sets while the server runs: a text like 10/s, 100/m or
 * 2/h, from 1/h to 10000/s, or `none`. Writes its interval to `interval_us`; 0: no rate.
 *
 * Returns `TCL_OK`, or `TCL_EARG`: the text is not a rate, and a text with the reason and
 * the remedy is written to `error`, truncated to `error_size` bytes including the NUL; or
 * `interval_us` is null, and nothing is written to `error`. Returns `TCL_EINIT` before
 * `tcl_init()`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `interval_us` is null or valid for writing;
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_rate_parse(const uint8_t *name,
                       uint32_t length,
                       uint32_t *interval_us,
                       char *error,
                       uintptr_t error_size);

/**
 * Changes the rate of the sources without another one: microseconds for each connection
 * (0: no rate), and connections that a quiet source may open at once (0: those of one
 * second, at least 5). What a source owes at this moment does not change.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EARG` if the rate is below 1/h or above 10000/s,
 * or if the burst is above a million or takes more than three days to be available again. Then
 * nothing changes, and a text with the reason is written to `error`, truncated to
 * `error_size` bytes including the NUL.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_set_rate(uint32_t interval_us, uint32_t burst, char *error, uintptr_t error_size);

/**
 * Writes the current rate of the sources without another one.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `rate` is null or valid for writing.
 */
int32_t tcl_rate(struct tcl_rate *rate);

/**
 * Proposes a rate and a burst from the largest debts that `tcl_watch()` sampled. It needs a
 * rate; with the mode monitor it rejects no connection.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `suggestion` is null or valid for writing.
 */
int32_t tcl_suggest_rate(struct tcl_rate_suggestion *suggestion);

/**
 * Bans `who`, an address, the source of one, or a prefix, for `seconds`, a number from 1 to
 * 2592000 (30 days). Its open connections stay; new ones are rejected, except those of
 * sources whose rule exempts them. The ban replaces one of the same source or prefix. A
 * reload keeps it. One log line says so, with `reason`, any text (null: none), and `by`,
 * who made it (null: a command). Writes the ban to `ban`, and to `was` the seconds that the
 * ban which it replaces had left; 0 if there was none.
 *
 * If it fails, nothing changes, and a text with the value, the reason and the remedy is
 * written to `error`, truncated to `error_size` bytes including the NUL.
 *
 * Allocates, so the process that accepts connections should not call it.
 *
 * Returns `TCL_OK`, `TCL_EARG` (an argument is missing or invalid), `TCL_EEXEMPT`,
 * `TCL_ESLOT`, `TCL_ERULES` (too many banned prefixes), `TCL_ELOCKED`, `TCL_EMEM` or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `who`, `seconds`, `reason` and `by` are null or strings; `ban` and `was` are null or valid
 * for writing; `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_ban(const char *who,
                const char *seconds,
                const char *reason,
                const char *by,
                struct tcl_ban *ban,
                uint32_t *was,
                char *error,
                uintptr_t error_size);

/**
 * Lifts the ban of `who`, an address, the source of one, a prefix or "all", and forgives
 * offences. With a prefix also those of all sources in it. Writes the number of sources and
 * prefixes to `lifted`. One log line says so, in which `by` says who did it (null: a
 * command).
 *
 * If it fails, nothing changes, and `error` is written as by `tcl_ban()`.
 *
 * Walks through the table, and allocates, so the process that accepts connections should
 * not call it.
 *
 * Returns `TCL_OK`, `TCL_EARG` (the argument is missing or invalid), `TCL_ERULES` (there is
 * nothing to lift), `TCL_ELOCKED`, `TCL_EMEM` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `who` and `by` are null or strings; `lifted` is null or valid for writing; `error` is
 * null or has room for `error_size` bytes.
 */
int32_t tcl_unban(const char *who,
                  const char *by,
                  uint32_t *lifted,
                  char *error,
                  uintptr_t error_size);

/**
 * Writes the bans that last longest, at most `room`, longest first, and their number in all
 * to `total`.
 *
 * Walks through the table, and allocates, so the process that accepts connections should
 * not call it.
 *
 * Returns the number of bans written, or `TCL_EARG` (`bans` is null), `TCL_EINIT` or
 * `TCL_EMEM`.
 *
 * # Safety
 *
 * `bans` is null or has room for `room` of them; `total` is null or valid for writing.
 */
int32_t tcl_bans(struct tcl_ban *bans, uint32_t room, uint64_t *total);

/**
 * Bans the source of an address (network byte order, 4 or 16 bytes) for `seconds`, at most
 * 2592000, with the reason "script". A ban that ends later is kept. `tcl_watch()` logs it.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EEXEMPT`, `TCL_ESLOT` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
int32_t tcl_ban_address(const uint8_t *address, uint32_t length, uint32_t seconds);

/**
 * Lifts the ban of the source of an address, and forgives its offences. The ban of a
 * prefix stays.
 *
 * Returns 1, 0 if there was nothing to lift, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
int32_t tcl_unban_address(const uint8_t *address, uint32_t length);

/**
 * Charges an offence of the kind "script" to the source of an address.
 *
 * Returns 1 if the source is banned now, 0 if it is not, `TCL_EARG`, `TCL_EEXEMPT`,
 * `TCL_ESLOT` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
int32_t tcl_offence(const uint8_t *address, uint32_t length);

/**
 * The seconds until the ban of an address ends, rounded up; 0 if it is not banned. Includes
 * bans of prefixes.
 *
 * Returns `TCL_EARG` or `TCL_EINIT` if it fails.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
int64_t tcl_banned(const uint8_t *address, uint32_t length);

/**
 * Loads the program and the maps of the kernel shield. To be called after `tcl_init()`, while
 * the process still has its privileges, before it forks.
 *
 * If it fails, nothing is left in the kernel, and a text with the reason and the remedy is
 * written to `error`, truncated to `error_size` bytes including the NUL. The limiter works
 * as without the shield.
 *
 * Returns `TCL_OK`, `TCL_ESHIELD` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_shield_load(char *error, uintptr_t error_size);

/**
 * Attaches the loaded program to the `count` sockets, which listen for TCP. From then on
 * `tcl_watch()` lists the banned sources in the kernel. To be called once, after the
 * process changed its user and before it forks.
 *
 * With a `threshold` above 0, sources that are rejected more often than that in a second are
 * also listed, for `seconds` seconds, 1 to 86400.
 *
 * If it fails, the filter is attached to no socket, and `error` is written as by
 * `tcl_shield_load()`.
 *
 * Returns `TCL_OK`, `TCL_ESHIELD`, `TCL_EARG` (`sockets` is null or has a negative
 * number, `seconds` is out of range, or no program is loaded) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `sockets` is null or points to `count` open descriptors; `error` is null or has room for
 * `error_size` bytes.
 */
int32_t tcl_shield_attach(const int *sockets,
                          uint32_t count,
                          uint32_t threshold,
                          uint32_t seconds,
                          char *error,
                          uintptr_t error_size);

/**
 * Writes what the kernel shield does to `shield`. May be called from any process.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `shield` is null or valid for writing.
 */
int32_t tcl_shield(struct tcl_shield *shield);

/**
 * Writes the sources and prefixes that the kernel drops at this moment, at most `room`, those
 * with the most dropped packets first. Asks the kernel for each entry, and allocates, so the
 * process that accepts connections should not call it.
 *
 * Returns the number of entries written, 0 if the shield is not active, `TCL_EARG` (`entries`
 * is null), `TCL_ESHIELD` (the kernel does not allow it) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `entries` is null or has room for `room` of them.
 */
int32_t tcl_shield_entries(struct tcl_shield_entry *entries, uint32_t room);

/**
 * Makes this host a node of the cluster. To be called once after `tcl_init()`, with
 * `tcl_config.cluster`, while the process may still read the files of keys, before it forks.
 * The process that calls `tcl_cluster_tick()` then runs the node.
 *
 * Returns `TCL_OK`, `TCL_EOFF` (`tcl_config.cluster` was 0), `TCL_EINIT`, or `TCL_EARG`: a
 * value is invalid, and a text with the reason and the remedy is written to `error`,
 * truncated to `error_size` bytes including the NUL.
 *
 * # Safety
 *
 * `config` is null or valid; its strings are null or strings, and `config.keys` points to
 * `config.key_count` of them. `config.send` stays callable until the process ends. `error`
 * is null or has room for `error_size` bytes.
 */
int32_t tcl_cluster_prepare(const struct tcl_cluster_config *config,
                            char *error,
                            uintptr_t error_size);

/**
 * Does what is due: looks at the sources, sends messages, reports states. Must be called at
 * least each 100 ms, always from the same process, which must not accept connections. It
 * calls `tcl_cluster_config.send` and `tcl_host.log`.
 *
 * Returns `TCL_OK`, `TCL_EOFF` (not a node of a cluster) or `TCL_EINIT`.
 */
int32_t tcl_cluster_tick(void);

/**
 * Applies a message from another node. To be called by the process that calls
 * `tcl_cluster_tick()`. Whether it was accepted is counted. If it came by a connection,
 * `address` is where that comes from (network byte order, 4 or 16 bytes); else
 * `address_length` is 0. If the connections of a node are limited, one log line says so.
 *
 * Returns `TCL_OK`, `TCL_EOFF` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `body` is null or points to `length` bytes, and so are `address` and `address_length`.
 */
int32_t tcl_cluster_receive(const uint8_t *body,
                            uint32_t length,
                            const uint8_t *address,
                            uint32_t address_length);

/**
 * Counts a message that arrived and could not be passed on to the process that runs the
 * node. May be called from any process.
 */
void tcl_cluster_not_passed_on(void);

/**
 * Sends the other nodes that this one ends, so that its connections no longer count there. To
 * be called by the process that calls `tcl_cluster_tick()`, as the last of these functions.
 *
 * Returns `TCL_OK`, `TCL_EOFF` or `TCL_EINIT`.
 */
int32_t tcl_cluster_bye(void);

/**
 * Shuts the node with this name out, or with `dropped` 0 no longer. To be called by the
 * process that calls `tcl_cluster_tick()`.
 *
 * Returns `TCL_OK`, `TCL_EARG` (this cannot be the name of a node), `TCL_EOFF` or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes.
 */
int32_t tcl_cluster_drop(const uint8_t *name, uint32_t length, int32_t dropped);

/**
 * Writes this node and the sums over the others to `report`. May be called from any process.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EOFF` (not a node of a cluster) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `report` is null or valid for writing.
 */
int32_t tcl_cluster(struct tcl_cluster_report *report);

/**
 * Writes the other nodes to `nodes`, at most `room`. May be called from any process.
 *
 * Returns the number of nodes written, `TCL_EARG`, `TCL_EOFF` (not a node of a cluster) or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `nodes` is null or has room for `room` of them.
 */
int32_t tcl_cluster_nodes(struct tcl_node *nodes, uint32_t room);

/**
 * Writes the name of the reason `number` for which a message is rejected to `text`, truncated
 * to `size` bytes including the NUL.
 *
 * Returns `TCL_OK`, or `TCL_EARG` if there is no such reason.
 *
 * # Safety
 *
 * `text` is null or has room for `size` bytes.
 */
int32_t tcl_cluster_reason(uint32_t number, char *text, uintptr_t size);

/**
 * Writes the connections of a source on each other node that has any, at most `room` nodes.
 * `name` is a text as for `tcl_find()`.
 *
 * Returns the number of nodes written, `TCL_EARG` (the text does not name a source, or `nodes`
 * is null), `TCL_EOFF` (not a node of a cluster) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `nodes` is null or has room for `room` of them.
 */
int32_t tcl_cluster_of_source(const uint8_t *name,
                              uint32_t length,
                              struct tcl_node_count *nodes,
                              uint32_t room);

/**
 * Writes the sources with the most connections on all nodes, at most `room`, highest first:
 * those of this node, and those that other nodes report. Walks through the table, and
 * allocates, so the process that accepts connections should not call it.
 *
 * Returns the number of sources written, `TCL_EARG`, `TCL_EMEM`, `TCL_EOFF` (not a node of a
 * cluster) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `sources` is null or has room for `room` of them.
 */
int32_t tcl_cluster_top(struct tcl_cluster_source *sources, uint32_t room);

/**
 * Sets the limit over all nodes of sources without a rule; 0: no limit. No connection is
 * closed.
 *
 * Returns `TCL_OK`, `TCL_EARG` (`limit` is negative), `TCL_EOFF` (not a node of a cluster) or
 * `TCL_EINIT`.
 */
int32_t tcl_set_cluster_limit(int32_t limit);

/**
 * Trusts the connection that `token` stands for: it no longer counts for the limit of
 * untrusted connections of its source, and is not closed when the time to trust it is over.
 * May be called from any process. A connection may be trusted more than once.
 *
 * Returns `TCL_OK`, `TCL_ESTALE` if the connection is closed, also if its descriptor has
 * another one by now, `TCL_EOFF` or `TCL_EINIT`. Except with `TCL_OK`, nothing has changed.
 */
int32_t tcl_trust(uint64_t token);

/**
 * Takes back what `tcl_trust()` did. The time to trust it counts from when it opened.
 *
 * Returns as `tcl_trust()`.
 */
int32_t tcl_untrust(uint64_t token);

/**
 * Writes the settings of trusted connections.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `settings` is null or valid for writing.
 */
int32_t tcl_trust_get(struct tcl_trust_settings *settings);

/**
 * Changes the limit of untrusted connections of sources without a rule. 0 or less: no limit.
 * A source over a lowered limit keeps its connections.
 *
 * Returns `TCL_OK`, `TCL_EOFF` or `TCL_EINIT`.
 */
int32_t tcl_set_untrusted_limit(int32_t limit);

/**
 * Changes the seconds after which an untrusted connection is closed; 0: never.
 *
 * Returns `TCL_OK`, `TCL_EARG` for a number below 0 or above 86400, `TCL_EOFF` or `TCL_EINIT`.
 */
int32_t tcl_set_trust_timeout(int32_t seconds);

/**
 * How many connections must be closed because they were not trusted in time, as the last
 * call of `tcl_watch()` in this process found. The host closes those for which
 * `tcl_is_expired()` returns 1; one that is still open is reported again.
 */
uint32_t tcl_expired(void);

/**
 * Whether the connection with `descriptor` in the process that accepts must be closed: 1 or
 * 0. May be called in any process, as long as the host keeps that process from closing the
 * descriptor.
 */
int32_t tcl_is_expired(int descriptor);

/**
 * Writes the open connections of a source, oldest first, at most `room` of them, and how many
 * it has to `total`. `name` is a text as for `tcl_find()`. Reads the record of each descriptor
 * that is tracked, and allocates, so the process that accepts should not call it. Takes no
 * lock.
 *
 * Returns the number of connections written, `TCL_EARG` (the text does not name a source, or
 * `connections` is null), `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `connections` is null or has room for `room` of
 * them; `total` is null or valid for writing.
 */
int32_t tcl_connections(const uint8_t *name,
                        uint32_t length,
                        struct tcl_connection *connections,
                        uint32_t room,
                        uint64_t *total);

/**
 * The share of the connections since the start or the last reset that the script trusted, in
 * percent, rounded down, at most 100; `TCL_NEVER` if connections cannot be trusted, or no
 * connection opened.
 */
uint32_t tcl_trusted_share(void);

/**
 * Whether one of these rules has the word `proxy`, as `tcl_rules_load()` would read them. Needs
 * no limiter, so a host can set `tcl_config.moves` before it calls `tcl_init()`. Invalid rules
 * are skipped.
 *
 * Reads the file and allocates, so the process that accepts connections should not call
 * it.
 *
 * Returns 1 or 0.
 *
 * # Safety
 *
 * `texts` is null or points to `count` pointers, each null or a string; `file` is null or a
 * string.
 */
int32_t tcl_rules_have_proxies(const char *const *texts, uint32_t count, const char *file);

/**
 * Counts the connection that `token` stands for, which `peer` (network byte order, 4 or 16 bytes)
 * opened, for the address in `client`, a text of `client_length` bytes, from now on: the
 * connection leaves the source and the network in which it was counted, and is checked and
 * counted in those of the client. Its trust moves with it, and `tcl_closed()` releases it there.
 * A rejection is counted, and logged by `tcl_watch()`. In monitor mode the connection is moved
 * nevertheless, and with the mode off nothing is checked. May be called from any process, also
 * more than once for a connection.
 *
 * Returns `TCL_OK`, `TCL_EOVER` if the source of the client is not admitted, `TCL_EARG` if the
 * text is not an address, `TCL_EPROXY`, `TCL_ESTALE` if the connection is closed, also if its
 * descriptor has another one by now, `TCL_ELOCKED` if another process moves it or was killed
 * while it did, `TCL_ESLOT`, `TCL_EOFF` or `TCL_EINIT`. Except with `TCL_OK`, the connection
 * counts where it did before, and why is written to `error`, truncated to `error_size` bytes
 * including the NUL.
 *
 * # Safety
 *
 * `peer` and `client` are null or point to as many bytes as their lengths say; `error` is null
 * or has room for `error_size` bytes.
 */
int32_t tcl_count_for(uint64_t token,
                      const uint8_t *peer,
                      uint32_t peer_length,
                      const uint8_t *client,
                      uint32_t client_length,
                      char *error,
                      uintptr_t error_size);

/**
 * Writes the address for which the connection that `token` stands for is counted to
 * `address`, in network byte order, if `tcl_count_for()` moved it: that of the source, whose
 * last bits are 0.
 *
 * Returns its length, 4 or 16; 0 if the connection was not moved, or is closed.
 *
 * # Safety
 *
 * `address` is null or has room for 16 bytes.
 */
uint32_t tcl_moved_to(uint64_t token, uint8_t *address);

/**
 * Writes how many of its connections the host uses, and what follows from that.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `report` is null or valid for writing.
 */
int32_t tcl_load_report(struct tcl_load_report *report);

/**
 * Changes the reserve to that of a text of `length` bytes: a number of connections below
 * `max_connections`, a share of them from 1% to 99%, or `none`. `by` says who does so, for
 * the log. No connection is closed.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EARG`: nothing changes, and a text with the reason
 * and the remedy is written to `error`, truncated to `error_size` bytes including the NUL.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `by` is null or a string; `error` is null or
 * has room for `error_size` bytes.
 */
int32_t tcl_set_reserve(const uint8_t *name,
                        uint32_t length,
                        const char *by,
                        char *error,
                        uintptr_t error_size);

/**
 * Changes the levels of pressure to those of a text of `length` bytes, such as
 * "80:50% 90:10", or `none`. Otherwise as `tcl_set_reserve()`.
 *
 * # Safety
 *
 * As for `tcl_set_reserve()`.
 */
int32_t tcl_set_pressure(const uint8_t *name,
                         uint32_t length,
                         const char *by,
                         char *error,
                         uintptr_t error_size);

/**
 * Whether one of these rules is for networks, as `tcl_rules_load()` would read them. Needs
 * no limiter, so a host can decide to count networks before it calls `tcl_init()`. Invalid
 * rules are skipped.
 *
 * Reads the file and allocates, so the process that accepts connections should not call
 * it.
 *
 * Returns 1 or 0.
 *
 * # Safety
 *
 * `texts` is null or points to `count` pointers, each null or a string; `file` is null or a
 * string.
 */
int32_t tcl_rules_have_networks(const char *const *texts, uint32_t count, const char *file);

/**
 * Changes the limit of networks without a rule; 0 or less: no limit.
 *
 * Returns `TCL_OK`, `TCL_EARG` (networks are not counted) or `TCL_EINIT`.
 */
int32_t tcl_set_network_limit(int32_t limit);

/**
 * Changes the rate of networks without another one, as `tcl_set_rate()` does for sources.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EARG`: as for `tcl_set_rate()`, or networks are not
 * counted.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_set_network_rate(uint32_t interval_us,
                             uint32_t burst,
                             char *error,
                             uintptr_t error_size);

/**
 * Writes the limit (0: no limit) and the rate of networks without a rule.
 *
 * Returns 1; 0 if networks are not counted, and then nothing is written; or `TCL_EARG` or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `limit` and `rate` are null or valid for writing.
 */
int32_t tcl_network_settings(int32_t *limit, struct tcl_rate *rate);

/**
 * Reports the network that a text names: an address in it, a source as for `tcl_find()`, or
 * the network itself, `ADDRESS/LENGTH`. Writes to `counts` 1 if connections of the address
 * or source count in the network, and 0 if a rule keeps them out.
 *
 * Returns 1; 0 if networks are not counted, and then nothing is written; or `TCL_EARG` (the
 * text names no network, or a pointer is null) or `TCL_EINIT`.
 *
 * # Safety
 *
 * `name` is null or points to `length` bytes; `network` and `counts` are null or valid for
 * writing.
 */
int32_t tcl_network(const uint8_t *name,
                    uint32_t length,
                    struct tcl_source *network,
                    int32_t *counts);

/**
 * As `tcl_top()`, for networks, which have no order by untrusted connections.
 *
 * Returns the number of networks written, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `networks` is null or has room for `room` of them.
 */
int32_t tcl_top_networks(struct tcl_source *networks, uint32_t room, int32_t by);

/**
 * As `tcl_suggest()`, for networks. Their peaks are those that `tcl_watch()` sampled.
 *
 * Returns the number of suggestions written, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `suggestions` is null or has room for `room` of them.
 */
int32_t tcl_suggest_networks(struct tcl_suggestion *suggestions, uint32_t room);

/**
 * As `tcl_suggest_rate()`, for networks; its `sources` are networks.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `suggestion` is null or valid for writing.
 */
int32_t tcl_suggest_network_rate(struct tcl_rate_suggestion *suggestion);

/**
 * Begins an audit of `connections` connections, with room for an eighth plus 1,024
 * more. Reserves 90 bytes for each, or 180 if networks are counted, and writes to all of this memory so that the next
 * steps cause no page faults. Returns null if there is no memory, or before
 * `tcl_init()`. The audit must be ended with `tcl_audit_end()`.
 */
struct tcl_audit *tcl_audit_begin(uint32_t connections);

/**
 * Copies one connection of the host: its address (network byte order, 4 or 16 bytes) and
 * its descriptor in the process that accepts, whose record says whether it is counted. The
 * host calls it for each connection and then calls `tcl_audit_counts()`; meanwhile no
 * connection may be opened or closed. Neither function allocates.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT`, or `TCL_EROOM` if the reserved memory is
 * too small and a new audit must begin with more.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`; `address` is null or points
 * to `length` bytes.
 */
int32_t tcl_audit_connection(struct tcl_audit *audit,
                             const uint8_t *address,
                             uint32_t length,
                             int descriptor);

/**
 * Copies our counts. After this step the host may open and close connections again.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EROOM`.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`.
 */
int32_t tcl_audit_counts(struct tcl_audit *audit);

/**
 * Compares the copies, and writes the sums and at most `room` differences, sorted by
 * source.
 *
 * Returns the number of differences written, or `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`; `sums` is null or valid for
 * writing; `differences` is null or has room for `room` of them.
 */
int32_t tcl_audit_result(struct tcl_audit *audit,
                         struct tcl_audit_sums *sums,
                         struct tcl_difference *differences,
                         uint32_t room);

/**
 * Ends an audit and frees its memory.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`, and is not used afterwards.
 */
void tcl_audit_end(struct tcl_audit *audit);

#endif  /* TCP_CONN_LIMIT_H */
