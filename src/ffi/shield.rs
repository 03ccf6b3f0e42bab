// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel shield: its start, what it does now, and its update by `tcl_watch()`.

use core::ffi::{c_char, c_int};
use core::fmt::Write as _;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::codes::{TCL_EARG, TCL_EINIT, TCL_ESHIELD, TCL_OK, TCL_SHIELD_TEXT, TCL_SOURCE_TEXT};
use super::global::{Global, guard};
use super::line::Line;
use super::memory::{put, write_text};
use crate::host::{TCL_LOG_REJECTED, TCL_LOG_WARN};
use crate::observe::watch::{FloodThreshold, Watch};
use crate::shared::sync::Ordering;
use crate::shield::{Filter, MAX_SOURCES, Shield, ShieldNotice, Unavailable};
use crate::source::Prefix;

/// The shield was not asked for.
pub const TCL_SHIELD_OFF: i32 = 0;
/// The kernel drops the connection attempts of banned sources.
pub const TCL_SHIELD_ACTIVE: i32 = 1;
/// The shield was asked for, but the system does not allow it.
pub const TCL_SHIELD_UNAVAILABLE: i32 = 2;

/// The longest time for which a flooding source is listed, in seconds.
const MAX_SHIELD_SECONDS: u32 = 86_400;

/// The kernel shield.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_shield {
    /// `TCL_SHIELD_OFF`, `TCL_SHIELD_ACTIVE` or `TCL_SHIELD_UNAVAILABLE`.
    pub state: i32,
    /// Sources and prefixes whose connection attempts the kernel drops.
    pub entries: u32,
    /// Those that it should drop, but for which there was no room.
    pub unlisted: u32,
    /// The most sources that can be listed.
    pub room: u32,
    /// SYN packets dropped since the start or the last reset, as `tcl_watch()` last read it.
    pub dropped: u64,
    /// Sources that were listed because of a flood.
    pub floods: u64,
    /// Sources that would have been, in the mode monitor.
    pub would_list: u64,
    /// Why it is not active; empty if it is.
    pub reason: [c_char; TCL_SHIELD_TEXT],
}

/// Each forked process has its own copy, with the same maps in the kernel. The listed
/// sources are remembered only in the process that calls `tcl_watch()`.
enum State {
    Off,
    Unavailable(String),
    /// Loaded, but not attached to a socket.
    Loaded(Box<Shield>),
    Active(Box<Shield>),
}

static STATE: Mutex<State> = Mutex::new(State::Off);

/// After a panic the state is still one of these, and the maps are compared with it again.
fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Loads the program and the maps of the kernel shield. To be called after `tcl_init()`, while
/// the process still has its privileges, before it forks.
///
/// If it fails, nothing is left in the kernel, and a text with the reason and the remedy is
/// written to `error`, truncated to `error_size` bytes including the NUL. The limiter works
/// as without the shield.
///
/// Returns `TCL_OK`, `TCL_ESHIELD` or `TCL_EINIT`.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_shield_load(error: *mut c_char, error_size: usize) -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        let loaded = Filter::load(limiter.prefixes(), limiter.nat64());
        let (next, result) = match loaded {
            Ok(filter) => (State::Loaded(Box::new(Shield::new(filter))), TCL_OK),
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { unavailable(&reason, error, error_size) }
            }
        };
        set(global, next);
        result
    })
}

/// Changes the state, also in the counters.
fn set(global: &Global, next: State) {
    let numbers = global.limiter.shield_numbers();
    // Relaxed (statistics).
    numbers.state.store(next.number() as u32, Ordering::Relaxed);
    *state() = next;
}

impl State {
    fn number(&self) -> i32 {
        match self {
            State::Off | State::Loaded(_) => TCL_SHIELD_OFF,
            State::Unavailable(_) => TCL_SHIELD_UNAVAILABLE,
            State::Active(_) => TCL_SHIELD_ACTIVE,
        }
    }
}

/// Attaches the loaded program to the `count` sockets, which listen for TCP. From then on
/// `tcl_watch()` lists the banned sources in the kernel. To be called once, after the
/// process changed its user and before it forks.
///
/// With a `threshold` above 0, sources that are rejected more often than that in a second are
/// also listed, for `seconds` seconds, 1 to 86400.
///
/// If it fails, the filter is attached to no socket, and `error` is written as by
/// `tcl_shield_load()`.
///
/// Returns `TCL_OK`, `TCL_ESHIELD`, `TCL_EARG` (`sockets` is null or has a negative
/// number, `seconds` is out of range, or no program is loaded) or `TCL_EINIT`.
///
/// # Safety
///
/// `sockets` is null or points to `count` open descriptors; `error` is null or has room for
/// `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_shield_attach(
    sockets: *const c_int,
    count: u32,
    threshold: u32,
    seconds: u32,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        let in_range = threshold == 0 || (1..=MAX_SHIELD_SECONDS).contains(&seconds);
        if sockets.is_null() || !in_range {
            return TCL_EARG;
        }
        // SAFETY: not null, so `count` descriptors, as the caller promises.
        let sockets = unsafe { core::slice::from_raw_parts(sockets, count as usize) };
        if sockets.iter().any(|&socket| socket < 0) {
            return TCL_EARG;
        }
        // In the order in which `tcl_watch` locks them.
        let mut watch = super::watch::watch();
        let mut state = state();
        let State::Loaded(shield) = core::mem::replace(&mut *state, State::Off) else {
            return TCL_EARG;
        };
        let sockets = sockets.iter().map(|&socket| {
            // SAFETY: open while this function runs, as the caller promises.
            unsafe { BorrowedFd::borrow_raw(socket) }
        });
        let (next, result) = match attach(shield.filter(), sockets) {
            Ok(()) => {
                watch.set_flood_threshold((threshold > 0).then_some(FloodThreshold {
                    per_second: threshold,
                    seconds,
                }));
                (State::Active(shield), TCL_OK)
            }
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { unavailable(&reason, error, error_size) }
            }
        };
        drop(state);
        set(global, next);
        result
    })
}

