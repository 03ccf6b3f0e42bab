// SPDX-License-Identifier: GPL-2.0-or-later
//! What the wrappers need: the functions that they call, and what the active process
//! counts with.

use core::ffi::c_int;

use libc::{sockaddr, socklen_t};
use once_cell::sync::OnceCell;

use super::descriptors::{Counter, Descriptors};
use crate::shared::sync::{AtomicI32, Ordering};

pub(super) type Accept = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
pub(super) type Accept4 =
    unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
pub(super) type Close = unsafe extern "C" fn(c_int) -> c_int;

/// The functions that the executable would call without us.
pub(super) struct Real {
    pub(super) accept: Accept,
    pub(super) accept4: Accept4,
    pub(super) close: Close,
}

/// Set before the first GOT entry is changed.
pub(super) static REAL: OnceCell<Real> = OnceCell::new();

/// Set before the first GOT entry is changed. All processes that are forked later have it,
/// with the same table of descriptors.
pub(super) static COUNTING: OnceCell<Counting> = OnceCell::new();

/// What the active process counts with.
pub(super) struct Counting {
    pub(super) descriptors: Descriptors,
    pub(super) counter: &'static dyn Counter,
}

/// The process id of the active process; 0 before there is one. A process that it forks
/// inherits this number, or shares it after `vfork`, but has another id itself.
static ACTIVE: AtomicI32 = AtomicI32::new(0);

/// What this process counts with, if it is the active one.
#[inline]
pub(super) fn active() -> Option<&'static Counting> {
    // Relaxed: the number publishes nothing. `COUNTING` orders its own content, and a
    // token is taken with a swap, which reads the newest value: 0 if there is none.
    let active = ACTIVE.load(Ordering::Relaxed);
    if active == 0 || active != process() {
        return None;
    }
    COUNTING.get()
}

/// Another process is already counting.
#[derive(Debug)]
pub(crate) struct Occupied;

/// From now on, this process counts the connections that it accepts. Does nothing if no
/// functions were ever replaced.
///
/// # Errors
///
/// [`Occupied`]; nothing has changed then.
pub(crate) fn activate() -> Result<(), Occupied> {
    let Some(counting) = COUNTING.get() else {
        return Ok(());
    };
    let process = process();
    if !counting.descriptors.claim(process.unsigned_abs().into()) {
        return Err(Occupied);
    }
    // Relaxed: as in `active`.
    ACTIVE.store(process, Ordering::Relaxed);
    Ok(())
}

/// If this process is the active one, it stops counting, and all connections that it has
/// counted are released.
pub(super) fn deactivate() {
    if let Some(active) = active() {
        // Relaxed: as in `active`.
        ACTIVE.store(0, Ordering::Relaxed);
        let counter = active.counter;
        active.descriptors.release(|token| counter.closed(token));
    }
}

/// Whether the connection with this descriptor in the active process is counted. May be
/// called in any process.
pub(crate) fn is_counted(descriptor: c_int) -> bool {
    COUNTING
        .get()
        .is_some_and(|counting| counting.descriptors.is_counted(descriptor))
}

fn process() -> libc::pid_t {
    // SAFETY: only returns a number.
    unsafe { libc::getpid() }
}
