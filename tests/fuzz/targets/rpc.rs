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
    TCL_BY_CONNECTIONS, TCL_BY_OWED, TCL_BY_UNTRUSTED, TCL_EARG, TCL_EOFF, TCL_ERULES,
    TCL_MODE_ENFORCE, TCL_NEVER, TCL_OK, TCL_ON_FULL_ADMIT, tcl_cluster_drop, tcl_config_check,
    tcl_find, tcl_limit_parse, tcl_load_report, tcl_network_settings, tcl_rate, tcl_rate_parse,
    tcl_set_cluster_limit, tcl_set_limit, tcl_set_mode, tcl_set_network_limit, tcl_set_pressure,
    tcl_set_reserve, tcl_set_trust_timeout, tcl_set_untrusted_limit,
};
use tcp_conn_limit_fuzz::edge::Edge;
use tcp_conn_limit_fuzz::engine::{self, tcl_config, tcl_source, text};
use tcp_conn_limit_fuzz::naive::{self, Address, Lengths, Net, Rule, digits_of};
use tcp_conn_limit_fuzz::settings;

const LENGTHS: Lengths = (32, 64);
const NETWORKS: Lengths = (24, 48);

/// The connections of this process's limiter.
const CONNECTIONS: u32 = 100;

/// The longest ban, and the longest time for which a rule is set, in seconds.
const MAX_BAN: u128 = 2_592_000;
const MAX_RULE: u128 = i32::MAX as u128;

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
    fn tcm_text_limit(limit: c_int, number: *mut c_char) -> *const c_char;
}

/// `TCM_TEXT_LIMIT_SIZE` of that file.
const LIMIT_SIZE: usize = 16;

/// The sources with connections, and the number of each.
static COUNTED: OnceLock<Vec<(Net, u32)>> = OnceLock::new();

fn init() {
    engine::start(tcl_config {
        // Networks are counted. There is neither trust, nor are there moves or a cluster.
        networks: 1,
        ipv4_network: NETWORKS.0 as i32,
        ipv6_network: NETWORKS.1 as i32,
        max_connections: CONNECTIONS as i32,
        limit: 0,
        ipv4_prefix: LENGTHS.0 as i32,
        ipv6_prefix: LENGTHS.1 as i32,
        mode: TCL_MODE_ENFORCE,
        on_full: TCL_ON_FULL_ADMIT,
        ..tcl_config::default()
    });
    engine::nulls();
    let socket = engine::socket(&[192, 0, 2, 1], 5060, false, 0);
    assert_eq!(engine::listen(&[socket]), TCL_OK);
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
    if code != 0 {
        return;
    }
    let mut edge = Edge::new(1);
    // SAFETY: there is room for that many bytes, and the result is a string.
    let shown = unsafe { CStr::from_ptr(tcm_text_limit(read, edge.room(LIMIT_SIZE))) };
    let expected = if read > 0 {
        read.to_string()
    } else {
        "none".into()
    };
    assert_eq!(shown.to_bytes(), expected.as_bytes());
    let in_range = |good: bool, code| if good { code } else { TCL_EARG };
    assert_eq!(tcl_set_limit(read), TCL_OK);
    let limit = engine::stats().1.map(|stats| stats.limit);
    assert_eq!(limit, Some(read.max(0) as u64));
    let is_mode = (0..3).contains(&read);
    assert_eq!(tcl_set_mode(read), in_range(is_mode, TCL_OK));
    let ranks = (TCL_BY_CONNECTIONS..=TCL_BY_UNTRUSTED).contains(&read);
    assert_eq!(engine::top(10, read).err(), (!ranks).then_some(TCL_EARG));
    let ranks = (TCL_BY_CONNECTIONS..=TCL_BY_OWED).contains(&read);
    let top = engine::top_networks(10, read);
    assert_eq!(top.err(), (!ranks).then_some(TCL_EARG));
    assert_eq!(tcl_set_network_limit(read), TCL_OK);
    assert_eq!(network_settings().0, read.max(0));
    assert_eq!(tcl_set_untrusted_limit(read), TCL_EOFF);
    let is_timeout = (0..=86_400).contains(&read);
    assert_eq!(tcl_set_trust_timeout(read), in_range(is_timeout, TCL_EOFF));
    assert_eq!(tcl_set_cluster_limit(read), in_range(read >= 0, TCL_EOFF));
    members(read);
}

