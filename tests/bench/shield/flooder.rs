// SPDX-License-Identifier: GPL-2.0-or-later

//! The process that floods: it begins connections from one source, at a rate or as fast as
//! it can, and gives each up soon, whatever became of it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::cpu::{Clock, pin};
use crate::process::{Role, answer, next_order};

pub(crate) const ROLE: Role = Role {
    option: "flooder",
    run: main,
};

/// Connections that it has at a time. Each is given up when this many more have begun.
const AT_A_TIME: usize = 500;

/// How long it sleeps if it is ahead of its rate.
const NAP: Duration = Duration::from_micros(500);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Attempts a second; `None`: as fast as it can.
    pub(crate) rate: Option<u32>,
    pub(crate) window: Duration,
    pub(crate) cpus: Vec<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Flooded {
    pub(crate) attempts: u64,
    /// Its own CPU time. On the loopback interface this includes what the kernel does with
    /// its packets until they are dropped or queued.
    pub(crate) run_ns: u64,
    pub(crate) seconds: f64,
}

fn main(_: &[String]) -> Result<()> {
    while let Some(order) = next_order::<Order>()? {
        pin(&order.cpus)?;
        answer(&flood(&order)?)?;
    }
    Ok(())
}

fn flood(order: &Order) -> Result<Flooded> {
    let clock = Clock::detect();
    let own = std::process::id();
    let mut open: VecDeque<OwnedFd> = VecDeque::with_capacity(AT_A_TIME + 1);
    let before = clock.read(own)?;
    let began = Instant::now();
    let mut attempts = 0;
    while began.elapsed() < order.window {
        if let Some(rate) = order.rate {
            let due = began.elapsed().as_secs_f64() * f64::from(rate);
            if attempts as f64 >= due {
                sleep(NAP);
                continue;
            }
        }
        open.push_back(attempt(order)?);
        attempts += 1;
        if open.len() > AT_A_TIME {
            open.pop_front();
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let run_ns = clock.read(own)?.run_ns - before.run_ns;
    Ok(Flooded {
        attempts,
        run_ns,
        seconds,
    })
}

fn attempt(order: &Order) -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let client = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    // Reset at the end, so that no port waits.
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, sockopt::Linger, &at_once)?;
    setsockopt(&client, sockopt::IpBindAddressNoPort, &true)?;
    bind(client.as_raw_fd(), &SockaddrStorage::from(order.from))?;
    match connect(client.as_raw_fd(), &SockaddrStorage::from(order.to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(client),
        Err(error) => Err(error.into()),
    }
}
