// SPDX-License-Identifier: GPL-2.0-or-later
//! Networks: their settings, and reports about them.

use core::ffi::c_char;

use super::codes::{TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_OK};
use super::global::{Global, guard};
use super::init::rate_from;
use super::memory::{bytes, put};
use super::reports::{TCL_SUGGEST_SOURCES, by_of, tcl_source, tcl_suggestion, write_all};
use super::restraints::{set_valid, tcl_rate, tcl_rate_suggestion};
use super::rules::any_rule;
use crate::limiter::Limiter;
use crate::observe::debts::RateSuggestion;
use crate::observe::report::{By, Of, Report};
use crate::policy::rules::rules_have_networks;
use crate::source::{Prefix, Source};

/// Whether one of these rules is for networks, as `tcl_rules_load()` would read them. Needs
/// no limiter, so a host can decide to count networks before it calls `tcl_init()`. Invalid
/// rules are skipped.
///
/// Reads the file and allocates, so the process that accepts connections should not call
/// it.
///
/// Returns 1 or 0.
///
/// # Safety
///
/// `texts` is null or points to `count` pointers, each null or a string; `file` is null or a
/// string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_rules_have_networks(
    texts: *const *const c_char,
    count: u32,
    file: *const c_char,
) -> i32 {
    // SAFETY: as the caller promises.
    unsafe {
        any_rule(texts, count, file, |texts, file| {
            rules_have_networks(texts, file)
        })
    }
}

/// Changes the limit of networks without a rule; 0 or less: no limit.
///
/// Returns `TCL_OK`, `TCL_EARG` (networks are not counted) or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_network_limit(limit: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        if global.limiter.prefixes().networks().is_none() {
            return TCL_EARG;
        }
        global.limiter.set_network_limit(limit);
        TCL_OK
    })
}

/// Changes the rate of networks without another one, as `tcl_set_rate()` does for sources.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EARG`: as for `tcl_set_rate()`, or networks are not
/// counted.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_set_network_rate(
    interval_us: u32,
    burst: u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        let rate = match global.limiter.prefixes().networks() {
            Some(_) => rate_from(interval_us, burst),
            None => Err("networks are not counted".to_owned()),
        };
        let set = |rate| global.limiter.set_network_rate(rate);
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { set_valid(rate, set, error, error_size) }
    })
}

/// Writes the limit (0: no limit) and the rate of networks without a rule.
///
/// Returns 1; 0 if networks are not counted, and then nothing is written; or `TCL_EARG` or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `limit` and `rate` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_network_settings(limit: *mut i32, rate: *mut tcl_rate) -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        if limiter.prefixes().networks().is_none() {
            return 0;
        }
        let value = global.rate(limiter.network_rate());
        // SAFETY: null or valid for writing, as the caller promises.
        let codes = unsafe { [put(limit, limiter.network_limit()), put(rate, value)] };
        match codes {
            [TCL_OK, TCL_OK] => 1,
            _ => TCL_EARG,
        }
    })
}

/// Reports the network that a text names: an address in it, a source as for `tcl_find()`, or
/// the network itself, `ADDRESS/LENGTH`. Writes to `counts` 1 if connections of the address
/// or source count in the network, and 0 if a rule keeps them out.
///
/// Returns 1; 0 if networks are not counted, and then nothing is written; or `TCL_EARG` (the
/// text names no network, or a pointer is null) or `TCL_EINIT`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `network` and `counts` are null or valid for
/// writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_network(
    name: *const u8,
    length: u32,
    network: *mut tcl_source,
    counts: *mut i32,
) -> i32 {
    guard(TCL_EINIT, |global| {
        if global.limiter.prefixes().networks().is_none() {
            return 0;
        }
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        // A text that is not UTF-8 is not an address.
        let text = str::from_utf8(name).unwrap_or_default();
        let Some((key, counts_there)) = global.network_named(text) else {
            return TCL_EARG;
        };
        let value = global.describe_named(key, None);
        // SAFETY: null or valid for writing, as the caller promises.
        let codes = unsafe { [put(network, value), put(counts, counts_there.into())] };
        match codes {
            [TCL_OK, TCL_OK] => 1,
            _ => TCL_EARG,
        }
    })
}

/// As `tcl_top()`, for networks, which have no order by untrusted connections.
///
/// Returns the number of networks written, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `networks` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_top_networks(networks: *mut tcl_source, room: u32, by: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        // Trust is not counted for networks.
        let Some(by) = by_of(by).filter(|by| *by != By::Untrusted) else {
            return TCL_EARG;
        };
        // SAFETY: null or room for `room` networks, as the caller promises.
        unsafe { global.rank(Of::Networks, networks, room, by, None) }.0
    })
}

/// As `tcl_suggest()`, for networks. Their peaks are those that `tcl_watch()` sampled.
///
/// Returns the number of suggestions written, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `suggestions` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_suggest_networks(suggestions: *mut tcl_suggestion, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if suggestions.is_null() {
            return TCL_EARG;
        }
        let report = Report::of(&global.limiter);
        let found = report.suggest_of(Of::Networks, room as usize, TCL_SUGGEST_SOURCES);
        let Ok(found) = found else {
            return TCL_EMEM;
        };
        let limit = global.limiter.network_limit();
        let values = found.iter().map(|one| global.suggestion(one, limit));
        // SAFETY: there are at most `room` suggestions, and there is room for `room` of
        // them, as the caller promises.
        unsafe { write_all(suggestions, values) }
    })
}

/// As `tcl_suggest_rate()`, for networks; its `sources` are networks.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `suggestion` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_suggest_network_rate(suggestion: *mut tcl_rate_suggestion) -> i32 {
    guard(TCL_EINIT, |global| {
        let value = global.rate_suggestion(&RateSuggestion::of_networks(&global.limiter));
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(suggestion, value) }
    })
}

impl Global {
    /// The network that a text names, and whether connections of its address count there.
    fn network_named(&self, text: &str) -> Option<(Source, bool)> {
        let limiter = &self.limiter;
        if let Ok(named) = limiter.read_source(text) {
            let (_, terms) = Report::of(limiter).terms_of(named.source, named.host);
            return Some((limiter.network(named.source)?, terms.count_in_network()));
        }
        Some((network_of_text(limiter, text)?, true))
    }
}

/// The network that `ADDRESS/LENGTH` is.
fn network_of_text(limiter: &Limiter, text: &str) -> Option<Source> {
    let prefix = Prefix::parse_any(text.trim_ascii()).ok()?;
    Source::of_network(prefix, limiter.prefixes())
}
