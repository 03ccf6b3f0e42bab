// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::time::Duration;

use serde_json::json;
use support::kamailio::Servers;

use crate::Result;
use crate::common::run::Run;
use crate::cpu::Clock;
use crate::greedy;
use crate::load::Load;
use crate::machine::{first_line, kamailio_version};
use crate::progress::Progress;
use crate::record::{Limited, Record};
use crate::subject::Subject;

/// With this limit, no source of the load has enough connections to be reported.
const HIDES_ALL: u32 = 100;

/// With this limit, each source with a connection is reported.
const HIDES_NONE: u32 = 10;

/// What the greedy source is measured with.
const CONTESTS: [Limited; 5] = [
    Limited::Cluster,
    Limited::Strict,
    Limited::Each,
    Limited::Share,
    Limited::Redis,
];

/// A quick run leaves out two of them.
const QUICK_CONTESTS: [Limited; 3] = [Limited::Cluster, Limited::Each, Limited::Redis];

fn loads(quick: bool) -> Vec<Load> {
    let load = |limited, limit, sources| Load {
        limited,
        limit,
        sources,
        window: Duration::from_secs(20),
        changes: 40,
        is_audited: limited == Limited::Cluster && !quick,
    };
    if quick {
        return vec![Load {
            window: Duration::from_secs(2),
            changes: 2,
            ..load(Limited::Cluster, HIDES_NONE, 600)
        }];
    }
    let mut loads = Vec::new();
    for sources in [10_000, 35_000] {
        loads.push(load(Limited::Off, 0, sources));
        loads.push(load(Limited::Cluster, HIDES_ALL, sources));
        loads.push(load(Limited::Cluster, HIDES_NONE, sources));
    }
    loads
}

pub(crate) fn measure(run: Run) -> Result<Record> {
    let clock = Clock::detect();
    let versions = versions()?;
    let loads = loads(run.quick);
    let (rounds, window, patience, contests) = match run.quick {
        true => (1, Duration::from_millis(700), 4, &QUICK_CONTESTS[..]),
        false => (3, Duration::from_secs(8), 10, &CONTESTS[..]),
    };
    let patience = Duration::from_secs(patience);
    let contest_time = window * 3 + Duration::from_secs(8);
    let time: Duration = loads.iter().map(Load::time).sum();
    let count = rounds * contests.len();
    let mut progress = Progress::start(time + contest_time * count as u32);
    let mut load_samples = Vec::new();
    for load in &loads {
        progress.report(&format!(
            "{} sources, {}, limit {}",
            load.sources,
            load.limited.name(),
            load.limit
        ));
        load_samples.push(load.measure(clock)?);
        progress.advance(load.time());
    }
    let mut contest_samples = Vec::new();
    let mut losses = Vec::new();
    for round in 0..rounds {
        for &limited in contests {
            progress.report(&format!("round {}, {}", round + 1, limited.name()));
            let times = (window, patience);
            let (contests, loss) = greedy::measure(limited, round, times, clock)?;
            contest_samples.extend(contests);
            losses.push(loss);
            progress.advance(contest_time);
        }
    }
    Ok(Record {
        run,
        versions,
        clock,
        limit: greedy::LIMIT,
        loads: load_samples,
        contests: contest_samples,
        losses,
    })
}

fn versions() -> Result<Vec<String>> {
    let servers = Servers::from_env();
    let subject = Subject::start(Limited::Off, 0)?;
    let stats = subject.servers[0].rpc("tcp_conn_limit.stats", json!([]));
    let module = stats["version"].as_str().unwrap_or_default();
    Ok(vec![
        format!(
            "hooked: {}",
            kamailio_version(&servers.hooked.to_string_lossy())?
        ),
        format!(
            "stock: {}",
            kamailio_version(&servers.stock.to_string_lossy())?
        ),
        format!("tcp_conn_limit {module}"),
        first_line("redis-server", &["--version"])?,
    ])
}
