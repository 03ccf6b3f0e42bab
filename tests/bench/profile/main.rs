// SPDX-License-Identifier: GPL-2.0-or-later

//! bench-profile: the part of the user time of Kamailio's TCP main process that the limit
//! takes. README.md, one folder up, says what is counted.

#[allow(dead_code, reason = "other benchmarks use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod perf;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use common::cli::Bench;
use common::cpu::{Clock, Placement};
use common::generator::{self, Order, Window};
use common::kamailio::LIMIT;
use common::loaded::Loaded;
use common::run::Run;
use common::{Result, kamailio, machine};
use perf::{Frame, Recording, samples};
use support::kamailio::{Config, Servers, Via};

const RATES: [u32; 2] = [85, 2_000];

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    run: Run,
    version: String,
    held: usize,
    profiles: Vec<Profile>,
}

/// One server at one rate.
#[derive(Debug, Serialize, Deserialize)]
struct Profile {
    limit: Limit,
    per_second: u32,
    /// Connections opened during the recording.
    connections: u64,
    /// CPU time between two samples.
    period: Duration,
    /// Samples of TCP main in user mode.
    user_samples: usize,
    /// Samples of these in the code of the limit, or in functions that it called.
    limit_samples: usize,
}

/// The limit that is profiled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Limit {
    Stock,
    Module,
}

impl Limit {
    fn config(self) -> Config {
        match self {
            Limit::Stock => kamailio::stock(LIMIT),
            Limit::Module => kamailio::module(LIMIT),
        }
    }

    /// The time between two samples. The module uses less CPU time, so it needs more samples.
    fn period(self) -> Duration {
        match self {
            Limit::Stock => Duration::from_millis(1),
            Limit::Module => Duration::from_micros(50),
        }
    }

    /// Returns whether a function belongs to the limit.
    fn owns(self, frame: &Frame) -> bool {
        match self {
            Limit::Stock => frame.symbol == "tcp_connection_limit_srcip",
            Limit::Module => {
                frame.object.contains("tcp_conn_limit.so")
                    || frame.symbol.starts_with("ksr_tcp_conn_")
            }
        }
    }
}

impl Profile {
    /// The limit's part of the user time, in per cent.
    fn share(&self) -> f64 {
        100.0 * self.limit_samples as f64 / self.user_samples as f64
    }

    /// The time that `samples` stand for, in microseconds per connection.
    fn cost(&self, samples: usize) -> f64 {
        samples as f64 * self.period.as_secs_f64() * 1e6 / self.connections as f64
    }
}

fn main() -> ExitCode {
    let bench = Bench {
        name: "profile",
        quick: "15 seconds",
        roles: &[generator::ROLE],
        measure: |run, _| measure(run),
        print: report::print,
        draw: None,
        run: |record: &Record| &record.run,
    };
    bench.main()
}

fn measure(run: Run) -> Result<Record> {
    let version = machine::kamailio_version(&Servers::from_env().stock.to_string_lossy())?;
    let placement = Placement::arrange()?;
    let (held, seconds) = if run.quick { (1_000, 2) } else { (19_000, 20) };
    let mut profiles = Vec::new();
    for limit in [Limit::Stock, Limit::Module] {
        profiles.extend(profile(limit, held, seconds, &placement)?);
    }
    Ok(Record {
        run,
        version,
        held,
        profiles,
    })
}

/// Profiles one server under load at each rate.
fn profile(limit: Limit, held: usize, seconds: u64, placement: &Placement) -> Result<Vec<Profile>> {
    eprintln!("{limit:?}: starting, {held} connections");
    let server = limit.config().start();
    let mut loaded = Loaded::start(
        server.address(Via::Tcp).port(),
        server.tcp_main() as u32,
        placement,
    )?;
    loaded.hold(held)?;
    let mut profiles = Vec::new();
    for per_second in RATES {
        eprintln!("{limit:?}: {per_second} new connections a second, {seconds} s");
        let recording = Recording::start(loaded.pid(), server.dir(), limit.period())?;
        let window: Window = loaded.churn(&Order::Churn {
            per_second,
            warm_up: Duration::from_millis(500),
            window: Duration::from_secs(seconds),
            clock: Clock::detect(),
            with_client: false,
        })?;
        let text = recording.stop()?;
        let in_limit = |stack: &Vec<Frame>| stack.iter().any(|frame| limit.owns(frame));
        let profile = Profile {
            limit,
            per_second,
            connections: window.opened,
            period: limit.period(),
            user_samples: samples(&text).count(),
            limit_samples: samples(&text).filter(in_limit).count(),
        };
        if profile.limit_samples == 0 {
            return Err(format!(
                "{limit:?}: none of {} samples is in its code: the run was too short, or the \
                 executables lack symbols",
                profile.user_samples
            )
            .into());
        }
        profiles.push(profile);
    }
    Ok(profiles)
}
