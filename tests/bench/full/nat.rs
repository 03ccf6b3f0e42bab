// SPDX-License-Identifier: GPL-2.0-or-later

//! Real servers: thousands of phones are registered from one address, as behind a carrier's
//! NAT, and silent clients of the same address open connections and keep them. Then more
//! phones of this address come at fixed times.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{scope, sleep};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clients::{self, Silent, Visitors};
use crate::subject::{Settings, Which};
use crate::{Result, Waits};
use support::kamailio::{Client, Server, Via, source};

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

impl Plan {
    fn start(&self, which: Which) -> Server {
        let settings = Settings {
            max: self.max,
            core_limit: self.core_limit,
            limit: self.wide_limit,
            memory: 300,
        };
        which.start(&settings, |config| {
            config
                .param("untrusted_limit", self.untrusted_limit.into())
                .param("trust_timeout", self.trust_timeout.into())
                .route(
                    "request_route {\n\ttcp_conn_limit_trust();\n\tsl_send_reply(\"200\", \"OK\");\n}\n",
                )
        })
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
    let server = plan.start(which);
    let (from, to) = (source(9, 0, 1), server.address(Via::Tcp));
    let mut registered: Vec<Client> = (0..plan.registered)
        .filter_map(|_| clients::registered(from, to))
        .collect();
    let silent = Silent {
        count: plan.silent,
        settle: SETTLE / 2,
        pause,
        step: Duration::from_millis(20),
    };
    let phones = Visitors {
        per_second: plan.phones_per_second,
        window: plan.window,
        retry: plan.retry,
        patience: plan.patience,
        stays: None,
        enter: clients::registered,
    };
    let ends = AtomicBool::new(false);
    let held = AtomicUsize::new(0);
    let (phones, silent) = scope(|scope| {
        scope.spawn(|| silent.sit(|_| from, to, &ends, &held));
        sleep(SETTLE);
        let came = phones.come(|_| from, to);
        // Relaxed, here and below: they order nothing else.
        let silent = held.load(Ordering::Relaxed);
        ends.store(true, Ordering::Relaxed);
        (came, silent)
    });
    let shared = Shared {
        server: which,
        pause,
        kept: clients::kept(&mut registered),
        registered: registered.len(),
        phones,
        silent,
    };
    which.verify(&server)?;
    Ok(shared)
}
