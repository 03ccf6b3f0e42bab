// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Sender`]: which sources are reported, and when.
//!
//! A source is reported while it has at least [`bound::threshold`] connections. Its record is
//! sent
//!
//! - in the next interval if its count changed, and once more in the one after it, so that
//!   one lost message does no harm;
//! - at once if it grew by more than [`bound::eager_growth`];
//! - once a cycle of [`CYCLE_MS`], each source in an interval of its own choice by its hash,
//!   so that the load is even;
//! - with 0 connections three times when it is not reported any more;
//! - in a *dump* of all records, in [`DUMP_PARTS`] parts, for a node that asks for it.

#![forbid(unsafe_code)]

use std::hash::BuildHasher as _;

use super::Count;
use super::audit::RangeSums;
use super::bound;
use super::hash::{ByKey, Map};
use super::record::Record;
use crate::source::Source;

/// All records are sent once in this time, in ms.
pub(super) const CYCLE_MS: u32 = 10_000;

/// The parts of a dump.
pub(super) const DUMP_PARTS: u32 = 3;

/// How often a changed count is sent.
const CHANGED_COPIES: u8 = 2;

/// How often it is sent that a source is not reported any more.
const GONE_COPIES: u8 = 3;

/// The intervals of a cycle.
pub(super) fn rounds(interval_ms: u32) -> u32 {
    (CYCLE_MS / interval_ms.max(1)).max(1)
}

/// The last report of a source.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The count in its last record to all nodes.
    count: u32,
    /// The last pass that found the source to be reported.
    pass: u32,
    /// Says in which interval of a cycle it is repeated.
    spread: u32,
    /// How often the last record is still sent.
    copies: u8,
}

/// What one pass over the counts must send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// The number of the interval, if it is due.
    pub(super) round: Option<u32>,
    /// The intervals of a cycle.
    pub(super) rounds: u32,
    /// Whether sources that grew can be sent at once.
    pub(super) eager: bool,
    /// The part of a dump that is due.
    pub(super) dump: Option<u32>,
    /// N.
    pub(super) nodes: u32,
    /// ε in percent.
    pub(super) hidden_percent: u32,
}

/// The last reports of all sources.
#[derive(Debug)]
pub(super) struct Sender {
    sent: Map<Sent>,
    max: usize,
    pass: u32,
    /// Times that there was no room for a source.
    pub(super) unreported: u64,
}

impl Sender {
    pub(super) fn new(hash: ByKey, max: usize) -> Sender {
        Sender {
            sent: Map::with_hasher(hash),
            max,
            pass: 0,
            unreported: 0,
        }
    }

    /// Appends what must be sent to all nodes to `all`, and the part of the dump to `dump`.
    pub(super) fn collect(
        &mut self,
        pass: Pass,
        counts: impl Iterator<Item = Count>,
        all: &mut Vec<Record>,
        dump: &mut Vec<Record>,
    ) {
        self.pass = self.pass.wrapping_add(1);
        // Most sources have the same limit.
        let (mut limit, mut threshold, mut step) = (0, 0, 0);
        for count in counts {
            if count.limit == 0 || count.source.scope().is_some() {
                continue;
            }
            if count.limit != limit {
                limit = count.limit;
                threshold = bound::threshold(limit, pass.nodes, pass.hidden_percent);
                step = bound::eager_growth(limit, pass.nodes);
            }
            // Between intervals only a dump, or a growth of more than a step, is due.
            let is_due = pass.round.is_some() || pass.dump.is_some();
            if count.own >= threshold && (is_due || pass.eager && count.own > step) {
                self.report(pass, count.source, count.own, step, (all, dump));
            }
        }
        if pass.round.is_some() {
            self.end(all);
        }
    }

