// SPDX-License-Identifier: GPL-2.0-or-later

//! The tables and verdicts.

use crate::cpu::Clock;
use crate::flood_report;
use crate::generator::Window;
use crate::record::{Record, Series};
use crate::rules::RULES;
use crate::stats::{Spread, differences, means};

/// The variants with the names that a reader sees, each with its series.
const VARIANTS: [(&str, &[Series]); 6] = [
    ("off", &[Series::Off, Series::OffAgain]),
    ("stock", &[Series::Stock]),
    ("module", &[Series::Module]),
    ("interposed", &[Series::Interposed]),
    ("controls", &[Series::Controls]),
    ("everything", &[Series::Everything]),
];

/// The maximum shared memory of the module per allowed connection, in bytes: seven eighths
/// of a bucket, with its cells and details, the record of the connection, and the header.
const MAX_BYTES: f64 = 360.0;

/// The bytes of the records of other descriptors, which are the same for any number of
/// connections.
const OTHER_RECORDS: u64 = 65_536 * 16;

pub(crate) fn print(record: &Record) {
    print_conditions(record);
    print_held(record);
    for rate in &record.plan.rates {
        print_table(record, rate.per_second);
    }
    flood_report::print_table(record);
    record.run.print_quick();
    println!();
    for rate in &record.plan.rates {
        let compared = [
            Series::Module,
            Series::Interposed,
            Series::Controls,
            Series::Everything,
        ];
        for series in compared.into_iter().filter(|&series| record.has(series)) {
            print_noise(record, series, rate.per_second);
        }
        print_attachments(record, rate.per_second);
        print_growth(record, rate.per_second);
        print_stock(record, rate.per_second);
    }
    flood_report::print_verdicts(record);
    print_memory(record);
    print_quiet(record);
}

fn print_conditions(record: &Record) {
    record.run.print();
    println!("off, stock, interposed: {}", record.versions.stock);
    println!(
        "the others:              {} + hooks, tcp_conn_limit {}",
        record.versions.hooked, record.versions.module
    );
    println!("limit {} per source, no limit in off", record.limit);
    let scrapes: usize = record.scrapes.iter().map(|scrapes| scrapes.count).sum();
    let seconds: f64 = record.scrapes.iter().map(|scrapes| scrapes.seconds).sum();
    let medians: Spread = record
        .scrapes
        .iter()
        .map(|scrapes| scrapes.milliseconds.median)
        .collect();
    println!(
        "controls: {RULES} rules, rate, penalties, mode monitor, {scrapes} scrapes in \
         {seconds:.0} s, {:.0} ms each; everything: the same in mode enforce, with \
         untrusted_limit, networks, reserve, pressure and rules for proxies",
        medians.median
    );
    record.placement.print("load generators");
    match record.clock {
        Clock::Schedstat => println!("CPU time from /proc/PID/task/*/schedstat (nanoseconds)"),
        Clock::Ticks => {
            println!("CPU time from /proc/PID/stat (ticks): this kernel has no schedstat");
        }
    }
    let plan = &record.plan;
    println!(
        "{} windows for each figure ({} rounds of {}; off twice as many)",
        plan.rounds * plan.repeats,
        plan.rounds,
        plan.repeats
    );
}

fn print_held(record: &Record) {
    println!("\nConnections held, the lowest count of all servers and rounds:");
    println!("   wanted  own sockets  core.tcp_info  descriptors of TCP main");
    for &level in &record.plan.levels {
        let checks = || record.held.iter().filter(|check| check.level == level);
        let fewest = |counts: &mut dyn Iterator<Item = usize>| counts.min().unwrap_or(0);
        println!(
            "  {level:>7}  {:>11}  {:>13}  {:>23}",
            fewest(&mut checks().map(|check| check.sockets)),
            fewest(&mut checks().map(|check| check.tcp_info)),
            fewest(&mut checks().map(|check| check.descriptors)),
        );
    }
}

fn print_table(record: &Record, per_second: u32) {
    println!("\nCPU time of TCP main at {per_second} new connections a second, median (min..max):");
    println!(
        "     held  variant     reached/s  {:<24}us per connection",
        "% of a core"
    );
    for &held in &record.plan.levels {
        for (name, series) in VARIANTS.iter().filter(|(_, series)| record.has(series[0])) {
            let spread = |metric| record.spread(series, held, per_second, metric);
            println!(
                "  {held:>7}  {name:<10}  {:>9.1}  {:<24}{:.1}",
                spread(Window::reached).median,
                format!("{:.2}", spread(Window::share)),
                spread(Window::cost),
            );
        }
    }
}