/// The limit of networks, and the text and the burst of their rate.
fn network_settings() -> (i32, String, u32) {
    let mut limit = -1;
    let mut rate = core::mem::MaybeUninit::uninit();
    // SAFETY: both are valid for writes, and written if the call returns 1.
    let rate = unsafe {
        assert_eq!(tcl_network_settings(&mut limit, rate.as_mut_ptr()), 1);
        rate.assume_init()
    };
    (limit, text(&rate.text), rate.burst)
}

/// A valid configuration.
fn valid_config() -> tcl_config {
    tcl_config {
        max_connections: 1000,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        ..tcl_config::default()
    }
}

fn is_valid(config: &tcl_config) -> bool {
    // SAFETY: the configuration and its strings are valid, and there is no room for an error.
    let code = unsafe { tcl_config_check(config, core::ptr::null_mut(), 0) };
    assert!([TCL_OK, TCL_EARG].contains(&code), "{code}");
    code == TCL_OK
}

/// Uses a number as each member of a configuration.
fn members(number: i32) {
    type Set = fn(&mut tcl_config, i32);
    type Range = core::ops::RangeInclusive<i32>;
    let burst = 0..=1_000_000;
    let members: [(Set, Range, bool); 16] = [
        (|config, n| config.limit = n, i32::MIN..=i32::MAX, false),
        (
            |config, n| config.max_connections = n,
            1..=100_000_000,
            false,
        ),
        (|config, n| config.ipv4_prefix = n, 1..=32, false),
        (|config, n| config.ipv6_prefix = n, 1..=128, false),
        (|config, n| config.mode = n, 0..=2, false),
        (|config, n| config.on_full = n, 0..=1, false),
        (|config, n| config.burst = n, burst.clone(), false),
        (|config, n| config.ban_min = n, 1..=86_400, true),
        // The default of ban_min is 15.
        (|config, n| config.ban_max = n, 15..=2_592_000, true),
        (
            |config, n| (config.trust, config.untrusted_limit) = (1, n),
            0..=100_000_000,
            false,
        ),
        (
            |config, n| (config.trust, config.trust_timeout) = (1, n),
            0..=86_400,
            false,
        ),
        (
            |config, n| (config.networks, config.network_limit) = (1, n),
            i32::MIN..=i32::MAX,
            false,
        ),
        (
            |config, n| (config.networks, config.network_burst) = (1, n),
            burst,
            false,
        ),
        (
            |config, n| (config.networks, config.ipv4_network) = (1, n),
            8..=31,
            true,
        ),
        (
            |config, n| (config.networks, config.ipv6_network) = (1, n),
            16..=64,
            true,
        ),
        (
            |config, n| (config.cluster, config.cluster_limit) = (1, n),
            0..=i32::MAX,
            false,
        ),
    ];
    for (at, (set, range, has_default)) in members.into_iter().enumerate() {
        let mut config = valid_config();
        set(&mut config, number);
        let expected = range.contains(&number) || has_default && number == 0;
        assert_eq!(is_valid(&config), expected, "member {at}: {number}");
        // Without trust and without a cluster their members must be 0.
        (config.trust, config.cluster) = (0, 0);
        let off = match at {
            9 | 10 | 15 => number == 0,
            _ => expected,
        };
        assert_eq!(is_valid(&config), off, "member {at}: {number}");
    }
    // Networks must contain whole sources.
    let prefixes: [Set; 2] = [
        |config, n| (config.networks, config.ipv4_prefix) = (1, n),
        |config, n| (config.networks, config.ipv6_prefix) = (1, n),
    ];
    for (set, range) in prefixes.into_iter().zip([24..=32, 48..=128]) {
        let mut config = valid_config();
        set(&mut config, number);
        assert_eq!(is_valid(&config), range.contains(&number), "{number}");
    }
}

