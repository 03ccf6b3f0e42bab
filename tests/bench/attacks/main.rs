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

use std::path::Path;
use std::process::ExitCode;

use common::cli::{self, Bench, Draw};
use common::process::Role;
use common::run::Run;
use common::{
    Result, cpu, generator, kamailio, loaded, machine, process, progress, results, stats,
};
use record::Record;

/// This benchmark.
struct Attacks;

impl Bench for Attacks {
    const NAME: &'static str = "attacks";
    const QUICK: &'static str = "a minute";
    const ROLES: &'static [Role] = &[generator::ROLE, attacker::ROLE, honest::ROLE];
    const DRAW: Option<Draw<Record>> = Some(plot::draw);
    type Record = Record;

    fn measure(run: Run, json: &Path) -> Result<Record> {
        run::measure(run, json)
    }

    fn print(record: &Record) {
        report::print(record);
    }

    fn run(record: &Record) -> &Run {
        &record.run
    }
}

fn main() -> ExitCode {
    cli::main::<Attacks>()
}
