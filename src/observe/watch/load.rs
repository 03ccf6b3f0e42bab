// SPDX-License-Identifier: GPL-2.0-or-later
//! [`LoadLog`]: decides what is logged of reserve and pressure.

#![forbid(unsafe_code)]

use super::Tick;
use crate::limiter::load::LoadReport;
use crate::observe::load_notices::{LoadChange, LoadNotice};
use crate::observe::notices::Notice;
use crate::policy::settings::Mode;

/// The lines about reserve and pressure so far.
#[derive(Default)]
pub(super) struct LoadLog {
    /// The reached levels of pressure.
    reached: usize,
    /// When the reserve was last needed; `None`: this was logged, or it never was.
    needed: Option<u32>,
    /// The number of resets before.
    resets: u32,
    /// The rejections that were logged since.
    rejected: u64,
}

impl LoadLog {
    /// Logs a change of the level of pressure, and that the reserve is needed. There is at
    /// most one line for levels a second, whatever they were in between.
    pub(super) fn tick(&mut self, tick: &mut Tick<'_>) {
        let watches_load = tick.limiter.settings().switches().watches_load();
        if !watches_load && self.reached == 0 && self.needed.is_none() {
            return;
        }
        let report = tick.limiter.load_report();
        let was = core::mem::replace(&mut self.reached, report.reached);
        if was != report.reached {
            log(tick, report, LoadChange::Pressure(was));
        }
        let is_needed = report.is_reserved() && tick.limiter.mode() != Mode::Off;
        if is_needed {
            if self.needed.replace(tick.now).is_none() {
                log(tick, report, LoadChange::Reserved);
            }
        } else if let Some(last) = self.needed {
            // At the edge of the reserve it may be needed in every other second.
            let seconds = tick.now.wrapping_sub(last);
            if seconds >= tick.interval {
                self.needed = None;
                log(tick, report, LoadChange::Free(seconds));
            }
        }
    }

    /// Logs how many connections were rejected to keep the reserve in an interval that was
    /// `seconds` long. Sources without connections have no line of their own.
    pub(super) fn end_interval(&mut self, seconds: u32, tick: &mut Tick<'_>) {
        // Read before the totals, as in `sample`.
        let resets = tick.limiter.resets();
        if core::mem::replace(&mut self.resets, resets) != resets {
            self.rejected = 0;
        }
        let totals = tick.limiter.totals();
        let now = totals.reserve_rejected + totals.reserve_would_reject;
        let before = core::mem::replace(&mut self.rejected, now);
        // Lower than before if they were reset just now.
        let rejected = now.saturating_sub(before);
        if rejected > 0 {
            let report = tick.limiter.load_report();
            log(tick, report, LoadChange::Kept { rejected, seconds });
        }
    }
}

fn log(tick: &mut Tick<'_>, report: LoadReport, change: LoadChange) {
    let would = tick.limiter.mode() == Mode::Monitor;
    (tick.log)(Notice::Load(LoadNotice {
        report,
        change,
        would,
    }));
}
