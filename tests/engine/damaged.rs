// SPDX-License-Identifier: GPL-2.0-or-later
//! Damaged shared memory: bits, bytes, words and whole pages of a table in use are
//! changed at random, and then every operation is called. Any answer is right, as long
//! as there is one: no panic, no crash and no endless search.
//!
//! `IMAGES=1000000 cargo test --test damaged` for longer, `SEED=N` for another start.

use std::ffi::c_int;
use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::engine::rules_for;
use support::processes::{self, Child, shared};
use tcp_conn_limit::limiter::{Facts, Fault, Limiter, Token, Worker};
use tcp_conn_limit::observe::audit::Audit;
use tcp_conn_limit::observe::report::{By, Report};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::settings::{Mode, OnFull};
use tcp_conn_limit::source::{NetworkLengths, Prefix, PrefixLengths, Source};

/// Images, unless `IMAGES` is set.
const IMAGES: u64 = 3_000;

/// Images of one child.
const EACH: u64 = 250;

/// The time that all operations on an image may take. They take a few milliseconds.
const DEADLINE: Duration = Duration::from_secs(20);

const PAGE: usize = 4_096;

/// Rules with nested prefixes of both families.
const RULES: [&str; 6] = [
    "10.0.0.0/8=3",
    "10.0.0.0/28=2",
    "10.0.0.9=unlimited",
    "2001:db8::/32=2",
    "2001:db8:0:4::/62=5",
    "::/0=100",
];

/// A proxy, and its rule, for tables whose connections can be moved.
const PROXY: [u8; 4] = [10, 0, 0, 11];
const PROXY_RULE: &str = "10.0.0.11=unlimited proxy";

/// Addresses of the shared memory mappings of this process.
fn mappings() -> Vec<Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let parse = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (from, to) = fields.next()?.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).unwrap();
        (fields.next()? == "rw-s").then(|| number(from)..number(to))
    };
    maps.lines().filter_map(parse).collect()
}

/// A limiter, the bytes of its shared memory, and which of them are the records of the lowest
/// descriptors.
struct Table {
    limiter: Limiter,
    bytes: &'static [AtomicU8],
    records: Range<usize>,
}

impl Table {
    fn new(connections: u32, prefixes: PrefixLengths) -> Table {
        let before = mappings();
        // The watch then reads all records, which takes long here, so one table is enough.
        let limiter = match (connections, prefixes) {
            (1, PrefixLengths::DEFAULT) => Limiter::with_moves(connections, 0, prefixes, true),
            _ => Limiter::new(connections, 0, prefixes),
        };
        let limiter = limiter.unwrap();
        let mut new = mappings();
        new.retain(|mapping| !before.contains(mapping));
        let [Range { start, end }] = new[..] else {
            panic!("expected one new mapping: {before:x?}, {new:x?}");
        };
        assert!(end - start > limiter.table_bytes());
        let at = std::ptr::with_exposed_provenance(start);
        // SAFETY: the memory is mapped and writable as long as the limiter exists,
        // which is kept with the slice, and it holds nothing but atomics.
        let bytes = unsafe { std::slice::from_raw_parts(at, end - start) };
        Table {
            records: records(&limiter, bytes),
            limiter,
            bytes,
        }
    }

    /// Sets all bytes to zero, as they were at first.
    fn wipe(&self) {
        let start = self.bytes.as_ptr().cast_mut().cast();
        // SAFETY: these are the pages of a mapping of atomics, for which zero is valid.
        let done = unsafe { libc::madvise(start, self.bytes.len(), libc::MADV_REMOVE) };
        assert_eq!(done, 0);
    }
}

/// Descriptors of the connections with records.
const DESCRIPTORS: c_int = 30;

