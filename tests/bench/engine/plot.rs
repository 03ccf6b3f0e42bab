// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot for the README: cost against connections, both logarithmic.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::common::plot::{
    DARK_BLUE, DARK_GREY, Frame, GREEN, GRID, LEFT, LIGHT_BLUE, ORANGE, ORANGE_RED, PURPLE, TEXT,
    cpus, grouped, text,
};
use crate::operations::{Operation, Variant};
use crate::record::Record;
use crate::stats::Spread;

const HEIGHT: u32 = 470;

/// The width for the names at the right ends of the lines, and their minimum distance.
const NAMES: u32 = 196;
const NAME_HEIGHT: i32 = 17;

struct Line {
    name: &'static str,
    variant: Variant,
    operation: Operation,
    color: RGBColor,
    width: u32,
}

const LINES: [Line; 7] = [
    Line {
        name: "stock: check",
        variant: Variant::Stock,
        operation: Operation::CheckKnown,
        color: ORANGE_RED,
        width: 2,
    },
    Line {
        name: "locked map: cycle",
        variant: Variant::Locked,
        operation: Operation::CycleKnown,
        color: PURPLE,
        width: 2,
    },
    Line {
        name: "striped locked map: cycle",
        variant: Variant::Striped,
        operation: Operation::CycleKnown,
        color: GREEN,
        width: 2,
    },
    Line {
        name: "hashbrown, locked: cycle",
        variant: Variant::Hashbrown,
        operation: Operation::CycleKnown,
        color: ORANGE,
        width: 2,
    },
    Line {
        name: "tcp_conn_limit: cycle",
        variant: Variant::Engine,
        operation: Operation::CycleKnown,
        color: DARK_BLUE,
        width: 3,
    },
    Line {
        name: "tcp_conn_limit: check",
        variant: Variant::Engine,
        operation: Operation::CheckKnown,
        color: LIGHT_BLUE,
        width: 3,
    },
    Line {
        name: "floor: one atomic addition",
        variant: Variant::Floor,
        operation: Operation::Add,
        color: DARK_GREY,
        width: 2,
    },
];

pub(crate) fn draw(record: &Record, path: &Path) -> Result<()> {
    let title = "The cost of counting a connection for its source";
    let frame = Frame::new(path, HEIGHT, title)?;
    frame.root.draw(&Text::new(
        "one source per connection, in random order; a cycle is check, opened and closed",
        (12, 36),
        text(14, TEXT),
    ))?;

    let (from, to) = ends(&record.plan.sizes);
    let medians = LINES.iter().flat_map(|line| points(record, line));
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for (_, spread) in medians {
        low = low.min(spread.min);
        high = high.max(spread.max);
    }
    let whole = |ns: f64, up: f64| 10_f64.powf((ns.log10() + up).floor());
    let mut chart = ChartBuilder::on(&frame.panel)
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
        frame.root.draw(&Text::new(
            line.name,
            (x + 10, y),
            text(15, line.color).pos(LEFT),
        ))?;
    }
    frame.finish(format!(
        "{}; median and min..max of {} passes{}",
        cpus(&record.run.machine),
        record.plan.passes,
        match &record.versions.stock {
            Some(version) => format!("; stock: {}", short(version)),
            None => String::new(),
        }
    ))
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

/// Writes `20000` as `20 µs`.
fn duration(ns: f64) -> String {
    match ns {
        1e9.. => format!("{:.0} s", ns / 1e9),
        1e6.. => format!("{:.0} ms", ns / 1e6),
        1e3.. => format!("{:.0} µs", ns / 1e3),
        _ => format!("{ns:.0} ns"),
    }
}
