// SPDX-License-Identifier: GPL-2.0-or-later

//! Millions of different sources pass through one table: does it wear out?

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::Engine;
use crate::chain::chain;
use crate::child::serve;
use crate::operations::Subject;

/// Connections that the table is made for.
pub(crate) const CAPACITY: u32 = 35_000;

/// Connections that are open at any time, each for as long as so many others
/// take to come.
pub(crate) const HELD: u32 = 8_192;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Churn {
    pub(crate) blocks: u32,
    /// Sources in a block.
    pub(crate) block: u32,
}

/// What a source took, in nanoseconds, block by block.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Blocks {
    pub(crate) ns: Vec<f64>,
    /// Sources that were counted wrong in the end.
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
            let refused = engine.check(index);
            held.push_back(engine.opened(index));
            let oldest = held.pop_front().unwrap_or_default();
            u64::from(refused) + u64::from(engine.closed(oldest))
        };
        // A block before those that count: every slot has had a source then.
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
        // the last ones are there, once each, and some of those before are not
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
