// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-cluster: what one limit over three real Kamailios costs, how soon all of them know of a
//! change, and what a greedy source gets, next to independent limits and counters in Redis.
//! README.md, one folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ subject ── redis     three servers with a limit of one kind
//!       │       ├─ load ─┬─ crowd       their sources, a process for a part of them
//!       │       │        ├─ known       how soon all servers know of a change
//!       │       │        └─ wire        the packets between the servers
//!       │       └─ greedy ── talk       a source that takes what it gets, and honest ones
//!       ├─ record                       the JSON file
//!       └─ report                       the tables
//! common                                CPU time, the machine
//! ```

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod greedy;
mod known;
mod load;
mod record;
mod redis;
mod report;
mod run;
mod subject;
mod talk;
mod wire;

use std::process::ExitCode;

use common::cli::Bench;
use common::{Result, cpu, kamailio, machine, process, progress};
use record::Record;

fn main() -> ExitCode {
    let bench = Bench {
        name: "cluster",
        quick: "half a minute",
        roles: &[crowd::ROLE],
        measure: |run, _| run::measure(run),
        print: report::print,
        draw: None,
        run: |record: &Record| &record.run,
    };
    bench.main()
}
