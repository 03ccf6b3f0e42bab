// SPDX-License-Identifier: GPL-2.0-or-later
//! Reports for operators.

use core::ffi::{CStr, c_char, c_int};
use core::fmt;

use super::codes::{
    TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_LISTENER_TEXT, TCL_REASON_TEXT, TCL_SCOPE_TEXT,
    TCL_SOURCE_TEXT, TCL_TERMS_TEXT,
};
use super::global::{Global, guard};
use super::memory::{bytes, put, text, write_text};
use super::restraints::tcl_rate;
use crate::limiter::RejectedFor;
use crate::observe::counters::COUNTERS;
use crate::observe::report::{
    By, Group, Of, Report, RuleName, SourceReport, Suggestion, seconds_since,
};
use crate::policy::rule_words::TermsText;
use crate::policy::terms::Terms;
use crate::shared::visible::Excerpt;
use crate::source::{Named, Prefix, Source};

/// Rank by connections.
pub const TCL_BY_CONNECTIONS: i32 = 0;
/// Rank by rejections, including those that would have happened in monitor mode.
pub const TCL_BY_REJECTED: i32 = 1;
/// Rank by peak.
pub const TCL_BY_PEAK: i32 = 2;
/// Rank by what sources owe at their rates, in time.
pub const TCL_BY_OWED: i32 = 3;
/// Rank by connections that are not trusted.
pub const TCL_BY_UNTRUSTED: i32 = 4;

/// Number of sources that a suggestion lists.
pub const TCL_SUGGEST_SOURCES: usize = 10;

/// Size of the origin of a rule as text, in bytes, including the NUL.
pub const TCL_ORIGIN_TEXT: usize = 20;

/// Size of a histogram as text, in bytes, including the NUL.
pub const TCL_HISTOGRAM_TEXT: usize = 512;

/// Stands for a time that does not exist.
pub const TCL_NEVER: u32 = u32::MAX;

/// `tcl_stats()` writes at most this many numbers.
pub const TCL_MAX_COUNTERS: usize = 96;
const _: () = assert!(COUNTERS.len() <= TCL_MAX_COUNTERS);

/// What a counter means.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_counter {
    /// Its name, valid until the process ends.
    pub name: *const c_char,
    /// What it counts and since when, valid until the process ends.
    pub help: *const c_char,
    /// 1 if a report of all counters should show its value; 0 if it should show the
    /// setting in another form, such as the name of a mode.
    pub in_stats: i32,
}

/// A source.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_source {
    /// Address, with the prefix length if that is shorter than an address.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// "source", or "network" if it is a network.
    pub scope: [c_char; TCL_SCOPE_TEXT],
    /// Prefix of its rule; "default" if no rule applies to it.
    pub rule: [c_char; TCL_SOURCE_TEXT],
    /// What its rule says after the `=`; the default limit if no rule applies to it.
    pub terms: [c_char; TCL_TERMS_TEXT],
    /// Its connections.
    pub connections: u32,
    /// Its limit; 0: no limit.
    pub limit: i32,
    /// Its rejections since it entered the table, or since the last reset.
    pub rejected: u32,
    /// Connections that would have been rejected, in monitor mode.
    pub would_reject: u32,
    /// The most connections it had at a time: exact from 8 on, below that as sampled by
    /// `tcl_watch()`.
    pub peak: u32,
    /// Seconds since it was first seen, or `TCL_NEVER` if it was not: `tcl_watch()` sees the
    /// sources in the table, and this report sees those with connections.
    pub first_seen: u32,
    /// Seconds since it was last seen with connections, 0 if it has connections now, or
    /// `TCL_NEVER`.
    pub last_seen: u32,
    /// Why a connection of it was last rejected, or would have been: "limit", "rate", "ban",
    /// "untrusted", "reserve", "pressure" or "cluster"; "" if none was.
    pub rejected_for: [c_char; TCL_REASON_TEXT],
    /// Why it is banned: "silent", "tls", "rejected", "rate", "script" or "rpc"; "" if it
    /// is not.
    pub ban_reason: [c_char; TCL_REASON_TEXT],
    /// Seconds until its ban ends, rounded up; 0: it is not banned.
    pub banned: u32,
    /// Connections rejected since its ban began, or that would have been.
    pub ban_rejected: u32,
    /// The sum of its offences in seconds, rounded up, if that is not a ban.
    pub penalty: u32,
    /// How many connections of its burst it has used up, rounded up. It may open the rest at
    /// once, and gets them back at its rate.
    pub owed: u32,
    /// Its rate.
    pub rate: tcl_rate,
    /// 1 if a rule exempts it from penalties and bans, else 0.
    pub exempt: i32,
    /// The listener whose connections these are, if rules name it and it counts apart, such
    /// as "tcp:192.0.2.1:5060"; "": all others.
    pub listener: [c_char; TCL_LISTENER_TEXT],
    /// Its trusted connections: all if its rule trusts it; 0 if connections cannot be trusted.
    pub trusted: u32,
    /// Its other connections; 0 if connections cannot be trusted.
    pub untrusted: u32,
    /// Its limit of untrusted connections; 0: no limit.
    pub untrusted_limit: i32,
    /// 1 if a rule says that it is trusted, else 0.
    pub trusted_rule: i32,
    /// Its limit now, which pressure may have lowered; 0: no limit.
    pub effective_limit: i32,
    /// 1 if it cannot connect because only connections of the reserve are left, else 0.
    pub reserved: i32,
    /// 1 if it counts in its network, and that is at its limit or over its rate, else 0.
    pub over_network: i32,
    /// Its connections on the other nodes of the cluster, as far as they are known.
    pub others: u32,
    /// Its limit over all nodes of the cluster; 0: no limit.
    pub cluster_limit: i32,
}

