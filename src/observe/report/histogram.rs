// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Histogram`]: how many sources have which peak.

#![forbid(unsafe_code)]

use core::fmt;

use crate::shared::layout::HISTOGRAM_RANGES;
use crate::shared::sync::{Ordering, Statistic32};

/// The numbers of sources by peak. Ranges end at powers of two: 1, 2, 3 to 4, 5 to 8 and so
/// on. The last one has no end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    sources: [u32; RANGES],
}

/// 1, 2, 3 to 4, …, 32,769 to 65,536, and above. A limit has that many candidates, each a
/// power of two; a higher one matters to few servers.
const RANGES: usize = HISTOGRAM_RANGES;

impl Histogram {
    /// Counts a source with this peak, which is at least 1.
    pub(crate) fn count(&mut self, peak: u32) {
        // 0 for 1, 1 for 2, 2 for 3 and 4, and so on.
        let range = (u32::BITS - peak.saturating_sub(1).leading_zeros()) as usize;
        let sources = &mut self.sources[range.min(RANGES - 1)];
        // Saturates only in damaged memory.
        *sources = sources.saturating_add(1);
    }

    /// Stores it in shared memory.
    pub(crate) fn store(&self, numbers: &[Statistic32; HISTOGRAM_RANGES]) {
        for (to, sources) in numbers.iter().zip(self.sources) {
            // Relaxed (statistics), here and below.
            to.store(sources, Ordering::Relaxed);
        }
    }

    /// Reads what [`store`](Self::store) stored.
    pub(crate) fn load(numbers: &[Statistic32; HISTOGRAM_RANGES]) -> Histogram {
        let sources = core::array::from_fn(|range| numbers[range].load(Ordering::Relaxed));
        Histogram { sources }
    }

    /// The end of the first range up to which there are `percent` percent of the sources;
    /// `None` without sources. The last range has no end, and returns the highest number.
    pub(crate) fn percentile(&self, percent: u32) -> Option<u32> {
        let wanted = (self.sources() * u64::from(percent)).div_ceil(100);
        let mut up_to = 0;
        for (range, sources) in self.used() {
            up_to += sources;
            if up_to >= wanted && up_to > 0 {
                return Some(match range {
                    _ if range == RANGES - 1 => u32::MAX,
                    _ => 1 << range,
                });
            }
        }
        None
    }

    /// The number of sources.
    pub fn sources(&self) -> u64 {
        self.sources.iter().copied().map(u64::from).sum()
    }

    /// The ranges from that of peak 1 to the highest one with sources.
    fn used(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let last = self.sources.iter().rposition(|sources| *sources > 0);
        let used = last.map_or(0, |last| last + 1);
        let sources = self.sources.iter().copied().map(u64::from);
        sources.enumerate().take(used)
    }

    /// The number of sources in each range, such as `1: 120, 2: 30, 3-4: 7`, up to the
    /// highest one with sources; empty if there are no sources.
    pub fn by_peak(&self) -> impl fmt::Display + '_ {
        ByPeak(self)
    }

    /// The share of sources that each limit would have hit, that is with a higher peak: the
    /// powers of two up to the first one that hits no source, such as `1: 23.57 %, 2: 4.46 %,
    /// 4: 0 %`; empty if there are no sources.
    pub fn hit_by_limit(&self) -> impl fmt::Display + '_ {
        HitByLimit(self)
    }
}

struct ByPeak<'a>(&'a Histogram);

impl fmt::Display for ByPeak<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (range, sources) in self.0.used() {
            let high = 1u64 << range;
            match range {
                0 => write!(f, "1: {sources}")?,
                1 => write!(f, ", 2: {sources}")?,
                _ if range == RANGES - 1 => write!(f, ", above {}: {sources}", high / 2)?,
                _ => write!(f, ", {}-{high}: {sources}", high / 2 + 1)?,
            }
        }
        Ok(())
    }
}

struct HitByLimit<'a>(&'a Histogram);

