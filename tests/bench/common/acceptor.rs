// SPDX-License-Identifier: GPL-2.0-or-later

//! The least that a server can do with a connection over the limit: a process that waits,
//! accepts and closes. It keeps all other connections and never looks at them again.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{Backlog, listen};

use super::Result;
use super::generator::GREEDY_SOURCE;

/// The length of the accept queue, the same as Kamailio's.
const BACKLOG: i32 = 1_024;

/// The process. It ends when this value is dropped.
pub(crate) struct Acceptor {
    process: Child,
    port: u16,
}

impl Acceptor {
    /// Starts a process that keeps `limit` connections of the flooding source.
    pub(crate) fn start(limit: usize) -> Result<Acceptor> {
        let mut process = Command::new(env::current_exe()?)
            .args(["--acceptor", &limit.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("no pipe from the acceptor")?;
        let mut acceptor = Acceptor { process, port: 0 };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        acceptor.port = line.trim().parse()?;
        Ok(acceptor)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // The process ends when its input ends.
        drop(self.process.stdin.take());
        if let Err(error) = self.process.wait() {
            eprintln!("cannot wait for the process that accepts and closes: {error}");
        }
    }
}

/// Accepts until standard input ends.
pub(crate) fn run(limit: usize) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listen(&listener, Backlog::new(BACKLOG)?)?;
    println!("{}", listener.local_addr()?.port());
    io::stdout().flush()?;

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