/// A rule.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_rule {
    /// Its prefix; "default" for the sources without a rule.
    pub prefix: [c_char; TCL_SOURCE_TEXT],
    /// Where it comes from: "modparam" or "file:" and a number, "rpc", "ban" or "default".
    pub origin: [c_char; TCL_ORIGIN_TEXT],
    /// What it says after the `=`, as a rule for this prefix would be written; for a ban what
    /// applies without it.
    pub terms: [c_char; TCL_TERMS_TEXT],
    /// Limit of each source, in connections; 0: no limit.
    pub limit: i32,
    /// Seconds until it ends, or `TCL_NEVER`.
    pub seconds: u32,
    /// Its sources that have connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Rejections of its sources.
    pub rejected: u64,
    /// Connections that would have been rejected, in monitor mode.
    pub would_reject: u64,
}

/// A source and its peak.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_peak {
    /// Address, with the prefix length if that is shorter than an address.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// The most connections it had at a time.
    pub peak: u32,
}

/// A limit suggested by the peaks.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_suggestion {
    /// A rule's prefix; "default" for the sources without a rule.
    pub prefix: [c_char; TCL_SOURCE_TEXT],
    /// The current limit; 0: no limit.
    pub limit: i32,
    /// Highest peak.
    pub highest: u32,
    /// 99 if there are 100 sources or more, 90 if there are 10 or more, else 50.
    pub percentile: u32,
    /// This percentage of the sources have no higher peak.
    pub usual: u32,
    /// The proposed limit: one and a half times `usual`, but at least 8.
    pub proposed: i32,
    /// How many sources have which peak, such as "1: 120, 2: 30, 3-4: 7"; empty if there are
    /// no sources.
    pub peaks: [c_char; TCL_HISTOGRAM_TEXT],
    /// Which share of the sources each limit would have hit, such as "1: 23.57 %, 2: 4.46
    /// %, 4: 0 %"; empty if there are no sources.
    pub hit: [c_char; TCL_HISTOGRAM_TEXT],
    /// Sources in the table that have a peak.
    pub sources: u64,
    /// Those with a peak above `proposed`.
    pub above: u64,
    /// The highest of these; unused entries have an empty text.
    pub list: [tcl_peak; TCL_SUGGEST_SOURCES],
}

/// Describes counter number `index`, also before `tcl_init()`. The counters have the
/// numbers from 0 on, without gaps.
///
/// Returns `TCL_OK`, or `TCL_EARG` if `counter` is null or there is no such counter.
///
/// # Safety
///
/// `counter` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_counter(index: u32, counter: *mut tcl_counter) -> i32 {
    let Some(description) = COUNTERS.get(index as usize) else {
        return TCL_EARG;
    };
    let value = tcl_counter {
        name: description.name.as_ptr(),
        help: description.help.as_ptr(),
        in_stats: description.in_stats.into(),
    };
    // SAFETY: null or valid, as the caller promises.
    unsafe { put(counter, value) }
}

