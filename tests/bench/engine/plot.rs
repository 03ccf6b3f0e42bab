// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot for the README: cost against connections, both logarithmic.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Result;
use crate::operations::{Operation, Variant};
use crate::record::Record;
use crate::stats::Spread;

const SIZE: (u32, u32) = (800, 470);

/// The heights of the title and of the line at the foot.
const HEAD: u32 = 62;
const FOOT: u32 = 26;

/// The width for the names at the right ends of the lines, and their minimum distance.
const NAMES: u32 = 196;
const NAME_HEIGHT: i32 = 17;

const TEXT: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);

struct Line {
    name: &'static str,
    variant: Variant,
    operation: Operation,
    color: RGBColor,
    width: u32,
}

/// The colours are also distinguishable with colour blindness.
const LINES: [Line; 7] = [
    Line {
        name: "stock: check",
        variant: Variant::Stock,
        operation: Operation::CheckKnown,
        color: RGBColor(213, 94, 0),
        width: 2,
    },
    Line {
        name: "locked map: cycle",
        variant: Variant::Locked,
        operation: Operation::CycleKnown,
        color: RGBColor(204, 121, 167),
        width: 2,
    },
    Line {
        name: "striped locked map: cycle",
        variant: Variant::Striped,
        operation: Operation::CycleKnown,
        color: RGBColor(0, 158, 115),
        width: 2,
    },
    Line {
        name: "hashbrown, locked: cycle",
        variant: Variant::Hashbrown,
        operation: Operation::CycleKnown,
        color: RGBColor(230, 159, 0),
        width: 2,
    },
    Line {
        name: "tcp_conn_limit: cycle",
        variant: Variant::Engine,
        operation: Operation::CycleKnown,
        color: RGBColor(0, 114, 178),
        width: 3,
    },
    Line {
        name: "tcp_conn_limit: check",
        variant: Variant::Engine,
        operation: Operation::CheckKnown,
        color: RGBColor(86, 180, 233),
        width: 3,
    },
    Line {
        name: "floor: one atomic addition",
        variant: Variant::Floor,
        operation: Operation::Add,
        color: RGBColor(120, 120, 120),
        width: 2,
    },
];

pub(crate) fn draw(record: &Record, path: &Path) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(
        "The cost of counting a connection for its source",
        (12, 10),
        ("sans-serif", 20, FontStyle::Bold).into_font().color(&TEXT),
    ))?;
    root.draw(&Text::new(
        "one source per connection, in random order; a cycle is check, opened and closed",
        (12, 36),
        text(14, TEXT),
    ))?;
    let (_, below) = root.split_vertically(HEAD);
    let (panel, foot) = below.split_vertically(SIZE.1 - HEAD - FOOT);

    let (from, to) = ends(&record.plan.sizes);
    let medians = LINES.iter().flat_map(|line| points(record, line));
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for (_, spread) in medians {
        low = low.min(spread.min);
        high = high.max(spread.max);
    }
    let whole = |ns: f64, up: f64| 10_f64.powf((ns.log10() + up).floor());
    let mut chart = ChartBuilder::on(&panel)
        .margin_right(NAMES)
        .margin_left(6)
        .margin_top(6)
        .x_label_area_size(42)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (from..to).log_scale(),
            (whole(low, 0.0)..whole(high, 1.0)).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(text(14, TEXT))
        .axis_desc_style(text(15, TEXT))
        .x_label_formatter(&|connections| grouped(*connections))
        .y_label_formatter(&|ns| duration(*ns))
        .x_desc("connections")
        .draw()?;

    let mut names = Vec::new();
    for line in &LINES {
        let points = points(record, line);
        chart.draw_series(LineSeries::new(
            points.iter().map(|(x, spread)| (*x, spread.median)),
            line.color.stroke_width(line.width),
        ))?;
        chart.draw_series(
            points
                .iter()
                .map(|(x, spread)| Circle::new((*x, spread.median), 4, line.color.filled())),
        )?;
        chart.draw_series(points.iter().map(|(x, spread)| {
            PathElement::new(
                vec![(*x, spread.min), (*x, spread.max)],
                line.color.stroke_width(1),
            )
        }))?;
        if let Some((x, spread)) = points.last() {
            names.push((chart.backend_coord(&(*x, spread.median)), line));
        }
    }
    for ((x, y), line) in apart(names) {
        root.draw(&Text::new(
            line.name,
            (x + 10, y),
            text(15, line.color).pos(Pos::new(HPos::Left, VPos::Center)),
        ))?;
    }
    foot.draw(&Text::new(
        format!(
            "{} x {}; median and min..max of {} passes{}",
            record.machine.cpus,
            record.machine.cpu.replace("(R)", ""),
            record.plan.passes,
            match &record.versions.stock {
                Some(version) => format!("; stock: {}", short(version)),
                None => String::new(),
            }
        ),
        (12, 6),
        text(13, TEXT),
    ))?;
    root.present()?;
    Ok(())
}

/// The measured points of a line.
fn points(record: &Record, line: &Line) -> Vec<(f64, Spread)> {
    let sizes = record.plan.sizes.iter();
    sizes
        .filter_map(|&sources| {
            let spread = record.spread(line.variant, line.operation, sources)?;
            Some((f64::from(sources), spread))
        })
        .collect()
}

fn ends(sizes: &[u32]) -> (f64, f64) {
    let values = || sizes.iter().map(|&size| f64::from(size));
    (
        values().fold(f64::INFINITY, f64::min) / 1.1,
        values().fold(0.0, f64::max) * 1.1,
    )
}

/// Moves names that would overlap, and keeps the order of their lines.
fn apart(mut names: Vec<((i32, i32), &Line)>) -> Vec<((i32, i32), &Line)> {
    names.sort_by_key(|((_, y), _)| *y);
    for i in (1..names.len()).rev() {
        let lowest = names[i].0.1 - NAME_HEIGHT;
        names[i - 1].0.1 = names[i - 1].0.1.min(lowest);
    }
    names
}

/// Returns `kamailio 6.0.1` from `version: kamailio 6.0.1 (x86_64/linux) …`.
fn short(version: &str) -> String {
    let words: Vec<&str> = version.split(' ').skip(1).take(2).collect();
    words.join(" ")
}

fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Writes `19000` as `19,000`.
fn grouped(number: f64) -> String {
    let number = number.round() as u64;
    match number {
        1_000_000.. => format!(
            "{},{:03},{:03}",
            number / 1_000_000,
            number / 1_000 % 1_000,
            number % 1_000
        ),
        1_000.. => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => number.to_string(),
    }
}

/// Writes `20000` as `20 µs`.
fn duration(ns: f64) -> String {
    match ns {
        1e9.. => format!("{:.0} s", ns / 1e9),
        1e6.. => format!("{:.0} ms", ns / 1e6),
        1e3.. => format!("{:.0} µs", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}
