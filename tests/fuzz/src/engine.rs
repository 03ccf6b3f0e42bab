// SPDX-License-Identifier: GPL-2.0-or-later
//! The C ABI, called as from C, and the host that it reports to. All inputs and outputs lie
//! at an [`Edge`].

use core::cell::RefCell;
use core::ffi::{CStr, c_char, c_void};
use core::fmt;
use core::ptr::{null, null_mut};
use std::panic::{set_hook, take_hook};
use std::sync::atomic::{AtomicU32, Ordering};

use tcp_conn_limit::ffi::{self, TCL_EARG, TCL_EINIT, TCL_ERULES, TCL_OK, TCL_SOURCE_TEXT};
pub use tcp_conn_limit::ffi::{
    tcl_audit_sums, tcl_ban, tcl_config, tcl_connection, tcl_difference, tcl_event, tcl_host,
    tcl_listener, tcl_load, tcl_rule, tcl_rule_change, tcl_source, tcl_suggestion,
};
use tcp_conn_limit::observe::counters::COUNTERS;
pub use tcp_conn_limit::observe::counters::Counters;

use crate::edge::Edge;

static HOST: tcl_host = tcl_host {
    log: Some(log),
    now: Some(now),
    rejected: Some(rejected),
    released: Some(rejected),
    banned: Some(rejected),
    unbanned: Some(rejected),
    timed_out: Some(timed_out),
    load: Some(load),
    pressure: None,
};

/// The host's clock.
pub static CLOCK: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn log(level: i32, line: *const c_char) {
    // SAFETY: `line` is a string, as tcl_host.h says.
    let line = unsafe { CStr::from_ptr(line) }.to_bytes();
    assert!(level != 0, "logged an error: {}", line.escape_ascii());
    assert!(!line.is_empty() && line.iter().all(|byte| (b' '..=b'~').contains(byte)));
}

unsafe extern "C" fn now() -> u32 {
    CLOCK.load(Ordering::Relaxed)
}

unsafe extern "C" fn rejected(event: *const tcl_event) {
    // SAFETY: the event is valid during the call, as tcl_host.h says.
    let event = unsafe { &*event };
    for text in [event.source, event.rule] {
        // SAFETY: the texts of the event are strings, valid during the call.
        let text = unsafe { CStr::from_ptr(text) }.to_bytes();
        assert!(!text.is_empty() && text.len() < TCL_SOURCE_TEXT);
    }
    // SAFETY: as above.
    let [reason, ban, rate] =
        [event.reason, event.ban, event.rate].map(|text| unsafe { CStr::from_ptr(text) });
    let reasons = [
        c"limit",
        c"rate",
        c"ban",
        c"untrusted",
        c"reserve",
        c"pressure",
    ];
    assert!(reasons.contains(&reason) && !rate.is_empty());
    // SAFETY: as above.
    let [scope, rule] = [event.scope, event.rule].map(|text| unsafe { CStr::from_ptr(text) });
    let is_network = scope == c"network";
    assert!(is_network || scope == c"source");
    // Networks have a limit and a rate, and rules of their own.
    assert!(!is_network || reason == c"limit" || reason == c"rate");
    let is_for_networks = rule.to_bytes().starts_with(b"network ");
    assert!(rule == c"default" || is_for_networks == is_network);
    assert!(event.seconds == 0 || !ban.is_empty());
    // `rejected` is not checked: it may be 0 if the statistics were reset since.
    assert!(event.limit >= 0 && (0..=1).contains(&event.would));
}

unsafe extern "C" fn timed_out(event: *const tcl_event) {
    // SAFETY: the event and its texts are valid during the call, as tcl_host.h says.
    let (event, texts) = unsafe {
        let event = &*event;
        let texts = [event.reason, event.ban, event.scope];
        (event, texts.map(|text| CStr::from_ptr(text)))
    };
    assert_eq!(texts, [c"untrusted", c"", c"source"]);
    assert!(event.seconds > 0 && event.connections > 0 && (0..=1).contains(&event.would));
}

/// The connections of the host that are in use, and of how many.
pub const IN_USE: u32 = 97;
/// See [`IN_USE`].
pub const MAX: u32 = 100;

