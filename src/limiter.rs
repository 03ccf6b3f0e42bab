// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Limiter`]: the story. May this source open one more connection? It did. It
//! closed one.

#![forbid(unsafe_code)]

mod token;
mod totals;
#[cfg(test)]
mod wraparound_tests;

pub use token::{StaleToken, Token};
pub use totals::{Fault, Totals};

use std::io;

use crate::policy::rulebook::{Busy, RuleId, Rulebook};
use crate::policy::rules::RuleSet;
use crate::policy::settings::{Mode, OnFull, Settings};
use crate::shared::layout::{ACCEPTOR_ROW, Geometry, ROWS, Tally};
use crate::shared::process::OneThread;
use crate::shared::region::{Region, RegionError};
use crate::shared::sync::{Ordering, Statistic64};
use crate::source::{PrefixLengths, Source};
use crate::table::details::{Details, Owner};
use crate::table::hash::SourceHash;
use crate::table::hint::Hints;
use crate::table::rows::Rows;
use crate::table::{ClaimError, SlotRef, Table};

/// A worker of the server, as a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker(usize);

impl Worker {
    /// The worker that accepts connections: its cells lie in the slots
    /// themselves, so it is the fastest one.
    pub const ACCEPTOR: Worker = Worker(ACCEPTOR_ROW);

    /// Worker `number`; 0 is [`ACCEPTOR`](Self::ACCEPTOR). More workers than rows
    /// share rows.
    pub fn new(number: u32) -> Worker {
        match number as usize {
            ACCEPTOR_ROW => Worker(ACCEPTOR_ROW),
            other => Worker(1 + (other - 1) % (ROWS - 1)),
        }
    }
}

/// Why a connection is not to be admitted.
#[derive(Clone, Copy, Debug)]
pub struct Rejection(Reason);

#[derive(Clone, Copy, Debug)]
enum Reason {
    /// Its source is at its limit or over it.
    Over {
        owner: Owner,
        connections: i32,
        rule: RuleId,
    },
    /// Its source is at the limit that the caller brought along, or over it.
    OverGiven,
    /// The table has no slot for its source.
    Full,
    /// It has a descriptor that is not tracked.
    Untracked,
}

/// Why a connection was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It would have been one more than the limit.
    OverLimit,
    /// The table has no slot for its source.
    TableFull,
}

/// From so many connections on, a source's peak is noted with each connection; what
/// is below is sampled ([`crate::observe::watch`]), so that the many sources with few
/// connections do not pay for it.
const BUSY: i32 = 8;

/// Counts connections by source, in memory that all processes forked from its
/// maker share.
pub struct Limiter {
    region: Region,
    hash: SourceHash,
    prefixes: PrefixLengths,
    max_connections: u32,
    hints: Hints,
    /// For the threads of this process that load rules.
    rules_gate: OneThread,
}

impl Limiter {
    /// The most connections that a limiter can be made for.
    pub const MAX_CONNECTIONS: u32 = Geometry::MAX_CONNECTIONS;

    /// For up to `max_connections` connections (1 to 100,000,000) at a time. At a
    /// `limit` of 0 or less all are admitted.
    ///
    /// # Errors
    ///
    /// A sentence that names the value or the reason.
    pub fn new(
        max_connections: u32,
        limit: i32,
        prefixes: PrefixLengths,
    ) -> Result<Limiter, String> {
        let geometry = Geometry::for_connections(max_connections).ok_or_else(|| {
            let most = Self::MAX_CONNECTIONS;
            format!("max_connections {max_connections}: must be 1 to {most}")
        })?;
        Self::with_geometry(geometry, max_connections, limit, prefixes).map_err(|e| e.to_string())
    }

    /// For models: with a table of `buckets` buckets.
    #[cfg(loom)]
    pub fn with_buckets(buckets: usize, limit: i32) -> Limiter {
        let geometry = Geometry::of_buckets(buckets);
        match Self::with_geometry(geometry, 1, limit, PrefixLengths::DEFAULT) {
            Ok(limiter) => limiter,
            Err(error) => match error {},
        }
    }

