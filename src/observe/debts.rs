// SPDX-License-Identifier: GPL-2.0-or-later
//! `Debts`: how much of their bursts sources or networks use, and [`RateSuggestion`]: a rate
//! and a burst that would fit them.
//!
//! The background process remembers the largest debt that it sampled of each source with the
//! default rate, in connections, and publishes how many sources have which. Networks have
//! numbers of their own. A source that
//! opens and pays for its connections between two samples may owe more than is seen.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use crate::limiter::Limiter;
use crate::observe::report::{Histogram, Of, Report, SourceReport, percent_of};
use crate::policy::terms::{Rate, RuleRate};
use crate::shared::layout::HISTOGRAM_RANGES;
use crate::shared::sync::Statistic32;
use crate::source::Source;

/// The most sources whose debts are remembered. Further ones do not count.
const MAX_KNOWN: usize = 65_536;

/// The largest debts that were sampled.
#[derive(Default)]
pub(super) struct Debts {
    /// The rate with which they were computed.
    rate: Option<Rate>,
    largest: HashMap<Source, u32>,
}

impl Debts {
    /// Notes what a source or network owes.
    pub(super) fn add(&mut self, limiter: &Limiter, report: &SourceReport) {
        let rate = limiter.default_rate(report.source);
        if self.rate != Some(rate) {
            // Numbers of another rate say nothing about this one.
            self.rate = Some(rate);
            self.largest.clear();
        }
        let owed = rate.owed(report.owed_us);
        let (_, terms) = Report::of(limiter).terms_of(report.source, None);
        if owed == 0 || terms.rate != RuleRate::Default {
            return;
        }
        if let Some(largest) = self.largest.get_mut(&report.source) {
            *largest = owed.max(*largest);
        } else if self.largest.len() < MAX_KNOWN && self.largest.try_reserve(1).is_ok() {
            self.largest.insert(report.source, owed);
        }
    }

    /// Stores them for [`RateSuggestion`].
    pub(super) fn publish(&self, limiter: &Limiter, of: Of) {
        let mut histogram = Histogram::default();
        for owed in self.largest.values() {
            histogram.count(*owed);
        }
        histogram.store(numbers(limiter, of));
    }
}

/// How many have which debt, in shared memory.
fn numbers(limiter: &Limiter, of: Of) -> &[Statistic32; HISTOGRAM_RANGES] {
    match of {
        Of::Sources => limiter.debts(),
        Of::Networks => limiter.network_settings().debts(),
    }
}

/// A rate and a burst proposed for the sources or networks without a rate of their own, from
/// the largest debts that were sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateSuggestion {
    /// The rate that they have.
    pub current: Rate,
    /// Sources of which a debt was sampled.
    pub sources: u64,
    /// How many sources used which part of the burst, in connections.
    pub histogram: Histogram,
    /// 99 if there are 100 sources or more, 90 if there are 10 or more, else 50.
    pub percentile: u32,
    /// This percentage of the sources used no more of the burst: the end of a range of the
    /// histogram, at most the burst.
    pub usual: u32,
    /// One and a half times `usual`, at least 5. If `usual` is the whole burst, the rate is
    /// too low: twice the rate and twice the burst. As it is without sources.
    pub proposed: Rate,
}

impl RateSuggestion {
    /// The proposal for the sources of `limiter`.
    pub fn of(limiter: &Limiter) -> RateSuggestion {
        RateSuggestion::for_all(limiter, Of::Sources)
    }

    /// The proposal for its networks.
    pub fn of_networks(limiter: &Limiter) -> RateSuggestion {
        RateSuggestion::for_all(limiter, Of::Networks)
    }

    fn for_all(limiter: &Limiter, of: Of) -> RateSuggestion {
        let current = match of {
            Of::Sources => limiter.rate(),
            Of::Networks => limiter.network_rate(),
        };
        let histogram = Histogram::load(numbers(limiter, of));
        let sources = histogram.sources();
        let percentile = percent_of(sources);
        let usual = match histogram.percentile(percentile) {
            Some(usual) if !current.is_none() => usual.min(current.burst),
            _ => 0,
        };
        RateSuggestion {
            current,
            sources,
            histogram,
            percentile,
            usual,
            proposed: propose(current, usual),
        }
    }
}

fn propose(current: Rate, usual: u32) -> Rate {
    if current.is_none() || usual == 0 {
        return current;
    }
    let (interval_us, burst) = if usual >= current.burst {
        let interval = current.interval_us.div_ceil(2).max(Rate::MIN_INTERVAL_US);
        (interval, current.burst.saturating_mul(2))
    } else {
        (current.interval_us, usual.saturating_mul(3).div_ceil(2))
    };
    let burst = burst.max(Rate::MIN_DEFAULT_BURST);
    Rate {
        interval_us,
        burst: burst.min(Rate::max_burst(interval_us)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposal_leaves_room_above_the_usual_debt() {
        let rate = |interval_us, burst| Rate { interval_us, burst };
        for (current, usual, proposed) in [
            (Rate::NONE, 0, Rate::NONE),
            (rate(100_000, 20), 0, rate(100_000, 20)),
            (rate(100_000, 20), 2, rate(100_000, 5)),
            (rate(100_000, 20), 8, rate(100_000, 12)),
            (rate(100_000, 20), 19, rate(100_000, 29)),
            (rate(100_000, 20), 20, rate(50_000, 40)),
            (rate(100, 20), 20, rate(100, 40)),
            (rate(3_600_000_000, 72), 71, rate(3_600_000_000, 72)),
        ] {
            assert_eq!(propose(current, usual), proposed, "{current:?} {usual}");
        }
    }
}
