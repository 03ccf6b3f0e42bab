// SPDX-License-Identifier: GPL-2.0-or-later

//! The other processes of a benchmark. Each is this program, started again with an option
//! of its own. It reads orders from standard input and answers on standard output, line by
//! line, and ends when its input ends.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;

/// What such a process does.
pub(crate) struct Role {
    /// The option with which the process is started, without `--`.
    pub(crate) option: &'static str,
    /// Gets the arguments after the option.
    pub(crate) run: fn(&[String]) -> Result<()>,
}

/// The benchmark's end of such a process. The process ends when this value is dropped.
pub(crate) struct Process {
    process: Child,
    /// `None` only during drop.
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a process. `arguments` follow its option.
    pub(crate) fn start(role: &Role, arguments: &[String]) -> Result<Process> {
        let mut process = Command::new(env::current_exe()?)
            .arg(format!("--{}", role.option))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("no pipe from a process")?;
        Ok(Process {
            process,
            input,
            output: BufReader::new(output),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends an order, one line of JSON, and waits for its answer.
    pub(crate) fn order<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<A> {
        self.send(order)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, order: &impl Serialize) -> Result<()> {
        self.write_line(&serde_json::to_string(order)?)
    }

    pub(crate) fn receive<A: DeserializeOwned>(&mut self) -> Result<A> {
        Ok(serde_json::from_str(&self.read_line()?)?)
    }

    pub(crate) fn write_line(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("no pipe to a process")?;
        writeln!(input, "{line}")?;
        Ok(())
    }

    /// Reads a line, without its end.
    pub(crate) fn read_line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err("a process has ended; its message is above".into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// Ends the process. It must not fail.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.input = None;
        let status = self.process.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a process ended with {status}").into())
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process ends when its input ends.
        self.input = None;
        if let Err(error) = self.process.wait() {
            eprintln!("cannot wait for a process: {error}");
        }
    }
}

/// The process's end: reads the next order, or `None` at the end of the input.
pub(crate) fn next_order<O: DeserializeOwned>() -> io::Result<Option<O>> {
    let mut line = String::new();
    if io::stdin().read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

/// The process's end: writes an answer, one line of JSON.
pub(crate) fn answer(answer: &impl Serialize) -> io::Result<()> {
    answer_line(&serde_json::to_string(answer)?)
}

/// The process's end: writes an answer as it is.
pub(crate) fn answer_line(line: &str) -> io::Result<()> {
    let mut output = io::stdout();
    writeln!(output, "{line}")?;
    output.flush()
}
