// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-engine: what check, opened and closed cost, compared with the least that a
//! shared counter can cost and with the alternatives that a user has. README.md, one
//! folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ plan                sizes, passes, steps
//!       │       ├─ child ⇄ job         each subject in its own process:
//!       │       │   ├─ operations      floor, engine (abi), locked maps (locked,
//!       │       │   │                    counts)
//!       │       │   ├─ churn           the engine after millions of sources
//!       │       │   ├─ huge            whether the engine can have huge pages
//!       │       │   ├─ fleet           whether a fresh source finds a slot
//!       │       │   ├─ long_prefixes   IPv6 sources within one network
//!       │       │   ├─ walks           what takes longer the larger the table is
//!       │       │   ├─ cold            a check after other memory was used
//!       │       │   ├─ init            what a table costs before it is used
//!       │       │   ├─ threads         the engine among threads
//!       │       │   └─ scaling, delay  the engine among processes (processes)
//!       │       └─ stock               the core's function in a real server
//!       ├─ record                      the JSON file
//!       ├─ report                      the tables and verdicts
//!       └─ plot                        the SVG file
//! ```
//!
//! `common` has what the benchmarks share.
//!
//! The jobs use `chain` (the loop that produces all figures), `sources` (which sources
//! come, in which order) and `shared` (memory that processes share).

mod abi;
mod chain;
mod child;
mod churn;
mod cold;
#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod counts;
mod delay;
mod descriptors;
mod fleet;
mod floor;
mod huge;
mod init;
mod job;
mod locked;
mod long_prefixes;
mod operations;
mod plan;
mod plot;
mod processes;
mod record;
mod report;
mod run;
mod scaling;
mod shared;
mod sources;
mod stock;
mod threads;
mod walks;

use std::process::ExitCode;

use common::cli::Bench;
use common::{Result, cpu, machine, stats};
use record::Record;

fn main() -> ExitCode {
    let bench = Bench {
        name: "engine",
        quick: "under a minute",
        roles: &[child::ROLE],
        measure: |run, _| run::measure(run),
        print: report::print,
        draw: Some(plot::draw),
        run: |record: &Record| &record.run,
    };
    bench.main()
}
