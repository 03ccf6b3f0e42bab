// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::time::Duration;

use crate::common::Result;
use crate::common::cpu::{Clock, Placement};
use crate::common::generator::Order;
use crate::common::kamailio::LIMIT;
use crate::common::loaded::Loaded;
use crate::common::machine::{self, first_line};
use crate::common::run::Run;
use crate::record::{Plan, Record, Sample};
use crate::series::{GROUPS, Series};
use crate::servers::Running;
use support::kamailio::Servers;

/// HAProxy reserves two descriptors per connection, and each process has 20,000.
const HELD: usize = 9_000;

const PER_SECOND: u32 = 2_000;

/// Connections that one source opens to test the limit.
const GREEDY: usize = LIMIT as usize + 16;

impl Plan {
    fn new(quick: bool) -> Plan {
        let (held, windows, window, warm_up) = if quick {
            (1_000, 2, 500, 200)
        } else {
            (HELD, 10, 2_000, 300)
        };
        Plan {
            held,
            per_second: PER_SECOND,
            windows,
            window: Duration::from_millis(window),
            warm_up: Duration::from_millis(warm_up),
        }
    }
}

pub(crate) fn measure(run: Run) -> Result<Record> {
    let versions = versions()?;
    let placement = Placement::arrange()?;
    let clock = Clock::detect();
    let plan = Plan::new(run.quick);

    let mut samples = Vec::new();
    for group in GROUPS {
        samples.extend(measure_group(group, &plan, clock, &placement)?);
    }
    Ok(Record {
        run,
        versions,
        clock,
        placement,
        limit: LIMIT,
        plan,
        samples,
    })
}

fn versions() -> Result<Vec<String>> {
    let servers = Servers::from_env();
    Ok(vec![
        first_line("haproxy", &["-v"])?,
        first_line("nginx", &["-v"])?,
        first_line("nft", &["--version"])?,
        machine::kamailio_version(&servers.stock.to_string_lossy())?,
    ])
}

/// Measures servers that take turns.
fn measure_group(
    group: &[Series],
    plan: &Plan,
    clock: Clock,
    placement: &Placement,
) -> Result<Vec<Sample>> {
    eprintln!("{group:?}: starting, {} connections to each", plan.held);
    // The load is dropped first: it ends before its server.
    let mut subjects: Vec<(Series, Loaded, Running)> = Vec::new();
    for &series in group {
        let server = Running::start(series)?;
        let mut loaded = Loaded::start(server.port(), server.acceptor(), placement)?;
        check_limit(series, &mut loaded)?;
        loaded.hold(plan.held)?;
        subjects.push((series, loaded, server));
    }
    let mut samples = Vec::new();
    for turn in 0..plan.windows {
        eprintln!("{group:?}: window {} of {}", turn + 1, plan.windows);
        for (series, loaded, _) in &mut subjects {
            let order = Order::Churn {
                per_second: plan.per_second,
                warm_up: plan.warm_up,
                window: plan.window,
                clock,
                with_client: series.is_in_kernel(),
            };
            let window = loaded
                .churn(&order)
                .map_err(|error| format!("{series:?}: {error}"))?;
            samples.push(Sample {
                series: *series,
                turn,
                window,
            });
        }
        // Reverse the order, so that no series is always first or last.
        subjects.reverse();
    }
    Ok(samples)
}

/// Checks that the server rejects above its limit, or nothing without one.
fn check_limit(series: Series, loaded: &mut Loaded) -> Result<()> {
    let (limit, expected) = if series.has_limit() {
        (LIMIT as usize, LIMIT as usize)
    } else {
        (GREEDY, GREEDY)
    };
    let admitted = loaded.greedy(GREEDY, limit)?;
    if admitted != expected {
        return Err(format!(
            "{series:?}: {admitted} of {GREEDY} connections of one source were admitted, \
             expected {expected}"
        )
        .into());
    }
    Ok(())
}
