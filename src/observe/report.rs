// SPDX-License-Identifier: GPL-2.0-or-later
//! What an operator asks for: one source, the busiest sources, the rules, how many,
//! and what limits would fit.
//!
//! All of it is read in the asking process, from the live table, without a lock:
//! each line is right for the moment at which it was read.

#![forbid(unsafe_code)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, TryReserveError};

use crate::limiter::Limiter;
use crate::shared::sync::Ordering;
use crate::source::{Prefix, Source};
use crate::table::SlotRef;
use crate::table::details::{Numbers, Owner};

pub use crate::policy::rulebook::RuleReport;
pub use crate::table::details::seconds_since;

/// A source as it was at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceReport {
    /// Who it is.
    pub source: Source,
    /// Its connections.
    pub connections: u32,
    /// Rejections since it is in the table or the last reset.
    pub rejected: u32,
    /// Connections that would have been rejected, in monitor mode.
    pub would_reject: u32,
    /// Its connections when one was last rejected, or would have been; 0: none was.
    pub rejected_at: u32,
    /// Most connections it had at a time: with 8 or more to the connection, else as
    /// sampled by [`crate::observe::watch`].
    pub peak: u32,
    /// When it was first sampled, for [`seconds_since`].
    pub first_seen: u32,
    /// When it was last sampled with connections, for [`seconds_since`].
    pub last_seen: u32,
}

/// By what sources are ranked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Connections now.
    Connections,
    /// Rejections, and connections that would have been rejected.
    Rejected,
    /// Most connections at a time.
    Peak,
}

/// The table as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Sources with connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Places for sources.
    pub slots: u64,
}

/// The sources of a rule, or those without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// `None`: the sources without a rule.
    pub rule: Option<RuleReport>,
    /// Those with connections.
    pub sources: u64,
    /// Their connections.
    pub connections: u64,
    /// Rejections.
    pub rejected: u64,
    /// Connections that would have been rejected, in monitor mode.
    pub would_reject: u64,
}

/// A limit for the sources of a rule, or for those without one, from their peaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// `None`: the sources without a rule.
    pub rule: Option<Prefix>,
    /// The rule's limit; 0: any number.
    pub limit: Option<i32>,
    /// Sources in the table whose peak was seen.
    pub sources: u64,
    /// Highest peak.
    pub highest: u32,
    /// 99 of 100 sources have no higher peak.
    pub p99: u32,
    /// Half as much again, and no less than [`LEAST`].
    pub proposed: u32,
    /// Sources with a peak above `proposed`.
    pub above: u64,
    /// The highest of these, highest first; of equal peaks, the higher address first.
    pub list: Vec<(Source, u32)>,
}

/// The lowest limit that is proposed: so many connections are no sign of anything.
pub const LEAST: u32 = 8;

impl SourceReport {
    fn new(source: Source, connections: u32, numbers: Numbers) -> SourceReport {
        SourceReport {
            source,
            connections,
            rejected: numbers.rejected,
            would_reject: numbers.would_reject,
            rejected_at: numbers.rejected_at,
            // the sample may be older than the connection
            peak: numbers.peak.max(connections),
            first_seen: numbers.first_seen,
            last_seen: numbers.last_seen,
        }
    }

    fn rank(&self, by: By) -> u64 {
        match by {
            By::Connections => self.connections.into(),
            By::Rejected => u64::from(self.rejected) + u64::from(self.would_reject),
            By::Peak => self.peak.into(),
        }
    }
}

impl Limiter {
    /// The source's numbers; zeros if it is not in the table.
    pub fn get(&self, source: Source) -> SourceReport {
        while let Some(at) = self.table().find(source) {
            if let Some((report, _)) = self.report_at(source, at) {
                return report;
            }
        }
        SourceReport::new(source, 0, Numbers::default())
    }

    /// Rule and limit of a source; a limit of 0 or less: any number.
    pub fn rule_of(&self, source: Source) -> (Option<Prefix>, i32) {
        self.rulebook().describe(source)
    }

