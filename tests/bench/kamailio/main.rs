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

use std::process::ExitCode;

use common::cli::Bench;
use common::{Result, acceptor, cpu, generator, kamailio, loaded, machine, progress, stats};
use record::Record;

fn main() -> ExitCode {
    let bench = Bench {
        name: "kamailio",
        quick: "a minute",
        roles: &[generator::ROLE, acceptor::ROLE],
        measure: |run, _| run::measure(run),
        print: report::print,
        draw: Some(plot::draw),
        run: |record: &Record| &record.run,
    };
    bench.main()
}
