// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-cluster-simulation: what the cluster costs a node of a large fleet, in virtual time.
//! README.md, one folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ fleet ── heap      the fleet; the memory of its measured node
//!       └─ report             the tables
//! common                      the command line, the record, the machine
//! ```

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod fleet;
mod heap;
mod report;

use std::path::Path;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use common::Result;
use common::cli::{self, Bench};
use common::process::Role;
use common::run::Run;

/// This benchmark.
struct Simulation;

impl Bench for Simulation {
    const NAME: &'static str = "cluster-simulation";
    const QUICK: &'static str = "a few seconds";
    const ROLES: &'static [Role] = &[];
    type Record = Record;

    fn measure(run: Run, _: &Path) -> Result<Record> {
        let simulated = fleet::Load::all(run.quick).into_iter().map(|load| {
            eprintln!("simulating {}", load.name);
            Simulated {
                figures: fleet::run(&load),
                load,
            }
        });
        Ok(Record {
            simulated: simulated.collect(),
            run,
        })
    }

    fn print(record: &Record) {
        report::print(record);
    }

    fn run(record: &Record) -> &Run {
        &record.run
    }
}

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    run: Run,
    simulated: Vec<Simulated>,
}

/// One fleet.
#[derive(Debug, Serialize, Deserialize)]
struct Simulated {
    load: fleet::Load,
    figures: fleet::Figures,
}

fn main() -> ExitCode {
    cli::main::<Simulation>()
}
