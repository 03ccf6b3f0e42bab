// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Percentiles`]: a percentile of the peaks of each group by nearest rank, that is the
//! lowest peak that this share of the peaks do not exceed. Which one depends on the number
//! of peaks, see [`percent_of`].
//!
//! The peaks are counted several times, each time in narrower ranges within the range that
//! contains the percentile. So the result is exact for any peaks, and the memory does not
//! depend on the number of peaks.

#![forbid(unsafe_code)]

use std::collections::TryReserveError;

/// Which percentile a group of `peaks` peaks has: the 99th. In a small group it would be
/// the highest peak, which may be the one of an attacker. So a group of fewer than 100 has
/// the 90th, and one of fewer than 10 the median.
pub(crate) fn percent_of(peaks: u64) -> u32 {
    match peaks {
        0..10 => 50,
        10..100 => 90,
        _ => 99,
    }
}

/// The percentiles of the peaks of several groups.
pub(super) struct Percentiles {
    groups: Vec<Narrowed>,
    /// The counts of each group's ranges.
    counts: Vec<[u32; RANGES]>,
}

/// The number of ranges in which the peaks of a group are counted at a time.
const RANGES: usize = 64;

/// The range that contains the percentile of a group.
#[derive(Clone, Copy)]
enum Narrowed {
    /// Any number. Peaks are counted by their number of bits.
    Not,
    /// The 2^`bits` numbers from `low` on. The percentile is the peak of rank `rank`,
    /// counted from 1, among those in this range.
    To { low: u32, bits: u32, rank: u64 },
}

impl Narrowed {
    /// The narrower range that contains `peak`; `None` if `peak` is outside of this range.
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

    /// The bits of each range into which a range of `bits` bits is divided.
    fn bits_after(bits: u32) -> u32 {
        bits.saturating_sub(RANGES.ilog2())
    }

    /// The narrower range number `range`, with the rank in it.
    fn narrowed(self, range: usize, rank: u64) -> Narrowed {
        let range = range as u32;
        match self {
            // The ranges are 0, 1, 2 to 3, 4 to 7 and so on.
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
    /// For `groups` groups, whose peaks must be counted next.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub(super) fn new(groups: usize) -> Result<Percentiles, TryReserveError> {
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

    /// Counts a peak of `group`.
    pub(super) fn count(&mut self, group: usize, peak: u32) {
        if let Some(range) = self.groups[group].range_of(peak) {
            // Cannot overflow, because there are fewer slots than 2^32.
            self.counts[group][range] += 1;
        }
    }

    /// Narrows the ranges of all groups. Returns whether the peaks must be counted again.
    pub(super) fn narrow(&mut self) -> bool {
        let mut again = false;
        for (group, counts) in self.groups.iter_mut().zip(&mut self.counts) {
            let sum: u64 = counts.iter().copied().map(u64::from).sum();
            let rank = match *group {
                Narrowed::Not => (sum * u64::from(percent_of(sum))).div_ceil(100),
                // Fewer peaks than before if sources were replaced meanwhile.
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

    /// The percentile of each group; 0 for a group without peaks.
    pub(super) fn found(&self) -> impl Iterator<Item = u32> + '_ {
        self.groups.iter().map(|group| match *group {
            Narrowed::Not => 0,
            Narrowed::To { low, .. } => low,
        })
    }
}

/// The range that contains the peak of rank `rank`, and its rank in that range. `None` if
/// there are fewer peaks, or if `rank` is 0.
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
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// The percentiles of groups of peaks, and how often the peaks were counted.
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
    fn percentile_is_the_nearest_rank() {
        let peaks = |n: u32| -> Vec<u32> { (1..=n).collect() };
        let groups = [0, 1, 2, 3, 9, 10, 99, 100, 200].map(peaks);
        let expected = vec![0, 1, 1, 2, 5, 9, 90, 99, 198];
        assert_eq!(percentiles(&groups), (expected, 3));
        assert_eq!(percentiles(&[vec![1; 7], vec![]]), (vec![1, 0], 1));
        assert_eq!(percentiles(&[vec![127]]), (vec![127], 2));
        assert_eq!(percentiles(&[vec![8191]]), (vec![8191], 3));
        let highest = [0x8000_0000, u32::MAX - 1, u32::MAX, 3];
        for peak in highest {
            assert_eq!(percentiles(&[vec![peak], vec![1]]).0, [peak, 1]);
        }
        let many = vec![u32::MAX; 100];
        assert_eq!(percentiles(&[many]), (vec![u32::MAX], 7));
    }

    #[test]
    fn percentiles_match_sorted_peaks() {
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
                let percent = match sorted.len() {
                    ..10 => 50,
                    10..100 => 90,
                    _ => 99,
                };
                let rank = (sorted.len() * percent).div_ceil(100);
                rank.checked_sub(1).map_or(0, |at| sorted[at])
            };
            let expected: Vec<u32> = groups.iter().map(of_sorted).collect();
            assert_eq!(percentiles(&groups).0, expected);
        }
    }

    /// Sources are replaced between two walks.
    #[test]
    fn fewer_peaks_than_before_have_a_percentile() {
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
}
