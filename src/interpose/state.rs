// SPDX-License-Identifier: GPL-2.0-or-later
//! What the wrappers need: the functions that they call, and what the active process
//! counts with.

use core::ffi::c_int;

use libc::{sockaddr, socklen_t};
use once_cell::sync::OnceCell;

use super::counter::Counter;
use crate::limiter::Facts;
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

/// Set before the first GOT entry is changed. All processes that are forked later have it.
pub(super) static COUNTER: OnceCell<&'static dyn Counter> = OnceCell::new();

/// The listening sockets for TLS, sorted. All processes that are forked later have them.
static TLS_LISTENERS: OnceCell<Box<[c_int]>> = OnceCell::new();

/// The process id of the active process; 0 before there is one. A process that it forks
/// inherits this number, or shares it after `vfork`, but has another id itself.
static ACTIVE: AtomicI32 = AtomicI32::new(0);

/// What this process counts with, if it is the active one.
#[inline]
pub(super) fn active() -> Option<&'static dyn Counter> {
    // Relaxed: the number publishes nothing. `COUNTER` orders its own content, and a record
    // is taken with a compare-exchange, which reads the newest value.
    let active = ACTIVE.load(Ordering::Relaxed);
    if active == 0 || active != process() {
        return None;
    }
    COUNTER.get().copied()
}

/// Names the listening sockets for TLS. Only the first call has an effect; it must come
/// before the process that accepts is forked.
pub(crate) fn set_tls_listeners(listeners: &[c_int]) {
    TLS_LISTENERS.get_or_init(|| {
        let mut listeners = listeners.to_vec();
        listeners.sort_unstable();
        listeners.into()
    });
}

/// The facts about a connection that was accepted on `listener`.
#[inline]
pub(super) fn facts_of_listener(listener: c_int) -> Facts {
    match TLS_LISTENERS.get() {
        Some(listeners) if listeners.binary_search(&listener).is_ok() => Facts::TLS,
        _ => Facts::NONE,
    }
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
    let Some(counter) = COUNTER.get() else {
        return Ok(());
    };
    let process = process();
    if !counter.claim(process.unsigned_abs()) {
        return Err(Occupied);
    }
    // Relaxed: as in `active`.
    ACTIVE.store(process, Ordering::Relaxed);
    Ok(())
}

/// If this process is the active one, it stops counting, and all connections that it has
/// counted are released.
pub(super) fn deactivate() {
    if let Some(counter) = active() {
        // Relaxed: as in `active`.
        ACTIVE.store(0, Ordering::Relaxed);
        counter.release_all();
    }
}

fn process() -> libc::pid_t {
    // SAFETY: only returns a number.
    unsafe { libc::getpid() }
}
