// SPDX-License-Identifier: GPL-2.0-or-later

//! A server with the connections it holds, an attacker, and honest sources.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Result;
use crate::attacker::{self, Attack, Begun, Outcome};
use crate::cpu::{Clock, CpuTime, Placement};
use crate::honest::{self, Fared};
use crate::kamailio::{self, STOCK_REJECTS};
use crate::loaded::Loaded;
use crate::plan::Plan;
use crate::process::Process;
use crate::record::{Counted, Sample, Times, Which};
use crate::scenario::Scenario;
use support::kamailio::{Client, Server, Via, number};

/// The conditions that are the same for all windows.
#[derive(Clone, Copy)]
pub(crate) struct Conditions<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) placement: &'a Placement,
    pub(crate) clock: Clock,
    pub(crate) chosen: &'a [Ipv4Addr],
}

/// The maximum time for a server to close the rest of an attack.
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// How often to check whether it has.
const POLL_PERIOD: Duration = Duration::from_millis(5);

pub(crate) struct Subject {
    pub(crate) which: Which,
    // Fields drop in this order: the clients end before the server.
    attacker: Process,
    honest: Process,
    held: Loaded,
    server: Server,
    /// Connections of each attack so far.
    of_attacks: HashMap<Scenario, usize>,
    rejected: u64,
    counted: Counted,
}

impl Subject {
    /// Starts the server, with the connections that it holds.
    pub(crate) fn start(which: Which, plan: &Plan, placement: &Placement) -> Result<Subject> {
        let config = match which {
            Which::Off => kamailio::off(),
            Which::Module => kamailio::module(plan.limit),
            Which::Stock => kamailio::stock(plan.limit),
        };
        let server = config.any_address().start();
        let port = server.address(Via::Tcp).port();
        let mut held = Loaded::start(port, server.tcp_main() as u32, placement)?;
        held.hold(plan.held)?;
        let mut subject = Subject {
            which,
            attacker: Process::start(&attacker::ROLE, &[])?,
            honest: Process::start(&honest::ROLE, &[])?,
            held,
            server,
            of_attacks: HashMap::new(),
            rejected: 0,
            counted: Counted::default(),
        };
        subject.counted = subject.count();
        Ok(subject)
    }

    /// Measures one window. Also returns the results of its honest sources.
    pub(crate) fn window(
        &mut self,
        scenario: Scenario,
        round: usize,
        conditions: &Conditions,
    ) -> Result<(Sample, Fared)> {
        let Conditions {
            plan,
            placement,
            clock,
            chosen,
        } = *conditions;
        let attack = self.attack(scenario, plan, chosen);
        let is_attacked = !attack.sources.is_empty();
        if is_attacked {
            let Begun = self.attacker.order(&attacker::Order::Begin(attack))?;
        }
        self.honest.send(&honest::Order {
            to: self.address(scenario),
            sources: scenario.honest_sources(),
            per_second: plan.honest_per_second,
            warm_up: plan.warm_up,
            window: plan.window,
            patience: plan.patience,
        })?;
        sleep(plan.warm_up);
        let first = (clock.read(self.held.pid())?, placement.ticks_of_others()?);
        sleep(plan.window);
        let cpu = spent(first.0, clock.read(self.held.pid())?);
        let [busy, all] = placement.ticks_of_others()?;
        // These are read while the attack goes on.
        let connections = self.server.connections();
        let sources = self.module_stat("sources");
        let fared: Fared = self.honest.receive()?;
        let outcome = match is_attacked {
            true => self.attacker.order(&attacker::Order::Stop)?,
            false => Outcome::default(),
        };
        *self.of_attacks.entry(scenario).or_default() += outcome.opened;

        self.wait_for_held(scenario, plan.held as u64)?;
        let (counted, rejected) = (self.count(), self.rejections());
        let sample = Sample {
            round,
            scenario,
            server: self.which,
            honest: Times::of(&fared, plan.patience),
            cpu_share: 100.0 * cpu.run_ns as f64 / plan.window.as_nanos() as f64,
            cpu_wait: 100.0 * cpu.wait_ns as f64 / plan.window.as_nanos() as f64,
            others_busy: 100.0 * (busy - first.1[0]) as f64 / (all - first.1[1]) as f64,
            attack: outcome,
            connections,
            rejected: rejected - self.rejected,
            sources,
            counted: counted.since(&self.counted),
        };
        (self.counted, self.rejected) = (counted, rejected);
        self.verify(&sample)?;
        Ok((sample, fared))
    }

