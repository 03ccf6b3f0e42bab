// SPDX-License-Identifier: GPL-2.0-or-later
//! The state of the process: its limiter, the host's functions, its worker number. Stops
//! panics.

use core::ffi::c_char;
use core::fmt::{self, Write as _};
use core::panic::AssertUnwindSafe;
use std::panic::{PanicHookInfo, catch_unwind};

use once_cell::sync::OnceCell;

use super::line::Line;
use crate::host::{TCL_LOG_ERROR, tcl_event, tcl_load, tcl_pressure};
use crate::limiter::{Fault, Limiter, Worker};
use crate::observe::notices::Panicked;
use crate::shared::sync::{AtomicBool, AtomicU32, Ordering};
use crate::source::{Named, SourceError};

/// What `tcl_init` sets up.
pub(super) struct Global {
    pub(super) limiter: Limiter,
    pub(super) log: unsafe extern "C" fn(i32, *const c_char),
    pub(super) now: unsafe extern "C" fn() -> u32,
    pub(super) rejected: unsafe extern "C" fn(*const tcl_event),
    pub(super) released: Option<unsafe extern "C" fn(*const tcl_event)>,
    pub(super) banned: Option<unsafe extern "C" fn(*const tcl_event)>,
    pub(super) unbanned: Option<unsafe extern "C" fn(*const tcl_event)>,
    pub(super) timed_out: Option<unsafe extern "C" fn(*const tcl_event)>,
    pub(super) load: Option<unsafe extern "C" fn(*mut tcl_load)>,
    pub(super) pressure: Option<unsafe extern "C" fn(*const tcl_pressure)>,
}

/// Set by `tcl_init`, before the server forks. Each forked process has its own copy, with
/// the same functions and the same shared table.
pub(super) static GLOBAL: OnceCell<Global> = OnceCell::new();

/// The worker number of this process. Private memory: each forked process has its own
/// copy.
pub(super) static WORKER: AtomicU32 = AtomicU32::new(0);

impl Global {
    pub(super) fn now(&self) -> u32 {
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised.
        unsafe { (self.now)() }
    }

    pub(super) fn log(&self, level: u32, line: &Line) {
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised;
        // a `Line` ends with a NUL.
        unsafe { (self.log)(level as i32, line.bytes().as_ptr().cast()) };
    }

    /// The source that a text names. A text that is not UTF-8 is not an address.
    pub(super) fn read_source(&self, name: &[u8]) -> Result<Named, SourceError> {
        let text = str::from_utf8(name).unwrap_or_default();
        self.limiter.read_source(text)
    }

    /// A text with its NUL, truncated if it is too long.
    pub(super) fn text<const SIZE: usize>(&self, text: impl fmt::Display) -> [c_char; SIZE] {
        let mut line = Line::default();
        // A text that is too long is truncated.
        let _ = write!(line, "{text}");
        let mut text = [0; SIZE];
        for (to, from) in text[..SIZE - 1].iter_mut().zip(*line.bytes()) {
            *to = from as c_char;
        }
        text
    }
}

#[inline]
pub(super) fn worker() -> Worker {
    // Relaxed: no other memory depends on it.
    Worker::new(WORKER.load(Ordering::Relaxed))
}

/// Runs `work` on the limiter. Returns `fallback` before `tcl_init` and after a panic,
/// which is counted.
#[inline]
pub(super) fn guard<T>(fallback: T, work: impl FnOnce(&'static Global) -> T) -> T {
    let Some(global) = GLOBAL.get() else {
        return fallback;
    };
    guard_in(&global.limiter, fallback, || work(global))
}

/// Runs `work`, which needs no limiter. Returns `fallback` after a panic, which is counted
/// if there is a limiter.
pub(super) fn guard_early<T: Copy>(fallback: T, work: impl FnOnce() -> T) -> T {
    if GLOBAL.get().is_some() {
        return guard(fallback, |_| work());
    }
    // Unwind-safe: `work` owns what it changes.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        // Dropping the payload may itself panic.
        core::mem::forget(payload);
        fallback
    })
}

#[inline]
fn guard_in<T>(limiter: &Limiter, fallback: T, work: impl FnOnce() -> T) -> T {
    // Unwind-safe: the table consists of atomics, and an operation that stops anywhere
    // leaves it usable; see `crate::table` on killed processes.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(payload) => {
            // Dropping the payload may itself panic.
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                core::mem::forget(another);
            }
            limiter.note(worker(), Fault::Panic);
            fallback
        }
    }
}

/// The panic hook. It writes the first panic to the host's log and nothing to stderr.
pub(super) fn report_panic(info: &PanicHookInfo<'_>) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    // Relaxed: only which call is the first matters.
    if REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Some(global) = GLOBAL.get() {
        let mut line = Line::default();
        // A text that is too long is truncated.
        let _ = write!(line, "{}", Panicked(info));
        line.join();
        global.log(TCL_LOG_ERROR, &line);
    }
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;
    use std::sync::Arc;

    use super::*;
    use crate::source::PrefixLengths;

    #[test]
    fn panic_returns_the_fallback_and_is_counted() {
        let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
        let answer = guard_in(&limiter, 0, || -> i32 { panic!("on purpose") });
        assert_eq!(answer, 0);
        assert_eq!(limiter.totals().panics, 1);
    }

    #[test]
    fn panic_payload_is_dropped() {
        let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
        let kept = Arc::new(());
        let carried = Arc::clone(&kept);
        guard_in(&limiter, (), || panic_any(carried));
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn panic_while_dropping_the_payload_is_caught() {
        struct Another;
        impl Drop for Another {
            fn drop(&mut self) {
                panic!("on purpose, and once more");
            }
        }
        let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
        let answer = guard_in(&limiter, 0, || -> i32 { panic_any(Another) });
        assert_eq!(answer, 0);
        assert_eq!(limiter.totals().panics, 1);
    }
}
