// SPDX-License-Identifier: GPL-2.0-or-later

//! How often, how long, and in which order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Which;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Windows of each server in each scenario.
    pub(crate) rounds: usize,
    /// Connections that a source may have, where there is a limit.
    pub(crate) limit: u32,
    /// Connections held all the time, each from a different source.
    pub(crate) held: usize,
    /// Honest sources that come each second.
    pub(crate) honest_per_second: u32,
    /// Connections of an attack each second.
    pub(crate) per_second: u32,
    /// How long each of them lasts.
    pub(crate) life: Duration,
    /// Sources that stay at their limit.
    pub(crate) slow: usize,
    /// The part of the attack before each window that is not measured.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// An honest source without an answer after this time has failed.
    pub(crate) patience: Duration,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Plan {
        let (rounds, held, slow, warm_up, window) = if quick {
            (1, 2_000, 10, 200, 400)
        } else {
            (4, 9_000, 60, 800, 4_200)
        };
        Plan {
            rounds,
            limit: 100,
            held,
            honest_per_second: 600,
            per_second: 5_000,
            life: Duration::from_secs(1),
            slow,
            warm_up: Duration::from_millis(warm_up),
            window: Duration::from_millis(window),
            patience: Duration::from_secs(2),
        }
    }

    /// The number of open connections of an attack at a time, if none is rejected.
    pub(crate) fn at_a_time(&self) -> usize {
        self.of_attack(self.life)
    }

    /// The maximum number of connections that an attack opens in a window.
    pub(crate) fn max_opened(&self) -> usize {
        self.of_attack(self.warm_up + self.window + 2 * self.patience)
    }

    fn of_attack(&self, time: Duration) -> usize {
        (f64::from(self.per_second) * time.as_secs_f64()) as usize
    }

    /// The servers in the order of turn number `turn`. Over six turns, each server has
    /// each position twice and follows each other server equally often.
    pub(crate) fn order(turn: usize) -> [Which; 3] {
        let mut order = Which::ALL;
        order.rotate_left(turn % 3);
        if turn / 3 % 2 == 1 {
            order.swap(1, 2);
        }
        order
    }
}
