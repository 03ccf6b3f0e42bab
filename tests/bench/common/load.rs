// SPDX-License-Identifier: GPL-2.0-or-later

//! The benchmark's end of a process that makes load: starts it, gives it orders,
//! reads its answers, one line of JSON each.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;

pub(crate) struct Load {
    process: Child,
    /// `None` only while it is dropped.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Load {
    /// This program once more, with `arguments`.
    pub(crate) fn start(arguments: &[&str]) -> Result<Load> {
        let mut process = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take();
        let answers = process.stdout.take().ok_or("no answers")?;
        Ok(Load {
            process,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// Give an order and wait for its answer.
    pub(crate) fn order<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<A> {
        self.send(order)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, order: &impl Serialize) -> Result<()> {
        let orders = self.orders.as_mut().ok_or("no orders")?;
        writeln!(orders, "{}", serde_json::to_string(order)?)?;
        Ok(())
    }

    pub(crate) fn receive<A: DeserializeOwned>(&mut self) -> Result<A> {
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err("a load generator has ended; its message is above".into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Closing its input tells the generator to end.
        self.orders = None;
        if let Err(error) = self.process.wait() {
            eprintln!("a load generator: {error}");
        }
    }
}
