// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables and verdicts.

use std::fmt;

use crate::fleet::{self, Addresses, Order};
use crate::operations::{Operation, Variant};
use crate::record::{HugePages, Record};
use crate::scaling::{self, Counting, Spread};
use crate::{churn, cold, delay, init, long_prefixes, stats, threads, walks};

/// The rows of the table, with the names that a reader sees.
const ROWS: [(&str, Variant, Operation); 72] = {
    use Operation::*;
    use Variant::*;
    [
        ("floor: one atomic addition", Floor, Add),
        ("cycle, known source", Engine, CycleKnown),
        ("cycle, returning source", Engine, CycleReturning),
        ("cycle, new source", Engine, CycleNew),
        ("cycle, mix", Engine, CycleMix),
        ("check, known source", Engine, CheckKnown),
        ("check, new source", Engine, CheckNew),
        ("check, source at its limit", Engine, CheckAtLimit),
        ("opened, known source", Engine, OpenedKnown),
        ("opened, returning source", Engine, OpenedReturning),
        ("opened, new source", Engine, OpenedNew),
        ("closed", Engine, ClosedKnown),
        ("rate, penalties: cycle, known", Controls, CycleKnown),
        ("rate, penalties: cycle, new", Controls, CycleNew),
        ("rate, penalties: check, known", Controls, CheckKnown),
        ("listeners: cycle, known", Listeners, CycleKnown),
        ("listeners: cycle, new", Listeners, CycleNew),
        ("listeners: check, known", Listeners, CheckKnown),
        ("1,000,000 banned: check, known", Banned, CheckKnown),
        ("as large, none: check, known", NotBanned, CheckKnown),
        ("pressure: check, known", Pressure, CheckKnown),
        ("pressure: cycle, known", Pressure, CycleKnown),
        ("count_for, known client", Moves, CountFor),
        ("cluster: cycle, known", Cluster, CycleKnown),
        ("cluster: check, known", Cluster, CheckKnown),
        ("networks: cycle, known", Networks, CycleKnown),
        ("networks: cycle, new", Networks, CycleNew),
        ("networks: check, known", Networks, CheckKnown),
        ("networks: opened, known", Networks, OpenedKnown),
        ("networks: closed", Networks, ClosedKnown),
        ("networks, rates: cycle, known", NetworkRates, CycleKnown),
        (
            "networks, rate, trust: cycle, known",
            NetworkRatesTrust,
            CycleKnown,
        ),
        (
            "networks, rate, trust: cycle, new",
            NetworkRatesTrust,
            CycleNew,
        ),
        (
            "networks, rate, trust: check, known",
            NetworkRatesTrust,
            CheckKnown,
        ),
        (
            "networks, rate, trust: closed",
            NetworkRatesTrust,
            ClosedKnown,
        ),
        ("huge pages: cycle, known", HugePages, CycleKnown),
        ("huge pages: cycle, new", HugePages, CycleNew),
        ("huge pages: cycle, mix", HugePages, CycleMix),
        ("huge pages: check, known", HugePages, CheckKnown),
        ("huge pages: check, new", HugePages, CheckNew),
        ("huge pages: check, at limit", HugePages, CheckAtLimit),
        ("huge pages: opened, known", HugePages, OpenedKnown),
        ("huge pages: opened, new", HugePages, OpenedNew),
        ("huge pages: closed", HugePages, ClosedKnown),
        ("locked map: cycle, known", Locked, CycleKnown),
        ("locked map: cycle, new", Locked, CycleNew),
        ("locked map: cycle, mix", Locked, CycleMix),
        ("locked map: check, known", Locked, CheckKnown),
        ("locked map: check, new", Locked, CheckNew),
        ("locked map: check, at limit", Locked, CheckAtLimit),
        ("locked map: opened, known", Locked, OpenedKnown),
        ("locked map: opened, new", Locked, OpenedNew),
        ("locked map: closed", Locked, ClosedKnown),
        ("striped map: cycle, known", Striped, CycleKnown),
        ("striped map: cycle, new", Striped, CycleNew),
        ("striped map: cycle, mix", Striped, CycleMix),
        ("striped map: check, known", Striped, CheckKnown),
        ("striped map: check, new", Striped, CheckNew),
        ("striped map: check, at limit", Striped, CheckAtLimit),
        ("striped map: opened, known", Striped, OpenedKnown),
        ("striped map: opened, new", Striped, OpenedNew),
        ("striped map: closed", Striped, ClosedKnown),
        ("hashbrown: cycle, known", Hashbrown, CycleKnown),
        ("hashbrown: cycle, new", Hashbrown, CycleNew),
        ("hashbrown: cycle, mix", Hashbrown, CycleMix),
        ("hashbrown: check, known", Hashbrown, CheckKnown),
        ("hashbrown: check, new", Hashbrown, CheckNew),
        ("hashbrown: check, at limit", Hashbrown, CheckAtLimit),
        ("hashbrown: opened, known", Hashbrown, OpenedKnown),
        ("hashbrown: opened, new", Hashbrown, OpenedNew),
        ("hashbrown: closed", Hashbrown, ClosedKnown),
        ("stock: the core's function", Stock, CheckKnown),
    ]
};

