// SPDX-License-Identifier: GPL-2.0-or-later

//! Several processes that count at the same time: a row of cells for each, or one
//! cell for all of them.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::Engine;
use crate::chain::chain;
use crate::child::serve;
use crate::floor::Floor;
use crate::operations::{Subject, cycle};
use crate::processes::{Work, together};
use crate::sources::Sources;

/// Sources with a connection each.
pub(crate) const SOURCES: u32 = 35_000;

/// Where the processes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counting {
    /// Each in its own row, none of them the acceptor's.
    Rows,
    /// Each in its own row, one of them the acceptor, whose row lies in the slots.
    HomeRow,
    /// All in one row: one atomic for each source.
    OneAtomic,
    /// No engine: an atomic addition and a subtraction on a line for each source.
    Bare,
}

impl Counting {
    pub(crate) const ALL: [Counting; 4] = [
        Counting::Rows,
        Counting::HomeRow,
        Counting::OneAtomic,
        Counting::Bare,
    ];
}

/// Whose connections the processes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Spread {
    /// All those of one source.
    Same,
    /// Each those of another source.
    OneEach,
    /// Each those of its own part of all sources, in random order.
    Parts,
}

impl Spread {
    pub(crate) const ALL: [Spread; 3] = [Spread::Same, Spread::OneEach, Spread::Parts];

    /// Whom process `number` of at most `most` counts.
    fn indices(self, number: u32, most: u32, steps: u32) -> Vec<u32> {
        match self {
            Spread::Same => vec![0; steps as usize],
            // some lines apart, since processors fetch neighbours, too
            Spread::OneEach => vec![number * (SOURCES / most); steps as usize],
            Spread::Parts => {
                let part = Sources::new(SOURCES / most).known(steps);
                part.into_iter().map(|i| i * most + number).collect()
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

/// What a cycle took the slowest of the processes, in nanoseconds.
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
                let add_and_take_off = |index| floor.add(index) + floor.take_off(index);
                chain(indices, add_and_take_off)
            });
        }
        let engine = Engine::start(SOURCES, 1_024)?;
        let held: Vec<u64> = (0..SOURCES).map(|index| engine.opened(index)).collect();
        self.serve(|number, indices| {
            engine.attach(match self.counting {
                Counting::Rows => number + 1,
                Counting::HomeRow => number,
                Counting::OneAtomic | Counting::Bare => 0,
            });
            chain(indices, |index| cycle(&engine, index))
        })?;
        if engine.connections()? != held.len() as u64 {
            return Err("the processes have counted wrong".into());
        }
        Ok(())
    }

    /// `run` is what a process does, by its number.
    fn serve(&self, run: impl Fn(u32, &[u32]) -> f64) -> Result<()> {
        let most = self.cpus.len() as u32;
        serve(|| {
            let mut figures = Vec::new();
            for spread in Spread::ALL {
                for processes in numbers(most) {
                    let indices: Vec<Vec<u32>> = (0..processes)
                        .map(|number| spread.indices(number, most, self.steps))
                        .collect();
                    let works = indices.iter().zip(0..);
                    let works = works
                        .map(|(indices, number)| -> Work<'_> {
                            let run = &run;
                            Box::new(move |start| {
                                // for a forked process, every page is new
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

/// 1, 2, 4 … and `most`.
fn numbers(most: u32) -> impl Iterator<Item = u32> {
    (0..)
        .map(|i| 1 << i)
        .take_while(move |&number| number < most)
        .chain([most])
}