/// A host that is nearly full.
unsafe extern "C" fn load(load: *mut tcl_load) {
    // SAFETY: `load` is valid for writing, as tcl_host.h says.
    unsafe {
        load.write(tcl_load {
            in_use: IN_USE,
            max: MAX,
        });
    }
}

thread_local! {
    static INPUT: RefCell<Edge> = RefCell::new(Edge::new(16));
    static OUTPUT: RefCell<Edge> = RefCell::new(Edge::new(128));
    static ERROR: RefCell<Edge> = RefCell::new(Edge::new(1));
}

/// A buffer size that holds every error message.
pub const ENOUGH: usize = 1024;

/// Creates the limiter of this process, after checking the functions without one.
pub fn start(config: tcl_config) {
    check_uninitialised();
    // tcl_init() replaces the panic hook. Restore it, so a panic ends the process where it
    // happens and not at the C boundary.
    let hook = take_hook();
    let (code, sentence) = init(Some(&config), true, ENOUGH);
    set_hook(hook);
    assert_eq!(code, TCL_OK, "{sentence}");
}

/// Checks the answers of all functions before there is a limiter.
fn check_uninitialised() {
    set_worker(3);
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
        interpose_attach(ENOUGH).0,
        stats().0,
        get(&[127, 0, 0, 1]).0,
        oldest(b"127.0.0.1").0,
        set_rate(0, 0, ENOUGH).0,
        ban(c"127.0.0.1", c"9", ENOUGH).0,
        unban(c"all", ENOUGH).0,
        ban_address(&[127, 0, 0, 1], 9),
        unban_address(&[127, 0, 0, 1]),
        offence(&[127, 0, 0, 1]),
        banned(&[127, 0, 0, 1]) as i32,
        rule_set(c"10.0.0.0/8", c"1", None, ENOUGH).0,
        rule_remove(c"10.0.0.0/8", None, ENOUGH).0,
        ffi::tcl_set_network_limit(1),
        set_network_rate(0, 0, ENOUGH).0,
        network(b"127.0.0.1").0,
        top_networks(1, 0).err().unwrap_or_default(),
        suggest_networks(1).err().unwrap_or_default(),
        ffi::tcl_set_untrusted_limit(1),
        ffi::tcl_set_trust_timeout(1),
        trust(1, true),
        trust(1, false),
        count_for(1, &[127, 0, 0, 1], "127.0.0.2", ENOUGH).0,
        ffi::tcl_set_cluster_limit(1),
        ffi::tcl_cluster_tick(),
        ffi::tcl_cluster_bye(),
    ] {
        assert_eq!(code, TCL_EINIT);
    }
    // It only looks at the executable, so it needs no limiter.
    assert_ne!(interpose_find(ENOUGH).0, TCL_EINIT);
    assert_eq!(top(1, 0).err(), Some(TCL_EINIT));
    assert_eq!(list(None, 1, ENOUGH).err().map(|e| e.0), Some(TCL_EINIT));
    assert_eq!(rules(1).err(), Some(TCL_EINIT));
    assert_eq!(suggest(1).err(), Some(TCL_EINIT));
    assert!(Audit::begin(1).is_none());
}

/// Returns the error message in a buffer of `size` bytes, or `None` if it is empty.
fn sentence(edge: &Edge, size: usize) -> Option<String> {
    if size == 0 {
        return None;
    }
    // SAFETY: `room` has written all of these bytes.
    let bytes: Vec<u8> = unsafe { edge.read(size, size) };
    let length = bytes.iter().position(|byte| *byte == 0)?;
    let text = String::from_utf8(bytes[..length].to_vec()).expect("an error message in UTF-8");
    assert!(
        !text.chars().any(char::is_control),
        "control character: {text:?}"
    );
    // This checks that nothing was written after its end.
    // SAFETY: the message and its NUL were written.
    let _: Vec<u8> = unsafe { edge.read(size, length + 1) };
    Some(text)
}

/// Calls `call` with a buffer of `size` bytes for an error message. Returns its code and the
/// message. Checks that there is a message exactly for the codes in `failures`.
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
    // SAFETY: the pointers are null or valid, and HOST is a static.
    with_error(size, &failures, |error, size| unsafe {
        ffi::tcl_init(config, host, error, size)
    })
}