/// The sizes for which there are targets.
pub(crate) const AIMED: [u32; 2] = [35_000, 1_000_000];

/// A ratio of two medians and its target at each of the sizes `AIMED`.
struct Aim {
    name: &'static str,
    above: (Variant, Operation),
    below: (Variant, Operation),
    bounds: [Bound; 2],
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

const AIMS: [Aim; 8] = [
    Aim {
        name: "full cycle, known source / floor",
        above: (Variant::Engine, Operation::CycleKnown),
        below: (Variant::Floor, Operation::Add),
        bounds: [Bound::AtMost(2.0), Bound::AtMost(1.5)],
    },
    Aim {
        name: "rate, penalties: full cycle / floor",
        above: (Variant::Controls, Operation::CycleKnown),
        below: (Variant::Floor, Operation::Add),
        bounds: [Bound::AtMost(2.6), Bound::AtMost(2.0)],
    },
    Aim {
        name: "1,000,000 banned: check / none",
        above: (Variant::Banned, Operation::CheckKnown),
        below: (Variant::NotBanned, Operation::CheckKnown),
        bounds: [Bound::AtMost(1.05), Bound::AtMost(1.05)],
    },
    Aim {
        name: "networks, rate, trust: cycle / floor",
        above: (Variant::NetworkRatesTrust, Operation::CycleKnown),
        below: (Variant::Floor, Operation::Add),
        bounds: [Bound::AtMost(3.5), Bound::AtMost(2.6)],
    },
    Aim {
        name: "check alone, known source / floor",
        above: (Variant::Engine, Operation::CheckKnown),
        below: (Variant::Floor, Operation::Add),
        bounds: [Bound::AtMost(1.3), Bound::AtMost(1.2)],
    },
    Aim {
        name: "stock / check alone",
        above: (Variant::Stock, Operation::CheckKnown),
        below: (Variant::Engine, Operation::CheckKnown),
        bounds: [Bound::AtLeast(10_000.0), Bound::AtLeast(1_000_000.0)],
    },
    Aim {
        name: "locked map / full cycle",
        above: (Variant::Locked, Operation::CycleKnown),
        below: (Variant::Engine, Operation::CycleKnown),
        bounds: [Bound::AtLeast(1.3), Bound::AtLeast(1.8)],
    },
    Aim {
        name: "hashbrown / full cycle",
        above: (Variant::Hashbrown, Operation::CycleKnown),
        below: (Variant::Engine, Operation::CycleKnown),
        bounds: [Bound::AtLeast(1.3), Bound::AtLeast(1.8)],
    },
];

pub(crate) fn print(record: &Record) {
    record.run.print();
    println!("tcp_conn_limit {}", record.versions.engine);
    match &record.versions.stock {
        Some(version) => println!("stock: {version}"),
        None => println!("stock: not measured (`make bench` builds what it needs)"),
    }
    print_table(record);
    record.run.print_quick();
    print_huge_pages(record);
    print_aims(record);
    print_churn(record);
    print_fleets(record);
    print_long_prefixes(record);
    print_walks(record);
    print_cold(record);
    print_init(record);
    print_scaling(record);
    print_threads(record);
    print_delay(record);
}

fn print_table(record: &Record) {
    println!(
        "\nNanoseconds, median (min..max) of {} passes of {} steps, by number of sources:",
        record.plan.passes, record.plan.steps
    );
    print!("{:<30}", "");
    for sources in &record.plan.sizes {
        print!("{sources:>30}");
    }
    println!();
    for (name, variant, operation) in ROWS {
        print!("{name:<30}");
        for &sources in &record.plan.sizes {
            let cell = match record.spread(variant, operation, sources) {
                Some(spread) if spread.median >= 10_000.0 => format!("{spread:.0}"),
                Some(spread) => format!("{spread:.1}"),
                None => "-".to_owned(),
            };
            print!("{cell:>30}");
        }
        println!();
    }
}

fn print_huge_pages(record: &Record) {
    println!("\nHuge pages, medians compared with the engine in small pages:");
    let tables = match &record.huge_pages {
        HugePages::Measured(tables) => tables,
        HugePages::NotMeasured(why) => return println!("not measured: {why}"),
    };
    for table in tables {
        print!("{:>12} sources, {} MiB", table.sources, table.bytes >> 20);
        for (name, operation) in [
            ("check", Operation::CheckKnown),
            ("cycle", Operation::CycleKnown),
            ("new source", Operation::CycleNew),
            ("check at limit", Operation::CheckAtLimit),
        ] {
            let spread = |variant| record.spread(variant, operation, table.sources);
            let pair = (spread(Variant::HugePages), spread(Variant::Engine));
            if let (Some(huge), Some(small)) = pair {
                let change = 100.0 * (huge.median / small.median - 1.0);
                print!(", {name} {change:+.0} %");
            }
        }
        println!();
    }
}

fn print_aims(record: &Record) {
    println!("\nRatios of the medians, by number of sources:");
    print!("{:<36}", "");
    for sources in &record.plan.sizes {
        print!("{sources:>12}");
    }
    println!();
    for aim in &AIMS {
        print!("{:<36}", aim.name);
        for &sources in &record.plan.sizes {
            match aim.ratio(record, sources) {
                Some(ratio) if ratio >= 100.0 => print!("{ratio:>12.0}"),
                Some(ratio) => print!("{ratio:>12.2}"),
                None => print!("{:>12}", "-"),
            }
        }
        println!();
    }
    println!();
    for aim in &AIMS {
        for (sources, bound) in AIMED.into_iter().zip(aim.bounds) {
            if let Some(ratio) = aim.ratio(record, sources) {
                let target = format!("{}, {sources} sources", aim.name);
                verdict(&target, bound.holds(ratio), &format!("{ratio:.2}, {bound}"));
            }
        }
    }
}

impl Aim {
    fn ratio(&self, record: &Record, sources: u32) -> Option<f64> {
        let median =
            |(variant, operation)| Some(record.spread(variant, operation, sources)?.median);
        Some(median(self.above)? / median(self.below)?)
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(max) => value <= max,
            Bound::AtLeast(min) => value >= min,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::AtMost(max) => write!(f, "wanted at most {max}"),
            Bound::AtLeast(min) => write!(f, "wanted at least {min}"),
        }
    }
}

