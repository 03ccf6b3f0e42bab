// SPDX-License-Identifier: GPL-2.0-or-later
//! The C ABI. Each function checks its pointers, converts its arguments, calls the
//! limiter and returns a code. No panic leaves this module.
//!
//! # The contract
//!
//! - A process has one limiter. [`tcl_init`] creates it before the server forks. It
//!   lives until the process ends, so calls late in the shutdown are still safe.
//!   Before `tcl_init`, every function returns its harmless answer: admit, no token,
//!   nothing found.
//! - All functions may be called from any thread of any process that was forked
//!   after `tcl_init`; `tcl_watch` must always be called from the same process. No
//!   function blocks or waits for a lock, with these exceptions: `tcl_init`,
//!   `tcl_watch` and each `tcl_interpose_` function wait while another thread is in
//!   the same function; `tcl_watch` waits for the host functions that it calls;
//!   `tcl_rules_load` reads a file. The code that runs for every connection allocates
//!   nothing: `tcl_check`, `tcl_opened`, `tcl_closed`, `tcp_connection_limit_srcip`,
//!   and the functions with which `tcl_interpose_attach` replaces those of the C
//!   library.
//! - Pointers may be null. A null input counts as a missing address or text. A null
//!   output is not written, and the function reports it. All other pointers must be
//!   valid as described at each function. The library keeps no pointers except those
//!   described at `tcl_init`.
//! - A panic is counted, logged once, and answered as before `tcl_init`: the
//!   connection is admitted.

mod accept;
mod audit;
mod control;
mod interpose;
mod memory;
mod reports;

pub use accept::*;
pub use audit::*;
pub use control::*;
pub use interpose::*;
pub use reports::*;

use core::ffi::c_char;
use core::fmt::{self, Write as _};
use core::panic::AssertUnwindSafe;
use std::panic::{PanicHookInfo, catch_unwind};

use once_cell::sync::OnceCell;

use crate::host::{TCL_LOG_ERROR, tcl_event};
use crate::limiter::{Fault, Limiter, Worker};
use crate::shared::sync::{AtomicBool, AtomicU32, Ordering};

/// Success.
pub const TCL_OK: i32 = 0;
/// An argument is null or out of range.
pub const TCL_EARG: i32 = -1;
/// This process already has a limiter.
pub const TCL_EALREADY: i32 = -2;
/// The system provides no memory, shared or private.
pub const TCL_EMEM: i32 = -3;
/// The function was called before `tcl_init()`, or it caught a panic, which the
/// statistics count.
pub const TCL_EINIT: i32 = -4;
/// The token does not belong to a counted connection.
pub const TCL_ESTALE: i32 = -5;
/// `tcl_init()` caught a panic.
pub const TCL_EPANIC: i32 = -6;
/// Another process or thread is loading rules.
pub const TCL_ELOCKED: i32 = -7;
/// A rule or the rules file is invalid; the error text says where.
pub const TCL_ERULES: i32 = -8;
/// The functions of this executable cannot be replaced; the error text says why.
pub const TCL_EINTERPOSE: i32 = -9;
/// There are more connections than `tcl_audit_begin()` reserved memory for.
pub const TCL_EROOM: i32 = -10;

/// Size of a source as text, in bytes, including the NUL.
pub const TCL_SOURCE_TEXT: usize = 52;

struct Global {
    limiter: Limiter,
    log: unsafe extern "C" fn(i32, *const c_char),
    now: unsafe extern "C" fn() -> u32,
    rejected: unsafe extern "C" fn(*const tcl_event),
}

static GLOBAL: OnceCell<Global> = OnceCell::new();

/// The worker number of this process. Private memory: each forked process has its own
/// copy.
static WORKER: AtomicU32 = AtomicU32::new(0);

impl Global {
    fn now(&self) -> u32 {
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised.
        unsafe { (self.now)() }
    }

    fn log(&self, level: u32, line: &Line) {
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised;
        // a `Line` ends with a NUL.
        unsafe { (self.log)(level as i32, line.bytes.as_ptr().cast()) };
    }

    /// A source or prefix as text with its NUL, truncated if it is too long.
    fn text(&self, text: impl fmt::Display) -> [c_char; TCL_SOURCE_TEXT] {
        let mut line = Line::default();
        // A text that is too long is truncated.
        let _ = write!(line, "{text}");
        let mut text = [0; TCL_SOURCE_TEXT];
        for (to, from) in text[..TCL_SOURCE_TEXT - 1].iter_mut().zip(line.bytes) {
            *to = from as c_char;
        }
        text
    }
}

/// Shown in place of a prefix for the sources without a rule.
const DEFAULT: &str = "default";

/// A log line. It is built without allocating, and truncated if it is too long.
struct Line {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Line {
    fn default() -> Line {
        Line {
            bytes: [0; 256],
            length: 0,
        }
    }
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.length; // Keeps the NUL.
        let taken = text.len().min(room);
        self.bytes[self.length..self.length + taken].copy_from_slice(&text.as_bytes()[..taken]);
        self.length += taken;
        if taken < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[inline]
fn worker() -> Worker {
    // Relaxed: no other memory depends on it.
    Worker::new(WORKER.load(Ordering::Relaxed))
}

/// Runs `work` on the limiter. Returns `fallback` before `tcl_init` and after a panic,
/// which is counted.
#[inline]
fn guard<T>(fallback: T, work: impl FnOnce(&'static Global) -> T) -> T {
    let Some(global) = GLOBAL.get() else {
        return fallback;
    };
    guard_in(&global.limiter, fallback, || work(global))
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
fn report_panic(info: &PanicHookInfo<'_>) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    // Relaxed: only which call is the first matters.
    if REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Some(global) = GLOBAL.get() {
        let mut line = Line::default();
        // A text that is too long is truncated.
        let _ = write!(
            line,
            "internal error; connections that hit it are admitted unchecked: {info}"
        );
        for byte in &mut line.bytes {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
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

    #[test]
    fn long_line_is_truncated_and_ends_with_nul() {
        let mut line = Line::default();
        assert!(write!(line, "{:300}", 'x').is_err());
        assert_eq!(line.bytes[254], b' ');
        assert_eq!(line.bytes[255], 0);
    }
}
