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
 * - One process has one limiter. `tcl_init` makes it, before the server forks;
 *   it stays until the process ends, so that whatever runs late at shutdown is
 *   still safe. Before `tcl_init` every function gives its harmless answer: admit,
 *   no token, nothing found.
 * - All functions may be called from any thread of any process that was forked
 *   after `tcl_init`; `tcl_watch` always from the same process. None blocks or
 *   waits for a lock, but: `tcl_init`, `tcl_watch` and the `tcl_interpose_` functions
 *   wait if another thread is in the same one; `tcl_watch` waits for the functions of
 *   the host that it calls; `tcl_rules_load` reads a file. What runs for every
 *   connection allocates nothing: `tcl_check`, `tcl_opened`, `tcl_closed`,
 *   `tcp_connection_limit_srcip`, and what `tcl_interpose_attach` puts in place of
 *   the C library's functions.
 * - Pointers may be null: an input that is null is no address or text, an output
 *   that is null is not written, and the function says so. Pointers that are not
 *   null must be valid as each function tells. Nothing is kept but what `tcl_init`
 *   says.
 * - A panic is counted, logged once, and answered as before `tcl_init`: the
 *   connection is admitted.
 */

/* Kamailio's, core/ip_addr.h: a struct sockaddr_in or sockaddr_in6. */
union sockaddr_union;

/**
 * Success.
 */
#define TCL_OK 0

/**
 * An argument is null or out of range.
 */
#define TCL_EARG -1

/**
 * There is a limiter in this process already.
 */
#define TCL_EALREADY -2

/**
 * The system gives no memory, shared or own.
 */
#define TCL_EMEM -3

/**
 * Use before `tcl_init()`; or a panic was stopped, which the statistics count.
 */
#define TCL_EINIT -4

/**
 * The token names no connection.
 */
#define TCL_ESTALE -5

/**
 * A panic was stopped in `tcl_init()`.
 */
#define TCL_EPANIC -6

/**
 * Another process loads rules at this moment.
 */
#define TCL_ELOCKED -7

/**
 * A rule or the file of rules is wrong; the sentence says where.
 */
#define TCL_ERULES -8

/**
 * The functions of this executable cannot be replaced; the sentence says why.
 */
#define TCL_EINTERPOSE -9

/**
 * There are more connections than `tcl_audit_begin()` reserved memory for.
 */
#define TCL_EROOM -10

/**
 * Bytes for a source as text, the NUL included.
 */
#define TCL_SOURCE_TEXT 52

/**
 * Connections over the limit are rejected.
 */
#define TCL_MODE_ENFORCE 0

/**
 * They are admitted, counted and logged.
 */
#define TCL_MODE_MONITOR 1

/**
 * Nothing is checked.
 */
#define TCL_MODE_OFF 2

/**
 * A connection that cannot be counted is admitted: the table has no place for its
 * source, or, where functions are replaced, its descriptor is not tracked.
 */
#define TCL_ON_FULL_ADMIT 0

/**
 * It is rejected.
 */
#define TCL_ON_FULL_REJECT 1

/**
 * Rank by connections.
 */
#define TCL_BY_CONNECTIONS 0

/**
 * Rank by rejections, and connections that would have been rejected.
 */
#define TCL_BY_REJECTED 1

/**
 * Rank by peak.
 */
#define TCL_BY_PEAK 2

/**
 * Sources that a suggestion lists.
 */
#define TCL_SUGGEST_SOURCES 10

/**
 * There is no such time.
 */
#define TCL_NEVER UINT32_MAX

/**
 * An audit in progress.
 */
struct tcl_audit;

/**
 * What `tcl_init()` wants to know.
 */