/// `tcl_rules_load()`. Without texts the pointer to them is null.
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
        // SAFETY: there are that many pointers, each a string or null; `file` is a string or
        // null; and `error` has `size` bytes.
        unsafe { ffi::tcl_rules_load(pointer, texts.len() as u32, file, error, size) }
    })
}

/// `tcl_listeners()` with these sockets, without room for an error.
pub fn listen(sockets: &[tcl_listener]) -> i32 {
    // SAFETY: there are that many sockets.
    unsafe { ffi::tcl_listeners(sockets.as_ptr(), sockets.len() as u32, null_mut(), 0) }
}

/// A listening socket on an address of 4 or 16 bytes.
pub fn socket(octets: &[u8], port: u16, is_tls: bool, descriptor: i32) -> tcl_listener {
    tcl_listener {
        address: core::array::from_fn(|i| octets.get(i).copied().unwrap_or(0)),
        length: octets.len() as u32,
        port: port.into(),
        tls: is_tls.into(),
        descriptor,
    }
}

/// What a check of rules reports.
#[derive(Default)]
pub struct Checked {
    /// A line for each fault.
    pub faults: Vec<String>,
    /// A line for each rule that would be active.
    pub rules: Vec<String>,
    /// The number of valid rules.
    pub valid: u32,
}

/// `tcl_rules_check()`: its code, and what it reports.
pub fn rules_check(texts: &[&CStr], file: &CStr) -> (i32, Checked) {
    unsafe extern "C" fn note_fault(data: *mut c_void, line: *const c_char) {
        // SAFETY: as in `note`.
        unsafe { note(data, line, |checked| &mut checked.faults) };
    }
    unsafe extern "C" fn note_rule(data: *mut c_void, line: *const c_char) {
        // SAFETY: as in `note`.
        unsafe { note(data, line, |checked| &mut checked.rules) };
    }
    /// `data` is a [`Checked`] that nothing else uses, and `line` a string.
    unsafe fn note(
        data: *mut c_void,
        line: *const c_char,
        list: fn(&mut Checked) -> &mut Vec<String>,
    ) {
        // SAFETY: the caller promises both.
        let (checked, line) = unsafe { (&mut *data.cast::<Checked>(), CStr::from_ptr(line)) };
        let line = line.to_str().expect("a line in UTF-8");
        list(checked).push(line.to_owned());
    }
    let texts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    let (mut checked, mut valid) = (Checked::default(), u32::MAX);
    let data = (&raw mut checked).cast::<c_void>();
    // SAFETY: there are that many strings; the functions can be called with `data`, which nothing
    // else uses meanwhile; and `valid` is valid for writes.
    let code = unsafe {
        let (texts, count) = (texts.as_ptr(), texts.len() as u32);
        let (fault, rule) = (Some(note_fault as _), Some(note_rule as _));
        ffi::tcl_rules_check(
            texts,
            count,
            file.as_ptr(),
            null(),
            0,
            fault,
            rule,
            data,
            &mut valid,
        )
    };
    checked.valid = valid;
    (code, checked)
}

/// `tcl_rules_have_networks()` and `tcl_rules_have_proxies()`.
pub fn rules_have(texts: &[&CStr], file: &CStr) -> [i32; 2] {
    let texts: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
    let (texts, count, file) = (texts.as_ptr(), texts.len() as u32, file.as_ptr());
    // SAFETY: there are that many strings, and `file` is a string.
    unsafe {
        [
            ffi::tcl_rules_have_networks(texts, count, file),
            ffi::tcl_rules_have_proxies(texts, count, file),
        ]
    }
}

/// `tcl_rule_check()`.
pub fn rule_check(rule: &CStr, size: usize) -> (i32, String) {
    // SAFETY: `rule` is a string, and `error` has `size` bytes.
    with_error(size, &[TCL_ERULES], |error, size| unsafe {
        ffi::tcl_rule_check(rule.as_ptr(), error, size)
    })
}

