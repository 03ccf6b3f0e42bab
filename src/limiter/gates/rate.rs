// SPDX-License-Identifier: GPL-2.0-or-later
//! The rate of a source: GCRA, the *generic cell rate algorithm* (ITU-T I.371). Each
//! connection costs the interval of the rate, and what a source owes decreases as time
//! passes. It may owe `burst` intervals. So a quiet source may open `burst` connections at
//! once and then one in each interval, exactly, without a timer and without the edges of a
//! window.

#![forbid(unsafe_code)]

use super::{Asked, Owes};
use crate::limiter::Limiter;
use crate::policy::settings::Mode;
use crate::source::Source;
use crate::table::SlotRef;
use crate::table::details::Owner;

#[inline]
pub(super) fn admits(asked: &Asked<'_>) -> bool {
    let Some(Owes { restraints, now }) = &asked.owes else {
        return true;
    };
    let rate = asked.limiter.default_rate(asked.source);
    let rate = asked.terms.rate.or_default(rate);
    rate.is_none() || restraints.owed(*now) <= rate.tolerance_us()
}

impl Limiter {
    /// Charges one connection to the source with the slot `at`, which was just counted
    /// there. Returns what it costs in microseconds; `None` if that is over its rate; then
    /// nothing was charged.
    #[cold]
    #[inline(never)]
    pub(in crate::limiter) fn charge(&self, source: Source, at: SlotRef) -> Option<u64> {
        if self.mode() == Mode::Off {
            return Some(0);
        }
        let owner = Owner::of(self.table(), source, at);
        let (_, terms) = self.terms_of_source(source, owner);
        let rate = terms.rate.or_default(self.default_rate(source));
        let cost = rate.interval_us.into();
        let is_within = rate.is_none()
            || self
                .restraints(owner, at)
                .charge(self.micros(), cost, rate.tolerance_us() + cost);
        is_within.then_some(cost)
    }
}
