// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-peers: what a limit of connections per source costs in other servers and in
//! Kamailio. README.md, one folder up, says what is measured and how to read it.
//!
//! ```text
//! main ── run ─┬─ series    what is compared with what
//!              ├─ servers   how each server is set up
//!              └─ report    the table
//! common                    the load, the CPU time, the machine
//! ```

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../kamailio/harness/mod.rs"]
mod harness;
mod report;
mod run;
mod series;
mod servers;

use std::process::ExitCode;

use common::{Result, cli, results};

const NAME: &str = "bench-peers";

const USAGE: &str = "\
usage: bench-peers [--quick]
  --quick  a run of about a minute, which shows that the benchmark works; its
           results go to the target directory";

fn main() -> ExitCode {
    cli::run(NAME, USAGE, measure)
}

fn measure(option: Option<&str>) -> Result<()> {
    let quick = cli::quick(option, USAGE)?;
    let record = run::measure(quick)?;
    let json = results::folder(NAME, quick).join("peers.json");
    results::write(&json, &record)?;
    report::print(&record);
    println!("\nresults: {}", json.display());
    Ok(())
}
