// SPDX-License-Identifier: GPL-2.0-or-later

//! A subject in a process of its own, since a process can have one limiter.
//!
//! The child sets up and says an empty line. For each line that it then gets it
//! makes one pass and says its figures, one JSON line each, and an empty line. So
//! the children can be set up side by side and take turns. When there is nothing
//! more to read, it checks that its subject has counted right, and ends.

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

    /// One pass, which is to have figures of type `T`.
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
        Err("a child ended before its time".into())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It ends when there is nothing more to read.
        self.input = None;
        if let Err(error) = self.process.wait() {
            eprintln!("a child cannot be waited for: {error}");
        }
    }
}

/// A child with one pass to make, from its start to its end.
pub(crate) fn single<T: DeserializeOwned>(job: &Job) -> Result<Vec<T>> {
    let mut child = Child::start(job)?;
    let figures = child.pass()?;
    child.finish()?;
    Ok(figures)
}

/// The child's end: passes until there are no more to make.
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
