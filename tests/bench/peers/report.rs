// SPDX-License-Identifier: GPL-2.0-or-later

//! The table.

use crate::common::generator::Window;
use crate::common::stats::{Spread, differences};
use crate::record::Record;
use crate::series::{COMPARISONS, Comparison, Series};

pub(crate) fn print(record: &Record) {
    record.run.print();
    for version in &record.versions {
        println!("{version}");
    }
    let plan = &record.plan;
    println!(
        "{} connections held, {} new ones a second from other sources, limit {} per source\n\
         CPU time of the accepting process, in us per accepted connection ({:?});\n\
         *: plus that of the client, to which the kernel charges the limiter's work\n\
         median (min..max) of {} windows of {:?}\n",
        plan.held, plan.per_second, record.limit, record.clock, plan.windows, plan.window,
    );
    println!(
        "  {:<31} {:<24} {:<24} {:<26} reached/s",
        "limit", "off", "on", "on - off"
    );
    for comparison in &COMPARISONS {
        let cost = Cost::of(comparison, record);
        println!(
            "  {:<31} {:<24} {:<24} {:<26} {:.0}",
            format!(
                "{}{}",
                comparison.name,
                if comparison.on.is_in_kernel() {
                    " *"
                } else {
                    ""
                }
            ),
            format!("{:.1}", cost.off),
            format!("{:.1}", cost.on),
            format!("{:+.1}", cost.limit),
            cost.reached.median,
        );
    }
    // Without the series that include the client, which shares its CPU with all others.
    let servers = record
        .samples
        .iter()
        .filter(|sample| !sample.series.is_in_kernel());
    println!(
        "\nThe servers (except *) waited for their CPU {:.1} % of the time that they ran; \
         load average at start {}.",
        Window::waited(servers.map(|sample| &sample.window)),
        record.run.machine.load
    );
    record.run.print_quick();
}

/// Microseconds of CPU time per accepted connection.
struct Cost {
    off: Spread,
    on: Spread,
    /// What the limit costs: `on - off`, window by window.
    limit: Spread,
    /// Connections a second, with the limit on.
    reached: Spread,
}

impl Cost {
    fn of(comparison: &Comparison, record: &Record) -> Cost {
        let values = |series: Series, metric: fn(&Window) -> f64| -> Vec<f64> {
            record
                .samples
                .iter()
                .filter(|sample| sample.series == series)
                .map(|sample| metric(&sample.window))
                .collect()
        };
        let off = values(comparison.off, Window::cost);
        let on = values(comparison.on, Window::cost);
        Cost {
            off: Spread::of(&off),
            on: Spread::of(&on),
            limit: Spread::of(&differences(&on, &off)),
            reached: Spread::of(&values(comparison.on, Window::reached)),
        }
    }
}
