// SPDX-License-Identifier: GPL-2.0-or-later

//! Several processes that count at the same time: with a row of cells each, or with one
//! cell for all.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::Engine;
use crate::chain::chain;
use crate::child::serve;
use crate::descriptors;
use crate::floor::Floor;
use crate::operations::{Subject, cycle};
use crate::processes::{Work, together};
use crate::sources::Sources;

/// Sources, with one connection each.
pub(crate) const SOURCES: u32 = 35_000;

/// Where the processes count connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counting {
    /// Each process in its own row, none of them the acceptor row.
    Rows,
    /// Each process in its own row, one of them the acceptor row, which lies in the slots.
    AcceptorRow,
    /// All processes in one row: one atomic per source.
    OneAtomic,
    /// No engine: an atomic addition and a subtraction on one line per source.
    Bare,
}

impl Counting {
    pub(crate) const ALL: [Counting; 4] = [
        Counting::Rows,
        Counting::AcceptorRow,
        Counting::OneAtomic,
        Counting::Bare,
    ];
}

/// Which sources the processes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spread {
    /// All processes count the same source.
    Same,
    /// Each process counts a different source.
    OneEach,
    /// Each process counts its own part of the sources, in random order.
    Parts,
}

impl Spread {
    pub(crate) const ALL: [Spread; 3] = [Spread::Same, Spread::OneEach, Spread::Parts];

    /// The sources that process `number` of at most `max` counts.
    fn indices(self, number: u32, max: u32, steps: u32) -> Vec<u32> {
        match self {
            Spread::Same => vec![0; steps as usize],
            // The sources are some lines apart, because processors also fetch neighbours.
            Spread::OneEach => vec![number * (SOURCES / max); steps as usize],
            Spread::Parts => {
                let part = Sources::new(SOURCES / max).known(steps);
                part.into_iter().map(|i| i * max + number).collect()
            }
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scaling {
    pub(crate) counting: Counting,
    pub(crate) cpus: Vec<usize>,
    pub(crate) steps: u32,
}

/// The time of a cycle in the slowest process, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) spread: Spread,
    pub(crate) processes: u32,
    pub(crate) ns: f64,
}

impl Scaling {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        if self.counting == Counting::Bare {
            let floor = Floor::new(SOURCES)?;
            return self.serve(|_, indices| {
                let add_and_subtract = |index| floor.add(index) + floor.subtract(index);
                chain(indices, add_and_subtract)
            });
        }
        let engine = Engine::start(SOURCES, 1_024)?;
        let held: Vec<u64> = (0..SOURCES).map(|index| engine.opened(index)).collect();
        self.serve(|number, indices| {
            descriptors::set_process(number);
            engine.set_worker(match self.counting {
                Counting::Rows => number + 1,
                Counting::AcceptorRow => number,
                Counting::OneAtomic | Counting::Bare => 0,
            });
            chain(indices, |index| cycle(&engine, index))
        })?;
        if engine.connections()? != held.len() as u64 {
            return Err("the processes counted connections wrong".into());
        }
        Ok(())
    }

    /// `run` is the work of a process; it gets the number of the process and its sources.
    fn serve(&self, run: impl Fn(u32, &[u32]) -> f64) -> Result<()> {
        let max = self.cpus.len() as u32;
        serve(|| {
            let mut figures = Vec::new();
            for spread in Spread::ALL {
                for processes in numbers(max) {
                    let indices: Vec<Vec<u32>> = (0..processes)
                        .map(|number| spread.indices(number, max, self.steps))
                        .collect();
                    let works = indices.iter().zip(0..);
                    let works = works
                        .map(|(indices, number)| -> Work<'_> {
                            let run = &run;
                            Box::new(move |start| {
                                // A warm-up: to a forked process every page is new.
                                run(number, indices);
                                start.wait();
                                run(number, indices)
                            })
                        })
                        .collect();
                    let times = together(works, &self.cpus)?;
                    figures.push(Figure {
                        spread,
                        processes,
                        ns: times.into_iter().fold(0.0, f64::max),
                    });
                }
            }
            Ok(figures)
        })
    }
}

/// Returns 1, 2, 4 … and `max`.
fn numbers(max: u32) -> impl Iterator<Item = u32> {
    (0..)
        .map(|i| 1 << i)
        .take_while(move |&number| number < max)
        .chain([max])
}
