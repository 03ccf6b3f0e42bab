// SPDX-License-Identifier: GPL-2.0-or-later

//! What decides about a new connection besides the limit of each source, which is the same
//! for all policies.

use rand::RngExt;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};

use tcp_conn_limit::limiter::Limiter;
use tcp_conn_limit::policy::pressure::Pressure;
use tcp_conn_limit::policy::reserve::Reserve;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Policy {
    /// Only the limit of each source and the maximum of the server.
    None,
    /// OpenSSH's MaxStartups as it is set by default, 10:30:100, in percent of the maximum.
    EarlyDrop,
    /// The same from 80 percent on: 80:30:100.
    LateDrop,
    /// Levels of pressure.
    Pressure,
    /// The same, and a reserve for trunks.
    PressureAndReserve,
}

/// The levels of the policies with pressure.
pub(crate) const LEVELS: &str = "80:50% 90:10";

/// The reserve, of which the trunks use a part.
pub(crate) const RESERVE: &str = "5%";

impl Policy {
    pub(crate) const ALL: [Policy; 5] = [
        Policy::None,
        Policy::EarlyDrop,
        Policy::LateDrop,
        Policy::Pressure,
        Policy::PressureAndReserve,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Policy::None => "limit only",
            Policy::EarlyDrop => "random drop 10:30:100",
            Policy::LateDrop => "random drop 80:30:100",
            Policy::Pressure => "pressure",
            Policy::PressureAndReserve => "pressure, reserve",
        }
    }

    /// Sets the engine up.
    pub(crate) fn apply(self, limiter: &Limiter) {
        if matches!(self, Policy::Pressure | Policy::PressureAndReserve) {
            limiter.set_pressure(Pressure::parse(LEVELS).expect("valid levels"));
        }
        if self == Policy::PressureAndReserve {
            let max = Some(limiter.max_connections());
            limiter.set_reserve(Reserve::parse(RESERVE, max).expect("a valid reserve"));
        }
    }

    /// Whether a connection is dropped at random, with `in_use` of `max` in use: OpenSSH's
    /// `should_drop_connection()`.
    pub(crate) fn drops(self, in_use: u32, max: u32, random: &mut SmallRng) -> bool {
        let (begin, rate, full) = match self {
            Policy::EarlyDrop => (max / 10, 30, max),
            Policy::LateDrop => (max / 10 * 8, 30, max),
            _ => return false,
        };
        if in_use < begin {
            return false;
        }
        if in_use >= full {
            return true;
        }
        let p = (100 - rate) * (in_use - begin) / (full - begin) + rate;
        random.random_range(0..100) < p
    }
}