/// `tcl_unknown_listener()` with the first index: a listener that rules name and the host does
/// not have.
pub fn unknown_listener() -> Option<String> {
    let mut name = [0; ffi::TCL_LISTENER_TEXT];
    // SAFETY: there is room for a name.
    let code = unsafe { ffi::tcl_unknown_listener(0, name.as_mut_ptr()) };
    assert!((0..=1).contains(&code), "{code}");
    (code == 1).then(|| text(&name))
}

/// What a command about rules may answer.
const RULE_FAILURES: [i32; 4] = [TCL_EARG, TCL_ERULES, ffi::TCL_ELOCKED, ffi::TCL_EMEM];

/// `tcl_rule_set()`: its code, the error, and what it did.
pub fn rule_set(
    prefix: &CStr,
    terms: &CStr,
    seconds: Option<&CStr>,
    size: usize,
) -> (i32, String, Option<tcl_rule_change>) {
    let seconds = seconds.map_or(null(), CStr::as_ptr);
    let mut done = None;
    let (code, sentence) = with_error(size, &RULE_FAILURES, |error, size| {
        let (prefix, terms) = (prefix.as_ptr(), terms.as_ptr());
        // SAFETY: strings or null; `change` is valid for writes, and `error` has `size` bytes.
        let (code, change) = with_value(|change| unsafe {
            ffi::tcl_rule_set(prefix, terms, seconds, null(), change, error, size)
        });
        done = change;
        code
    });
    (code, sentence, done)
}

/// `tcl_rule_remove()`: its code, and what it did.
pub fn rule_remove(
    prefix: &CStr,
    listener: Option<&CStr>,
    size: usize,
) -> (i32, Option<tcl_rule_change>) {
    let listener = listener.map_or(null(), CStr::as_ptr);
    let mut done = None;
    let (code, _) = with_error(size, &RULE_FAILURES, |error, size| {
        // SAFETY: strings or null; `change` is valid for writes, and `error` has `size` bytes.
        let (code, change) = with_value(|change| unsafe {
            ffi::tcl_rule_remove(prefix.as_ptr(), listener, null(), change, error, size)
        });
        done = change;
        code
    });
    (code, done)
}

/// `tcl_set_worker()`.
pub fn set_worker(worker: u32) {
    ffi::tcl_set_worker(worker);
}

/// Calls `call` with a copy of `bytes`, or with null if they are empty.
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

/// The lowest number that no descriptor of this process has.
const FIRST: i32 = 1000;

/// The lowest descriptor from [`FIRST`] on that has no counted connection.
pub fn free_descriptor() -> i32 {
    let is_free = |descriptor: &i32| ffi::tcl_token(*descriptor) == 0;
    (FIRST..).find(is_free).expect("a free descriptor")
}

/// The descriptor of a token.
pub fn descriptor(token: u64) -> i32 {
    token as i32
}

/// `tcl_check()`.
pub fn check(address: &[u8]) -> i32 {
    // SAFETY: the pointer is null or has that many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_check(bytes, length, free_descriptor(), -1)
    })
}

/// `tcl_opened()`.
pub fn opened(address: &[u8]) -> u64 {
    // SAFETY: the pointer is null or has that many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_opened(bytes, length, free_descriptor(), -1, 0)
    })
}

/// `tcl_closed()`.
pub fn closed(token: u64) -> i32 {
    closed_as(token, ffi::TCL_FACT_SPOKE)
}

/// `tcl_closed()` with what is known of the connection at its end.
pub fn closed_as(token: u64, facts: u32) -> i32 {
    ffi::tcl_closed(token, facts)
}

/// `tcl_trust()` or `tcl_untrust()`.
pub fn trust(token: u64, trusts: bool) -> i32 {
    match trusts {
        true => ffi::tcl_trust(token),
        false => ffi::tcl_untrust(token),
    }
}

/// `tcl_count_for()`.
pub fn count_for(token: u64, peer: &[u8], client: &str, size: usize) -> (i32, String) {
    let failures = [
        TCL_EARG,
        ffi::TCL_EOVER,
        ffi::TCL_EPROXY,
        ffi::TCL_ESTALE,
        ffi::TCL_ELOCKED,
        ffi::TCL_ESLOT,
        ffi::TCL_EOFF,
    ];
    with_error(size, &failures, |error, size| {
        let client = client.as_bytes();
        // SAFETY: the addresses are null or have that many bytes, and `error` has `size`.
        with_bytes(peer, |peer, length| unsafe {
            let (text, text_length) = (client.as_ptr(), client.len() as u32);
            ffi::tcl_count_for(token, peer, length, text, text_length, error, size)
        })
    })
}

