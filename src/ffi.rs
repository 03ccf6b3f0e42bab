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
//!   after `tcl_init`. None blocks or takes a lock. Those that run for every
//!   connection ([`tcl_check`], [`tcl_opened`], [`tcl_closed`],
//!   [`tcp_connection_limit_srcip`]) allocate nothing.
//! - Pointers may be null: an input that is null is no address, an output that is
//!   null is not written, and the function says so. Pointers that are not null
//!   must be valid as each function tells. Nothing is kept but what `tcl_init`
//!   says.
//! - A panic is counted, logged once, and answered as before `tcl_init`: the
//!   connection is admitted.

use core::ffi::{c_char, c_int};
use core::fmt::{self, Write as _};
use core::panic::AssertUnwindSafe;
use std::panic::{PanicHookInfo, catch_unwind, set_hook};

use once_cell::sync::OnceCell;

use crate::audit::Audit;
use crate::host::{TCL_LOG_ERROR, TCL_LOG_WARN, tcl_host};
use crate::limiter::{Fault, Limiter, Rejection, Token, Worker};
use crate::report::SourceReport;
use crate::source::{Prefixes, Source};
use crate::sync::{AtomicBool, AtomicU32, Ordering};

/// Success.
pub const TCL_OK: i32 = 0;
/// An argument is null or out of range.
pub const TCL_EARG: i32 = -1;
/// There is a limiter in this process already.
pub const TCL_EALREADY: i32 = -2;
/// The system gives no memory, shared or own.
pub const TCL_EMEM: i32 = -3;
/// Use before `tcl_init()`.
pub const TCL_EINIT: i32 = -4;
/// The token names no connection.
pub const TCL_ESTALE: i32 = -5;
/// A panic was stopped.
pub const TCL_EPANIC: i32 = -6;

/// Bytes for a source as text, the NUL included.
pub const TCL_SOURCE_TEXT: usize = 52;

/// What `tcl_init()` wants to know.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_config {
    /// Connections the server allows, 1 to 100,000,000: sizes the table.
    pub max_connections: i32,
    /// Connections of a source; 0 or less: off.
    pub limit: i32,
    /// Leading bits of an IPv4 address that make a source, 1 to 32.
    pub ipv4_prefix: i32,
    /// Leading bits of an IPv6 address that make a source, 1 to 128.
    pub ipv6_prefix: i32,
}

/// The table as a whole.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_stats {
    /// Sources with connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Connections counted since the start.
    pub admitted: u64,
    /// Connections refused since the start.
    pub rejected: u64,
    /// The sum of the four that follow.
    pub errors: u64,
    /// Panics that were stopped.
    pub panics: u64,
    /// Connections admitted uncounted because the table had no place.
    pub table_full: u64,
    /// Calls with an address that is neither IPv4 nor IPv6.
    pub bad_address: u64,
    /// Releases of a token that names no connection.
    pub stale_token: u64,
    /// Places for sources.
    pub slots: u64,
    /// Bytes of shared memory mapped; what was never used takes no memory.
    pub memory: u64,
    /// Connections the table is made for.
    pub capacity: u32,
    /// Connections of a source; 0 or less: off.
    pub limit: i32,
    /// Leading bits of an IPv4 address that make a source.
    pub ipv4_prefix: i32,
    /// Leading bits of an IPv6 address that make a source.
    pub ipv6_prefix: i32,
}

/// A source.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_source {
    /// Address, with the prefix length if that is shorter than an address.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// Its connections.
    pub connections: u32,
    /// Its limit; 0 or less: off.
    pub limit: i32,
    /// Rejections since it is in the table.
    pub rejected: u32,
}

/// A source for which the host and the table disagree.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_difference {
    /// Address, with the prefix length if that is shorter than an address.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// Its connections in the host.
    pub host: u32,
    /// Its connections in our table.
    pub counted: u32,
}

