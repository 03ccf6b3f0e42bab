// SPDX-License-Identifier: GPL-2.0-or-later

//! The process of honest clients: each connects from a source of its own and waits for the
//! answer to a keep-alive.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use support::raw::connect_from;

use crate::Result;
use crate::process::{Role, answer, next_order};

pub(crate) const ROLE: Role = Role {
    option: "honest",
    run: main,
};

/// Clients a second.
pub(crate) const RATE: u32 = 50;

/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) to: SocketAddr,
    pub(crate) window: Duration,
}

/// From the first packet to the answer, in microseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Waits {
    pub(crate) micros: Vec<u32>,
    /// Clients without a connection or an answer.
    pub(crate) failed: u32,
}

fn main(_: &[String]) -> Result<()> {
    while let Some(order) = next_order::<Order>()? {
        answer(&run(&order))?;
    }
    Ok(())
}

fn run(order: &Order) -> Waits {
    let mut waits = Waits {
        micros: Vec::new(),
        failed: 0,
    };
    let began = Instant::now();
    let mut client = 0;
    while began.elapsed() < order.window {
        let due = Duration::from_secs(1) / RATE * client;
        sleep(due.saturating_sub(began.elapsed()));
        match wait(client, order.to) {
            Ok(waited) => waits.micros.push(waited.as_micros() as u32),
            Err(_) => waits.failed += 1,
        }
        client += 1;
    }
    waits
}

fn wait(client: u32, to: SocketAddr) -> std::io::Result<Duration> {
    let [_, _, high, low] = client.to_be_bytes();
    let from = Ipv4Addr::new(127, 20, high, low);
    let began = Instant::now();
    let mut stream = connect_from(from.into(), to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"\r\n\r\n")?;
    stream.read_exact(&mut [0; 2])?;
    Ok(began.elapsed())
}
