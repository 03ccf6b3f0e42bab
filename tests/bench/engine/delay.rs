// SPDX-License-Identifier: GPL-2.0-or-later

//! How long releases in one process delay checks of the same source in another process,
//! compared with the transfer of one cache line between the two.

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

/// How many sources take turns, each on its own cache line. The time to transfer a line
/// also depends on where the processor keeps it, so the figure is a mean over lines.
const LINES: u32 = 32;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Delay {
    /// The CPU that checks and the CPU that releases.
    pub(crate) cpus: [usize; 2],
    pub(crate) releases: u32,
}

/// Nanoseconds per check and per transfer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) check: f64,
    pub(crate) check_during_releases: f64,
    /// From the write of a cache line by one process until the other has read it.
    pub(crate) transfer: f64,
}

impl Delay {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        // i32::MAX would mean no limit, and then a check looks nothing up.
        let engine = Engine::start(self.releases, i32::MAX - 1)?;
        serve(|| {
            let mut sum = Figure::default();
            for source in 0..LINES {
                let tokens: Vec<u64> = (0..self.releases / LINES)
                    .map(|_| engine.opened(source))
                    .collect();
                let release = || {
                    engine.set_worker(1);
                    for &token in &tokens {
                        assert!(engine.closed(token));
                    }
                };
                let check = |index| u64::from(engine.check(index));
                let (alone, contended) = self.alone_and_contended(source, check, release)?;
                for &token in &tokens {
                    engine.closed_elsewhere(token);
                }
                sum.check += alone;
                sum.check_during_releases += contended;
            }
            sum.transfer = self.transfer()?;
            let mean = |sum| sum / f64::from(LINES);
            Ok(vec![Figure {
                check: mean(sum.check),
                check_during_releases: mean(sum.check_during_releases),
                transfer: mean(sum.transfer),
            }])
        })?;
        match engine.connections()? {
            0 => Ok(()),
            left => Err(format!("{left} connections are left").into()),
        }
    }

    /// Two processes write a line in turns, each when it has seen what the other wrote:
    /// two transfers per round. Returns the sum over all lines.
    fn transfer(&self) -> Result<f64> {
        let rounds = u64::from(self.releases / LINES);
        let lines: &[Line] = shared::zeros(LINES as usize)?;
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

    /// Returns the nanoseconds per `step` while the other process does nothing, and while
    /// it runs `others`.
    fn alone_and_contended(
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
        let contended = together(vec![steps, others], &self.cpus)?;
        Ok((idle[0], contended[0]))
    }
}
