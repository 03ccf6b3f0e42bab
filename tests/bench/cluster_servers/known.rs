// SPDX-License-Identifier: GPL-2.0-or-later

//! How soon all servers know of a change on one of them.

use std::net::{Ipv4Addr, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use support::kamailio::{Server, Via, number};
use tcp_conn_limit::cluster::bound::{eager_growth, threshold};

use crate::Result;
use crate::record::{Change, Changed};
use crate::subject::{NODES, Subject};
use crate::talk::{keep_alive, open};

/// ε in percent, as the module sets it.
const HIDDEN_PERCENT: u32 = 10;

/// A pause between two questions to the servers. It bounds the error.
const PAUSE: Duration = Duration::from_micros(500);

/// What a change is given up after.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes this many changes and jumps on each server, on all of them at the same time.
pub(crate) fn measure(subject: &Subject, limit: u32, changes: u32) -> Result<Vec<Changed>> {
    thread::scope(|scope| {
        let threads: Vec<_> = (0..NODES)
            .map(|node| {
                scope.spawn(move || {
                    let changed = of_node(subject, node, limit, changes);
                    // An error cannot be sent to another thread; its text can.
                    changed.map_err(|error| error.to_string())
                })
            })
            .collect();
        let mut all = Vec::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| "a change panicked")??);
        }
        Ok(all)
    })
}

/// A source of which only this thread has connections.
struct Source<'a> {
    address: Ipv4Addr,
    here: &'a Server,
    others: Vec<&'a Server>,
    held: Vec<TcpStream>,
}

fn of_node(subject: &Subject, node: usize, limit: u32, changes: u32) -> Result<Vec<Changed>> {
    let nodes = 0..NODES;
    let others = nodes.filter(|&other| other != node);
    let mut source = Source {
        address: Ipv4Addr::new(127, 90, 0, node as u8 + 1),
        here: &subject.servers[node],
        others: others.map(|other| &subject.servers[other]).collect(),
        held: Vec::new(),
    };
    let mut random = SmallRng::seed_from_u64(node as u64);
    let mut pause = |ms| sleep(Duration::from_millis(random.random_range(0..ms)));
    let nodes = NODES as u32;
    // Enough to be reported, so that each change is.
    let base = threshold(limit, nodes, HIDDEN_PERCENT) as usize;
    source.set(base)?;
    let mut all = Vec::new();
    for nth in 0..changes {
        // At any moment of an interval.
        pause(1_000);
        let count = base + usize::from(nth % 2 == 0);
        let (ms, error_ms) = source.set(count)?;
        all.push(Changed {
            node,
            change: Change::One,
            ms,
            error_ms,
        });
    }
    let jump = base + eager_growth(limit, nodes) as usize + 1;
    for _ in 0..changes {
        source.set(base)?;
        pause(100);
        let (ms, error_ms) = source.set(jump)?;
        all.push(Changed {
            node,
            change: Change::Jump,
            ms,
            error_ms,
        });
    }
    source.set(0)?;
    Ok(all)
}

impl Source<'_> {
    /// Opens or closes connections until `count` are open. Returns the time from the last one
    /// until all others knew it, and by how much that may be too long, in ms.
    fn set(&mut self, count: usize) -> Result<(f64, f64)> {
        let mut began = Instant::now();
        while self.held.len() > count {
            began = Instant::now();
            self.held.pop();
        }
        while self.held.len() < count {
            began = Instant::now();
            let mut stream = open(self.address, self.here.address(Via::Tcp))?;
            if !keep_alive(&mut stream)? {
                return Err(format!("{} was rejected", self.address).into());
            }
            self.held.push(stream);
        }
        let mut unaware = self.others.clone();
        let mut asked = began;
        loop {
            let before = asked;
            asked = Instant::now();
            unaware.retain(|server| {
                let found = server.source(&self.address.to_string());
                number(&found, "others") != count as u64
            });
            let now = Instant::now();
            if unaware.is_empty() {
                let ms = |time: Duration| time.as_secs_f64() * 1e3;
                return Ok((ms(now - began), ms(now - before)));
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{} is not known", self.address).into());
            }
            sleep(PAUSE);
        }
    }
}
