// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted connections.

use core::ffi::c_int;

use super::codes::{TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_EOFF, TCL_ESTALE, TCL_OK};
use super::config::TCL_MAX_TRUST_TIMEOUT;
use super::global::{guard, worker};
use super::memory::{bytes, put};
use super::watch::to_close;
use crate::limiter::{ConnectionToken, Facts, TrustError};

/// The script trusts the connection, see `tcl_trust()`.
pub const TCL_FACT_TRUSTED: u32 = 16;

/// The settings of trusted connections.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_trust_settings {
    /// 1 if connections can be trusted, else 0, and then the others are 0.
    pub on: i32,
    /// The limit of untrusted connections of a source without a rule; 0: no limit.
    pub untrusted_limit: i32,
    /// Seconds after which an untrusted connection is closed; 0: never.
    pub trust_timeout: i32,
}

/// An open connection of a source.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_connection {
    /// Its descriptor in the process that accepts.
    pub descriptor: c_int,
    /// Seconds since it opened; may be one too many.
    pub age: u32,
    /// The facts that are known so far: the sum of `TCL_FACT_` constants. `TCL_FACT_SPOKE` is known
    /// of an open connection only if it is trusted or moved.
    pub facts: u32,
}

fn code_of(error: TrustError) -> i32 {
    match error {
        TrustError::Off => TCL_EOFF,
        TrustError::Gone => TCL_ESTALE,
    }
}

/// Trusts the connection that `token` stands for: it no longer counts for the limit of
/// untrusted connections of its source, and is not closed when the time to trust it is over.
/// May be called from any process. A connection may be trusted more than once.
///
/// Returns `TCL_OK`, `TCL_ESTALE` if the connection is closed, also if its descriptor has
/// another one by now, `TCL_EOFF` or `TCL_EINIT`. Except with `TCL_OK`, nothing has changed.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_trust(token: u64) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(token) = ConnectionToken::from_bits(token) else {
            return TCL_ESTALE;
        };
        let trusted = global.limiter.trust(worker(), token);
        trusted.map_or_else(code_of, |_| TCL_OK)
    })
}

/// Takes back what `tcl_trust()` did. The time to trust it counts from when it opened.
///
/// Returns as `tcl_trust()`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_untrust(token: u64) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(token) = ConnectionToken::from_bits(token) else {
            return TCL_ESTALE;
        };
        let untrusted = global.limiter.untrust(token);
        untrusted.map_or_else(code_of, |_| TCL_OK)
    })
}

/// Writes the settings of trusted connections.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `settings` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_trust_get(settings: *mut tcl_trust_settings) -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        let value = tcl_trust_settings {
            on: limiter.has_trust().into(),
            // Both were set from numbers that fit.
            untrusted_limit: limiter.untrusted_limit().cast_signed(),
            trust_timeout: limiter.trust_timeout().cast_signed(),
        };
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(settings, value) }
    })
}

/// Changes the limit of untrusted connections of sources without a rule. 0 or less: no limit.
/// A source over a lowered limit keeps its connections.
///
/// Returns `TCL_OK`, `TCL_EOFF` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_untrusted_limit(limit: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        let set = global
            .limiter
            .set_untrusted_limit(limit.max(0).unsigned_abs());
        set.map_or_else(code_of, |()| TCL_OK)
    })
}

/// Changes the seconds after which an untrusted connection is closed; 0: never.
///
/// Returns `TCL_OK`, `TCL_EARG` for a number below 0 or above 86400, `TCL_EOFF` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_trust_timeout(seconds: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        if !(0..=TCL_MAX_TRUST_TIMEOUT).contains(&seconds) {
            return TCL_EARG;
        }
        let set = global.limiter.set_trust_timeout(seconds.unsigned_abs());
        set.map_or_else(code_of, |()| TCL_OK)
    })
}

/// How many connections must be closed because they were not trusted in time, as the last
/// call of `tcl_watch()` in this process found. The host closes those for which
/// `tcl_is_expired()` returns 1; one that is still open is reported again.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_expired() -> u32 {
    guard(0, |_| to_close())
}

/// Whether the connection with `descriptor` in the process that accepts must be closed: 1 or
/// 0. May be called in any process, as long as the host keeps that process from closing the
/// descriptor.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_is_expired(descriptor: c_int) -> i32 {
    guard(0, |global| global.limiter.is_expired(descriptor).into())
}

/// Writes the open connections of a source, oldest first, at most `room` of them, and how many
/// it has to `total`. `name` is a text as for `tcl_find()`. Reads the record of each descriptor
/// that is tracked, and allocates, so the process that accepts should not call it. Takes no
/// lock.
///
/// Returns the number of connections written, `TCL_EARG` (the text does not name a source, or
/// `connections` is null), `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `connections` is null or has room for `room` of
/// them; `total` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_connections(
    name: *const u8,
    length: u32,
    connections: *mut tcl_connection,
    room: u32,
    total: *mut u64,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        let Ok(named) = global.read_source(name) else {
            return TCL_EARG;
        };
        if connections.is_null() {
            return TCL_EARG;
        }
        let (source, now) = (named.source, global.now());
        let Ok((list, found)) = global.limiter.connections_of(source, now, room as usize) else {
            return TCL_EMEM;
        };
        // SAFETY: null or valid, as the caller promises. A null pointer is allowed here.
        let _ = unsafe { put(total, found) };
        for (at, open) in list.iter().enumerate() {
            let (trusted, moved) = (
                open.facts.include(Facts::TRUSTED),
                open.facts.include(Facts::MOVED),
            );
            let mut more = Facts::NONE;
            for (is_so, fact) in [
                (trusted, Facts::TRUSTED),
                (moved, Facts::MOVED),
                (trusted || moved, Facts::SPOKE),
            ] {
                if is_so {
                    more = more | fact;
                }
            }
            let value = tcl_connection {
                descriptor: open.descriptor,
                age: open.age,
                facts: (open.facts.to_host() | more).to_bits(),
            };
            // SAFETY: there are at most `room`, and there is room for `room` of them, as the
            // caller promises.
            unsafe { connections.add(at).write(value) };
        }
        i32::try_from(list.len()).unwrap_or(i32::MAX)
    })
}

/// The share of the connections since the start or the last reset that the script trusted, in
/// percent, rounded down, at most 100; `TCL_NEVER` if connections cannot be trusted, or no
/// connection opened.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_trusted_share() -> u32 {
    guard(super::reports::TCL_NEVER, |global| {
        let totals = global.limiter.totals();
        if !global.limiter.has_trust() || totals.admitted == 0 {
            return super::reports::TCL_NEVER;
        }
        let percent = totals.became_trusted.saturating_mul(100) / totals.admitted;
        // It fits, since it is at most 100.
        percent.min(100) as u32
    })
}
