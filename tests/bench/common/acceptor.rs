// SPDX-License-Identifier: GPL-2.0-or-later

//! The least that a server can do with a connection over the limit: a process that waits,
//! accepts and closes. It keeps all other connections and never looks at them again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, listen};

use super::Result;
use super::generator::GREEDY_SOURCE;
use super::process::{Process, Role, answer};

/// Its argument is the number of connections that it keeps of the flooding source.
pub(crate) const ROLE: Role = Role {
    option: "acceptor",
    run,
};

/// The length of the accept queue, the same as Kamailio's.
const BACKLOG: i32 = 1_024;

/// The process. It ends when this value is dropped.
pub(crate) struct Acceptor {
    process: Process,
    port: u16,
}

impl Acceptor {
    /// Starts a process that keeps `limit` connections of the flooding source.
    pub(crate) fn start(limit: usize) -> Result<Acceptor> {
        let mut process = Process::start(&ROLE, &[limit.to_string()])?;
        let port = process.receive()?;
        Ok(Acceptor { process, port })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}

/// Accepts until standard input ends.
fn run(arguments: &[String]) -> Result<()> {
    let [limit] = arguments else {
        return Err("the acceptor needs a limit".into());
    };
    let limit: usize = limit.parse()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    answer(&listener.local_addr()?.port())?;

    let input = io::stdin();
    let mut of_one = 0;
    let mut kept = Vec::new();
    loop {
        let mut fds = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(input.as_fd(), PollFlags::POLLIN),
        ];
        poll(&mut fds, PollTimeout::NONE)?;
        if fds[1].any() == Some(true) {
            return Ok(());
        }
        let (connection, peer) = listener.accept()?;
        if peer.ip() == IpAddr::V4(GREEDY_SOURCE) {
            if of_one == limit {
                continue;
            }
            of_one += 1;
        }
        kept.push(connection);
    }
}