    pub(crate) fn with_geometry(
        geometry: Geometry,
        max_connections: u32,
        limit: i32,
        prefixes: PrefixLengths,
    ) -> Result<Limiter, RegionError> {
        let region = Region::create(geometry)?;
        Settings::of(&region).set_limit(limit);
        Ok(Limiter {
            region,
            hash: SourceHash::new(),
            prefixes,
            max_connections,
            hints: Hints::default(),
            rules_gate: OneThread::new(),
        })
    }

    /// May `source` open one more connection, by its rule or the configured limit?
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not; in monitor mode, too. What follows from it,
    /// [`rejected`](Self::rejected) tells.
    #[inline]
    pub fn check(&self, source: Source) -> Result<(), Rejection> {
        let settings = self.settings();
        if settings.mode() == Mode::Off {
            return Ok(());
        }
        let lowest = settings.lowest_limit().unwrap_or(i32::MAX);
        if lowest == i32::MAX && settings.on_full() == OnFull::Admit {
            return Ok(());
        }
        let table = self.table();
        while let Some(at) = table.find(source) {
            let connections = self.rows().sum(at.slot, at.control.rows());
            if connections < lowest {
                self.hints.set(at.slot);
                return Ok(());
            }
            if let Some(answer) = self.check_busy(source, at, connections) {
                return answer;
            }
        }
        if settings.on_full() == OnFull::Reject && !table.has_place(source) {
            return Err(Rejection(Reason::Full));
        }
        Ok(())
    }

    /// The full check, for a source that has as many connections as the lowest
    /// limit of all. `None` if another source took the slot meanwhile.
    #[cold]
    fn check_busy(
        &self,
        source: Source,
        at: SlotRef,
        connections: i32,
    ) -> Option<Result<(), Rejection>> {
        let owner = Owner::of(self.table(), source, at);
        let detail = self.details().own(owner);
        let (rule, limit) = self.rulebook().resolve_once(source, owner.tag(), detail);
        if limit <= 0 || connections < limit {
            self.hints.set(at.slot);
            return Some(Ok(()));
        }
        // before rejecting anybody: were they this source's connections?
        self.table().held(at)?;
        Some(Err(Rejection(Reason::Over {
            owner,
            connections,
            rule,
        })))
    }

    /// Whether `source` may open one more connection that cannot be counted, because
    /// its descriptor is not tracked. The policy for a full table applies, since the
    /// reason is the same: there is nowhere to count it. If it admits, the limit
    /// still applies to the connections that are counted.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not, as for [`check`](Self::check).
    pub fn check_untracked(&self, source: Source) -> Result<(), Rejection> {
        let settings = self.settings();
        if settings.mode() != Mode::Off && settings.on_full() == OnFull::Reject {
            return Err(Rejection(Reason::Untracked));
        }
        self.check(source)
    }

    /// May `source` open one more connection, by `limit`, whatever rules and mode?
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not.
    pub fn check_against(&self, source: Source, limit: i32) -> Result<(), Rejection> {
        if limit <= 0 {
            return Ok(());
        }
        let table = self.table();
        while let Some(at) = table.find(source) {
            let connections = self.rows().sum(at.slot, at.control.rows());
            if connections < limit {
                break;
            }
            // as in `check_busy`
            if table.held(at).is_some() {
                return Err(Rejection(Reason::OverGiven));
            }
        }
        Ok(())
    }

