// SPDX-License-Identifier: GPL-2.0-or-later
//! The C ABI, called as C would: all that it is given and all that it fills lies at
//! an edge. And the host that it reports to.

use core::cell::RefCell;
use core::ffi::{CStr, c_char, c_void};
use core::fmt;
use core::ptr::{null, null_mut};
use std::panic::{set_hook, take_hook};
use std::sync::atomic::{AtomicU32, Ordering};

use tcp_conn_limit::ffi::{self, TCL_EARG, TCL_EINIT, TCL_ERULES, TCL_OK, TCL_SOURCE_TEXT};
pub use tcp_conn_limit::ffi::{
    tcl_audit_sums, tcl_config, tcl_difference, tcl_rule, tcl_source, tcl_stats, tcl_suggestion,
};

use crate::edge::Edge;

/// `struct tcl_event` of include/tcl_host.h.
#[repr(C)]
struct Event {
    source: *const c_char,
    rule: *const c_char,
    connections: u32,
    limit: i32,
    rejected: u32,
    would: i32,
}

/// `struct tcl_host`.
#[repr(C)]
struct Host {
    log: Option<unsafe extern "C" fn(i32, *const c_char)>,
    now: Option<unsafe extern "C" fn() -> u32>,
    rejected: Option<unsafe extern "C" fn(*const Event)>,
}

static HOST: Host = Host {
    log: Some(log),
    now: Some(now),
    rejected: Some(rejected),
};

/// The host's clock.
pub static CLOCK: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn log(level: i32, line: *const c_char) {
    // SAFETY: a string, as tcl_host.h says.
    let line = unsafe { CStr::from_ptr(line) }.to_bytes();
    assert!(level != 0, "an error: {}", line.escape_ascii());
    assert!(!line.is_empty() && line.iter().all(|byte| (b' '..=b'~').contains(byte)));
}

unsafe extern "C" fn now() -> u32 {
    CLOCK.load(Ordering::Relaxed)
}

unsafe extern "C" fn rejected(event: *const Event) {
    // SAFETY: valid during the call, as tcl_host.h says.
    let event = unsafe { &*event };
    for text in [event.source, event.rule] {
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        assert!(!text.is_empty() && text.len() < TCL_SOURCE_TEXT);
    }
    // one that was counted is gone if the statistics were reset since
    assert!(event.limit >= 0 && (0..=1).contains(&event.would));
}

thread_local! {
    static INPUT: RefCell<Edge> = RefCell::new(Edge::new(16));
    static OUTPUT: RefCell<Edge> = RefCell::new(Edge::new(64));
    static ERROR: RefCell<Edge> = RefCell::new(Edge::new(1));
}

/// Room for a sentence: all of it.
pub const ENOUGH: usize = 1024;

/// Makes the limiter of this process, after a look at what the functions say before.
pub fn start(config: tcl_config) {
    before();
    // a panic ends the process where it happens, not at the C boundary
    let hook = take_hook();
    let (code, sentence) = init(Some(&config), true, ENOUGH);
    set_hook(hook);
    assert_eq!(code, TCL_OK, "{sentence}");
}

/// What all functions say before there is a limiter.
fn before() {
    attach(3);
    assert_eq!(check(&[127, 0, 0, 1]), 0);
    assert_eq!(opened(&[127, 0, 0, 1]), 0);
    assert_eq!((closed(0), closed(1)), (TCL_OK, TCL_EINIT));
    assert_eq!(
        check_sockaddr(&[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], 1),
        Some(0)
    );
    assert_eq!(rules_load(&[Some(c"::/0=1")], None, ENOUGH).0, TCL_EINIT);
    for code in [
        ffi::tcl_set_limit(1),
        ffi::tcl_set_mode(0),
        ffi::tcl_reset_stats(),
        ffi::tcl_watch(1),
        ffi::tcl_interpose_activate(),
        ffi::tcl_interpose_detach(),
        interpose_find(ENOUGH).0,
        interpose_attach(ENOUGH).0,
        stats().0,
        get(&[127, 0, 0, 1]).0,
    ] {
        assert_eq!(code, TCL_EINIT);
    }
    assert_eq!(top(1, 0).err(), Some(TCL_EINIT));
    assert_eq!(list(None, 1, ENOUGH).err().map(|e| e.0), Some(TCL_EINIT));
    assert_eq!(rules(1).err(), Some(TCL_EINIT));
    assert_eq!(suggest(1).err(), Some(TCL_EINIT));
    assert!(Audit::begin(1).is_none());
}