fn verdict(target: &str, holds: bool, detail: &str) {
    let word = if holds { "reached" } else { "NOT reached" };
    println!("{word:<12} {target}: {detail}");
}

fn print_churn(record: &Record) {
    let first = |ns: &[f64]| ns.first().copied().unwrap_or(f64::NAN);
    let last = |ns: &[f64]| ns.last().copied().unwrap_or(f64::NAN);
    let each = |of: &dyn Fn(&[f64]) -> f64| -> stats::Spread {
        record.churn.iter().map(|blocks| of(&blocks.ns)).collect()
    };
    let change = each(&|ns| 100.0 * (last(ns) / first(ns) - 1.0));
    println!(
        "\nChurn: {} different sources pass through a table for {} connections, {} open at any \
         time.",
        u64::from(record.plan.churn_blocks) * u64::from(record.plan.churn_block),
        churn::CAPACITY,
        churn::HELD
    );
    println!(
        "             first {}: {:.1} ns, last: {:.1} ns for check, opened, closed",
        record.plan.churn_block,
        each(&first),
        each(&last)
    );
    verdict(
        "cost of the last block compared with the first",
        change.median.abs() <= 5.0,
        &format!("{change:+.1} %, wanted within 5 %"),
    );
    let miscounted: u64 = record.churn.iter().map(|blocks| blocks.miscounted).sum();
    verdict(
        "every source counted correctly",
        miscounted == 0,
        &format!("{miscounted} wrong"),
    );
    let full: u64 = record.churn.iter().map(|blocks| blocks.table_full).sum();
    verdict(
        "the table is never full",
        full == 0,
        &format!("full {full} times"),
    );
}