    /// Waits until the server has the held connections and no others.
    fn wait_for_held(&self, scenario: Scenario, held: u64) -> Result<()> {
        // A client that is served now came after all connections of the attack that were
        // waiting to be accepted.
        let last = scenario.honest_sources()[0];
        let mut client = Client::connect(last, self.address(scenario));
        if !client.is_admitted() {
            return Err(format!("{}: {last} was rejected", self.which.name()).into());
        }
        drop(client);
        let start = Instant::now();
        loop {
            let connections = self.server.connections();
            if connections == held {
                return Ok(());
            }
            if start.elapsed() > MAX_PATIENCE {
                return Err(format!(
                    "{}, {}: {connections} connections {} s after the attack, expected {held}",
                    self.which.name(),
                    scenario.name(),
                    MAX_PATIENCE.as_secs()
                )
                .into());
            }
            sleep(POLL_PERIOD);
        }
    }

    fn attack(&self, scenario: Scenario, plan: &Plan, chosen: &[Ipv4Addr]) -> Attack {
        let before = self.of_attacks.get(&scenario).copied().unwrap_or(0);
        Attack {
            to: self.address(scenario),
            sources: scenario.sources(plan, before, chosen),
            manner: scenario.manner(plan),
        }
    }

    fn address(&self, scenario: Scenario) -> SocketAddr {
        match scenario.is_ipv6() {
            true => {
                let from = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);
                self.server.any_address(from)
            }
            false => self.server.address(Via::Tcp),
        }
    }

    /// Checks that the server behaved as it should: it rejected, or did not.
    fn verify(&self, sample: &Sample) -> Result<()> {
        let scenario = sample.scenario;
        let rejects = match self.which {
            Which::Off => false,
            Which::Module => scenario.is_over_the_limit(),
            Which::Stock => scenario.is_over_the_cores_limit(),
        };
        // A late server may reject a connection only after the attacker has closed it, so
        // `closed_by_server` may be 0 although the server rejected.
        if rejects != (sample.rejected > 0) || (!rejects && sample.attack.closed_by_server > 0) {
            return Err(format!(
                "{}, {}: rejections were {}expected: {sample:?}",
                self.which.name(),
                scenario.name(),
                if rejects { "" } else { "not " }
            )
            .into());
        }
        if self.which == Which::Module {
            self.server.assert_audit_clean();
        }
        Ok(())
    }

    /// Connections rejected so far: the module's counter, or the log of stock, which does
    /// not count rejections.
    fn rejections(&self) -> u64 {
        match self.which {
            Which::Off => 0,
            Which::Stock => self.server.log().lines_with(STOCK_REJECTS).len() as u64,
            Which::Module => self.server.stat("rejected"),
        }
    }

    /// The module's counters so far.
    fn count(&self) -> Counted {
        Counted {
            admitted: self.module_stat("admitted"),
            errors: self.module_stat("errors"),
            table_full: self.module_stat("table_full"),
        }
    }

    /// Returns 0 for a server without the module.
    fn module_stat(&self, name: &str) -> u64 {
        match self.which {
            Which::Off | Which::Stock => 0,
            Which::Module => self.server.stat(name),
        }
    }

    /// The number of slots in the module's table, and the module's version.
    pub(crate) fn module(&self) -> (u64, String) {
        let stats = self.server.rpc("tcp_conn_limit.stats", json!([]));
        let version = stats["version"].as_str().unwrap_or_default().to_owned();
        (number(&stats, "slots"), version)
    }
}

fn spent(from: CpuTime, to: CpuTime) -> CpuTime {
    CpuTime {
        run_ns: to.run_ns - from.run_ns,
        wait_ns: to.wait_ns - from.wait_ns,
    }
}