/// The sums of an audit.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_audit_sums {
    /// The host's connections.
    pub connections: u64,
    /// The connections in our table.
    pub counted: u64,
    /// The host's connections without a token.
    pub uncounted: u64,
    /// Sources for which the host and the table disagree.
    pub differences: u64,
}

/// A recount under way.
#[allow(non_camel_case_types)]
pub struct tcl_audit(Audit);

/// Kamailio's `union sockaddr_union`: a `struct sockaddr_in` or `sockaddr_in6`.
#[repr(C)]
#[allow(non_camel_case_types)]
pub union sockaddr_union {
    family: libc::sa_family_t,
    sin: libc::sockaddr_in,
    sin6: libc::sockaddr_in6,
}

struct Global {
    limiter: Limiter,
    log: unsafe extern "C" fn(i32, *const c_char),
    now: unsafe extern "C" fn() -> u32,
}

static GLOBAL: OnceCell<Global> = OnceCell::new();

/// The worker that this process is: own memory, each forked process has its own.
static WORKER: AtomicU32 = AtomicU32::new(0);

/// The version of the library, for the host to compare with `TCL_VERSION`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Makes the limiter of this process and of all that it forks from now on.
///
/// On failure nothing is left behind, and up to `error_size` bytes of a sentence
/// that names the value or the reason are written to `error`, NUL included.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EALREADY` or `TCL_EMEM`.
///
/// # Safety
///
/// `config` and `host` are null or valid; the functions in `host` can be called
/// until the process ends; `error` is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_init(
    config: *const tcl_config,
    host: *const tcl_host,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    let outcome = catch_unwind(|| {
        // SAFETY: null or valid, as the caller promises.
        let (config, host) = unsafe { (config.as_ref(), host.as_ref()) };
        init(config, host)
    })
    .unwrap_or_else(|_| Err((TCL_EPANIC, "internal error: a panic was stopped".into())));
    match outcome {
        Ok(()) => TCL_OK,
        Err((code, sentence)) => {
            // SAFETY: null or as large as the caller promises.
            unsafe { write_text(error, error_size, &sentence) };
            code
        }
    }
}

fn init(config: Option<&tcl_config>, host: Option<&tcl_host>) -> Result<(), (i32, String)> {
    let bad = |sentence: &str| (TCL_EARG, sentence.to_owned());
    let config = config.ok_or_else(|| bad("no configuration"))?;
    let host = host.ok_or_else(|| bad("no host functions"))?;
    let (Some(log), Some(now)) = (host.log, host.now) else {
        return Err(bad("a host function is missing"));
    };
    let range = |name: &str, value: i32, most: i32| match u32::try_from(value) {
        Ok(inside @ 1..) if value <= most => Ok(inside),
        _ => Err((TCL_EARG, format!("{name} {value}: must be 1 to {most}"))),
    };
    let v4 = range("ipv4_prefix", config.ipv4_prefix, 32)?;
    let v6 = range("ipv6_prefix", config.ipv6_prefix, 128)?;
    let most = range("max_connections", config.max_connections, 100_000_000)?;
    let prefixes = Prefixes::new(v4, v6).ok_or_else(|| bad("prefixes out of range"))?;
    let mut made = false;
    GLOBAL.get_or_try_init(|| {
        let limiter = Limiter::new(most, config.limit, prefixes).map_err(|e| (TCL_EMEM, e))?;
        made = true;
        Ok(Global { limiter, log, now })
    })?;
    if !made {
        let sentence = "there is a limiter in this process already";
        return Err((TCL_EALREADY, sentence.to_owned()));
    }
    // a cdylib has a standard library of its own, and so a hook of its own
    set_hook(Box::new(report_panic));
    Ok(())
}

/// Tells the limiter which worker this process is: 0 for the one that accepts
/// connections, for the others any other number. To be called after each fork.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_attach(worker: u32) {
    // Relaxed: it stands alone
    WORKER.store(worker, Ordering::Relaxed);
}

