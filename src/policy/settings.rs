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

/// The settings in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Settings<'a>(&'a crate::shared::layout::Settings);

impl<'a> Settings<'a> {
    #[inline]
    pub(crate) fn of(region: &'a Region) -> Settings<'a> {
        Settings(&region.header().settings)
    }

    #[inline]
    pub(crate) fn limit(self) -> i32 {
        // Relaxed, here and below: each setting stands alone, and no other memory depends
        // on it.
        self.0.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn set_limit(self, limit: i32) {
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

    /// A source with at most this many connections is below its limit, whatever its rule.
    /// Above `i32::MAX` if no source has a limit.
    #[inline]
    pub(crate) fn below_limit(self) -> u32 {
        // Acquire: a process that has seen the lowest limit of new rules also sees these
        // rules, and never uses the old ones again.
        let rule = self.0.lowest_rule.load(Ordering::Acquire);
        // Limits of 0 or less become numbers above `i32::MAX`.
        let below = |limit: i32| limit.wrapping_sub(1) as u32;
        below(self.limit()).min(below(rule))
    }
}
