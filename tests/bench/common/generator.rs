// SPDX-License-Identifier: GPL-2.0-or-later

//! The load generator: one process per server, so it needs no more descriptors than the
//! server itself. It executes [`Order`]s. [`super::loaded`] is the other end.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, bind, connect, recv, setsockopt,
    socket, sockopt,
};
use serde::{Deserialize, Serialize};

use super::Result;
use super::cpu::{Clock, CpuTime};
use super::listener::AcceptQueue;
use super::process::{Process, Role, answer, next_order};

/// Its arguments are the server's port and the process that accepts.
pub(crate) const ROLE: Role = Role {
    option: "generator",
    run,
};

/// The first source of the held connections. Each has a source of its own, in order.
const HELD_SOURCES: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);

/// The first source of the churned connections. Each takes the next source, in order.
const CHURN_SOURCES: Ipv4Addr = Ipv4Addr::new(127, 128, 0, 0);
const CHURN_SOURCE_COUNT: u32 = 65_536;

/// The source that opens more connections than its limit.
pub(super) const GREEDY_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 32, 0, 1);

/// The maximum number of connections that wait to be accepted. It is well below the
/// server's backlog of 1,024, beyond which the kernel drops an attempt and repeats it after
/// a second.
const MAX_WAITING: usize = 256;

/// How often to check whether the server has accepted.
const POLL_PERIOD: Duration = Duration::from_micros(200);

/// The longest wait for the rejection of a connection.
const MAX_PATIENCE: Duration = Duration::from_secs(5);

/// The longest time without any accept.
const MAX_STALL: Duration = Duration::from_secs(30);

/// An order to the generator.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Hold that many connections. The answer is [`Held`].
    Hold(usize),
    /// Open and close connections at a steady rate. The answer is [`Window`].
    Churn {
        per_second: u32,
        warm_up: Duration,
        window: Duration,
        clock: Clock,
        /// Also count the CPU time of the generator: the kernel charges the work of a
        /// packet filter to the process that sends the packet.
        with_client: bool,
    },
    /// Open more connections than the limit allows, from one source. The answer is
    /// [`Greed`].
    Greedy { connections: usize, limit: usize },
    /// Hold that many more connections, all from one source. The answer is [`Held`].
    HoldOfOne(usize),
    /// Like [`Order::Churn`], with all connections from that source.
    Flood { pace: Pace, end: End },
}

/// How fast connections are opened, and which part is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) clock: Clock,
}

/// When a client closes its end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    /// As soon as the server has accepted.
    Accepted,
    /// When the server has closed its end, because it rejects. Closing earlier would spare
    /// the server a part of the closing.
    Rejected,
}

/// How many connections of one source were admitted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greed {
    pub(crate) admitted: usize,
}

/// The held connections.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// Connections that are still up: their socket shows neither end nor error.
    pub(crate) up: usize,
}

/// What happened in one window of churn.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) wall_ns: u64,
    /// CPU time of the server's accepting process; see also
    /// [`Order::Churn::with_client`].
    pub(crate) run_ns: u64,
    /// Time for which that process waited for its CPU.
    pub(crate) wait_ns: u64,
    /// Connections that the server accepted in the window or, with [`End::Rejected`],
    /// rejected.
    pub(crate) accepted: u64,
    /// All connections opened by this order, including warm-up and end.
    pub(crate) opened: u64,
    /// Held connections that are still up after the window.
    pub(crate) held_up: usize,
}

impl Window {
    pub(crate) fn wall(&self) -> Duration {
        Duration::from_nanos(self.wall_ns)
    }

    /// CPU time in per cent of a core.
    pub(crate) fn share(&self) -> f64 {
        100.0 * self.run_ns as f64 / self.wall_ns as f64
    }

    /// CPU time in microseconds per accepted connection.
    pub(crate) fn cost(&self) -> f64 {
        self.run_ns as f64 / 1_000.0 / self.accepted as f64
    }

    /// How long the process waited for its CPU because of other processes, in per cent of
    /// the time that it ran.
    pub(crate) fn waited<'a>(windows: impl Iterator<Item = &'a Window>) -> f64 {
        let (wait, run) = windows.fold((0, 0), |(wait, run), window| {
            (wait + window.wait_ns, run + window.run_ns)
        });
        100.0 * wait as f64 / run as f64
    }

    /// Connections accepted per second.
    pub(crate) fn reached(&self) -> f64 {
        self.accepted as f64 / self.wall().as_secs_f64()
    }
}

