// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-engine: what check, opened and closed cost, compared with the least that a
//! shared counter can cost and with the alternatives that a user has. README.md, one
//! folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ plan                sizes, passes, steps
//!       │       ├─ child ⇄ job         each subject in its own process:
//!       │       │   ├─ operations      floor, engine (abi), locked maps (locked,
//!       │       │   │                    counts)
//!       │       │   ├─ churn           the engine after millions of sources
//!       │       │   ├─ huge            whether the engine can have huge pages
//!       │       │   ├─ fleet           whether a fresh source finds a slot
//!       │       │   ├─ long_prefixes   IPv6 sources within one network
//!       │       │   ├─ walks           what takes longer the larger the table is
//!       │       │   ├─ init            what a table costs before it is used
//!       │       │   ├─ threads         the engine among threads
//!       │       │   └─ scaling, delay  the engine among processes (processes)
//!       │       └─ stock               the core's function in a real server
//!       ├─ record                      the JSON file
//!       ├─ report                      the tables and verdicts
//!       └─ plot                        the SVG file
//! ```
//!
//! The jobs use `chain` (the loop that produces all figures), `sources` (which sources
//! come, in which order) and `shared` (memory that processes share).

mod abi;
mod chain;
mod child;
mod churn;
mod counts;
mod delay;
mod fleet;
mod floor;
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../kamailio/harness/mod.rs"]
mod harness;
mod huge;
mod init;
mod job;
mod locked;
mod long_prefixes;
#[path = "../common/machine.rs"]
mod machine;
mod operations;
mod plan;
mod plot;
mod processes;
mod record;
mod report;
#[path = "../common/results.rs"]
mod results;
mod run;
mod scaling;
mod shared;
mod sources;
#[allow(dead_code, reason = "the other benchmarks use more of it")]
#[path = "../common/stats.rs"]
mod stats;
mod stock;
mod threads;
mod walks;

use std::error::Error;
use std::process::ExitCode;

use job::Job;
use plan::Plan;
use record::Record;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: bench-engine [--quick | --plot-only]
  --quick      a run of less than a minute, which shows that the benchmark works;
               its results go to the target directory
  --plot-only  print the tables and draw the plot again from the last results";

/// What the command line asks for.
enum Command {
    Measure(Plan),
    PlotOnly,
    Work(Job),
    Help,
}

fn main() -> ExitCode {
    match arguments().and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Command> {
    use lexopt::Arg::Long;
    use lexopt::ValueExt;

    let mut command = Command::Measure(Plan::full());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => command = Command::Measure(Plan::quick()),
            Long("plot-only") => command = Command::PlotOnly,
            Long("help") => command = Command::Help,
            // Internal: the benchmark starts its children with this option.
            Long("job") => {
                let job = parser.value()?.string()?;
                command = Command::Work(serde_json::from_str(&job)?);
            }
            // cargo bench passes this option to every benchmark.
            Long("bench") => {}
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(command)
}

fn obey(command: Command) -> Result<()> {
    match command {
        Command::Help => println!("{USAGE}"),
        Command::Work(job) => job.work()?,
        Command::PlotOnly => show(&results::read::<Record>(&json(false))?, false)?,
        Command::Measure(plan) => {
            let quick = plan.quick;
            let record = run::measure(plan)?;
            results::write(&json(quick), &record)?;
            show(&record, quick)?;
        }
    }
    Ok(())
}

fn json(quick: bool) -> std::path::PathBuf {
    results::folder("bench-engine", quick).join("engine.json")
}

fn show(record: &Record, quick: bool) -> Result<()> {
    report::print(record);
    let svg = json(quick).with_extension("svg");
    plot::draw(record, &svg)?;
    println!(
        "\nresults: {}\nplot:    {}",
        json(quick).display(),
        svg.display()
    );
    Ok(())
}
