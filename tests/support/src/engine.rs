// SPDX-License-Identifier: GPL-2.0-or-later
//! Sources, rules and workers for tests of the library.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicI32, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Token, Worker};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::policy::rules::{Origin, RuleSet};
use tcp_conn_limit::source::{PrefixLengths, Source};

/// Source `n` of the 16 million in 10.0.0.0/8.
pub fn source(n: u32) -> Source {
    let [_, a, b, c] = n.to_be_bytes();
    source_of(Ipv4Addr::new(10, a, b, c))
}

/// The source of an address, with the default lengths of prefixes.
pub fn source_of(address: impl Into<IpAddr>) -> Source {
    match address.into() {
        IpAddr::V4(address) => Source::new(&address.octets(), PrefixLengths::DEFAULT),
        IpAddr::V6(address) => Source::new(&address.octets(), PrefixLengths::DEFAULT),
    }
    .expect("4 or 16 bytes are an address")
}

/// The set of these rules, with the default lengths of prefixes. All must be valid.
pub fn rules<T: AsRef<str>>(texts: &[T]) -> RuleSet {
    rules_for(PrefixLengths::DEFAULT, texts)
}

/// Makes these rules, which must be valid, the active rules.
pub fn load_rules<T: AsRef<str>>(limiter: &Limiter, texts: &[T]) {
    let rules = rules_for(limiter.prefixes(), texts);
    limiter.set_rules(&rules).unwrap();
}

/// The set of these rules for a limiter with these lengths of prefixes. All must be valid.
pub fn rules_for<T: AsRef<str>>(prefixes: PrefixLengths, texts: &[T]) -> RuleSet {
    let mut builder = RuleSet::builder(prefixes);
    for (text, number) in texts.iter().zip(1..) {
        builder
            .add(Origin::Modparam(number), text.as_ref())
            .unwrap();
    }
    builder.build().unwrap()
}

/// Opens and closes connections of the first `sources` sources at random. A source must
/// never be counted with fewer connections than this worker has of it. Returns the
/// tokens of those that are open at the end.
pub fn open_and_close(
    limiter: &Limiter,
    worker: u32,
    source: fn(u32) -> Source,
    sources: u32,
    rounds: u32,
) -> Vec<Token> {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut live: Vec<(Source, Token)> = Vec::new();
    for _ in 0..rounds {
        let source = source(random.random_range(0..sources));
        if live.len() < 100 && random.random_bool(0.5) {
            if let Err(rejection) = limiter.check(source) {
                limiter.rejected(me, rejection);
            }
            live.push((source, limiter.opened(me, source, 0).unwrap()));
        } else if !live.is_empty() {
            let (_, token) = live.swap_remove(random.random_range(0..live.len()));
            limiter.closed(me, token).unwrap();
        }
        let own = live.iter().filter(|(s, _)| *s == source).count();
        assert!(Report::of(limiter).get(source).connections as usize >= own);
    }
    live.into_iter().map(|(_, token)| token).collect()
}

/// Opens and closes at random, at most `limit` connections of each source, then closes
/// all. The workers count their open connections in `live`, one number a source. It is
/// increased after a connection was counted and decreased before it is released, so it
/// never exceeds the counted connections. Returns how many connections were admitted.
pub fn keep_within(
    limiter: &Limiter,
    worker: u32,
    limit: i32,
    live: &[AtomicI32],
    source: fn(u32) -> Source,
    rounds: u32,
) -> u32 {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut mine: Vec<(usize, Token)> = Vec::new();
    let mut admitted = 0;
    for _ in 0..rounds {
        let n = random.random_range(0..live.len());
        if random.random_bool(0.6) {
            match limiter.opened(me, source(n as u32), limit) {
                Ok(token) => {
                    let before = live[n].fetch_add(1, Ordering::SeqCst);
                    assert!(before < limit, "admitted one more than {before}");
                    admitted += 1;
                    mine.push((n, token));
                }
                Err(error) => assert_eq!(error, NotCounted::OverLimit),
            }
        } else if !mine.is_empty() {
            let (n, token) = mine.swap_remove(random.random_range(0..mine.len()));
            live[n].fetch_sub(1, Ordering::SeqCst);
            limiter.closed(me, token).unwrap();
        }
    }
    for (n, token) in mine {
        live[n].fetch_sub(1, Ordering::SeqCst);
        limiter.closed(me, token).unwrap();
    }
    admitted
}
