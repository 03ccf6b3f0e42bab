// SPDX-License-Identifier: GPL-2.0-or-later
//! A host without hooks.

use core::ffi::{c_char, c_int};

use super::memory::write_text;
use super::{TCL_EALREADY, TCL_EINIT, TCL_EINTERPOSE, TCL_EMEM, TCL_OK, guard, worker};
use crate::interpose::{self, Counter, Occupied, Refused};
use crate::limiter::Fault;

/// The limiter, as the interposed functions use it.
struct OfProcess;

impl Counter for OfProcess {
    fn rejects(&self, address: &[u8], tracked: bool) -> bool {
        guard(false, |global| global.rejects(address, tracked))
    }

    fn opened(&self, address: &[u8]) -> u64 {
        guard(0, |global| global.opened(address))
    }

    fn closed(&self, token: u64) {
        // a stale token is counted; here is nobody who could do better
        super::tcl_closed(token);
    }

    fn note(&self, fault: Fault) {
        guard((), |global| global.limiter.note(worker(), fault));
    }
}

/// Whether the functions by which this executable accepts and closes connections can
/// be replaced. Changes nothing.
///
/// Returns `TCL_OK`, `TCL_EINIT`, `TCL_EALREADY` if they are replaced, or
/// `TCL_EINTERPOSE` if something is missing or not known; with the last two, up to
/// `error_size` bytes of a sentence that says so are written to `error`, NUL included.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_interpose_find(error: *mut c_char, error_size: usize) -> i32 {
    guard(TCL_EINIT, |_| {
        // SAFETY: null or as large as the caller promises.
        unsafe { answer(interpose::find(), error, error_size) }
    })
}

/// Replaces, in this process and all that it forks from now on, the functions by
/// which the executable accepts and closes connections; they do what they did until
/// `tcl_interpose_activate()`. To be called while the process has one thread.
///
/// Returns as `tcl_interpose_find()`, or `TCL_EMEM`, also with a sentence; unless it is
/// `TCL_OK`, nothing has changed.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_interpose_attach(error: *mut c_char, error_size: usize) -> i32 {
    guard(TCL_EINIT, |global| {
        let attached = interpose::attach(&OfProcess, global.limiter.max_connections());
        // SAFETY: null or as large as the caller promises.
        unsafe { answer(attached, error, error_size) }
    })
}

/// From here on this process counts the connections that its executable accepts, and
/// rejects those over the limit: they are closed and `accept()` fails with `EAGAIN`,
/// without waiting, also where the listening socket blocks. To be called in the one
/// process that accepts.
///
/// Returns `TCL_OK`, `TCL_EINTERPOSE` if nothing is attached, `TCL_EALREADY` if another
/// process counts, or `TCL_EINIT`.
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

/// Whether the connection is counted that has this descriptor in the process that
/// called `tcl_interpose_activate()`. May be asked in any process.
///
/// Returns 1, or 0 if it is not counted: there was no place for its source, or its
/// descriptor is not tracked.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_interpose_counted(descriptor: c_int) -> c_int {
    guard(0, |_| interpose::is_counted(descriptor).into())
}

/// Takes back, in this process, what `tcl_interpose_attach()` has replaced, and takes
/// off what it has counted. Nothing to do is no error.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EINTERPOSE` if somebody else has replaced
/// the functions since: theirs stay, and can go on calling ours.
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
    let (code, sentence) = match outcome {
        Ok(()) => return TCL_OK,
        Err(Refused::Already) => (
            TCL_EALREADY,
            "the functions are already replaced".to_owned(),
        ),
        Err(Refused::NoMemory(error)) => (TCL_EMEM, error.to_string()),
        Err(Refused::Because(sentence)) => (TCL_EINTERPOSE, sentence),
    };
    // SAFETY: as the caller promises.
    unsafe { write_text(error, error_size, &sentence) };
    code
}
