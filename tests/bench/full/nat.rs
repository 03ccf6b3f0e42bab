// SPDX-License-Identifier: GPL-2.0-or-later

//! Real servers: thousands of phones are registered from one address, as behind a carrier's
//! NAT, and silent clients of the same address open connections and keep them. Then more
//! phones of this address come at fixed times.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, scope, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::{Result, Waits};
use support::kamailio::{Client, Config, Via, source};

/// The silent clients have this time before the other phones come.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Connections that the server allows.
    pub(crate) max: u32,
    /// Phones of the address that register before the silent clients come.
    pub(crate) registered: u32,
    /// The core's limit, by default.
    pub(crate) core_limit: u32,
    /// A limit that all phones fit in.
    pub(crate) wide_limit: u32,
    /// The module's limit of untrusted connections.
    pub(crate) untrusted_limit: u32,
    /// Seconds until the module closes an untrusted connection.
    pub(crate) trust_timeout: u32,
    /// Silent clients, each of which wants one connection.
    pub(crate) silent: usize,
    /// How long one of them waits after it was rejected or closed: as RFC 5626, 4.5, advises
    /// (30 s), and one that is greedy.
    pub(crate) silent_pause: Duration,
    pub(crate) greedy_pause: Duration,
    /// Phones that come later, in a second.
    pub(crate) phones_per_second: u32,
    /// The pause of a phone after a rejection.
    pub(crate) retry: Duration,
    /// A phone gives up after this time.
    pub(crate) patience: Duration,
    pub(crate) window: Duration,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Plan {
        let (registered, silent, seconds, patience) = match quick {
            true => (300, 100, 2, 2),
            false => (2_000, 500, 30, 32),
        };
        Plan {
            max: 6_000,
            registered,
            core_limit: 1_024,
            wide_limit: 5_000,
            untrusted_limit: 100,
            trust_timeout: 5,
            silent,
            silent_pause: Duration::from_secs(30),
            greedy_pause: Duration::from_secs(1),
            phones_per_second: 10,
            retry: Duration::from_millis(500),
            patience: Duration::from_secs(patience),
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
    /// The module with a limit that all phones fit in.
    Limit,
    /// The module with a limit of untrusted connections, with hooks.
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
            Which::Limit => "module, wide limit",
            Which::Hooks => "module, trust, hooks",
            Which::Interposed => "module, trust, interposed",
        }
    }

    fn has_trust(self) -> bool {
        matches!(self, Which::Hooks | Which::Interposed)
    }

    fn config(self, plan: &Plan) -> Config {
        let guarded = |config: Config| {
            config
                .limit(plan.wide_limit.into())
                .param("untrusted_limit", plan.untrusted_limit.into())
                .param("trust_timeout", plan.trust_timeout.into())
                .route(
                    "request_route {\n\ttcp_conn_limit_trust();\n\tsl_send_reply(\"200\", \"OK\");\n}\n",
                )
        };
        let config = match self {
            Which::Off => Config::stock().core("tcp_accept_iplimit=0"),
            Which::Stock => {
                Config::stock().core(&format!("tcp_accept_iplimit={}", plan.core_limit))
            }
            Which::Limit => Config::with_module().limit(plan.wide_limit.into()),
            Which::Hooks => guarded(Config::with_module()),
            Which::Interposed => guarded(Config::interposed()),
        };
        config
            .core("debug=-1")
            .core(&format!("tcp_max_connections={}", plan.max))
            .core("tcp_connection_lifetime=86400")
            .shared_memory(300)
    }
}

/// What the clients of the address got.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Shared {
    pub(crate) server: Which,
    /// How long a silent client waits until it tries again.
    pub(crate) pause: Duration,
    /// Phones that were registered before, of those that tried.
    pub(crate) registered: usize,
    /// Those of them that still have their connection at the end.
    pub(crate) kept: usize,
    /// The phones that came later.
    pub(crate) phones: Waits,
    /// Connections of silent clients at the end of the window.
    pub(crate) silent: usize,
}

/// A quick run has one server only.
pub(crate) fn run(plan: &Plan, quick: bool) -> Result<Vec<Shared>> {
    let patient = Which::ALL.map(|which| (which, plan.silent_pause));
    let greedy = [Which::Hooks, Which::Interposed].map(|which| (which, plan.greedy_pause));
    patient
        .into_iter()
        .chain(greedy)
        .filter(|&run| !quick || run == (Which::Hooks, plan.silent_pause))
        .map(|(which, pause)| {
            eprintln!("one address: {}", which.name());
            share(which, pause, plan)
        })
        .collect()
}