/// Starts a generator for the server that accepts on `port`.
pub(crate) fn start(port: u16, server: u32) -> Result<Process> {
    Process::start(&ROLE, &[port.to_string(), server.to_string()])
}

/// Executes orders until there are no more.
fn run(arguments: &[String]) -> Result<()> {
    let [port, server] = arguments else {
        return Err("the generator needs a port and a process".into());
    };
    let (port, server) = (port.parse()?, server.parse()?);
    join_network_of(server)?;
    let mut generator = Generator {
        address: SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)),
        server,
        queue: AcceptQueue::of(server, port)?,
        with_client: false,
        held: Vec::new(),
        churned: 0,
    };
    while let Some(order) = next_order()? {
        match order {
            Order::Hold(count) => answer(&generator.hold(count)?)?,
            Order::Churn {
                per_second,
                warm_up,
                window,
                clock,
                with_client,
            } => {
                generator.with_client = with_client;
                let pace = Pace {
                    per_second,
                    warm_up,
                    window,
                    clock,
                };
                answer(&generator.churn(pace, None)?)?;
            }
            Order::Greedy { connections, limit } => {
                answer(&generator.greedy(connections, limit)?)?;
            }
            Order::HoldOfOne(count) => answer(&generator.hold_of_one(count)?)?,
            Order::Flood { pace, end } => {
                generator.with_client = false;
                answer(&generator.churn(pace, Some(end))?)?;
            }
        }
    }
    Ok(())
}

struct Generator {
    address: SockaddrIn,
    /// The process that accepts.
    server: u32,
    with_client: bool,
    queue: AcceptQueue,
    held: Vec<OwnedFd>,
    /// Connections churned so far, which determines the source of the next one.
    churned: u32,
}

impl Generator {
    /// Opens connections until `count` are held and accepted.
    fn hold(&mut self, count: usize) -> io::Result<Held> {
        self.hold_from(count, |nth| u32::from(HELD_SOURCES) + nth as u32)
    }

    /// Opens `count` more connections, all from one source.
    fn hold_of_one(&mut self, count: usize) -> io::Result<Held> {
        self.hold_from(self.held.len() + count, |_| u32::from(GREEDY_SOURCE))
    }

    fn hold_from(&mut self, count: usize, source: impl Fn(usize) -> u32) -> io::Result<Held> {
        let mut progress = Instant::now();
        let mut waiting = 0;
        while self.held.len() < count || waiting > 0 {
            if self.held.len() < count && waiting < MAX_WAITING {
                let source = source(self.held.len());
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
                thread::sleep(POLL_PERIOD);
            }
        }
        Ok(Held {
            up: self.held_up()?,
        })
    }

    /// Opens connections from one source, then waits until the server has rejected those
    /// over the limit, for at most [`MAX_PATIENCE`].
    fn greedy(&self, connections: usize, limit: usize) -> io::Result<Greed> {
        let mut open = Vec::new();
        for _ in 0..connections {
            match self.open(u32::from(GREEDY_SOURCE)) {
                Ok(fd) => open.push(fd),
                // The kernel rejected it, before the server saw it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => return Err(error),
            }
            while self.queue.len()? > 0 {
                thread::sleep(POLL_PERIOD);
            }
        }
        let start = Instant::now();
        loop {
            let admitted = up(&open)?;
            if admitted <= limit || start.elapsed() > MAX_PATIENCE {
                return Ok(Greed { admitted });
            }
            thread::sleep(POLL_PERIOD);
        }
    }

