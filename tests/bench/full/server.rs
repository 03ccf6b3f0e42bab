// SPDX-License-Identifier: GPL-2.0-or-later

//! Real servers: greedy sources fill one to its maximum and keep trying, while phones and a
//! trunk come at fixed times.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clients::{Visits, admitted};
use crate::policy::{LEVELS, RESERVE};
use crate::subject::{Settings, Which};
use crate::{Result, Waits};
use support::kamailio::{Client, Server, Via, source};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Connections that the server allows.
    pub(crate) max: u32,
    /// Connections that each source may have.
    pub(crate) limit: u32,
    /// Greedy sources.
    pub(crate) greedy: u8,
    /// The pause of a greedy source after a rejection.
    pub(crate) greedy_pause: Duration,
    /// Phones that have a connection before the attack, and keep it.
    pub(crate) registered: u32,
    /// Phones that come in a second, and connections of the trunk.
    pub(crate) phones_per_second: u32,
    pub(crate) trunk_per_second: u32,
    /// They come when the greedy sources had this time to fill the server.
    pub(crate) fill: Duration,
    #[serde(flatten)]
    pub(crate) visits: Visits,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Plan {
        let seconds = if quick { 4 } else { 30 };
        Plan {
            max: 2_000,
            limit: 1_000,
            greedy: 3,
            greedy_pause: Duration::from_millis(5),
            registered: 300,
            phones_per_second: 20,
            trunk_per_second: 5,
            fill: Duration::from_secs(3),
            visits: Visits {
                stays: Duration::from_secs(3),
                retry: Duration::from_millis(250),
                patience: Duration::from_secs(3),
                window: Duration::from_secs(seconds),
            },
        }
    }

    fn start(&self, which: Which) -> Server {
        let settings = Settings {
            max: self.max,
            core_limit: self.limit,
            limit: self.limit,
            memory: 200,
        };
        which.start(&settings, |config| {
            config
                .text_param("pressure", LEVELS)
                .text_param("reserve", RESERVE)
                .rule("127.3.0.0/24=500 trusted")
        })
    }
}

/// Who got in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) server: Which,
    pub(crate) phones: Waits,
    pub(crate) trunk: Waits,
    /// Connections of the greedy sources at the end.
    pub(crate) greedy: usize,
    /// Connections in use at the end, as the core counts them.
    pub(crate) in_use: u64,
}

pub(crate) fn run(plan: &Plan) -> Result<Vec<Served>> {
    Which::ALL
        .into_iter()
        .map(|which| {
            eprintln!("{}", which.name());
            fill(which, plan)
        })
        .collect()
}

fn fill(which: Which, plan: &Plan) -> Result<Served> {
    let server = plan.start(which);
    let to = server.address(Via::Tcp);
    let registered: Vec<Client> = (0..plan.registered)
        .map(|n| server.admit(Via::Tcp, source(1, (n >> 8) as u8, n as u8)))
        .collect();
    let ends = AtomicBool::new(false);
    let served = scope(|scope| {
        let attack: Vec<_> = (0..plan.greedy)
            .map(|n| source(2, 0, n))
            .map(|from| {
                scope.spawn({
                    let ends = &ends;
                    move || hoard(from, to, plan, ends)
                })
            })
            .collect();
        sleep(plan.fill);
        let phones = scope.spawn(|| {
            let from = |n: u32| source(4 + (n >> 16) as u8, (n >> 8) as u8, n as u8);
            plan.visits.visitors(plan.phones_per_second).come(from, to)
        });
        let trunk = plan.visits.visitors(plan.trunk_per_second);
        let trunk = trunk.come(|_| source(3, 0, 1), to);
        let phones = phones.join().map_err(|_| "a phone panicked")?;
        let in_use = server.connections();
        // Relaxed: it orders nothing else.
        ends.store(true, Ordering::Relaxed);
        let mut greedy = 0;
        for one in attack {
            greedy += one.join().map_err(|_| "a greedy source panicked")?;
        }
        Ok::<_, Box<dyn std::error::Error>>(Served {
            server: which,
            phones,
            trunk,
            greedy,
            in_use,
        })
    })?;
    drop(registered);
    which.verify(&server)?;
    Ok(served)
}

/// Opens connections until the end and keeps those that are admitted. Returns their number.
fn hoard(from: IpAddr, to: SocketAddr, plan: &Plan, ends: &AtomicBool) -> usize {
    let mut held = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        match admitted(from, to) {
            Some(client) => held.push(client),
            None => sleep(plan.greedy_pause),
        }
    }
    held.len()
}