/// Finds the records of the [`DESCRIPTORS`] in a new table, by the time in the first one.
fn records(limiter: &Limiter, bytes: &[AtomicU8]) -> Range<usize> {
    const RECORD: usize = 16;
    const OPENED_AT: usize = 12;
    const CLOCK: u32 = 0x5a17_c0de;
    limiter.set_clock(CLOCK);
    let source = Source::new(&[192, 0, 2, 1], limiter.prefixes()).unwrap();
    let worker = Worker::ACCEPTOR;
    let token = limiter.connect(worker, 0, source, &[], Facts::NONE, 0);
    limiter
        .disconnect(worker, token.unwrap(), Facts::NONE)
        .unwrap();
    let word = |at: usize| {
        let bytes = [0, 1, 2, 3].map(|n| bytes[at + n].load(Ordering::Relaxed));
        u32::from_ne_bytes(bytes)
    };
    // The clock itself comes first, in the header.
    let mut found = (0..limiter.table_bytes())
        .step_by(4)
        .filter(|&at| word(at) == CLOCK);
    let opened_at = found.nth(1).expect("a record of the first descriptor");
    let start = opened_at - OPENED_AT;
    start..start + DESCRIPTORS as usize * RECORD
}

fn address(random: &mut SmallRng) -> Vec<u8> {
    let n = random.random_range(0..40u8);
    match random.random_range(0..3) {
        0 => vec![10, 0, 0, n],
        1 => [&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, n], &[0; 7][..], &[n & 1]].concat(),
        _ => (0..16).map(|_| random.random()).collect(),
    }
}

/// Opens and closes connections. `tokens` holds the tokens that were given out.
fn connections(limiter: &Limiter, tokens: &mut Vec<Token>, random: &mut SmallRng) {
    for _ in 0..40 {
        let worker = Worker::new(random.random_range(0..12));
        let source = Source::new(&address(random), limiter.prefixes()).unwrap();
        if let Err(rejection) = limiter.check(source) {
            limiter.rejected(worker, rejection);
        }
        if let Err(rejection) = limiter.check_against(source, random.random_range(0..4)) {
            limiter.rejected(worker, rejection);
        }
        let limit = random.random_range(0..5);
        tokens.extend(limiter.opened(worker, source, limit));
        let _ = Report::of(limiter).get(source);
        let _ = Report::of(limiter).rule_of(source);
        let token = match random.random_range(0..4) {
            0 => Token::from_bits(random.random()),
            1 => {
                let token = tokens.get(random.random_range(0..tokens.len().max(1)));
                token.and_then(|t| Token::from_bits(t.to_bits() ^ 1 << random.random_range(0..64)))
            }
            _ => (!tokens.is_empty())
                .then(|| tokens.swap_remove(random.random_range(0..tokens.len()))),
        };
        if let Some(token) = token {
            let _ = limiter.closed(worker, token);
        }
    }
    limiter.note(Worker::ACCEPTOR, Fault::BadAddress);
}

/// Opens and closes connections with records, trusts some and takes that back, and moves some to
/// other sources.
fn records_of_connections(limiter: &Limiter, random: &mut SmallRng) {
    for _ in 0..30 {
        let worker = Worker::new(random.random_range(0..4));
        let address = match random.random() {
            true => PROXY.to_vec(),
            false => address(random),
        };
        let source = Source::new(&address, limiter.prefixes()).unwrap();
        let descriptor = random.random_range(0..DESCRIPTORS);
        let facts = Facts::from_bits(random.random());
        let Some(token) = limiter.connection(descriptor) else {
            let _ = limiter.connect(worker, descriptor, source, &address, facts, 0);
            continue;
        };
        match random.random_range(0..6) {
            0 => _ = limiter.trust(worker, token),
            1 => _ = limiter.untrust(token),
            2 => _ = limiter.count_for(worker, token, &PROXY, &address),
            3 => _ = limiter.disconnect(worker, token, facts),
            4 => limiter.forget(worker, descriptor),
            _ => _ = limiter.accept(worker, descriptor, source, &address, facts),
        }
        limiter.is_expired(descriptor);
        let _ = limiter.moved_to(token);
        let _ = limiter.scope_of_connection(descriptor);
        let _ = limiter.counts_network_of(descriptor);
    }
    if random.random_bool(0.05) {
        // It reads all records.
        let source = Source::new(&address(random), limiter.prefixes()).unwrap();
        let _ = limiter.connections_of(source, random.random(), 5);
    }
    let _ = limiter.set_untrusted_limit(random.random_range(0..4));
    let _ = limiter.set_trust_timeout(random.random_range(0..4));
}