/// The value of counter number `index`. Does not walk through the table: `sources` and
/// `connections` are those that `tcl_watch()` counted last, 0 before its first call. All
/// other values are current.
///
/// Returns 0 before `tcl_init()`, and if there is no such counter.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_counter_value(index: u32) -> u64 {
    guard(0, |global| {
        let limiter = &global.limiter;
        let values = limiter
            .counters(global.report().last_occupancy())
            .in_order();
        values.get(index as usize).copied().unwrap_or(0)
    })
}

/// Writes the current values of the counters in the order of their numbers, at most
/// `room`. Walks through the table to count `sources` and `connections`, which takes about
/// 10 ms if it is sized for a million connections.
///
/// Returns the number of values written, or `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `values` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_stats(values: *mut u64, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if values.is_null() {
            return TCL_EARG;
        }
        let limiter = &global.limiter;
        let current = limiter.counters(global.report().occupancy()).in_order();
        // SAFETY: at most `room`, and there is room for `room` of them, as the caller
        // promises.
        unsafe { write_all(values, current.into_iter().take(room as usize)) }
    })
}

/// Bytes of the table that are in huge pages of 2 MiB: either none, or most of the bytes
/// that `tcl_set_worker(0)` allocates. A table has huge pages if those bytes are 2 MiB
/// or more (29,000 connections) and the setting
/// `/sys/kernel/mm/transparent_hugepage/shmem_enabled` was `advise` or `always` when
/// `tcl_set_worker(0)` was called.
///
/// Reads a file, so the process that accepts connections should not call it. For the
/// same reason it is not a counter: those may be read many times a second.
/// Returns 0 before `tcl_init()`, and if `/proc` does not show the number.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_huge_pages() -> u64 {
    guard(0, |global| global.limiter.huge_bytes())
}

/// Reports the source of an address (network byte order, 4 or 16 bytes). If it has no
/// slot in the table, its numbers are 0 and its times are `TCL_NEVER`; text, rule and
/// limit are those that it would have. If a rule with a prefix longer than a source
/// contains the address, rule and limit are those of this rule. `listener` is that of
/// `tcl_check()`: if rules name it, the report is about its connections.
///
/// Returns `TCL_OK`, `TCL_EARG` (`source` is null, or the address is invalid) or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `address` is null or points to `length` bytes; `source` is null or valid for
/// writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_get(
    address: *const u8,
    length: u32,
    listener: c_int,
    source: *mut tcl_source,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let bytes = unsafe { bytes(address, length) };
        let limiter = &global.limiter;
        let Some(key) = limiter.source(bytes) else {
            return TCL_EARG;
        };
        let key = limiter.on_listener(key, listener);
        let value = global.describe_named(key, limiter.host(bytes));
        // SAFETY: null or valid, as the caller promises.
        unsafe { put(source, value) }
    })
}

/// As `tcl_get()`, for a text of `length` bytes: an address, `192.0.2.1` or `2001:db8::1`,
/// perhaps in brackets, with a zone or a port; or a network `ADDRESS/LENGTH` whose addresses
/// all belong to one source, as `tcl_source.text` shows it. A network has the rule and the
/// limit of its source. `listener` is that of `tcl_get()`.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`. `TCL_EARG` means that the text does not name
/// a source, and a text with the reason and the remedy is written to `error`, truncated to
/// `error_size` bytes including the NUL; or that `source` is null, and nothing is written to
/// `error`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `source` is null or valid for writing;
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_find(
    name: *const u8,
    length: u32,
    listener: c_int,
    source: *mut tcl_source,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        match global.read_source(name) {
            Ok(Named { source: key, host }) => {
                let key = global.limiter.on_listener(key, listener);
                let value = global.describe_named(key, host);
                // SAFETY: null or valid, as the caller promises.
                unsafe { put(source, value) }
            }
            Err(reason) => {
                let sentence = format!("invalid address `{}`: {reason}", Excerpt::of(name));
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &sentence) };
                TCL_EARG
            }
        }
    })
}

/// Writes the age in seconds of the oldest connection of a source, or `TCL_NEVER` if it has
/// no connection. `name` is a text as for `tcl_find()`. The age may be a second too high.
/// Reads the record of each descriptor that is tracked: 16 bytes for each of
/// `max_connections`, and 1 MiB.
///
/// Returns `TCL_OK`, `TCL_EARG` (the text does not name a source, or `seconds` is null) or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `seconds` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_oldest(name: *const u8, length: u32, seconds: *mut u32) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        let Ok(named) = global.read_source(name) else {
            return TCL_EARG;
        };
        let oldest = global.limiter.oldest(named.source, global.now());
        // SAFETY: null or valid, as the caller promises.
        unsafe { put(seconds, oldest.unwrap_or(TCL_NEVER)) }
    })
}

