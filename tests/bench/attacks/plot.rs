// SPDX-License-Identifier: GPL-2.0-or-later

//! The plot for the README: how long honest sources wait under each attack.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Result;
use crate::record::{Record, Times, Which};

const SIZE: (u32, u32) = (800, 430);

/// The heights of the title with the legend, and of the line at the foot.
const HEAD: u32 = 62;
const FOOT: u32 = 26;
const TEXT: RGBColor = RGBColor(60, 60, 60);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// The lower end of the scale, in milliseconds.
const MIN: f64 = 0.1;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How a server is drawn. It has the same colour as in the other plots.
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
        color: RGBColor(150, 150, 150),
        aside: -18,
    },
    Mark {
        server: Which::Module,
        name: "tcp_conn_limit",
        color: RGBColor(0, 114, 178),
        aside: 0,
    },
    Mark {
        server: Which::Stock,
        name: "stock limit",
        color: RGBColor(213, 94, 0),
        aside: 18,
    },
];

pub(crate) fn draw(record: &Record, path: &Path) -> Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    root.draw(&Text::new(
        "How long honest sources wait for Kamailio's answer under attack",
        (12, 10),
        ("sans-serif", 20, FontStyle::Bold).into_font().color(&TEXT),
    ))?;
    draw_legend(&root)?;
    let (_, below) = root.split_vertically(HEAD);
    let (panel, foot) = below.split_vertically(SIZE.1 - HEAD - FOOT);
    draw_panel(record, &panel)?;
    foot.draw(&Text::new(
        format!(
            "{} connections held, {} honest sources a second, {} attack connections a second; \
             {} x {}",
            record.plan.held,
            record.plan.honest_per_second,
            record.plan.per_second,
            record.machine.cpus,
            record.machine.cpu.replace("(R)", ""),
        ),
        (12, 6),
        text(13, TEXT),
    ))?;
    root.present()?;
    Ok(())
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
            + Text::new(
                scenario.name(),
                (0, 12),
                text(14, TEXT).pos(Pos::new(HPos::Center, VPos::Center)),
            )])?;
    }
    Ok(())
}

const LEFT: Pos = Pos {
    h_pos: HPos::Left,
    v_pos: VPos::Center,
};

fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}
