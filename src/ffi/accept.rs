// SPDX-License-Identifier: GPL-2.0-or-later
//! What runs for every connection, and the core's own function.

use core::ffi::c_int;
use core::fmt::Write as _;

use super::memory::{bytes, read_sockaddr};
use super::{Global, Line, TCL_EINIT, TCL_ESTALE, TCL_OK, WORKER, guard, worker};
use crate::host::TCL_LOG_WARN;
use crate::limiter::{Fault, Token};
use crate::shared::sync::Ordering;
use crate::source::Source;

/// Kamailio's `union sockaddr_union`: a `struct sockaddr_in` or `sockaddr_in6`.
#[repr(C)]
#[allow(non_camel_case_types)]
pub union sockaddr_union {
    family: libc::sa_family_t,
    sin: libc::sockaddr_in,
    sin6: libc::sockaddr_in6,
}

/// Tells the limiter which worker this process is: 0 for the one that accepts
/// connections, for the others any other number. To be called after each fork.
///
/// With 0 it also has the system allocate the memory that is used for each connection,
/// about 52 bytes for each of `max_connections`, up to 1 GiB. This takes some
/// microseconds for each page: a millisecond or two for 35,000 connections, 50 ms for a
/// million. So call it before connections are accepted, on the CPU or memory node that is to
/// accept them. If the system refuses, one line is logged, and each page is allocated
/// when a connection first needs it.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_worker(worker: u32) {
    // Relaxed: it stands alone
    WORKER.store(worker, Ordering::Relaxed);
    if worker == 0 {
        guard((), Global::populate);
    }
}

/// May the address, in network byte order, open one more connection? 4 bytes are IPv4,
/// 16 are IPv6; what is neither is admitted, and counted as an error.
///
/// Returns 1 if its source is at its limit or over it, or has no place in the table
/// and the policy is to reject it: the connection is to be closed. Returns 0 to
/// admit it, in monitor mode and with the mode off always. A rejection is counted, or
/// in monitor mode that it would have been one; to log is `tcl_watch()`'s.
///
/// Between this and `tcl_opened()` another thread or process may do the same: so many
/// as accept at the same moment may come on top of the limit. With one that accepts,
/// as in Kamailio, the limit is exact.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_check(address: *const u8, length: u32) -> c_int {
    guard(0, |global| {
        // SAFETY: as the caller promises.
        global
            .rejects(unsafe { bytes(address, length) }, true)
            .into()
    })
}

/// Counts a connection of the address, in network byte order, of 4 or 16 bytes,
/// whatever the limit.
///
/// Returns a token for `tcl_closed()`, or 0 if the connection is not counted
/// (there is no place for its source, or this is no address); then there is
/// nothing to release.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_opened(address: *const u8, length: u32) -> u64 {
    guard(0, |global| {
        // SAFETY: as the caller promises.
        global.opened(unsafe { bytes(address, length) })
    })
}

/// Takes off the connection that `token` was given for, from any process. A token
/// is to be released once; 0 is no token and releases nothing.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_ESTALE` if the token names no connection:
/// nothing was changed, and it was counted as an error.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_closed(token: u64) -> i32 {
    let Some(token) = Token::from_bits(token) else {
        return TCL_OK;
    };
    guard(TCL_EINIT, |global| {
        match global.limiter.closed(worker(), token) {
            Ok(()) => TCL_OK,
            Err(_) => TCL_ESTALE,
        }
    })
}

/// The core's own function, for whoever binds to this library by that name: 1 if
/// the source of `address` has `limit` connections or more, 0 if not, or if
/// `limit` is 0 or less, whatever rules and mode. Counts a rejection in the
/// totals alone and leaves the log to the caller, as the core's function does.
///
/// Inside Kamailio this name means the core's function, since the dynamic linker
/// prefers the executable; the module calls `tcl_check()`.
///
/// # Safety
///
/// `address` is null or points to a `struct sockaddr_in` or `sockaddr_in6`, as its
/// family tells, or to another `struct sockaddr`, of which only the family is read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcp_connection_limit_srcip(
    address: *mut sockaddr_union,
    limit: c_int,
) -> c_int {
    guard(0, |global| {
        let mut octets = [0; 16];
        // SAFETY: null, or as large as its family tells, as the caller promises.
        let length = unsafe { read_sockaddr(address, &mut octets) };
        let Some(source) = global.source_of(&octets[..length]) else {
            return 0;
        };
        match global.limiter.check_against(source, limit) {
            Ok(()) => 0,
            Err(rejection) => {
                global.limiter.rejected(worker(), rejection);
                1
            }
        }
    })
}

impl Global {
    fn populate(&self) {
        let Err(error) = self.limiter.populate() else {
            return;
        };
        let mut line = Line::default();
        // Cut rather than fail.
        let _ = write!(
            line,
            "cannot allocate the table's buckets in advance: {error}; each page will be \
             allocated when a connection first needs it; give the server more memory or \
             lower tcp_max_connections"
        );
        self.log(TCL_LOG_WARN, &line);
    }

    /// Whether one more connection of the address is rejected; if so, it is counted as
    /// that. `tracked` is false for one that cannot be counted if it is admitted.
    #[inline]
    pub(super) fn rejects(&self, address: &[u8], tracked: bool) -> bool {
        let Some(source) = self.source_of(address) else {
            return false;
        };
        let check = match tracked {
            true => self.limiter.check(source),
            false => self.limiter.check_untracked(source),
        };
        match check {
            Ok(()) => false,
            Err(rejection) => self.limiter.rejected(worker(), rejection),
        }
    }

    /// Counts a connection of the address; its token, 0 if it is not counted.
    #[inline]
    pub(super) fn opened(&self, address: &[u8]) -> u64 {
        let Some(source) = self.source_of(address) else {
            return 0;
        };
        let opened = self.limiter.opened(worker(), source, 0);
        opened.map_or(0, Token::to_bits)
    }

    /// The source of an address; counts what is none.
    #[inline]
    fn source_of(&self, address: &[u8]) -> Option<Source> {
        let source = Source::new(address, self.limiter.prefixes());
        if source.is_none() {
            self.limiter.note(worker(), Fault::BadAddress);
        }
        source
    }
}

#[cfg(test)]
mod tests {
    use core::ffi::{CStr, c_char};
    use std::sync::Mutex;

    use super::*;
    use crate::host::tcl_event;
    use crate::limiter::Limiter;
    use crate::source::PrefixLengths;

    static LINES: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());

    unsafe extern "C" fn log(level: i32, line: *const c_char) {
        // SAFETY: Global::log passes a string.
        let line = unsafe { CStr::from_ptr(line) }.to_str().unwrap();
        LINES.lock().unwrap().push((level, line.to_owned()));
    }

    unsafe extern "C" fn now() -> u32 {
        0
    }

    unsafe extern "C" fn rejected(_: *const tcl_event) {}

    #[test]
    fn refused_memory_is_logged_and_nothing_else() {
        let global = Global {
            limiter: Limiter::new(10_000, 1, PrefixLengths::DEFAULT).unwrap(),
            log,
            now,
            rejected,
        };
        global.populate();
        assert!(LINES.lock().unwrap().is_empty());
        global.limiter.region().make_unpopulatable();
        global.populate();
        let lines = LINES.lock().unwrap();
        let [(level, line)] = &lines[..] else {
            panic!("{lines:?}");
        };
        assert_eq!(*level, TCL_LOG_WARN as i32);
        assert!(line.contains("Bad address") && line.ends_with("lower tcp_max_connections"));
        assert_eq!(global.limiter.totals().panics, 0);
    }
}
