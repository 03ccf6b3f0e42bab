// SPDX-License-Identifier: GPL-2.0-or-later

//! The table.

use crate::common::generator::Window;
use crate::run::Record;

pub(crate) fn print(record: &Record) {
    println!("{}", record.machine);
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
    for cost in &record.costs {
        println!(
            "  {:<31} {:<24} {:<24} {:<26} {:.0}",
            format!(
                "{}{}",
                cost.limiter,
                if cost.with_client { " *" } else { "" }
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
        record.machine.load
    );
    if record.quick {
        println!("\nA quick run only shows that the benchmark works; ignore its figures.");
    }
}
