// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Terms`]: what a source may do, by its rule or by default.

#![forbid(unsafe_code)]

use super::listener::ListenerName;

/// How fast a source may open connections: [`burst`](Self::burst) at once if it was quiet
/// long enough, then one in each interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds for each connection, rounded up, so that no source is faster than the
    /// rate that was written; 0: no rate. At most an hour.
    pub interval_us: u32,
    /// Connections that a quiet source may open at once, at least 1. Without a rate it has
    /// no meaning.
    pub burst: u32,
}

impl Rate {
    /// No rate: a source may open connections as fast as it can.
    pub const NONE: Rate = Rate {
        interval_us: 0,
        burst: 1,
    };

    /// The highest rate, in connections a second.
    pub const MAX_PER_SECOND: u32 = 10_000;

    /// The interval of the highest rate, in microseconds.
    pub const MIN_INTERVAL_US: u32 = 1_000_000 / Self::MAX_PER_SECOND;

    /// The largest burst.
    pub const MAX_BURST: u32 = 1_000_000;

    /// A source that has used up its burst has all of it back after at most this time, three
    /// days, in microseconds. It bounds the burst of slow rates, so that the times of a
    /// source fit their words in shared memory.
    pub const MAX_REFILL_US: u64 = 3 * 24 * 3600 * 1_000_000;

    /// The smallest burst that a rate has if none is given.
    pub const MIN_DEFAULT_BURST: u32 = 5;

    /// A rate whose burst is not given: the connections of one second, rounded up, and at
    /// least [`MIN_DEFAULT_BURST`](Self::MIN_DEFAULT_BURST).
    pub fn with_default_burst(interval_us: u32) -> Rate {
        let second = match interval_us {
            0 => return Rate::NONE,
            interval => 1_000_000u32.div_ceil(interval),
        };
        Rate {
            interval_us,
            burst: second.max(Self::MIN_DEFAULT_BURST),
        }
    }

    /// The largest burst with this interval, at least 72.
    pub fn max_burst(interval_us: u32) -> u32 {
        let refill = Self::MAX_REFILL_US / u64::from(interval_us.max(1));
        u32::try_from(refill).map_or(Self::MAX_BURST, |burst| burst.min(Self::MAX_BURST))
    }

    /// The most microseconds that a source may owe so that it may open another connection.
    pub fn tolerance_us(self) -> u64 {
        u64::from(self.interval_us) * u64::from(self.burst.saturating_sub(1))
    }

    /// How many connections of its burst a source that owes this much has used up, rounded
    /// up; 0 without a rate.
    pub fn owed(self, owed_us: u64) -> u32 {
        match self.interval_us {
            0 => 0,
            interval => u32::try_from(owed_us.div_ceil(interval.into())).unwrap_or(u32::MAX),
        }
    }

    /// Whether there is no rate.
    pub fn is_none(self) -> bool {
        self.interval_us == 0
    }
}

/// The rate of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleRate {
    /// The rule does not mention the rate: the default rate applies, with its burst.
    Default,
    /// The rule has only `burst=`: the default rate applies with this burst, at least 1, or
    /// with its largest one if that is less. If there is no default rate, there is no rate.
    DefaultWithBurst(u32),
    /// The rule has `rate=`. With `rate=none` this is [`Rate::NONE`]: the default rate does
    /// not apply.
    Own(Rate),
}

impl RuleRate {
    /// The rate that applies if `default` is the rate of sources without a rule.
    pub fn or_default(self, default: Rate) -> Rate {
        match self {
            RuleRate::Default => default,
            RuleRate::DefaultWithBurst(burst) => Rate {
                burst: burst.min(Rate::max_burst(default.interval_us)),
                ..default
            },
            RuleRate::Own(rate) => rate,
        }
    }
}

/// What a source may do, by its rule or by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The largest number of connections of each source; 0 or less: unlimited.
    pub limit: i32,
    /// The rate of each source.
    pub rate: RuleRate,
    /// Offences are not charged to its sources, and no ban applies to them. True for a rule
    /// with `exempt` or without a limit; false for sources without a rule.
    pub exempt: bool,
    /// A command banned the prefix of the rule, or a prefix that contains it. Never true if
    /// `exempt` is.
    pub banned: bool,
    /// The rule is only for connections of this listener; `None`: for all.
    pub listener: Option<ListenerName>,
    /// The largest number of untrusted connections of each source, at most `i32::MAX`; 0:
    /// unlimited; `None`: the rule does not mention it.
    pub untrusted: Option<u32>,
    /// Connections of its sources are trusted from the start. They may use the reserve, and
    /// pressure does not lower their limit.
    pub trusted: bool,
    /// Its connections do not count in the network of the source, whose limit and rate do
    /// not apply to them. This is also so if they are trusted.
    pub no_network: bool,
    /// Its sources are proxies: the script may say for whom a connection from them is.
    pub proxy: bool,
    /// The largest number of connections of each source on all nodes of the cluster, at most
    /// `i32::MAX`; 0: unlimited; `None`: the rule does not mention it.
    pub cluster: Option<u32>,
}

