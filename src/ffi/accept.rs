// SPDX-License-Identifier: GPL-2.0-or-later
//! The functions that run for every connection, and a stand-in for the core's own
//! function.

use core::ffi::c_int;
use core::fmt::Write as _;

use super::codes::{TCL_EINIT, TCL_ESTALE, TCL_OK};
use super::global::{Global, WORKER, guard, worker};
use super::line::Line;
use super::memory::bytes;
use crate::host::TCL_LOG_WARN;
use crate::interpose::sockaddr;
use crate::limiter::{ConnectionToken, Facts, Fault};
use crate::observe::notices::NotPopulated;
use crate::shared::sync::Ordering;
use crate::source::Source;

/// The connection was accepted on a socket for TLS.
pub const TCL_FACT_TLS: u32 = 1;
/// The client has sent a whole message, or as much as the host can say: it has sent
/// something, or the host cannot say that it has not.
pub const TCL_FACT_SPOKE: u32 = 2;
/// The connection was closed after a timeout.
pub const TCL_FACT_TIMED_OUT: u32 = 4;
/// The host, not the client, wanted to close the connection.
pub const TCL_FACT_CLOSED_BY_HOST: u32 = 8;

/// Kamailio's `union sockaddr_union`: a `struct sockaddr_in` or `sockaddr_in6`.
#[repr(C)]
#[allow(non_camel_case_types)]
pub union sockaddr_union {
    family: libc::sa_family_t,
    sin: libc::sockaddr_in,
    sin6: libc::sockaddr_in6,
}

/// Sets the worker number of this process: 0 for the process that accepts connections,
/// any other number for the others. Must be called after each fork.
///
/// With 0 it also makes the system allocate the memory that is used for every
/// connection, about 72 bytes for each of `max_connections`, up to 1 GiB. This takes a
/// few microseconds for each page: a millisecond or two for 35,000 connections, 50 ms
/// for a million. So call it before connections are accepted, and on the CPU or memory
/// node that will accept them. If the system refuses, one line is logged, and each page
/// is allocated when a connection first needs it.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_worker(worker: u32) {
    // Relaxed: no other memory depends on it.
    WORKER.store(worker, Ordering::Relaxed);
    if worker == 0 {
        guard((), Global::populate);
    }
}

/// Decides whether the address, in network byte order, may open one more connection, which
/// has `descriptor` in the process that accepts, and was accepted on `listener`, a descriptor
/// of `tcl_listeners()`, or -1 if that is unknown. 4 bytes are IPv4, 16 bytes are IPv6. An
/// address of any other length is admitted and counted as an error.
///
/// Returns 1 if the connection must be closed: its source is banned, over its rate, or at or
/// over its limit; or its source has no slot in the table, or its descriptor is not tracked,
/// and the policy is to reject it. Returns 0 to admit it; in monitor mode and with the mode
/// off it always does. A rejection is counted, in monitor mode as one that would have
/// happened. `tcl_watch()` logs it.
///
/// Between this call and `tcl_opened()`, other threads or processes may do the same, so
/// a source can exceed its limit by the number of those that accept at the same moment.
/// With one acceptor, as in Kamailio, the limit is exact.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_check(
    address: *const u8,
    length: u32,
    descriptor: c_int,
    listener: c_int,
) -> c_int {
    guard(0, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        global
            .rejects(unsafe { bytes(address, length) }, descriptor, listener)
            .into()
    })
}

/// Counts a connection of the address (network byte order, 4 or 16 bytes), regardless
/// of the limit, and charges it to the rate of its source. `listener` is that of
/// `tcl_check()`, `facts` is `TCL_FACT_TLS` or 0. Must be called in the process that has `descriptor`. If a connection
/// with the same descriptor is still counted, it is released, and a fault is counted.
///
/// Returns a token for `tcl_closed()`, or 0 if the connection is not counted because its
/// source has no slot, its descriptor is not tracked, or the address is invalid; then there
/// is nothing to release. A descriptor is tracked if it is less than `max_connections` plus
/// 65,536.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_opened(
    address: *const u8,
    length: u32,
    descriptor: c_int,
    listener: c_int,
    facts: u32,
) -> u64 {
    let facts = Facts::from_bits(facts);
    guard(0, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        global.opened(
            unsafe { bytes(address, length) },
            descriptor,
            listener,
            facts,
        )
    })
}

/// Releases the connection that `token` stands for. `facts` says how it ended: the sum of
/// `TCL_FACT_` constants. Must be called before the descriptor is closed; may be called
/// from any process. A token must be released exactly once; 0 is not a token and releases
/// nothing.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_ESTALE` if the token does not belong to a
/// counted connection: then nothing was changed, and an error was counted.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_closed(token: u64, facts: u32) -> i32 {
    let Some(connection) = ConnectionToken::from_bits(token) else {
        return closed_without_token(token);
    };
    let facts = Facts::from_bits(facts);
    guard(TCL_EINIT, |global| {
        match global.limiter.disconnect(worker(), connection, facts) {
            Ok(_) => TCL_OK,
            Err(_) => TCL_ESTALE,
        }
    })
}

/// The code for a release with these bits, which are not a token.
#[cold]
fn closed_without_token(bits: u64) -> i32 {
    if bits == 0 {
        return TCL_OK;
    }
    guard(TCL_EINIT, |global| {
        global.limiter.note(worker(), Fault::StaleToken);
        TCL_ESTALE
    })
}

/// The token of the connection that is counted with `descriptor`, in the process that
/// accepts. May be called in any process.
///
/// Returns 0 if no such connection is counted: there was no slot for its source, or its
/// descriptor is not tracked.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_token(descriptor: c_int) -> u64 {
    guard(0, |global| {
        let token = global.limiter.connection(descriptor);
        token.map_or(0, ConnectionToken::to_bits)
    })
}