/// Writes at most `room` sources ranked by `TCL_BY_CONNECTIONS`, `TCL_BY_REJECTED`,
/// `TCL_BY_PEAK`, `TCL_BY_OWED` or `TCL_BY_UNTRUSTED`, highest first. Sources whose number is 0 are left out.
///
/// Returns the number of sources written, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `sources` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_top(sources: *mut tcl_source, room: u32, by: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(by) = by_of(by) else {
            return TCL_EARG;
        };
        // SAFETY: null or room for `room` sources, as the caller promises.
        unsafe { global.rank(Of::Sources, sources, room, by, None) }.0
    })
}

/// The order with this number.
pub(super) fn by_of(by: i32) -> Option<By> {
    Some(match by {
        TCL_BY_CONNECTIONS => By::Connections,
        TCL_BY_REJECTED => By::Rejected,
        TCL_BY_PEAK => By::Peak,
        TCL_BY_OWED => By::Owed,
        TCL_BY_UNTRUSTED => By::Untrusted,
        _ => return None,
    })
}

/// The scope of a source, in answers and events.
pub(super) fn scope_name(source: Source) -> &'static CStr {
    match source.is_network() {
        true => c"network",
        false => c"source",
    }
}

/// Writes the sources in `prefix` (null: all sources) with the most connections, at most
/// `room` of them, highest first, and the number of sources in it that have connections
/// to `total`.
///
/// Returns the number of sources written, `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
/// `TCL_EARG` means that `prefix` is invalid, and a text with the reason is written to
/// `error`, truncated to `error_size` bytes including the NUL; or that `sources` is
/// null, and nothing is written to `error`.
///
/// # Safety
///
/// `prefix` is null or a string; `sources` is null or has room for `room` of them;
/// `total` is null or valid for writing; `error` is null or has room for
/// `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_list(
    prefix: *const c_char,
    sources: *mut tcl_source,
    room: u32,
    total: *mut u64,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or a string, as the caller promises.
        let prefix = match unsafe { text(prefix) } {
            None => None,
            Some(prefix) => {
                let prefix = prefix.to_string_lossy();
                match Prefix::parse(&prefix, global.limiter.prefixes()) {
                    Ok(prefix) => Some(prefix),
                    Err(reason) => {
                        let sentence = format!("`{}`: {reason}", Excerpt::of(prefix.as_bytes()));
                        // SAFETY: null or `error_size` bytes, as the caller promises.
                        unsafe { write_text(error, error_size, &sentence) };
                        return TCL_EARG;
                    }
                }
            }
        };
        // SAFETY: null or room for `room` sources, as the caller promises.
        let (written, found) = unsafe {
            let of = Of::Sources;
            global.rank(of, sources, room, By::Connections, prefix)
        };
        // SAFETY: null or valid, as the caller promises. A null pointer is allowed here.
        let _ = unsafe { put(total, found) };
        written
    })
}

/// The number of active rules; 0 before `tcl_init()`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_rules_count() -> u32 {
    // There are at most 65,535.
    guard(0, |global| global.limiter.rules_len() as u32)
}

/// Writes at most `room` rules with the numbers of their sources, sorted by prefix. The
/// last one stands for the sources without a rule and is always included. If there are more
/// than `room`, rules with sources or rejections take precedence over others.
///
/// Allocates up to 7 MB if there are 65,535 rules, and frees it.
///
/// Returns the number of rules written, or `TCL_EARG` (`rules` is null), `TCL_EINIT` or
/// `TCL_EMEM`.
///
/// # Safety
///
/// `rules` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rules(rules: *mut tcl_rule, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if rules.is_null() {
            return TCL_EARG;
        }
        let Ok(groups) = global.report().groups(room as usize) else {
            return TCL_EMEM;
        };
        let values = groups.iter().map(|group| global.rule(group));
        // SAFETY: there are at most `room` groups, and there is room for `room` of them, as
        // the caller promises.
        unsafe { write_all(rules, values) }
    })
}