/// Uses a text as each string of a configuration.
fn strings(text: &CStr) {
    let shown = text.to_string_lossy();
    let (pointer, texts) = (text.as_ptr(), [text.as_ptr()]);
    let max = u128::from(valid_config().max_connections.unsigned_abs());
    let is_rate = settings::rate(&shown).is_some();
    let configs = [
        (
            tcl_config {
                rate: pointer,
                ..valid_config()
            },
            is_rate,
        ),
        (
            tcl_config {
                networks: 1,
                network_rate: pointer,
                ..valid_config()
            },
            is_rate,
        ),
        (
            tcl_config {
                penalties: texts.as_ptr(),
                penalty_count: 1,
                ..valid_config()
            },
            settings::penalty(&shown).is_some(),
        ),
        (
            tcl_config {
                reserve: pointer,
                ..valid_config()
            },
            settings::reserve(&shown, max).is_some(),
        ),
        (
            tcl_config {
                pressure: pointer,
                ..valid_config()
            },
            settings::pressure(&shown).is_some(),
        ),
        (
            tcl_config {
                nat64_prefixes: texts.as_ptr(),
                nat64_count: 1,
                ..valid_config()
            },
            settings::translator(&shown).is_some(),
        ),
    ];
    for (at, (config, expected)) in configs.into_iter().enumerate() {
        assert_eq!(is_valid(&config), expected, "string {at}: {shown}");
    }
}

/// Rates of sources and of networks, with each burst.
fn rates(bytes: &[u8], burst: usize) {
    let mut interval = 77;
    let length = bytes.len() as u32;
    // SAFETY: `bytes` has that many bytes, and `interval` is valid for writes.
    let code = unsafe {
        tcl_rate_parse(
            bytes.as_ptr(),
            length,
            &mut interval,
            core::ptr::null_mut(),
            0,
        )
    };
    let expected = settings::rate(&String::from_utf8_lossy(bytes));
    let Some(expected) = expected else {
        return assert_eq!((code, interval), (TCL_EARG, 77));
    };
    assert_eq!((code, u128::from(interval)), (TCL_OK, expected));
    let burst = burst as u32;
    let fits = u128::from(burst) <= settings::max_burst(expected);
    let code = if fits { TCL_OK } else { TCL_EARG };
    assert_eq!(engine::set_rate(interval, burst, 64).0, code);
    assert_eq!(engine::set_network_rate(interval, burst, 64).0, code);
    let mut rate = core::mem::MaybeUninit::uninit();
    // SAFETY: `rate` is valid for writes, and written if the call succeeds.
    let rate = unsafe {
        assert_eq!(tcl_rate(rate.as_mut_ptr()), TCL_OK);
        rate.assume_init()
    };
    let shown = match (fits, expected, burst) {
        (false, ..) | (_, 0, _) => ("none".to_owned(), 0),
        (true, _, 0) => {
            let burst = settings::default_burst(expected) as u32;
            (naive::shown_rate(expected), burst)
        }
        (true, ..) => (naive::shown_rate(expected), burst),
    };
    assert_eq!((text(&rate.text), rate.burst), shown);
    let (_, name, burst) = network_settings();
    assert_eq!((name, burst), shown);
    assert_eq!(engine::set_rate(0, 0, 0).0, TCL_OK);
    assert_eq!(engine::set_network_rate(0, 0, 0).0, TCL_OK);
}

/// Reserves and levels of pressure.
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
    let shown = String::from_utf8_lossy(bytes);
    let reserve = settings::reserve(&shown, CONNECTIONS.into());
    let pressure = settings::pressure(&shown);
    let code = |valid: bool| if valid { TCL_OK } else { TCL_EARG };
    assert_eq!(set(tcl_set_reserve, bytes), code(reserve.is_some()));
    assert_eq!(set(tcl_set_pressure, bytes), code(pressure.is_some()));
    let now = report();
    let none = || "none".to_owned();
    let expected = [reserve, pressure].map(|shown| shown.unwrap_or_else(none));
    assert_eq!([text(&now.reserve), text(&now.pressure)], expected);
    assert!(now.reserve_used <= now.reserve_connections && now.level <= now.levels);
    // The texts of the report mean the same.
    for (change, shown) in [
        (tcl_set_reserve as Set, &expected[0]),
        (tcl_set_pressure, &expected[1]),
    ] {
        assert_eq!(set(change, shown.as_bytes()), TCL_OK);
    }
    let again = report();
    assert_eq!([text(&again.reserve), text(&again.pressure)], expected);
    assert_eq!(
        (again.reserve_connections, again.levels, again.limit_percent),
        (now.reserve_connections, now.levels, now.limit_percent)
    );
    for change in [tcl_set_reserve as Set, tcl_set_pressure] {
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
    let (code, age) = engine::oldest(bytes);
    assert_eq!((code, age == TCL_NEVER), (TCL_OK, count == 0));
    let (found, total) = engine::connections(bytes, 1).expect("connections");
    assert_eq!((found.len() as u32, total), (count.min(1), count.into()));
}

