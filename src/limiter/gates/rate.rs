// SPDX-License-Identifier: GPL-2.0-or-later
//! The rate of a source: GCRA, the *generic cell rate algorithm* (ITU-T I.371). Each
//! connection costs the interval of the rate, and what a source owes decreases as time
//! passes. It may owe `burst` intervals. So a quiet source may open `burst` connections at
//! once and then one in each interval, exactly, without a timer and without the edges of a
//! window.

#![forbid(unsafe_code)]

use super::Asked;
use crate::limiter::Limiter;
use crate::limiter::accounting::Accounting;
use crate::policy::settings::{Mode, Switches};
use crate::policy::terms::Rate;
use crate::source::Source;
use crate::table::SlotRef;
use crate::table::details::Owner;

/// `default` is the rate of sources or networks without one of their own.
#[inline]
pub(super) fn admits(asked: &Asked<'_>, default: impl FnOnce() -> Rate) -> bool {
    let Some(restraints) = &asked.owes else {
        return true;
    };
    let rate = asked.terms.rate.or_default(default());
    rate.is_none() || asked.at_present(|micros| restraints.owed(micros) <= rate.tolerance_us())
}

impl Limiter {
    /// Charges one connection from `address` to its source or network with the slot `at`, which
    /// was just counted there. `default` is the rate of those without another one. Returns what
    /// it costs in microseconds; `None` if that is over the rate; then nothing was charged.
    #[inline(always)]
    pub(in crate::limiter) fn charge(
        &self,
        source: Source,
        address: &[u8],
        at: SlotRef,
        (switches, default): (Switches, Rate),
        accounting: impl Accounting,
    ) -> Option<u64> {
        if switches.mode() == Mode::Off {
            return Some(0);
        }
        let owner = Owner::of(self.table(), source, at);
        let rate = match switches.has_rated_rules() {
            true => self.rate_by_rule(source, address, owner, default),
            false => default,
        };
        let cost = rate.interval_us.into();
        let is_within = rate.is_none()
            || self.restraints(owner, at).charge(
                accounting.present(self),
                cost,
                rate.tolerance_us() + cost,
            );
        is_within.then_some(cost)
    }

    /// The rate of `address`, whose source is `owner`, while rules have rates.
    #[inline(never)]
    fn rate_by_rule(&self, source: Source, address: &[u8], owner: Owner, default: Rate) -> Rate {
        let of_host = match self.rulebook().has_host_rates() {
            true => self.terms_of_host(address, source.scope()),
            false => None,
        };
        let (_, terms) = of_host.unwrap_or_else(|| self.terms_of_source(source, owner));
        terms.rate.or_default(default)
    }
}