impl fmt::Display for HitByLimit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.0.sources();
        let mut above = all;
        for (range, sources) in self.0.used() {
            if range == RANGES - 1 {
                break; // This range has no end, so no limit admits all of it.
            }
            above -= sources;
            let separator = if range == 0 { "" } else { ", " };
            write!(f, "{separator}{}: {}", 1u64 << range, Share(above, all))?;
        }
        Ok(())
    }
}

/// A share in percent, with two digits after the point. A share that is not 0 is shown as
/// at least 0.01.
struct Share(u64, u64);

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Share(part, all) = *self;
        if part == 0 {
            return f.write_str("0 %");
        }
        let hundredths = (part * 10_000 / all.max(1)).max(1);
        write!(f, "{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_the_end_of_a_range() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        for owed in [1, 1, 1, 1, 1, 2, 3, 4, 5, 8] {
            histogram.count(owed);
        }
        let found = [1, 50, 51, 60, 61, 80, 81, 100].map(|percent| histogram.percentile(percent));
        assert_eq!(found, [1, 1, 2, 2, 4, 4, 8, 8].map(Some));
        let memory = [const { Statistic32::new(0) }; HISTOGRAM_RANGES];
        histogram.store(&memory);
        assert_eq!(Histogram::load(&memory), histogram);
        histogram.count(u32::MAX);
        assert_eq!(histogram.percentile(100), Some(u32::MAX));
    }

    fn of(peaks: &[u32]) -> Histogram {
        let mut histogram = Histogram::default();
        peaks.iter().for_each(|peak| histogram.count(*peak));
        histogram
    }

    fn texts(histogram: &Histogram) -> (String, String) {
        let (by_peak, hit) = (histogram.by_peak(), histogram.hit_by_limit());
        (by_peak.to_string(), hit.to_string())
    }

    #[test]
    fn ranges_end_at_powers_of_two() {
        let peaks = [1, 1, 2, 3, 4, 5, 8, 9];
        let (by_peak, hit) = texts(&of(&peaks));
        assert_eq!(by_peak, "1: 2, 2: 1, 3-4: 2, 5-8: 2, 9-16: 1");
        assert_eq!(
            hit,
            "1: 75.00 %, 2: 62.50 %, 4: 37.50 %, 8: 12.50 %, 16: 0 %"
        );
        let (by_peak, hit) = texts(&of(&[4]));
        assert_eq!(by_peak, "1: 0, 2: 0, 3-4: 1");
        assert_eq!(hit, "1: 100.00 %, 2: 100.00 %, 4: 0 %");
        assert_eq!(texts(&of(&[])), (String::new(), String::new()));
    }

    #[test]
    fn highest_peaks_are_in_a_range_without_an_end() {
        let (by_peak, hit) = texts(&of(&[65_536, 65_537, u32::MAX]));
        assert!(
            by_peak.ends_with(", 32769-65536: 1, above 65536: 2"),
            "{by_peak}"
        );
        assert!(hit.ends_with(", 32768: 100.00 %, 65536: 66.66 %"), "{hit}");
    }

    #[test]
    fn small_share_is_not_shown_as_zero() {
        let mut histogram = of(&[2]);
        histogram.sources[0] = 1_000_000;
        assert_eq!(texts(&histogram).1, "1: 0.01 %, 2: 0 %");
    }

    /// Each limit hits the sources with a higher peak, counted one by one.
    #[test]
    fn shares_agree_with_a_count_of_the_sources() {
        let peaks: Vec<u32> = (1..=1000).map(|n| n * n % 257 + 1).collect();
        let (_, hit) = texts(&of(&peaks));
        for part in hit.split(", ") {
            let (limit, share) = part.split_once(": ").unwrap();
            let limit: u32 = limit.parse().unwrap();
            let above = peaks.iter().filter(|peak| **peak > limit).count() as u64;
            assert_eq!(share, Share(above, 1000).to_string(), "{limit}");
        }
    }

    /// The texts fit the buffers of the C ABI, whatever the numbers are.
    #[test]
    fn longest_texts_fit() {
        let histogram = Histogram {
            sources: [u32::MAX; RANGES],
        };
        let (by_peak, hit) = texts(&histogram);
        assert!(by_peak.len() < 512, "{}", by_peak.len());
        assert!(hit.len() < 512, "{}", hit.len());
    }
}