impl Terms {
    /// The terms of a source without a rule, if this is the default limit.
    pub const fn of_default(limit: i32) -> Terms {
        Terms {
            limit,
            rate: RuleRate::Default,
            exempt: false,
            banned: false,
            listener: None,
            untrusted: None,
            trusted: false,
            no_network: false,
            proxy: false,
            cluster: None,
        }
    }

    /// The terms of the rule `PREFIX = LIMIT` without further words.
    pub const fn of_limit(limit: i32) -> Terms {
        Terms {
            exempt: limit <= 0,
            ..Terms::of_default(limit)
        }
    }

    /// Whether the kernel must never drop the connection attempts of its sources.
    pub fn is_spared(&self) -> bool {
        self.exempt || self.trusted
    }

    /// Whether its connections count in the network of the source.
    pub fn count_in_network(&self) -> bool {
        !self.no_network && !self.trusted
    }

    /// The limit over all nodes of the cluster if `default` is that of sources without a
    /// rule; 0: unlimited. The limit does not apply to a trusted rule, or to an unlimited one that
    /// does not mention it.
    pub fn cluster_limit(&self, default: u32) -> u32 {
        let is_unlimited = self.exempt && self.limit <= 0;
        match self.cluster {
            _ if self.trusted => 0,
            Some(limit) => limit,
            None if is_unlimited => 0,
            None => default,
        }
    }

    /// The limit of untrusted connections if `default` is that of sources without a rule; 0:
    /// unlimited. The limit does not apply to a trusted rule, or to an unlimited one that does not
    /// mention it.
    pub fn untrusted_limit(&self, default: u32) -> u32 {
        let is_unlimited = self.exempt && self.limit <= 0;
        match self.untrusted {
            _ if self.trusted => 0,
            Some(limit) => limit,
            None if is_unlimited => 0,
            None => default,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_burst_is_one_second_and_at_least_five() {
        for (interval_us, burst) in [
            (100, 10_000),
            (101, 9901),
            (100_000, 10),
            (142_858, 7),
            (200_000, 5),
            (1_000_000, 5),
            (3_600_000_000, 5),
        ] {
            let rate = Rate::with_default_burst(interval_us);
            assert_eq!(rate, Rate { interval_us, burst });
            assert!(!rate.is_none());
        }
        assert_eq!(Rate::with_default_burst(0), Rate::NONE);
        assert!(Rate::NONE.is_none());
    }

    #[test]
    fn burst_is_back_within_three_days() {
        for (interval_us, burst) in [
            (3_600_000_000, 72),
            (60_000_000, 4320),
            (259_200, 1_000_000),
            (259_201, 999_996),
            (100, 1_000_000),
            (0, 1_000_000),
        ] {
            assert_eq!(Rate::max_burst(interval_us), burst);
        }
    }

    #[test]
    fn rule_without_a_rate_has_the_default_rate() {
        let default = Rate {
            interval_us: 100_000,
            burst: 10,
        };
        let own = Rate {
            interval_us: 500,
            burst: 7,
        };
        assert_eq!(RuleRate::Default.or_default(default), default);
        let burst = RuleRate::DefaultWithBurst(100);
        assert_eq!(
            burst.or_default(default),
            Rate {
                burst: 100,
                ..default
            }
        );
        assert!(burst.or_default(Rate::NONE).is_none());
        let hourly = Rate::with_default_burst(3_600_000_000);
        assert_eq!(burst.or_default(hourly).burst, 72);
        assert_eq!(RuleRate::Own(own).or_default(default), own);
        assert!(RuleRate::Own(Rate::NONE).or_default(default).is_none());
    }

    #[test]
    fn untrusted_limit_is_that_of_the_rule_or_the_default() {
        let own = |limit, untrusted| Terms {
            untrusted,
            ..Terms::of_limit(limit)
        };
        for (terms, expected) in [
            (Terms::of_default(0), 20),
            (Terms::of_default(100), 20),
            (own(100, None), 20),
            (own(100, Some(5)), 5),
            (own(100, Some(0)), 0),
            (own(0, None), 0),
            (own(0, Some(5)), 5),
        ] {
            assert_eq!(terms.untrusted_limit(20), expected, "{terms:?}");
            let trusted = Terms {
                trusted: true,
                ..terms
            };
            assert_eq!(trusted.untrusted_limit(20), 0);
        }
    }

    #[test]
    fn only_unlimited_rules_are_exempt_by_themselves() {
        assert!(Terms::of_limit(0).exempt);
        assert!(!Terms::of_limit(1).exempt);
        assert!(!Terms::of_default(0).exempt);
    }
}
