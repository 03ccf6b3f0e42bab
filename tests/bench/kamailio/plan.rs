// SPDX-License-Identifier: GPL-2.0-or-later

//! The levels, rates and windows of a run, and their order.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cpu::Clock;
use crate::generator::Pace;
use crate::kamailio::LIMIT;
use crate::record::{Flooded, Series};

/// The numbers of held connections.
const LEVELS: [usize; 4] = [1_000, 5_000, 10_000, 19_000];

/// Connections held in the flood, besides those of the flooding source.
const FLOOD_HELD: usize = 9_000;

/// Connections that the flooding source offers per second.
const FLOOD_PER_SECOND: u32 = 10_000;

/// Descriptors of TCP main and of the generator besides the held connections: those for
/// other processes, and churned connections that are not closed yet.
const OTHER_DESCRIPTORS: usize = 1_000;

/// A rate of new connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    /// The length of a window at this rate.
    pub(crate) window: Duration,
}

impl Rate {
    pub(crate) fn pace(&self, warm_up: Duration, clock: Clock) -> Pace {
        Pace {
            per_second: self.per_second,
            warm_up,
            window: self.window,
            clock,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Each round starts all servers again.
    pub(crate) rounds: usize,
    /// Windows of each series at each level and rate in each round.
    pub(crate) repeats: usize,
    pub(crate) levels: Vec<usize>,
    pub(crate) rates: Vec<Rate>,
    /// The churn before each window that is not measured.
    pub(crate) warm_up: Duration,
    pub(crate) flood: FloodPlan,
}

/// One source at its limit that keeps connecting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloodPlan {
    /// Each round starts all servers again.
    pub(crate) rounds: usize,
    /// Windows of each server in each round.
    pub(crate) repeats: usize,
    /// Connections held by other sources.
    pub(crate) held: usize,
    /// Connections held by the flooding source: as many as it may have.
    pub(crate) of_one: usize,
    pub(crate) rate: Rate,
}

impl Plan {
    /// Plans as many connections as `descriptors` allows per process.
    pub(crate) fn new(quick: bool, clock: Clock, descriptors: u64) -> Result<Plan> {
        let max = (descriptors as usize).saturating_sub(OTHER_DESCRIPTORS);
        if max <= LEVELS[0] {
            let needed = LEVELS[0] + OTHER_DESCRIPTORS + 1;
            return Err(format!(
                "a process may have only {descriptors} descriptors: raise the hard limit \
                 (ulimit -Hn) to at least {needed}"
            )
            .into());
        }
        let mut levels = LEVELS.map(|level| level.min(max)).to_vec();
        levels.dedup();
        // A tick is 10 ms. The windows are fewer and longer, so each has some 20 ticks.
        let (rounds, repeats, slow, fast) = match (quick, clock) {
            (true, _) => (1, 2, 700, 500),
            (false, Clock::Schedstat) => (3, 2, 3_000, 1_500),
            (false, Clock::Ticks) => (1, 2, 20_000, 7_000),
        };
        let (flood_rounds, flood_repeats, flood) = match (quick, clock) {
            (true, _) => (1, 2, 500),
            (false, Clock::Schedstat) => (2, 4, 2_000),
            (false, Clock::Ticks) => (1, 4, 4_000),
        };
        let mut flood_held = FLOOD_HELD.min(max.saturating_sub(LIMIT as usize));
        if quick {
            levels = vec![levels[0], levels[levels.len() - 1]];
            flood_held = flood_held.min(LEVELS[0]);
        }
        let rate = |per_second, window| Rate {
            per_second,
            window: Duration::from_millis(window),
        };
        Ok(Plan {
            rounds,
            repeats,
            levels,
            rates: vec![rate(85, slow), rate(2_000, fast)],
            warm_up: Duration::from_millis(if quick { 100 } else { 300 }),
            flood: FloodPlan {
                rounds: flood_rounds,
                repeats: flood_repeats,
                held: flood_held,
                of_one: LIMIT as usize,
                rate: rate(FLOOD_PER_SECOND, flood),
            },
        })
    }

    /// The series in the order of turn number `turn`. Over seven turns each series has each
    /// position once; over fourteen each follows each other series twice. So drift of the
    /// machine and the cache contents left by the previous series affect all alike.
    pub(crate) fn order(turn: usize) -> [Series; 7] {
        const FIRST: [usize; 7] = [0, 6, 1, 5, 2, 4, 3];
        let mut order = FIRST.map(|index| Series::ALL[(index + turn) % 7]);
        if turn % 2 == 1 {
            order.reverse();
        }
        order
    }

    /// The servers of the flood in the order of turn number `turn`. Over four turns, each
    /// server has each position once and follows each other server once.
    pub(crate) fn flood_order(turn: usize) -> [Flooded; 4] {
        const TURNS: [[usize; 4]; 4] = [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]];
        TURNS[turn % TURNS.len()].map(|index| Flooded::ALL[index])
    }

    /// The expected time of one window.
    pub(crate) fn cost(&self, rate: &Rate) -> Duration {
        self.warm_up + rate.window
    }

    /// The expected time of all windows.
    pub(crate) fn total_cost(&self) -> Duration {
        let windows = self.rounds * self.levels.len() * self.repeats * Series::ALL.len();
        let cost: Duration = self.rates.iter().map(|rate| self.cost(rate)).sum();
        let flood = self.flood.rounds * self.flood.repeats * Flooded::ALL.len();
        cost * windows as u32 + self.cost(&self.flood.rate) * flood as u32
    }
}