    /// Counts a rejection by `worker`. Whether the connection is to be closed: not in
    /// monitor mode, unless the caller brought the limit along.
    pub fn rejected(&self, worker: Worker, Rejection(reason): Rejection) -> bool {
        let close = self.mode() != Mode::Monitor || matches!(reason, Reason::OverGiven);
        let tally = self.tally(worker);
        // statistics, all of it
        let count = |rejected: &Statistic64, would_reject: &Statistic64| {
            let number = if close { rejected } else { would_reject };
            number.fetch_add(1, Ordering::Relaxed);
        };
        count(&tally.rejected, &tally.would_reject);
        match reason {
            Reason::OverGiven => {}
            Reason::Full if close => {
                tally.full_rejected.fetch_add(1, Ordering::Relaxed);
            }
            Reason::Untracked if close => {
                tally.untracked_rejected.fetch_add(1, Ordering::Relaxed);
            }
            Reason::Full | Reason::Untracked => {}
            Reason::Over {
                owner,
                connections,
                rule,
            } => {
                let detail = self.details().own(owner);
                let number = if close {
                    &detail.rejected
                } else {
                    &detail.would_reject
                };
                number.fetch_add(1, Ordering::Relaxed);
                let connections = connections.unsigned_abs();
                detail.rejected_at.store(connections, Ordering::Relaxed);
                self.details().peak(owner, connections);
                self.rulebook().count(rule, close);
            }
        }
        close
    }

    /// Counts a connection of `source` that `worker` opened.
    ///
    /// With a `limit` above 0 the connection is counted only if the source has
    /// then at most so many. This holds among any number of workers; two that
    /// race for the last place may both be rejected. Without a limit it is counted
    /// in any case.
    ///
    /// # Errors
    ///
    /// [`NotCounted`], and there is nothing to release.
    #[inline]
    pub fn opened(&self, worker: Worker, source: Source, limit: i32) -> Result<Token, NotCounted> {
        let (table, rows) = (self.table(), self.rows());
        loop {
            let found = match table.live_at(self.hints.get(), source, worker.0) {
                Some(at) if !table.is_crowded(at) => Ok(at),
                _ => table.find_or_claim(source, worker.0, |left, at| {
                    self.note_move(source, left, at);
                }),
            };
            let at = match found {
                Ok(at) => at,
                Err(ClaimError::Full | ClaimError::Contended) => {
                    // statistics
                    self.tally(worker)
                        .table_full
                        .fetch_add(1, Ordering::Relaxed);
                    return Err(NotCounted::TableFull);
                }
            };
            let in_row = rows.add(worker.0, at.slot);
            let Some(at) = table.held(at) else {
                // lost the slot to another source between find and add; each
                // turn takes another process that claimed just then
                rows.release(worker.0, at.slot);
                continue;
            };
            if limit > 0 && rows.sum(at.slot, at.control.rows()) > limit {
                rows.release(worker.0, at.slot);
                return Err(NotCounted::OverLimit);
            }
            if in_row >= BUSY || !at.control.rows().is_one() {
                self.note_peak(source, at, in_row);
            }
            self.count_admitted(worker);
            return Ok(Token::new(at.slot, worker.0, at.control.epoch()));
        }
    }

    /// Takes off the connection that `token` was given for. Any process may do
    /// it; `worker` is the one that does.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] if the token was made up, or was released before and its
    /// cell has no connection left; nothing has changed. A token that is released
    /// twice while its source has other connections opened by the same worker
    /// cannot be told from one of theirs: the host must release a token once.
    #[inline]
    pub fn closed(&self, worker: Worker, token: Token) -> Result<(), StaleToken> {
        let released = token.parts().is_some_and(|(slot, row, epoch)| {
            self.table().in_use_since(slot, epoch) && self.rows().release(row, slot)
        });
        if released {
            return Ok(());
        }
        // statistics
        self.tally(worker)
            .stale_token
            .fetch_add(1, Ordering::Relaxed);
        Err(StaleToken)
    }

    /// Counts a fault that `worker` ran into.
    pub fn note(&self, worker: Worker, fault: Fault) {
        // statistics
        fault
            .counter(self.tally(worker))
            .fetch_add(1, Ordering::Relaxed);
    }

    /// The limit of sources without a rule; 0 or less: none.
    pub fn limit(&self) -> i32 {
        self.settings().limit()
    }

    /// Changes the limit of sources without a rule. Closes no connection; a source
    /// that is over it may open none until it fits.
    pub fn set_limit(&self, limit: i32) {
        self.settings().set_limit(limit);
    }

    /// What happens to a connection over the limit.
    pub fn mode(&self) -> Mode {
        self.settings().mode()
    }