fn print_fleets(record: &Record) {
    if record.fleets.is_empty() {
        return;
    }
    println!(
        "\nA returning fleet: fresh sources that find no slot in a table for {} connections while \
         the sources\nof a fleet connect and disconnect, by connected sources and fleet size in \
         per cent of the capacity:",
        fleet::CAPACITY
    );
    println!(
        "{:>9}{:>8}  {:<34}{:>10}{:>12}{:>12}",
        "connected", "fleet", "", "share", "no slot", "checked"
    );
    for fleets in &record.fleets {
        let (case, sum) = (fleets.case, fleets.sum());
        let size = match case.order {
            Order::NeverBack => "-".to_owned(),
            Order::Random | Order::Fifo => format!("{} %", case.fleet),
        };
        println!(
            "{:>7} %{size:>9}  {:<34}{:>10.1e}{:>12}{:>12}",
            case.load,
            format!("{}, {}", order(case.order), addresses(case.addresses)),
            sum.share(),
            sum.without_slot,
            sum.checked
        );
    }
    for (name, loads, max) in [
        ("all connections in use", 81..=100, 3e-6),
        ("four fifths in use or fewer", 0..=80, 5e-7),
    ] {
        let of_loads = record
            .fleets
            .iter()
            .filter(|f| loads.contains(&f.case.load));
        let worst = of_loads
            .map(|fleets| fleets.sum().share())
            .fold(0.0, f64::max);
        verdict(
            &format!("fresh sources without a slot, {name}, every fleet"),
            worst <= max,
            &format!("at most {worst:.1e}, wanted at most {max:.0e}"),
        );
    }
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Random => "random",
        Order::Fifo => "FIFO",
        Order::NeverBack => "FIFO, none returns",
    }
}

fn addresses(addresses: Addresses) -> &'static str {
    match addresses {
        Addresses::Scattered => "scattered",
        Addresses::Consecutive => "consecutive /64s",
        Addresses::Grid => "grid of /64s",
    }
}

