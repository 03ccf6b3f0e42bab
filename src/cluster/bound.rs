// SPDX-License-Identifier: GPL-2.0-or-later
//! What a node may leave unreported, and how far over its limit a source can get because of
//! that and of the time that messages take.

#![forbid(unsafe_code)]

/// From how many connections on a node reports a source: θ = ⌊ε·L/(N−1)⌋ + 1, where ε is
/// `hidden_percent` / 100, L the limit of the source and N the number of `nodes`.
///
/// All other nodes together then hide at most (N−1)·(θ−1) ≤ ε·L connections.
#[inline]
pub fn threshold(limit: u32, nodes: u32, hidden_percent: u32) -> u32 {
    let others = u64::from(nodes).saturating_sub(1).max(1);
    let hidden = u64::from(limit) * u64::from(hidden_percent.min(100)) / (100 * others);
    u32::try_from(hidden + 1).unwrap_or(u32::MAX)
}

/// A growth of more connections than this, since the last report of the source, is reported
/// at once: max(1, L/4N).
#[inline]
pub fn eager_growth(limit: u32, nodes: u32) -> u32 {
    let parts = u64::from(nodes.max(1)) * 4;
    u32::try_from(u64::from(limit) / parts).map_or(u32::MAX, |growth| growth.max(1))
}

/// What a source can do, and how long reports take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// B: how many connections it can open at once on a node.
    pub burst: u64,
    /// R: how many it can open on a node in a second after that.
    pub per_second: u64,
    /// D: the longest time from a change on one node until another node has it, in ms. It is
    /// the interval, the time between two ticks and the time that a message takes; and one
    /// interval more for each message that may be lost.
    pub staleness_ms: u64,
}

/// The most connections that a source can have on all nodes together:
/// L + (N−1)·\[min(L, B + R·D) + θ − 1\].
pub fn total(limit: u32, nodes: u32, hidden_percent: u32, growth: Growth) -> u64 {
    let grown = growth.per_second.saturating_mul(growth.staleness_ms);
    let unseen = growth.burst.saturating_add(grown.div_ceil(1000));
    let hidden = u64::from(threshold(limit, nodes, hidden_percent) - 1);
    let others = u64::from(nodes).saturating_sub(1);
    let surplus = unseen.min(limit.into()).saturating_add(hidden);
    u64::from(limit).saturating_add(others.saturating_mul(surplus))
}

/// What a node may add to a source that has `known` connections in all, by what it knows:
/// ⌈(L − known)/N⌉.
#[inline]
pub fn strict_share(limit: u32, known: u32, nodes: u32) -> u32 {
    limit.saturating_sub(known).div_ceil(nodes.max(1))
}

/// The most connections that a source can have on all nodes together in strict mode:
/// L + N + (N−1)·(θ−1).
pub fn strict_total(limit: u32, nodes: u32, hidden_percent: u32) -> u64 {
    let hidden = u64::from(threshold(limit, nodes, hidden_percent) - 1);
    let others = u64::from(nodes).saturating_sub(1);
    u64::from(limit) + u64::from(nodes) + others * hidden
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_hide_at_most_the_given_part() {
        // Nodes, limit, percent, threshold.
        let cases = [
            (3, 100, 10, 6),
            (10, 100, 10, 2),
            (10, 1024, 10, 12),
            (100, 1024, 20, 3),
            (100, 100, 20, 1),
            (2, 10, 10, 2),
            (1, 100, 10, 11),
            (0, 0, 0, 1),
            (2, u32::MAX, 1000, u32::MAX),
        ];
        for (nodes, limit, percent, expected) in cases {
            assert_eq!(
                threshold(limit, nodes, percent),
                expected,
                "{nodes} {limit}"
            );
        }
        for nodes in 2..60 {
            for limit in 0..500 {
                for percent in [0, 1, 10, 50, 100] {
                    let hidden = (nodes - 1) * (threshold(limit, nodes, percent) - 1);
                    assert!(hidden * 100 <= limit * percent);
                }
            }
        }
    }

    #[test]
    fn totals_are_those_of_the_documentation() {
        // Nodes, limit, percent, rate, burst, staleness, total.
        let cases = [
            (10, 100, 10, 10, 20, 1200, 397),
            (10, 100, 10, 10, 5, 200, 172),
            (3, 100, 10, 10, 20, 1200, 174),
            (10, 1024, 10, 10, 20, 1200, 1411),
            (100, 1024, 20, 10, 20, 1200, 4390),
            // A source without a rate: each node alone, and what is hidden.
            (3, 100, 10, u64::MAX, u64::MAX, 1200, 310),
            (1, 100, 10, 10, 20, 1200, 100),
        ];
        for (nodes, limit, percent, per_second, burst, staleness_ms, expected) in cases {
            let growth = Growth {
                burst,
                per_second,
                staleness_ms,
            };
            assert_eq!(total(limit, nodes, percent, growth), expected);
        }
        assert_eq!(strict_total(100, 10, 10), 119);
    }

    #[test]
    fn shares_do_not_overflow() {
        assert_eq!(strict_share(100, 0, 3), 34);
        assert_eq!(strict_share(100, 99, 3), 1);
        assert_eq!(strict_share(100, 100, 3), 0);
        assert_eq!(strict_share(100, u32::MAX, 0), 0);
        assert_eq!(eager_growth(100, 3), 8);
        assert_eq!(eager_growth(1, 100), 1);
        assert_eq!(eager_growth(u32::MAX, 0), u32::MAX / 4);
    }
}