    /// Sends the record of a source with at least as many connections as the threshold.
    fn report(
        &mut self,
        pass: Pass,
        source: Source,
        own: u32,
        step: u32,
        (all, dump): (&mut Vec<Record>, &mut Vec<Record>),
    ) {
        let sent = match self.sent.get_mut(&source) {
            Some(sent) => sent,
            None => {
                if self.sent.len() >= self.max {
                    self.unreported += u64::from(pass.round.is_some());
                    return;
                }
                let hash = self.sent.hasher().hash_one(source);
                self.sent.entry(source).or_insert(Sent {
                    count: 0,
                    pass: 0,
                    spread: (hash >> 32) as u32,
                    copies: 0,
                })
            }
        };
        sent.pass = self.pass;
        let is_due = match pass.round {
            Some(round) => {
                own != sent.count
                    || sent.copies > 0
                    || sent.spread % pass.rounds == round % pass.rounds
            }
            None => pass.eager && own.saturating_sub(sent.count) > step,
        };
        if is_due {
            sent.copies = match own == sent.count {
                true => sent.copies.saturating_sub(1),
                false => CHANGED_COPIES - 1,
            };
            sent.count = own;
            all.push(Record::Count(source, own));
        }
        // What all nodes got. A count that they did not get yet would stay if the source is not
        // reported in the next interval.
        if pass.dump == Some(sent.spread % DUMP_PARTS) && sent.count > 0 {
            dump.push(Record::Count(source, sent.count));
        }
    }

    /// Sends that the sources that this pass did not find are not reported any more.
    fn end(&mut self, all: &mut Vec<Record>) {
        let pass = self.pass;
        self.sent.retain(|source, sent| {
            if sent.pass == pass {
                return true;
            }
            if sent.count > 0 {
                (sent.count, sent.copies) = (0, GONE_COPIES);
            }
            if sent.copies > 0 {
                all.push(Record::Count(*source, 0));
                sent.copies -= 1;
            }
            sent.copies > 0
        });
    }

