// SPDX-License-Identifier: GPL-2.0-or-later

//! The flood: its table and verdicts.

use crate::generator::Window;
use crate::record::{FloodSample, Flooded, Record};
use crate::stats::{Spread, differences};

pub(crate) fn print_table(record: &Record) {
    let plan = &record.plan.flood;
    println!(
        "\nFlood: one source that holds {1} connections offers {0} new ones a second, {2} others \
         held;\nCPU time of TCP main per connection offered, median (min..max) of {3} windows:",
        plan.rate.per_second,
        plan.of_one,
        plan.held,
        plan.rounds * plan.repeats,
    );
    println!(
        "{:58}{:>27}  log lines by{:>11}",
        "", "in total: rejected by", "log lines"
    );
    println!(
        "  {:<6}  {:>9}  {:>10}  {:<21}{:<21}{:>15}  {:>12}{:>11}",
        "server",
        "reached/s",
        "rejected/s",
        "% of a core",
        "us per connection",
        "its own account",
        "TCP main",
        "of all"
    );
    for server in Flooded::ALL {
        let reached = spread(record, server, Window::reached).median;
        println!(
            "  {:<6}  {reached:>9.0}  {:>10.0}  {:<21}{:<21}{:>15}  {:>12}{:>11}",
            server.name(),
            if rejects(server) { reached } else { 0.0 },
            format!("{:.1}", spread(record, server, Window::share)),
            format!("{:.1}", spread(record, server, Window::cost)),
            match server {
                Flooded::Bare => "-".to_owned(),
                _ => sum(record, server, |sample| sample.rejected).to_string(),
            },
            sum(record, server, |sample| sample.lines_of_tcp_main as u64),
            sum(record, server, |sample| sample.lines as u64),
        );
    }
    println!(
        "  reached/s: the client offers as many as the server accepts, at most {} a second.\n  \
         bare: a process that only waits, accepts and closes; off: the client closes each \
         accepted connection.\n  The servers log to standard error, which is a file here: no \
         syslog.",
        plan.rate.per_second
    );
    for server in Flooded::ALL {
        let line = record
            .flood_of(server)
            .find_map(|sample| sample.first_line.as_ref());
        if let Some(line) = line {
            println!("  {} logs: {}", server.name(), line.trim());
        }
    }
}

pub(crate) fn print_verdicts(record: &Record) {
    let cost = |server| spread(record, server, Window::cost);
    let module = cost(Flooded::Module);
    let off = cost(Flooded::Off);
    let verdict = if module.median <= off.median {
        "costs no more than"
    } else {
        "costs MORE than"
    };
    let against = |server| {
        Spread::of(&differences(
            &costs(record, Flooded::Module),
            &costs(record, server),
        ))
    };
    println!(
        "Flood: a rejection by the module {verdict} a connection that off accepts and the \
         client closes:\n    module {module:.1}, off {off:.1}, bare {:.1} us;\n    \
         module - off = {:+.1} us, module - bare = {:+.1} us.",
        cost(Flooded::Bare),
        against(Flooded::Off),
        against(Flooded::Bare),
    );
    let lines = |server| sum(record, server, |sample| sample.lines_of_tcp_main as u64);
    let rejected = |server| sum(record, server, |sample| sample.rejected);
    println!(
        "Flood: with the module, TCP main logged {} for {} rejections (all processes: {});\n    \
         with stock, {} for {}, {:.0}/s reached.",
        match lines(Flooded::Module) {
            0 => "no line".to_owned(),
            count => format!("{count} LINES"),
        },
        rejected(Flooded::Module),
        sum(record, Flooded::Module, |sample| sample.lines as u64),
        lines(Flooded::Stock),
        rejected(Flooded::Stock),
        spread(record, Flooded::Stock, Window::reached).median,
    );
}

fn rejects(server: Flooded) -> bool {
    match server {
        Flooded::Off => false,
        Flooded::Bare | Flooded::Stock | Flooded::Module => true,
    }
}

fn costs(record: &Record, server: Flooded) -> Vec<f64> {
    record
        .flood_of(server)
        .map(|sample| sample.window.cost())
        .collect()
}

fn spread(record: &Record, server: Flooded, metric: fn(&Window) -> f64) -> Spread {
    record
        .flood_of(server)
        .map(|sample| metric(&sample.window))
        .collect()
}

fn sum(record: &Record, server: Flooded, count: fn(&FloodSample) -> u64) -> u64 {
    record.flood_of(server).map(count).sum()
}