/// The name of a row and what it shows.
type WalkRow = (&'static str, fn(&walks::Figure) -> f64);

fn print_walks(record: &Record) {
    let sizes = &record.plan.walk_sizes;
    if sizes.is_empty() {
        return;
    }
    println!("\nWalks, milliseconds, and the first sources of a fresh table, nanoseconds:");
    print!("{:<30}", "");
    for sources in sizes {
        print!("{sources:>30}");
    }
    println!();
    let rows: [WalkRow; 9] = [
        ("stats", |figure| figure.stats),
        ("top 100", |figure| figure.top),
        ("suggest", |figure| figure.suggest),
        ("tick of the watcher", |figure| figure.tick),
        ("audit, lock held", |figure| figure.audit_locked),
        ("first sources, mean", |figure| figure.first_mean),
        ("first sources, p99", |figure| figure.first_p99),
        ("  buckets allocated, mean", |figure| figure.allocated_mean),
        ("  buckets allocated, p99", |figure| figure.allocated_p99),
    ];
    for (name, value) in rows {
        print!("{name:<30}");
        for &sources in sizes {
            let figures = record.walks.iter();
            let own = figures.filter(|figure| figure.sources == sources);
            let spread: stats::Spread = own.map(value).collect();
            print!("{:>30}", format!("{spread:.1}"));
        }
        println!();
    }
}

fn print_cold(record: &Record) {
    if record.cold.is_empty() {
        return;
    }
    println!(
        "\nOne check among {} sources after other memory was used, nanoseconds, with the clock:",
        cold::SOURCES
    );
    println!(
        "{:<30}{:>30}{:>30}{:>30}",
        "", "known source", "new source", "only the clock"
    );
    for others in cold::OTHERS {
        let of = |value: fn(&cold::Figure) -> f64| {
            let figures = record.cold.iter();
            let own = figures.filter(|figure| figure.others == others);
            let spread: stats::Spread = own.map(value).collect();
            format!("{spread:.0}")
        };
        let row = format!("{} KiB of other memory", others >> 10);
        let [known, new] = [of(|figure| figure.known), of(|figure| figure.new)];
        println!(
            "{row:<30}{known:>30}{new:>30}{:>30}",
            of(|figure| figure.clock)
        );
    }
}

fn print_long_prefixes(record: &Record) {
    if record.long_prefixes.is_empty() {
        return;
    }
    let of = |ipv6_prefix, value: fn(&long_prefixes::Figure) -> f64| -> stats::Spread {
        let figures = record.long_prefixes.iter();
        figures
            .filter(|figure| figure.ipv6_prefix == ipv6_prefix)
            .map(value)
            .collect()
    };
    println!(
        "\nIPv6, {} sources, nanoseconds: /64 networks (the default), or addresses of one /64 \
         network with ipv6_prefix 128:",
        long_prefixes::SOURCES
    );
    println!("{:<30}{:>30}{:>30}", "", "/64", "/128");
    let print_row = |name, value: fn(&long_prefixes::Figure) -> f64| {
        let [short, long] = [64, 128].map(|prefix| format!("{:.1}", of(prefix, value)));
        println!("{name:<30}{short:>30}{long:>30}");
    };
    print_row("check, known source", |figure| figure.check_known);
    print_row("check, new source", |figure| figure.check_new);
    print_row("cycle, new source", |figure| figure.cycle_new);
    let check_new = |ipv6_prefix| of(ipv6_prefix, |figure| figure.check_new).median;
    let ratio = check_new(128) / check_new(64);
    verdict(
        "check of a new source, /128 / /64",
        ratio <= 1.15,
        &format!("{ratio:.2}, wanted at most 1.15"),
    );
}

fn print_init(record: &Record) {
    let of = |value: &dyn Fn(&init::Start) -> f64| -> stats::Spread {
        record.init.iter().map(value).collect()
    };
    let ms = of(&|start| start.ms);
    let pages = of(&|start| (start.resident / start.page) as f64);
    let all = of(&|start| (start.mapped / start.page) as f64);
    println!("\nInit for {} connections:", record.plan.init_connections);
    verdict(
        "time",
        ms.median < 50.0,
        &format!("{ms:.3} ms, wanted under 50"),
    );
    verdict(
        "only the header page touched",
        pages.max <= 1.0,
        &format!("{:.0} of {:.0} pages", pages.max, all.max),
    );
    let attached = record.init.iter().map(|start| {
        let pages = (start.attached? / start.page) as f64;
        Some((start.attach_ms?, pages))
    });
    if let Some(attached) = attached.collect::<Option<Vec<(f64, f64)>>>() {
        let ms: stats::Spread = attached.iter().map(|(ms, _)| *ms).collect();
        let pages: stats::Spread = attached.iter().map(|(_, pages)| *pages).collect();
        println!(
            "             before its first connection the accepting process needs {ms:.1} ms \
             and {:.0} pages",
            pages.median
        );
    }
}

fn print_scaling(record: &Record) {
    let max = record
        .scaling
        .iter()
        .map(|series| series.processes)
        .max()
        .unwrap_or_default();
    println!(
        "\nSeveral processes, full cycles on a table with {} sources: nanoseconds per cycle of \
         the slowest process,\nand the throughput of all processes relative to one:",
        scaling::SOURCES
    );
    let mut numbers: Vec<u32> = record.scaling.iter().map(|s| s.processes).collect();
    numbers.sort_unstable();
    numbers.dedup();
    print!("{:<50}", "");
    for number in &numbers {
        print!("{number:>30}");
    }
    println!();
    for spread in Spread::ALL {
        for counting in Counting::ALL {
            print!(
                "{:<50}",
                format!("{}, {}", name(spread), describe(counting))
            );
            for &number in &numbers {
                let cell = record
                    .scaling_spread(counting, spread, number)
                    .map_or("-".to_owned(), |ns| format!("{ns:.1}"));
                let factor = factor(record, counting, spread, number)
                    .map_or(String::new(), |factor| format!(" x{factor:.2}"));
                print!("{:>30}", cell + &factor);
            }
            println!();
        }
    }
    if max < 2 {
        return;
    }
    for spread in [Spread::OneEach, Spread::Parts] {
        if let Some(factor) = factor(record, Counting::Rows, spread, 2) {
            verdict(
                &format!("2 processes, rows, {}", name(spread)),
                factor >= 1.9,
                &format!("x{factor:.2}, wanted at least 1.9"),
            );
        }
    }
}

fn name(spread: Spread) -> &'static str {
    match spread {
        Spread::Same => "all on one source",
        Spread::OneEach => "each on a source of its own",
        Spread::Parts => "each on its own part",
    }
}

