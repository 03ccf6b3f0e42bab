// SPDX-License-Identifier: GPL-2.0-or-later

//! A process with a part of the sources. Each has one connection, to any of the servers.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::process::{Role, answer, next_order};
use crate::talk::{keep_alive, open};

pub(crate) const ROLE: Role = Role {
    option: "crowd",
    run: main,
};

/// The addresses of the sources follow this one.
const SOURCES: Ipv4Addr = Ipv4Addr::new(127, 100, 0, 0);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Connect sources, the first of them with this number.
    Hold {
        to: Vec<SocketAddr>,
        first: u32,
        count: u32,
    },
    /// From now on close this many connections a second, and open each again from the same
    /// source, to any server.
    Churn(f64),
    /// End that.
    Rest,
}

/// The answer to each order: connections opened so far.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Opened(pub(crate) u64);

fn main(_: &[String]) -> Result<()> {
    let mut crowd = Crowd::default();
    let mut churn = None;
    while let Some(order) = next_order::<Order>()? {
        match order {
            Order::Hold { to, first, count } => crowd.hold(to, first, count)?,
            Order::Churn(per_second) => {
                churn = Some(Churn::start(std::mem::take(&mut crowd), per_second));
                answer(&Opened(0))?;
                continue;
            }
            Order::Rest => {
                if let Some(churn) = churn.take() {
                    crowd = churn.end()?;
                }
            }
        }
        answer(&Opened(crowd.opened))?;
    }
    Ok(())
}

#[derive(Default)]
struct Crowd {
    to: Vec<SocketAddr>,
    held: Vec<(Ipv4Addr, TcpStream)>,
    opened: u64,
}

impl Crowd {
    fn hold(&mut self, to: Vec<SocketAddr>, first: u32, count: u32) -> Result<()> {
        self.to = to;
        for number in first..first + count {
            let from = Ipv4Addr::from(u32::from(SOURCES) + number);
            let stream = self.connect(from, number as usize % self.to.len())?;
            self.held.push((from, stream));
        }
        Ok(())
    }

    fn connect(&mut self, from: Ipv4Addr, node: usize) -> Result<TcpStream> {
        let mut stream = open(from, self.to[node])?;
        if !keep_alive(&mut stream)? {
            return Err(format!("{from} was rejected").into());
        }
        self.opened += 1;
        Ok(stream)
    }
}

/// Connections that are replaced, by a thread.
struct Churn {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<std::result::Result<Crowd, String>>,
}

impl Churn {
    fn start(mut crowd: Crowd, per_second: f64) -> Churn {
        let ends = Arc::new(AtomicBool::new(false));
        let is_ending = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            // An error cannot be sent to another thread; its text can.
            churn(&mut crowd, per_second, &is_ending).map_err(|error| error.to_string())?;
            Ok(crowd)
        });
        Churn { ends, thread }
    }

    fn end(self) -> Result<Crowd> {
        self.ends.store(true, Ordering::Relaxed);
        let crowd = self.thread.join().map_err(|_| "the churn panicked")?;
        Ok(crowd?)
    }
}

fn churn(crowd: &mut Crowd, per_second: f64, ends: &AtomicBool) -> Result<()> {
    let mut random = SmallRng::seed_from_u64(1);
    let began = Instant::now();
    let mut replaced = 0.0;
    while !ends.load(Ordering::Relaxed) {
        let due = began + Duration::from_secs_f64(replaced / per_second);
        // At most so long, so that it ends soon.
        let pause = due.saturating_duration_since(Instant::now());
        if !pause.is_zero() {
            sleep(pause.min(Duration::from_millis(20)));
            continue;
        }
        let index = random.random_range(0..crowd.held.len());
        let (from, old) = crowd.held.swap_remove(index);
        drop(old);
        let node = random.random_range(0..crowd.to.len());
        let stream = crowd.connect(from, node)?;
        crowd.held.push((from, stream));
        replaced += 1.0;
    }
    Ok(())
}
