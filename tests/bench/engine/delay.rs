// SPDX-License-Identifier: GPL-2.0-or-later

//! How far releases in one process delay checks of the same source in another:
//! beside what one cache line takes from one to the other.

use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::Engine;
use crate::chain::chain;
use crate::child::serve;
use crate::operations::Subject;
use crate::processes::{Flag, Work, together};
use crate::shared::{self, Line};

/// How many sources have their turn, each on a cache line of its own: how long a
/// line is on its way also depends on where the processor keeps it.
const PLACES: u32 = 32;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Delay {
    /// The one that checks and the one that releases.
    pub(crate) cpus: [usize; 2],
    pub(crate) releases: u32,
}

/// Nanoseconds each.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) check: f64,
    pub(crate) check_beside_releases: f64,
    /// From one process writing a cache line to the other one having read it.
    pub(crate) transfer: f64,
}

impl Delay {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        // one more would be no limit, and then nothing is looked up
        let engine = Engine::start(self.releases, i32::MAX - 1)?;
        serve(|| {
            let mut sum = Figure::default();
            for source in 0..PLACES {
                let tokens: Vec<u64> = (0..self.releases / PLACES)
                    .map(|_| engine.opened(source))
                    .collect();
                let release = || {
                    engine.attach(1);
                    for &token in &tokens {
                        assert!(engine.closed(token));
                    }
                };
                let check = |index| u64::from(engine.check(index));
                let (alone, beside) = self.alone_and_beside(source, check, release)?;
                sum.check += alone;
                sum.check_beside_releases += beside;
            }
            sum.transfer = self.transfer()?;
            let mean = |sum| sum / f64::from(PLACES);
            Ok(vec![Figure {
                check: mean(sum.check),
                check_beside_releases: mean(sum.check_beside_releases),
                transfer: mean(sum.transfer),
            }])
        })?;
        match engine.connections()? {
            0 => Ok(()),
            left => Err(format!("{left} connections are left").into()),
        }
    }

    /// Two processes write a line by turns, each when it has seen what the other
    /// one wrote: two transfers a round. The sum over all places.
    fn transfer(&self) -> Result<f64> {
        let rounds = u64::from(self.releases / PLACES);
        let lines: &[Line] = shared::zeros(PLACES as usize)?;
        let play = |first: u64| -> Work<'_> {
            Box::new(move |start| {
                start.wait();
                let start = Instant::now();
                for Line(value) in lines {
                    for round in 0..rounds {
                        while value.load(Ordering::Acquire) != 2 * round + first {}
                        value.store(2 * round + first + 1, Ordering::Release);
                    }
                }
                start.elapsed().as_nanos() as f64 / (2 * rounds) as f64
            })
        };
        let times = together(vec![play(0), play(1)], &self.cpus)?;
        Ok(times[0])
    }

    /// What a `step` takes while the other process does nothing, and while it
    /// does `others`.
    fn alone_and_beside(
        &self,
        source: u32,
        step: impl Fn(u32) -> u64,
        others: impl Fn(),
    ) -> Result<(f64, f64)> {
        let indices = vec![source; 1_000];
        let idle = together(
            vec![Box::new(|_| {
                (0..100).map(|_| chain(&indices, &step)).sum::<f64>() / 100.0
            })],
            &self.cpus[..1],
        )?;
        let done = Flag::new()?;
        let steps: Work<'_> = Box::new(|start| {
            start.wait();
            let (mut total, mut rounds) = (0.0, 0.0);
            loop {
                total += chain(&indices, &step);
                rounds += 1.0;
                if done.is_raised() {
                    return total / rounds;
                }
            }
        });
        let others: Work<'_> = Box::new(|start| {
            start.wait();
            others();
            done.raise();
            0.0
        });
        let beside = together(vec![steps, others], &self.cpus)?;
        Ok((idle[0], beside[0]))
    }
}