/// May the address, in network byte order, open one more connection?
///
/// Returns 1 if its source is at the limit or over it: the connection is to be
/// closed; it was counted as rejected and, once per source and minute, logged.
/// Returns 0 to admit it.
///
/// # Safety
///
/// `address` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_check(address: *const u8, length: u32) -> c_int {
    guard(0, |global| {
        // SAFETY: as the caller promises.
        let Some(source) = (unsafe { global.source(address, length) }) else {
            return 0;
        };
        match global.limiter.check(source) {
            Ok(()) => 0,
            Err(rejection) => {
                global.reject(source, rejection);
                1
            }
        }
    })
}

/// Counts a connection of the address, in network byte order.
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
        let Some(source) = (unsafe { global.source(address, length) }) else {
            return 0;
        };
        global
            .limiter
            .opened(worker(), source, 0)
            .map_or(0, Token::to_bits)
    })
}

/// Takes off the connection that `token` was given for, from any process. A token
/// is to be released once; 0 is no token and releases nothing.
///
/// Returns `TCL_OK`, or `TCL_ESTALE` if the token names no connection: nothing was
/// changed, and it was counted as an error.
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
/// `limit` is 0 or less. Counts a rejection and leaves the log to the caller, as
/// the core's function does.
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
                global.limiter.rejected(worker(), rejection, global.now());
                1
            }
        }
    })
}

/// The table as a whole, counted now.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `stats` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_stats(stats: *mut tcl_stats) -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        let (totals, occupancy) = (limiter.totals(), limiter.occupancy());
        let errors = totals.panics + totals.table_full + totals.bad_address + totals.stale_token;
        let length = |family| i32::from(limiter.prefixes().length(family));
        let value = tcl_stats {
            sources: occupancy.sources,
            connections: occupancy.connections,
            admitted: totals.admitted,
            rejected: totals.rejected,
            errors,
            panics: totals.panics,
            table_full: totals.table_full,
            bad_address: totals.bad_address,
            stale_token: totals.stale_token,
            slots: occupancy.slots,
            memory: limiter.bytes() as u64,
            capacity: limiter.max_connections(),
            limit: limiter.limit(),
            ipv4_prefix: length(crate::source::Family::V4),
            ipv6_prefix: length(crate::source::Family::V6),
        };
        // SAFETY: null or valid, as the caller promises.
        unsafe { put(stats, value) }
    })
}

/// The source of an address in network byte order; zeros if it has no place.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `address` is null or points to `length` bytes; `source` is null or valid for
/// writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_get(address: *const u8, length: u32, source: *mut tcl_source) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: as the caller promises.
        let bytes = unsafe { bytes(address, length) };
        let Some(key) = Source::new(bytes, global.limiter.prefixes()) else {
            return TCL_EARG;
        };
        let value = global.describe(global.limiter.get(key));
        // SAFETY: null or valid, as the caller promises.
        unsafe { put(source, value) }
    })
}

/// Writes the up to `room` sources with most connections, most first.
///
/// Returns how many, or `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `sources` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_top(sources: *mut tcl_source, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if sources.is_null() {
            return TCL_EARG;
        }
        let Ok(top) = global.limiter.top(room as usize) else {
            return TCL_EMEM;
        };
        for (i, report) in top.iter().enumerate() {
            // SAFETY: `top` has at most `room` reports, and there is room for so
            // many, as the caller promises.
            unsafe { sources.add(i).write(global.describe(*report)) };
        }
        i32::try_from(top.len()).unwrap_or(i32::MAX)
    })
}

/// Begins a recount of about `connections` connections; null if there is no
/// memory, or before `tcl_init()`. To be ended by `tcl_audit_end()`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_audit_begin(connections: u32) -> *mut tcl_audit {
    guard(core::ptr::null_mut(), |_| {
        Audit::new(connections as usize).map_or(core::ptr::null_mut(), |audit| {
            Box::into_raw(Box::new(tcl_audit(audit)))
        })
    })
}