/// Writes at most `room` suggestions, sorted by prefix: one for each rule, and a last one
/// for the sources without a rule, which is always included. If there are more than `room`,
/// rules whose sources have a peak take precedence over others.
///
/// Allocates up to 7 MB if there are 65,535 rules, and 480 bytes for each suggestion that it
/// writes, and frees it.
///
/// Returns the number of suggestions written, or `TCL_EARG` (`suggestions` is null),
/// `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `suggestions` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_suggest(suggestions: *mut tcl_suggestion, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if suggestions.is_null() {
            return TCL_EARG;
        }
        let Ok(found) = global.report().suggest(room as usize, TCL_SUGGEST_SOURCES) else {
            return TCL_EMEM;
        };
        let limit = global.limiter.limit();
        let values = found.iter().map(|one| global.suggestion(one, limit));
        // SAFETY: there are at most `room` suggestions, and there is room for `room` of
        // them, as the caller promises.
        unsafe { write_all(suggestions, values) }
    })
}

impl Global {
    fn report(&self) -> Report<'_> {
        Report::of(&self.limiter)
    }

    /// A source; if an address in it is named, with the rule and the limit of the address.
    pub(super) fn describe_named(&self, source: Source, host: Option<Source>) -> tcl_source {
        let report = self.report();
        self.describe_with(&report.get(source), host)
    }

    /// Writes the sources that rank highest in `by`. Returns how many were written, or a
    /// code, and how many there are in all.
    ///
    /// # Safety
    ///
    /// `sources` is null or has room for `room` of them.
    pub(super) unsafe fn rank(
        &self,
        of: Of,
        sources: *mut tcl_source,
        room: u32,
        by: By,
        prefix: Option<Prefix>,
    ) -> (i32, u64) {
        if sources.is_null() {
            return (TCL_EARG, 0);
        }
        let Ok((top, found)) = self.report().top_of(of, room as usize, by, prefix) else {
            return (TCL_EMEM, 0);
        };
        let values = top.iter().map(|report| self.describe(report));
        // SAFETY: `top` has at most `room` reports, and there is room for `room` of them,
        // as the caller promises.
        (unsafe { write_all(sources, values) }, found)
    }

    fn describe(&self, report: &SourceReport) -> tcl_source {
        self.describe_with(report, None)
    }

    /// A source, with the rule and the ban of the address `host` in it.
    fn describe_with(&self, report: &SourceReport, host: Option<Source>) -> tcl_source {
        let (rule, terms) = self.report().terms_of(report.source, host);
        let now = self.now();
        let has_connections = report.connections > 0;
        // A source with connections that was not sampled yet is seen here and now.
        let not_sampled = if has_connections { 0 } else { TCL_NEVER };
        let first_seen = seconds_since(report.first_seen, now).unwrap_or(not_sampled);
        let last_seen = match has_connections {
            true => 0,
            false => seconds_since(report.last_seen, now).unwrap_or(TCL_NEVER),
        };
        let ban = self.report().ban_in_effect(report.source, host, now);
        // An address in the source may have a rule of its own, which alone decides.
        let penalty = match host {
            Some(_) => self.report().penalty_of(report.source),
            None => report.penalty,
        };
        let offences = penalty.filter(|penalty| !penalty.banned && !terms.exempt);
        let default_rate = self.limiter.default_rate(report.source);
        let is_network = report.source.is_network();
        let is_reserved = self.limiter.load_report().is_reserved();
        let rate = terms.rate.or_default(default_rate);
        tcl_source {
            text: self.address_text(report.source),
            scope: self.text(scope_name(report.source).to_string_lossy()),
            rule: self.text(RuleName(rule)),
            terms: self.text(TermsText(terms)),
            connections: report.connections,
            limit: terms.limit.max(0),
            rejected: report.rejected,
            would_reject: report.would_reject,
            peak: report.peak,
            first_seen,
            last_seen,
            rejected_for: self.text(report.rejected_for.map_or("", RejectedFor::name)),
            ban_reason: self.text(ban.map_or("", |ban| ban.cause.name())),
            banned: ban.map_or(0, |ban| ban.seconds_left()),
            ban_rejected: ban.map_or(0, |ban| ban.rejected),
            penalty: offences.map_or(0, |offences| offences.seconds_left()),
            owed: rate.owed(report.owed_us),
            rate: self.rate(rate),
            exempt: terms.exempt.into(),
            listener: match report.listener {
                Some(listener) => self.text(listener),
                None => [0; TCL_LISTENER_TEXT],
            },
            trusted: report.trusted,
            untrusted: match self.limiter.has_trust() {
                true => report.untrusted(),
                false => 0,
            },
            // Limits fit.
            untrusted_limit: match is_network {
                true => 0,
                false => terms
                    .untrusted_limit(self.limiter.untrusted_limit())
                    .cast_signed(),
            },
            trusted_rule: terms.trusted.into(),
            effective_limit: self.report().effective_limit(report.source, terms),
            reserved: (is_reserved && !terms.trusted && !is_network).into(),
            over_network: (terms.count_in_network() && self.is_network_closed(report.source))
                .into(),
            others: self.limiter.others(report.source),
            cluster_limit: match self.limiter.has_cluster() {
                true => terms
                    .cluster_limit(self.limiter.cluster_limit())
                    .cast_signed(),
                false => 0,
            },
        }
    }

    /// Whether the network of `source` is at its limit or over its rate.
    fn is_network_closed(&self, source: Source) -> bool {
        let network = self.limiter.network(source);
        network.is_some_and(|network| {
            let now = self.report().get(network);
            let (_, limit) = self.report().rule_of(network);
            let rate = self.report().rate_of(network);
            (limit > 0 && now.connections >= limit.unsigned_abs())
                || (!rate.is_none() && now.owed_us > rate.tolerance_us())
        })
    }

    /// The address of a source or network, with the prefix length if that is shorter.
    pub(super) fn address_text(&self, source: Source) -> [c_char; TCL_SOURCE_TEXT] {
        self.text(source.addresses(self.limiter.prefixes()))
    }

    fn rule(&self, group: &Group) -> tcl_rule {
        let terms = match group.rule {
            Some(rule) => rule.terms,
            None => Terms::of_default(self.limiter.limit()),
        };
        tcl_rule {
            prefix: self.text(RuleName(group.rule.map(|rule| rule.prefix))),
            origin: match group.rule {
                Some(rule) => self.text(rule.origin),
                None => self.text("default"),
            },
            terms: self.text(TermsText(terms)),
            limit: terms.limit.max(0),
            seconds: group
                .rule
                .and_then(|rule| rule.origin.seconds_left(self.now()))
                .unwrap_or(TCL_NEVER),
            sources: group.sources,
            connections: group.connections,
            rejected: group.rejected,
            would_reject: group.would_reject,
        }
    }

    pub(super) fn suggestion(&self, suggestion: &Suggestion, default_limit: i32) -> tcl_suggestion {
        let mut list = [tcl_peak {
            text: [0; TCL_SOURCE_TEXT],
            peak: 0,
        }; TCL_SUGGEST_SOURCES];
        for (to, (source, peak)) in list.iter_mut().zip(&suggestion.list) {
            to.text = self.address_text(*source);
            to.peak = *peak;
        }
        let limit = suggestion.limit.unwrap_or(default_limit);
        tcl_suggestion {
            prefix: self.text(RuleName(suggestion.rule)),
            limit: limit.max(0),
            highest: suggestion.highest,
            percentile: suggestion.percentile,
            usual: suggestion.usual,
            proposed: i32::try_from(suggestion.proposed).unwrap_or(i32::MAX),
            sources: suggestion.sources,
            peaks: histogram_text(suggestion.histogram.by_peak()),
            hit: histogram_text(suggestion.histogram.hit_by_limit()),
            above: suggestion.above,
            list,
        }
    }
}

pub(super) fn histogram_text(histogram: impl fmt::Display) -> [c_char; TCL_HISTOGRAM_TEXT] {
    let mut text = [0; TCL_HISTOGRAM_TEXT];
    // SAFETY: there is room for TCL_HISTOGRAM_TEXT bytes.
    unsafe { write_text(text.as_mut_ptr(), text.len(), &histogram.to_string()) };
    text
}

/// Writes `values` one after another. Returns their number.
///
/// # Safety
///
/// `to` has room for all of them.
pub(super) unsafe fn write_all<T>(to: *mut T, values: impl Iterator<Item = T>) -> i32 {
    let mut written = 0;
    for value in values {
        // SAFETY: there is room for all values, as the caller promises.
        unsafe { to.add(written).write(value) };
        written += 1;
    }
    i32::try_from(written).unwrap_or(i32::MAX)
}
