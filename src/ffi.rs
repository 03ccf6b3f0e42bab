// SPDX-License-Identifier: GPL-2.0-or-later
//! The C ABI: check pointers → convert → limiter → code. Panics stop here.
//!
//! # The contract
//!
//! - One process has one limiter. [`tcl_init`] makes it, before the server forks;
//!   it stays until the process ends, so that whatever runs late at shutdown is
//!   still safe. Before `tcl_init` every function gives its harmless answer: admit,
//!   no token, nothing found.
//! - All functions may be called from any thread of any process that was forked
//!   after `tcl_init`; `tcl_watch` always from the same process. None blocks or
//!   waits for a lock, but: `tcl_init`, `tcl_watch` and the `tcl_interpose_` functions
//!   wait if another thread is in the same one; `tcl_watch` waits for the functions of
//!   the host that it calls; `tcl_rules_load` reads a file. What runs for every
//!   connection allocates nothing: `tcl_check`, `tcl_opened`, `tcl_closed`,
//!   `tcp_connection_limit_srcip`, and what `tcl_interpose_attach` puts in place of
//!   the C library's functions.
//! - Pointers may be null: an input that is null is no address or text, an output
//!   that is null is not written, and the function says so. Pointers that are not
//!   null must be valid as each function tells. Nothing is kept but what `tcl_init`
//!   says.
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
/// There is a limiter in this process already.
pub const TCL_EALREADY: i32 = -2;
/// The system gives no memory, shared or own.
pub const TCL_EMEM: i32 = -3;
/// Use before `tcl_init()`; or a panic was stopped, which the statistics count.
pub const TCL_EINIT: i32 = -4;
/// The token names no connection.
pub const TCL_ESTALE: i32 = -5;
/// A panic was stopped in `tcl_init()`.
pub const TCL_EPANIC: i32 = -6;
/// Another process loads rules at this moment.
pub const TCL_ELOCKED: i32 = -7;
/// A rule or the file of rules is wrong; the sentence says where.
pub const TCL_ERULES: i32 = -8;
/// The functions of this executable cannot be replaced; the sentence says why.
pub const TCL_EINTERPOSE: i32 = -9;
/// There are more connections than `tcl_audit_begin()` reserved memory for.
pub const TCL_EROOM: i32 = -10;

/// Bytes for a source as text, the NUL included.
pub const TCL_SOURCE_TEXT: usize = 52;

struct Global {
    limiter: Limiter,
    log: unsafe extern "C" fn(i32, *const c_char),
    now: unsafe extern "C" fn() -> u32,
    rejected: unsafe extern "C" fn(*const tcl_event),
}

static GLOBAL: OnceCell<Global> = OnceCell::new();

/// The worker that this process is: own memory, each forked process has its own.
static WORKER: AtomicU32 = AtomicU32::new(0);

impl Global {
    fn now(&self) -> u32 {
        // SAFETY: callable until the process ends, as the host promised tcl_init.
        unsafe { (self.now)() }
    }

    fn log(&self, level: u32, line: &Line) {
        // SAFETY: callable until the process ends, as the host promised tcl_init;
        // a Line ends with a NUL.
        unsafe { (self.log)(level as i32, line.bytes.as_ptr().cast()) };
    }

    /// A source or prefix as text with its NUL, cut rather than failing.
    fn text(&self, text: impl fmt::Display) -> [c_char; TCL_SOURCE_TEXT] {
        let mut line = Line::default();
        // cut rather than fail
        let _ = write!(line, "{text}");
        let mut text = [0; TCL_SOURCE_TEXT];
        for (to, from) in text[..TCL_SOURCE_TEXT - 1].iter_mut().zip(line.bytes) {
            *to = from as c_char;
        }
        text
    }
}

/// What stands for the sources without a rule where a prefix is expected.
const DEFAULT: &str = "default";

/// A line for the log: made without allocating, cut where it is too long.
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
        let room = self.bytes.len() - 1 - self.length; // the NUL stays
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
    // Relaxed: it stands alone
    Worker::new(WORKER.load(Ordering::Relaxed))
}

/// Runs `work` on the limiter. `fallback` before `tcl_init`, and on a panic, which
/// is counted.
#[inline]
fn guard<T>(fallback: T, work: impl FnOnce(&'static Global) -> T) -> T {
    let Some(global) = GLOBAL.get() else {
        return fallback;
    };
    guard_in(&global.limiter, fallback, || work(global))
}

#[inline]
fn guard_in<T>(limiter: &Limiter, fallback: T, work: impl FnOnce() -> T) -> T {
    // unwind-safe: the table is atomics that no panic leaves half-changed, see
    // crate::table on processes killed on the way
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => value,
        Err(payload) => {
            // what somebody panicked with may panic itself when it is dropped
            if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                core::mem::forget(another);
            }
            limiter.note(worker(), Fault::Panic);
            fallback
        }
    }
}

/// The panic hook: the first panic goes to the host's log, none to stderr.
fn report_panic(info: &PanicHookInfo<'_>) {
    static REPORTED: AtomicBool = AtomicBool::new(false);
    // Relaxed: only who comes first matters
    if REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    if let Some(global) = GLOBAL.get() {
        let mut line = Line::default();
        // cut rather than fail
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
    fn a_panic_gives_the_fallback_and_is_counted() {
        let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
        let answer = guard_in(&limiter, 0, || -> i32 { panic!("on purpose") });
        assert_eq!(answer, 0);
        assert_eq!(limiter.totals().panics, 1);
    }

    #[test]
    fn what_a_panic_carries_is_given_back() {
        let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
        let kept = Arc::new(());
        let carried = Arc::clone(&kept);
        guard_in(&limiter, (), || panic_any(carried));
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn a_panic_that_carries_another_is_stopped() {
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
    fn a_line_is_cut_and_ends_with_nul() {
        let mut line = Line::default();
        assert!(write!(line, "{:300}", 'x').is_err());
        assert_eq!(line.bytes[254], b' ');
        assert_eq!(line.bytes[255], 0);
    }
}
