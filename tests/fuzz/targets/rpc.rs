// SPDX-License-Identifier: GPL-2.0-or-later
//! Operators' text: arguments of RPC commands, texts from scripts and modparams, as the
//! module's C parses them (`tcm_text.c`), and those that it passes on to the C ABI.
//!
//! Input: the kind of text, the room for an error message, the text.

#![no_main]

use core::ffi::{CStr, c_char, c_int};
use std::cell::RefCell;
use std::ffi::CString;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tcp_conn_limit::ffi::{
    TCL_BY_CONNECTIONS, TCL_BY_UNTRUSTED, TCL_EARG, TCL_ERULES, TCL_MODE_ENFORCE, TCL_OK,
    TCL_ON_FULL_ADMIT, tcl_find, tcl_limit_parse, tcl_load_report, tcl_set_limit, tcl_set_mode,
    tcl_set_pressure, tcl_set_reserve,
};
use tcp_conn_limit_fuzz::edge::Edge;
use tcp_conn_limit_fuzz::engine::{self, tcl_config, tcl_source, text};
use tcp_conn_limit_fuzz::naive::{self, Address, Lengths, Net, digits_of};

const LENGTHS: Lengths = (32, 64);

/// Kamailio's `str`.
#[repr(C)]
struct Str {
    s: *const c_char,
    len: c_int,
}

// These are declared in kamailio-glue/tcp_conn_limit/tcm_text.h.
unsafe extern "C" {
    fn tcm_text_number(text: *const Str, number: *mut c_int) -> c_int;
    fn tcm_text_mode(text: *const Str) -> c_int;
    fn tcm_text_mode_name(mode: c_int) -> *const c_char;
    fn tcm_text_on_full(text: *const Str) -> c_int;
    fn tcm_text_on_full_name(on_full: c_int) -> *const c_char;
    fn tcm_text_by(text: *const Str) -> c_int;
}

/// The sources with connections, and the number of each.
static COUNTED: OnceLock<Vec<(Net, u32)>> = OnceLock::new();

fn init() {
    engine::start(tcl_config {
        max_connections: 100,
        limit: 0,
        ipv4_prefix: LENGTHS.0 as i32,
        ipv6_prefix: LENGTHS.1 as i32,
        mode: TCL_MODE_ENFORCE,
        on_full: TCL_ON_FULL_ADMIT,
        ..tcl_config::default()
    });
    engine::nulls();
    assert_eq!(engine::listen([192, 0, 2, 1], 5060), TCL_OK);
    let texts = [
        "127.0.0.1",
        "10.1.2.3",
        "10.1.9.9",
        "::1",
        "2001:db8:1:2::3",
        "2001:db8:1:3::",
    ];
    COUNTED.get_or_init(|| {
        let sources = texts.into_iter().zip(1..).map(|(text, count)| {
            let address = Address::of_text(text).expect("an address");
            for _ in 0..count {
                assert_ne!(engine::opened(&address.octets()), 0);
            }
            (address.source(LENGTHS), count)
        });
        sources.collect()
    });
}

fn counted() -> &'static [(Net, u32)] {
    COUNTED.get().expect("init")
}

/// Calls `call` with `bytes` as the core holds a text: without a NUL, and with a null pointer
/// if it is empty.
fn with_str<T>(bytes: &[u8], call: impl FnOnce(*const Str) -> T) -> T {
    thread_local!(static EDGE: RefCell<Edge> = RefCell::new(Edge::new(256)));
    EDGE.with_borrow_mut(|edge| {
        let s = match bytes.is_empty() {
            true => core::ptr::null(),
            false => edge.put(bytes).cast_const().cast(),
        };
        call(&Str {
            s,
            len: bytes.len() as c_int,
        })
    })
}

/// Parses an integer. Leading blanks and a sign are allowed.
fn number(bytes: &[u8]) -> Option<i32> {
    let text = str::from_utf8(bytes).ok().filter(|text| text.len() < 24)?;
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let number = digits_of(digits, u64::MAX.into())? as i128;
    i32::try_from(if negative { -number } else { number }).ok()
}

fn numbers(bytes: &[u8]) {
    let mut read = 77;
    // SAFETY: `text` is a valid str, and `read` is valid for writes.
    let code = with_str(bytes, |text| unsafe { tcm_text_number(text, &mut read) });
    assert_eq!((code == 0).then_some(read), number(bytes), "{code}");
    if code == 0 {
        assert_eq!(tcl_set_limit(read), TCL_OK);
        let limit = engine::stats().1.map(|stats| stats.limit);
        assert_eq!(limit, Some(read.max(0) as u64));
        let is_mode = (0..3).contains(&read);
        assert_eq!(tcl_set_mode(read), if is_mode { TCL_OK } else { TCL_EARG });
        let top = engine::top(10, read);
        assert_eq!(
            top.err(),
            (!(TCL_BY_CONNECTIONS..=TCL_BY_UNTRUSTED).contains(&read)).then_some(TCL_EARG)
        );
    }
}

