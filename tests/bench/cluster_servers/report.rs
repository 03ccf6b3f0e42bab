// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables.

use crate::record::{Change, Contest, Greed, Kind, Limited, LoadSample, Record};
use crate::subject::NODES;
use crate::wire::Traffic;

pub(crate) fn print(record: &Record) {
    record.run.print();
    for version in &record.versions {
        println!("{version}");
    }
    print_known(record);
    print_wire(record);
    print_cpu(record);
    for greed in Greed::ALL {
        print_contest(record, greed);
    }
    print_losses(record);
    record.run.print_quick();
}

fn name(load: &LoadSample) -> String {
    match load.limited {
        Limited::Cluster => format!(
            "{} sources, limit {}, {} reported",
            load.sources, load.limit, load.reported
        ),
        _ => format!("{} sources, {}", load.sources, load.limited.name()),
    }
}

fn clusters(record: &Record) -> impl Iterator<Item = &LoadSample> {
    let loads = record.loads.iter();
    loads.filter(|load| load.limited.is_cluster())
}

fn print_known(record: &Record) {
    println!("\nUntil both other servers know of a change, in ms:");
    println!("| load | change | number | median | 99 % | longest | asked at least every (99 %) |");
    println!("|---|---|---|---|---|---|---|");
    for load in clusters(record) {
        for (change, text) in [(Change::One, "one connection"), (Change::Jump, "jump")] {
            let all = || {
                load.changed
                    .iter()
                    .filter(|changed| changed.change == change)
            };
            let times = sorted(all().map(|changed| changed.ms));
            let errors = sorted(all().map(|changed| changed.error_ms));
            let [median, p99, longest] = waits_of(&times);
            println!(
                "| {} | {text} | {} | {median:.0} | {p99:.0} | {longest:.0} | {:.1} |",
                name(load),
                times.len(),
                at(&errors, 0.99),
            );
        }
    }
}

fn print_wire(record: &Record) {
    println!("\nBetween all {NODES} servers, in a second, with all headers from IP on:");
    println!(
        "| load | reconnect/s | messages | kB | answers | kB | messages of DMQ | kB | all kB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for load in clusters(record) {
        let wire = &load.wire;
        let cells = |traffic: Traffic| {
            let packets = traffic.packets as f64 / wire.seconds;
            format!(
                "{packets:.1} | {:.1}",
                traffic.bytes as f64 / wire.seconds / 1e3
            )
        };
        let bytes = wire.messages.bytes + wire.answers.bytes + wire.of_dmq.bytes;
        println!(
            "| {} | {:.0} | {} | {} | {} | {:.1} |",
            name(load),
            load.churn,
            cells(wire.messages),
            cells(wire.answers),
            cells(wire.of_dmq),
            bytes as f64 / wire.seconds / 1e3,
        );
    }
}

fn print_cpu(record: &Record) {
    println!("\nCPU time of one server, mean of the {NODES}, % of a core:");
    let kinds = || Kind::ALL.into_iter().filter(|&kind| kind != Kind::Redis);
    let names: Vec<&str> = kinds().map(Kind::name).collect();
    println!("| load | {} | all |", names.join(" | "));
    println!("|---{}|---|", "|---".repeat(names.len()));
    for load in &record.loads {
        let each = |percent: f64| format!("{:.2}", percent / NODES as f64);
        let cells: Vec<String> = kinds().map(|kind| each(load.cpu.percent(kind))).collect();
        println!(
            "| {} | {} | {} |",
            name(load),
            cells.join(" | "),
            each(load.cpu.percent_of_all())
        );
    }
}

fn print_contest(record: &Record, greed: Greed) {
    let limit = record.limit;
    println!(
        "\nA greedy source ({}), limit L = {limit}; CPU time of all {NODES} servers, % of a core:",
        greed.name()
    );
    println!(
        "| limited by | greedy has | office has | honest: first answer median, 99 %, longest, ms \
         | failed | TCP main | workers | cluster, DMQ, UDP | Redis | all |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for limited in measured_limits(record) {
        let contests: Vec<&Contest> = record
            .contests
            .iter()
            .filter(|contest| contest.limited == limited && contest.greed == greed)
            .collect();
        let range = |value: fn(&Contest) -> u64| {
            range(contests.iter().map(|contest| value(contest)).collect())
        };
        let micros = contests.iter().flat_map(|contest| &contest.micros);
        let waits = sorted(micros.map(|&micros| f64::from(micros) / 1e3));
        let failed: u32 = contests.iter().map(|contest| contest.failed).sum();
        let mean = |kinds: &[Kind]| {
            let of = |contest: &&Contest| -> f64 {
                kinds.iter().map(|&kind| contest.cpu.percent(kind)).sum()
            };
            contests.iter().map(of).sum::<f64>() / contests.len() as f64
        };
        let [median, p99, longest] = waits_of(&waits);
        println!(
            "| {} | {} | {} | {median:.2}, {p99:.2}, {longest:.1} | {failed} of {} | {:.2} | {:.2} \
             | {:.2} | {:.2} | {:.2} |",
            limited.name(),
            range(|contest| contest.greedy),
            range(|contest| contest.office),
            waits.len() + failed as usize,
            mean(&[Kind::TcpMain]),
            mean(&[Kind::TcpWorker]),
            mean(&[Kind::Cluster, Kind::DmqWorker, Kind::UdpWorker]),
            mean(&[Kind::Redis]),
            mean(&Kind::ALL),
        );
    }
}

fn print_losses(record: &Record) {
    let limit = record.limit;
    println!(
        "\nA server with {limit} connections of an honest source is killed; the source comes to \
         another one:"
    );
    println!("| limited by | it has again | s until the last one |");
    println!("|---|---|---|");
    for limited in measured_limits(record) {
        let losses = || record.losses.iter().filter(|loss| loss.limited == limited);
        let again = range(losses().map(|loss| loss.again).collect());
        let seconds = sorted(losses().map(|loss| loss.seconds));
        let seconds = match again.as_str() {
            "0" => "-".to_owned(),
            _ => format!("{:.1}", at(&seconds, 0.5)),
        };
        println!("| {} | {again} | {seconds} |", limited.name());
    }
}

/// The measured limits, in their order.
fn measured_limits(record: &Record) -> Vec<Limited> {
    let mut kinds = Vec::new();
    for contest in &record.contests {
        if !kinds.contains(&contest.limited) {
            kinds.push(contest.limited);
        }
    }
    kinds
}

fn range(values: Vec<u64>) -> String {
    let (least, most) = (values.iter().min(), values.iter().max());
    match (least, most) {
        (Some(least), Some(most)) if least < most => format!("{least}..{most}"),
        _ => least.copied().unwrap_or(0).to_string(),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median, the 99th percentile and the longest of sorted waits.
fn waits_of(sorted: &[f64]) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|part| at(sorted, part))
}

/// The value at this part of a sorted list.
fn at(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * part).round() as usize)
        .copied()
        .unwrap_or(0.0)
}
