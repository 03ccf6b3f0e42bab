// SPDX-License-Identifier: GPL-2.0-or-later

//! The page at the end, and what is called flat.

use std::fmt::Write;

use crate::fleet;
use crate::look::Held;
use crate::run::{Plan, Seen};

/// So much of a failure is on the page; all of it is told when it happens.
const LINES: usize = 20;

/// Something that is to be as much at a late rest as at an early one.
struct Quantity {
    name: &'static str,
    of: fn(&Held) -> u64,
    /// So much more is still called flat: what pages, pools and buffers come to
    /// that are there once and not for each connection.
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

/// The rests that count: not the first quarter, in which the server comes to know
/// how much it needs. The others in two halves.
fn halves(rests: &[Held]) -> Option<(&[Held], &[Held])> {
    let warm = &rests[rests.len().div_ceil(4)..];
    (warm.len() >= 4).then(|| warm.split_at(warm.len() / 2))
}

fn median(held: &[Held], of: fn(&Held) -> u64) -> u64 {
    let mut values: Vec<u64> = held.iter().map(of).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Whether the medians of the late rests are those of the early ones, up to the
/// margins.
pub(crate) fn flatness(rests: &[Held]) -> Result<(), Vec<String>> {
    let Some((early, late)) = halves(rests) else {
        return Err(vec!["too few rests to compare".to_owned()]);
    };
    let grown = QUANTITIES.iter().filter_map(|quantity| {
        let (before, after) = (median(early, quantity.of), median(late, quantity.of));
        let name = quantity.name;
        (after > before + quantity.margin).then(|| format!("{name}: from {before} to {after}"))
    });
    let grown: Vec<String> = grown.collect();
    if grown.is_empty() { Ok(()) } else { Err(grown) }
}

pub(crate) fn page(plan: &Plan, seen: &Seen) -> String {
    let mut page = String::new();
    write(&mut page, plan, seen).expect("a text can be written");
    page
}

fn write(page: &mut String, plan: &Plan, seen: &Seen) -> std::fmt::Result {
    let verdict = if seen.failures.is_empty() {
        "all well"
    } else {
        "FAILED"
    };
    let (tally, changes) = (&seen.tally, &seen.changes);
    let minutes = seen.seconds as f64 / 60.0;
    let attached = plan.mode.attached();
    writeln!(page, "Soak: {verdict}\n")?;
    writeln!(
        page,
        "attached by {attached}, seed {}, {minutes:.1} minutes",
        plan.seed
    )?;
    writeln!(page, "\nLoad")?;
    if plan.fleet {
        writeln!(
            page,
            "  a fleet of {} sources, {} connections of at most {}",
            3 * fleet::CAPACITY,
            fleet::FULL,
            fleet::CAPACITY
        )?;
    }
    let accepted = seen.rests.last().map_or(0, |held| held.accepted);
    let peak = seen.loaded.iter().map(|held| held.connections).max();
    writeln!(
        page,
        "  {accepted} connections came, {} a second",
        accepted / seen.seconds.max(1)
    )?;
    writeln!(
        page,
        "  {} at a time at most, seen at the audits",
        peak.unwrap_or(0)
    )?;
    writeln!(
        page,
        "  {} admitted and answered, {} rejected",
        tally.opened, tally.rejected
    )?;
    writeln!(
        page,
        "  {} with garbage, {} that said nothing",
        tally.garbage, tally.silent
    )?;
    writeln!(
        page,
        "  {} closed, {} reset by their clients",
        tally.closed, tally.reset
    )?;
    writeln!(page, "  {} closed by the server, being idle", seen.expired)?;
    writeln!(page, "  {} requests answered", tally.talked)?;
    writeln!(page, "Changes and readers")?;
    writeln!(
        page,
        "  {} files of rules loaded, {} refused",
        changes.reloads, changes.refused
    )?;
    writeln!(
        page,
        "  {} other limits, {} times not enforced",
        changes.limits, changes.modes
    )?;
    writeln!(
        page,
        "  {} connections over a limit then",
        seen.would_reject
    )?;
    writeln!(
        page,
        "  {} reports, {} scrapes of metrics",
        seen.reports, seen.metrics
    )?;
    writeln!(page, "Counts")?;
    let clean = seen.asked.len();
    let most = seen.asked.iter().max().copied().unwrap_or(0);
    writeln!(
        page,
        "  {} audits, {clean} clean, after {most} questions at most",
        seen.audits
    )?;
    let exact = if seen.failures.is_empty() {
        ", counts and limits exact"
    } else {
        ""
    };
    writeln!(
        page,
        "  {} rests{exact}; errors {}",
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
        "Memory at the rests, medians of {} and {}",
        early.len(),
        late.len()
    )?;
    writeln!(
        page,
        "  ({connections} connections between; the first quarter not counted)"
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