    /// Changes the mode.
    pub fn set_mode(&self, mode: Mode) {
        self.settings().set_mode(mode);
    }

    /// What happens when the table is full.
    pub fn on_full(&self) -> OnFull {
        self.settings().on_full()
    }

    /// Changes what happens when the table is full.
    pub fn set_on_full(&self, policy: OnFull) {
        self.settings().set_on_full(policy);
    }

    /// Puts `rules` in force, all at once; all others cease to be.
    ///
    /// # Errors
    ///
    /// [`Busy`], and nothing has changed.
    pub fn set_rules(&self, rules: &RuleSet) -> Result<(), Busy> {
        self.rulebook().publish(rules, &self.rules_gate)
    }

    /// How many rules are in force.
    pub fn rules_len(&self) -> usize {
        self.rulebook().len()
    }

    /// How often rules came into force.
    pub fn rules_loaded(&self) -> u32 {
        self.rulebook().loads()
    }

    /// Begins all statistics anew: totals, the rejections of sources and rules, and
    /// peaks, which are then what each source has now. Counts of connections stay.
    pub fn reset_stats(&self) {
        let header = self.region.header();
        let background = &header.background;
        totals::reset(&background.reset_at, &header.tallies);
        background.log_suppressed.store(0, Ordering::Relaxed);
        for slot in 0..self.table().slots() {
            if let Some((source, at)) = self.table().source_at(slot) {
                let connections = self.rows().sum(slot, at.control.rows());
                let owner = Owner::of(self.table(), source, at);
                self.details().reset(owner, connections.unsigned_abs());
            }
        }
        self.rulebook().reset();
        // Release: who sees this number sees all that was set to 0 before
        background.resets.fetch_add(1, Ordering::Release);
    }

    /// The configured prefixes.
    pub fn prefixes(&self) -> PrefixLengths {
        self.prefixes
    }

    /// Connections the table is made for.
    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// Allocates the memory that check, opened and closed use, up to 1 GiB (20 million
    /// connections), and maps it in this process, so that they wait for no page. For the
    /// process that accepts, before it does: on a machine with several memory nodes the
    /// memory then lies where that process runs.
    ///
    /// # Errors
    ///
    /// The system's error. The limiter works all the same: each page that is missing is
    /// allocated when it is first touched.
    pub fn populate(&self) -> io::Result<()> {
        self.region.populate()
    }

    /// Bytes of the table that are in huge pages; 0 as well where /proc does not show it.
    /// Reads a file: not for the process that accepts.
    pub fn huge_bytes(&self) -> u64 {
        self.region.huge_bytes()
    }

    /// Bytes of shared memory mapped for sources; rules have 6 MB beside it. A page
    /// takes memory when it is first touched, also by a report, or when
    /// [`populate`](Self::populate) allocates it.
    pub fn table_bytes(&self) -> usize {
        self.region.table_bytes()
    }

    /// The numbers since the start or the last reset.
    pub fn totals(&self) -> Totals {
        let header = self.region.header();
        Totals::since(&header.background.reset_at, &header.tallies)
    }

    /// How often the statistics were reset. Numbers that are read after it are of the
    /// time since then, or since a later reset.
    pub(crate) fn resets(&self) -> u32 {
        let resets = &self.region.header().background.resets;
        // Acquire: see `reset_stats`
        resets.load(Ordering::Acquire)
    }

    /// The counter of rejections of which no line of the log tells one by one.
    pub(crate) fn log_suppressed(&self) -> &Statistic64 {
        &self.region.header().background.log_suppressed
    }

    /// Sources and connections as counted last, see
    /// [`last_occupancy`](Self::last_occupancy).
    pub(crate) fn gauges(&self) -> &Statistic64 {
        &self.region.header().background.gauges
    }

    /// Notes that `source` at `at` has as many connections as now, which are
    /// `at_least` so many.
    #[cold]
    fn note_peak(&self, source: Source, at: SlotRef, at_least: i32) {
        let sum = self.rows().sum(at.slot, at.control.rows());
        let connections = sum.max(at_least);
        if connections < BUSY {
            return;
        }
        let owner = Owner::of(self.table(), source, at);
        self.details().peak(owner, connections.unsigned_abs());
    }

