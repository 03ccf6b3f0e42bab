// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot for the README: CPU time of TCP main per new connection against the number of
//! held connections, with one panel per rate.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::common::plot::{
    Area, DARK_BLUE, Frame, GREEN, GREY, GRID, LEFT, ORANGE_RED, PURPLE, RIGHT, TEXT, cpus,
    grouped, text,
};
use crate::generator::Window;
use crate::record::{Record, Series};

const HEIGHT: u32 = 430;

/// A variant that accepts at least this part of the offered connections has kept up.
const KEPT_UP: f64 = 0.98;

/// How a variant is drawn.
struct Line {
    name: &'static str,
    series: &'static [Series],
    color: RGBColor,
    width: u32,
    /// The horizontal offset in pixels, so that marks that coincide stay visible.
    aside: i32,
    /// Whether a label gives its cost at the highest number of held connections.
    labelled: bool,
}

const LINES: [Line; 5] = [
    Line {
        name: "stock limit",
        series: &[Series::Stock],
        color: ORANGE_RED,
        width: 2,
        aside: 0,
        labelled: true,
    },
    Line {
        name: "limit off",
        series: &[Series::Off, Series::OffAgain],
        color: GREY,
        width: 4,
        aside: -4,
        labelled: false,
    },
    Line {
        name: "tcp_conn_limit",
        series: &[Series::Module],
        color: DARK_BLUE,
        width: 2,
        aside: 0,
        labelled: true,
    },
    Line {
        name: "interposed",
        series: &[Series::Interposed],
        color: PURPLE,
        width: 1,
        aside: -2,
        labelled: false,
    },
    Line {
        name: "tcp_conn_limit, all controls",
        series: &[Series::Controls],
        color: GREEN,
        width: 1,
        aside: 4,
        labelled: false,
    },
];

pub(crate) fn draw(record: &Record, path: &Path) -> Result<()> {
    let title = "CPU time of Kamailio's TCP main process per new connection";
    let frame = Frame::new(path, HEIGHT, title)?;
    draw_legend(&frame.root)?;
    let panels = frame.panel.split_evenly((1, 2));
    for (area, rate) in panels.iter().zip(&record.plan.rates) {
        draw_panel(record, area, rate.per_second)?;
    }
    frame.finish(format!(
        "Kamailio {}, {}; median and min..max of {} windows",
        kamailio_version(record),
        cpus(&record.run.machine),
        record.plan.rounds * record.plan.repeats
    ))
}

/// Returns the number in `version: kamailio 6.0.1 (x86_64/linux) …`.
fn kamailio_version(record: &Record) -> &str {
    let mut words = record.versions.stock.split(' ');
    words.nth(2).unwrap_or_default()
}

fn draw_legend(root: &Area) -> Result<()> {
    for (line, x) in LINES.iter().zip([14, 140, 250, 395, 515]) {
        let y = 47;
        root.draw(&PathElement::new(
            vec![(x, y), (x + 26, y)],
            line.color.stroke_width(line.width),
        ))?;
        root.draw(&Circle::new((x + 13, y), 4, line.color.filled()))?;
        root.draw(&Text::new(line.name, (x + 33, y), text(16, TEXT).pos(LEFT)))?;
    }
    Ok(())
}

fn draw_panel(record: &Record, area: &Area, per_second: u32) -> Result<()> {
    let costs = |line: &Line, held| record.spread(line.series, held, per_second, Window::cost);
    let highest = record.highest();
    let top = LINES
        .iter()
        .flat_map(|line| record.plan.levels.iter().map(|&held| costs(line, held).max))
        .fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .caption(
            format!(
                "{} new connections a second offered",
                grouped(per_second.into())
            ),
            text(17, TEXT),
        )
        .margin_right(18)
        .margin_left(6)
        .x_label_area_size(42)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..highest as f64 * 1.06, 0.0..top * 1.12)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(text(14, TEXT))
        .axis_desc_style(text(15, TEXT))
        .x_labels(5)
        .y_labels(6)
        .x_label_formatter(&|held| grouped(*held))
        .y_label_formatter(&|cost| grouped(*cost))
        .x_desc("connections held")
        .y_desc("µs per new connection")
        .draw()?;

    for line in &LINES {
        let medians: Vec<(f64, f64)> = record
            .plan
            .levels
            .iter()
            .map(|&held| (held as f64, costs(line, held).median))
            .collect();
        chart.draw_series(LineSeries::new(
            medians.iter().copied(),
            line.color.stroke_width(line.width),
        ))?;
        for &held in &record.plan.levels {
            let cost = costs(line, held);
            let at = |cost| chart.backend_coord(&(held as f64, cost)).1;
            let from_median = |y| (line.aside, at(y) - at(cost.median));
            let mark = EmptyElement::at((held as f64, cost.median))
                + PathElement::new(
                    vec![from_median(cost.min), from_median(cost.max)],
                    line.color.stroke_width(2),
                )
                + Circle::new((line.aside, 0), 4, line.color.filled());
            chart.draw_series([mark])?;
        }
    }
    for line in LINES.iter().filter(|line| line.labelled) {
        let at = (highest as f64, costs(line, highest).median);
        let label = label(record, line, per_second);
        chart
            .draw_series([EmptyElement::at(at)
                + Text::new(label, (-12, -14), text(15, line.color).pos(RIGHT))])?;
    }
    Ok(())
}

/// The label with the cost of a variant at the highest number of held connections.
fn label(record: &Record, line: &Line, per_second: u32) -> String {
    let highest = record.highest();
    let median = |metric| {
        record
            .spread(line.series, highest, per_second, metric)
            .median
    };
    let reached = median(Window::reached);
    if reached < KEPT_UP * f64::from(per_second) {
        format!("saturated at {reached:.0}/s")
    } else {
        format!("{:.1} % of a core", median(Window::share))
    }
}