/// A sentence as it was written to a buffer of `size` bytes; `None` if nothing was.
fn sentence(edge: &Edge, size: usize) -> Option<String> {
    if size == 0 {
        return None;
    }
    // SAFETY: bytes, of which `room` has written all.
    let bytes: Vec<u8> = unsafe { edge.read(size, size) };
    let length = bytes.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8(bytes[..length].to_vec()).expect("a sentence in UTF-8");
    assert!(
        !text.chars().any(char::is_control),
        "not for a log: {text:?}"
    );
    // nothing after its end
    // SAFETY: so many bytes were written.
    let _: Vec<u8> = unsafe { edge.read(size, length + 1) };
    Some(text)
}

/// Calls `call` with room for a sentence of `size` bytes. Its code and the sentence,
/// which there is with `failures` and otherwise not.
fn with_error(
    size: usize,
    failures: &[i32],
    call: impl FnOnce(*mut c_char, usize) -> i32,
) -> (i32, String) {
    ERROR.with_borrow_mut(|edge| {
        let code = call(edge.room(size), size);
        let sentence = sentence(edge, size);
        assert_eq!(
            sentence.is_some(),
            size > 0 && failures.contains(&code),
            "{code}"
        );
        (code, sentence.unwrap_or_default())
    })
}

/// `tcl_init()`.
pub fn init(config: Option<&tcl_config>, host: bool, size: usize) -> (i32, String) {
    let config = config.map_or(null(), |config| config);
    let host = if host {
        (&raw const HOST).cast()
    } else {
        null()
    };
    let failures = [TCL_EARG, ffi::TCL_EALREADY, ffi::TCL_EMEM];
    // SAFETY: null or valid; the functions of HOST are there until the end.
    with_error(size, &failures, |error, size| unsafe {
        ffi::tcl_init(config, host, error, size)
    })
}

/// `tcl_rules_load()`; with no texts the pointer to them is null.
pub fn rules_load(texts: &[Option<&CStr>], file: Option<&CStr>, size: usize) -> (i32, String) {
    let texts: Vec<_> = texts
        .iter()
        .map(|text| text.map_or(null(), CStr::as_ptr))
        .collect();
    let pointer = if texts.is_empty() {
        null()
    } else {
        texts.as_ptr()
    };
    let file = file.map_or(null(), CStr::as_ptr);
    let failures = [TCL_EARG, TCL_ERULES, ffi::TCL_ELOCKED, ffi::TCL_EMEM];
    with_error(size, &failures, |error, size| {
        // SAFETY: so many strings or nulls, a string or null, and room for `size`.
        unsafe { ffi::tcl_rules_load(pointer, texts.len() as u32, file, error, size) }
    })
}

/// `tcl_set_worker()`.
pub fn attach(worker: u32) {
    ffi::tcl_set_worker(worker);
}

/// Calls `call` with a copy of `bytes`; of no bytes, with null.
fn with_bytes<T>(bytes: &[u8], call: impl FnOnce(*const u8, u32) -> T) -> T {
    INPUT.with_borrow_mut(|edge| {
        let pointer = if bytes.is_empty() {
            null()
        } else {
            edge.put(bytes).cast_const()
        };
        call(pointer, bytes.len() as u32)
    })
}

/// `tcl_check()`.
pub fn check(address: &[u8]) -> i32 {
    // SAFETY: null or so many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_check(bytes, length)
    })
}

/// `tcl_opened()`.
pub fn opened(address: &[u8]) -> u64 {
    // SAFETY: null or so many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_opened(bytes, length)
    })
}

/// `tcl_closed()`.
pub fn closed(token: u64) -> i32 {
    ffi::tcl_closed(token)
}

/// The family in the first bytes of a socket address, and how many bytes it must have
/// at least.
pub fn family(sockaddr: &[u8]) -> Option<(i32, usize)> {
    let family = u16::from_ne_bytes([*sockaddr.first()?, *sockaddr.get(1)?]).into();
    let least = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => 2,
    };
    Some((family, least))
}