/// Calls everything that an operator or the background process can ask for.
fn reports(limiter: &Limiter, watch: &mut Watch, random: &mut SmallRng) {
    let mut seconds = random.random();
    for _ in 0..3 {
        watch.tick(limiter, seconds, 1, &mut |notice| {
            let _ = format!("{notice:?}");
        });
        seconds = seconds.wrapping_add(random.random_range(0..3));
    }
    let mut audit = Audit::new(4).unwrap();
    for _ in 0..4 {
        let source = Source::new(&address(random), limiter.prefixes()).unwrap();
        audit.connection(source, random.random()).unwrap();
    }
    audit.copy_counts(limiter).unwrap();
    for difference in audit.differences() {
        let _ = difference.source.display(limiter.prefixes()).to_string();
    }
    for by in [By::Connections, By::Rejected, By::Peak] {
        let inside = Prefix::parse("10.0.0.0/8", limiter.prefixes()).unwrap();
        for inside in [None, Some(inside)] {
            let (top, _) = Report::of(limiter)
                .top(random.random_range(0..50), by, inside)
                .unwrap();
            for report in top {
                let _ = report.source.display(limiter.prefixes()).to_string();
            }
        }
    }
    let _ = (
        Report::of(limiter).occupancy(),
        Report::of(limiter).sources().count(),
        limiter.totals(),
    );
    // There may be very many rules now, so only one of the two is called.
    if random.random() {
        for group in Report::of(limiter).groups(20).unwrap() {
            let _ = group.rule.map(|rule| rule.prefix.to_string());
        }
    } else {
        for suggestion in Report::of(limiter).suggest(20, 5).unwrap() {
            let _ = suggestion.rule.map(|rule| rule.to_string());
        }
    }
    let _ = (limiter.limit(), limiter.mode(), limiter.on_full());
    let _ = (limiter.rules_len(), limiter.rules_loaded());
}

/// Calls everything that changes settings.
fn all_controls(limiter: &Limiter, random: &mut SmallRng) {
    let mut rules = RULES[..random.random_range(0..=RULES.len())].to_vec();
    if limiter.has_moves() {
        rules.push(PROXY_RULE);
    }
    let rules = rules_for(limiter.prefixes(), &rules);
    // This may fail, because the word that says which process loads may be damaged.
    let _ = limiter.set_rules(&rules);
    let modes = [Mode::Enforce, Mode::Monitor, Mode::Off];
    limiter.set_mode(modes[random.random_range(0..modes.len())]);
    limiter.set_limit(random.random_range(-1..4));
    limiter.set_on_full(match random.random() {
        true => OnFull::Admit,
        false => OnFull::Reject,
    });
    if random.random() {
        limiter.reset_stats();
    }
}

/// Offsets of the rules of each half.
fn halves(limiter: &Limiter, bytes: &[AtomicU8]) -> [usize; 2] {
    let rules = limiter.table_bytes();
    // The mapping is rounded up to whole pages. Both halves have the same length.
    [rules, rules + (bytes.len() - rules) / 2 / 64 * 64]
}