/// `tcl_set_rate()`.
pub fn set_rate(interval_us: u32, burst: u32, size: usize) -> (i32, String) {
    with_error(size, &[TCL_EARG], |error, size| {
        // SAFETY: `error` has `size` bytes.
        unsafe { ffi::tcl_set_rate(interval_us, burst, error, size) }
    })
}

/// `tcl_set_reserve()` and `tcl_set_pressure()` with valid texts.
pub fn set_load(reserve: &str, pressure: &str) {
    let set = |call: SetText, text: &str| {
        // SAFETY: the text has that many bytes, and the other pointers are null.
        with_bytes(text.as_bytes(), |bytes, length| unsafe {
            call(bytes, length, null(), null_mut(), 0)
        })
    };
    assert_eq!(set(ffi::tcl_set_reserve, reserve), TCL_OK);
    assert_eq!(set(ffi::tcl_set_pressure, pressure), TCL_OK);
}

/// A function that reads a setting from a text.
type SetText = unsafe extern "C" fn(*const u8, u32, *const c_char, *mut c_char, usize) -> i32;

/// `tcl_set_network_rate()`.
pub fn set_network_rate(interval_us: u32, burst: u32, size: usize) -> (i32, String) {
    with_error(size, &[TCL_EARG], |error, size| {
        // SAFETY: `error` has `size` bytes.
        unsafe { ffi::tcl_set_network_rate(interval_us, burst, error, size) }
    })
}

/// What a command about bans may answer.
const BAN_FAILURES: [i32; 6] = [
    TCL_EARG,
    TCL_ERULES,
    ffi::TCL_ELOCKED,
    ffi::TCL_EMEM,
    ffi::TCL_EEXEMPT,
    ffi::TCL_ESLOT,
];

/// `tcl_ban()`: its code, and the ban with the seconds that the one before had left.
pub fn ban(who: &CStr, seconds: &CStr, size: usize) -> (i32, Option<(tcl_ban, u32)>) {
    let mut was = u32::MAX;
    let mut set = None;
    let (code, _) = with_error(size, &BAN_FAILURES, |error, size| {
        // SAFETY: strings or null; `ban` and `was` are valid for writes, and `error` has
        // `size` bytes.
        let (code, ban) = with_value(|ban| unsafe {
            let texts = (who.as_ptr(), seconds.as_ptr());
            ffi::tcl_ban(texts.0, texts.1, null(), null(), ban, &mut was, error, size)
        });
        set = ban;
        code
    });
    (code, set.map(|ban| (ban, was)))
}

/// `tcl_unban()`: its code, and how many bans it lifted.
pub fn unban(who: &CStr, size: usize) -> (i32, u32) {
    let mut lifted = 0;
    let (code, _) = with_error(size, &BAN_FAILURES, |error, size| {
        // SAFETY: strings or null; `lifted` is valid for writes, and `error` has `size`
        // bytes.
        unsafe { ffi::tcl_unban(who.as_ptr(), null(), &mut lifted, error, size) }
    });
    (code, lifted)
}

/// `tcl_bans()`: the bans that fit, and the number of all.
pub fn bans(room: usize) -> (Vec<tcl_ban>, u64) {
    let mut total = u64::MAX;
    // SAFETY: there is room for `room` values, and `total` is valid for writes.
    let written = with_room(room, |to, room| unsafe {
        ffi::tcl_bans(to, room, &mut total)
    });
    let (bans, code) = written.expect("bans");
    assert_eq!(bans.len(), code as usize);
    (bans, total)
}

/// `tcl_ban_address()`.
pub fn ban_address(address: &[u8], seconds: u32) -> i32 {
    // SAFETY: the pointer is null or has that many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_ban_address(bytes, length, seconds)
    })
}

/// `tcl_unban_address()`.
pub fn unban_address(address: &[u8]) -> i32 {
    // SAFETY: the pointer is null or has that many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_unban_address(bytes, length)
    })
}

