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

use std::process::ExitCode;

use common::cli::Bench;
use record::Record;

fn main() -> ExitCode {
    let bench = Bench {
        name: "peers",
        quick: "half a minute",
        roles: &[common::generator::ROLE],
        measure: |run, _| run::measure(run),
        print: report::print,
        draw: None,
        run: |record: &Record| &record.run,
    };
    bench.main()
}