/// A function with the name of Kamailio's own, for programs that link this library.
/// Returns 1 if the source of `address` has `limit` connections or more, and 0 if it has
/// fewer or `limit` is 0 or less, regardless of rules and mode. A rejection is counted
/// in the totals only; logging is left to the caller, as with the core's function.
///
/// Inside Kamailio this name resolves to the core's function, since the dynamic linker
/// prefers the executable; the module calls `tcl_check()`.
///
/// # Safety
///
/// `address` is null or points to the `struct sockaddr_in` or `sockaddr_in6` that its
/// family announces, or to another `struct sockaddr`, of which only the family is read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcp_connection_limit_srcip(
    address: *mut sockaddr_union,
    limit: c_int,
) -> c_int {
    guard(0, |global| {
        let mut buffer = [0; 16];
        // SAFETY: null, or of the size that its family implies, as the caller promises.
        let octets = unsafe { sockaddr::octets(address.cast(), &mut buffer) };
        let Some(source) = global.source_of(octets) else {
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
        // A line that is too long is truncated.
        let _ = write!(line, "{}", NotPopulated(error));
        self.log(TCL_LOG_WARN, &line);
    }

    /// Whether one more connection of the address is rejected; a rejection is counted.
    #[inline(always)]
    pub(super) fn rejects(&self, address: &[u8], descriptor: c_int, listener: c_int) -> bool {
        // First, so that the usual case need not keep the descriptor.
        if !self.limiter.is_tracked(descriptor) {
            return self.rejects_untracked(address, listener);
        }
        let Some(source) = self.source_of(address) else {
            return false;
        };
        if self.limiter.has_listener_rules() {
            return self.rejects_on(source, address, listener);
        }
        match self.limiter.check_from(source, address) {
            Ok(()) => false,
            Err(rejection) => self.limiter.rejected(worker(), rejection),
        }
    }

    /// The check while active rules name listeners.
    #[inline(never)]
    fn rejects_on(&self, source: Source, address: &[u8], listener: c_int) -> bool {
        let source = self.limiter.on_listener(source, listener);
        match self.limiter.check_on_listener(source, address) {
            Ok(()) => false,
            Err(rejection) => self.limiter.rejected(worker(), rejection),
        }
    }

    #[cold]
    #[inline(never)]
    fn rejects_untracked(&self, address: &[u8], listener: c_int) -> bool {
        let Some(source) = self.source_of(address) else {
            return false;
        };
        let source = self.limiter.on_listener(source, listener);
        match self.limiter.check_untracked(source, address) {
            Ok(()) => false,
            Err(rejection) => self.limiter.rejected(worker(), rejection),
        }
    }

    /// Counts a connection of the address. Returns its token, or 0 if it is not counted.
    #[inline(always)]
    pub(super) fn opened(
        &self,
        address: &[u8],
        descriptor: c_int,
        listener: c_int,
        facts: Facts,
    ) -> u64 {
        let limiter = &self.limiter;
        // First, so that the usual case need not keep the address.
        if limiter.has_unusual_connects() {
            return self.opened_unusual(address, descriptor, listener, facts);
        }
        let Some(source) = self.source_of(address) else {
            return 0;
        };
        let worker = worker();
        let opened = limiter
            .record(worker, descriptor)
            .and_then(|record| limiter.connect_usual(worker, record, source, facts, 0));
        opened.map_or(0, ConnectionToken::to_bits)
    }

    /// As [`opened`](Self::opened), if the connection may need more than to be counted in its
    /// source.
    #[inline(never)]
    fn opened_unusual(
        &self,
        address: &[u8],
        descriptor: c_int,
        listener: c_int,
        facts: Facts,
    ) -> u64 {
        let Some(mut source) = self.source_of(address) else {
            return 0;
        };
        let limiter = &self.limiter;
        if limiter.has_listener_rules() {
            source = limiter.on_listener(source, listener);
        }
        let opened = limiter.connect(worker(), descriptor, source, address, facts, 0);
        opened.map_or(0, ConnectionToken::to_bits)
    }

    /// Checks a connection that was accepted, and counts it if it is admitted; returns
    /// whether it is. An address without octets cannot be counted.
    pub(super) fn accepted(
        &self,
        descriptor: c_int,
        listener: c_int,
        address: &[u8],
        facts: Facts,
    ) -> bool {
        let limiter = &self.limiter;
        let source = match address {
            [] => None,
            _ => self.source_of(address),
        };
        let Some(source) = source else {
            limiter.forget(worker(), descriptor);
            return true;
        };
        let source = limiter.on_listener(source, listener);
        limiter.accept(worker(), descriptor, source, address, facts)
    }

    /// The source of an address; counts an error if the address is invalid.
    #[inline]
    fn source_of(&self, address: &[u8]) -> Option<Source> {
        let source = self.limiter.source(address);
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
        // SAFETY: `Global::log` passes a string that ends with a NUL.
        let line = unsafe { CStr::from_ptr(line) }.to_str().unwrap();
        LINES.lock().unwrap().push((level, line.to_owned()));
    }

    unsafe extern "C" fn now() -> u32 {
        0
    }

    unsafe extern "C" fn rejected(_: *const tcl_event) {}

    #[test]
    fn failed_allocation_is_only_logged() {
        let global = Global {
            limiter: Limiter::new(10_000, 1, PrefixLengths::DEFAULT).unwrap(),
            log,
            now,
            rejected,
            released: None,
            banned: None,
            unbanned: None,
            timed_out: None,
            load: None,
            pressure: None,
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
