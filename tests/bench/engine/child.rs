// SPDX-License-Identifier: GPL-2.0-or-later

//! A subject in its own process, because a process can have only one limiter.
//!
//! The child sets up and writes an empty line. For each line that it then reads, it
//! makes one pass and writes its figures, one JSON line each, followed by an empty line.
//! So several children can be set up at once and take turns. At the end of its input the
//! child checks that its subject has counted correctly, and ends.

use std::io::{self, BufRead, BufReader, Lines, Write};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::job::Job;

/// The parent's end.
pub(crate) struct Child {
    process: process::Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a child and waits until it has set up.
    pub(crate) fn start(job: &Job) -> Result<Child> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--job")
            .arg(serde_json::to_string(job)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = process.stdin.take();
        let output = process.stdout.take().ok_or("no pipe from the child")?;
        let mut child = Child {
            process,
            input,
            output: BufReader::new(output).lines(),
        };
        child.figures::<()>()?;
        Ok(child)
    }

    /// Makes one pass, which must return figures of type `T`.
    pub(crate) fn pass<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let input = self.input.as_mut().ok_or("no pipe to the child")?;
        writeln!(input)?;
        self.figures()
    }

    /// Ends the child, which checks its subject.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.input = None;
        let status = self.process.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a child ended with {status}").into())
        }
    }

    fn figures<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let mut figures = Vec::new();
        for line in &mut self.output {
            let line = line?;
            if line.is_empty() {
                return Ok(figures);
            }
            figures.push(serde_json::from_str(&line)?);
        }
        Err("a child ended early; its message is above".into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The child ends when its input ends.
        self.input = None;
        if let Err(error) = self.process.wait() {
            eprintln!("cannot wait for a child: {error}");
        }
    }
}

/// Runs a child from start to end, for one pass.
pub(crate) fn single<T: DeserializeOwned>(job: &Job) -> Result<Vec<T>> {
    let mut child = Child::start(job)?;
    let figures = child.pass()?;
    child.finish()?;
    Ok(figures)
}

/// The child's end: makes a pass for each line of standard input.
pub(crate) fn serve<T: Serialize>(mut pass: impl FnMut() -> Result<Vec<T>>) -> Result<()> {
    println!();
    for line in io::stdin().lines() {
        line?;
        for figure in pass()? {
            println!("{}", serde_json::to_string(&figure)?);
        }
        println!();
    }
    Ok(())
}
