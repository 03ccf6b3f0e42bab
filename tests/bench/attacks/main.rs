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
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../kamailio/harness/mod.rs"]
mod harness;
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

use common::{Result, cli, cpu, kamailio, load, loaded, machine, results, stats};
use record::Record;

const USAGE: &str = "\
usage: bench-attacks [--quick | --plot-only]
  --quick      a run of about a minute, which shows that the benchmark works;
               its results go to the target directory
  --plot-only  print the tables and draw the plot again from the last results";

const NAME: &str = "bench-attacks";

fn main() -> ExitCode {
    cli::run(NAME, USAGE, obey)
}

fn obey(option: Option<&str>) -> Result<()> {
    let quick = match option {
        // Internal: the benchmark starts its processes with these options.
        Some(attacker::OPTION) => return Ok(attacker::run()?),
        Some(honest::OPTION) => return Ok(honest::run()?),
        None | Some("plot-only") => false,
        Some("quick") => true,
        Some(other) => return cli::unknown(other, USAGE),
    };
    let json = results::folder(NAME, quick).join("attacks.json");
    if option != Some("plot-only") {
        run::measure(quick, &json)?;
    }
    show(&results::read::<Record>(&json)?, &json)
}

fn show(record: &Record, json: &Path) -> Result<()> {
    report::print(record);
    let svg = json.with_extension("svg");
    plot::draw(record, &svg)?;
    println!("\nresults: {}\nplot:    {}", json.display(), svg.display());
    Ok(())
}
