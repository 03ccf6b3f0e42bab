// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-kamailio: what the limit of connections per source costs the TCP main
//! process of a real Kamailio. README.md, one folder up, says what is measured
//! and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ plan                 what, how often, in which order
//!       │       ├─ subject ─┬─ rules    a server with its load
//!       │       │           └─ scraper
//!       │       └─ flood                a server with a source at its limit
//!       ├─ record                       the JSON file
//!       ├─ report ── flood_report       the tables and verdicts
//!       └─ plot                         the SVG file
//! common                                the load, the CPU time, the machine
//! ```

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod flood;
mod flood_report;
mod plan;
mod plot;
mod record;
mod report;
mod rules;
mod run;
mod scraper;
mod subject;

use std::path::Path;
use std::process::ExitCode;

use common::cli::{self, Bench, Draw};
use common::process::Role;
use common::run::Run;
use common::{Result, acceptor, cpu, generator, kamailio, loaded, machine, progress, stats};
use record::Record;

/// This benchmark.
struct Kamailio;

impl Bench for Kamailio {
    const NAME: &'static str = "kamailio";
    const QUICK: &'static str = "a minute";
    const ROLES: &'static [Role] = &[generator::ROLE, acceptor::ROLE];
    const DRAW: Option<Draw<Record>> = Some(plot::draw);
    type Record = Record;

    fn measure(run: Run, _: &Path) -> Result<Record> {
        run::measure(run)
    }

    fn print(record: &Record) {
        report::print(record);
    }

    fn run(record: &Record) -> &Run {
        &record.run
    }
}

fn main() -> ExitCode {
    cli::main::<Kamailio>()
}
