// SPDX-License-Identifier: GPL-2.0-or-later

//! Real servers: greedy sources fill one to its maximum and keep trying, while phones and a
//! trunk come at fixed times.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, scope, sleep};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::policy::{LEVELS, RESERVE};
use crate::{Result, Waits};
use support::kamailio::{Client, Config, Server, Via, source};

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
    /// How long each keeps its connection.
    pub(crate) stays: Duration,
    /// The pause after a rejection.
    pub(crate) retry: Duration,
    /// They give up after this time.
    pub(crate) patience: Duration,
    /// They come when the greedy sources had this time to fill the server.
    pub(crate) fill: Duration,
    pub(crate) window: Duration,
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
            stays: Duration::from_secs(3),
            retry: Duration::from_millis(250),
            patience: Duration::from_secs(3),
            fill: Duration::from_secs(3),
            window: Duration::from_secs(seconds),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// The server as released, without a limit.
    Off,
    /// The same with its own limit.
    Stock,
    /// The module with a limit only.
    Limit,
    /// The module with pressure and reserve, with hooks.
    Hooks,
    /// The same, interposed.
    Interposed,
}

impl Which {
    const ALL: [Which; 5] = [
        Which::Off,
        Which::Stock,
        Which::Limit,
        Which::Hooks,
        Which::Interposed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Which::Off => "no limit",
            Which::Stock => "the core's limit",
            Which::Limit => "module, limit only",
            Which::Hooks => "module, hooks",
            Which::Interposed => "module, interposed",
        }
    }

    fn config(self, plan: &Plan) -> Config {
        let limit = plan.limit;
        let guarded = |config: Config| {
            config
                .limit(limit.into())
                .text_param("pressure", LEVELS)
                .text_param("reserve", RESERVE)
                .rule("127.3.0.0/24=500 trusted")
        };
        let config = match self {
            Which::Off => Config::stock().core("tcp_accept_iplimit=0"),
            Which::Stock => Config::stock().core(&format!("tcp_accept_iplimit={limit}")),
            Which::Limit => Config::with_module().limit(limit.into()),
            Which::Hooks => guarded(Config::with_module()),
            Which::Interposed => guarded(Config::interposed()),
        };
        config
            .core("debug=-1")
            .core(&format!("tcp_max_connections={}", plan.max))
            .core("tcp_connection_lifetime=86400")
            .shared_memory(200)
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
    let server = which.config(plan).start();
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
            visits(plan.phones_per_second, from, to, plan)
        });
        let trunk = visits(plan.trunk_per_second, |_| source(3, 0, 1), to, plan);
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
    verify(which, &server)?;
    Ok(served)
}

/// The module must count as the core does.
fn verify(which: Which, server: &Server) -> Result<()> {
    let has_module = !matches!(which, Which::Off | Which::Stock);
    let errors = if has_module { server.stat("errors") } else { 0 };
    match errors {
        0 => Ok(()),
        errors => Err(format!("{}: the module counted {errors} errors", which.name()).into()),
    }
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

fn admitted(from: IpAddr, to: SocketAddr) -> Option<Client> {
    let mut client = Client::try_connect(from, to)?;
    client.is_admitted().then_some(client)
}

/// Clients that come at fixed times, each in a thread of its own.
fn visits(per_second: u32, from: impl Fn(u32) -> IpAddr, to: SocketAddr, plan: &Plan) -> Waits {
    let start = Instant::now();
    let count = plan.window.as_secs() as u32 * per_second;
    let visits: Vec<_> = (0..count)
        .map(|n| {
            let due = start + Duration::from_secs(1) * n / per_second;
            sleep(due.saturating_duration_since(Instant::now()));
            let (from, plan) = (from(n), plan.clone());
            thread::spawn(move || visit(from, to, due, &plan))
        })
        .collect();
    let mut waits = Waits::default();
    for visit in visits {
        match visit.join() {
            Ok(Some(waited)) => waits.waited.push(waited),
            _ => waits.failed += 1,
        }
    }
    waits.sort()
}

/// Tries until it gets in, then stays. Returns how many seconds it waited; `None`: it gave
/// up.
fn visit(from: IpAddr, to: SocketAddr, due: Instant, plan: &Plan) -> Option<f64> {
    loop {
        if let Some(client) = admitted(from, to) {
            let waited = due.elapsed();
            sleep(plan.stays);
            drop(client);
            return Some(waited.as_secs_f64());
        }
        if due.elapsed() + plan.retry > plan.patience {
            return None;
        }
        sleep(plan.retry);
    }
}