/// A connection of the host, by its address in network byte order and its token.
/// To be called for each of them, then `tcl_audit_compare()`, while none can be
/// opened or closed.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`; `address` is null or points
/// to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_connection(
    audit: *mut tcl_audit,
    address: *const u8,
    length: u32,
    token: u64,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid and used by this caller only, as it promises.
        let audit = unsafe { audit.as_mut() };
        // SAFETY: as the caller promises.
        let bytes = unsafe { bytes(address, length) };
        let source = Source::new(bytes, global.limiter.prefixes());
        match (audit, source) {
            (Some(audit), Some(source)) => memory(audit.0.connection(source, token != 0)),
            _ => TCL_EARG,
        }
    })
}

/// Takes our counts, for comparison with the host's.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EINIT` or `TCL_EMEM`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_compare(audit: *mut tcl_audit) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid and used by this caller only, as it promises.
        match unsafe { audit.as_mut() } {
            Some(audit) => memory(audit.0.compare(&global.limiter)),
            None => TCL_EARG,
        }
    })
}

/// Writes the sums, and the up to `room` first differences.
///
/// Returns how many differences were written, or `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`; `sums` is null or valid for
/// writing; `differences` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_result(
    audit: *const tcl_audit,
    sums: *mut tcl_audit_sums,
    differences: *mut tcl_difference,
    room: u32,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or valid, as the caller promises.
        let Some(tcl_audit(audit)) = (unsafe { audit.as_ref() }) else {
            return TCL_EARG;
        };
        let value = tcl_audit_sums {
            connections: audit.connections(),
            counted: audit.counted(),
            uncounted: audit.uncounted(),
            differences: audit.differences().count() as u64,
        };
        // SAFETY: null or valid, as the caller promises.
        let code = unsafe { put(sums, value) };
        if code != TCL_OK || differences.is_null() {
            return code;
        }
        let mut written = 0;
        for difference in audit.differences().take(room as usize) {
            let value = tcl_difference {
                text: global.text(difference.source),
                host: difference.host,
                counted: difference.counted,
            };
            // SAFETY: fewer than `room` were written, and there is room for so
            // many, as the caller promises.
            unsafe { differences.add(written as usize).write(value) };
            written += 1;
        }
        written
    })
}

/// Ends a recount.
///
/// # Safety
///
/// `audit` is null or comes from `tcl_audit_begin()`, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_audit_end(audit: *mut tcl_audit) {
    if !audit.is_null() {
        // SAFETY: it is a Box of tcl_audit_begin() that nobody else uses, as the
        // caller promises.
        guard((), |_| drop(unsafe { Box::from_raw(audit) }));
    }
}

impl Global {
    fn now(&self) -> u32 {
        // SAFETY: callable until the process ends, as the host promised tcl_init.
        unsafe { (self.now)() }
    }

    /// The source of an address; counts what is none.
    ///
    /// # Safety
    ///
    /// `address` is null or points to `length` bytes.
    #[inline]
    unsafe fn source(&self, address: *const u8, length: u32) -> Option<Source> {
        // SAFETY: as the caller promises.
        self.source_of(unsafe { bytes(address, length) })
    }

    #[inline]
    fn source_of(&self, address: &[u8]) -> Option<Source> {
        let source = Source::new(address, self.limiter.prefixes());
        if source.is_none() {
            self.limiter.note(worker(), Fault::BadAddress);
        }
        source
    }

    /// Counts a rejection and logs it if it is time to.
    #[cold]
    fn reject(&self, source: Source, rejection: Rejection) {
        if self.limiter.rejected(worker(), rejection, self.now()) {
            let mut line = Line::default();
            let Rejection {
                connections, limit, ..
            } = rejection;
            let source = source.display(self.limiter.prefixes());
            // cut rather than fail
            let _ = write!(
                line,
                "rejected connection from {source}: {connections} connections, limit {limit}"
            );
            self.log(TCL_LOG_WARN, &line);
        }
    }

