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

/// A benchmark whose result is an `R`.
pub(crate) struct Bench<R> {
    /// The name of the record. The program has the same name after `bench-`.
    pub(crate) name: &'static str,
    /// How long a quick run takes, for the usage text.
    pub(crate) quick: &'static str,
    /// The processes that the benchmark starts.
    pub(crate) roles: &'static [Role],
    /// Measures. A record that is complete only in part may be written to this file before
    /// the end.
    pub(crate) measure: fn(Run, &Path) -> Result<R>,
    /// Prints the tables and verdicts.
    pub(crate) print: fn(&R),
    /// Draws the plot to this file, if the benchmark has one.
    pub(crate) draw: Option<fn(&R, &Path) -> Result<()>>,
    /// The conditions under which a record was measured.
    pub(crate) run: fn(&R) -> &Run,
}

/// What the command line asks for.
enum Command {
    Measure { quick: bool },
    PlotOnly,
    Help,
}

impl<R: Serialize + DeserializeOwned> Bench<R> {
    /// Does what the command line asks for.
    pub(crate) fn main(&self) -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let role = arguments.first().and_then(|first| self.role(first));
        let done = match role {
            Some(role) => (role.run)(&arguments[1..]),
            None => self.command().and_then(|command| self.obey(command)),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench-{}: {error}", self.name);
                ExitCode::FAILURE
            }
        }
    }

    fn role(&self, argument: &str) -> Option<&Role> {
        let option = argument.strip_prefix("--")?;
        self.roles.iter().find(|role| role.option == option)
    }

    fn command(&self) -> Result<Command> {
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
                other => return Err(format!("{}\n{}", other.unexpected(), self.usage()).into()),
            }
        }
        Ok(command)
    }

    fn obey(&self, command: Command) -> Result<()> {
        match command {
            Command::Help => println!("{}", self.usage()),
            Command::PlotOnly => {
                let json = results::path(self.name, false);
                self.show(&results::read(&json)?, &json)?;
            }
            Command::Measure { quick } => {
                let json = results::path(self.name, quick);
                let run = Run::start(self.name, quick)?;
                let record = (self.measure)(run, &json)?;
                results::write(&json, &record)?;
                self.show(&record, &json)?;
            }
        }
        Ok(())
    }

    fn usage(&self) -> String {
        let shows = match self.draw {
            Some(_) => "the tables and draw the plot",
            None => "the table",
        };
        format!(
            "\
usage: bench-{} [--quick | --plot-only]
  --quick      a run of {}, which only shows that the benchmark works;
               its results go to the target directory
  --plot-only  print {shows} again from the last results",
            self.name, self.quick,
        )
    }

    fn show(&self, record: &R, json: &Path) -> Result<()> {
        (self.print)(record);
        println!("\nresults: {}", json.display());
        if let Some(draw) = self.draw {
            let svg = json.with_extension("svg");
            draw(record, &svg)?;
            println!("plot:    {}", svg.display());
        }
        figures::compare(self.name, (self.run)(record))
    }
}