    /// All sources that have connections, in no order.
    pub fn sources(&self) -> impl Iterator<Item = SourceReport> + '_ {
        self.all().filter(|report| report.connections > 0)
    }

    /// All sources that have connections, and how many, in no order. Reads no more than
    /// that, and allocates nothing.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Source, u32)> + '_ {
        (0..self.table().slots()).filter_map(|slot| self.count(slot))
    }

    /// The source in `slot` and its connections, if it has any.
    fn count(&self, slot: usize) -> Option<(Source, u32)> {
        let table = self.table();
        while table.connections_at(slot) > 0 {
            let (source, at) = table.source_at(slot)?;
            let connections = self.rows().sum(slot, at.control.rows());
            // as in `report_at`
            if table.held(at).is_some() {
                return (connections > 0).then_some((source, connections.unsigned_abs()));
            }
        }
        None
    }

    /// All sources in the table, those that had connections once included.
    fn all(&self) -> impl Iterator<Item = SourceReport> + '_ {
        (0..self.table().slots()).filter_map(|slot| Some(self.report(slot)?.0))
    }

    /// The `n` first sources by `by` of those in `prefix`, highest first; none that
    /// has 0 of it. And how many there are.
    ///
    /// # Errors
    ///
    /// If there is no memory for `n` reports.
    pub fn top(
        &self,
        n: usize,
        by: By,
        prefix: Option<Prefix>,
    ) -> Result<(Vec<SourceReport>, u64), TryReserveError> {
        let inside = |report: &SourceReport| {
            prefix.is_none_or(|prefix| prefix.contains(Prefix::from(report.source)))
        };
        let ranked = self.all().filter(inside);
        let ranked = ranked.map(|report| (report.rank(by), report.source, report));
        let mut found = 0;
        let counted = ranked
            .filter(|(rank, ..)| *rank > 0)
            .inspect(|_| found += 1)
            .map(|(rank, source, report)| Ranked(rank, source, report));
        let top = highest(n.min(self.table().slots()), counted)?;
        Ok((top.into_iter().map(|Ranked(_, _, r)| r).collect(), found))
    }

    /// Counts sources and connections, in a walk through the table.
    pub fn occupancy(&self) -> Occupancy {
        let table = self.table();
        let mut occupancy = self.empty();
        for slot in 0..table.slots() {
            let connections = table.connections_at(slot);
            occupancy.sources += u64::from(connections > 0);
            occupancy.connections += u64::from(connections);
        }
        occupancy
    }

    /// What [`watch`](crate::observe::watch) counted last, without a walk through the table;
    /// zeros before its first tick.
    pub fn last_occupancy(&self) -> Occupancy {
        // statistics
        let gauges = self.gauges().load(Ordering::Relaxed);
        Occupancy {
            sources: gauges >> 32,
            connections: gauges & u64::from(u32::MAX),
            ..self.empty()
        }
    }

    /// Counts sources and connections for [`last_occupancy`](Self::last_occupancy).
    pub(crate) fn publish_occupancy(&self) {
        let occupancy = self.occupancy();
        // each is below 2^32, except in damaged memory
        let half = |number: u64| number.min(u32::MAX.into());
        let gauges = half(occupancy.sources) << 32 | half(occupancy.connections);
        // statistics
        self.gauges().store(gauges, Ordering::Relaxed);
    }

    fn empty(&self) -> Occupancy {
        Occupancy {
            slots: self.table().slots() as u64,
            ..Occupancy::default()
        }
    }

    /// The rules, then the sources without one.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn groups(&self) -> Result<Vec<Group>, TryReserveError> {
        let rules = self.rulebook().all()?;
        let mut groups = Vec::new();
        groups.try_reserve(rules.as_slice().len() + 1)?;
        groups.extend(rules.as_slice().iter().map(|rule| Group {
            rule: Some(*rule),
            sources: 0,
            connections: 0,
            rejected: rule.rejected,
            would_reject: rule.would_reject,
        }));
        let (rejected, would_reject) = self.rulebook().default_numbers();
        let default = Group {
            rule: None,
            sources: 0,
            connections: 0,
            rejected,
            would_reject,
        };
        let last = groups.len();
        groups.push(default);
        for report in self.sources() {
            let group = &mut groups[rules.of(report.source).unwrap_or(last)];
            group.sources += 1;
            group.connections += u64::from(report.connections);
        }
        Ok(groups)
    }

    /// A limit for each rule, then for the sources without one, from the peaks of
    /// the sources in the table; with up to `list` sources above it each.
    ///
    /// Takes no memory for each source, but 300 bytes for each rule, and walks through the
    /// table three times, or once more for each 6 bits that the percentile has above 7.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn suggest(&self, list: usize) -> Result<Vec<Suggestion>, TryReserveError> {
        let rules = self.rulebook().all()?;
        let last = rules.as_slice().len();
        let group_of = |report: &SourceReport| rules.of(report.source).unwrap_or(last);
        let mut percentiles = Percentiles::new(last + 1)?;
        let mut suggestions = Vec::new();
        suggestions.try_reserve(last + 1)?;
        suggestions.extend((0..=last).map(|group| Suggestion {
            rule: rules.as_slice().get(group).map(|rule| rule.prefix),
            limit: rules.as_slice().get(group).map(|rule| rule.limit),
            sources: 0,
            highest: 0,
            p99: 0,
            proposed: LEAST,
            above: 0,
            list: Vec::new(),
        }));
        for report in self.all().filter(|report| report.peak > 0) {
            let group = group_of(&report);
            let suggestion = &mut suggestions[group];
            suggestion.sources += 1;
            suggestion.highest = suggestion.highest.max(report.peak);
            percentiles.count(group, report.peak);
        }
        while percentiles.narrow() {
            for report in self.all().filter(|report| report.peak > 0) {
                percentiles.count(group_of(&report), report.peak);
            }
        }
        for (suggestion, p99) in suggestions.iter_mut().zip(percentiles.found()) {
            suggestion.p99 = p99;
            suggestion.proposed = p99.saturating_mul(3).div_ceil(2).max(LEAST);
        }
        // one more walk, for the few that are above
        for report in self.all() {
            let suggestion = &mut suggestions[group_of(&report)];
            if report.peak > suggestion.proposed {
                suggestion.above += 1;
                let above = &mut suggestion.list;
                above.try_reserve(1)?;
                // equals by address, as in `top`: the order of the table is no one's business
                let rank = (report.peak, report.source);
                let at = above.partition_point(|&(source, peak)| (peak, source) > rank);
                above.insert(at, (report.source, report.peak));
                above.truncate(list);
            }
        }
        Ok(suggestions)
    }

    /// The source in `slot`, and where it is.
    pub(crate) fn report(&self, slot: usize) -> Option<(SourceReport, SlotRef)> {
        loop {
            let (source, at) = self.table().source_at(slot)?;
            if let Some(report) = self.report_at(source, at) {
                return Some(report);
            }
        }
    }

    /// `source` at `at`, and that as it is now. `None` if another process wanted
    /// the slot just then: the numbers may be those of a source that has it now.
    fn report_at(&self, source: Source, at: SlotRef) -> Option<(SourceReport, SlotRef)> {
        let table = self.table();
        let connections = self.rows().sum(at.slot, at.control.rows());
        let numbers = self.details().read(Owner::of(table, source, at));
        let report = SourceReport::new(source, connections.unsigned_abs(), numbers);
        Some((report, table.held(at)?))
    }
}

