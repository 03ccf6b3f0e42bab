// SPDX-License-Identifier: GPL-2.0-or-later

//! Honest sources: each connects, sends a request, waits for the answer, and closes. The
//! benchmark measures how long that takes.
//!
//! They come at fixed times, whether earlier ones have been served or not, and the time
//! of each counts from when it was due. So if the server or this process stands still for
//! a while, every source that was due in that time shows it.
//!
//! A successful connect proves nothing, because the kernel completes it: the connection
//! may wait long in the listening socket's queue and still be rejected. An answer to a
//! SIP request proves that the server has admitted it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, getsockopt, recv, send, sockopt};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::common::sip;
use crate::process::{Role, answer, next_order};
use crate::socket::{connecting, to_be_reset};

pub(crate) const ROLE: Role = Role {
    option: "honest",
    run,
};

/// Lets honest sources come for a while. The answer is [`Fared`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) to: SocketAddr,
    /// The sources take turns.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) per_second: u32,
    /// Sources that come in this first period are not counted.
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// A source without an answer after this time has failed.
    pub(crate) patience: Duration,
}

/// The results of the sources that came in the window.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Fared {
    /// The waits in microseconds of the sources that got an answer.
    pub(crate) times: Vec<u32>,
    /// Sources that got no answer in time.
    pub(crate) timed_out: usize,
    /// Sources whose connection the server closed.
    pub(crate) closed: usize,
}

impl Fared {
    pub(crate) fn add(&mut self, other: Fared) {
        self.times.extend(other.times);
        self.timed_out += other.timed_out;
        self.closed += other.closed;
    }
}

/// Executes orders until there are no more.
fn run(_: &[String]) -> Result<()> {
    while let Some(order) = next_order::<Order>()? {
        answer(&Guests::of(&order)?.come()?)?;
    }
    Ok(())
}

struct Guests<'a> {
    order: &'a Order,
    start: Instant,
    epoll: Epoll,
    /// The sources that wait, by number, which is the order in which they came.
    waiting: BTreeMap<u64, Exchange>,
    next: u64,
    fared: Fared,
}

struct Exchange {
    socket: OwnedFd,
    request_sent: bool,
    answer: Vec<u8>,
}

enum Step {
    Waits,
    Answered,
    Closed,
}

impl<'a> Guests<'a> {
    fn of(order: &'a Order) -> io::Result<Guests<'a>> {
        Ok(Guests {
            order,
            start: Instant::now(),
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            waiting: BTreeMap::new(),
            next: 0,
            fared: Fared::default(),
        })
    }

    fn come(mut self) -> io::Result<Fared> {
        let end = self.order.warm_up + self.order.window;
        loop {
            while self.due(self.next) < self.start + end && self.due(self.next) <= Instant::now() {
                self.welcome()?;
            }
            self.give_up()?;
            let coming = Some(self.due(self.next)).filter(|&due| due < self.start + end);
            let leaving = self.oldest().map(|(_, due)| due + self.order.patience);
            let Some(wake) = coming.into_iter().chain(leaving).min() else {
                return Ok(self.fared);
            };
            self.wait_until(wake)?;
        }
    }

    /// The time at which number `nth` is due.
    fn due(&self, nth: u64) -> Instant {
        self.start + Duration::from_nanos(nth * 1_000_000_000 / u64::from(self.order.per_second))
    }

    /// The source that has waited longest, and the time at which it was due.
    fn oldest(&self) -> Option<(u64, Instant)> {
        let (&nth, _) = self.waiting.first_key_value()?;
        Some((nth, self.due(nth)))
    }

    fn welcome(&mut self) -> io::Result<()> {
        let sources = &self.order.sources;
        let from = sources[self.next as usize % sources.len()];
        let exchange = Exchange {
            socket: connecting(from, self.order.to)?,
            request_sent: false,
            answer: Vec::new(),
        };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        self.epoll
            .add(&exchange.socket, EpollEvent::new(flags, self.next))?;
        self.waiting.insert(self.next, exchange);
        self.next += 1;
        Ok(())
    }

    fn give_up(&mut self) -> io::Result<()> {
        while let Some((nth, due)) = self.oldest()
            && due + self.order.patience <= Instant::now()
        {
            if let Some(exchange) = self.waiting.remove(&nth) {
                to_be_reset(&exchange.socket)?;
            }
            self.fared.timed_out += usize::from(self.is_counted(nth));
        }
        Ok(())
    }

    /// Returns whether number `nth` comes in the window.
    fn is_counted(&self, nth: u64) -> bool {
        self.due(nth) >= self.start + self.order.warm_up
    }

    fn wait_until(&mut self, wake: Instant) -> io::Result<()> {
        // ppoll() has a finer timeout than the milliseconds of epoll_wait().
        let mut ready = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
        let timeout = wake.saturating_duration_since(Instant::now());
        if ppoll(&mut ready, Some(timeout.into()), None)? == 0 {
            return Ok(());
        }
        let mut events = [EpollEvent::empty(); 64];
        let count = self.epoll.wait(&mut events, EpollTimeout::ZERO)?;
        for event in &events[..count] {
            let nth = event.data();
            let Some(exchange) = self.waiting.get_mut(&nth) else {
                continue;
            };
            let step = exchange.step()?;
            let now = Instant::now();
            if matches!(step, Step::Waits) {
                continue;
            }
            self.waiting.remove(&nth);
            if !self.is_counted(nth) {
                continue;
            }
            match step {
                Step::Answered => {
                    let time = now.duration_since(self.due(nth));
                    self.fared.times.push(time.as_micros() as u32);
                }
                _ => self.fared.closed += 1,
            }
        }
        Ok(())
    }
}

impl Exchange {
    /// Goes as far as possible without waiting.
    fn step(&mut self) -> io::Result<Step> {
        match self.send_and_receive() {
            Ok(step) => Ok(step),
            Err(Errno::EAGAIN | Errno::ENOTCONN) => Ok(Step::Waits),
            Err(Errno::ECONNREFUSED | Errno::ECONNRESET | Errno::EPIPE) => Ok(Step::Closed),
            Err(error) => Err(error.into()),
        }
    }

    fn send_and_receive(&mut self) -> nix::Result<Step> {
        let socket = self.socket.as_raw_fd();
        if !self.request_sent {
            match getsockopt(&self.socket, sockopt::SocketError)? {
                0 => {}
                error => return Err(Errno::from_raw(error)),
            }
            send(socket, sip::REQUEST, MsgFlags::MSG_NOSIGNAL)?;
            self.request_sent = true;
        }
        loop {
            let mut part = [0; 1_024];
            let count = recv(socket, &mut part, MsgFlags::MSG_DONTWAIT)?;
            if count == 0 {
                return Ok(Step::Closed);
            }
            self.answer.extend(&part[..count]);
            if self.answer.starts_with(sip::SUCCESS) && self.answer.ends_with(sip::END) {
                return Ok(Step::Answered);
            }
        }
    }
}
