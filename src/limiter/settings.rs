// SPDX-License-Identifier: GPL-2.0-or-later
//! The settings that every source has unless a rule says otherwise. They can change while
//! connections are checked.

#![forbid(unsafe_code)]

use super::Limiter;
use crate::policy::penalties::Penalty;
use crate::policy::settings::{BanBounds, Mode, OnFull};
use crate::policy::terms::Rate;

impl Limiter {
    /// The limit of sources without a rule; 0 or less means no limit.
    pub fn limit(&self) -> i32 {
        self.settings().limit()
    }

    /// Changes the limit of sources without a rule. A source over a lowered limit keeps
    /// its connections but cannot open another until it drops below it.
    pub fn set_limit(&self, limit: i32) {
        self.settings().set_limit(limit);
    }

    /// The mode: what happens to a connection over the limit.
    pub fn mode(&self) -> Mode {
        self.settings().mode()
    }

    /// Changes the mode.
    pub fn set_mode(&self, mode: Mode) {
        self.settings().set_mode(mode);
    }

    /// The policy for a full table.
    pub fn on_full(&self) -> OnFull {
        self.settings().on_full()
    }

    /// Changes the policy for a full table.
    pub fn set_on_full(&self, policy: OnFull) {
        self.settings().set_on_full(policy);
    }

    /// The rate of sources without another one.
    pub fn rate(&self) -> Rate {
        self.settings().rate()
    }

    /// Changes the rate of sources without another one. What a source owes at this moment
    /// stays the same time.
    pub fn set_rate(&self, rate: Rate) {
        self.settings().set_rate(rate);
    }

    /// Changes what an offence costs.
    pub fn set_penalty(&self, penalty: Penalty) {
        self.settings().set_penalty(penalty);
    }

    /// Changes the bounds of bans by offences. Bans that have begun stay as they are.
    pub fn set_ban_bounds(&self, bounds: BanBounds) {
        self.settings().set_ban_bounds(bounds);
    }
}
