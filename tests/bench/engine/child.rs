// SPDX-License-Identifier: GPL-2.0-or-later

//! A subject in its own process, because a process can have only one limiter.
//!
//! The child sets up and writes an empty line. For each line that it then reads, it
//! makes one pass and writes its figures, one JSON line each, followed by an empty line.
//! So several children can be set up at once and take turns. At the end of its input the
//! child checks that its subject has counted correctly, and ends.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Result;
use crate::common::process::{Process, Role, answer, answer_line};
use crate::job::Job;

/// Its argument is the [`Job`].
pub(crate) const ROLE: Role = Role {
    option: "job",
    run: work,
};

/// The parent's end.
pub(crate) struct Child(Process);

impl Child {
    /// Starts a child and waits until it has set up.
    pub(crate) fn start(job: &Job) -> Result<Child> {
        let mut child = Child(Process::start(&ROLE, &[serde_json::to_string(job)?])?);
        child.figures::<()>()?;
        Ok(child)
    }

    /// Makes one pass, which must return figures of type `T`.
    pub(crate) fn pass<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        self.0.write_line("")?;
        self.figures()
    }

    /// Ends the child, which checks its subject.
    pub(crate) fn finish(self) -> Result<()> {
        self.0.finish()
    }

    fn figures<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let mut figures = Vec::new();
        loop {
            let line = self.0.read_line()?;
            if line.is_empty() {
                return Ok(figures);
            }
            figures.push(serde_json::from_str(&line)?);
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

/// The child's end.
fn work(arguments: &[String]) -> Result<()> {
    let [job] = arguments else {
        return Err("a child needs a job".into());
    };
    serde_json::from_str::<Job>(job)?.work()
}

/// The child's end: makes a pass for each line of standard input.
pub(crate) fn serve<T: Serialize>(mut pass: impl FnMut() -> Result<Vec<T>>) -> Result<()> {
    answer_line("")?;
    for line in io::stdin().lines() {
        line?;
        for figure in pass()? {
            answer(&figure)?;
        }
        answer_line("")?;
    }
    Ok(())
}
