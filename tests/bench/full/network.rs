// SPDX-License-Identifier: GPL-2.0-or-later

//! Real servers: thousands of addresses of one /16 want ten connections each, more than the
//! server has room for and fewer than the limit of an address. Phones of other networks and
//! phones of the same /16 come at fixed times.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clients::{self, Silent, Visits};
use crate::subject::{Settings, Which};
use crate::{Result, Waits};
use support::kamailio::{Client, Server, Via, source};

/// The /16 of the attackers, and the /17 of it in which its phones are.
const NETWORK: u8 = 9;
const PHONES: &str = "127.9.128.0/17";

/// Threads that open the attackers' connections.
const THREADS: usize = 4;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Connections that the server allows.
    pub(crate) max: u32,
    /// Connections of each address, in the core and in the module.
    pub(crate) limit: u32,
    /// Connections of the /16.
    pub(crate) network_limit: u32,
    /// Addresses of the attackers.
    pub(crate) addresses: usize,
    /// Connections that they want together.
    pub(crate) wanted: usize,
    /// They have this time to open them before the phones come.
    pub(crate) settle: Duration,
    /// How long a connection that is rejected waits until it comes again.
    pub(crate) pause: Duration,
    /// Phones of the /16 that have a connection before the attack.
    pub(crate) registered: u32,
    /// Phones that come in a second from other networks, and from the /16.
    pub(crate) others_per_second: u32,
    pub(crate) neighbours_per_second: u32,
    #[serde(flatten)]
    pub(crate) visits: Visits,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Plan {
        // The divisor of all counts, then seconds.
        let (part, settle, window, patience) = match quick {
            true => (20, 1, 2, 2),
            false => (1, 20, 20, 10),
        };
        Plan {
            max: 15_000 / part,
            limit: 20,
            network_limit: 2_000 / part,
            addresses: 2_000 / part as usize,
            wanted: 20_000 / part as usize,
            settle: Duration::from_secs(settle),
            pause: Duration::from_secs(30),
            registered: 200 / part,
            others_per_second: 20,
            neighbours_per_second: 10,
            visits: Visits {
                stays: Duration::from_secs(3),
                retry: Duration::from_millis(500),
                patience: Duration::from_secs(patience),
                window: Duration::from_secs(window),
            },
        }
    }

    /// The /16 is a network with the limit. If its phones are `known`, they have a rule that
    /// exempts them from it.
    fn start(&self, which: Which, known: bool) -> Server {
        let settings = Settings {
            max: self.max,
            core_limit: self.limit,
            limit: self.limit,
            memory: 450,
        };
        which.start(&settings, |config| {
            let config = config
                .param("network_limit", self.network_limit.into())
                .param("ipv4_network", 16);
            match known {
                true => config.rule(&format!("{PHONES}={} no_network", self.limit)),
                false => config,
            }
        })
    }

    /// The address of an attackers' connection.
    fn attacker(&self, n: usize) -> IpAddr {
        let address = n % self.addresses;
        source(NETWORK, (address >> 8) as u8, address as u8)
    }
}

/// Address number N of the phones of the /16.
fn neighbour(n: u32) -> IpAddr {
    source(NETWORK, 128 + (n >> 8) as u8, n as u8)
}

/// Who got in.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entered {
    pub(crate) server: Which,
    /// Whether the phones of the /16 have a rule.
    pub(crate) known: bool,
    pub(crate) others: Waits,
    pub(crate) neighbours: Waits,
    /// The phones of the /16 that were registered before, and those that still have their
    /// connection at the end.
    pub(crate) registered: usize,
    pub(crate) kept: usize,
    /// Connections of the attackers at the end.
    pub(crate) attackers: usize,
    /// Connections in use at the end, as the core counts them.
    pub(crate) in_use: u64,
}

/// A quick run has one server only.
pub(crate) fn run(plan: &Plan, quick: bool) -> Result<Vec<Entered>> {
    let known = [Which::Hooks, Which::Interposed].map(|which| (which, true));
    Which::ALL
        .into_iter()
        .map(|which| (which, false))
        .chain(known)
        .filter(|&run| !quick || run == (Which::Hooks, true))
        .map(|(which, known)| {
            eprintln!("one network: {}", which.name());
            enter(which, known, plan)
        })
        .collect()
}

fn enter(which: Which, known: bool, plan: &Plan) -> Result<Entered> {
    let server = plan.start(which, known);
    let to = server.address(Via::Tcp);
    let mut registered: Vec<Client> = (0..plan.registered)
        .filter_map(|n| clients::registered(neighbour(n), to))
        .collect();
    let attack = Silent {
        count: plan.wanted / THREADS,
        settle: plan.settle * 3 / 4,
        pause: plan.pause,
        step: Duration::from_millis(250),
    };
    let ends = AtomicBool::new(false);
    let held = AtomicUsize::new(0);
    let (others, neighbours, attackers, in_use) = scope(|scope| {
        for thread in 0..THREADS {
            let (attack, ends, held) = (&attack, &ends, &held);
            let from = move |n| plan.attacker(n * THREADS + thread);
            scope.spawn(move || attack.sit(from, to, ends, held));
        }
        sleep(plan.settle);
        let neighbours = scope.spawn(|| {
            let from = |n| neighbour(plan.registered + n);
            plan.visits
                .visitors(plan.neighbours_per_second)
                .come(from, to)
        });
        let from = |n: u32| source(20 + (n >> 8) as u8, n as u8, 1);
        let others = plan.visits.visitors(plan.others_per_second).come(from, to);
        let neighbours = neighbours.join();
        // Relaxed, here and below: they order nothing else.
        let attackers = held.load(Ordering::Relaxed);
        let in_use = server.connections();
        ends.store(true, Ordering::Relaxed);
        (others, neighbours, attackers, in_use)
    });
    let entered = Entered {
        server: which,
        known,
        others,
        neighbours: neighbours.map_err(|_| "a phone panicked")?,
        kept: clients::kept(&mut registered),
        registered: registered.len(),
        attackers,
        in_use,
    };
    which.verify(&server)?;
    Ok(entered)
}