/// Ordered by rank, then by source.
struct Ranked(u64, Source, SourceReport);

impl PartialEq for Ranked {
    fn eq(&self, other: &Ranked) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Ranked {}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// The `n` highest of `items`, highest first, without keeping the others.
fn highest<T: Ord>(n: usize, items: impl Iterator<Item = T>) -> Result<Vec<T>, TryReserveError> {
    let mut top = BinaryHeap::new();
    top.try_reserve(n + 1)?;
    for item in items {
        top.push(Reverse(item));
        if top.len() > n {
            top.pop();
        }
    }
    let sorted = top.into_sorted_vec();
    Ok(sorted.into_iter().map(|Reverse(item)| item).collect())
}

/// Finds the 99th percentile of the peaks of each group by nearest rank: the lowest peak
/// that 99 per cent do not exceed.
///
/// The peaks are counted several times, each time in narrower ranges within the range in
/// which the percentile was found before. So it is exact, whatever the peaks are, and the
/// memory does not depend on how many there are.
struct Percentiles {
    groups: Vec<Narrowed>,
    /// The counts of all ranges, those of each group one after another.
    counts: Vec<[u32; RANGES]>,
}

/// Ranges in which the peaks of a group are counted at a time.
const RANGES: usize = 64;

/// The range in which the percentile of a group is.
#[derive(Clone, Copy)]
enum Narrowed {
    /// Peaks are counted by their number of bits.
    Not,
    /// From `low` on, for 2^`bits` numbers. The percentile is the peak of rank `rank`
    /// among those in this range, from 1.
    To { low: u32, bits: u32, rank: u64 },
}

impl Narrowed {
    /// Which of the narrower ranges `peak` is in, if any.
    fn range_of(self, peak: u32) -> Option<usize> {
        match self {
            Narrowed::Not => Some((u32::BITS - peak.leading_zeros()) as usize),
            Narrowed::To { low, bits, .. } => {
                let above = peak.checked_sub(low)?;
                let range = (above >> Self::bits_after(bits)) as usize;
                (range < 1 << (bits - Self::bits_after(bits))).then_some(range)
            }
        }
    }

