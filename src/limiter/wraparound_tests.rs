// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests that need access to the inside of the crate: the oracle of `tests/engine/oracle/`
//! with a hash that makes sources collide, and counters that are about to wrap around.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use proptest::prelude::*;

use crate::limiter::{Limiter, StaleToken, Token, Worker};
use crate::observe::report::Report;
use crate::observe::watch::Watch;
use crate::policy::rules::{Origin, RuleSet};
use crate::shared::layout::{ACCEPTOR_ROW, ROWS, SLOTS_PER_BUCKET};
use crate::shared::region::smaps;
use crate::shared::sync::{AtomicBool, AtomicU64, Ordering};
use crate::source::{PrefixLengths, Source};

// A crate with the oracle would depend on the library as it is built without `cfg(test)`,
// and could not check a `Limiter` of this crate. So the file is included.
#[path = "../../tests/engine/oracle/operations.rs"]
mod oracle;

use oracle::{Room, agree, operations};

fn source(n: u32) -> Source {
    let address = [&[10], &n.to_be_bytes()[1..]].concat();
    Source::new(&address, PrefixLengths::DEFAULT).unwrap()
}

/// Every tally of every row.
fn tallies(limiter: &Limiter) -> impl Iterator<Item = &AtomicU64> {
    limiter.region().header().tallies.iter().flat_map(|tally| {
        [
            &tally.admitted,
            &tally.rejected,
            &tally.would_reject,
            &tally.full_rejected,
            &tally.untracked_rejected,
            &tally.panics,
            &tally.table_full,
            &tally.untracked,
            &tally.bad_address,
            &tally.stale_token,
            &tally.descriptor_reused,
            &tally.rate_rejected,
            &tally.rate_would_reject,
            &tally.ban_rejected,
            &tally.ban_would_reject,
            &tally.bans,
            &tally.would_ban,
            &tally.penalty_silent,
            &tally.penalty_tls,
            &tally.penalty_rejected,
            &tally.penalty_rate,
            &tally.penalty_script,
            &tally.forgotten,
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// All sources compete for the same few slots.
    #[test]
    fn colliding_sources(operations in operations(40, 600), pairs in 1..8u64) {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        agree(&limiter.with_weak_hash(pairs), &operations, Room::LITTLE);
    }

    /// IPv6 sources need both words to be compared.
    #[test]
    fn colliding_sources_of_long_prefixes(operations in operations(40, 600), pairs in 1..8u64) {
        let prefixes = PrefixLengths::new(32, 128).unwrap();
        let limiter = Limiter::new(10, 0, prefixes).unwrap();
        agree(&limiter.with_weak_hash(pairs), &operations, Room::LITTLE);
    }

    /// The totals, which have 64 bits, wrap around during the test, and so does the
    /// number of resets.
    #[test]
    fn counters_wrap_around(operations in operations(6, 600), before in 0..30u64) {
        let limiter = Limiter::new(600, 0, PrefixLengths::DEFAULT).unwrap();
        // Relaxed, here and below: there is one thread.
        for number in tallies(&limiter) {
            number.store(u64::MAX - before, Ordering::Relaxed);
        }
        let header = limiter.region().header();
        header.background.resets.store(u32::MAX - before as u32, Ordering::Relaxed);
        limiter.reset_stats();
        agree(&limiter, &operations, Room::ENOUGH);
    }
}

/// Thousands of sources take the same slot, one after the other. The tokens of the last
/// 4,095 of them all differ from the current token.
#[test]
fn epochs_wrap_around() {
    const EPOCHS: usize = 4_096;
    let limiter = Limiter::new(1, 0, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_weak_hash(1);
    // Fill seven of the eight slots.
    for n in 0..7 {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
    }
    let mut tokens: Vec<Token> = Vec::new();
    let mut last: HashMap<u64, usize> = HashMap::new();
    let mut slots = Vec::new();
    for turn in 0..3 * EPOCHS {
        let source = source(1_000 + turn as u32);
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        if let Some(before) = last.insert(token.to_bits(), turn) {
            assert_eq!(turn - before, EPOCHS, "the same token too soon");
        }
        // Recent and old tokens.
        let ages = [1, 2, 3, 1_023, 1_024, 2_047, 2_048, 2_049, EPOCHS - 1];
        for age in ages.into_iter().filter(|age| *age <= turn) {
            let stale = tokens[turn - age];
            assert_eq!(
                limiter.closed(Worker::ACCEPTOR, stale),
                Err(StaleToken),
                "{age}"
            );
            assert_eq!(limiter.table().held(slots[turn - age]), None, "{age}");
        }
        assert_eq!(Report::of(&limiter).get(source).connections, 1);
        tokens.push(token);
        slots.push(limiter.table().find(source).unwrap());
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
    assert_eq!(last.len(), EPOCHS);
    assert_eq!(Report::of(&limiter).occupancy().sources, 7);
}

fn rules(texts: &[&str]) -> RuleSet {
    let mut builder = RuleSet::builder(PrefixLengths::DEFAULT);
    for (text, number) in texts.iter().zip(1..) {
        builder.add(Origin::Modparam(number), text).unwrap();
    }
    builder.build().unwrap()
}

/// The rule of a source is cached by its number, with 16 bits of the generation. After
/// 65,536 loads it is not mistaken for the active rule with the same number.
#[test]
fn generations_of_rules_wrap_around() {
    let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
    let sets = [
        rules(&["10.0.0.0/8=1"]),
        rules(&["9.0.0.0/8=1", "10.0.0.0/8=2"]),
    ];
    // In each of the first generations, a source has its rule cached.
    for n in 0..8 {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        limiter.set_rules(&sets[0]).unwrap();
        assert!(limiter.check(source(n)).is_err());
    }
    let generation = &limiter.region().header().settings.rules_generation;
    for loaded in 9..=65_550 {
        limiter.set_rules(&sets[1]).unwrap();
        let generation = generation.load(Ordering::Relaxed);
        assert_ne!(generation as u16, 0, "0 means unused memory");
        assert_eq!(limiter.rules_loaded(), loaded);
        // The 16 bits of the first generations occur again.
        if loaded >= 65_536 {
            assert!((0..8).all(|n| limiter.check(source(n)).is_ok()), "{loaded}");
        }
    }
}

/// Rules are loaded when the 16 bits wrap around, while another thread checks. Rules that
/// this thread caches meanwhile are cleared before the number of their generation recurs.
#[test]
fn cached_rules_are_cleared_when_generations_wrap_around() {
    const SOURCES: u32 = 20_000;
    let limiter = Limiter::new(4 * SOURCES, 0, PrefixLengths::DEFAULT).unwrap();
    for n in 0..SOURCES {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
    }
    // Rule 0 rejects a second connection from 10/8 at first, and later one from 9/8.
    let strict = rules(&["10.0.0.0/8=1"]);
    let wide = rules(&["9.0.0.0/8=1", "10.0.0.0/8=1000"]);
    let generation = &limiter.region().header().settings.rules_generation;
    let kept_for = |generation: u16| {
        (0..limiter.table().slots())
            .filter(|&slot| {
                let kept = limiter.table().detail(slot).rule.load(Ordering::Relaxed);
                (kept >> 16) as u16 == generation
            })
            .count()
    };
    for turn in 1..=3u32 {
        generation.store(turn << 16 | 0xfffe, Ordering::SeqCst);
        limiter.set_rules(&strict).unwrap();
        assert_eq!(generation.load(Ordering::SeqCst), turn << 16 | 0xffff);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in (0..SOURCES).cycle() {
                    let _ = limiter.check(source(n)).is_ok();
                    // Relaxed: it only ends the loop.
                    if done.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            // Wait until the checker has cached half of the rules.
            while kept_for(0xffff) < SOURCES as usize / 2 {
                std::hint::spin_loop();
            }
            limiter.set_rules(&strict).unwrap();
            done.store(true, Ordering::Relaxed);
        });
        // Half a cycle later comes the second clearing.
        generation.store((turn + 1) << 16 | 0x7fff, Ordering::SeqCst);
        limiter.set_rules(&strict).unwrap();
        assert_eq!(kept_for(0xffff), 0, "cached beyond the second clearing");
        // The number recurs, with other rules.
        generation.store((turn + 1) << 16 | 0xfffe, Ordering::SeqCst);
        limiter.set_rules(&wide).unwrap();
        let wrong = (0..SOURCES).filter(|&n| limiter.check(source(n)).is_err());
        assert_eq!(wrong.count(), 0, "rejected by a rule of another generation");
    }
}

/// Clearing the cached rules does not allocate memory for slots that were never used.
#[test]
fn wrap_around_leaves_unused_details_untouched() {
    let limiter = Limiter::new(200_000, 0, PrefixLengths::DEFAULT).unwrap();
    let generation = &limiter.region().header().settings.rules_generation;
    generation.store(0xffff, Ordering::Relaxed);
    limiter.set_rules(&rules(&["10.0.0.0/8=1"])).unwrap();
    let details = limiter.region().details();
    let at = details.as_ptr().addr();
    let smaps = std::fs::read("/proc/self/smaps").unwrap();
    let resident = smaps::bytes(&smaps, "Rss", at..at + 1);
    // The published rules lie in the same mapping.
    assert!(resident > 0, "no mapping at {at:#x}");
    assert!(
        resident < size_of_val(details) as u64 / 2,
        "{resident} bytes are resident, the details have {}",
        size_of_val(details)
    );
}

/// Addresses that differ in bits 20 to 31 take the same slot one after the other, in every
/// epoch. No source gets the rejections of the previous one.
#[test]
fn details_of_neighbours_are_kept_apart() {
    let limiter = Limiter::new(1, 1, PrefixLengths::DEFAULT).unwrap();
    let limiter = limiter.with_weak_hash(1);
    // Fill seven of the eight slots.
    for n in 0..7 {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
    }
    let v4 = |bits: u32| Source::new(&bits.to_be_bytes(), PrefixLengths::DEFAULT).unwrap();
    let mut address = 0xc000_0200_u32;
    for turn in 0..5_000 {
        let report = Report::of(&limiter).get(v4(address));
        assert_eq!((report.rejected, report.peak), (0, 0), "turn {turn}");
        let token = limiter.opened(Worker::ACCEPTOR, v4(address), 0).unwrap();
        assert_eq!(
            Report::of(&limiter).get(v4(address)).rejected,
            0,
            "turn {turn}"
        );
        for _ in 0..5 {
            let rejection = limiter.check(v4(address)).unwrap_err();
            assert!(limiter.rejected(Worker::ACCEPTOR, rejection));
        }
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
        let epoch = limiter.table().find(v4(address)).unwrap().control.epoch();
        // The next epoch differs in these bits.
        address ^= (epoch ^ (epoch + 1)) << 20;
    }
}

/// A source that returns to a crowded bucket moves to its other bucket, and its history
/// moves with it.
#[test]
fn history_moves_with_the_source() {
    let bucket_of = |at: crate::table::SlotRef| at.slot / SLOTS_PER_BUCKET;
    for turn in 0..50 {
        let limiter = Limiter::new(200, 1, PrefixLengths::DEFAULT).unwrap();
        let mover = source(0);
        let token = limiter.opened(Worker::ACCEPTOR, mover, 0).unwrap();
        let mut watch = Watch::default();
        for _ in 0..3 {
            let rejection = limiter.check(mover).unwrap_err();
            limiter.rejected(Worker::ACCEPTOR, rejection);
        }
        let mut notices = 0;
        watch.tick(&limiter, 100, 60, &mut |_| notices += 1);
        assert_eq!(notices, 1, "the first rejection");
        let known = Report::of(&limiter).get(mover);
        let before = limiter.table().find(mover).unwrap();
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
        // Other sources take the rest of its bucket, and then all have connections.
        let others: Vec<_> = (1..)
            .map(source)
            .filter(|&other| {
                let token = limiter.opened(Worker::ACCEPTOR, other, 0).unwrap();
                limiter.closed(Worker::ACCEPTOR, token).unwrap();
                bucket_of(limiter.table().find(other).unwrap()) == bucket_of(before)
            })
            .take(SLOTS_PER_BUCKET - 1)
            .collect();
        for other in others {
            limiter.opened(Worker::ACCEPTOR, other, 0).unwrap();
        }
        assert_eq!(limiter.table().find(mover), Some(before));
        let token = limiter.opened(Worker::ACCEPTOR, mover, 0).unwrap();
        let after = limiter.table().find(mover).unwrap();
        assert_ne!(bucket_of(after), bucket_of(before), "turn {turn}");
        assert_eq!(Report::of(&limiter).get(mover), known, "turn {turn}");
        watch.tick(&limiter, 101, 60, &mut |_| notices += 1);
        assert_eq!(notices, 1, "no connection was rejected since");
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
    }
}

/// The generation wraps around at the end of its 32 bits, and the halves still alternate.
#[test]
fn rule_generation_wraps_around() {
    let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
    let generation = &limiter.region().header().settings.rules_generation;
    generation.store(u32::MAX - 9, Ordering::Relaxed);
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    for limit in 1..30 {
        let set = rules(&[&format!("10.0.0.0/8={limit}")]);
        limiter.set_rules(&set).unwrap();
        assert_eq!(Report::of(&limiter).rule_of(source(1)).1, limit);
        assert_eq!(limiter.check(source(1)).is_err(), limit == 1);
        assert_eq!(limiter.rules_len(), 1);
    }
}

/// The rejections of one source, which have 32 bits, wrap around; totals and counts stay
/// right.
#[test]
fn rejections_of_a_source_wrap_around() {
    let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
    limiter.opened(Worker::ACCEPTOR, source(1), 0).unwrap();
    let reject = || {
        let rejection = limiter.check(source(1)).unwrap_err();
        assert!(limiter.rejected(Worker::ACCEPTOR, rejection));
    };
    reject();
    let at = limiter.table().find(source(1)).unwrap();
    let rejected = &limiter.table().detail(at.slot).rejected;
    rejected.store(u32::MAX, Ordering::Relaxed);
    (0..3).for_each(|_| reject());
    let report = Report::of(&limiter).get(source(1));
    assert_eq!((report.rejected, report.connections), (2, 1));
    assert_eq!(limiter.totals().rejected, 4);
}

/// A cell holds the highest number, which happens only in damaged memory: sums do not
/// panic, and the limit still rejects.
#[test]
fn cell_at_the_highest_number_does_not_panic() {
    let limiter = Limiter::new(10, i32::MAX - 1, PrefixLengths::DEFAULT).unwrap();
    for worker in 0..ROWS as u32 {
        limiter.opened(Worker::new(worker), source(1), 0).unwrap();
    }
    let slot = limiter.table().find(source(1)).unwrap().slot;
    let cell = &limiter.region().cells(ACCEPTOR_ROW + 1)[slot];
    cell.store(i32::MAX, Ordering::Relaxed);
    assert_eq!(
        Report::of(&limiter).get(source(1)).connections,
        i32::MAX as u32
    );
    assert!(limiter.check(source(1)).is_err());
}