    /// The sums of what was reported to all nodes.
    pub(super) fn sums(&self) -> RangeSums {
        RangeSums::of(self.sent.iter().map(|(source, sent)| (*source, sent.count)))
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{PrefixLengths, Scope};

    const ROUNDS: u32 = 10;

    struct Bench {
        sender: Sender,
        round: u32,
        nodes: u32,
    }

    impl Bench {
        fn new(max: usize) -> Bench {
            Bench {
                sender: Sender::new(ByKey([3, 4]), max),
                round: 0,
                nodes: 3,
            }
        }

        fn pass(&self, round: Option<u32>) -> Pass {
            Pass {
                round,
                rounds: ROUNDS,
                eager: true,
                dump: None,
                nodes: self.nodes,
                hidden_percent: 10,
            }
        }

        /// What an interval sends of these counts, whose limit is 100, sorted.
        fn interval(&mut self, counts: &[(u32, u32)]) -> Vec<(u32, u32)> {
            self.round += 1;
            self.run(self.pass(Some(self.round)), counts)
        }

        fn eager(&mut self, counts: &[(u32, u32)]) -> Vec<(u32, u32)> {
            self.run(self.pass(None), counts)
        }

        fn run(&mut self, pass: Pass, counts: &[(u32, u32)]) -> Vec<(u32, u32)> {
            let counts = counts.iter().map(|(number, own)| Count {
                source: source(*number),
                own: *own,
                limit: 100,
            });
            let (mut all, mut dump) = (Vec::new(), Vec::new());
            self.sender.collect(pass, counts, &mut all, &mut dump);
            let of = |record: &Record| match record {
                Record::Count(source, count) => {
                    let (octets, _) = source.octets();
                    (u32::from_be_bytes(*octets.first_chunk().unwrap()), *count)
                }
                Record::Ban(..) => panic!("a ban"),
            };
            let mut sent: Vec<_> = all.iter().chain(&dump).map(of).collect();
            sent.sort_unstable();
            sent
        }
    }

    fn source(number: u32) -> Source {
        Source::new(&number.to_be_bytes(), PrefixLengths::DEFAULT).unwrap()
    }

    #[test]
    fn sources_below_the_threshold_are_not_reported() {
        // θ = ⌊0.1·100/2⌋ + 1 = 6
        let mut bench = Bench::new(9);
        assert_eq!(bench.interval(&[(1, 5), (2, 6), (3, 7)]), [(2, 6), (3, 7)]);
        bench.nodes = 11;
        assert!(bench.interval(&[(1, 5), (2, 6), (3, 7)]).contains(&(1, 5)));
    }

    #[test]
    fn change_is_sent_twice_and_then_once_a_cycle() {
        let mut bench = Bench::new(9);
        let mut sent = Vec::new();
        for _ in 0..2 + 3 * ROUNDS {
            sent.push(bench.interval(&[(1, 9)]).len());
        }
        assert_eq!(sent[..2], [1, 1]);
        for cycle in sent[2..].chunks(ROUNDS as usize) {
            assert_eq!(cycle.iter().sum::<usize>(), 1);
        }
    }

    #[test]
    fn end_is_sent_three_times() {
        let mut bench = Bench::new(9);
        bench.interval(&[(1, 9)]);
        for _ in 0..3 {
            // Also if it is still there, but below the threshold.
            assert_eq!(bench.interval(&[(1, 5)]), [(1, 0)]);
        }
        assert!(bench.interval(&[]).is_empty());
        assert_eq!(bench.sender.len(), 0);
    }

    #[test]
    fn source_that_returns_while_its_end_is_sent_is_reported_again() {
        let mut bench = Bench::new(9);
        bench.interval(&[(1, 9)]);
        assert_eq!(bench.interval(&[]), [(1, 0)]);
        assert_eq!(bench.interval(&[(1, 8)]), [(1, 8)]);
        assert_eq!(bench.interval(&[(1, 8)]), [(1, 8)]);
        assert_eq!(bench.interval(&[]), [(1, 0)]);
    }

    #[test]
    fn only_large_growth_is_sent_at_once() {
        // More than 100/12 = 8.
        let mut bench = Bench::new(9);
        assert_eq!(bench.eager(&[(1, 8)]), []);
        assert_eq!(bench.eager(&[(1, 9)]), [(1, 9)]);
        assert_eq!(bench.eager(&[(1, 17)]), []);
        assert_eq!(bench.eager(&[(1, 18)]), [(1, 18)]);
        assert_eq!(bench.interval(&[(1, 19)]), [(1, 19)]);
        // A decrease is not urgent.
        assert_eq!(bench.eager(&[(1, 6)]), []);
        assert_eq!(bench.interval(&[(1, 6)]), [(1, 6)]);
    }

    #[test]
    fn dump_has_each_source_once() {
        let mut bench = Bench::new(99);
        let counts: Vec<(u32, u32)> = (0..60).map(|number| (number, 50)).collect();
        bench.interval(&counts);
        let mut sent = Vec::new();
        for part in 0..DUMP_PARTS {
            let pass = Pass {
                dump: Some(part),
                ..bench.pass(None)
            };
            sent.extend(bench.run(pass, &counts));
        }
        sent.sort_unstable();
        assert_eq!(sent, counts);
    }

    /// Otherwise no node would hear of its end.
    #[test]
    fn dump_has_only_what_all_nodes_got() {
        let mut bench = Bench::new(9);
        let mut dumped = Vec::new();
        for (reported, present) in [(None, 8), (Some(7), 8)] {
            if let Some(count) = reported {
                bench.interval(&[(1, count)]);
            }
            for part in 0..DUMP_PARTS {
                let pass = Pass {
                    dump: Some(part),
                    ..bench.pass(None)
                };
                dumped.extend(bench.run(pass, &[(1, present)]));
            }
        }
        assert_eq!(dumped, [(1, 7)]);
    }

    #[test]
    fn full_sender_counts_what_it_leaves_out() {
        let mut bench = Bench::new(2);
        assert_eq!(bench.interval(&[(1, 9), (2, 9), (3, 9)]).len(), 2);
        assert_eq!(bench.sender.unreported, 1);
    }

    #[test]
    fn sources_without_a_limit_or_with_a_scope_are_not_reported() {
        let mut sender = Sender::new(ByKey([0; 2]), 9);
        let scoped = source(1).in_scope(Scope::of_listener(1).unwrap());
        let counts = [(source(1), 0), (scoped, 100)].map(|(source, limit)| Count {
            source,
            own: 50,
            limit,
        });
        let mut all = Vec::new();
        let pass = Bench::new(0).pass(Some(1));
        sender.collect(pass, counts.into_iter(), &mut all, &mut Vec::new());
        assert_eq!(all, []);
    }
}
