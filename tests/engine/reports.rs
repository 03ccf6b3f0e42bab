// SPDX-License-Identifier: GPL-2.0-or-later
//! Reports to the operator, compared with a plain scan of every source, and the memory that
//! they take.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;
use support::engine::{load_rules, source_of};
use tcp_conn_limit::limiter::{Limiter, Worker};
use tcp_conn_limit::observe::report::{By, LEAST, Report, RuleName, RuleReport};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::policy::settings::Mode;
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

const NETS: [&str; 8] = [
    "10.0.0.0/8",
    "10.0.0.0/28",
    "10.0.0.8/29",
    "10.0.0.9",
    "0.0.0.0/0",
    "2001:db8::/32",
    "2001:db8:0:4::/62",
    "2001:db8:0:5::/64",
];

fn net(text: &str) -> IpNet {
    text.parse()
        .unwrap_or_else(|_| IpNet::from(text.parse::<IpAddr>().unwrap()))
}

fn address(v6: bool, n: u8) -> IpAddr {
    match v6 {
        false => Ipv4Addr::new(10, 0, 0, n).into(),
        true => Ipv6Addr::new(0x2001, 0xdb8, 0, n.into(), 0, 0, 0, 0).into(),
    }
}

/// The connections and rejections of a source.
#[derive(Clone, Copy, Debug)]
struct Life {
    peak: u32,
    /// Connections that remain open, at most `peak`.
    stay: u32,
    rejected: u32,
    would_reject: u32,
}

fn life() -> impl Strategy<Value = Life> {
    let peak = prop_oneof![4 => 1..12u32, 1 => 12..60u32];
    (peak, any::<u32>(), 0..4u32, 0..4u32).prop_map(|(peak, stay, rejected, would_reject)| Life {
        peak,
        stay: stay % (peak + 1),
        rejected,
        would_reject,
    })
}

fn lives() -> impl Strategy<Value = BTreeMap<(bool, u8), Life>> {
    proptest::collection::btree_map((any::<bool>(), 0..40u8), life(), 0..50)
}

/// The sources and rules that reports are compared with.
struct Plain {
    sources: Vec<(IpAddr, Life)>,
    rules: Vec<IpNet>,
}

impl Plain {
    fn rule(&self, address: IpAddr) -> Option<IpNet> {
        let around = self.rules.iter().filter(|net| net.contains(&address));
        around.max_by_key(|net| net.prefix_len()).copied()
    }

    fn of(&self, rule: Option<IpNet>) -> impl Iterator<Item = &(IpAddr, Life)> {
        self.sources
            .iter()
            .filter(move |(address, _)| self.rule(*address) == rule)
    }

    fn sum(&self, rule: Option<IpNet>, number: fn(&Life) -> u32) -> u64 {
        self.of(rule).map(|(_, life)| u64::from(number(life))).sum()
    }
}

/// Each source reaches its peak, is rejected then, and keeps `stay` connections.
fn live(limiter: &Limiter, watch: &mut Watch, lives: &BTreeMap<(bool, u8), Life>) {
    let mut tokens = Vec::new();
    for (&(v6, n), life) in lives {
        let source = source_of(address(v6, n));
        let tokens_of: Vec<_> = (0..life.peak)
            .map(|_| limiter.opened(Worker::ACCEPTOR, source, 0).unwrap())
            .collect();
        for (mode, times) in [
            (Mode::Enforce, life.rejected),
            (Mode::Monitor, life.would_reject),
        ] {
            limiter.set_mode(mode);
            for _ in 0..times {
                let rejection = limiter.check(source).unwrap_err();
                let close = limiter.rejected(Worker::ACCEPTOR, rejection);
                assert_eq!(close, mode == Mode::Enforce);
            }
        }
        tokens.push((tokens_of, life.stay));
    }
    // Peaks below 8 are sampled.
    watch.tick(limiter, 1, 60, &mut |_| {});
    for (tokens, stay) in tokens {
        for token in tokens.into_iter().skip(stay as usize) {
            limiter.closed(Worker::ACCEPTOR, token).unwrap();
        }
    }
}

