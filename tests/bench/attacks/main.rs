// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-attacks: how long honest sources wait for a real Kamailio under attack.
//! README.md, one folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ plan                   how often, how long, in which order
//!       │       ├─ scenario ── chosen     the attacks and their addresses
//!       │       └─ subject ─┬─ attacker   a server with its clients,
//!       │                   └─ honest     each a process ── socket
//!       ├─ record                         the JSON file
//!       ├─ report                         the tables and verdicts
//!       └─ plot                           the SVG file
//! common                                  held connections, CPU time, the machine
//! ```

mod attacker;
mod chosen;
#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod honest;
mod plan;
mod plot;
mod record;
mod report;
mod run;
mod scenario;
mod socket;
mod subject;

use std::process::ExitCode;

use common::cli::Bench;
use common::{
    Result, cpu, generator, kamailio, loaded, machine, process, progress, results, stats,
};
use record::Record;

fn main() -> ExitCode {
    let bench = Bench {
        name: "attacks",
        quick: "a minute",
        roles: &[generator::ROLE, attacker::ROLE, honest::ROLE],
        measure: run::measure,
        print: report::print,
        draw: Some(plot::draw),
        run: |record: &Record| &record.run,
    };
    bench.main()
}
