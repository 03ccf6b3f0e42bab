// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-shield: what a flood of a banned source costs a real Kamailio with and without the
//! kernel shield, and next to nftables. README.md, one folder up, says what is measured and
//! how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ subject              a server, or a server behind nftables
//!       │       ├─ flooder, honest      its clients, each a process
//!       │       └─ program              the program in the kernel, alone
//!       ├─ record                       the JSON file
//!       └─ report                       the tables and verdicts
//! common                                CPU time, the machine
//! ```

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod flooder;
mod honest;
mod program;
mod record;
mod report;
mod run;
mod subject;

use std::process::ExitCode;

use common::cli::Bench;
use common::{Result, cpu, kamailio, machine, process, progress, stats};
use record::Record;

fn main() -> ExitCode {
    let bench = Bench {
        name: "shield",
        quick: "half a minute",
        roles: &[flooder::ROLE, honest::ROLE],
        measure: |run, _| run::measure(run),
        print: report::print,
        draw: None,
        run: |record: &Record| &record.run,
    };
    bench.main()
}