/// `tcl_offence()`.
pub fn offence(address: &[u8]) -> i32 {
    // SAFETY: the pointer is null or has that many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_offence(bytes, length)
    })
}

/// `tcl_banned()`.
pub fn banned(address: &[u8]) -> i64 {
    // SAFETY: the pointer is null or has that many bytes.
    with_bytes(address, |bytes, length| unsafe {
        ffi::tcl_banned(bytes, length)
    })
}

/// `tcl_oldest()`.
pub fn oldest(name: &[u8]) -> (i32, u32) {
    let mut seconds = 0;
    // SAFETY: the pointer is null or has that many bytes, and `seconds` is valid for writes.
    let code = with_bytes(name, |bytes, length| unsafe {
        ffi::tcl_oldest(bytes, length, &mut seconds)
    });
    (code, seconds)
}

/// `tcl_connections()`: those that fit, and the number of all.
pub fn connections(name: &[u8], room: usize) -> Result<(Vec<tcl_connection>, u64), i32> {
    let mut total = u64::MAX;
    let written = with_bytes(name, |bytes, length| {
        // SAFETY: the pointer is null or has that many bytes; there is room for `room`
        // connections, and `total` is valid for writes.
        with_room(room, |to, room| unsafe {
            ffi::tcl_connections(bytes, length, to, room, &mut total)
        })
    });
    let (connections, code) = written?;
    assert_eq!(connections.len(), code as usize);
    Ok((connections, total))
}

/// Returns the family in the first bytes of a socket address, and the minimum size of its
/// addresses.
pub fn family(sockaddr: &[u8]) -> Option<(i32, usize)> {
    let family = u16::from_ne_bytes([*sockaddr.first()?, *sockaddr.get(1)?]).into();
    let min = match family {
        libc::AF_INET => size_of::<libc::sockaddr_in>(),
        libc::AF_INET6 => size_of::<libc::sockaddr_in6>(),
        _ => 2,
    };
    Some((family, min))
}

/// `tcp_connection_limit_srcip()`, at any alignment, with null for no bytes. Returns `None`
/// without a call if the address is too short for its family, which the function requires.
pub fn check_sockaddr(sockaddr: &[u8], limit: i32) -> Option<i32> {
    if !sockaddr.is_empty() && family(sockaddr).is_none_or(|(_, min)| sockaddr.len() < min) {
        return None;
    }
    let answer = with_bytes(sockaddr, |bytes, _| {
        // SAFETY: the pointer is null, or the address is as large as its family requires.
        unsafe { ffi::tcp_connection_limit_srcip(bytes.cast_mut().cast(), limit) }
    });
    Some(answer)
}

/// Calls `call` with room for one value. Returns its code, and the value if it was written.
fn with_value<T>(call: impl FnOnce(*mut T) -> i32) -> (i32, Option<T>) {
    OUTPUT.with_borrow_mut(|edge| {
        let code = call(edge.room(1));
        let filled = usize::from(code == TCL_OK);
        // SAFETY: the function writes the value if it returns TCL_OK.
        (code, unsafe { edge.read(1, filled) }.pop())
    })
}

/// Calls `call` with room for `room` values. Returns a code below zero as `Err`, otherwise
/// the values that were written, and the code.
fn with_room<T>(room: usize, call: impl FnOnce(*mut T, u32) -> i32) -> Result<(Vec<T>, i32), i32> {
    OUTPUT.with_borrow_mut(|edge| {
        let code = call(edge.room(room), room as u32);
        let filled = usize::try_from(code).unwrap_or(0).min(room);
        // SAFETY: the function writes as many values as its code says, at most `room`.
        let values = unsafe { edge.read(room, filled) };
        if code < 0 {
            Err(code)
        } else {
            Ok((values, code))
        }
    })
}

/// `tcl_stats()`.
pub fn stats() -> (i32, Option<Counters>) {
    let count = COUNTERS.len();
    with_value(|stats: *mut Counters| {
        // SAFETY: the struct consists of `count` numbers in this order, valid for writes.
        let written = unsafe { ffi::tcl_stats(stats.cast(), count as u32) };
        if written == count as i32 {
            TCL_OK
        } else {
            written
        }
    })
}

