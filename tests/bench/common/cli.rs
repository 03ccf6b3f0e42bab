// SPDX-License-Identifier: GPL-2.0-or-later

//! The command line of a benchmark: at most one option.

use std::process::ExitCode;

use super::{Result, acceptor, generator};

/// What the command line asks for.
enum Command {
    /// The benchmark, with this option.
    Measure(Option<String>),
    /// Internal: a benchmark starts its load generators with this option.
    Generate {
        port: u16,
        server: u32,
    },
    /// Internal: a server that accepts and closes.
    Accept {
        limit: usize,
    },
    Help,
}

/// Runs what the command line of the benchmark `name` asks for. `measure` gets the option
/// and returns an error if it does not have that option.
pub(crate) fn run(
    name: &str,
    usage: &str,
    measure: impl FnOnce(Option<&str>) -> Result<()>,
) -> ExitCode {
    let done = match command() {
        Ok(Command::Help) => {
            println!("{usage}");
            Ok(())
        }
        Ok(Command::Generate { port, server }) => generator::run(port, server).map_err(Into::into),
        Ok(Command::Accept { limit }) => acceptor::run(limit).map_err(Into::into),
        Ok(Command::Measure(option)) => measure(option.as_deref()),
        Err(error) => Err(format!("{error}\n{usage}").into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command() -> Result<Command> {
    use lexopt::Arg::Long;
    use lexopt::ValueExt;

    let mut command = Command::Measure(None);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            // cargo bench passes this option to every benchmark.
            Long("bench") => {}
            Long("help") => command = Command::Help,
            Long("generator") => {
                command = Command::Generate {
                    port: parser.value()?.parse()?,
                    server: parser.value()?.parse()?,
                }
            }
            Long("acceptor") => {
                command = Command::Accept {
                    limit: parser.value()?.parse()?,
                }
            }
            Long(option) if matches!(command, Command::Measure(None)) => {
                command = Command::Measure(Some(option.to_owned()));
            }
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(command)
}

/// The error for an option that the benchmark does not have.
pub(crate) fn unknown<T>(option: &str, usage: &str) -> Result<T> {
    Err(format!("unknown option --{option}\n{usage}").into())
}

/// For benchmarks whose only option is `--quick`: returns whether it is set.
pub(crate) fn quick(option: Option<&str>, usage: &str) -> Result<bool> {
    match option {
        None => Ok(false),
        Some("quick") => Ok(true),
        Some(other) => unknown(other, usage),
    }
}