    /// Opens connections at fixed times, one period apart. Without `flood` they come from
    /// many sources, and each is closed as soon as the server has accepted it. With `flood`
    /// they come from one source and are closed as it says. A server that cannot keep up is
    /// offered no more than it accepts.
    fn churn(&mut self, pace: Pace, flood: Option<End>) -> io::Result<Window> {
        let Pace {
            per_second,
            warm_up,
            window,
            clock,
        } = pace;
        let end_of_each = flood.unwrap_or(End::Accepted);
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
            let ended = self.drop_ended(&mut waiting, end_of_each)?;
            accepted += ended;
            if ended > 0 || waiting.is_empty() {
                progress = now;
            }
            check_stalled(progress)?;

            let due = start + Duration::from_secs(1) * opened / per_second;
            if now >= due && waiting.len() < MAX_WAITING {
                waiting.push_back(match flood {
                    None => self.open_churned()?,
                    Some(_) => self.open(u32::from(GREEDY_SOURCE))?,
                });
                opened += 1;
            } else if waiting.is_empty() {
                sleep_until(due.min(start + warm_up + window));
            } else if now < due {
                sleep_until(due.min(now + POLL_PERIOD));
            } else {
                thread::sleep(POLL_PERIOD);
            }
        };
        let first = first.unwrap_or(last);

        let end = Instant::now();
        while !waiting.is_empty() {
            check_stalled(end)?;
            self.drop_ended(&mut waiting, end_of_each)?;
            thread::sleep(POLL_PERIOD);
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
        let mut cpu = clock.read(self.server)?;
        if self.with_client {
            let own = clock.read(std::process::id())?;
            cpu.run_ns += own.run_ns;
            cpu.wait_ns += own.wait_ns;
        }
        Ok(Mark {
            cpu,
            at: Instant::now(),
            accepted,
        })
    }

    /// Closes the connections of `waiting` that the server has accepted or closed, as `end`
    /// says. The server accepts them in the order in which they were opened.
    fn drop_ended(&self, waiting: &mut VecDeque<OwnedFd>, end: End) -> io::Result<u64> {
        if waiting.is_empty() {
            return Ok(0);
        }
        let ended = match end {
            End::Accepted => waiting.len().saturating_sub(self.queue.len()?),
            End::Rejected => closed_by_server(waiting)?,
        };
        waiting.drain(..ended);
        Ok(ended as u64)
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
        // The kernel chooses the port in connect(), where it must only be free for this
        // source and server.
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true)?;
        // close() sends RST. A FIN would leave some hundred thousand sockets in TIME_WAIT.
        let abort = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&fd, sockopt::Linger, &abort)?;
        let source = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::from(source), 0));
        bind(fd.as_raw_fd(), &source)?;
        connect(fd.as_raw_fd(), &self.address)?;
        Ok(fd)
    }

    fn held_up(&self) -> io::Result<usize> {
        up(&self.held)
    }
}

/// The state at one end of a window.
#[derive(Clone, Copy)]
struct Mark {
    cpu: CpuTime,
    at: Instant,
    accepted: u64,
}

/// Returns the number of connections that are up. The server never writes, so a socket
/// becomes readable only when the server has closed it.
fn up(connections: &[OwnedFd]) -> io::Result<usize> {
    let mut fds: Vec<PollFd> = connections
        .iter()
        .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN))
        .collect();
    let ended = poll(&mut fds, PollTimeout::ZERO)?;
    Ok(connections.len() - ended as usize)
}

/// Returns how many of `connections`, from the first, the server has closed.
fn closed_by_server(connections: &VecDeque<OwnedFd>) -> io::Result<usize> {
    for (nth, fd) in connections.iter().enumerate() {
        match recv(fd.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) {
            Ok(0) | Err(Errno::ECONNRESET) => {}
            Err(Errno::EAGAIN) => return Ok(nth),
            Ok(_) => return Err(io::Error::other("the server sent data without a request")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(connections.len())
}

/// Joins the network namespace of the server, which may have its own.
fn join_network_of(server: u32) -> io::Result<()> {
    let theirs = format!("/proc/{server}/ns/net");
    if fs::read_link(&theirs)? != fs::read_link("/proc/self/ns/net")? {
        setns(File::open(theirs)?, CloneFlags::CLONE_NEWNET)?;
    }
    Ok(())
}

fn sleep_until(deadline: Instant) {
    thread::sleep(deadline.saturating_duration_since(Instant::now()));
}

fn check_stalled(progress: Instant) -> io::Result<()> {
    if progress.elapsed() > MAX_STALL {
        return Err(io::Error::other(format!(
            "the server has accepted nothing for {} s",
            MAX_STALL.as_secs()
        )));
    }
    Ok(())
}
