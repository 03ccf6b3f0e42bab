// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-full: who still gets in when a few greedy sources fill a server. README.md, one
//! folder up, says what is measured and how to read it.
//!
//! ```text
//! main ─┬─ policy ── model    policies in the engine, under one load, in virtual time
//!       ├─ server             real servers that are filled
//!       ├─ nat                real servers whose phones share an address
//!       ├─ network            real servers that addresses of one network fill
//!       │   ├─ subject        the servers that each load gets
//!       │   └─ clients        their clients
//!       └─ report             the tables
//! common                      the command line, the record, the machine
//! ```

mod clients;
#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod model;
mod nat;
mod network;
mod policy;
mod report;
mod server;
mod subject;

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use common::cli::Bench;
use common::run::Run;
use common::{Result, machine};
use support::kamailio::Servers;

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    run: Run,
    version: String,
    modelled: Vec<Modelled>,
    plan: server::Plan,
    served: Vec<server::Served>,
    nat_plan: nat::Plan,
    shared: Vec<nat::Shared>,
    /// Not in a record that is older than this load.
    network: Option<Network>,
}

/// All servers under the load of one network.
#[derive(Debug, Serialize, Deserialize)]
struct Network {
    plan: network::Plan,
    entered: Vec<network::Entered>,
}

/// All policies under one load.
#[derive(Debug, Serialize, Deserialize)]
struct Modelled {
    load: model::Load,
    outcomes: Vec<model::Outcome>,
}

/// The waits of one kind of clients, in seconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Waits {
    /// Those of the clients that got in, sorted.
    waited: Vec<f64>,
    /// Clients that gave up.
    failed: usize,
}

impl Waits {
    fn total(&self) -> usize {
        self.waited.len() + self.failed
    }

    /// The share of clients that got in, in percent.
    fn share(&self) -> f64 {
        100.0 * self.waited.len() as f64 / self.total().max(1) as f64
    }

    /// The wait that this share of all clients did not exceed; `None`: they failed.
    fn quantile(&self, share: f64) -> Option<f64> {
        let nth = (share * self.total() as f64).ceil() as usize;
        self.waited.get(nth.max(1) - 1).copied()
    }

    fn sort(mut self) -> Waits {
        self.waited.sort_by(f64::total_cmp);
        self
    }
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "full",
        quick: "half a minute",
        roles: &[],
        measure: |run, _| measure(run),
        print: report::print,
        draw: None,
        run: |record: &Record| &record.run,
    };
    bench.main()
}

fn measure(run: Run) -> Result<Record> {
    let version = machine::kamailio_version(&Servers::from_env().stock.to_string_lossy())?;
    let modelled = model::Load::all(run.quick).map(|load| Modelled {
        outcomes: policy::Policy::ALL
            .map(|policy| model::run(policy, &load))
            .into(),
        load,
    });
    let plan = server::Plan::new(run.quick);
    let served = server::run(&plan)?;
    let nat_plan = nat::Plan::new(run.quick);
    let shared = nat::run(&nat_plan, run.quick)?;
    let network_plan = network::Plan::new(run.quick);
    let entered = network::run(&network_plan, run.quick)?;
    Ok(Record {
        run,
        version,
        modelled: modelled.into(),
        plan,
        served,
        nat_plan,
        shared,
        network: Some(Network {
            plan: network_plan,
            entered,
        }),
    })
}