struct tcl_config {
  /**
   * Connections the server allows, 1 to 100,000,000: sizes the table.
   */
  int32_t max_connections;
  /**
   * Connections of a source without a rule; 0 or less: any number.
   */
  int32_t limit;
  /**
   * Leading bits of an IPv4 address that make a source, 1 to 32.
   */
  int32_t ipv4_prefix;
  /**
   * Leading bits of an IPv6 address that make a source, 1 to 128.
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
};

/**
 * The table as a whole.
 */
struct tcl_stats {
  /**
   * Sources with connections.
   */
  uint64_t sources;
  /**
   * Their connections.
   */
  uint64_t connections;
  /**
   * Connections counted since the start or the last reset, as all that follow.
   */
  uint64_t admitted;
  /**
   * Connections rejected.
   */
  uint64_t rejected;
  /**
   * Connections that would have been rejected, in monitor mode.
   */
  uint64_t would_reject;
  /**
   * Those of `rejected` for whose source the table had no place.
   */
  uint64_t full_rejected;
  /**
   * Those of `rejected` whose descriptor is not tracked, see `untracked`.
   */
  uint64_t untracked_rejected;
  /**
   * The sum of the six that follow.
   */
  uint64_t errors;
  /**
   * Panics that were stopped.
   */
  uint64_t panics;
  /**
   * Connections admitted uncounted because the table had no place.
   */
  uint64_t table_full;
  /**
   * Connections admitted uncounted because functions are replaced and the
   * descriptor is not tracked: descriptors below `capacity` plus 65,536 are.
   */
  uint64_t untracked;
  /**
   * Calls with an address that is neither IPv4 nor IPv6.
   */
  uint64_t bad_address;
  /**
   * Releases of a token that names no connection.
   */
  uint64_t stale_token;
  /**
   * Descriptors that were given to a new connection while they were still
   * counted: a close was not seen. The old connection was taken off then.
   */
  uint64_t descriptor_reused;
  /**
   * Places for sources.
   */
  uint64_t slots;
  /**
   * Bytes of shared memory mapped for sources; rules have 6 MB beside it. A fifth
   * takes memory with `tcl_set_worker(0)`, the rest page by page when it is first
   * touched, also by a report.
   */
  uint64_t memory;
  /**
   * How often rules were loaded since the start.
   */
  uint64_t reloads;
  /**
   * Rejections that no line of the log tells one by one.
   */
  uint64_t log_suppressed;
  /**
   * Connections the table is made for.
   */
  uint32_t capacity;
  /**
   * Rules in force.
   */
  uint32_t rules;
  /**
   * Connections of a source without a rule; 0 or less: any number.
   */
  int32_t limit;
  /**
   * `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
   */
  int32_t mode;
  /**
   * `TCL_ON_FULL_ADMIT` or `TCL_ON_FULL_REJECT`.
   */
  int32_t on_full;
  /**
   * Leading bits of an IPv4 address that make a source.
   */
  int32_t ipv4_prefix;
  /**
   * Leading bits of an IPv6 address that make a source.
   */
  int32_t ipv6_prefix;
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
   * Prefix of its rule; "default" if it has none.
   */
  char rule[TCL_SOURCE_TEXT];
  /**
   * Its connections.
   */
  uint32_t connections;
  /**
   * Its limit; 0: none.
   */
  int32_t limit;
  /**
   * Rejections since it is in the table, or the last reset.
   */
  uint32_t rejected;
  /**
   * Connections that would have been rejected, in monitor mode.
   */
  uint32_t would_reject;
  /**
   * Most connections it had at a time: with 8 or more to the connection, else as
   * `tcl_watch()` saw it.
   */
  uint32_t peak;
  /**
   * Seconds since `tcl_watch()` saw it first; `TCL_NEVER`.
   */
  uint32_t first_seen;
  /**
   * Seconds since `tcl_watch()` saw it last with connections; `TCL_NEVER`.
   */
  uint32_t last_seen;
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
   * Connections of a source; 0: any number.
   */
  int32_t limit;
  /**
   * Its sources with connections.
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
   * Most connections it had at a time.
   */
  uint32_t peak;
};

/**
 * A limit that the peaks suggest.
 */
struct tcl_suggestion {
  /**
   * A rule's prefix; "default" for the sources without a rule.
   */
  char prefix[TCL_SOURCE_TEXT];
  /**
   * The limit now; 0: none.
   */
  int32_t limit;
  /**
   * Highest peak.
   */
  uint32_t highest;
  /**
   * 99 of 100 sources have no higher peak.
   */
  uint32_t p99;
  /**
   * Half as much again, at least 8.
   */
  int32_t proposed;
  /**
   * Sources in the table whose peak was seen.
   */
  uint64_t sources;
  /**
   * Those with a peak above `proposed`.
   */
  uint64_t above;
  /**
   * The highest of these; the rest has an empty text.
   */
  struct tcl_peak list[TCL_SUGGEST_SOURCES];
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
   * The host's connections without a token.
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
   * Address, with the prefix length if that is shorter than an address.
   */
  char text[TCL_SOURCE_TEXT];
  /**
   * Its connections in the host.
   */
  uint32_t host;
  /**
   * Its connections in our table.
   */
  uint32_t counted;
};

/**
 * The version of the library, for the host to compare with `TCL_VERSION`.
 */
const char *tcl_version(void);

/**
 * Makes the limiter of this process and of all that it forks from now on.
 *
 * On failure nothing is left behind, and up to `error_size` bytes of a sentence
 * that names the value or the reason are written to `error`, NUL included.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EALREADY`, `TCL_EMEM` or `TCL_EPANIC`.
 *
 * # Safety
 *
 * `config` and `host` are null or valid; the functions in `host` can be called
 * until the process ends; `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_init(const struct tcl_config *config,
                 const struct tcl_host *host,
                 char *error,
                 uintptr_t error_size);

/**
 * Puts rules in force, all at once: the `count` texts, then those in `file` (null:
 * none), 65,535 at most. All others cease to be. A text is `PREFIX=LIMIT`, the limit
 * 1 to 2147483647 or `unlimited`; the file has one in a line, `#` begins a comment,
 * and it has at most 16 MiB. If one is wrong, nothing has changed, and up to
 * `error_size` bytes of a sentence that names the place, the text, the reason and
 * the remedy are written to `error`, NUL included.
 *
 * Reads the file and allocates: not for the process that accepts connections.
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
 * Changes the limit of sources without a rule; 0 or less: any number. Closes no
 * connection; a source that is over it may open none until it fits.
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
 * Writes limit and mode that are in force to `limit` and `mode`.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `limit` and `mode` are null or valid for writing.
 */
int32_t tcl_in_force(int32_t *limit, int32_t *mode);

/**
 * Begins all statistics anew: totals, the rejections of sources and rules, and the
 * peaks, which are then what each source has now. Counts of connections stay.
 *
 * Returns `TCL_OK` or `TCL_EINIT`.
 */
int32_t tcl_reset_stats(void);

/**
 * Samples the sources, and tells the host of rejections since the last call: the
 * first of a source in `log_interval` seconds in a line of its own and by
 * `rejected()`, the others in one line at the end of the interval.
 *
 * To be called once a second, always from the same process, which is none that
 * accepts connections.
 *
 * Returns `TCL_OK`, `TCL_EARG` if `log_interval` is 0, or `TCL_EINIT`.
 */
int32_t tcl_watch(uint32_t log_interval);

/**
 * Tells the limiter which worker this process is: 0 for the one that accepts
 * connections, for the others any other number. To be called after each fork.
 *
 * With 0 it also has the system allocate the memory that is used for each connection,
 * about 52 bytes for each of `max_connections`, up to 1 GiB. This takes some
 * microseconds for each page: a millisecond or two for 35,000 connections, 50 ms for a
 * million. So call it before connections are accepted, on the CPU or memory node that is to
 * accept them. If the system refuses, one line is logged, and each page is allocated
 * when a connection first needs it.
 */
void tcl_set_worker(uint32_t worker);

/**
 * May the address, in network byte order, open one more connection? 4 bytes are IPv4,
 * 16 are IPv6; what is neither is admitted, and counted as an error.
 *
 * Returns 1 if its source is at its limit or over it, or has no place in the table
 * and the policy is to reject it: the connection is to be closed. Returns 0 to
 * admit it, in monitor mode and with the mode off always. A rejection is counted, or
 * in monitor mode that it would have been one; to log is `tcl_watch()`'s.
 *
 * Between this and `tcl_opened()` another thread or process may do the same: so many
 * as accept at the same moment may come on top of the limit. With one that accepts,
 * as in Kamailio, the limit is exact.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
int tcl_check(const uint8_t *address, uint32_t length);

/**
 * Counts a connection of the address, in network byte order, of 4 or 16 bytes,
 * whatever the limit.
 *
 * Returns a token for `tcl_closed()`, or 0 if the connection is not counted
 * (there is no place for its source, or this is no address); then there is
 * nothing to release.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes.
 */
uint64_t tcl_opened(const uint8_t *address, uint32_t length);

/**
 * Takes off the connection that `token` was given for, from any process. A token
 * is to be released once; 0 is no token and releases nothing.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_ESTALE` if the token names no connection:
 * nothing was changed, and it was counted as an error.
 */
int32_t tcl_closed(uint64_t token);

/**
 * The core's own function, for whoever binds to this library by that name: 1 if
 * the source of `address` has `limit` connections or more, 0 if not, or if
 * `limit` is 0 or less, whatever rules and mode. Counts a rejection in the
 * totals alone and leaves the log to the caller, as the core's function does.
 *
 * Inside Kamailio this name means the core's function, since the dynamic linker
 * prefers the executable; the module calls `tcl_check()`.
 *
 * # Safety
 *
 * `address` is null or points to a `struct sockaddr_in` or `sockaddr_in6`, as its
 * family tells, or to another `struct sockaddr`, of which only the family is read.
 */
int tcp_connection_limit_srcip(union sockaddr_union *address, int limit);

/**
 * Whether the functions by which this executable accepts and closes connections can
 * be replaced. Changes nothing.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, `TCL_EALREADY` if they are replaced, or
 * `TCL_EINTERPOSE` if something is missing or not known; with the last two, up to
 * `error_size` bytes of a sentence that says so are written to `error`, NUL included.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_interpose_find(char *error, uintptr_t error_size);

/**
 * Replaces, in this process and all that it forks from now on, the functions by
 * which the executable accepts and closes connections; they do what they did until
 * `tcl_interpose_activate()`. To be called while the process has one thread.
 *
 * Returns as `tcl_interpose_find()`, or `TCL_EMEM`, also with a sentence; unless it is
 * `TCL_OK`, nothing has changed.
 *
 * # Safety
 *
 * `error` is null or has room for `error_size` bytes.
 */
int32_t tcl_interpose_attach(char *error, uintptr_t error_size);

/**
 * From here on this process counts the connections that its executable accepts, and
 * rejects those over the limit: they are closed and `accept()` fails with `EAGAIN`,
 * without waiting, also where the listening socket blocks. To be called in the one
 * process that accepts.
 *
 * Returns `TCL_OK`, `TCL_EINTERPOSE` if nothing is attached, `TCL_EALREADY` if another
 * process counts, or `TCL_EINIT`.
 */
int32_t tcl_interpose_activate(void);

/**
 * Whether the connection is counted that has this descriptor in the process that
 * called `tcl_interpose_activate()`. May be asked in any process.
 *
 * Returns 1, or 0 if it is not counted: there was no place for its source, or its
 * descriptor is not tracked.
 */
int tcl_interpose_counted(int descriptor);

/**
 * Takes back, in this process, what `tcl_interpose_attach()` has replaced, and takes
 * off what it has counted. Nothing to do is no error.
 *
 * Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EINTERPOSE` if somebody else has replaced
 * the functions since: theirs stay, and can go on calling ours.
 */
int32_t tcl_interpose_detach(void);

/**
 * The table as a whole. Counts `sources` and `connections` in a walk through the table:
 * about 10 ms if it is for a million connections.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `stats` is null or valid for writing.
 */
int32_t tcl_stats(struct tcl_stats *stats);

/**
 * The same without a walk: `sources` and `connections` are as `tcl_watch()` counted
 * them last, 0 before its first call. All other numbers are those of now.
 *
 * Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
 *
 * # Safety
 *
 * `stats` is null or valid for writing.
 */
int32_t tcl_stats_sampled(struct tcl_stats *stats);

/**
 * Bytes of the table that are in huge pages (of 2 MiB): none, or most of those that
 * `tcl_set_worker(0)` allocates. A table has them from 2 MiB of these on (38,000
 * connections), where the setting
 * `/sys/kernel/mm/transparent_hugepage/shmem_enabled` was `advise` or `always` when
 * `tcl_set_worker(0)` was called.
 *
 * Reads a file: not for the process that accepts connections, and not part of
 * `tcl_stats()`, which others may call many times a second. Returns 0 before
 * `tcl_init()`, and where `/proc` does not show it.
 */
uint64_t tcl_huge_pages(void);

/**
 * The source of an address in network byte order, of 4 or 16 bytes. If it has no place
 * in the table, its numbers are 0 and its times `TCL_NEVER`; text, rule and limit are
 * what they would be.
 *
 * Returns `TCL_OK`, `TCL_EARG` (`source` is null, or this is no address) or
 * `TCL_EINIT`.
 *
 * # Safety
 *
 * `address` is null or points to `length` bytes; `source` is null or valid for
 * writing.
 */
int32_t tcl_get(const uint8_t *address, uint32_t length, struct tcl_source *source);

/**
 * Writes the up to `room` first sources by `TCL_BY_CONNECTIONS`, `TCL_BY_REJECTED`
 * or `TCL_BY_PEAK`, highest first, none that has 0 of it.
 *
 * Returns how many, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `sources` is null or has room for `room` of them.
 */
int32_t tcl_top(struct tcl_source *sources, uint32_t room, int32_t by);

/**
 * Writes the up to `room` sources in `prefix` (null: all) with most connections,
 * most first, and how many with connections there are.
 *
 * Returns how many were written, or `TCL_EARG` (`prefix` is none: up to
 * `error_size` bytes of a sentence are written to `error`; or `sources` is null and
 * `room` is not 0: nothing is), `TCL_EINIT` or `TCL_EMEM`.
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
 * Writes up to `room` rules with what their sources have, sorted by prefix, the
 * sources without a rule last.
 *
 * Returns how many there are, whatever the room, or `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `rules` is null or has room for `room` of them.
 */
int32_t tcl_rules(struct tcl_rule *rules, uint32_t room);

/**
 * Writes up to `room` suggestions, one for each rule, sorted by prefix, and one for
 * the sources without a rule, which is the last.
 *
 * Returns how many there are, whatever the room, or `TCL_EINIT` or `TCL_EMEM`.
 *
 * # Safety
 *
 * `suggestions` is null or has room for `room` of them.
 */
int32_t tcl_suggest(struct tcl_suggestion *suggestions, uint32_t room);

/**
 * Begins an audit of `connections` connections and up to an eighth and 1,024 more.
 * Reserves 90 bytes for each of them, and writes to all of this memory, so that what
 * follows has no page faults. Null if there is no memory, or before `tcl_init()`.
 * `tcl_audit_end()` must follow.
 */
struct tcl_audit *tcl_audit_begin(uint32_t connections);

/**
 * Copies a connection of the host, by its address in network byte order, of 4 or 16
 * bytes, and its token.
 * The host calls it for each of them, then `tcl_audit_counts()`, while none can be
 * opened or closed. Both allocate nothing.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or, if a new audit with more memory must
 * begin, `TCL_EROOM`.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`; `address` is null or points
 * to `length` bytes.
 */
int32_t tcl_audit_connection(struct tcl_audit *audit,
                             const uint8_t *address,
                             uint32_t length,
                             uint64_t token);

/**
 * Copies our counts, the last step before the host may open and close connections
 * again.
 *
 * Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EROOM`.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`.
 */
int32_t tcl_audit_counts(struct tcl_audit *audit);

/**
 * Compares the copies, and writes the sums and the up to `room` first differences.
 *
 * Returns how many differences were written, or `TCL_EARG` or `TCL_EINIT`.
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
 * Ends an audit.
 *
 * # Safety
 *
 * `audit` is null or comes from `tcl_audit_begin()`, and is not used any more.
 */
void tcl_audit_end(struct tcl_audit *audit);

#endif  /* TCP_CONN_LIMIT_H */
