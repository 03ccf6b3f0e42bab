// SPDX-License-Identifier: GPL-2.0-or-later
//! Interposition, for a host without hooks.

use core::ffi::{c_char, c_int};

use super::codes::{TCL_EALREADY, TCL_EARG, TCL_EINIT, TCL_EINTERPOSE, TCL_OK};
use super::global::{guard, guard_early, worker};
use super::memory::write_text;
use crate::interpose::{self, Counter, Occupied, Refused};
use crate::limiter::Facts;
use crate::table::connections::Taken;

/// The limiter, as the interposed functions use it.
struct OfProcess;

impl Counter for OfProcess {
    fn accepted(&self, descriptor: c_int, listener: c_int, address: &[u8], facts: Facts) -> bool {
        guard(true, |global| {
            global.accepted(descriptor, listener, address, facts)
        })
    }

    fn take(&self, descriptor: c_int) -> Option<Taken> {
        guard(None, |global| global.limiter.take(descriptor))
    }

    fn release(&self, taken: Taken, facts: Facts) {
        guard((), |global| {
            // A stale token is counted there; the caller cannot handle it any better.
            let _ = global.limiter.release(worker(), taken, facts);
        });
    }

    fn reads_received(&self) -> bool {
        guard(false, |global| global.limiter.reads_received())
    }

    fn claim(&self, process: u32) -> bool {
        guard(false, |global| global.limiter.claim_descriptors(process))
    }

    fn release_all(&self) {
        guard((), |global| global.limiter.release_descriptors(worker()));
    }
}

/// Checks whether the functions with which this executable accepts and closes
/// connections can be replaced. Changes nothing. Also works before `tcl_init()`.
///
/// Returns `TCL_OK`, `TCL_EINIT` after a panic, `TCL_EALREADY` if they are already replaced, or
/// `TCL_EINTERPOSE` if something is missing or not supported. With the last two, a text
/// with the reason is written to `error`, truncated to `error_size` bytes including the
/// NUL.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_interpose_find(error: *mut c_char, error_size: usize) -> i32 {
    guard_early(TCL_EINIT, || {
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { answer(interpose::find(), error, error_size) }
    })
}

/// Replaces the functions with which the executable accepts and closes connections, in
/// this process and in all processes that it forks from now on. They behave as before
/// until `tcl_interpose_activate()`. Must be called while the process has one thread.
///
/// Returns the same codes as `tcl_interpose_find()`. Unless the code is `TCL_OK`, nothing
/// has changed.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_interpose_attach(error: *mut c_char, error_size: usize) -> i32 {
    guard(TCL_EINIT, |_| {
        let attached = interpose::attach(&OfProcess);
        // SAFETY: null or `error_size` bytes, as the caller promises.
        unsafe { answer(attached, error, error_size) }
    })
}

/// From now on, this process counts the connections that its executable accepts, and
/// rejects those over the limit: they are closed, and `accept()` fails with `EAGAIN`
/// without waiting, even if the listening socket is a blocking one. Must be called in
/// the one process that accepts.
///
/// Returns `TCL_OK`, `TCL_EINTERPOSE` if nothing is attached, `TCL_EALREADY` if another
/// process is already counting, or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_interpose_activate() -> i32 {
    guard(TCL_EINIT, |_| {
        if !interpose::is_attached() {
            return TCL_EINTERPOSE;
        }
        match interpose::activate() {
            Ok(()) => TCL_OK,
            Err(Occupied) => TCL_EALREADY,
        }
    })
}

/// Names the listening sockets for TLS, by their `count` descriptors in the process that
/// will accept. It is recorded of each connection whether it was accepted on one of them.
/// Must be called at most once, before that process is forked.
///
/// Returns `TCL_OK`, `TCL_EARG` if `listeners` is null but `count` is not 0, or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `listeners` is null or points to `count` descriptors.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_interpose_tls(listeners: *const c_int, count: u32) -> i32 {
    guard(TCL_EINIT, |_| {
        let listeners = match (listeners.is_null(), count) {
            (_, 0) => &[],
            (true, _) => return TCL_EARG,
            // SAFETY: `count` descriptors, as the caller promises.
            (false, _) => unsafe { core::slice::from_raw_parts(listeners, count as usize) },
        };
        interpose::set_tls_listeners(listeners);
        TCL_OK
    })
}

/// Restores, in this process, the functions that `tcl_interpose_attach()` has replaced,
/// and releases all connections that the process has counted. Succeeds if there is
/// nothing to do.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EINTERPOSE` if another library has replaced
/// the functions since: its functions stay, and can still call ours.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_interpose_detach() -> i32 {
    guard(TCL_EINIT, |_| match interpose::detach() {
        Ok(()) => TCL_OK,
        Err(_) => TCL_EINTERPOSE,
    })
}

/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
unsafe fn answer(outcome: Result<(), Refused>, error: *mut c_char, error_size: usize) -> i32 {
    let Err(refused) = outcome else {
        return TCL_OK;
    };
    // SAFETY: null or `error_size` bytes, as the caller promises.
    unsafe { write_text(error, error_size, &refused.to_string()) };
    match refused {
        Refused::Already => TCL_EALREADY,
        _ => TCL_EINTERPOSE,
    }
}