/// Names of networks: an address or a source in one, or itself.
fn networks(bytes: &[u8]) {
    let (code, found) = engine::network(bytes);
    let named = str::from_utf8(bytes).ok();
    let named = named.and_then(|text| Address::network_of_text(text, LENGTHS, NETWORKS));
    match (found, named) {
        (Some((found, _)), Some(network)) => {
            assert_eq!(text(&found.text), network.to_string());
            let held = counted().iter().filter(|(net, _)| network.contains(*net));
            let count: u32 = held.map(|(_, count)| count).sum();
            assert_eq!(found.connections, count);
        }
        (None, None) => assert_eq!(code, TCL_EARG),
        (_, named) => panic!("{code} {named:?}"),
    }
}

/// Bans of a source or a prefix that a text names.
fn bans(who: &CStr, room: usize) {
    assert_eq!(engine::rules_load(&[], None, 0).0, TCL_OK);
    let named = Address::banned_of_text(&who.to_string_lossy(), LENGTHS);
    let (code, set) = engine::ban(who, c" 60 ", room);
    let Some((net, is_source)) = named else {
        assert_eq!(code, TCL_EARG);
        let is_all = who.to_string_lossy().trim_ascii() == "all";
        let nothing = if is_all { TCL_ERULES } else { TCL_EARG };
        return assert_eq!(engine::unban(who, room), (nothing, 0));
    };
    let (set, was) = set.expect("a ban");
    assert_eq!(
        (text(&set.text), set.seconds, was),
        (net.to_string(), 60, 0)
    );
    let (_, again) = engine::ban(who, c"50", room);
    let (_, was) = again.expect("a ban");
    assert!((59..=60).contains(&was), "{was}");
    let (list, total) = engine::bans(2);
    assert_eq!((list.len(), total), (1, 1));
    assert_eq!(text(&list[0].text), net.to_string());
    // The first address of an IPv6 prefix may be IPv4 behind a translator.
    let octets = net.address.octets();
    if Address::of_octets(&octets) == Some(net.address) {
        assert!((49..=50).contains(&engine::banned(&octets)));
        let lifted = engine::unban_address(&octets);
        assert_eq!(lifted, i32::from(is_source));
        assert_eq!(engine::banned(&octets) > 0, !is_source);
        if is_source {
            assert_eq!(engine::ban(who, c"40", room).0, TCL_OK);
        }
    }
    assert_eq!(engine::unban(who, room), (TCL_OK, 1));
    assert_eq!(engine::unban(who, room), (TCL_ERULES, 0));
}

/// For how many seconds a command bans a source, or sets a rule.
fn times(seconds: &CStr, room: usize) {
    assert_eq!(engine::rules_load(&[], None, 0).0, TCL_OK);
    let shown = seconds.to_string_lossy();
    let who = c"192.0.2.7";
    let (code, set) = engine::ban(who, seconds, room);
    match settings::seconds(&shown, MAX_BAN) {
        Some(expected) => {
            assert_eq!(code, TCL_OK);
            assert_eq!(set.map(|(ban, _)| ban.seconds), Some(expected));
            assert_eq!(engine::unban(who, room), (TCL_OK, 1));
        }
        None => assert_eq!(code, TCL_EARG),
    }
    let prefix = c"192.0.2.0/24";
    let (code, _, set) = engine::rule_set(prefix, c"5", Some(seconds), room);
    match settings::seconds(&shown, MAX_RULE) {
        Some(expected) => {
            assert_eq!(code, TCL_OK);
            assert_eq!(set.map(|rule| rule.seconds), Some(expected));
            assert_eq!(engine::rule_remove(prefix, None, room).0, TCL_OK);
        }
        None => assert_eq!(code, TCL_EARG),
    }
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
    // SAFETY: `bytes` has that many bytes.
    let code = unsafe { tcl_cluster_drop(bytes.as_ptr(), bytes.len() as u32, 1) };
    let is_name = settings::node_name(bytes).is_some();
    assert_eq!(code, if is_name { TCL_EOFF } else { TCL_EARG });
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

/// The word of a rule for which this process's limiter has no memory.
fn missing(rule: &Rule) -> Option<&'static str> {
    let words = ["untrusted", "proxy", "cluster"];
    words.into_iter().find(|word| rule.has(word))
}