/// Prints a series of the module compared with off, and off compared with itself.
fn print_noise(record: &Record, series: Series, per_second: u32) {
    let held = record.highest();
    let compare = |metric: fn(&Window) -> f64| {
        let off = record.values(Series::Off, held, per_second, metric);
        let again = record.values(Series::OffAgain, held, per_second, metric);
        let module = record.values(series, held, per_second, metric);
        (
            Spread::of(&differences(&module, &means(&off, &again))),
            Spread::of(&differences(&again, &off)),
        )
    };
    let (cost, cost_noise) = compare(Window::cost);
    let (share, share_noise) = compare(Window::share);
    let verdict = if cost.median <= cost_noise.reach() {
        "no difference beyond the noise of off"
    } else {
        "MORE than the noise of off"
    };
    let name = series.name();
    println!("{held} held, {per_second}/s, {name}: {verdict}.");
    let line = |difference: String, cost: Spread, share: Spread| {
        println!("    {difference:<26} = {cost:+.2} us per connection, {share:+.3} % of a core");
    };
    line(format!("{name} - off"), cost, share);
    line("off again - off".to_owned(), cost_noise, share_noise);
}

/// Prints the difference of the two attachments.
fn print_attachments(record: &Record, per_second: u32) {
    let held = record.highest();
    let costs = |series| record.values(series, held, per_second, Window::cost);
    let difference = differences(&costs(Series::Interposed), &costs(Series::Module));
    println!(
        "    {:<26} = {:+.2} us per connection",
        "interposed - hooks",
        Spread::of(&difference)
    );
}

/// Prints how the cost grows from the lowest level to the highest.
fn print_growth(record: &Record, per_second: u32) {
    let growth = |series| {
        let at = |held| record.values(series, held, per_second, Window::cost);
        differences(&at(record.highest()), &at(record.lowest()))
    };
    let module = Spread::of(&growth(Series::Module));
    let interposed = Spread::of(&growth(Series::Interposed));
    let controls = Spread::of(&growth(Series::Controls));
    let everything = record
        .has(Series::Everything)
        .then(|| Spread::of(&growth(Series::Everything)));
    let off = Spread::of(&[growth(Series::Off), growth(Series::OffAgain)].concat());
    let stock = Spread::of(&growth(Series::Stock));
    let verdict = |growth: Spread| {
        if growth.median <= off.max {
            "grows no more than off"
        } else {
            "grows MORE than off"
        }
    };
    println!(
        "{} -> {} held, {per_second}/s: module {}; interposed {};\n    \
         with all controls {}.\n    \
         module {module:+.1}, interposed {interposed:+.1}, with all controls {controls:+.1},\n    \
         off {off:+.1}, \
         stock {stock:+.1} us per connection",
        record.lowest(),
        record.highest(),
        verdict(module),
        verdict(interposed),
        verdict(controls),
    );
    if let Some(growth) = everything {
        println!("    with everything on {}: {growth:+.1}", verdict(growth));
    }
}

fn print_stock(record: &Record, per_second: u32) {
    let held = record.highest();
    let median = |metric| {
        record
            .spread(&[Series::Stock], held, per_second, metric)
            .median
    };
    println!(
        "{held} held, {per_second}/s: stock takes {:.1} % of a core and {:.0} us per connection, \
         {:.0}/s reached.",
        median(Window::share),
        median(Window::cost),
        median(Window::reached),
    );
}

fn print_memory(record: &Record) {
    let module = &record.memory.module;
    let mapped = module.mapped.saturating_sub(OTHER_RECORDS);
    let each = mapped as f64 / module.capacity as f64;
    println!(
        "Shared memory of the module: {each:.0} bytes for each of {} allowed connections, \
         {}, besides 1 MiB; {:.0} of them resident with {} held;\n    \
         the core takes {:.0} bytes per connection.",
        module.capacity,
        if each <= MAX_BYTES {
            format!("wanted at most {MAX_BYTES}")
        } else {
            format!("MORE than {MAX_BYTES}")
        },
        module.resident as f64 / module.capacity as f64,
        module.held,
        record.memory.core_per_connection
    );
}

/// Prints how much other processes delayed TCP main.
fn print_quiet(record: &Record) {
    if record.clock == Clock::Ticks {
        return;
    }
    let of_flood = record.flood.iter().map(|sample| &sample.window);
    let windows = record.samples.iter().map(|sample| &sample.window);
    let windows = windows.chain(of_flood);
    println!(
        "TCP main waited for its CPU {:.2} % of the time that it ran; load average at start {}.",
        Window::waited(windows),
        record.run.machine.load
    );
}