    /// Carries the history of `source` from the slot it left to the slot it has now.
    #[cold]
    fn note_move(&self, source: Source, left: SlotRef, now: SlotRef) {
        let owner = |at| Owner::of(self.table(), source, at);
        self.details().carry(owner(left), owner(now));
    }

    #[inline]
    pub(crate) fn settings(&self) -> Settings<'_> {
        Settings::of(&self.region)
    }

    pub(crate) fn details(&self) -> Details<'_> {
        Details::new(&self.region)
    }

    pub(crate) fn rulebook(&self) -> Rulebook<'_> {
        Rulebook::new(&self.region)
    }

    #[inline]
    pub(crate) fn table(&self) -> Table<'_> {
        Table::new(&self.region, &self.hash, self.prefixes)
    }

    #[inline]
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.region)
    }

    /// Without the cost of an atomic addition, since this runs for every
    /// connection: exact as long as no two calls for workers of one row overlap,
    /// else it may miss one.
    #[inline]
    fn count_admitted(&self, worker: Worker) {
        let admitted = &self.tally(worker).admitted;
        // statistics
        let before = admitted.load(Ordering::Relaxed);
        admitted.store(before.wrapping_add(1), Ordering::Relaxed);
    }

    /// With a weak hash instead of its own.
    #[cfg(test)]
    pub(crate) fn with_weak_hash(self, pairs: u64) -> Limiter {
        let hash = SourceHash::weak(pairs);
        Limiter { hash, ..self }
    }

    /// For tests that preset what it holds.
    #[cfg(test)]
    pub(crate) fn region(&self) -> &Region {
        &self.region
    }

    #[inline]
    fn tally(&self, worker: Worker) -> &Tally {
        &self.region.header().tallies[worker.0]
    }
}

#[cfg(test)]
mod tests {
    use super::totals::TOTALS;
    use super::*;
    use crate::observe::audit::Audit;

    /// Tallies at the highest number, be it by damage.
    #[test]
    fn tallies_go_on_after_the_highest_number() {
        let limiter = Limiter::new(10, 1, PrefixLengths::DEFAULT).unwrap();
        let source = Source::new(&[127, 0, 0, 1], PrefixLengths::DEFAULT).unwrap();
        for tally in &limiter.region.header().tallies {
            for (_, pick) in TOTALS {
                pick(tally).store(u64::MAX, Ordering::Relaxed);
            }
        }
        limiter.reset_stats();
        assert_eq!(limiter.totals(), Totals::default());
        let token = limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        let rejection = limiter.check(source).unwrap_err();
        limiter.rejected(Worker::new(1), rejection);
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
        limiter.closed(Worker::new(2), token).unwrap_err();
        let expected = Totals {
            admitted: 1,
            rejected: 1,
            stale_token: 1,
            ..Totals::default()
        };
        assert_eq!(limiter.totals(), expected);
    }

    /// All places have the same source, with more connections than can be.
    #[test]
    fn an_audit_of_damaged_counts_ends() {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        let source = Source::new(&[127, 0, 0, 1], PrefixLengths::DEFAULT).unwrap();
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        let slots = || limiter.region.buckets().iter().flat_map(|b| &b.slots);
        let at = limiter.table().find(source).unwrap().slot;
        let control = slots().nth(at).unwrap().control.load(Ordering::Relaxed);
        for slot in slots() {
            slot.word.store(source.word(), Ordering::Relaxed);
            slot.control.store(control, Ordering::Relaxed);
            slot.acceptor_cell.store(i32::MAX, Ordering::Relaxed);
        }
        let mut audit = Audit::new(1).unwrap();
        audit.copy_counts(&limiter).unwrap();
        let counted: Vec<_> = audit.differences().map(|d| d.counted).collect();
        assert_eq!(counted, [u32::MAX]);
    }
}
