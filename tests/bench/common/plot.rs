// SPDX-License-Identifier: GPL-2.0-or-later

//! What the plots have in common: their frame, colours and text.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::Result;
use super::machine::Machine;

/// The heights of the title with the line below it, and of the line at the foot.
const HEAD: u32 = 62;
const FOOT: u32 = 26;

pub(crate) const TEXT: RGBColor = RGBColor(60, 60, 60);
pub(crate) const GRID: RGBColor = RGBColor(225, 225, 225);

// The colours of the lines are also distinguishable with colour blindness. A subject has
// the same colour in all plots.
pub(crate) const ORANGE_RED: RGBColor = RGBColor(213, 94, 0);
pub(crate) const ORANGE: RGBColor = RGBColor(230, 159, 0);
pub(crate) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(crate) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(crate) const DARK_BLUE: RGBColor = RGBColor(0, 114, 178);
pub(crate) const LIGHT_BLUE: RGBColor = RGBColor(86, 180, 233);
pub(crate) const GREY: RGBColor = RGBColor(150, 150, 150);
pub(crate) const DARK_GREY: RGBColor = RGBColor(120, 120, 120);

/// A text's anchor in the middle of its left or right end, or in its centre.
pub(crate) const LEFT: Pos = Pos {
    h_pos: HPos::Left,
    v_pos: VPos::Center,
};
pub(crate) const RIGHT: Pos = Pos {
    h_pos: HPos::Right,
    v_pos: VPos::Center,
};
pub(crate) const CENTRE: Pos = Pos {
    h_pos: HPos::Center,
    v_pos: VPos::Center,
};

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A plot and its parts.
pub(crate) struct Frame<'a> {
    /// The whole plot, with the title drawn.
    pub(crate) root: Area<'a>,
    pub(crate) panel: Area<'a>,
    foot: Area<'a>,
}

impl<'a> Frame<'a> {
    /// Starts a plot in the file `path`, 800 pixels wide.
    pub(crate) fn new(path: &'a Path, height: u32, title: &str) -> Result<Frame<'a>> {
        let root = SVGBackend::new(path, (800, height)).into_drawing_area();
        root.fill(&WHITE)?;
        root.draw(&Text::new(
            title,
            (12, 10),
            ("sans-serif", 20, FontStyle::Bold).into_font().color(&TEXT),
        ))?;
        let (_, below) = root.split_vertically(HEAD);
        let (panel, foot) = below.split_vertically(height - HEAD - FOOT);
        Ok(Frame { root, panel, foot })
    }

    /// Draws the line at the foot and writes the file.
    pub(crate) fn finish(self, conditions: String) -> Result<()> {
        self.foot
            .draw(&Text::new(conditions, (12, 6), text(13, TEXT)))?;
        self.root.present()?;
        Ok(())
    }
}

/// The number and kind of the CPUs, for the line at the foot.
pub(crate) fn cpus(machine: &Machine) -> String {
    format!("{} x {}", machine.cpus, machine.cpu.replace("(R)", ""))
}

pub(crate) fn text(size: u32, color: RGBColor) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color)
}

/// Writes `19000` as `19,000`.
pub(crate) fn grouped(number: f64) -> String {
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
