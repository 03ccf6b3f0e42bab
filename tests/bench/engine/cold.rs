// SPDX-License-Identifier: GPL-2.0-or-later

//! How long a single check takes after the process has used other memory, which replaced
//! the table's lines in the caches. It shows what an attacker who measures response times
//! could see of the table's state, and what a check costs on a server that is busy with
//! other work. The times contain that of reading the clock twice.

use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tcp_conn_limit::ffi::tcl_config;

use crate::abi::{self, Engine};
use crate::child::serve;
use crate::sources::{Sources, address};
use crate::{Result, stats};

/// Sources, with one connection each.
pub(crate) const SOURCES: u32 = 35_000;

/// Bytes of other memory that are used before a check.
pub(crate) const OTHERS: [usize; 4] = [0, 256 << 10, 2 << 20, 64 << 20];

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cold {
    /// Checks of each kind and for each of [`OTHERS`], in each pass.
    pub(crate) checks: u32,
}

/// The medians of a pass, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Bytes of other memory that were used before a check.
    pub(crate) others: usize,
    /// Check of a source with a connection.
    pub(crate) known: f64,
    /// Check of a source without a slot.
    pub(crate) new: f64,
    /// Neither: only the clock.
    pub(crate) clock: f64,
}

impl Cold {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        let engine = Engine::start_with(&tcl_config {
            ..abi::config(SOURCES, 1_024)?
        })?;
        for index in 0..SOURCES {
            if engine.opened_from(&address(index)) == 0 {
                return Err(format!("source {index} was not counted").into());
            }
        }
        let mut sources = Sources::new(SOURCES);
        serve(|| {
            Ok(OTHERS
                .map(|others| self.pass(&engine, &mut sources, others))
                .into())
        })
    }

    fn pass(&self, engine: &Engine, sources: &mut Sources, others: usize) -> Figure {
        let mut memory = vec![0u64; others / size_of::<u64>()];
        let mut median = |indices: &[u32], check: &dyn Fn(u32) -> bool| {
            let spread: stats::Spread = indices
                .iter()
                .map(|&index| {
                    // One word of each cache line.
                    memory.iter_mut().step_by(8).for_each(|word| *word += 1);
                    black_box(&memory);
                    let began = Instant::now();
                    black_box(check(index));
                    began.elapsed().as_nanos() as f64
                })
                .collect();
            spread.median
        };
        let known = sources.known(self.checks);
        let new = sources.new_ones(self.checks);
        let check = |index| engine.rejects(&address(index));
        Figure {
            others,
            known: median(&known, &check),
            new: median(&new, &check),
            clock: median(&known, &|_| false),
        }
    }
}
