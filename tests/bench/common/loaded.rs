// SPDX-License-Identifier: GPL-2.0-or-later

//! The measured process of a server, with its load.

use std::fs;
use std::io;

use super::Result;
use super::cpu::Placement;
use super::generator::{self, Greed, Held, Order, Window};
use super::process::Process;
use support::kamailio::until;

pub(crate) struct Loaded {
    load: Process,
    /// The accepting process.
    pid: u32,
    /// The number of its sockets that are not connections.
    other_sockets: usize,
    held: usize,
    /// All connections opened so far.
    opened: u64,
}

impl Loaded {
    /// Starts the load. `pid` accepts on `port` and must not have a connection yet.
    pub(crate) fn start(port: u16, pid: u32, placement: &Placement) -> Result<Loaded> {
        placement.pin_server(pid)?;
        Ok(Loaded {
            load: generator::start(port, pid)?,
            other_sockets: sockets(pid)?,
            pid,
            held: 0,
            opened: 0,
        })
    }

    /// Holds `level` connections and waits until the server has as many. Returns how many
    /// are up at the client.
    pub(crate) fn hold(&mut self, level: usize) -> Result<usize> {
        let Held { up } = self.load.order(&Order::Hold(level))?;
        self.opened += (level - self.held) as u64;
        self.held = level;
        if up != level {
            return Err(format!("{up} connections are up, expected {level}").into());
        }
        self.wait_for_held();
        Ok(up)
    }

    /// Holds `count` more connections, all from one source.
    pub(crate) fn hold_of_one(&mut self, count: usize) -> Result<()> {
        let Held { up } = self.load.order(&Order::HoldOfOne(count))?;
        self.opened += count as u64;
        self.held += count;
        if up != self.held {
            return Err(format!("{up} connections are up, expected {}", self.held).into());
        }
        self.wait_for_held();
        Ok(())
    }

    /// Measures one window of churn or of a flood.
    pub(crate) fn churn(&mut self, order: &Order) -> Result<Window> {
        let window: Window = self.load.order(order)?;
        self.opened += window.opened;
        if window.accepted == 0 {
            return Err("a window had no new connection: the machine is too busy".into());
        }
        if window.held_up != self.held {
            return Err(format!(
                "{} of {} held connections were closed",
                self.held - window.held_up,
                self.held
            )
            .into());
        }
        self.wait_for_held();
        Ok(window)
    }

    /// Opens `connections` from one source and returns how many were admitted. The wait for
    /// rejections ends when at most `limit` are left.
    pub(crate) fn greedy(&mut self, connections: usize, limit: usize) -> Result<usize> {
        let Greed { admitted } = self.load.order(&Order::Greedy { connections, limit })?;
        self.wait_for_held();
        Ok(admitted)
    }

    /// Waits until the server has the held connections and no others.
    fn wait_for_held(&self) {
        until(&format!("{} connections held", self.held), || {
            self.descriptors().is_ok_and(|count| count == self.held)
        });
    }

    /// The number of sockets that the process has opened since the start.
    pub(crate) fn descriptors(&self) -> io::Result<usize> {
        Ok(sockets(self.pid)?.saturating_sub(self.other_sockets))
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    pub(crate) fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }
}

/// Returns the number of sockets of a process.
fn sockets(pid: u32) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        match fs::read_link(entry?.path()) {
            Ok(target) => count += usize::from(target.to_string_lossy().starts_with("socket:")),
            // It was closed after the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
