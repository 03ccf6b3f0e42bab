// SPDX-License-Identifier: GPL-2.0-or-later

//! The benchmark's end of a load process: starts it, sends orders and reads answers, one
//! JSON line each.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;

pub(crate) struct Load {
    process: Child,
    /// `None` only during drop.
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Load {
    /// Starts this program again, with `arguments`.
    pub(crate) fn start(arguments: &[&str]) -> Result<Load> {
        let mut process = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let orders = process.stdin.take();
        let answers = process
            .stdout
            .take()
            .ok_or("no pipe from the load generator")?;
        Ok(Load {
            process,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// Sends an order and waits for its answer.
    pub(crate) fn order<A: DeserializeOwned>(&mut self, order: &impl Serialize) -> Result<A> {
        self.send(order)?;
        self.receive()
    }

    pub(crate) fn send(&mut self, order: &impl Serialize) -> Result<()> {
        let orders = self
            .orders
            .as_mut()
            .ok_or("no pipe to the load generator")?;
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
        // The generator ends when its input ends.
        self.orders = None;
        if let Err(error) = self.process.wait() {
            eprintln!("cannot wait for a load generator: {error}");
        }
    }
}