    /// Bits of each of the ranges into which one of `bits` bits is divided.
    fn bits_after(bits: u32) -> u32 {
        bits.saturating_sub(RANGES.ilog2())
    }

    /// Range number `range`, and the rank in it.
    fn narrowed(self, range: usize, rank: u64) -> Narrowed {
        let range = range as u32;
        match self {
            // 0, 1, 2 to 3, 4 to 7 …
            Narrowed::Not => Narrowed::To {
                low: 1u32.checked_shl(range.wrapping_sub(1)).unwrap_or(0),
                bits: range.saturating_sub(1),
                rank,
            },
            Narrowed::To { low, bits, .. } => Narrowed::To {
                low: low + (range << Self::bits_after(bits)),
                bits: Self::bits_after(bits),
                rank,
            },
        }
    }
}

impl Percentiles {
    fn new(groups: usize) -> Result<Percentiles, TryReserveError> {
        let mut all = Percentiles {
            groups: Vec::new(),
            counts: Vec::new(),
        };
        all.groups.try_reserve_exact(groups)?;
        all.groups.resize(groups, Narrowed::Not);
        all.counts.try_reserve_exact(groups)?;
        all.counts.resize(groups, [0; RANGES]);
        Ok(all)
    }

    fn count(&mut self, group: usize, peak: u32) {
        if let Some(range) = self.groups[group].range_of(peak) {
            // there are fewer slots than 2^32
            self.counts[group][range] += 1;
        }
    }

    /// Narrows all groups. Whether the peaks must be counted again.
    fn narrow(&mut self) -> bool {
        let mut again = false;
        for (group, counts) in self.groups.iter_mut().zip(&mut self.counts) {
            let sum: u64 = counts.iter().copied().map(u64::from).sum();
            let rank = match *group {
                Narrowed::Not => (sum * 99).div_ceil(100),
                // fewer than before, if sources were replaced meanwhile
                Narrowed::To { rank, .. } => rank.min(sum),
            };
            if let Some((range, rank)) = locate(counts, rank) {
                *group = group.narrowed(range, rank);
                again |= matches!(group, Narrowed::To { bits: 1.., .. });
            }
            *counts = [0; RANGES];
        }
        again
    }