/// `tcl_get()`.
pub fn get(address: &[u8]) -> (i32, Option<tcl_source>) {
    get_on(address, -1)
}

/// `tcl_get()` for connections of a listening socket, by its descriptor.
pub fn get_on(address: &[u8], listener: i32) -> (i32, Option<tcl_source>) {
    with_bytes(address, |bytes, length| {
        // SAFETY: `bytes` is null or has that many bytes, and `source` is valid for writes.
        with_value(|source| unsafe { ffi::tcl_get(bytes, length, listener, source) })
    })
}

/// `tcl_top()`.
pub fn top(room: usize, by: i32) -> Result<Vec<tcl_source>, i32> {
    // SAFETY: there is room for `room` values.
    let (top, code) = with_room(room, |to, room| unsafe { ffi::tcl_top(to, room, by) })?;
    assert_eq!(top.len(), code as usize);
    Ok(top)
}

/// `tcl_top_networks()`.
pub fn top_networks(room: usize, by: i32) -> Result<Vec<tcl_source>, i32> {
    // SAFETY: there is room for `room` values.
    let (top, code) = with_room(room, |to, room| unsafe {
        ffi::tcl_top_networks(to, room, by)
    })?;
    assert_eq!(top.len(), code as usize);
    Ok(top)
}

/// `tcl_network()`: its code, the network, and whether the name counts there.
pub fn network(name: &[u8]) -> (i32, Option<(tcl_source, i32)>) {
    let mut counts = -1;
    let (code, network) = with_bytes(name, |bytes, length| {
        with_value(|network| {
            // SAFETY: the pointer is null or has that many bytes; `network` and `counts` are
            // valid for writes.
            match unsafe { ffi::tcl_network(bytes, length, network, &mut counts) } {
                1 => TCL_OK,
                // Networks are not counted.
                0 => ffi::TCL_EOFF,
                code => code,
            }
        })
    });
    (code, network.map(|network| (network, counts)))
}

/// `tcl_list()`: the sources that fit, and the number of all.
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
            // SAFETY: `prefix` is null or a string, and there is room for `room` sources and
            // `size` bytes.
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

/// `tcl_rules()`.
pub fn rules(room: usize) -> Result<Vec<tcl_rule>, i32> {
    // SAFETY: there is room for `room` values.
    let (rules, code) = with_room(room, |to, room| unsafe { ffi::tcl_rules(to, room) })?;
    assert_eq!(rules.len(), code as usize);
    Ok(rules)
}

/// `tcl_suggest()`.
pub fn suggest(room: usize) -> Result<Vec<tcl_suggestion>, i32> {
    // SAFETY: there is room for `room` values.
    let (found, code) = with_room(room, |to, room| unsafe { ffi::tcl_suggest(to, room) })?;
    assert_eq!(found.len(), code as usize);
    Ok(found)
}

/// `tcl_suggest_networks()`.
pub fn suggest_networks(room: usize) -> Result<Vec<tcl_suggestion>, i32> {
    // SAFETY: there is room for `room` values.
    let (found, code) = with_room(room, |to, room| unsafe {
        ffi::tcl_suggest_networks(to, room)
    })?;
    assert_eq!(found.len(), code as usize);
    Ok(found)
}

const INTERPOSE_FAILURES: [i32; 2] = [ffi::TCL_EINTERPOSE, ffi::TCL_EALREADY];

/// `tcl_interpose_find()`.
pub fn interpose_find(size: usize) -> (i32, String) {
    // SAFETY: `error` has `size` bytes.
    with_error(size, &INTERPOSE_FAILURES, |error, size| unsafe {
        ffi::tcl_interpose_find(error, size)
    })
}

/// `tcl_interpose_attach()`.
pub fn interpose_attach(size: usize) -> (i32, String) {
    // SAFETY: `error` has `size` bytes.
    with_error(size, &INTERPOSE_FAILURES, |error, size| unsafe {
        ffi::tcl_interpose_attach(error, size)
    })
}

/// A running audit.
pub struct Audit(*mut ffi::tcl_audit);

