// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Strict`]: the least connections that each source had on this node of late.
//!
//! In strict mode a node may have at most ⌈(L − known)/N⌉ connections of a source more than
//! the least that it had in the last 2·D, where D is the longest time until all nodes know of
//! a change, and *known* is this least number and what the others reported.
//!
//! Then a source has at most L + N + (N−1)·(θ−1) connections: let aᵢ be the least own count of
//! node i in the 2·D before its last connection, which was at most D ago (otherwise all nodes
//! know its count). When node j made its last connection, it knew of at least aᵢ connections
//! on each node i, because what it knew was at most D old, and so from within these 2·D, less
//! the θ−1 that i may hide. So node j has at most aⱼ + (L − Σaᵢ + (N−1)(θ−1))/N + 1. The sum
//! of this over all j is the bound.

#![forbid(unsafe_code)]

use super::effects::Effects;
use super::hash::{ByKey, Map};
use super::{Count, TICK_MS};

/// The longest time that a message may take for the bound to hold, in ms.
const TRANSIT_MS: u64 = 500;

#[derive(Debug)]
struct Low {
    /// The least count in the period before this one, and in this one.
    periods: [u32; 2],
    /// The last argument of [`Effects::base`].
    given: u32,
    pass: u32,
}

/// The least counts.
#[derive(Debug)]
pub(super) struct Strict {
    lows: Map<Low>,
    max: usize,
    pass: u32,
    period_ends: u64,
    turns: bool,
}

impl Strict {
    pub(super) fn new(hash: ByKey, max: usize, now: u64) -> Strict {
        Strict {
            lows: Map::with_hasher(hash),
            max,
            pass: 0,
            period_ends: now,
            turns: false,
        }
    }

    /// Begins a pass over the counts.
    pub(super) fn begin(&mut self, now: u64, interval_ms: u32) {
        self.pass = self.pass.wrapping_add(1);
        self.turns = now >= self.period_ends;
        if self.turns {
            // The two periods together always contain the last 2·D. What this node knows is
            // as old as its last tick when a connection comes, so D has two ticks.
            let staleness = u64::from(interval_ms) + 2 * TICK_MS + TRANSIT_MS;
            self.period_ends = now + 2 * staleness;
        }
    }

    /// Sees the count of a source.
    pub(super) fn see(&mut self, count: Count, effects: &mut impl Effects) {
        if count.limit == 0 || count.source.scope().is_some() {
            return;
        }
        let low = match self.lows.get_mut(&count.source) {
            Some(low) => low,
            None => {
                if self.lows.len() >= self.max {
                    return;
                }
                // It had no connection before.
                self.lows.entry(count.source).or_insert(Low {
                    periods: [0; 2],
                    given: 0,
                    pass: 0,
                })
            }
        };
        low.pass = self.pass;
        if self.turns {
            low.periods = [low.periods[1], count.own];
        }
        low.periods[1] = low.periods[1].min(count.own);
        let base = low.periods[0].min(low.periods[1]);
        if base != low.given {
            low.given = base;
            effects.base(count.source, base);
        }
    }

    /// Ends the pass: sources that were not seen have no connection.
    pub(super) fn end(&mut self, effects: &mut impl Effects) {
        let pass = self.pass;
        self.lows.retain(|source, low| {
            if low.pass != pass && low.given > 0 {
                effects.base(*source, 0);
            }
            low.pass == pass
        });
    }
}