fn describe(counting: Counting) -> &'static str {
    match counting {
        Counting::Rows => "a row each",
        Counting::AcceptorRow => "one acceptor row",
        Counting::OneAtomic => "one atomic per source",
        Counting::Bare => "bare atomics",
    }
}

fn factor(record: &Record, counting: Counting, spread: Spread, processes: u32) -> Option<f64> {
    let one = record.scaling_spread(counting, spread, 1)?;
    let all = record.scaling_spread(counting, spread, processes)?;
    Some(f64::from(processes) * one.median / all.median)
}

fn print_threads(record: &Record) {
    if record.threads.is_empty() {
        return;
    }
    let of = |threads, value: fn(&threads::Figure) -> f64| -> stats::Spread {
        let figures = record.threads.iter().filter(|f| f.threads == threads);
        figures.map(value).collect()
    };
    println!(
        "\nTwo threads of one process, each with half of {} sources: nanoseconds in the slower \
         thread, compared with one thread alone:",
        threads::SOURCES
    );
    println!("{:<30}{:>30}{:>30}", "", "1", "2");
    let print_row = |name, value: fn(&threads::Figure) -> f64| {
        let [one, two] = [1, 2].map(|threads| format!("{:.1}", of(threads, value)));
        println!("{name:<30}{one:>30}{two:>30}");
    };
    print_row("check, known source", |figure| figure.check);
    print_row("cycle, known source", |figure| figure.cycle);
}

fn print_delay(record: &Record) {
    if record.delay.is_empty() {
        return;
    }
    let of = |value: &dyn Fn(&delay::Figure) -> f64| -> stats::Spread {
        record.delay.iter().map(value).collect()
    };
    println!("\nA process checks a source while another process releases connections of it:");
    println!(
        "             check alone {:.1} ns, during releases {:.1} ns",
        of(&|f| f.check),
        of(&|f| f.check_during_releases)
    );
    let delay = of(&|f| f.check_during_releases - f.check);
    let transfer = of(&|f| f.transfer);
    verdict(
        "releases delay a check by at most one cache-line transfer",
        delay.median <= transfer.median,
        &format!("{delay:.1} ns, a transfer takes {transfer:.1} ns"),
    );
}