    /// The percentiles, 0 for a group without peaks.
    fn found(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().map(|group| match *group {
            Narrowed::Not => 0,
            Narrowed::To { low, .. } => low,
        })
    }
}

/// The range in which the peak of rank `rank` is, and its rank there; `None` if there are
/// fewer peaks, or for rank 0.
fn locate(counts: &[u32], mut rank: u64) -> Option<(usize, u64)> {
    if rank == 0 {
        return None;
    }
    for (range, &count) in counts.iter().enumerate() {
        if rank <= u64::from(count) {
            return Some((range, rank));
        }
        rank -= u64::from(count);
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::limiter::Worker;
    use crate::source::PrefixLengths;

    /// The half of an address that is no part of any source is damaged.
    #[test]
    fn what_is_found_is_what_is_reported() {
        let limiter = Arc::new(Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap());
        let source = Source::new(&[0x20; 16], PrefixLengths::DEFAULT).unwrap();
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        for slot in 0..limiter.table().slots() {
            let low = &limiter.table().detail(slot).low;
            low.store(u64::MAX, Ordering::Relaxed);
        }
        let (tell, told) = channel();
        let asking = Arc::clone(&limiter);
        // a thread: the search must not go on for ever
        std::thread::spawn(move || tell.send(asking.get(source)));
        let report = told.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((report.source, report.connections), (source, 1));
        let listed: Vec<_> = limiter.sources().map(|report| report.source).collect();
        assert_eq!(listed, [source]);
    }

    /// The percentiles of groups of peaks, and how often they were counted.
    fn percentiles(groups: &[Vec<u32>]) -> (Vec<u32>, u32) {
        let mut percentiles = Percentiles::new(groups.len()).unwrap();
        for walks in 1.. {
            for (group, peaks) in groups.iter().enumerate() {
                for peak in peaks {
                    percentiles.count(group, *peak);
                }
            }
            if !percentiles.narrow() {
                return (percentiles.found().collect(), walks);
            }
        }
        unreachable!("narrowing ends");
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let peaks = |n: u32| -> Vec<u32> { (1..=n).collect() };
        let groups = [0, 1, 99, 100, 200].map(peaks);
        assert_eq!(percentiles(&groups), (vec![0, 1, 99, 99, 198], 3));
        assert_eq!(percentiles(&[vec![1; 7], vec![]]), (vec![1, 0], 1));
        assert_eq!(percentiles(&[vec![127]]), (vec![127], 2));
        assert_eq!(percentiles(&[vec![8191]]), (vec![8191], 3));
        let highest = [0x8000_0000, u32::MAX - 1, u32::MAX, 3];
        for peak in highest {
            assert_eq!(percentiles(&[vec![peak], vec![1]]).0, [peak, 1]);
        }
        assert_eq!(percentiles(&[highest.to_vec()]), (vec![u32::MAX], 7));
    }

    #[test]
    fn percentiles_are_those_of_sorted_peaks() {
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..200 {
            let groups: Vec<Vec<u32>> = (0..3)
                .map(|_| {
                    let bits = random.random_range(0..32);
                    let count = random.random_range(0..300);
                    let peak = |_| (random.random::<u32>() >> bits).max(1);
                    (0..count).map(peak).collect()
                })
                .collect();
            let of_sorted = |peaks: &Vec<u32>| {
                let mut sorted = peaks.clone();
                sorted.sort();
                let rank = (sorted.len() * 99).div_ceil(100);
                rank.checked_sub(1).map_or(0, |at| sorted[at])
            };
            let expected: Vec<u32> = groups.iter().map(of_sorted).collect();
            assert_eq!(percentiles(&groups).0, expected);
        }
    }

    /// Sources are replaced between two walks.
    #[test]
    fn percentiles_of_fewer_peaks_than_before() {
        let mut percentiles = Percentiles::new(1).unwrap();
        for peak in 64..128 {
            percentiles.count(0, peak);
        }
        assert!(percentiles.narrow());
        percentiles.count(0, 70);
        assert!(!percentiles.narrow());
        assert_eq!(percentiles.found().collect::<Vec<_>>(), [70]);
        let mut percentiles = Percentiles::new(1).unwrap();
        percentiles.count(0, 70);
        assert!(percentiles.narrow());
        assert!(!percentiles.narrow());
        assert_eq!(percentiles.found().collect::<Vec<_>>(), [64]);
    }

    #[test]
    fn the_highest_come_first() {
        assert_eq!(highest(2, [3, 9, 1, 7].into_iter()).unwrap(), [9, 7]);
        assert_eq!(highest(9, [3, 9].into_iter()).unwrap(), [9, 3]);
        assert!(highest(0, [3, 9].into_iter()).unwrap().is_empty());
    }
}
