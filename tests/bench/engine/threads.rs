// SPDX-License-Identifier: GPL-2.0-or-later

//! Two threads of one process that count different sources. To the engine they are one
//! worker, so they share its row and what the process remembers from check to opened.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::Engine;
use crate::chain::chain;
use crate::child::serve;
use crate::cpu::pin;
use crate::operations::{Subject, cycle};
use crate::sources::Sources;

/// Sources, with one connection each.
pub(crate) const SOURCES: u32 = 35_000;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Threads {
    pub(crate) cpus: [usize; 2],
    pub(crate) steps: u32,
}

/// The time of a call in the slower thread, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// 1 or 2.
    pub(crate) threads: u32,
    pub(crate) check: f64,
    /// Check, opened, closed.
    pub(crate) cycle: f64,
}

impl Threads {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        let engine = Engine::start(SOURCES, 1_024)?;
        let tokens: Vec<u64> = (0..SOURCES).map(|index| engine.opened(index)).collect();
        serve(|| {
            [1, 2]
                .into_iter()
                .map(|threads| self.pass(&engine, threads))
                .collect()
        })?;
        if engine.connections()? != tokens.len() as u64 {
            return Err("the threads counted connections wrong".into());
        }
        Ok(())
    }

    fn pass(&self, engine: &Engine, threads: u32) -> Result<Figure> {
        let check = |index| u64::from(engine.check(index));
        let cycle = |index| cycle(engine, index);
        Ok(Figure {
            threads,
            check: self.slowest(threads, check)?,
            cycle: self.slowest(threads, cycle)?,
        })
    }

    /// Each thread has half of the sources for itself, even if there is only one thread.
    fn slowest(&self, threads: u32, step: impl Fn(u32) -> u64 + Sync) -> Result<f64> {
        let ready = AtomicUsize::new(0);
        let half = Sources::new(SOURCES / 2).known(self.steps);
        thread::scope(|scope| {
            let started: Vec<_> = (0..threads)
                .zip(self.cpus)
                .map(|(number, cpu)| {
                    let (ready, half, step) = (&ready, &half, &step);
                    scope.spawn(move || {
                        let pinned = pin(&[cpu]);
                        let indices: Vec<u32> = half.iter().map(|i| 2 * i + number).collect();
                        chain(&indices, step);
                        // Relaxed: the counter publishes nothing, the threads only wait for
                        // each other.
                        ready.fetch_add(1, Ordering::Relaxed);
                        while ready.load(Ordering::Relaxed) < threads as usize {
                            spin_loop();
                        }
                        pinned.map(|()| chain(&indices, step))
                    })
                })
                .collect();
            let mut slowest = 0.0;
            for thread in started {
                let ns = thread.join().map_err(|_| "a thread panicked")??;
                slowest = f64::max(slowest, ns);
            }
            Ok(slowest)
        })
    }
}