/// Reserves and levels of pressure: what is accepted is shown as a text that means the same.
fn loads(bytes: &[u8]) {
    type Set = unsafe extern "C" fn(*const u8, u32, *const c_char, *mut c_char, usize) -> i32;
    // SAFETY: `text` has that many bytes; the other pointers are null.
    let set = |set: Set, text: &[u8]| unsafe {
        let (null, length) = (core::ptr::null(), text.len() as u32);
        set(text.as_ptr(), length, null, core::ptr::null_mut(), 0)
    };
    let report = || {
        let mut report = core::mem::MaybeUninit::uninit();
        // SAFETY: `report` is valid for writes, and written if the call succeeds.
        unsafe {
            assert_eq!(tcl_load_report(report.as_mut_ptr()), TCL_OK);
            report.assume_init()
        }
    };
    let numbers = || {
        let now = report();
        let reserve = (now.reserve_connections, now.reserve_used);
        let pressure = (
            now.level,
            now.levels,
            now.limit_percent,
            now.limit_connections,
        );
        (reserve, pressure)
    };
    for change in [tcl_set_reserve as Set, tcl_set_pressure] {
        let before = numbers();
        if set(change, bytes) != TCL_OK {
            assert_eq!(numbers(), before);
            continue;
        }
        let (after, now) = (numbers(), report());
        assert!(now.reserve_used <= now.reserve_connections && now.level <= now.levels);
        let shown = [text(&now.reserve), text(&now.pressure)];
        for (set_again, shown) in [tcl_set_reserve as Set, tcl_set_pressure]
            .into_iter()
            .zip(shown)
        {
            assert_eq!(set(set_again, shown.as_bytes()), TCL_OK);
        }
        assert_eq!(numbers(), after);
        assert_eq!(set(change, b"none"), TCL_OK);
    }
}

/// Limits that an operator sets: those of `rules` as far as a server can have that many
/// connections, with blanks around.
fn limits(bytes: &[u8]) {
    let mut limit = 77;
    let length = bytes.len() as u32;
    // SAFETY: `bytes` has that many bytes, and `limit` is valid for writes.
    let code =
        unsafe { tcl_limit_parse(bytes.as_ptr(), length, &mut limit, core::ptr::null_mut(), 0) };
    let text = str::from_utf8(bytes).unwrap_or_default().trim_ascii();
    let expected = match text {
        "none" | "unlimited" => Some(0),
        _ => digits_of(text, 100_000_000).filter(|number| *number > 0),
    };
    match expected {
        Some(expected) => assert_eq!((code, limit as u128), (TCL_OK, expected)),
        None => assert_eq!((code, limit), (TCL_EARG, 77)),
    }
}

fn sources(bytes: &[u8]) {
    let mut edge = Edge::new(1);
    let at: *mut tcl_source = edge.room(1);
    let length = bytes.len() as u32;
    // SAFETY: `bytes` has that many bytes, and `at` is valid for writes.
    let code = unsafe {
        tcl_find(
            bytes.as_ptr(),
            length,
            -1,
            at.cast(),
            core::ptr::null_mut(),
            0,
        )
    };
    let named = str::from_utf8(bytes).ok();
    let Some(net) = named.and_then(|text| Address::source_of_text(text, LENGTHS)) else {
        return assert_eq!(code, TCL_EARG);
    };
    assert_eq!(code, TCL_OK);
    // SAFETY: the function has written the value, because it returned TCL_OK.
    let source: tcl_source = unsafe { edge.read(1, 1)[0] };
    assert_eq!(text(&source.text), net.to_string());
    let count = counted()
        .iter()
        .find(|(other, _)| *other == net)
        .map_or(0, |(_, count)| *count);
    assert_eq!(source.connections, count);
}

fn words(bytes: &[u8]) {
    let index = |words: &[&str]| {
        let at = words.iter().position(|word| word.as_bytes() == bytes);
        at.map_or(-1, |at| at as c_int)
    };
    let name = |name: *const c_char| {
        // SAFETY: the functions return static strings.
        unsafe { CStr::from_ptr(name) }.to_bytes()
    };
    // SAFETY: `text` is a valid str.
    let (mode, on_full, by) = with_str(bytes, |text| unsafe {
        (
            tcm_text_mode(text),
            tcm_text_on_full(text),
            tcm_text_by(text),
        )
    });
    assert_eq!(mode, index(&["enforce", "monitor", "off"]));
    assert_eq!(on_full, index(&["admit", "reject"]));
    let orders = ["connections", "rejected", "peak", "rate", "untrusted"];
    assert_eq!(by, index(&orders));
    if mode >= 0 {
        // SAFETY: `mode` is a valid mode.
        assert_eq!(name(unsafe { tcm_text_mode_name(mode) }), bytes);
    }
    if on_full >= 0 {
        // SAFETY: `on_full` is a valid policy.
        assert_eq!(name(unsafe { tcm_text_on_full_name(on_full) }), bytes);
    }
}

