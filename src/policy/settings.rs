// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings: the limit and the rate of sources without a rule, the mode and the
//! penalties, which an operator can change while the server runs, and the policy for a full
//! table.
//!
//! Each setting is one word in shared memory. Any process may store it. A check during a
//! change uses the old value or the new one. `Switches` is the one word that every check
//! reads first: it says which other settings it needs.

#![forbid(unsafe_code)]

use crate::policy::penalties::{Cause, Penalty};
use crate::policy::terms::Rate;
use crate::shared::region::Region;
use crate::shared::sync::{AtomicU32, AtomicU64, Ordering, Statistic32, Statistic64};

/// What happens to a connection over the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is rejected.
    #[default]
    Enforce = 0,
    /// It is admitted, and counted as one that would have been rejected.
    Monitor = 1,
    /// Nothing is checked. Connections are counted, so that the limit can be
    /// enforced again at any time.
    Off = 2,
}

impl Mode {
    /// The mode with this number.
    pub fn from_number(number: i32) -> Option<Mode> {
        match number {
            0 => Some(Mode::Enforce),
            1 => Some(Mode::Monitor),
            2 => Some(Mode::Off),
            _ => None,
        }
    }
}

/// What happens to a connection that cannot be counted because the table has no slot for
/// its source or its descriptor is not tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It is admitted and not counted.
    #[default]
    Admit = 0,
    /// It is rejected.
    Reject = 1,
}

impl OnFull {
    /// The policy with this number.
    pub fn from_number(number: i32) -> Option<OnFull> {
        match number {
            0 => Some(OnFull::Admit),
            1 => Some(OnFull::Reject),
            _ => None,
        }
    }
}

/// The default limit 0 in shared memory. There, each number that means no limit is above
/// `i32::MAX`, so that [`Settings::checked_from`] needs no other case.
const ZERO: u32 = 1 << 31;
/// The mode, and what checks and counts must look at, as one word.
///
/// ```text
///   bits 0–1 mode │ 2 a default rate │ 3 a rule's rate or burst │ 4 something may be remembered
///   5 a rule's listener │ 6 trusted connections are counted │ 8 a reserve
///   9 levels of pressure │ 10 networks are counted │ 11 a default rate of networks
///   12 other nodes of a cluster count
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switches(u32);

impl Switches {
    const MODE: u32 = 0b11;
    const RATE: u32 = 0b100;
    const RULE_RATES: u32 = 0b1000;
    const MEMORY: u32 = 0b1_0000;
    const LISTENERS: u32 = 0b10_0000;
    const TRUST: u32 = 0b100_0000;
    const RESERVE: u32 = 1 << 8;
    const PRESSURE: u32 = 1 << 9;
    const CLUSTER: u32 = 1 << 12;
    const LOAD: u32 = Self::RESERVE | Self::PRESSURE;
    const RATES: u32 = Self::RATE | Self::RULE_RATES;
    /// What makes a check unusual besides rates.
    const RARE: u32 = Mode::Off as u32 | Self::LOAD | Self::NETWORKS | Self::CLUSTER;
    /// What makes a new connection unusual besides rates.
    const RARE_CONNECTS: u32 = Self::LISTENERS | Self::TRUST | Self::NETWORKS;
    pub(super) const NETWORKS: u32 = 1 << 10;
    pub(super) const NETWORK_RATE: u32 = 1 << 11;

    /// A number that is not a mode, from damaged memory, reads as the default.
    #[inline]
    pub(crate) fn mode(self) -> Mode {
        Mode::from_number((self.0 & Self::MODE) as i32).unwrap_or_default()
    }

    /// Whether the mode is [`Mode::Off`].
    #[inline]
    pub(crate) fn is_off(self) -> bool {
        self.0 & Self::MODE == Mode::Off as u32
    }

    /// Whether a network may have a rate.
    #[inline]
    pub(crate) fn has_network_rates(self) -> bool {
        self.0 & (Self::NETWORK_RATE | Self::RULE_RATES) != 0
    }

    /// Whether a source may have a rate. If none has, no connection is charged.
    #[inline]
    pub(crate) fn has_rates(self) -> bool {
        self.0 & Self::RATES != 0
    }

    /// Whether an active rule has a rate or a burst of its own, or no rate in any case.
    pub(crate) fn has_rated_rules(self) -> bool {
        self.0 & Self::RULE_RATES != 0
    }

    /// Whether a slot may remember something: once there was a rate, a penalty or a ban.
    #[inline]
    pub(crate) fn may_remember(self) -> bool {
        self.0 & Self::MEMORY != 0
    }

    /// Whether an active rule names a listener of the host.
    #[inline]
    pub(crate) fn has_listener_rules(self) -> bool {
        self.0 & Self::LISTENERS != 0
    }

    /// Whether trusted connections are counted.
    #[inline]
    pub(crate) fn has_trust(self) -> bool {
        self.0 & Self::TRUST != 0
    }