fn attach<'a>(
    filter: &Filter,
    sockets: impl Iterator<Item = BorrowedFd<'a>> + Clone,
) -> Result<(), Unavailable> {
    filter.check_update()?;
    let attached = sockets.clone().try_for_each(|socket| filter.attach(socket));
    if attached.is_err() {
        for socket in sockets {
            filter.detach(socket);
        }
    }
    attached
}

/// The state and the code after a failure.
///
/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
unsafe fn unavailable(reason: &Unavailable, error: *mut c_char, error_size: usize) -> (State, i32) {
    let reason = reason.to_string();
    // SAFETY: null or `error_size` bytes, as the caller promises.
    unsafe { write_text(error, error_size, &reason) };
    (State::Unavailable(reason), TCL_ESHIELD)
}

/// Writes what the kernel shield does to `shield`. May be called from any process.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `shield` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_shield(shield: *mut tcl_shield) -> i32 {
    guard(TCL_EINIT, |global| {
        let state = state();
        let reason = match &*state {
            State::Off | State::Loaded(_) => "shield is off",
            State::Unavailable(reason) => reason,
            State::Active(_) => "",
        };
        let numbers = global.limiter.shield_numbers();
        // Relaxed (statistics).
        let value = tcl_shield {
            state: state.number(),
            entries: numbers.entries.load(Ordering::Relaxed),
            unlisted: numbers.unlisted.load(Ordering::Relaxed),
            room: MAX_SOURCES as u32,
            dropped: numbers.dropped.load(Ordering::Relaxed),
            floods: numbers.floods.load(Ordering::Relaxed),
            would_list: numbers.would_list.load(Ordering::Relaxed),
            reason: global.text(reason),
        };
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(shield, value) }
    })
}

/// A source or a prefix that the kernel drops.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_shield_entry {
    /// The source or the prefix.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// SYN packets dropped since it was listed.
    pub dropped: u64,
}

/// Writes the sources and prefixes that the kernel drops at this moment, at most `room`, those
/// with the most dropped packets first. Asks the kernel for each entry, and allocates, so the
/// process that accepts connections should not call it.
///
/// Returns the number of entries written, 0 if the shield is not active, `TCL_EARG` (`entries`
/// is null), `TCL_ESHIELD` (the kernel does not allow it) or `TCL_EINIT`.
///
/// # Safety
///
/// `entries` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_shield_entries(entries: *mut tcl_shield_entry, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if entries.is_null() {
            return TCL_EARG;
        }
        let State::Active(shield) = &*state() else {
            return 0;
        };
        let Ok(list) = shield.filter().entries() else {
            return TCL_ESHIELD;
        };
        let shown = list.len().min(room as usize);
        for (at, &(entry, dropped)) in list[..shown].iter().enumerate() {
            let entry = tcl_shield_entry {
                text: global.text(entry),
                dropped,
            };
            // SAFETY: `at` is less than `room`, and there is room for that many, as the caller
            // promises.
            unsafe { entries.add(at).write(entry) };
        }
        shown as i32
    })
}

/// The SYN packets that the kernel dropped because of this entry; 0 if it is not listed.
pub(super) fn dropped(entry: Prefix, is_source: bool) -> u64 {
    let State::Active(shield) = &*state() else {
        return 0;
    };
    let dropped = match is_source {
        true => shield.filter().dropped_from_source(entry),
        false => shield.filter().dropped_from_prefix(entry),
    };
    // A process that may not read the maps shows 0.
    dropped.ok().flatten().unwrap_or(0)
}

/// Updates the maps after a tick of `watch`.
pub(super) fn update(global: &Global, watch: &Watch, now: u32, log_interval: u32) {
    let State::Active(shield) = &mut *state() else {
        return;
    };
    let (banned, flooding) = watch.listed();
    let limiter = &global.limiter;
    shield.update(
        limiter,
        banned,
        flooding,
        now,
        log_interval,
        &mut |notice| {
            let level = match notice {
                ShieldNotice::Dropped(_) => TCL_LOG_REJECTED,
                ShieldNotice::Full(_) | ShieldNotice::Failed(_) => TCL_LOG_WARN,
            };
            let mut line = Line::default();
            // A line that is too long is truncated.
            let _ = write!(line, "{notice}");
            global.log(level, &line);
        },
    );
}