impl Audit {
    /// `tcl_audit_begin()`.
    pub fn begin(connections: u32) -> Option<Audit> {
        let audit = ffi::tcl_audit_begin(connections);
        (!audit.is_null()).then_some(Audit(audit))
    }

    /// `tcl_audit_connection()`.
    pub fn connection(&mut self, address: &[u8], descriptor: i32) -> i32 {
        with_bytes(address, |bytes, length| {
            // SAFETY: tcl_audit_begin() returned the audit; `bytes` is null or has that many.
            unsafe { ffi::tcl_audit_connection(self.0, bytes, length, descriptor) }
        })
    }

    /// `tcl_audit_counts()`.
    pub fn counts(&mut self) -> i32 {
        // SAFETY: tcl_audit_begin() returned the audit.
        unsafe { ffi::tcl_audit_counts(self.0) }
    }

    /// `tcl_audit_result()`.
    pub fn result(&mut self, room: usize) -> (tcl_audit_sums, Vec<tcl_difference>) {
        // SAFETY: the struct consists of integers, for which zeros are valid.
        let mut sums: tcl_audit_sums = unsafe { core::mem::zeroed() };
        let differences = with_room(room, |to, room| {
            // SAFETY: tcl_audit_begin() returned the audit, `sums` is valid for writes, and
            // there is room for `room` differences.
            unsafe { ffi::tcl_audit_result(self.0, &mut sums, to, room) }
        });
        let (differences, code) = differences.expect("a result");
        assert_eq!(differences.len(), code as usize);
        (sums, differences)
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        // SAFETY: tcl_audit_begin() returned the audit, and it is not used afterwards.
        unsafe { ffi::tcl_audit_end(self.0) };
    }
}

/// Checks that functions report null pointers that they do not accept.
pub fn nulls() {
    let nothing = null_mut::<c_void>();
    // SAFETY: all these arguments may be null.
    let codes = unsafe {
        [
            ffi::tcl_stats(nothing.cast(), 9),
            ffi::tcl_counter(0, nothing.cast()),
            ffi::tcl_get([127, 0, 0, 1].as_ptr(), 4, -1, nothing.cast()),
            ffi::tcl_get(null(), 4, -1, nothing.cast()),
            ffi::tcl_find(b"::".as_ptr(), 2, -1, nothing.cast(), nothing.cast(), 9),
            ffi::tcl_find(null(), 4, -1, nothing.cast(), nothing.cast(), 9),
            ffi::tcl_oldest(b"::".as_ptr(), 2, nothing.cast()),
            ffi::tcl_oldest(null(), 4, nothing.cast()),
            ffi::tcl_limit_parse(b"1".as_ptr(), 1, nothing.cast(), nothing.cast(), 9),
            ffi::tcl_limit_parse(null(), 4, nothing.cast(), nothing.cast(), 9),
            ffi::tcl_top(nothing.cast(), 9, 0),
            ffi::tcl_list(null(), nothing.cast(), 9, nothing.cast(), nothing.cast(), 9),
            ffi::tcl_audit_connection(nothing.cast(), null(), 4, 1),
            ffi::tcl_audit_counts(nothing.cast()),
            ffi::tcl_audit_result(nothing.cast(), nothing.cast(), nothing.cast(), 9),
            ffi::tcl_rules_load([null()].as_ptr(), 1, null(), nothing.cast(), 9),
            ffi::tcl_init(null(), null(), nothing.cast(), 9),
        ]
    };
    assert_eq!(codes, [TCL_EARG; 17]);
    // SAFETY: the argument may be null.
    unsafe { ffi::tcl_audit_end(nothing.cast()) };
}

/// Converts a text of the C ABI.
pub fn text<const SIZE: usize>(text: &[c_char; SIZE]) -> String {
    text_of(text)
}

/// The same for a text whose size is not known at compile time.
pub fn text_of(text: &[c_char]) -> String {
    let length = text.iter().position(|byte| *byte == 0).expect("a NUL");
    text[..length]
        .iter()
        .map(|byte| char::from(*byte as u8))
        .collect()
}

/// Returns the text of a source's rule: a prefix, or "default".
pub fn rule_text(rule: Option<impl fmt::Display>) -> String {
    rule.map_or_else(|| "default".to_owned(), |rule| rule.to_string())
}
