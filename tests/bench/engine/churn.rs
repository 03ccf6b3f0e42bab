// SPDX-License-Identifier: GPL-2.0-or-later

//! Millions of different sources pass through one table. Does it get slower or lose counts?

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::Engine;
use crate::chain::chain;
use crate::child::serve;
use crate::operations::Subject;

/// Connections that the table is sized for.
pub(crate) const CAPACITY: u32 = 35_000;

/// Connections that are open at any time. Each stays open until this many others have
/// come.
pub(crate) const HELD: u32 = 8_192;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    pub(crate) blocks: u32,
    /// Sources in a block.
    pub(crate) block: u32,
}

/// The cost of a source in each block.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Blocks {
    /// Nanoseconds per source.
    pub(crate) ns: Vec<f64>,
    /// Sources and totals that were wrong at the end.
    pub(crate) miscounted: u64,
    pub(crate) table_full: u64,
}

impl Churn {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        let engine = Engine::start(CAPACITY, 1_024)?;
        serve(|| Ok(vec![self.pass(&engine)?]))
    }

    fn pass(&self, engine: &Engine) -> Result<Blocks> {
        let mut held: VecDeque<u64> = (0..HELD).map(|index| engine.opened(index)).collect();
        let mut come = |index| {
            let rejected = engine.check(index);
            held.push_back(engine.opened(index));
            let oldest = held.pop_front().unwrap_or_default();
            u64::from(rejected) + u64::from(engine.closed(oldest))
        };
        // One block runs before the measured ones, so every slot has had a source.
        let ns: Vec<f64> = (0..=self.blocks)
            .map(|block| {
                let first = HELD + block * self.block;
                let indices: Vec<u32> = (first..first + self.block).collect();
                chain(&indices, &mut come)
            })
            .skip(1)
            .collect();

        let passed = HELD + (1 + self.blocks) * self.block;
        let mut miscounted = 0;
        // The last HELD sources have one connection each, and those before have none.
        for index in passed - 2 * HELD..passed {
            let right = u32::from(index >= passed - HELD);
            miscounted += u64::from(engine.connections_of(index)? != right);
        }
        let stats = engine.stats()?;
        for (found, right) in [
            (stats.admitted, u64::from(passed)),
            (stats.rejected, 0),
            (stats.connections, u64::from(HELD)),
            (stats.sources, u64::from(HELD)),
            (stats.errors, stats.table_full),
        ] {
            miscounted += found.abs_diff(right);
        }
        for token in held {
            miscounted += u64::from(!engine.closed(token));
        }
        let left = engine.stats()?;
        Ok(Blocks {
            ns,
            miscounted: miscounted + left.connections + left.sources,
            table_full: left.table_full,
        })
    }
}
