// SPDX-License-Identifier: GPL-2.0-or-later
//! The audit.

use core::ffi::c_char;

use super::memory::{bytes, put};
use super::{TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_OK, TCL_SOURCE_TEXT, guard};
use crate::audit::Audit;
use crate::source::Source;

/// A source for which the host and the table disagree.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_difference {
    /// Address, with the prefix length if that is shorter than an address.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// Its connections in the host.
    pub host: u32,
    /// Its connections in our table.
    pub counted: u32,
}

/// The sums of an audit.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_audit_sums {
    /// The host's connections.
    pub connections: u64,
    /// The connections in our table.
    pub counted: u64,
    /// The host's connections without a token.
    pub uncounted: u64,
    /// Sources for which the host and the table disagree.
    pub differences: u64,
}

/// A recount under way.
#[allow(non_camel_case_types)]
pub struct tcl_audit(Audit);

fn memory<E>(outcome: Result<(), E>) -> i32 {
    match outcome {
        Ok(()) => TCL_OK,
        Err(_) => TCL_EMEM,
    }
}

/// Begins a recount of about `connections` connections; null if there is no
/// memory, or before `tcl_init()`. To be ended by `tcl_audit_end()`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_audit_begin(connections: u32) -> *mut tcl_audit {
    guard(core::ptr::null_mut(), |_| {
        Audit::new(connections as usize).map_or(core::ptr::null_mut(), |audit| {
            Box::into_raw(Box::new(tcl_audit(audit)))
        })
    })
}

/// A connection of the host, by its address in network byte order, of 4 or 16 bytes,
/// and its token.
/// To be called for each of them, then `tcl_audit_compare()`, while none can be
/// opened or closed.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`; `address` is null or points
/// to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_connection(
    audit: *mut tcl_audit,
    address: *const u8,
    length: u32,
    token: u64,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid and used by this caller only, as it promises.
        let audit = unsafe { audit.as_mut() };
        // SAFETY: as the caller promises.
        let bytes = unsafe { bytes(address, length) };
        let source = Source::new(bytes, global.limiter.prefixes());
        match (audit, source) {
            (Some(audit), Some(source)) => memory(audit.0.connection(source, token != 0)),
            _ => TCL_EARG,
        }
    })
}

/// Takes our counts, for comparison with the host's.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_compare(audit: *mut tcl_audit) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid and used by this caller only, as it promises.
        match unsafe { audit.as_mut() } {
            Some(audit) => memory(audit.0.compare(&global.limiter)),
            None => TCL_EARG,
        }
    })
}

/// Writes the sums, and the up to `room` first differences.
///
/// Returns how many differences were written, or `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`; `sums` is null or valid for
/// writing; `differences` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_result(
    audit: *const tcl_audit,
    sums: *mut tcl_audit_sums,
    differences: *mut tcl_difference,
    room: u32,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid, as the caller promises.
        let Some(tcl_audit(audit)) = (unsafe { audit.as_ref() }) else {
            return TCL_EARG;
        };
        let value = tcl_audit_sums {
            connections: audit.connections(),
            counted: audit.counted(),
            uncounted: audit.uncounted(),
            differences: audit.differences().count() as u64,
        };
        // SAFETY: null or valid, as the caller promises.
        let code = unsafe { put(sums, value) };
        if code != TCL_OK || differences.is_null() {
            return code;
        }
        let mut written = 0;
        for difference in audit.differences().take(room as usize) {
            let value = tcl_difference {
                text: global.text(difference.source.display(global.limiter.prefixes())),
                host: difference.host,
                counted: difference.counted,
            };
            // SAFETY: fewer than `room` were written, and there is room for so
            // many, as the caller promises.
            unsafe { differences.add(written as usize).write(value) };
            written += 1;
        }
        written
    })
}

/// Ends a recount.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_end(audit: *mut tcl_audit) {
    if !audit.is_null() {
        // SAFETY: it is a Box of tcl_audit_begin() that nobody else uses, as the
        // caller promises.
        guard((), |_| drop(unsafe { Box::from_raw(audit) }));
    }
}