/// Damages the memory in one of many ways.
fn damage(table: &Table, random: &mut SmallRng) {
    let Table {
        limiter,
        bytes,
        records,
    } = table;
    // Relaxed: no other process uses the table.
    let set = |at: usize, byte: u8| bytes[at].store(byte, Ordering::Relaxed);
    let get = |at: usize| bytes[at].load(Ordering::Relaxed);
    let [first, second] = halves(limiter, bytes);
    // Header and table, the records, and the part of each half that is in use, at its beginning.
    let parts = [
        0..1_500,
        0..first,
        records.clone(),
        first..first + 512,
        second..second + 512,
    ];
    let part = parts[random.random_range(0..parts.len())].clone();
    let times = 1 << random.random_range(0..9);
    let at = |random: &mut SmallRng| random.random_range(part.clone());
    match random.random_range(0..6) {
        0 => (0..times).for_each(|_| {
            let at = at(random);
            set(at, get(at) ^ 1 << random.random_range(0..8));
        }),
        1 => (0..times).for_each(|_| set(at(random), random.random())),
        // Words: random ones or edge cases.
        2 => (0..times).for_each(|_| {
            let edges = [
                0,
                1,
                u32::MAX,
                i32::MAX as u32,
                i32::MIN as u32,
                u32::MAX - 1,
            ];
            let edge = edges[random.random_range(0..edges.len())];
            let word: u32 = if random.random() {
                edge
            } else {
                random.random()
            };
            let at = at(random) / 4 * 4;
            (0..)
                .zip(word.to_ne_bytes())
                .for_each(|(i, byte)| set(at + i, byte));
        }),
        // A run of the same byte.
        3 => {
            let (from, byte) = (
                at(random),
                [0, 0xff, random.random()][random.random_range(0..3)],
            );
            let to = (from + random.random_range(1..2_000)).min(part.end);
            (from..to).for_each(|at| set(at, byte));
        }
        // A page of random bytes.
        4 => {
            let page = at(random) / PAGE * PAGE;
            (page..page + PAGE).for_each(|at| set(at, random.random()));
        }
        // A copy of bytes that are valid somewhere else.
        _ => {
            let (from, to) = (at(random) / 8 * 8, at(random) / 8 * 8);
            let bytes: Vec<u8> = (from..(from + 256).min(part.end)).map(get).collect();
            (to..part.end)
                .zip(bytes)
                .for_each(|(at, byte)| set(at, byte));
        }
    }
}

/// Tables of several sizes, for both ways of comparing sources, and one with networks.
fn tables() -> Vec<Table> {
    let prefixes = [PrefixLengths::DEFAULT, PrefixLengths::new(32, 128).unwrap()];
    let tables = [1, 10, 60]
        .into_iter()
        .flat_map(|connections| prefixes.map(|prefixes| Table::new(connections, prefixes)));
    let networks = PrefixLengths::DEFAULT.with_networks(NetworkLengths::DEFAULT);
    tables.chain([Table::new(10, networks.unwrap())]).collect()
}

/// Uses a table, damages it and uses it again.
fn image(tables: &[Table], seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let table = &tables[random.random_range(0..tables.len())];
    let limiter = &table.limiter;
    let (mut tokens, mut watch) = (Vec::new(), Watch::default());
    all_controls(limiter, &mut random);
    all_controls(limiter, &mut random);
    connections(limiter, &mut tokens, &mut random);
    records_of_connections(limiter, &mut random);
    for _ in 0..random.random_range(1..3) {
        damage(table, &mut random);
        connections(limiter, &mut tokens, &mut random);
        records_of_connections(limiter, &mut random);
        reports(limiter, &mut watch, &mut random);
        all_controls(limiter, &mut random);
        connections(limiter, &mut tokens, &mut random);
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

fn damaged_memory_is_used_safely() {
    let (images, first) = (number("IMAGES", IMAGES), number("SEED", 1));
    // The image that the child is working on.
    let at: &AtomicU64 = shared();
    let mut next = first;
    while next < first + images {
        let last = (next + EACH).min(first + images);
        let child = Child::start(|| {
            let tables = tables();
            for seed in next..last {
                at.store(seed, Ordering::SeqCst);
                processes::end_in(DEADLINE);
                tables.iter().for_each(Table::wipe);
                image(&tables, seed);
            }
        });
        let status = child.wait();
        let seed = at.load(Ordering::SeqCst);
        assert_eq!(
            status, 0,
            "image SEED={seed}: ended by this signal (14: it did not end), or panicked (from 256)"
        );
        next = last;
    }
    let _ = writeln!(std::io::stdout(), "{images} images");
}

fn main() {
    processes::run(&[(
        "damaged_memory_is_used_safely",
        damaged_memory_is_used_safely,
    )]);
}