fn lists(text: &CStr, room: usize) {
    let net = Net::of_text(&text.to_string_lossy(), LENGTHS);
    match (engine::list(Some(text), 3, room), net) {
        (Ok((sources, total)), Some(net)) => {
            let held = counted().iter().filter(|(source, _)| net.contains(*source));
            let mut counts: Vec<u32> = held.map(|(_, count)| *count).collect();
            assert_eq!(total, counts.len() as u64);
            counts.sort_unstable_by(|a, b| b.cmp(a));
            counts.truncate(3);
            let listed: Vec<u32> = sources.iter().map(|source| source.connections).collect();
            assert_eq!(listed, counts);
        }
        (Err((TCL_EARG, sentence)), None) => {
            assert!(room < 2 || sentence.starts_with('`'), "{sentence}");
        }
        (answer, net) => panic!("{net:?}: {:?}", answer.err()),
    }
}

fn rules(text: &CStr, room: usize) {
    if naive::names_listener(text.to_string_lossy().trim_ascii()) {
        return;
    }
    let rule = naive::rule(text.to_string_lossy().trim_ascii());
    match (engine::rules_load(&[Some(text)], None, room), rule) {
        ((TCL_OK, _), Some((net, limit))) => {
            let rules = engine::rules(2).expect("rules");
            assert_eq!((rules.len(), rules[0].limit), (2, limit));
            assert_eq!(engine::text(&rules[0].prefix), net.to_string());
        }
        ((TCL_ERULES, sentence), None) => {
            assert!(
                "modparam rule 1: `".starts_with(&sentence)
                    || sentence.starts_with("modparam rule 1: `")
            );
        }
        ((code, sentence), rule) => panic!("{code} {sentence}: {rule:?}"),
    }
}

/// Sets the rule while the server runs, and removes it.
fn sets(text: &CStr, room: usize) {
    let text = text.to_string_lossy();
    let Some((prefix, terms)) = text.split_once('=') else {
        return;
    };
    let [prefix, terms] = [prefix, terms].map(|part| CString::new(part).expect("no NUL in it"));
    let rule = naive::whole_rule(text.trim_ascii()).filter(|rule| !rule.networks);
    let listener = rule
        .as_ref()
        .and_then(|rule| rule.shown.split_once("listener="));
    let listener = listener.and_then(|(_, rest)| rest.split(' ').next());
    // The only one that the server has.
    let is_known =
        listener.is_none_or(|name| name.strip_prefix("tcp:").unwrap_or(name) == "192.0.2.1:5060");
    match (engine::rule_set(&prefix, &terms, room), &rule) {
        ((TCL_OK, _, shown), Some(rule)) if is_known => {
            assert_eq!(shown, rule.shown);
            let word = listener.map(|name| format!("listener={name}"));
            let word = word.map(|word| CString::new(word).expect("no NUL in it"));
            if word.is_some() {
                assert_eq!(engine::rule_remove(&prefix, None), TCL_ERULES);
            }
            assert_eq!(engine::rule_remove(&prefix, word.as_deref()), TCL_OK);
            assert_eq!(engine::rule_remove(&prefix, word.as_deref()), TCL_ERULES);
        }
        ((TCL_EARG, ..), Some(_)) if !is_known => {}
        // Trust, moves and a cluster are off.
        ((TCL_ERULES, ..), _)
            if ["untrusted", "proxy", "cluster"]
                .iter()
                .any(|word| text.contains(word)) => {}
        ((TCL_EARG, ..), None) => {}
        ((code, sentence, _), rule) => {
            panic!(
                "{code} {sentence}: {:?}",
                rule.as_ref().map(|rule| &rule.shown)
            );
        }
    }
}

/// Checks that the message begins with `start`, as far as there was room.
fn assert_begins(sentence: &str, start: &str) {
    assert!(
        sentence.starts_with(start) || start.starts_with(sentence),
        "{sentence}"
    );
}

/// Loads paths that do not exist.
fn files(text: &CStr, room: usize) {
    let mut path = c"/nowhere/".to_bytes().to_vec();
    path.extend(text.to_bytes());
    let path = CString::new(path).expect("no NUL in it");
    let (code, sentence) = engine::rules_load(&[], Some(&path), room);
    assert_eq!(code, TCL_ERULES);
    assert_begins(&sentence, "cannot read /nowhere/");
}

fuzz_target!(init: init(), |bytes: &[u8]| {
    let [which, room, bytes @ ..] = bytes else {
        return;
    };
    let room = usize::from(*room) * 4;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = CString::new(&bytes[..end]).expect("cut at NUL");
    match which % 7 {
        0 => numbers(bytes),
        1 => sources(bytes),
        2 => words(bytes),
        3 => lists(&text, room),
        4 => {
            rules(&text, room);
            sets(&text, room);
        }
        5 => {
            limits(bytes);
            loads(bytes);
        }
        _ => files(&text, room),
    }
});
