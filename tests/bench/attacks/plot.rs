// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot for the README: how long honest sources wait under each attack.

use std::path::Path;

use plotters::prelude::*;

use crate::Result;
use crate::common::plot::{
    Area, CENTRE, DARK_BLUE, Frame, GREY, GRID, LEFT, ORANGE_RED, TEXT, cpus, text,
};
use crate::record::{Record, Times, Which};

const HEIGHT: u32 = 430;

/// The lower end of the scale, in milliseconds.
const MIN: f64 = 0.1;

/// How a server is drawn.
struct Mark {
    server: Which,
    name: &'static str,
    color: RGBColor,
    /// The horizontal offset in pixels from the middle of the scenario's column.
    aside: i32,
}

const MARKS: [Mark; 3] = [
    Mark {
        server: Which::Off,
        name: "limit off",
        color: GREY,
        aside: -18,
    },
    Mark {
        server: Which::Module,
        name: "tcp_conn_limit",
        color: DARK_BLUE,
        aside: 0,
    },
    Mark {
        server: Which::Stock,
        name: "stock limit",
        color: ORANGE_RED,
        aside: 18,
    },
];

pub(crate) fn draw(record: &Record, path: &Path) -> Result<()> {
    let title = "How long honest sources wait for Kamailio's answer under attack";
    let frame = Frame::new(path, HEIGHT, title)?;
    draw_legend(&frame.root)?;
    draw_panel(record, &frame.panel)?;
    frame.finish(format!(
        "{} connections held, {} honest sources a second, {} attack connections a second; {}",
        record.plan.held,
        record.plan.honest_per_second,
        record.plan.per_second,
        cpus(&record.run.machine),
    ))
}

fn draw_legend(root: &Area) -> Result<()> {
    let y = 47;
    for (mark, x) in MARKS.iter().zip([14, 110, 240]) {
        root.draw(&Circle::new((x + 6, y), 5, mark.color.filled()))?;
        root.draw(&Text::new(mark.name, (x + 17, y), text(16, TEXT).pos(LEFT)))?;
    }
    root.draw(&Text::new(
        "dot: 99 % wait less; line: from the median to 99.9 %",
        (360, y),
        text(16, TEXT).pos(LEFT),
    ))?;
    Ok(())
}

fn draw_panel(record: &Record, area: &Area) -> Result<()> {
    let scenarios: Vec<_> = record.scenarios().collect();
    let patience = record.plan.patience.as_secs_f64() * 1e3;
    let mut chart = ChartBuilder::on(area)
        .margin_top(8)
        .margin_right(18)
        .margin_left(6)
        .x_label_area_size(30)
        .y_label_area_size(62)
        .build_cartesian_2d(
            0.0..scenarios.len() as f64,
            (MIN..patience * 2.0).log_scale(),
        )?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(TEXT)
        .label_style(text(14, TEXT))
        .axis_desc_style(text(15, TEXT))
        .x_labels(0)
        .y_labels(6)
        .y_label_formatter(&|time| time.to_string())
        .y_desc("milliseconds")
        .draw()?;
    // Sources above this line have failed: their wait ended at the timeout.
    chart.draw_series(LineSeries::new(
        [(0.0, patience), (scenarios.len() as f64, patience)],
        TEXT.stroke_width(1),
    ))?;
    chart
        .draw_series([EmptyElement::at((0.0, patience))
            + Text::new("failed", (6, -9), text(14, TEXT).pos(LEFT))])?;

    for (nth, &scenario) in scenarios.iter().enumerate() {
        let x = nth as f64 + 0.5;
        for mark in &MARKS {
            let Some(times) = record.together(scenario, mark.server) else {
                continue;
            };
            let at = |time: f64| chart.backend_coord(&(x, time.max(MIN))).1;
            let Times {
                p50, p99, p99_9, ..
            } = *times;
            let from_dot = |time| (mark.aside, at(time) - at(p99));
            let drawn = EmptyElement::at((x, p99.max(MIN)))
                + PathElement::new(
                    vec![from_dot(p50), from_dot(p99_9)],
                    mark.color.stroke_width(3),
                )
                + Circle::new((mark.aside, 0), 5, mark.color.filled());
            chart.draw_series([drawn])?;
        }
        chart.draw_series([EmptyElement::at((x, MIN))
            + Text::new(scenario.name(), (0, 12), text(14, TEXT).pos(CENTRE))])?;
    }
    Ok(())
}
