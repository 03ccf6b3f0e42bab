// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use support::kamailio::{Servers, Via, in_own_network};

use crate::Result;
use crate::common::run::Run;
use crate::cpu::{Clock, Placement};
use crate::flooder::{self, Flooded};
use crate::honest;
use crate::kamailio::Versions;
use crate::machine;
use crate::process::Process;
use crate::program;
use crate::progress::Progress;
use crate::record::{Record, Sample, Stopped};
use crate::subject::{SOURCE, Subject, kernel_ns};

/// Attempts a second, and as many as possible.
const RATES: [Option<u32>; 2] = [Some(10_000), None];

/// Measures in a network namespace of its own.
pub(crate) fn measure(run: Run) -> Result<Record> {
    let mut done = None;
    in_own_network(|| {
        // An error cannot be sent to another thread; its text can.
        done = Some(measure_here(run).map_err(|error| error.to_string()));
    });
    Ok(done.ok_or("nothing was measured: creating a network namespace failed; run as root")??)
}

fn measure_here(run: Run) -> Result<Record> {
    let servers = Servers::from_env();
    let placement = Placement::arrange()?;
    let clock = Clock::detect();
    let (rounds, window) = match run.quick {
        true => (1, Duration::from_secs(2)),
        false => (5, Duration::from_secs(8)),
    };
    let step = window + Duration::from_secs(3);
    let steps = (rounds * RATES.len() * Stopped::ALL.len()) as u32;
    let mut progress = Progress::start(step * steps);
    let mut samples = Vec::new();
    let mut module = String::new();
    for round in 0..rounds {
        for rate in RATES {
            for by in Stopped::ALL {
                progress.report(&format!("round {}, {}", round + 1, by.name()));
                let subject = Subject::start(by)?;
                subject
                    .server
                    .rpc("tcp_conn_limit.stats", serde_json::json!([]))["version"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut module);
                let sample = sample(&subject, by, rate, round, window, clock, &placement);
                samples.push(sample?);
                subject.end()?;
                progress.advance(step);
            }
        }
    }
    Ok(Record {
        versions: Versions {
            stock: machine::kamailio_version(&servers.stock.to_string_lossy())?,
            hooked: machine::kamailio_version(&servers.hooked.to_string_lossy())?,
            module,
        },
        clock,
        samples,
        costs: program::measure(if run.quick { 1 } else { 5 })?,
        placement,
        run,
    })
}

fn sample(
    subject: &Subject,
    by: Stopped,
    rate: Option<u32>,
    round: usize,
    window: Duration,
    clock: Clock,
    placement: &Placement,
) -> Result<Sample> {
    let to = subject.server.address(Via::Tcp);
    let tcp_main = subject.server.tcp_main() as u32;
    placement.pin_server(tcp_main)?;
    let mut honest = Process::start(&honest::ROLE, &[])?;
    let mut flooder = Process::start(&flooder::ROLE, &[])?;
    let before = (
        clock.read(tcp_main)?.run_ns,
        subject.run_ns(clock)?,
        kernel_ns(clock)?,
    );
    let began = Instant::now();
    honest.send(&honest::Order { to, window })?;
    let flooded: Option<Flooded> = match by {
        Stopped::NoFlood => None,
        _ => Some(flooder.order(&flooder::Order {
            from: SocketAddr::new(SOURCE.parse()?, 0),
            to,
            rate,
            window,
            cpus: placement.others.clone(),
        })?),
    };
    let waits = honest.receive()?;
    let seconds = began.elapsed().as_secs_f64();
    let tcp_main_ns = clock.read(tcp_main)?.run_ns - before.0;
    let server_ns = subject.run_ns(clock)? - before.1;
    let kernel_ns = kernel_ns(clock)? - before.2;
    // The watcher reads what was dropped once a second.
    std::thread::sleep(Duration::from_millis(1500));
    honest.finish()?;
    flooder.finish()?;
    Ok(Sample {
        round,
        by,
        rate,
        flooded,
        tcp_main_ns,
        server_ns,
        kernel_ns,
        seconds,
        honest: waits,
        rejected: subject.server.stat("rejected"),
        dropped: subject.server.stat("shield_dropped"),
    })
}
