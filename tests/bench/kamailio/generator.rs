// SPDX-License-Identifier: GPL-2.0-or-later

//! The load generator: one process for each server, so that none needs more
//! descriptors than the server itself. It obeys [`Order`]s, one JSON line each,
//! and answers each with one JSON line; [`crate::load`] is the other end.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::cpu::{Clock, CpuTime};
use crate::listener::AcceptQueue;

/// Sources of the connections that are held: one each, from here upwards.
const HELD_SOURCES: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);

/// Sources of the churned connections: the next one each, from here upwards.
const CHURN_SOURCES: Ipv4Addr = Ipv4Addr::new(127, 128, 0, 0);
const CHURN_SOURCE_COUNT: u32 = 65_536;

/// Most connections that wait to be accepted. Well below the server's backlog
/// of 1,024, past which the kernel drops the attempt and repeats it after a
/// second.
const MOST_WAITING: usize = 256;

/// How often to look whether the server has accepted.
const LOOK: Duration = Duration::from_micros(200);

/// Longest time without any accept.
const STALLED: Duration = Duration::from_secs(30);

/// What the generator can be told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Hold that many connections; answer [`Held`].
    Hold(usize),
    /// Open and close connections at a steady rate; answer [`Window`].
    Churn {
        per_second: u32,
        warm_up: Duration,
        window: Duration,
        clock: Clock,
    },
}

/// The connections that are held.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Still up: no end, no error seen on the socket.
    pub(crate) up: usize,
}

/// What happened in one window of churn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) wall_ns: u64,
    /// CPU time of the server's TCP main process.
    pub(crate) run_ns: u64,
    /// Time which that process waited for its CPU.
    pub(crate) wait_ns: u64,
    /// Connections which the server accepted in the window.
    pub(crate) accepted: u64,
    /// Connections opened by this order in all, warm-up and end included.
    pub(crate) opened: u64,
    /// Of those held, still up after the window.
    pub(crate) held_up: usize,
}

/// Obey the orders on standard input until it ends.
pub(crate) fn run(port: u16, tcp_main: u32) -> io::Result<()> {
    let mut generator = Generator {
        server: SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)),
        tcp_main,
        queue: AcceptQueue::of(tcp_main, port)?,
        held: Vec::new(),
        churned: 0,
    };
    let mut answers = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Order::Hold(count) => serde_json::to_string(&generator.hold(count)?)?,
            Order::Churn {
                per_second,
                warm_up,
                window,
                clock,
            } => serde_json::to_string(&generator.churn(per_second, warm_up, window, clock)?)?,
        };
        writeln!(answers, "{answer}")?;
        answers.flush()?;
    }
    Ok(())
}

struct Generator {
    server: SockaddrIn,
    tcp_main: u32,
    queue: AcceptQueue,
    held: Vec<OwnedFd>,
    /// Connections churned so far: the next one's source follows from it.
    churned: u32,
}

impl Generator {
    /// Open connections until `count` are held and accepted.
    fn hold(&mut self, count: usize) -> io::Result<Held> {
        let mut progress = Instant::now();
        let mut waiting = 0;
        while self.held.len() < count || waiting > 0 {
            if self.held.len() < count && waiting < MOST_WAITING {
                let source = u32::from(HELD_SOURCES) + self.held.len() as u32;
                self.held.push(self.open(source)?);
                waiting += 1;
                continue;
            }
            let before = waiting;
            waiting = self.queue.len()?;
            if waiting < before {
                progress = Instant::now();
            } else {
                check_stalled(progress)?;
                thread::sleep(LOOK);
            }
        }
        Ok(Held {
            up: self.held_up()?,
        })
    }

