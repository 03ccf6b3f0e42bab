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
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../kamailio/harness/mod.rs"]
mod harness;
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

use common::{Result, acceptor, cli, cpu, generator, kamailio, loaded, machine, results, stats};
use record::Record;

const USAGE: &str = "\
usage: bench-kamailio [--quick | --plot-only]
  --quick      a run of about a minute, which shows that the benchmark works;
               its results go to the target directory
  --plot-only  print the tables and draw the plot again from the last results";

const NAME: &str = "bench-kamailio";

fn main() -> ExitCode {
    cli::run(NAME, USAGE, obey)
}

fn obey(option: Option<&str>) -> Result<()> {
    let quick = match option {
        None | Some("plot-only") => false,
        Some("quick") => true,
        Some(other) => return cli::unknown(other, USAGE),
    };
    let json = results::folder(NAME, quick).join("kamailio.json");
    if option != Some("plot-only") {
        results::write(&json, &run::measure(quick)?)?;
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
