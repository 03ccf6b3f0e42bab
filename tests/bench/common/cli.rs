// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line of a benchmark, and what it asks for: measuring, or showing the last
//! record again.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::process::Role;
use super::run::Run;
use super::{Result, figures, results};

/// How a record is drawn to a file.
pub(crate) type Draw<R> = fn(&R, &Path) -> Result<()>;

/// A benchmark.
pub(crate) trait Bench {
    /// The name of the record. The program has the same name after `bench-`.
    const NAME: &'static str;

    /// How long a quick run takes, for the usage text.
    const QUICK: &'static str;

    /// The processes that the benchmark starts.
    const ROLES: &'static [Role];

    /// Draws the plot, if the benchmark has one.
    const DRAW: Option<Draw<Self::Record>> = None;

    /// The result of a run.
    type Record: Serialize + DeserializeOwned;

    /// Measures. A record that is complete only in part may be written to `json` before
    /// the end.
    fn measure(run: Run, json: &Path) -> Result<Self::Record>;

    /// Prints the tables and verdicts.
    fn print(record: &Self::Record);

    /// The conditions under which a record was measured.
    fn run(record: &Self::Record) -> &Run;
}

/// What the command line asks for.
enum Command {
    Measure { quick: bool },
    PlotOnly,
    Help,
}

/// Runs what the command line of a benchmark asks for.
pub(crate) fn main<B: Bench>() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let role = arguments.first().and_then(|first| role_of::<B>(first));
    let done = match role {
        Some(role) => (role.run)(&arguments[1..]),
        None => command::<B>().and_then(obey::<B>),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-{}: {error}", B::NAME);
            ExitCode::FAILURE
        }
    }
}

fn role_of<B: Bench>(argument: &str) -> Option<&'static Role> {
    let option = argument.strip_prefix("--")?;
    B::ROLES.iter().find(|role| role.option == option)
}

fn command<B: Bench>() -> Result<Command> {
    use lexopt::Arg::Long;

    let mut command = Command::Measure { quick: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // cargo bench passes this option to every benchmark.
            Long("bench") => {}
            Long("quick") => command = Command::Measure { quick: true },
            Long("plot-only") => command = Command::PlotOnly,
            Long("help") => command = Command::Help,
            other => return Err(format!("{}\n{}", other.unexpected(), usage::<B>()).into()),
        }
    }
    Ok(command)
}

fn obey<B: Bench>(command: Command) -> Result<()> {
    match command {
        Command::Help => println!("{}", usage::<B>()),
        Command::PlotOnly => {
            let json = results::path(B::NAME, false);
            show::<B>(&results::read(&json)?, &json)?;
        }
        Command::Measure { quick } => {
            let json = results::path(B::NAME, quick);
            let run = Run::start(B::NAME, quick)?;
            let record = B::measure(run, &json)?;
            results::write(&json, &record)?;
            show::<B>(&record, &json)?;
        }
    }
    Ok(())
}

fn usage<B: Bench>() -> String {
    let shows = match B::DRAW {
        Some(_) => "the tables and draw the plot",
        None => "the table",
    };
    format!(
        "\
usage: bench-{} [--quick | --plot-only]
  --quick      a run of {}, which only shows that the benchmark works;
               its results go to the target directory
  --plot-only  print {shows} again from the last results",
        B::NAME,
        B::QUICK,
    )
}

fn show<B: Bench>(record: &B::Record, json: &Path) -> Result<()> {
    B::print(record);
    println!("\nresults: {}", json.display());
    if let Some(draw) = B::DRAW {
        let svg = json.with_extension("svg");
        draw(record, &svg)?;
        println!("plot:    {}", svg.display());
    }
    figures::compare(B::NAME, B::run(record))
}
