// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::time::Duration;

use serde::Serialize;

use crate::common::Result;
use crate::common::cpu::{Clock, Placement};
use crate::common::generator::{Order, Window};
use crate::common::kamailio::LIMIT;
use crate::common::loaded::Loaded;
use crate::common::machine::{self, Machine, first_line, raise_descriptors};
use crate::common::stats::{Spread, differences};
use crate::harness::Servers;
use crate::series::{COMPARISONS, Comparison, GROUPS, Series};
use crate::servers::Running;

/// HAProxy reserves two descriptors per connection, and each process has 20,000.
const HELD: usize = 9_000;

const PER_SECOND: u32 = 2_000;

/// Connections that one source opens to test the limit.
const GREEDY: usize = LIMIT as usize + 16;

/// The result of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    pub(crate) machine: Machine,
    pub(crate) versions: Vec<String>,
    /// A quick run only shows that the benchmark works.
    pub(crate) quick: bool,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) limit: u32,
    pub(crate) plan: Plan,
    pub(crate) costs: Vec<Cost>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Plan {
    pub(crate) held: usize,
    pub(crate) per_second: u32,
    /// Windows of each series.
    pub(crate) windows: usize,
    pub(crate) window: Duration,
    /// The churn before each window that is not measured.
    pub(crate) warm_up: Duration,
}

/// Microseconds of CPU time per accepted connection.
#[derive(Debug, Serialize)]
pub(crate) struct Cost {
    pub(crate) limiter: &'static str,
    /// Whether the client's CPU time is included.
    pub(crate) with_client: bool,
    pub(crate) off: Spread,
    pub(crate) on: Spread,
    /// What the limit costs: `on - off`, window by window.
    pub(crate) limit: Spread,
    /// Connections a second, with the limit on.
    pub(crate) reached: Spread,
}

/// One window of one server.
#[derive(Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) series: Series,
    pub(crate) turn: usize,
    #[serde(flatten)]
    pub(crate) window: Window,
}

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

pub(crate) fn measure(quick: bool) -> Result<Record> {
    let descriptors = raise_descriptors()?;
    let machine = machine::describe(descriptors)?;
    let versions = versions()?;
    let placement = Placement::arrange()?;
    let clock = Clock::detect();
    let plan = Plan::new(quick);

    let mut samples = Vec::new();
    for group in GROUPS {
        samples.extend(measure_group(group, &plan, clock, &placement)?);
    }
    Ok(Record {
        machine,
        versions,
        quick,
        clock,
        placement,
        limit: LIMIT,
        costs: COMPARISONS
            .iter()
            .map(|comparison| cost(comparison, &samples))
            .collect(),
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

fn cost(comparison: &Comparison, samples: &[Sample]) -> Cost {
    let values = |series, metric: fn(&Window) -> f64| -> Vec<f64> {
        samples
            .iter()
            .filter(|sample| sample.series == series)
            .map(|sample| metric(&sample.window))
            .collect()
    };
    let off = values(comparison.off, Window::cost);
    let on = values(comparison.on, Window::cost);
    Cost {
        limiter: comparison.name,
        with_client: comparison.on.is_in_kernel(),
        off: Spread::of(&off),
        on: Spread::of(&on),
        limit: Spread::of(&differences(&on, &off)),
        reached: Spread::of(&values(comparison.on, Window::reached)),
    }
}
