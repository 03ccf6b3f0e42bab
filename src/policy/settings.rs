// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings: the limit of sources without a rule and the mode, which an operator can
//! change while the server runs, and the policy for a full table.
//!
//! Each setting is one word in shared memory. Every check reads it, and any process may
//! store it. A check during a change uses the old value or the new one.

#![forbid(unsafe_code)]

use crate::shared::region::Region;
use crate::shared::sync::Ordering;

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
/// its source or its descriptor is not tracked (see `interpose`).
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

    /// A number that is not a mode, from damaged memory, reads as the default.
    #[inline]
    pub(crate) fn mode(self) -> Mode {
        Mode::from_number(self.0.mode.load(Ordering::Relaxed) as i32).unwrap_or_default()
    }

    pub(crate) fn set_mode(self, mode: Mode) {
        self.0.mode.store(mode as u32, Ordering::Relaxed);
    }

    /// A number that is not a policy, from damaged memory, reads as the default.
    #[inline]
    pub(crate) fn on_full(self) -> OnFull {
        OnFull::from_number(self.0.on_full.load(Ordering::Relaxed) as i32).unwrap_or_default()
    }

    pub(crate) fn set_on_full(self, policy: OnFull) {
        self.0.on_full.store(policy as u32, Ordering::Relaxed);
    }

    /// The words of a region without rules. Zeros would mean that each source must be
    /// compared with its rule, which is right but slow.
    pub(crate) fn init(self) {
        self.0.lowest_rule.store(u32::MAX, Ordering::Relaxed);
    }

    /// A source with fewer connections may open another, whatever its rule. Above `i32::MAX`
    /// if no source has a limit; 0 if a prefix is banned, so that each source, also one
    /// without a slot, must be compared with its rule.
    #[inline]
    pub(crate) fn checked_from(self) -> u32 {
        // Acquire: a process that has seen the word of new rules also sees these rules, and
        // never uses the old ones again.
        let rules = self.0.lowest_rule.load(Ordering::Acquire);
        self.0.limit.load(Ordering::Relaxed).min(rules)
    }

    /// Whether an active rule has a rate of its own. If there is none, and no default rate,
    /// no connection is charged.
    #[inline]
    pub(crate) fn has_rated_rules(self) -> bool {
        // Relaxed: a writer stores 1 before it publishes such rules and 0 after they are
        // gone. A process that does not see the 1 yet behaves as if it had checked before
        // the rules were published.
        self.0.rated_rules.load(Ordering::Relaxed) != 0
    }
}
