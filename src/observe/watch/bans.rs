// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Bans`]: decides which bans of sources are logged.

#![forbid(unsafe_code)]

use std::collections::HashMap;

use super::Tick;
use crate::observe::notices::Notice;
use crate::observe::report::{PenaltyReport, Report, SourceReport};
use crate::policy::penalties::Cause;
use crate::policy::settings::Mode;
use crate::source::Source;

/// The most bans whose begin is logged in an interval, and the most whose end is.
pub const MAX_BANNED: usize = 100;

/// The most banned sources that are remembered. Bans of further sources are not logged; the
/// totals include them.
const MAX_KNOWN: usize = 65_536;

/// The bans that were seen.
#[derive(Default)]
pub(super) struct Bans {
    known: HashMap<Source, Known>,
    /// Lines for bans that began in this interval, and for those that ended.
    begun: usize,
    ended: usize,
    /// Bans that began in this interval and have no line.
    more: u64,
}

struct Known {
    /// As it was last seen.
    ban: PenaltyReport,
    /// The begin was logged, here or by what set it, and so the end will be.
    logged: bool,
    /// It began in monitor mode.
    would: bool,
}

impl Bans {
    /// The sources whose bans were seen. Some may have ended.
    pub(super) fn known(&self) -> impl Iterator<Item = Source> + '_ {
        self.known.keys().copied()
    }

    /// Notes a banned source.
    pub(super) fn seen(&mut self, report: SourceReport, tick: &mut Tick<'_>) {
        let Some(ban) = report.ban() else {
            return;
        };
        if let Some(known) = self.known.get_mut(&report.source) {
            known.ban = ban;
            return;
        }
        if self.known.len() >= MAX_KNOWN || self.known.try_reserve(1).is_err() {
            return;
        }
        let would = tick.limiter.mode() == Mode::Monitor;
        // The process of the cluster logs bans of other nodes.
        let is_logged = matches!(ban.cause, Cause::Rpc | Cause::Cluster);
        let has_line = !is_logged && self.begun < MAX_BANNED;
        self.begun += usize::from(has_line);
        self.more += u64::from(!is_logged && !has_line);
        if has_line {
            (tick.log)(Notice::Banned { report, ban, would });
        }
        let known = Known {
            ban,
            logged: has_line || is_logged,
            would,
        };
        self.known.insert(report.source, known);
    }

    /// Logs the bans that have ended. Those beyond [`MAX_BANNED`] follow in the next
    /// intervals.
    pub(super) fn end_tick(&mut self, tick: &mut Tick<'_>) {
        let ended = &mut self.ended;
        self.known.retain(|source, known| {
            let report = Report::of(tick.limiter).get(*source);
            if report.ban().is_some() {
                return true;
            }
            if !known.logged {
                return false;
            }
            if *ended == MAX_BANNED {
                return true;
            }
            *ended += 1;
            (tick.log)(Notice::Unbanned {
                report,
                ban: known.ban,
                would: known.would,
                is_logged: tick.limiter.end_is_logged(*source),
            });
            false
        });
    }

    /// Logs how many bans of an interval that was `seconds` long have no line.
    pub(super) fn end_interval(&mut self, seconds: u32, tick: &mut Tick<'_>) {
        let sources = core::mem::take(&mut self.more);
        if sources > 0 {
            (tick.log)(Notice::MoreBanned {
                sources,
                seconds,
                would: tick.limiter.mode() == Mode::Monitor,
            });
        }
        (self.begun, self.ended) = (0, 0);
    }
}
