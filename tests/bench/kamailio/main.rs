// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-kamailio: what the limit of connections per source costs the TCP main
//! process of a real Kamailio. README.md, one folder up, says what is measured
//! and how to read it.
//!
//! ```text
//! main ─┬─ run ─┬─ plan      what, how often, in which order
//!       │       ├─ subject   a server with its load: load ⇄ generator ── listener
//!       │       ├─ cpu       CPU time of a process, who runs where
//!       │       └─ machine   what the figures hold for
//!       ├─ record            the JSON file
//!       ├─ report ── stats   the tables and what they say
//!       └─ plot              the SVG file
//! ```

mod cpu;
mod generator;
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../../kamailio/harness/mod.rs"]
mod harness;
mod listener;
mod load;
mod machine;
mod plan;
mod plot;
mod record;
mod report;
mod run;
mod stats;
mod subject;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use record::Record;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "\
usage: bench-kamailio [--quick | --plot-only]
  --quick      a run of about a minute, which shows that the benchmark works;
               its results go to the target directory
  --plot-only  print the tables and draw the plot again from the last results";

/// What the command line asks for.
enum Command {
    Measure { quick: bool },
    PlotOnly,
    Generate { port: u16, tcp_main: u32 },
    Help,
}

fn main() -> ExitCode {
    match arguments().and_then(obey) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-kamailio: {error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<Command> {
    use lexopt::Arg::Long;
    use lexopt::ValueExt;

    let mut command = Command::Measure { quick: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("quick") => command = Command::Measure { quick: true },
            Long("plot-only") => command = Command::PlotOnly,
            Long("help") => command = Command::Help,
            // Not for people: how the benchmark starts its load generators.
            Long("generator") => {
                command = Command::Generate {
                    port: parser.value()?.parse()?,
                    tcp_main: parser.value()?.parse()?,
                }
            }
            // cargo bench adds it for every benchmark.
            Long("bench") => {}
            other => return Err(format!("{}\n{USAGE}", other.unexpected()).into()),
        }
    }
    Ok(command)
}

fn obey(command: Command) -> Result<()> {
    match command {
        Command::Help => println!("{USAGE}"),
        Command::Generate { port, tcp_main } => generator::run(port, tcp_main)?,
        Command::PlotOnly => show(&Record::read(&json(&results(false)))?, &results(false))?,
        Command::Measure { quick } => {
            let folder = results(quick);
            fs::create_dir_all(&folder)?;
            let record = run::measure(quick)?;
            record.write(&json(&folder))?;
            show(&record, &folder)?;
        }
    }
    Ok(())
}

/// Where the results go. Those of a quick run are not for keeping.
fn results(quick: bool) -> PathBuf {
    if quick {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-kamailio")
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/results")
    }
}

fn json(folder: &Path) -> PathBuf {
    folder.join("kamailio.json")
}

fn show(record: &Record, folder: &Path) -> Result<()> {
    report::print(record);
    let svg = folder.join("kamailio.svg");
    plot::draw(record, &svg)?;
    println!(
        "\nresults: {}\nplot:    {}",
        json(folder).display(),
        svg.display()
    );
    Ok(())
}
