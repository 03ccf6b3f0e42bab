// SPDX-License-Identifier: GPL-2.0-or-later

//! What is measured, how often and in which order.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cpu::Clock;
use crate::generator::Pace;
use crate::kamailio::LIMIT;
use crate::record::{Flooded, Series};

/// Held connections of each step.
const LEVELS: [usize; 4] = [1_000, 5_000, 10_000, 19_000];

/// Connections held besides those of the source that floods, and what that
/// offers each second.
const FLOOD_HELD: usize = 9_000;
const FLOOD_PER_SECOND: u32 = 10_000;

/// Descriptors of TCP main and of the generator besides the connections held:
/// those of other processes, and churned connections not closed yet.
const OTHER_DESCRIPTORS: usize = 1_000;

/// A rate of new connections.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Rate {
    pub(crate) per_second: u32,
    /// Length of a window at this rate.
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
    /// A round starts all servers anew.
    pub(crate) rounds: usize,
    /// Windows of each series at each level and rate in each round.
    pub(crate) repeats: usize,
    pub(crate) levels: Vec<usize>,
    pub(crate) rates: Vec<Rate>,
    /// Churn before each window that is not measured.
    pub(crate) warm_up: Duration,
    pub(crate) flood: FloodPlan,
}

/// One source at its limit that keeps connecting.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FloodPlan {
    /// A round starts all servers anew.
    pub(crate) rounds: usize,
    /// Windows of each server in each round.
    pub(crate) repeats: usize,
    /// Connections held of other sources.
    pub(crate) held: usize,
    /// Connections held of the one source: as many as it may have.
    pub(crate) of_one: usize,
    pub(crate) rate: Rate,
}

impl Plan {
    /// With as many connections as `descriptors` allow for each process.
    pub(crate) fn new(quick: bool, clock: Clock, descriptors: u64) -> Result<Plan> {
        let most = (descriptors as usize).saturating_sub(OTHER_DESCRIPTORS);
        if most <= LEVELS[0] {
            return Err(format!("{descriptors} descriptors for a process are too few").into());
        }
        let mut levels = LEVELS.map(|level| level.min(most)).to_vec();
        levels.dedup();
        // A tick is 10 ms: the fewer, longer windows hold some 20 of them.
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
        let mut flood_held = FLOOD_HELD.min(most.saturating_sub(LIMIT as usize));
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

    /// The series in the order of turn number `turn`. Over six turns, each
    /// series stands once in each place and follows each other one once, so that
    /// drift of the machine and what the one before has left in its caches hit
    /// all alike.
    pub(crate) fn order(turn: usize) -> [Series; 6] {
        const FIRST: [usize; 6] = [0, 5, 1, 4, 2, 3];
        FIRST.map(|place| Series::ALL[(place + turn) % 6])
    }

    /// The servers of the flood in the order of turn number `turn`: over four
    /// turns, each stands once in each place and follows each other one once.
    pub(crate) fn flood_order(turn: usize) -> [Flooded; 4] {
        const TURNS: [[usize; 4]; 4] = [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]];
        TURNS[turn % TURNS.len()].map(|place| Flooded::ALL[place])
    }

    /// Expected time of one window.
    pub(crate) fn cost(&self, rate: &Rate) -> Duration {
        self.warm_up + rate.window
    }

    /// Expected time of all windows.
    fn total_cost(&self) -> Duration {
        let windows = self.rounds * self.levels.len() * self.repeats * Series::ALL.len();
        let cost: Duration = self.rates.iter().map(|rate| self.cost(rate)).sum();
        let flood = self.flood.rounds * self.flood.repeats * Flooded::ALL.len();
        cost * windows as u32 + self.cost(&self.flood.rate) * flood as u32
    }
}

/// Progress on standard error, with the time left by what the windows so far
/// have taken.
pub(crate) struct Progress {
    start: Instant,
    done: Duration,
    total: Duration,
}

impl Progress {
    pub(crate) fn start(plan: &Plan) -> Progress {
        Progress {
            start: Instant::now(),
            done: Duration::ZERO,
            total: plan.total_cost(),
        }
    }

    pub(crate) fn say(&self, what: &str) {
        let elapsed = self.start.elapsed();
        let left = if self.done.is_zero() {
            self.total
        } else {
            (self.total - self.done).mul_f64(elapsed.as_secs_f64() / self.done.as_secs_f64())
        };
        eprintln!(
            "[{} gone, about {} left] {what}",
            minutes(elapsed),
            minutes(left)
        );
    }

    pub(crate) fn advance(&mut self, cost: Duration) {
        self.done += cost;
    }
}

fn minutes(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
