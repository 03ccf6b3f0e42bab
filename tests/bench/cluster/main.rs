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

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use common::cli::Bench;
use common::run::Run;

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
    let bench = Bench {
        name: "cluster-simulation",
        quick: "a few seconds",
        roles: &[],
        measure: |run, _| Ok(measure(run)),
        print: report::print,
        draw: None,
        run: |record: &Record| &record.run,
    };
    bench.main()
}

fn measure(run: Run) -> Record {
    let simulated = fleet::Load::all(run.quick).into_iter().map(|load| {
        eprintln!("simulating {}", load.name);
        Simulated {
            figures: fleet::run(&load),
            load,
        }
    });
    Record {
        simulated: simulated.collect(),
        run,
    }
}
