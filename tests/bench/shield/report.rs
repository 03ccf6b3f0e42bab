// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables and verdicts.

use crate::record::{Record, Sample, Stopped};
use crate::stats::Spread;

pub(crate) fn print(record: &Record) {
    record.run.print();
    record.placement.print("flooder, honest clients");
    for rate in rates(record) {
        print_table(record, rate);
    }
    print_program(record);
    print_verdicts(record);
    record.run.print_quick();
}

fn rates(record: &Record) -> Vec<Option<u32>> {
    let mut rates: Vec<Option<u32>> = record.samples.iter().map(|sample| sample.rate).collect();
    rates.sort_by_key(|rate| rate.unwrap_or(u32::MAX));
    rates.dedup();
    rates
}

fn of(record: &Record, by: Stopped, rate: Option<u32>) -> impl Iterator<Item = &Sample> {
    let samples = record.samples.iter();
    samples.filter(move |sample| sample.by == by && sample.rate == rate)
}

fn print_table(record: &Record, rate: Option<u32>) {
    match rate {
        Some(rate) => println!("\nA banned source attempts {rate} connections a second:"),
        None => println!("\nA banned source attempts as many connections as it can:"),
    }
    println!(
        "| stopped by | attempts/s | TCP main, % of a core | server and its kernel side with the \
         flooder, % | CPU us an attempt | honest: median, 99 %, most us | failed |"
    );
    println!("|---|---|---|---|---|---|---|");
    for by in Stopped::ALL {
        let spread =
            |value: fn(&Sample) -> f64| -> Spread { of(record, by, rate).map(value).collect() };
        let attempts = spread(Sample::attempts);
        let tcp_main = spread(|sample| sample.share(sample.tcp_main_ns));
        let whole = spread(Sample::whole);
        let mut waits: Vec<u32> = of(record, by, rate)
            .flat_map(|sample| sample.honest.micros.iter().copied())
            .collect();
        waits.sort_unstable();
        let failed: u32 = of(record, by, rate)
            .map(|sample| sample.honest.failed)
            .sum();
        let at = |part: f64| {
            let last = waits.len().saturating_sub(1) as f64;
            waits.get((last * part) as usize).copied().unwrap_or(0)
        };
        let per_attempt = match by {
            Stopped::NoFlood => "-".to_owned(),
            _ => format!("{:.2}", spread(Sample::whole_per_attempt)),
        };
        println!(
            "| {} | {:.0} | {:.2} | {:.1} | {per_attempt} | {}, {}, {} | {failed} |",
            by.name(),
            attempts.median,
            tcp_main,
            whole,
            at(0.5),
            at(0.99),
            at(1.0),
        );
    }
}

fn print_program(record: &Record) {
    println!("\nThe program in the kernel, ns a packet:");
    println!("| packet | listed sources | prefixes | ns |");
    println!("|---|---|---|---|");
    for cost in &record.costs {
        println!(
            "| {} | {} | {} | {} |",
            cost.packet, cost.sources, cost.prefixes, cost.ns
        );
    }
}

fn print_verdicts(record: &Record) {
    println!();
    for rate in rates(record) {
        let whole = |by| -> Spread {
            of(record, by, rate)
                .map(Sample::whole_per_attempt)
                .collect()
        };
        let tcp_main = |by| -> Spread {
            let samples = of(record, by, rate);
            samples
                .map(|sample| sample.share(sample.tcp_main_ns))
                .collect()
        };
        let name = rate.map_or("as fast as it can".to_owned(), |rate| format!("{rate}/s"));
        println!(
            "{name}: TCP main {:.2} % with the shield, {:.2} % without a flood; CPU time of an \
             attempt {:.2} times that with nftables",
            tcp_main(Stopped::Shield).median,
            tcp_main(Stopped::NoFlood).median,
            whole(Stopped::Shield).median / whole(Stopped::Nftables).median,
        );
    }
    let syn = record
        .costs
        .iter()
        .filter(|cost| cost.packet.starts_with("SYN"));
    let most = syn.map(|cost| cost.ns).max().unwrap_or(0);
    println!("a SYN of a source that is not listed costs at most {most} ns more");
}
