// SPDX-License-Identifier: GPL-2.0-or-later
//! A host without hooks.

use core::ffi::c_char;

use super::memory::write_text;
use super::{TCL_EALREADY, TCL_EINIT, TCL_EINTERPOSE, TCL_EMEM, TCL_OK, guard, worker};
use crate::interpose::{self, Counter, Refused};
use crate::limiter::Fault;

/// The limiter, as the interposed functions use it.
struct OfProcess;

impl Counter for OfProcess {
    fn rejects(&self, address: &[u8]) -> bool {
        guard(false, |global| global.rejects(address))
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
/// Returns as `tcl_interpose_find()`; unless it is `TCL_OK`, nothing has changed.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_interpose_attach(error: *mut c_char, error_size: usize) -> i32 {
    guard(TCL_EINIT, |_| {
        // SAFETY: null or as large as the caller promises.
        unsafe { answer(interpose::attach(&OfProcess), error, error_size) }
    })
}

/// From here on this process counts the connections that its executable accepts, and
/// rejects those over the limit: they are closed and `accept()` fails with `EAGAIN`,
/// without waiting, also where the listening socket blocks. To be called in the one
/// process that accepts, when it has the number of open files that it will be
/// allowed.
///
/// Returns `TCL_OK`, `TCL_EINTERPOSE` if nothing is attached, `TCL_EINIT` or
/// `TCL_EMEM`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_interpose_activate() -> i32 {
    guard(TCL_EINIT, |global| {
        if !interpose::is_attached() {
            return TCL_EINTERPOSE;
        }
        match interpose::activate(global.limiter.max_connections()) {
            Ok(()) => TCL_OK,
            Err(_) => TCL_EMEM,
        }
    })
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
            "the functions are replaced already".to_owned(),
        ),
        Err(Refused::Because(sentence)) => (TCL_EINTERPOSE, sentence),
    };
    // SAFETY: as the caller promises.
    unsafe { write_text(error, error_size, &sentence) };
    code
}
