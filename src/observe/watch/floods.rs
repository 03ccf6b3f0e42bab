// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Floods`]: finds the sources that are rejected so often that the kernel should drop
//! their connections for some time, although they are not banned.
//!
//! The watch compares the rejections of a source with those of its last sample, a second
//! before. So a source floods from the second on in which it exceeds the threshold. In the
//! mode monitor its connections would have been rejected; then nothing is listed, and the
//! line and the counter say what would be.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::Tick;
use super::sample::Sample;
use crate::observe::notices::Notice;
use crate::policy::settings::Mode;
use crate::shared::sync::Ordering;
use crate::source::Source;

/// The most lines about floods in an interval. The counters include the others.
pub const MAX_FLOOD_LINES: usize = 20;

/// The most sources whose rejections are remembered, and the most that flood at a time.
/// Further sources are rejected by the server alone.
const MAX_KNOWN: usize = 65_536;

/// A source that was not sampled for this many seconds is forgotten. A pass through the
/// largest table takes 20.
const FORGET_AFTER: u32 = 60;

/// When a source floods, and for how long it is then listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodThreshold {
    /// It is rejected more often than this in a second.
    pub per_second: u32,
    /// Seconds.
    pub seconds: u32,
}

/// The sources that are rejected, and those that flood.
#[derive(Default)]
pub(super) struct Floods {
    threshold: Option<FloodThreshold>,
    known: HashMap<Source, Known>,
    /// When the flood of a source is over for now, by the host clock.
    listed: HashMap<Source, u32>,
    lines: usize,
    /// The last tick knew all sources with rejections, and this one missed some.
    is_complete: bool,
    missed: bool,
}

struct Known {
    rejections: u32,
    at: u32,
}

impl Floods {
    pub(super) fn set_threshold(&mut self, threshold: Option<FloodThreshold>) {
        self.threshold = threshold;
        self.is_complete = false;
    }

    /// The sources that flood.
    pub(super) fn listed(&self) -> impl Iterator<Item = Source> + '_ {
        self.listed.keys().copied()
    }

    /// Compares the rejections of a source with those of its last sample.
    pub(super) fn seen(&mut self, sample: &Sample, tick: &mut Tick<'_>) {
        let Some(threshold) = self.threshold else {
            return;
        };
        let (report, now) = (&sample.report, tick.now);
        let rejections = report.rejected.saturating_add(report.would_reject);
        let Some((more, seconds)) = self.since_last(report.source, rejections, now) else {
            return;
        };
        if u64::from(more) <= u64::from(threshold.per_second) * u64::from(seconds) {
            return;
        }
        if self.listed.contains_key(&report.source) || tick.limiter.rulebook().spares(report.source)
        {
            return;
        }
        let would = tick.limiter.mode() == Mode::Monitor;
        if !self.list(report.source, now.wrapping_add(threshold.seconds)) {
            return;
        }
        let numbers = tick.limiter.shield_numbers();
        let counter = match would {
            true => &numbers.would_list,
            false => &numbers.floods,
        };
        // Relaxed (statistics).
        counter.fetch_add(1, Ordering::Relaxed);
        if self.lines < MAX_FLOOD_LINES {
            self.lines += 1;
            (tick.log)(Notice::Flood {
                report: *report,
                rejections: more.div_ceil(seconds),
                threshold,
                would,
            });
        }
    }

    /// The rejections since the last sample, and the seconds. `None`: the source cannot be
    /// compared.
    fn since_last(&mut self, source: Source, rejections: u32, now: u32) -> Option<(u32, u32)> {
        if let Some(known) = self.known.get_mut(&source) {
            // A reset sets the rejections to 0.
            let more = rejections.checked_sub(known.rejections);
            let seconds = now.wrapping_sub(known.at).max(1);
            *known = Known {
                rejections,
                at: now,
            };
            return Some((more.unwrap_or(rejections), seconds));
        }
        if self.known.len() >= MAX_KNOWN || self.known.try_reserve(1).is_err() {
            self.missed = true;
            return None;
        }
        self.known.insert(
            source,
            Known {
                rejections,
                at: now,
            },
        );
        // It had none at the last tick, or that tick would have known it.
        self.is_complete.then_some((rejections, 1))
    }

    /// Whether there was room.
    fn list(&mut self, source: Source, until: u32) -> bool {
        let has_room = self.listed.len() < MAX_KNOWN && self.listed.try_reserve(1).is_ok();
        if has_room {
            self.listed.insert(source, until);
        }
        has_room
    }

    /// Ends the floods whose time is over.
    pub(super) fn end_tick(&mut self, now: u32) {
        self.is_complete = self.threshold.is_some() && !self.missed;
        self.missed = false;
        // The clock wraps around.
        let is_before = |at: u32| (now.wrapping_sub(at) as i32) < 0;
        self.listed.retain(|_, until| is_before(*until));
        self.known
            .retain(|_, known| now.wrapping_sub(known.at) < FORGET_AFTER);
    }

    pub(super) fn end_interval(&mut self) {
        self.lines = 0;
    }
}