/// `tcp_connection_limit_srcip()`; `None` if the address is shorter than it must be,
/// and the caller was wrong to call. At any alignment. No bytes: null.
pub fn check_sockaddr(sockaddr: &[u8], limit: i32) -> Option<i32> {
    if !sockaddr.is_empty() && family(sockaddr).is_none_or(|(_, least)| sockaddr.len() < least) {
        return None;
    }
    let answer = with_bytes(sockaddr, |bytes, _| {
        // SAFETY: null, or as large as its family tells.
        unsafe { ffi::tcp_connection_limit_srcip(bytes.cast_mut().cast(), limit) }
    });
    Some(answer)
}

/// Calls `call` with room for one value, or null. `None` if nothing was written.
fn with_place<T>(call: impl FnOnce(*mut T) -> i32) -> (i32, Option<T>) {
    OUTPUT.with_borrow_mut(|edge| {
        let code = call(edge.room(1));
        let filled = usize::from(code == TCL_OK);
        // SAFETY: written if the function says so.
        (code, unsafe { edge.read(1, filled) }.pop())
    })
}

/// Calls `call` with room for `room` values. `Err` of a code below zero, else what was
/// written and the code.
fn with_room<T>(room: usize, call: impl FnOnce(*mut T, u32) -> i32) -> Result<(Vec<T>, i32), i32> {
    OUTPUT.with_borrow_mut(|edge| {
        let code = call(edge.room(room), room as u32);
        let filled = usize::try_from(code).unwrap_or(0).min(room);
        // SAFETY: so many were written if the function says so.
        let values = unsafe { edge.read(room, filled) };
        if code < 0 {
            Err(code)
        } else {
            Ok((values, code))
        }
    })
}

/// `tcl_stats()`.
pub fn stats() -> (i32, Option<tcl_stats>) {
    // SAFETY: valid for writing.
    with_place(|stats| unsafe { ffi::tcl_stats(stats) })
}

/// `tcl_get()`.
pub fn get(address: &[u8]) -> (i32, Option<tcl_source>) {
    with_bytes(address, |bytes, length| {
        // SAFETY: null or so many bytes; valid for writing.
        with_place(|source| unsafe { ffi::tcl_get(bytes, length, source) })
    })
}

/// `tcl_top()`.
pub fn top(room: usize, by: i32) -> Result<Vec<tcl_source>, i32> {
    // SAFETY: room for so many.
    let (top, code) = with_room(room, |to, room| unsafe { ffi::tcl_top(to, room, by) })?;
    assert_eq!(top.len(), code as usize);
    Ok(top)
}

/// `tcl_list()`: the sources, and how many there are.
pub fn list(
    prefix: Option<&CStr>,
    room: usize,
    size: usize,
) -> Result<(Vec<tcl_source>, u64), (i32, String)> {
    let prefix = prefix.map_or(null(), CStr::as_ptr);
    let mut total = u64::MAX;
    let mut written = Err(TCL_OK);
    let (code, sentence) = with_error(size, &[TCL_EARG], |error, size| {
        written = with_room(room, |to, room| {
            // SAFETY: null or a string; room for so many sources and bytes.
            unsafe { ffi::tcl_list(prefix, to, room, &mut total, error, size) }
        });
        written
            .as_ref()
            .map_or_else(|code| *code, |(_, code)| *code)
    });
    match written {
        Ok((sources, written)) => {
            assert_eq!(sources.len(), written as usize);
            Ok((sources, total))
        }
        Err(_) => {
            assert_eq!(total, u64::MAX);
            Err((code, sentence))
        }
    }
}

/// `tcl_rules()`: as many as there was room for, and how many there are.
pub fn rules(room: usize) -> Result<(Vec<tcl_rule>, i32), i32> {
    // SAFETY: room for so many.
    with_room(room, |to, room| unsafe { ffi::tcl_rules(to, room) })
}

/// `tcl_suggest()`: as above.
pub fn suggest(room: usize) -> Result<(Vec<tcl_suggestion>, i32), i32> {
    // SAFETY: room for so many.
    with_room(room, |to, room| unsafe { ffi::tcl_suggest(to, room) })
}