    /// Whether counting a connection has more to do: to charge it to a rate, or to look at
    /// the trusted connections of its source.
    #[inline]
    pub(crate) fn has_rates_or_trust(self) -> bool {
        self.0 & (Self::RATES | Self::TRUST) != 0
    }

    /// Whether the mode may be [`Mode::Off`], a source may have a rate, the load of the host
    /// or other nodes matter, or networks are counted. One test, so that the usual check costs
    /// nothing more.
    #[inline]
    pub(crate) fn is_unusual(self) -> bool {
        self.0 & (Self::RATES | Self::RARE) != 0
    }

    /// Whether the check is unusual because of rates only, which most servers with a rate have.
    #[inline]
    pub(crate) fn is_only_rated(self) -> bool {
        self.0 & Self::RARE == 0
    }

    /// Whether a new connection may belong to a listener with rules, be charged to a rate, be
    /// trusted, or count in a network. Also one test.
    #[inline]
    pub(crate) fn have_unusual_connects(self) -> bool {
        self.0 & (Self::RATES | Self::RARE_CONNECTS) != 0
    }

    /// Whether new connections are unusual because of rates only.
    #[inline]
    pub(crate) fn have_only_rated_connects(self) -> bool {
        self.0 & Self::RARE_CONNECTS == 0
    }

    /// Whether other nodes of a cluster count.
    #[inline]
    pub(crate) fn has_cluster(self) -> bool {
        self.0 & Self::CLUSTER != 0
    }

    /// Whether there is a reserve, or levels of pressure.
    pub(crate) fn watches_load(self) -> bool {
        self.0 & Self::LOAD != 0
    }

    /// Whether there are levels of pressure.
    pub(crate) fn has_pressure(self) -> bool {
        self.0 & Self::PRESSURE != 0
    }
}

/// The bounds of the sum of a source's penalties, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanBounds {
    /// From this sum on a source is banned.
    pub min: u32,
    /// The sum is never higher.
    pub max: u32,
}

impl Default for BanBounds {
    fn default() -> BanBounds {
        BanBounds {
            min: 15_000,
            max: 600_000,
        }
    }
}

/// The rate in a word of shared memory.
pub(super) fn rate_of(word: u64) -> Rate {
    match word as u32 {
        0 => Rate::NONE,
        interval_us => Rate {
            interval_us,
            burst: ((word >> 32) as u32).max(1),
        },
    }
}

/// The settings in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a>(&'a crate::shared::layout::Settings);

impl<'a> Settings<'a> {
    #[inline]
    pub(crate) fn of(region: &'a Region) -> Settings<'a> {
        Settings(&region.header().settings)
    }

    /// 0 or less: no limit.
    #[inline]
    pub(crate) fn limit(self) -> i32 {
        // Relaxed, here and below: each setting stands alone, and no other memory depends
        // on it.
        match self.0.limit.load(Ordering::Relaxed) {
            ZERO => 0,
            limit => limit.cast_signed(),
        }
    }

    /// Without a limit, the lowest number reads as 0.
    pub(crate) fn set_limit(self, limit: i32) {
        let limit = match limit {
            0 => ZERO,
            limit => limit.cast_unsigned(),
        };
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn switches(self) -> Switches {
        Switches(self.0.switches.load(Ordering::Relaxed))
    }

    #[inline]
    pub(crate) fn mode(self) -> Mode {
        self.switches().mode()
    }

    pub(crate) fn set_mode(self, mode: Mode) {
        self.switch(Switches::MODE, mode as u32);
    }

    /// Replaces the switches in `mask`.
    pub(super) fn switch(self, mask: u32, to: u32) {
        // Cannot fail: the closure always returns a word.
        let _ = self
            .0
            .switches
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |before| {
                Some(before & !mask | to)
            });
    }

    /// Must be called before something is remembered in a slot, so that also a source
    /// without a limit is looked up.
    pub(crate) fn expect_memory(self) {
        if self.switches().0 & Switches::MEMORY == 0 {
            self.switch(Switches::MEMORY, Switches::MEMORY);
        }
    }

    /// Says whether an active rule names a listener of the host.
    pub(crate) fn set_listener_rules(self, any: bool) {
        self.switch(Switches::LISTENERS, u32::from(any) * Switches::LISTENERS);
    }

    /// Says whether there is a reserve.
    pub(crate) fn set_reserved(self, is_set: bool) {
        self.switch(
            Switches::RESERVE,
            if is_set { Switches::RESERVE } else { 0 },
        );
    }

    /// Says whether there are levels of pressure.
    pub(crate) fn set_pressed(self, is_set: bool) {
        self.switch(
            Switches::PRESSURE,
            if is_set { Switches::PRESSURE } else { 0 },
        );
    }

    /// The rate of a source without another one.
    pub(crate) fn rate(self) -> Rate {
        rate_of(self.0.rate.load(Ordering::Relaxed))
    }

    pub(crate) fn set_rate(self, rate: Rate) {
        self.store_rate(&self.0.rate, rate, Switches::RATE);
    }

    /// Stores a rate in its word, and says by this switch whether there is one.
    pub(super) fn store_rate(self, word: &AtomicU64, rate: Rate, switch: u32) {
        if rate.is_none() {
            self.switch(switch, 0);
            word.store(0, Ordering::Relaxed);
            return;
        }
        let bits = u64::from(rate.burst.max(1)) << 32 | u64::from(rate.interval_us);
        word.store(bits, Ordering::Relaxed);
        self.expect_memory();
        self.switch(switch, switch);
    }

    /// The milliseconds that this offence costs; 0: nothing. A cause that is not an offence costs
    /// nothing.
    pub(crate) fn penalty(self, offence: Cause) -> u32 {
        let word = self.penalty_word(offence);
        word.map_or(0, |word| word.load(Ordering::Relaxed))
    }

    pub(crate) fn set_penalty(self, Penalty { offence, millis }: Penalty) {
        if millis > 0 {
            self.expect_memory();
        }
        if let Some(word) = self.penalty_word(offence) {
            word.store(millis, Ordering::Relaxed);
        }
    }

    fn penalty_word(self, offence: Cause) -> Option<&'a AtomicU32> {
        self.0.penalties.get(offence as usize - 1)
    }

