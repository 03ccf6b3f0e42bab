// SPDX-License-Identifier: GPL-2.0-or-later
//! Settings that change while the server runs.

use core::ffi::c_char;

use super::codes::{TCL_EARG, TCL_EINIT, TCL_OK};
use super::global::guard;
use super::memory::{bytes, put, write_text};
use crate::policy::limit_text;
use crate::policy::settings::Mode;

/// Changes the limit of the sources without a rule; 0 or less: no limit. No connection
/// is closed: a source over a lowered limit keeps its connections but cannot open
/// another until it drops below it.
///
/// Returns `TCL_OK` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_limit(limit: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        global.limiter.set_limit(limit);
        TCL_OK
    })
}

/// Changes the mode to `TCL_MODE_ENFORCE`, `TCL_MODE_MONITOR` or `TCL_MODE_OFF`.
///
/// Returns `TCL_OK`, `TCL_EARG` for any other number, or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_mode(mode: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(mode) = Mode::from_number(mode) else {
            return TCL_EARG;
        };
        global.limiter.set_mode(mode);
        TCL_OK
    })
}

/// Reads a limit that an operator sets while the server runs: a number from 1 to
/// 100,000,000, or `none` or `unlimited`, which is written to `limit` as 0. The number 0 is
/// refused, because it may be what is left of a text or of a larger number.
///
/// Returns `TCL_OK`, or `TCL_EARG`: the text is not a limit, and a text with the reason and
/// the remedy is written to `error`, truncated to `error_size` bytes including the NUL; or
/// `limit` is null, and nothing is written to `error`. Returns `TCL_EINIT` before
/// `tcl_init()`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `limit` is null or valid for writing;
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_limit_parse(
    name: *const u8,
    length: u32,
    limit: *mut i32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |_| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        match limit_text::parse(name) {
            // SAFETY: null or valid for writing, as the caller promises.
            Ok(value) => unsafe { put(limit, value) },
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                TCL_EARG
            }
        }
    })
}

/// Writes the current limit of the sources without a rule to `limit`, and the current
/// mode to `mode`.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `limit` and `mode` are null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_settings(limit: *mut i32, mode: *mut i32) -> i32 {
    guard(TCL_EINIT, |global| {
        if limit.is_null() || mode.is_null() {
            return TCL_EARG;
        }
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe {
            put(limit, global.limiter.limit());
            put(mode, global.limiter.mode() as i32)
        }
    })
}

/// Resets all statistics: the totals and the rejections of sources and rules to 0, and
/// each peak to the current count of its source. Counts of connections do not change.
///
/// Returns `TCL_OK` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_reset_stats() -> i32 {
    guard(TCL_EINIT, |global| {
        global.limiter.reset_stats();
        TCL_OK
    })
}