const INTERPOSE_FAILURES: [i32; 2] = [ffi::TCL_EINTERPOSE, ffi::TCL_EALREADY];

/// `tcl_interpose_find()`.
pub fn interpose_find(size: usize) -> (i32, String) {
    // SAFETY: room for `size` bytes.
    with_error(size, &INTERPOSE_FAILURES, |error, size| unsafe {
        ffi::tcl_interpose_find(error, size)
    })
}

/// `tcl_interpose_attach()`.
pub fn interpose_attach(size: usize) -> (i32, String) {
    // SAFETY: as above.
    with_error(size, &INTERPOSE_FAILURES, |error, size| unsafe {
        ffi::tcl_interpose_attach(error, size)
    })
}

/// An audit.
pub struct Audit(*mut ffi::tcl_audit);

impl Audit {
    /// `tcl_audit_begin()`.
    pub fn begin(connections: u32) -> Option<Audit> {
        let audit = ffi::tcl_audit_begin(connections);
        (!audit.is_null()).then_some(Audit(audit))
    }

    /// `tcl_audit_connection()`.
    pub fn connection(&mut self, address: &[u8], token: u64) -> i32 {
        with_bytes(address, |bytes, length| {
            // SAFETY: of tcl_audit_begin(); null or so many bytes.
            unsafe { ffi::tcl_audit_connection(self.0, bytes, length, token) }
        })
    }

    /// `tcl_audit_counts()`.
    pub fn counts(&mut self) -> i32 {
        // SAFETY: of tcl_audit_begin().
        unsafe { ffi::tcl_audit_counts(self.0) }
    }

    /// `tcl_audit_result()`.
    pub fn result(&mut self, room: usize) -> (tcl_audit_sums, Vec<tcl_difference>) {
        // SAFETY: integers, for which zeros are valid.
        let mut sums: tcl_audit_sums = unsafe { core::mem::zeroed() };
        let differences = with_room(room, |to, room| {
            // SAFETY: of tcl_audit_begin(); valid for writing; room for so many.
            unsafe { ffi::tcl_audit_result(self.0, &mut sums, to, room) }
        });
        let (differences, code) = differences.expect("a result");
        assert_eq!(differences.len(), code as usize);
        (sums, differences)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // SAFETY: of tcl_audit_begin(), and not used any more.
        unsafe { ffi::tcl_audit_end(self.0) };
    }
}

/// What functions say to null where they want something.
pub fn nulls() {
    let nothing = null_mut::<c_void>();
    // SAFETY: null is allowed in all these places.
    let codes = unsafe {
        [
            ffi::tcl_stats(nothing.cast()),
            ffi::tcl_stats_sampled(nothing.cast()),
            ffi::tcl_get([127, 0, 0, 1].as_ptr(), 4, nothing.cast()),
            ffi::tcl_get(null(), 4, nothing.cast()),
            ffi::tcl_top(nothing.cast(), 9, 0),
            ffi::tcl_list(null(), nothing.cast(), 9, nothing.cast(), nothing.cast(), 9),
            ffi::tcl_audit_connection(nothing.cast(), null(), 4, 1),
            ffi::tcl_audit_counts(nothing.cast()),
            ffi::tcl_audit_result(nothing.cast(), nothing.cast(), nothing.cast(), 9),
            ffi::tcl_rules_load([null()].as_ptr(), 1, null(), nothing.cast(), 9),
            ffi::tcl_init(null(), null(), nothing.cast(), 9),
        ]
    };
    assert_eq!(codes, [TCL_EARG; 11]);
    // SAFETY: as above.
    unsafe { ffi::tcl_audit_end(nothing.cast()) };
}

/// A text of the C ABI.
pub fn text(text: &[c_char; TCL_SOURCE_TEXT]) -> String {
    let length = text.iter().position(|byte| *byte == 0).expect("a NUL");
    text[..length]
        .iter()
        .map(|byte| char::from(*byte as u8))
        .collect()
}

/// The rule of a source in text: a prefix, or "default".
pub fn rule_text(rule: Option<impl fmt::Display>) -> String {
    rule.map_or_else(|| "default".to_owned(), |rule| rule.to_string())
}