    /// Open connections at absolute points in time, a period apart, and close
    /// each as soon as the server has accepted it. A server which cannot keep
    /// up is offered what it takes.
    fn churn(
        &mut self,
        per_second: u32,
        warm_up: Duration,
        window: Duration,
        clock: Clock,
    ) -> io::Result<Window> {
        let start = Instant::now();
        let mut progress = start;
        let mut opened: u32 = 0;
        let mut accepted: u64 = 0;
        let mut waiting = VecDeque::new();
        let mut first: Option<Mark> = None;
        let last = loop {
            let now = Instant::now();
            if first.is_none() && now >= start + warm_up {
                first = Some(self.mark(clock, accepted)?);
            }
            if now >= start + warm_up + window {
                break self.mark(clock, accepted)?;
            }
            let gone = self.drop_accepted(&mut waiting)?;
            accepted += gone;
            if gone > 0 || waiting.is_empty() {
                progress = now;
            }
            check_stalled(progress)?;

            let due = start + Duration::from_secs(1) * opened / per_second;
            if now >= due && waiting.len() < MOST_WAITING {
                waiting.push_back(self.open_churned()?);
                opened += 1;
            } else if waiting.is_empty() {
                sleep_until(due.min(start + warm_up + window));
            } else if now < due {
                sleep_until(due.min(now + LOOK));
            } else {
                thread::sleep(LOOK);
            }
        };
        let first = first.unwrap_or(last);

        let end = Instant::now();
        while !waiting.is_empty() {
            check_stalled(end)?;
            self.drop_accepted(&mut waiting)?;
            thread::sleep(LOOK);
        }
        Ok(Window {
            wall_ns: (last.at - first.at).as_nanos() as u64,
            run_ns: last.cpu.run_ns - first.cpu.run_ns,
            wait_ns: last.cpu.wait_ns - first.cpu.wait_ns,
            accepted: last.accepted - first.accepted,
            opened: u64::from(opened),
            held_up: self.held_up()?,
        })
    }

    fn mark(&self, clock: Clock, accepted: u64) -> io::Result<Mark> {
        Ok(Mark {
            cpu: clock.read(self.tcp_main)?,
            at: Instant::now(),
            accepted,
        })
    }

    /// Close those of `waiting` that the server has accepted, which it does in
    /// the order of their opening.
    fn drop_accepted(&self, waiting: &mut VecDeque<OwnedFd>) -> io::Result<u64> {
        if waiting.is_empty() {
            return Ok(0);
        }
        let accepted = waiting.len().saturating_sub(self.queue.len()?);
        waiting.drain(..accepted);
        Ok(accepted as u64)
    }

    fn open_churned(&mut self) -> io::Result<OwnedFd> {
        let source = u32::from(CHURN_SOURCES) + self.churned % CHURN_SOURCE_COUNT;
        self.churned = self.churned.wrapping_add(1);
        self.open(source)
    }

    fn open(&self, source: u32) -> io::Result<OwnedFd> {
        let fd = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // The port is chosen at connect(), where it must be free for this
        // source and server only.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        // Closing sends RST: no TIME_WAIT, of which a run would leave some
        // hundred thousand.
        let abort = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&fd, sockopt::Linger, &abort)?;
        let source = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(source), 0));
        bind(fd.as_raw_fd(), &source)?;
        connect(fd.as_raw_fd(), &self.server)?;
        Ok(fd)
    }

    /// Held connections that are up: the server never writes, so there is
    /// something to read only once it has closed one.
    fn held_up(&self) -> io::Result<usize> {
        let mut fds: Vec<PollFd> = self
            .held
            .iter()
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
            .collect();
        let ended = poll(&mut fds, PollTimeout::ZERO)?;
        Ok(self.held.len() - ended as usize)
    }
}

/// State at one end of a window.
#[derive(Clone, Copy)]
struct Mark {
    cpu: CpuTime,
    at: Instant,
    accepted: u64,
}

fn sleep_until(deadline: Instant) {
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
}

fn check_stalled(progress: Instant) -> io::Result<()> {
    if progress.elapsed() > STALLED {
        return Err(io::Error::other(format!(
            "the server has accepted nothing for {} s",
            STALLED.as_secs()
        )));
    }
    Ok(())
}
