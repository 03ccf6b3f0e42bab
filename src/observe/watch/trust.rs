// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Trust`]: looks at the records of all connections, without any lock, for those that were
//! not trusted in time and for a script that trusts none.

#![forbid(unsafe_code)]

use std::collections::{HashMap, HashSet};

use super::Tick;
use crate::limiter::{Facts, InTime, Worker, age};
use crate::observe::notices::{MoreTimedOut, NeverTrusted, Notice, TimedOut};
use crate::policy::settings::Mode;
use crate::source::Source;

/// The most sources that have a line of their own in an interval, because connections of them
/// timed out.
pub const MAX_TIMED_OUT: usize = 100;

/// The most sources whose timeouts are distinguished in an interval. The summary counts the
/// connections of others, but not the sources.
const MAX_KNOWN: usize = 65_536;

/// From this many connections on that live on it is said that none is trusted.
const MANY: u64 = 10;

/// Seconds until that is said again.
const DAY: u32 = 24 * 3600;

/// The notices about connections that are not trusted.
#[derive(Default)]
pub(super) struct Trust {
    /// The sources that had a line in this interval.
    named: HashSet<Source>,
    /// The sources without one whose connections timed out in this interval.
    others: HashSet<Source>,
    /// Connections without a line in this interval.
    more: u64,
    /// The mode of the last tick.
    mode: Option<Mode>,
    /// When it was last said that no connection is trusted.
    said: Option<u32>,
    /// Connections that the host must close.
    pub(super) to_close: u32,
}

impl Trust {
    /// Looks at all open connections.
    pub(super) fn tick(&mut self, tick: &mut Tick<'_>) {
        let (limiter, now) = (tick.limiter, tick.now);
        self.to_close = 0;
        if !limiter.has_trust() {
            return;
        }
        let mode = limiter.mode();
        // What monitor mode has found is not closed yet.
        let again = mode == Mode::Enforce && self.mode == Some(Mode::Monitor);
        self.mode = Some(mode);
        let mut late: HashMap<Source, u32> = HashMap::new();
        let (mut lives_on, mut trusted) = (0, 0);
        for seen in limiter.open_connections() {
            trusted += u64::from(seen.facts.include(Facts::TRUSTED));
            lives_on += u64::from(age(seen, now) >= NeverTrusted::AGE);
            match limiter.time_out(Worker::new(1), seen, now, again) {
                None | Some(InTime::Yes) => continue,
                Some(InTime::Known) => {}
                Some(InTime::New(source)) => self.timed_out(source, &mut late),
            }
            self.to_close += u32::from(mode == Mode::Enforce);
        }
        self.log(late, tick);
        self.log_never_trusted(lives_on, trusted, tick);
    }

    /// Counts one connection, for a line of its source if that may have one.
    fn timed_out(&mut self, source: Source, late: &mut HashMap<Source, u32>) {
        let room = MAX_TIMED_OUT.saturating_sub(self.named.len());
        let is_new = !self.named.contains(&source);
        if let Some(connections) = late.get_mut(&source) {
            *connections += 1;
        } else if is_new && late.len() < room && late.try_reserve(1).is_ok() {
            late.insert(source, 1);
        } else {
            self.more += 1;
            if self.others.len() < MAX_KNOWN && self.others.try_reserve(1).is_ok() {
                self.others.insert(source);
            }
        }
    }

    fn log(&mut self, late: HashMap<Source, u32>, tick: &mut Tick<'_>) {
        for (source, connections) in late {
            if self.named.try_reserve(1).is_ok() {
                self.named.insert(source);
            }
            (tick.log)(Notice::TimedOut(TimedOut {
                source,
                connections,
                timeout: tick.limiter.trust_timeout(),
                would: tick.limiter.mode() == Mode::Monitor,
            }));
        }
    }

    fn log_never_trusted(&mut self, lives_on: u64, trusted: u64, tick: &mut Tick<'_>) {
        let was_said = |said: u32| tick.now.wrapping_sub(said) < DAY;
        let is_due = lives_on >= MANY && trusted == 0 && !self.said.is_some_and(was_said);
        if is_due && tick.limiter.totals().became_trusted == 0 {
            self.said = Some(tick.now);
            (tick.log)(Notice::NeverTrusted(NeverTrusted {
                connections: lives_on,
            }));
        }
    }

    /// Logs what has no line of its own in an interval that was `seconds` long.
    pub(super) fn end_interval(&mut self, seconds: u32, tick: &mut Tick<'_>) {
        self.named.clear();
        let sources = core::mem::take(&mut self.others).len() as u64;
        let connections = core::mem::take(&mut self.more);
        if connections > 0 {
            (tick.log)(Notice::MoreTimedOut(MoreTimedOut {
                connections,
                sources,
                seconds,
                would: tick.limiter.mode() == Mode::Monitor,
            }));
        }
    }
}
