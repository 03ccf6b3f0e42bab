// SPDX-License-Identifier: GPL-2.0-or-later

//! The table.

use crate::Record;
use crate::fleet::{Figures, Times};

pub(crate) fn print(record: &Record) {
    record.run.print();
    record.run.print_quick();
    for simulated in &record.simulated {
        let (load, figures) = (&simulated.load, &simulated.figures);
        println!(
            "\n{}: {} nodes with {} sources each, limit {}, reported from {} connections on: {}. \
             {} of these change a second, and {} jump.\n",
            load.name,
            load.nodes,
            load.sources,
            load.limit,
            load.threshold(),
            load.busy,
            load.changes,
            load.jumps,
        );
        for (what, value) in rows(figures) {
            println!("  {what:<44}{value:>24}");
        }
    }
}

fn rows(figures: &Figures) -> [(&'static str, String); 11] {
    let rate = |messages: f64, bytes: f64| format!("{messages:.0}/s, {:.0} kB/s", bytes / 1e3);
    [
        (
            "sent, to all receivers together",
            rate(figures.messages_out, figures.bytes_out),
        ),
        ("received", rate(figures.messages_in, figures.bytes_in)),
        ("records received", format!("{:.0}/s", figures.records_in)),
        ("CPU of sending", format!("{:.2} %", figures.tick_percent)),
        (
            "CPU of receiving",
            format!("{:.2} %", figures.receive_percent),
        ),
        ("a message", format!("{:.1} µs", figures.receive_us)),
        (
            "the longest tick",
            format!("{:.1} ms", figures.longest_tick_us / 1e3),
        ),
        (
            "memory",
            format!(
                "{:.1} MB, {:.0} B/count",
                figures.memory as f64 / 1e6,
                figures.memory as f64 / figures.counts.max(1) as f64
            ),
        ),
        (
            "all counts known after the start",
            format!("{} ms", figures.joined_ms),
        ),
        (
            "a change known, median, p99, longest",
            times(&figures.changes),
        ),
        ("a jump known, median, p99, longest", times(&figures.jumps)),
    ]
}

fn times(times: &Times) -> String {
    let Times {
        median,
        p99,
        longest,
        ..
    } = times;
    format!("{median}, {p99}, {longest} ms")
}
