// SPDX-License-Identifier: GPL-2.0-or-later
//! The audit: each node sends, once a cycle, the sums of what it reported, by ranges of
//! sources. The receivers compare them with what arrived.

#![forbid(unsafe_code)]

use super::hash::{RANGES, range};
use super::message::Reader;
use super::report::AuditReport;
use crate::source::Source;

/// The sums of each range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RangeSums {
    connections: [u32; RANGES],
    /// The number of sources, modulo 2¹⁶.
    sources: [u16; RANGES],
}

impl RangeSums {
    /// The sums of these counts, of which those of 0 are ignored.
    pub(super) fn of(counts: impl Iterator<Item = (Source, u32)>) -> RangeSums {
        let mut sums = RangeSums {
            connections: [0; RANGES],
            sources: [0; RANGES],
        };
        for (source, count) in counts.filter(|(_, count)| *count > 0) {
            let range = range(source);
            sums.connections[range] = sums.connections[range].wrapping_add(count);
            sums.sources[range] = sums.sources[range].wrapping_add(1);
        }
        sums
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for (connections, sources) in self.connections.iter().zip(self.sources) {
            out.extend(connections.to_be_bytes());
            out.extend(sources.to_be_bytes());
        }
    }

    pub(super) fn read(mut reader: Reader<'_>) -> Option<RangeSums> {
        let mut sums = RangeSums {
            connections: [0; RANGES],
            sources: [0; RANGES],
        };
        for range in 0..RANGES {
            sums.connections[range] = u32::from_be_bytes(reader.array()?);
            sums.sources[range] = u16::from_be_bytes(reader.array()?);
        }
        reader.0.is_empty().then_some(sums)
    }

    fn total(&self) -> u64 {
        self.connections.iter().map(|sum| u64::from(*sum)).sum()
    }
}

/// The last comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Audit {
    at: u64,
    differing: u64,
    lasting: u64,
    reported: u64,
    arrived: u64,
}

impl Audit {
    pub(super) fn compare(
        now: u64,
        reported: &RangeSums,
        arrived: &RangeSums,
        last: Option<Audit>,
    ) -> Audit {
        let mut differing = 0;
        for range in 0..RANGES {
            let same = reported.connections[range] == arrived.connections[range]
                && reported.sources[range] == arrived.sources[range];
            differing |= u64::from(!same) << range;
        }
        Audit {
            at: now,
            differing,
            lasting: differing & last.map_or(0, |audit| audit.differing),
            reported: reported.total(),
            arrived: arrived.total(),
        }
    }

    pub(super) fn report(self, now: u64) -> AuditReport {
        AuditReport {
            age_ms: now.saturating_sub(self.at),
            differing: self.differing,
            lasting: self.lasting,
            reported: self.reported,
            arrived: self.arrived,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PrefixLengths;

    fn counts(first: u32) -> impl Iterator<Item = (Source, u32)> {
        (first..first + 1_000u32).map(|number| {
            let source = Source::new(&number.to_be_bytes(), PrefixLengths::DEFAULT).unwrap();
            (source, number % 7)
        })
    }

    #[test]
    fn sums_are_read_as_they_were_written() {
        let sums = RangeSums::of(counts(5));
        let mut bytes = Vec::new();
        sums.put(&mut bytes);
        assert_eq!(RangeSums::read(Reader(&bytes)), Some(sums));
        assert_eq!(RangeSums::read(Reader(&bytes[1..])), None);
        bytes.push(0);
        assert_eq!(RangeSums::read(Reader(&bytes)), None);
    }

    #[test]
    fn sources_spread_over_all_ranges() {
        let sums = RangeSums::of(counts(0xc000_0200));
        assert!(sums.sources.iter().all(|sources| (1..40).contains(sources)));
    }

    #[test]
    fn only_a_repeated_difference_lasts() {
        let (all, less) = (RangeSums::of(counts(5)), RangeSums::of(counts(5).skip(2)));
        let same = Audit::compare(10, &all, &all, None);
        assert_eq!((same.differing, same.lasting), (0, 0));
        let once = Audit::compare(20, &all, &less, Some(same));
        assert_ne!(once.differing, 0);
        assert_eq!(once.lasting, 0);
        let twice = Audit::compare(30, &all, &less, Some(once));
        assert_eq!(
            (twice.lasting, twice.report(45).age_ms),
            (once.differing, 15)
        );
        assert!(twice.reported > twice.arrived);
    }
}