fn share(which: Which, pause: Duration, plan: &Plan) -> Result<Shared> {
    let server = which.config(plan).start();
    let (from, to) = (source(9, 0, 1), server.address(Via::Tcp));
    let mut registered: Vec<Client> = (0..plan.registered)
        .filter_map(|_| register(from, to))
        .collect();
    let ends = AtomicBool::new(false);
    let held = AtomicUsize::new(0);
    let (phones, silent) = scope(|scope| {
        scope.spawn(|| sit(from, to, plan.silent, pause, &ends, &held));
        sleep(SETTLE);
        let came = come(from, to, plan);
        // Relaxed, here and below: they order nothing else.
        let silent = held.load(Ordering::Relaxed);
        ends.store(true, Ordering::Relaxed);
        (came, silent)
    });
    let kept = registered
        .iter_mut()
        .filter_map(|phone| phone.is_admitted().then_some(()));
    let shared = Shared {
        server: which,
        pause,
        kept: kept.count(),
        registered: registered.len(),
        phones,
        silent,
    };
    let has_module = which.has_trust() || which == Which::Limit;
    match if has_module { server.stat("errors") } else { 0 } {
        0 => Ok(shared),
        errors => Err(format!("{}: the module counted {errors} errors", which.name()).into()),
    }
}

/// A phone that connects and sends a request; `None` if it is rejected.
fn register(from: IpAddr, to: SocketAddr) -> Option<Client> {
    let mut client = Client::try_connect(from, to)?;
    client.is_admitted().then(|| {
        client.ask("phone");
        client
    })
}

/// The silent clients come within [`SETTLE`]. Each that is rejected or closed comes again after
/// the pause, or up to half of it earlier or later, so that they do not all come at once.
fn sit(
    from: IpAddr,
    to: SocketAddr,
    count: usize,
    pause: Duration,
    ends: &AtomicBool,
    held: &AtomicUsize,
) {
    enum Silent {
        Waits(Instant),
        Has(Client),
    }
    let mut random = SmallRng::seed_from_u64(0);
    let start = Instant::now();
    let mut clients: Vec<Silent> = (0..count)
        .map(|_| Silent::Waits(start + SETTLE.mul_f64(random.random_range(0.0..0.5))))
        .collect();
    while !ends.load(Ordering::Relaxed) {
        for client in &mut clients {
            let mut wait = || {
                let pause = pause.mul_f64(random.random_range(0.5..1.5));
                Silent::Waits(Instant::now() + pause)
            };
            match client {
                Silent::Has(connection) if connection.has_news() => *client = wait(),
                Silent::Waits(due) if *due <= Instant::now() => {
                    let admitted = Client::try_connect(from, to)
                        .and_then(|mut client| client.is_admitted().then_some(client));
                    *client = admitted.map_or_else(wait, Silent::Has);
                }
                _ => {}
            }
        }
        let has = |client: &&Silent| matches!(client, Silent::Has(_));
        held.store(clients.iter().filter(has).count(), Ordering::Relaxed);
        sleep(Duration::from_millis(20));
    }
}

/// Phones that come at fixed times, each in a thread of its own, and stay until all came.
fn come(from: IpAddr, to: SocketAddr, plan: &Plan) -> Waits {
    let start = Instant::now();
    let count = plan.window.as_secs() as u32 * plan.phones_per_second;
    let phones: Vec<_> = (0..count)
        .map(|n| {
            let due = start + Duration::from_secs(1) * n / plan.phones_per_second;
            sleep(due.saturating_duration_since(Instant::now()));
            let plan = plan.clone();
            thread::spawn(move || {
                loop {
                    if let Some(client) = register(from, to) {
                        return Some((client, due.elapsed().as_secs_f64()));
                    }
                    if due.elapsed() + plan.retry > plan.patience {
                        return None;
                    }
                    sleep(plan.retry);
                }
            })
        })
        .collect();
    let mut waits = Waits::default();
    let mut stay = Vec::new();
    for phone in phones {
        match phone.join() {
            Ok(Some((client, waited))) => {
                stay.push(client);
                waits.waited.push(waited);
            }
            _ => waits.failed += 1,
        }
    }
    waits.sort()
}
