// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-peers: what a limit of connections per source costs in other servers and in
//! Kamailio. README.md, one folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ series    what is compared with what
//!       │       └─ servers   how each server is set up
//!       ├─ record            the JSON file
//!       └─ report            the table
//! common                     the load, the CPU time, the machine
//! ```

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod record;
mod report;
mod run;
mod series;
mod servers;

use std::path::Path;
use std::process::ExitCode;

use common::Result;
use common::cli::{self, Bench};
use common::process::Role;
use common::run::Run;
use record::Record;

/// This benchmark.
struct Peers;

impl Bench for Peers {
    const NAME: &'static str = "peers";
    const QUICK: &'static str = "half a minute";
    const ROLES: &'static [Role] = &[common::generator::ROLE];
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
    cli::main::<Peers>()
}