    pub(crate) fn ban_bounds(self) -> BanBounds {
        BanBounds {
            min: self.0.ban_min.load(Ordering::Relaxed),
            max: self.0.ban_max.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn set_ban_bounds(self, bounds: BanBounds) {
        self.0.ban_min.store(bounds.min, Ordering::Relaxed);
        self.0.ban_max.store(bounds.max, Ordering::Relaxed);
    }

    /// A number that is not a policy, from damaged memory, reads as the default.
    #[inline]
    pub(crate) fn on_full(self) -> OnFull {
        OnFull::from_number(self.0.on_full.load(Ordering::Relaxed) as i32).unwrap_or_default()
    }

    pub(crate) fn set_on_full(self, policy: OnFull) {
        self.0.on_full.store(policy as u32, Ordering::Relaxed);
    }

    /// The host clock, as the background process last read it.
    #[inline]
    pub(crate) fn seconds(self) -> &'a Statistic32 {
        &self.0.seconds
    }

    /// A time in the past of the clock of rates, penalties and bans: when the background
    /// process last read it.
    #[inline]
    pub(crate) fn past_micros(self) -> &'a Statistic64 {
        &self.0.micros
    }

    /// The words of a region without rules. Zeros would mean that each source must be
    /// compared with its rule, which is right but slow.
    pub(crate) fn init(self) {
        self.0.lowest_rule.store(u32::MAX, Ordering::Relaxed);
        self.set_untrusted_limit(0);
    }

    /// Other nodes of a cluster count from now on.
    pub(crate) fn expect_cluster(self) {
        self.switch(Switches::CLUSTER, Switches::CLUSTER);
    }

    /// Trusted connections are counted from now on.
    pub(crate) fn expect_trust(self) {
        self.switch(Switches::TRUST, Switches::TRUST);
    }

    /// The limit of untrusted connections of a source without a rule; 0: no limit.
    pub(crate) fn untrusted_limit(self) -> u32 {
        match self.0.untrusted_limit.load(Ordering::Relaxed) {
            limit if limit > i32::MAX as u32 => 0,
            limit => limit,
        }
    }

    /// 0, or a number above `i32::MAX`: no limit.
    pub(crate) fn set_untrusted_limit(self, limit: u32) {
        let limit = if limit == 0 { u32::MAX } else { limit };
        self.0.untrusted_limit.store(limit, Ordering::Relaxed);
    }

    /// Seconds after which an untrusted connection is closed; 0: never.
    pub(crate) fn trust_timeout(self) -> u32 {
        self.0.trust_timeout.load(Ordering::Relaxed)
    }

    pub(crate) fn set_trust_timeout(self, seconds: u32) {
        self.0.trust_timeout.store(seconds, Ordering::Relaxed);
    }

    /// A source with fewer connections may open another, whatever its rule and however many
    /// of them are trusted. Above `i32::MAX`
    /// if no source has a limit; 0 if a prefix is banned, so that each source, also one
    /// without a slot, must be compared with its rule.
    #[inline]
    pub(crate) fn checked_from(self) -> u32 {
        // Acquire: a process that has seen the word of new rules also sees these rules, and
        // never uses the old ones again.
        let rules = self.0.lowest_rule.load(Ordering::Acquire);
        let untrusted = self.0.untrusted_limit.load(Ordering::Relaxed);
        self.0
            .limit
            .load(Ordering::Relaxed)
            .min(rules)
            .min(untrusted)
    }

    /// Says whether an active rule has a rate or a burst of its own, or no rate in any case. A writer does so before it
    /// publishes the first such rules, and after they are gone. A process that does not see it
    /// yet behaves as if it had checked before the rules were published.
    pub(crate) fn set_rated_rules(self, has_rated_rules: bool) {
        if !has_rated_rules {
            self.switch(Switches::RULE_RATES, 0);
            return;
        }
        self.expect_memory();
        self.switch(Switches::RULE_RATES, Switches::RULE_RATES);
    }
}