fn rules(text: &CStr, room: usize) {
    let rule = naive::whole_rule(text.to_string_lossy().trim_ascii());
    // Of listeners, a process can name 64 different ones before there is an error.
    if rule.as_ref().is_some_and(|rule| rule.listener.is_some()) {
        return;
    }
    let rule = rule.filter(|rule| rule.fits(Some(NETWORKS)));
    match (engine::rules_load(&[Some(text)], None, room), &rule) {
        ((TCL_OK, _), Some(rule)) => {
            assert_eq!(missing(rule), None);
            let rules = engine::rules(2).expect("rules");
            assert_eq!((rules.len(), rules[0].limit), (2, rule.limit));
            let texts = [&rules[0].prefix[..], &rules[0].terms].map(engine::text_of);
            assert_eq!(texts, [rule.prefix(), rule.shown.clone()]);
        }
        ((TCL_ERULES, sentence), Some(rule)) => {
            let word = missing(rule).expect("a word without memory");
            let start = format!(
                "the rule {} from modparam 1 has the word `{word}`",
                rule.prefix()
            );
            assert_begins(&sentence, &start);
        }
        ((TCL_ERULES, sentence), None) => assert_begins(&sentence, "modparam rule 1: `"),
        ((code, sentence), _) => panic!("{code} {sentence}"),
    }
}

/// Sets the rule while the server runs, and removes it.
fn sets(text: &CStr, room: usize) {
    let text = text.to_string_lossy();
    let Some((prefix, terms)) = text.split_once('=') else {
        return;
    };
    let [prefix, terms] = [prefix, terms].map(|part| CString::new(part).expect("no NUL in it"));
    let rule = naive::whole_rule(text.trim_ascii()).filter(|rule| rule.fits(Some(NETWORKS)));
    let word = rule.as_ref().and_then(|rule| {
        let mut words = rule.shown.split(' ');
        words.find(|word| word.starts_with("listener="))
    });
    let word = word.map(|word| CString::new(word).expect("no NUL in it"));
    // The only one that the server has.
    let known = [c"listener=192.0.2.1:5060", c"listener=tcp:192.0.2.1:5060"];
    let is_known = word.as_deref().is_none_or(|word| known.contains(&word));
    let (code, sentence, change) = engine::rule_set(&prefix, &terms, None, room);
    let Some(rule) = rule.filter(|_| is_known) else {
        return assert_eq!(code, TCL_EARG, "{sentence}");
    };
    if missing(&rule).is_some() {
        return assert_eq!(code, TCL_ERULES, "{sentence}");
    }
    assert_eq!(code, TCL_OK, "{sentence}");
    let change = change.expect("an answer");
    let texts = [&change.prefix[..], &change.rule, &change.terms].map(engine::text_of);
    assert_eq!(texts, [rule.prefix(), rule.prefix(), rule.shown.clone()]);
    assert_eq!((change.limit, change.seconds), (rule.limit, TCL_NEVER));
    let remove = |listener| engine::rule_remove(&prefix, listener, room);
    if word.is_some() {
        assert_eq!(remove(None).0, TCL_ERULES);
    }
    let (code, removed) = remove(word.as_deref());
    assert_eq!(code, TCL_OK);
    let was = removed.map(|change| engine::text_of(&change.was[..]));
    assert_eq!(was, Some(format!("{} from rpc", rule.shown)));
    assert_eq!(remove(word.as_deref()).0, TCL_ERULES);
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
    match which % 16 {
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
        6 => files(&text, room),
        7 => bans(&text, room),
        8 => rates(bytes, room),
        9 => strings(&text),
        10 => times(&text, room),
        11 => networks(bytes),
        _ => {
            rules(&text, room);
            sets(&text, room);
        }
    }
});
