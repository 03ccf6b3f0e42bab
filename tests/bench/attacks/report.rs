// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables and verdicts.

use crate::cpu::Clock;
use crate::record::{Record, Sample, Which};
use crate::scenario::{Scenario, TOO_MANY};
use crate::stats::Spread;

pub(crate) fn print(record: &Record) {
    print_conditions(record);
    for scenario in record.scenarios() {
        print_table(record, scenario);
    }
    print_counts(record);
    record.run.print_quick();
    println!();
    for scenario in record.scenarios() {
        print_verdict(record, scenario);
    }
    print_chosen(record);
}

fn print_conditions(record: &Record) {
    let plan = &record.plan;
    record.run.print();
    println!("off, stock: {}", record.versions.stock);
    println!(
        "module:     {} + hooks, tcp_conn_limit {}",
        record.versions.hooked, record.versions.module
    );
    println!(
        "limit {} per source, no limit in off; {} connections held, each from a different source",
        plan.limit, plan.held
    );
    println!(
        "{} honest sources a second; time from when each was due to connect until the answer to \
         its OPTIONS;\nfailed: closed, or no answer in {} s; {} windows of {} s for each figure",
        plan.honest_per_second,
        plan.patience.as_secs(),
        plan.rounds,
        plan.window.as_secs_f64()
    );
    record.placement.print("workers, attackers, honest sources");
    if record.clock == Clock::Ticks {
        println!("CPU time from /proc/PID/stat (ticks): this kernel has no schedstat");
    }
}

fn print_table(record: &Record, scenario: Scenario) {
    println!("\n{}: {}", scenario.name(), description(record, scenario));
    println!(
        "  {:<6}  {:<26}{:<26}{:>8}{:>9}{:>15}  {:<20}{:>10}{:>13}{:>12}",
        "server",
        "p50 ms",
        "p99 ms",
        "p99.9",
        "longest",
        "failed",
        "TCP main, % CPU",
        "other CPU",
        "connections",
        "rejected",
    );
    for server in Which::ALL {
        let Some(all) = record.together(scenario, server) else {
            continue;
        };
        let spread =
            |metric: fn(&Sample) -> f64| Spread::of(&record.values(scenario, server, metric));
        let rejected = sum(record, scenario, server, |s| s.rejected as f64);
        let opened = sum(record, scenario, server, |s| s.attack.opened as f64);
        println!(
            "  {:<6}  {:<26}{:<26}{:>8}{:>9}{:>15}  {:<20}{:>8.0} %{:>13.0}{:>12}",
            server.name(),
            lengths(record, spread(|s| s.honest.p50)),
            lengths(record, spread(|s| s.honest.p99)),
            length(record, all.p99_9),
            length(record, all.max),
            format!("{} of {}", all.failed(), all.sources),
            format!("{:.1}", spread(|s| s.cpu_share)),
            spread(|s| s.others_busy).median,
            spread(|s| s.connections as f64).median,
            match rejected {
                0.0 => "-".to_owned(),
                _ => format!("{:.1} %", 100.0 * rejected / opened),
            }
        );
    }
}

fn lengths(record: &Record, times: Spread) -> String {
    let [median, min, max] = [times.median, times.min, times.max].map(|t| length(record, t));
    format!("{median} ({min}..{max})")
}

/// Formats a time in milliseconds. The time of a failed source is not known.
fn length(record: &Record, time: f64) -> String {
    let patience = record.plan.patience.as_secs_f64() * 1e3;
    if time >= patience {
        format!(">{patience:.0}")
    } else {
        format!("{time:.2}")
    }
}

fn description(record: &Record, scenario: Scenario) -> String {
    let plan = &record.plan;
    let passing = |sources: &str| {
        format!(
            "{} connections a second {sources}, each open for {} s",
            plan.per_second,
            plan.life.as_secs_f64()
        )
    };
    match scenario {
        Scenario::Calm => "honest sources alone".to_owned(),
        Scenario::OneSource => passing("from one source"),
        Scenario::Passing => passing(&format!(
            "from as many sources, {} in all",
            opened(record, scenario)
        )),
        Scenario::Chosen => passing(&format!(
            "from {} addresses that collide under another hash key",
            record.chosen.addresses
        )),
        Scenario::OneNetwork => passing("from as many addresses of one network"),
        Scenario::ManyNetworks => passing(&format!(
            "from as many networks, {} in all",
            opened(record, scenario)
        )),
        Scenario::Slow => format!(
            "{} sources open {} connections each, try {TOO_MANY} more, and send a byte every 10 s",
            plan.slow, plan.limit
        ),
    }
}

/// The sum of `metric` over all windows.
fn sum(record: &Record, scenario: Scenario, server: Which, metric: fn(&Sample) -> f64) -> f64 {
    record.values(scenario, server, metric).iter().sum()
}

/// Connections that the module's attackers have opened.
fn opened(record: &Record, scenario: Scenario) -> f64 {
    sum(record, scenario, Which::Module, |s| s.attack.opened as f64)
}

fn print_counts(record: &Record) {
    println!(
        "\nThe module's table of {} slots. After each window its counts were equal to the core's \
         connections:",
        record.slots
    );
    println!(
        "  {:<18}{:>18}{:>11}{:>11}{:>9}{:>22}",
        "", "sources at a time", "admitted", "rejected", "errors", "without a slot"
    );
    for scenario in record.scenarios() {
        let sources = record.values(scenario, Which::Module, |s| s.sources as f64);
        let sum = |metric| sum(record, scenario, Which::Module, metric);
        println!(
            "  {:<18}{:>18.0}{:>11}{:>11}{:>9}{:>22}",
            scenario.name(),
            Spread::of(&sources).max,
            sum(|s| s.counted.admitted as f64),
            sum(|s| s.rejected as f64),
            sum(|s| s.counted.errors as f64),
            sum(|s| s.counted.table_full as f64),
        );
    }
}

/// Prints whether the 99th percentile distinguishes the servers.
fn print_verdict(record: &Record, scenario: Scenario) {
    let p99 = |server| Spread::of(&record.values(scenario, server, |s| s.honest.p99));
    let off = p99(Which::Off);
    let against_off = |server| {
        let other = p99(server);
        if other.min > off.max {
            "LONGER than off"
        } else if other.max < off.min {
            "shorter than off"
        } else {
            "not distinguishable from off"
        }
    };
    let failed = |server| {
        let all = record.together(scenario, server);
        all.map_or(0.0, |all| 100.0 * all.failed() as f64 / all.sources as f64)
    };
    println!(
        "{:<18} p99: off {}; module {}, {}; stock {}, {}.",
        scenario.name(),
        length(record, off.median),
        length(record, p99(Which::Module).median),
        against_off(Which::Module),
        length(record, p99(Which::Stock).median),
        against_off(Which::Stock),
    );
    println!(
        "{:<18} failed: off {:.2} %, module {:.2} %, stock {:.2} %.",
        "",
        failed(Which::Off),
        failed(Which::Module),
        failed(Which::Stock)
    );
}

fn print_chosen(record: &Record) {
    let proof = record.chosen;
    println!(
        "Chosen addresses: of {} at a time, {} found no slot in the table of the limiter that \
         they were chosen with.",
        proof.at_a_time, proof.without_slot
    );
}
