// SPDX-License-Identifier: GPL-2.0-or-later
//! The reserve, and levels of pressure. The load of the host is always the same, so a level is
//! reached or it is not.

use tcp_conn_limit::ffi::TCL_MODE_OFF;
use tcp_conn_limit_fuzz::engine::{self, Counters, IN_USE, MAX};
use tcp_conn_limit_fuzz::naive::Address;

use super::rules::Key;
use super::{LENGTHS, Ledger, Rejections, add};

/// Reserves, in percent. The limiter is for one connection, so a number would be too high.
const RESERVES: [u32; 4] = [0, 2, 3, 50];

/// Levels of pressure: the use in percent from which on each applies, and what it allows: a
/// share of the limit in percent, or a number of connections.
const PRESSURES: [&[(u32, Allowed)]; 6] = [
    &[],
    &[(80, Allowed::Percent(50))],
    &[(97, Allowed::Connections(2))],
    &[(10, Allowed::Percent(90)), (97, Allowed::Connections(1))],
    &[(98, Allowed::Connections(1))],
    &[
        (50, Allowed::Connections(3)),
        (60, Allowed::Percent(40)),
        (99, Allowed::Connections(1)),
    ],
];

#[derive(Clone, Copy)]
enum Allowed {
    Percent(u32),
    Connections(u32),
}

/// Why a connection is rejected that other gates admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scarce {
    Reserve,
    Pressure,
}

/// The expected settings, and the expected counters since the last reset.
#[derive(Default)]
pub(crate) struct Scarcity {
    /// In percent, which is also the number of connections.
    reserve: u32,
    levels: &'static [(u32, Allowed)],
    reserved: Rejections,
    pressed: Rejections,
}

impl Scarcity {
    pub(crate) fn reset_counters(&mut self) {
        (self.reserved, self.pressed) = ((0, 0), (0, 0));
    }

    pub(crate) fn is_reserved(&self) -> bool {
        MAX - IN_USE <= self.reserve
    }

    fn reached(&self) -> impl Iterator<Item = Allowed> {
        let levels = self.levels.iter();
        let reached = levels.filter(|(from, _)| IN_USE * 100 >= from * MAX);
        reached.map(|(_, allowed)| *allowed)
    }

    /// What pressure leaves of a limit; 0: no limit.
    fn effective(&self, limit: i32) -> i32 {
        let (mut percent, mut connections) = (100, i64::MAX);
        for allowed in self.reached() {
            match allowed {
                Allowed::Percent(share) => percent = share.min(percent),
                Allowed::Connections(number) => connections = connections.min(number.into()),
            }
        }
        let share = match limit {
            1.. => (i64::from(limit) * i64::from(percent) + 99) / 100,
            _ => i64::MAX,
        };
        i32::try_from(share.min(connections)).unwrap_or(0)
    }
}

/// Sets the reserve and the levels with these numbers.
fn set(reserve: usize, levels: usize) {
    let reserve = match RESERVES[reserve] {
        0 => "none".to_owned(),
        percent => format!("{percent}%"),
    };
    let levels = PRESSURES[levels]
        .iter()
        .map(|(from, allowed)| match allowed {
            Allowed::Percent(percent) => format!("{from}:{percent}%"),
            Allowed::Connections(connections) => format!("{from}:{connections}"),
        });
    let levels: Vec<_> = levels.collect();
    engine::set_load(&reserve, &levels.join(" "));
}

/// Resets the settings to those of a new ledger.
pub(crate) fn reset_settings() {
    set(0, 0);
}

impl Ledger {
    pub(crate) fn set_scarcity(&mut self, which: usize) {
        let (reserve, levels) = (which % RESERVES.len(), which / RESERVES.len());
        let levels = levels % PRESSURES.len();
        set(reserve, levels);
        self.scarcity.reserve = RESERVES[reserve];
        self.scarcity.levels = PRESSURES[levels];
    }

    /// Why an address gets no connection that other gates admit. The host has one that
    /// `is_open` already.
    pub(crate) fn scarce(&self, address: Address, is_open: bool) -> Option<Scarce> {
        let (rule, limit) = self.rule_for(address);
        if self.mode == TCL_MODE_OFF || self.terms(rule).trusted {
            return None;
        }
        if self.scarcity.is_reserved() && !is_open {
            return Some(Scarce::Reserve);
        }
        let limit = self.scarcity.effective(limit);
        let is_over = limit > 0 && self.count(address.source(LENGTHS)) >= limit as u32;
        is_over.then_some(Scarce::Pressure)
    }

    /// Accounts for such a rejection, besides the total.
    pub(crate) fn count_scarce(&mut self, address: Address, scarce: Scarce) {
        let monitor = self.monitors();
        let counter = match scarce {
            Scarce::Reserve => &mut self.scarcity.reserved,
            Scarce::Pressure => &mut self.scarcity.pressed,
        };
        add(counter, monitor);
        let key = self.rule_for(address).0.map(Key::of_source);
        add(self.rules.rejections.entry(key).or_default(), monitor);
        let net = address.source(LENGTHS);
        // Less if the source has no slot.
        add(self.by_source.entry(net).or_default(), monitor);
    }

    /// The effective limit of a source, if this is its limit.
    pub(crate) fn effective_limit(&self, limit: i32, is_trusted: bool) -> i32 {
        match is_trusted || self.mode == TCL_MODE_OFF {
            true => limit.max(0),
            false => self.scarcity.effective(limit),
        }
    }

    pub(crate) fn compare_scarcity(&self, now: &Counters) {
        assert_eq!(now.in_use, u64::from(IN_USE));
        let kept = self.scarcity.reserve;
        let used = (IN_USE + kept).saturating_sub(MAX);
        assert_eq!((now.reserve, now.reserve_used), (kept.into(), used.into()));
        let reached = match self.mode {
            TCL_MODE_OFF => 0,
            _ => self.scarcity.reached().count(),
        };
        assert_eq!(now.pressure_level, reached as u64);
        assert_eq!(
            (now.reserve_rejected, now.reserve_would_reject),
            self.scarcity.reserved
        );
        assert_eq!(
            (now.pressure_rejected, now.pressure_would_reject),
            self.scarcity.pressed
        );
    }
}
