// SPDX-License-Identifier: GPL-2.0-or-later

//! The page at the end, and the check that memory stays flat.

use std::fmt::Write;

use crate::checks::Held;
use crate::fleet;
use crate::run::{Plan, Seen};

/// The lines of a failure on the page. The whole failure is printed when it happens.
const LINES: usize = 20;

/// A quantity that must not be larger in late rests than in early ones.
struct Quantity {
    name: &'static str,
    of: fn(&Held) -> u64,
    /// The growth that still counts as flat. It covers pages, pools and buffers that exist
    /// once, not per connection.
    margin: u64,
}

const QUANTITIES: [Quantity; 5] = [
    Quantity {
        name: "TCP main, resident (RSS)",
        of: |held| held.resident,
        margin: 4 << 20,
    },
    Quantity {
        name: "TCP main, private pages",
        of: |held| held.private,
        margin: 1 << 20,
    },
    Quantity {
        name: "TCP main, pkg memory",
        of: |held| held.pkg,
        margin: 16 << 10,
    },
    Quantity {
        name: "shared memory",
        of: |held| held.shared,
        margin: 64 << 10,
    },
    Quantity {
        name: "TCP main, descriptors",
        of: |held| held.descriptors,
        margin: 0,
    },
];

/// Returns the early and the late half of the rests that count. The first quarter does not
/// count, because memory still grows to its working size then.
pub(crate) fn halves<T>(rests: &[T]) -> Option<(&[T], &[T])> {
    let warm = &rests[rests.len().div_ceil(4)..];
    (warm.len() >= 4).then(|| warm.split_at(warm.len() / 2))
}

pub(crate) fn median<T>(held: &[T], of: fn(&T) -> u64) -> u64 {
    let mut values: Vec<u64> = held.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Checks that no median of the late rests exceeds that of the early ones by more than the
/// margin.
pub(crate) fn flatness(rests: &[Held]) -> Result<(), Vec<String>> {
    let Some((early, late)) = halves(rests) else {
        return Err(vec!["too few rests to compare memory".to_owned()]);
    };
    let grown = QUANTITIES.iter().filter_map(|quantity| {
        let (before, after) = (median(early, quantity.of), median(late, quantity.of));
        let name = quantity.name;
        let margin = quantity.margin;
        (after > before + margin)
            .then(|| format!("{name} grew from {before} to {after}, more than {margin}"))
    });
    let grown: Vec<String> = grown.collect();
    if grown.is_empty() { Ok(()) } else { Err(grown) }
}

pub(crate) fn page(plan: &Plan, seen: &Seen) -> String {
    let mut page = String::new();
    write(&mut page, plan, seen).expect("writing to a string cannot fail");
    page
}

fn write(page: &mut String, plan: &Plan, seen: &Seen) -> std::fmt::Result {
    let verdict = if seen.failures.is_empty() {
        "passed"
    } else {
        "FAILED"
    };
    let (tally, changes) = (&seen.tally, &seen.changes);
    let minutes = seen.seconds as f64 / 60.0;
    let attached = plan.mode.attached();
    writeln!(page, "Soak: {verdict}\n")?;
    writeln!(
        page,
        "attachment {attached}, seed {}, {minutes:.1} minutes",
        plan.seed
    )?;
    writeln!(page, "\nLoad")?;
    if plan.fleet {
        writeln!(
            page,
            "  a fleet of {} sources with {} connections, of at most {}",
            3 * fleet::CAPACITY,
            fleet::FULL,
            fleet::CAPACITY
        )?;
    }
    let accepted = seen.rests.last().map_or(0, |held| held.accepted);
    let peak = seen.loaded.iter().map(|held| held.connections).max();
    writeln!(
        page,
        "  {accepted} connections accepted, {} a second",
        accepted / seen.seconds.max(1)
    )?;
    writeln!(
        page,
        "  at most {} at a time, as seen at the audits",
        peak.unwrap_or(0)
    )?;
    writeln!(
        page,
        "  {} admitted and answered, {} rejected",
        tally.opened, tally.rejected
    )?;
    writeln!(
        page,
        "  {} sent garbage, {} sent nothing",
        tally.garbage, tally.silent
    )?;
    writeln!(
        page,
        "  {} closed, {} reset by their clients",
        tally.closed, tally.reset
    )?;
    writeln!(page, "  {} closed by the server as idle", seen.expired)?;
    writeln!(page, "  {} requests answered", tally.talked)?;
    writeln!(
        page,
        "  {} times a connection of a proxy counted for a client",
        tally.moved
    )?;
    writeln!(page, "Changes and readers")?;
    writeln!(
        page,
        "  {} rules files loaded, {} invalid ones rejected",
        changes.reloads, changes.invalid
    )?;
    writeln!(
        page,
        "  {} changes of the limit, {} bans, {} periods without enforcement",
        changes.limits, changes.bans, changes.modes
    )?;
    writeln!(
        page,
        "  {} connections over a limit in these periods",
        seen.would_reject
    )?;
    writeln!(
        page,
        "  {} reports, {} scrapes of metrics",
        seen.reports, seen.metrics
    )?;
    writeln!(page, "Counts")?;
    let clean = seen.asked.len();
    let max = seen.asked.iter().max().copied().unwrap_or(0);
    writeln!(
        page,
        "  {} audits, {clean} clean, after at most {max} requests",
        seen.audits
    )?;
    let exact = if seen.failures.is_empty() {
        ", counts and limits exact"
    } else {
        ""
    };
    writeln!(
        page,
        "  {} rests{exact}; {} errors",
        seen.rests.len(),
        seen.errors
    )?;
    write_memory(page, &seen.rests)?;
    for failure in &seen.failures {
        let lines: Vec<&str> = failure.lines().take(LINES).collect();
        writeln!(page, "FAILED: {}", lines.join("\n"))?;
    }
    Ok(())
}

fn write_memory(page: &mut String, rests: &[Held]) -> std::fmt::Result {
    let Some((early, late)) = halves(rests) else {
        return Ok(());
    };
    let connections = median(late, |held| held.accepted) - median(early, |held| held.accepted);
    writeln!(
        page,
        "Memory in the rests, medians of {} early and {} late ones",
        early.len(),
        late.len()
    )?;
    writeln!(
        page,
        "  ({connections} connections between them; the first quarter does not count)"
    )?;
    writeln!(
        page,
        "  {:26} {:>10} {:>10} {:>8} {:>8}",
        "", "early", "late", "more", "margin"
    )?;
    for Quantity { name, of, margin } in QUANTITIES {
        let (before, after) = (median(early, of), median(late, of));
        let more = after as i64 - before as i64;
        writeln!(
            page,
            "  {name:26} {before:>10} {after:>10} {more:>8} {margin:>8}"
        )?;
    }
    Ok(())
}
