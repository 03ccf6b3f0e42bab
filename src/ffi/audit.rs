// SPDX-License-Identifier: GPL-2.0-or-later
//! The audit, which compares the table with the connections of the host.

use core::ffi::{c_char, c_int};

use super::codes::{TCL_EARG, TCL_EINIT, TCL_EROOM, TCL_OK, TCL_SOURCE_TEXT};
use super::global::guard;
use super::memory::{bytes, put};
use crate::observe::audit::{Audit, NoRoom};

/// A source for which the host and the table disagree.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_difference {
    /// Address, with the prefix length if that is shorter than an address; for a network
    /// after the word `network` and a blank.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// Its connections according to the host.
    pub host: u32,
    /// Its connections according to our table.
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
    /// The host's connections that are not counted.
    pub uncounted: u64,
    /// Sources for which the host and the table disagree.
    pub differences: u64,
}

/// An audit in progress.
#[allow(non_camel_case_types)]
pub struct tcl_audit(Audit);

fn room(outcome: Result<(), NoRoom>) -> i32 {
    match outcome {
        Ok(()) => TCL_OK,
        Err(NoRoom) => TCL_EROOM,
    }
}

/// Begins an audit of `connections` connections, with room for an eighth plus 1,024
/// more. Reserves 90 bytes for each, or 180 if networks are counted, and writes to all of this memory so that the next
/// steps cause no page faults. Returns null if there is no memory, or before
/// `tcl_init()`. The audit must be ended with `tcl_audit_end()`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_audit_begin(connections: u32) -> *mut tcl_audit {
    guard(core::ptr::null_mut(), |global| {
        let scopes = match global.limiter.prefixes().networks() {
            Some(_) => 2,
            None => 1,
        };
        let room = (connections as usize).saturating_mul(scopes);
        Audit::new(room).map_or(core::ptr::null_mut(), |audit| {
            Box::into_raw(Box::new(tcl_audit(audit)))
        })
    })
}

/// Copies one connection of the host: its address (network byte order, 4 or 16 bytes) and
/// its descriptor in the process that accepts, whose record says whether it is counted. The
/// host calls it for each connection and then calls `tcl_audit_counts()`; meanwhile no
/// connection may be opened or closed. Neither function allocates.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT`, or `TCL_EROOM` if the reserved memory is
/// too small and a new audit must begin with more.
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
    descriptor: c_int,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid, and used by this call only, as the caller promises.
        let audit = unsafe { audit.as_mut() };
        // SAFETY: null or `length` bytes, as the caller promises.
        let bytes = unsafe { bytes(address, length) };
        let source = global.limiter.source(bytes);
        let token = global.limiter.connection(descriptor);
        let counted = token.is_some();
        // The host does not say where it was accepted, and the rules may have changed since.
        let scope = global.limiter.scope_of_connection(descriptor);
        let source = source.map(|source| scope.map_or(source, |scope| source.in_scope(scope)));
        // Nor does it say for which client of a proxy it counts.
        let client = token.and_then(|token| global.limiter.moved_to(token));
        let source = source.map(|source| client.unwrap_or(source));
        match (audit, source) {
            (Some(audit), Some(source)) => {
                let network = global.limiter.network(source);
                let network = network.filter(|_| global.limiter.counts_network_of(descriptor));
                let copied = audit.0.connection(source, counted);
                room(copied.and_then(|()| network.map_or(Ok(()), |n| audit.0.network(n))))
            }
            _ => TCL_EARG,
        }
    })
}

/// Copies our counts. After this step the host may open and close connections again.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EROOM`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_counts(audit: *mut tcl_audit) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid, and used by this call only, as the caller promises.
        match unsafe { audit.as_mut() } {
            Some(audit) => room(audit.0.copy_counts(&global.limiter)),
            None => TCL_EARG,
        }
    })
}

/// Compares the copies, and writes the sums and at most `room` differences, sorted by
/// source.
///
/// Returns the number of differences written, or `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`; `sums` is null or valid for
/// writing; `differences` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_result(
    audit: *mut tcl_audit,
    sums: *mut tcl_audit_sums,
    differences: *mut tcl_difference,
    room: u32,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid, and used by this call only, as the caller promises.
        let Some(tcl_audit(audit)) = (unsafe { audit.as_mut() }) else {
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
            // SAFETY: fewer than `room` were written, and there is room for `room` of
            // them, as the caller promises.
            unsafe { differences.add(written as usize).write(value) };
            written += 1;
        }
        written
    })
}

/// Ends an audit and frees its memory.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`, and is not used afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_end(audit: *mut tcl_audit) {
    if !audit.is_null() {
        // SAFETY: a `Box` from `tcl_audit_begin()` that is not used any more, as the
        // caller promises.
        guard((), |_| drop(unsafe { Box::from_raw(audit) }));
    }
}