    fn log(&self, level: u32, line: &Line) {
        // SAFETY: callable until the process ends, as the host promised tcl_init;
        // a Line ends with a NUL.
        unsafe { (self.log)(level as i32, line.bytes.as_ptr().cast()) };
    }

    fn text(&self, source: Source) -> [c_char; TCL_SOURCE_TEXT] {
        let mut line = Line::default();
        // cut rather than fail
        let _ = write!(line, "{}", source.display(self.limiter.prefixes()));
        let mut text = [0; TCL_SOURCE_TEXT];
        for (to, from) in text[..TCL_SOURCE_TEXT - 1].iter_mut().zip(line.bytes) {
            *to = from as c_char;
        }
        text
    }

    fn describe(&self, report: SourceReport) -> tcl_source {
        tcl_source {
            text: self.text(report.source),
            connections: report.connections,
            limit: self.limiter.limit(),
            rejected: report.rejected,
        }
    }
}

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
            // dropping what somebody else panicked with could panic again
            core::mem::forget(payload);
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
            "internal error, connections are admitted unchecked where it occurs: {info}"
        );
        for byte in &mut line.bytes {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
        global.log(TCL_LOG_ERROR, &line);
    }
}

fn memory<E>(outcome: Result<(), E>) -> i32 {
    match outcome {
        Ok(()) => TCL_OK,
        Err(_) => TCL_EMEM,
    }
}

/// # Safety
///
/// `address` is null or points to `length` bytes that live as long as the result
/// is used.
#[inline]
unsafe fn bytes<'a>(address: *const u8, length: u32) -> &'a [u8] {
    if address.is_null() {
        return &[];
    }
    // SAFETY: as the caller promises.
    unsafe { core::slice::from_raw_parts(address, length as usize) }
}

/// The octets of an IPv4 or IPv6 socket address; their number, 0 for others.
///
/// # Safety
///
/// `address` is null or points to a socket address as large as its family tells.
unsafe fn read_sockaddr(address: *const sockaddr_union, octets: &mut [u8; 16]) -> usize {
    if address.is_null() {
        return 0;
    }
    // SAFETY: every socket address begins with its family. Read unaligned and
    // without a reference to the union: there may be fewer bytes than its size.
    let family = unsafe { address.cast::<libc::sa_family_t>().read_unaligned() };
    match c_int::from(family) {
        libc::AF_INET => {
            // SAFETY: a sockaddr_in, by its family.
            let sin = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
            octets[..4].copy_from_slice(&sin.sin_addr.s_addr.to_ne_bytes());
            4
        }
        libc::AF_INET6 => {
            // SAFETY: a sockaddr_in6, by its family.
            let sin6 = unsafe { address.cast::<libc::sockaddr_in6>().read_unaligned() };
            *octets = sin6.sin6_addr.s6_addr;
            16
        }
        _ => 0,
    }
}

/// # Safety
///
/// `to` is null or valid for writing.
unsafe fn put<T>(to: *mut T, value: T) -> i32 {
    if to.is_null() {
        return TCL_EARG;
    }
    // SAFETY: as the caller promises.
    unsafe { to.write(value) };
    TCL_OK
}

/// # Safety
///
/// `to` is null or has room for `size` bytes.
unsafe fn write_text(to: *mut c_char, size: usize, text: &str) {
    if to.is_null() || size == 0 {
        return;
    }
    let taken = text.len().min(size - 1);
    // SAFETY: `taken` bytes and a NUL fit into `size`.
    unsafe {
        core::ptr::copy_nonoverlapping(text.as_ptr(), to.cast(), taken);
        to.add(taken).write(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_gives_the_fallback_and_is_counted() {
        let limiter = Limiter::new(10, 1, Prefixes::DEFAULT).unwrap();
        let answer = guard_in(&limiter, 0, || -> i32 { panic!("on purpose") });
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