fn compare(limiter: &Limiter, plain: &Plain) {
    let mut rules: Vec<Option<IpNet>> = plain.rules.iter().copied().map(Some).collect();
    rules.push(None);
    let groups = Report::of(limiter).groups(usize::MAX).unwrap();
    let suggestions = Report::of(limiter).suggest(usize::MAX, 10).unwrap();
    assert_eq!(
        (groups.len(), suggestions.len()),
        (rules.len(), rules.len())
    );
    for (i, rule) in rules.into_iter().enumerate() {
        let text = |net: IpNet| match net.prefix_len() == net.max_prefix_len() {
            true => net.addr().to_string(),
            false => net.to_string(),
        };
        let group = &groups[i];
        let key = group.rule.map(|rule| rule.prefix.to_string());
        assert_eq!(key, rule.map(text));
        assert_eq!(group.rule.map(|rule| rule.terms.limit), rule.map(|_| 1));
        let with = plain.of(rule).filter(|(_, life)| life.stay > 0).count();
        assert_eq!(group.sources, with as u64);
        assert_eq!(group.connections, plain.sum(rule, |life| life.stay));
        assert_eq!(group.rejected, plain.sum(rule, |life| life.rejected));
        assert_eq!(
            group.would_reject,
            plain.sum(rule, |life| life.would_reject)
        );

        let suggestion = &suggestions[i];
        assert_eq!(suggestion.rule.map(|key| key.to_string()), rule.map(text));
        assert_eq!(suggestion.limit, rule.map(|_| 1));
        let mut peaks: Vec<u32> = plain.of(rule).map(|(_, life)| life.peak).collect();
        peaks.sort();
        assert_eq!(suggestion.sources, peaks.len() as u64);
        assert_eq!(suggestion.highest, peaks.last().copied().unwrap_or(0));
        let percentile = match peaks.len() {
            100.. => 99,
            10..100 => 90,
            _ => 50,
        };
        assert_eq!(suggestion.percentile, percentile);
        // The lowest peak that at least this share of the sources do not exceed.
        let percentile = percentile as usize;
        let usual = peaks
            .iter()
            .copied()
            .find(|p| peaks.iter().filter(|q| *q <= p).count() * 100 >= peaks.len() * percentile);
        assert_eq!(suggestion.usual, usual.unwrap_or(0));
        assert_eq!(suggestion.histogram.sources(), peaks.len() as u64);
        let proposed = (f64::from(suggestion.usual) * 1.5).ceil() as u32;
        assert_eq!(suggestion.proposed, proposed.max(LEAST));
        let mut above: Vec<u32> = peaks;
        above.retain(|peak| *peak > suggestion.proposed);
        assert_eq!(suggestion.above, above.len() as u64);
        above.reverse();
        above.truncate(10);
        let listed: Vec<u32> = suggestion.list.iter().map(|(_, peak)| *peak).collect();
        assert_eq!(listed, above);
        for (listed, peak) in &suggestion.list {
            let life = plain
                .of(rule)
                .find(|(address, _)| source_of(*address) == *listed);
            assert_eq!(life.unwrap().1.peak, *peak);
        }
    }
    for (by, rank) in [
        (By::Connections, (|life| life.stay) as fn(&Life) -> u32),
        (By::Rejected, |life| life.rejected + life.would_reject),
        (By::Peak, |life| life.peak),
    ] {
        for within in [
            None,
            Some("10.0.0.8/29"),
            Some("10.0.0.9"),
            Some("2001:db8::/32"),
            Some("::/0"),
        ] {
            let key = within.map(|text| Prefix::parse(text, limiter.prefixes()).unwrap());
            let inside = |a: &IpAddr| within.is_none_or(|text| net(text).contains(a));
            let mut ranks: Vec<u32> = plain
                .sources
                .iter()
                .filter(|(address, _)| inside(address))
                .map(|(_, life)| rank(life))
                .filter(|rank| *rank > 0)
                .collect();
            ranks.sort_by(|a, b| b.cmp(a));
            let all = ranks.len() as u64;
            for n in [0, 1, 7, 1_000_000] {
                let (top, found) = Report::of(limiter).top(n, by, key).unwrap();
                assert_eq!(found, all);
                let expected: Vec<u32> = ranks.iter().copied().take(n).collect();
                let top: Vec<u32> = top
                    .iter()
                    .map(|report| {
                        let of = |(a, _): &&(IpAddr, Life)| source_of(*a) == report.source;
                        let (address, life) = plain.sources.iter().find(of).unwrap();
                        assert!(inside(address));
                        assert_eq!(report.connections, life.stay);
                        assert_eq!(report.peak, life.peak);
                        assert_eq!(report.rejected, life.rejected);
                        assert_eq!(report.would_reject, life.would_reject);
                        rank(life)
                    })
                    .collect();
                assert_eq!(top, expected, "{by:?} {within:?} {n}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn reports_match_a_full_scan(
        lives in lives(),
        rules in proptest::sample::subsequence(NETS.to_vec(), 0..=NETS.len()),
    ) {
        let limiter = Limiter::new(500, 1, PrefixLengths::DEFAULT).unwrap();
        let texts: Vec<String> = rules.iter().map(|net| format!("{net}=1")).collect();
        load_rules(&limiter, &texts);
        let mut rules: Vec<IpNet> = rules.into_iter().map(net).collect();
        rules.sort_by_key(|net| (net.network(), net.prefix_len()));
        let plain = Plain {
            sources: lives.iter().map(|(&(v6, n), life)| (address(v6, n), *life)).collect(),
            rules,
        };
        live(&limiter, &mut Watch::default(), &lives);
        compare(&limiter, &plain);
    }
}

fn many(limiter: &Limiter, peaks: impl Iterator<Item = u32>) {
    for (n, peak) in peaks.enumerate() {
        let source = source_of(Ipv4Addr::from_bits(0x0b00_0000 + n as u32));
        for _ in 0..peak {
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        }
    }
}

/// Some sources exceed the proposed limit, more than are listed.
#[test]
fn suggest_lists_the_highest_peaks() {
    let limiter = Limiter::new(50_000, 0, PrefixLengths::DEFAULT).unwrap();
    many(
        &limiter,
        (0..2_000).map(|n| if n % 130 == 7 { 100 + n / 130 } else { 3 }),
    );
    let suggestions = Report::of(&limiter).suggest(usize::MAX, 10).unwrap();
    let [default] = &suggestions[..] else {
        panic!("{suggestions:?}");
    };
    assert_eq!((default.rule, default.limit), (None, None));
    assert_eq!((default.sources, default.highest), (2_000, 115));
    assert_eq!((default.percentile, default.usual), (99, 3));
    assert_eq!((default.proposed, default.above), (8, 16));
    let by_peak = default.histogram.by_peak().to_string();
    let expected = "1: 0, 2: 0, 3-4: 1984, 5-8: 0, 9-16: 0, 17-32: 0, 33-64: 0, 65-128: 16";
    assert_eq!(by_peak, expected);
    let hit = default.histogram.hit_by_limit().to_string();
    assert!(
        hit.ends_with(", 4: 0.80 %, 8: 0.80 %, 16: 0.80 %, 32: 0.80 %, 64: 0.80 %, 128: 0 %"),
        "{hit}"
    );
    let peaks: Vec<u32> = default.list.iter().map(|(_, peak)| *peak).collect();
    assert_eq!(peaks, (106..=115).rev().collect::<Vec<_>>());
    assert!(
        Report::of(&limiter).suggest(usize::MAX, 0).unwrap()[0]
            .list
            .is_empty()
    );
}

/// On a small server the attacker is one of a few sources, and is not taken for usual.
#[test]
fn suggestion_for_few_sources_names_the_greediest() {
    for (ordinary, percentile) in [(62, 90), (9, 90), (4, 50), (2, 50)] {
        let limiter = Limiter::new(1_000, 0, PrefixLengths::DEFAULT).unwrap();
        let peaks = std::iter::repeat_n(2, ordinary).chain([200]);
        many(&limiter, peaks);
        let suggestions = Report::of(&limiter).suggest(usize::MAX, 10).unwrap();
        let default = &suggestions[0];
        assert_eq!(default.sources, ordinary as u64 + 1);
        assert_eq!((default.percentile, default.usual), (percentile, 2));
        assert_eq!((default.proposed, default.above), (LEAST, 1));
        assert_eq!(default.list[0].1, 200);
    }
}

/// An order by slots would leak information about the secret key of the hash.
#[test]
fn equal_peaks_are_sorted_by_address() {
    let limiter = Limiter::new(50_000, 0, PrefixLengths::DEFAULT).unwrap();
    many(
        &limiter,
        (0..2_000).map(|n| if n % 130 == 7 { 100 } else { 1 }),
    );
    let last = |n: u32| source_of(Ipv4Addr::from_bits(0x0b00_0000 + 7 + 130 * n));
    let expected: Vec<(Source, u32)> = (6..=15).rev().map(|n| (last(n), 100)).collect();
    assert_eq!(
        Report::of(&limiter).suggest(usize::MAX, 10).unwrap()[0].list,
        expected
    );
    let (top, _) = Report::of(&limiter).top(10, By::Peak, None).unwrap();
    let top: Vec<_> = top.iter().map(|r| (r.source, r.peak)).collect();
    assert_eq!(top, expected);
}

#[test]
fn empty_table_reports_zeros() {
    let limiter = Limiter::new(10, 5, PrefixLengths::DEFAULT).unwrap();
    load_rules(&limiter, &["10.0.0.0/8=unlimited"]);
    for suggestion in Report::of(&limiter).suggest(usize::MAX, 10).unwrap() {
        assert_eq!((suggestion.sources, suggestion.above), (0, 0));
        assert_eq!((suggestion.highest, suggestion.usual), (0, 0));
        assert_eq!(suggestion.histogram.by_peak().to_string(), "");
        assert_eq!(suggestion.proposed, LEAST);
        assert_eq!(suggestion.limit, suggestion.rule.map(|_| 0));
    }
    assert_eq!(
        Report::of(&limiter).top(10, By::Peak, None).unwrap(),
        (vec![], 0)
    );
    let totals: u64 = Report::of(&limiter)
        .groups(usize::MAX)
        .unwrap()
        .iter()
        .map(|g| g.sources)
        .sum();
    assert_eq!(totals, 0);
}

/// The group of sources without a rule has only their rejections, not those of removed
/// rules and not those that belong to no source.
#[test]
fn rejections_of_removed_rules_are_not_reported() {
    let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
    load_rules(&limiter, &["10.0.0.0/8=1"]);
    let reject = |address: [u8; 4]| {
        let source = source_of(Ipv4Addr::from_octets(address));
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        let rejection = limiter.check(source).unwrap_err();
        limiter.rejected(Worker::ACCEPTOR, rejection);
    };
    reject([10, 0, 0, 1]);
    reject([11, 0, 0, 1]);
    let rejected = || -> Vec<u64> {
        let groups = Report::of(&limiter).groups(usize::MAX).unwrap();
        groups.iter().map(|group| group.rejected).collect()
    };
    assert_eq!(rejected(), [1, 1]);
    // The prefix stays, with another limit.
    load_rules(
        &limiter,
        &["9.0.0.0/8=1".to_owned(), "10.0.0.0/8=2".to_owned()],
    );
    assert_eq!(rejected(), [0, 1, 1]);
    load_rules(&limiter, &["9.0.0.0/8=1"]);
    assert_eq!(rejected(), [0, 1]);
    load_rules(&limiter, &["10.0.0.0/8=1"]);
    assert_eq!(rejected(), [0, 1]);
}

thread_local! {
    /// Bytes that this thread has allocated and not freed.
    static IN_USE: Cell<usize> = const { Cell::new(0) };
    /// The most bytes in use since [`peak_of`] began.
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts the bytes of each thread.
struct Counting;

// SAFETY: each call goes unchanged to the system's allocator. The default `realloc` calls
// `alloc` and `dealloc`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Wraps around if the thread frees memory that another one allocated.
        let in_use = IN_USE.get().wrapping_add(layout.size());
        IN_USE.set(in_use);
        PEAK.set(PEAK.get().max(in_use));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.set(IN_USE.get().wrapping_sub(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What `work` returns, and the most bytes that it had allocated at a time.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = IN_USE.replace(0);
    PEAK.set(0);
    let result = work();
    let peak = PEAK.get();
    IN_USE.set(IN_USE.get().wrapping_add(before));
    (result, peak)
}

/// The prefix of rule `n` of [`with_many_rules`].
fn prefix_of(n: u32) -> String {
    let [_, _, c, d] = n.to_be_bytes();
    format!("10.{c}.{d}.0/24")
}

const MANY_RULES: u32 = 65_535;

/// A limiter with [`MANY_RULES`] rules, of which each of `busy` has a source.
fn with_many_rules(busy: &[u32]) -> Limiter {
    let limiter = Limiter::new(1_000, 0, PrefixLengths::DEFAULT).unwrap();
    let texts: Vec<String> = (0..MANY_RULES)
        .map(|n| format!("{}=5", prefix_of(n)))
        .collect();
    load_rules(&limiter, &texts);
    for n in busy {
        let source = source_of(Ipv4Addr::from_bits(0x0a00_0001 + (n << 8)));
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
    }
    limiter
}

fn names(rules: impl Iterator<Item = Option<Prefix>>) -> Vec<String> {
    rules.map(|rule| RuleName(rule).to_string()).collect()
}

/// The first rules have no sources, the later ones do.
#[test]
fn busy_rules_and_the_default_take_precedence() {
    let busy = [60_000, 60_001, MANY_RULES - 1];
    let limiter = with_many_rules(&busy);
    let report = Report::of(&limiter);
    for (max, idle) in [(500, 496), (100, 96), (4, 0)] {
        let expected: Vec<String> = (0..idle).chain(busy).map(prefix_of).collect();
        let expected = [expected, vec!["default".to_owned()]].concat();
        let groups = report.groups(max).unwrap();
        let rules = groups.iter().map(|group| Some(group.rule?.prefix));
        assert_eq!(names(rules), expected);
        let sources: u64 = groups.iter().map(|group| group.sources).sum();
        assert_eq!(sources, 3);
        let suggestions = report.suggest(max, 10).unwrap();
        assert_eq!(names(suggestions.iter().map(|s| s.rule)), expected);
        let sources: u64 = suggestions.iter().map(|s| s.sources).sum();
        assert_eq!(sources, 3);
    }
    for (max, expected) in [
        (
            3,
            vec![prefix_of(60_000), prefix_of(60_001), "default".to_owned()],
        ),
        (1, vec!["default".to_owned()]),
        (0, vec![]),
    ] {
        let groups = report.groups(max).unwrap();
        let rules = groups.iter().map(|group| Some(group.rule?.prefix));
        assert_eq!(names(rules), expected);
        let suggestions = report.suggest(max, 10).unwrap();
        assert_eq!(names(suggestions.iter().map(|s| s.rule)), expected);
    }
    assert_eq!(report.groups(usize::MAX).unwrap().len(), 65_536);
    assert_eq!(report.suggest(usize::MAX, 10).unwrap().len(), 65_536);
}

/// A rule whose source is gone, but was rejected, is as busy as one with a source. A limit
/// can only be proposed where a source has a peak.
#[test]
fn rejections_make_a_rule_busy() {
    let limiter = with_many_rules(&[50_000]);
    let source = source_of(Ipv4Addr::from_bits(0x0a00_0001 + (40_000 << 8)));
    let open = |_| limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
    let tokens: Vec<_> = (0..5).map(open).collect();
    let rejection = limiter.check(source).unwrap_err();
    limiter.rejected(Worker::ACCEPTOR, rejection);
    for token in tokens {
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    let groups = Report::of(&limiter).groups(3).unwrap();
    let rules = groups.iter().map(|group| Some(group.rule?.prefix));
    let expected = [prefix_of(40_000), prefix_of(50_000), "default".to_owned()];
    assert_eq!(names(rules), expected);
    assert_eq!((groups[0].sources, groups[0].rejected), (0, 1));
    let suggestions = Report::of(&limiter).suggest(3, 10).unwrap();
    assert_eq!(names(suggestions.iter().map(|s| s.rule)), expected);
    limiter.reset_stats();
    let suggestions = Report::of(&limiter).suggest(2, 10).unwrap();
    assert_eq!(names(suggestions.iter().map(|s| s.rule)), expected[1..]);
}

/// The memory of a report is that of the rules, which are copied so that all of its lines
/// are of one generation, and that of the lines that are shown.
#[test]
fn few_of_many_rules_take_little_memory() {
    let limiter = with_many_rules(&[7, 60_000]);
    let report = Report::of(&limiter);
    let copy = MANY_RULES as usize * size_of::<RuleReport>();
    let (groups, peak) = peak_of(|| report.groups(500).unwrap());
    assert_eq!(groups.len(), 500);
    assert!(peak < copy + 10 * 65_536, "rules: {peak} bytes");
    let (suggestions, peak) = peak_of(|| report.suggest(100, 10).unwrap());
    assert_eq!(suggestions.len(), 100);
    assert!(peak < copy + 2 * 65_536, "suggest: {peak} bytes");
    assert_eq!(size_of::<RuleReport>(), 120);
}
