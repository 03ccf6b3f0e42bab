// SPDX-License-Identifier: GPL-2.0-or-later
//! The connections of a host, each by its descriptor: [`connect`](Limiter::connect) counts
//! one and opens its record, [`disconnect`](Limiter::disconnect) takes the record and
//! releases the count. Both attachments call these. Only the records of connections that
//! are counted are open.

#![forbid(unsafe_code)]

use core::ffi::c_int;

use super::accounting::{Off, Rated};
use super::{Fault, Limiter, NotCounted, StaleToken, Token, Worker, age};
use crate::policy::penalties::Cause;
use crate::shared::sync::{AtomicU32, Ordering};
use crate::source::Source;
use crate::table::connections::{ConnectionToken, Connections, Facts, Record, Taken};

/// Why a connection has no record and was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotConnected {
    /// Its descriptor is not tracked.
    Untracked,
    /// It could not be counted.
    NotCounted(NotCounted),
}

impl From<NotCounted> for NotConnected {
    fn from(reason: NotCounted) -> NotConnected {
        NotConnected::NotCounted(reason)
    }
}

impl Limiter {
    /// Whether a connection with `descriptor` can be counted.
    #[inline(always)]
    pub fn is_tracked(&self, descriptor: c_int) -> bool {
        self.connections().is_tracked(descriptor)
    }

    /// Counts a connection of `source` from `address` that `worker` opened, as
    /// [`opened_from`](Self::opened_from) does, and one of its network if networks are
    /// counted, and opens the record of its `descriptor`. Must be called by the process that
    /// has the descriptor. If that still has a connection, the previous one is
    /// [forgotten](Self::forget).
    ///
    /// With a `limit` above 0 the network must also be within its limit and its rate, except
    /// in monitor mode.
    ///
    /// # Errors
    ///
    /// [`NotConnected`], and there is nothing to release.
    #[inline(always)]
    pub fn connect(
        &self,
        worker: Worker,
        descriptor: c_int,
        source: Source,
        address: &[u8],
        facts: Facts,
        limit: i32,
    ) -> Result<ConnectionToken, NotConnected> {
        let record = self.record(worker, descriptor)?;
        if !self.has_unusual_connects() {
            return self.connect_usual(worker, record, source, facts, limit);
        }
        if self.settings().switches().have_only_rated_connects() {
            let cell = self.count(worker, source, address, limit, Rated)?;
            return Ok(self.open_record(worker, record, cell, facts));
        }
        self.connect_unusual(worker, record, source, address, facts, limit)
    }

    /// Whether a connection may belong to a listener with rules, be charged, be trusted, or
    /// count in a network. Otherwise [`connect_usual`](Self::connect_usual) counts it.
    #[inline(always)]
    pub(crate) fn has_unusual_connects(&self) -> bool {
        self.settings().switches().have_unusual_connects()
    }

    /// As [`connect`](Self::connect), unless
    /// [`has_unusual_connects`](Self::has_unusual_connects).
    #[inline(always)]
    pub(crate) fn connect_usual(
        &self,
        worker: Worker,
        record: Record<'_>,
        source: Source,
        facts: Facts,
        limit: i32,
    ) -> Result<ConnectionToken, NotConnected> {
        let cell = self.count(worker, source, &[], limit, Off)?;
        Ok(self.open_record(worker, record, cell, facts))
    }

    /// The record of a descriptor; an error that is counted if it is not tracked.
    #[inline(always)]
    pub(crate) fn record(
        &self,
        worker: Worker,
        descriptor: c_int,
    ) -> Result<Record<'_>, NotConnected> {
        self.connections().record(descriptor).ok_or_else(|| {
            self.note(worker, Fault::Untracked);
            NotConnected::Untracked
        })
    }

    /// Opens the record of a connection that is counted in `cell`.
    #[inline(always)]
    pub(super) fn open_record(
        &self,
        worker: Worker,
        record: Record<'_>,
        cell: Token,
        facts: Facts,
    ) -> ConnectionToken {
        // Relaxed (statistics).
        let now = self.settings().seconds().load(Ordering::Relaxed);
        loop {
            if let Some(token) = record.open(cell.to_bits(), facts, now) {
                return token;
            }
            self.forget_connection(worker, record.descriptor());
        }
    }

    /// Releases the connection that `token` was given for; `ended` is what the host knows
    /// of it at its end. Any process may do this; `worker` is the one that does. Returns
    /// all that was known of the connection.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] if the token was made up or released before; then no count has
    /// changed.
    #[inline(always)]
    pub fn disconnect(
        &self,
        worker: Worker,
        token: ConnectionToken,
        ended: Facts,
    ) -> Result<Facts, StaleToken> {
        match self.connections().take(token) {
            // The descriptor is not closed yet, so no other connection has it.
            Some(taken) => self.release_taken(worker, taken, ended, Some(token)),
            None => Err(self.note_stale(worker)),
        }
    }

    /// Takes the connection of `descriptor` out of its record, so that another connection
    /// can have the descriptor. It must then be [released](Self::release). `None` if the
    /// descriptor has no counted connection.
    #[inline]
    pub(crate) fn take(&self, descriptor: c_int) -> Option<Taken> {
        let connections = self.connections();
        let taken = connections.take(connections.record(descriptor)?.token()?)?;
        Some(self.with_cells(descriptor, taken))
    }

    /// Releases a connection whose record was taken. Returns all that was known of it.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] in damaged memory only.
    #[inline(always)]
    pub(crate) fn release(
        &self,
        worker: Worker,
        taken: Taken,
        ended: Facts,
    ) -> Result<Facts, StaleToken> {
        self.release_taken(worker, taken, ended, None)
    }

    /// As [`release`](Self::release). With its token, the connection still has its
    /// descriptor, and the cell of its network need not have been read before.
    #[inline(always)]
    fn release_taken(
        &self,
        worker: Worker,
        taken: Taken,
        ended: Facts,
        token: Option<ConnectionToken>,
    ) -> Result<Facts, StaleToken> {
        let facts = taken.facts | ended;
        let cell = Token::without_network_from_bits(taken.cell);
        // One call for all other cases, so that the usual one keeps few registers.
        let Some(cell) = cell.filter(|_| facts.are_usual()) else {
            let descriptor = token.map(ConnectionToken::descriptor);
            return self.release_unusual(worker, taken.cell, facts, taken.network, descriptor);
        };
        // The record vouches for the cell: it is taken once, and the source keeps its slot
        // until then. So the slot need not be read, as `closed` does.
        match cell.parts() {
            Some((slot, row, _)) if self.rows().release(row, slot) => Ok(facts),
            _ => Err(self.note_stale(worker)),
        }
    }

    /// What the close of a connection needs that was trusted, or carried no message. Returns
    /// all that is known of it.
    #[inline(always)]
    pub(super) fn close_unusual(&self, worker: Worker, cell: Token, mut facts: Facts) -> Facts {
        if facts.include(Facts::TRUSTED) {
            // What trusts it has read a message of the client.
            facts = facts | Facts::SPOKE;
            self.release_trust(cell.to_bits());
        }
        self.offence_of_close(worker, cell, facts);
        facts
    }

    /// Releases the connection of a descriptor whose end was not seen, if there is one. That
    /// counts as a fault. The system has given the descriptor to a new connection since.
    #[inline]
    pub fn forget(&self, worker: Worker, descriptor: c_int) {
        if self.connection(descriptor).is_some() {
            self.forget_connection(worker, descriptor);
        }
    }

    #[cold]
    pub(super) fn forget_connection(&self, worker: Worker, descriptor: c_int) {
        if let Some(taken) = self.take(descriptor) {
            self.note(worker, Fault::DescriptorReused);
            // A stale token is counted, and there is nothing else to do about it. Nothing
            // is known of the client, so it is not said to have been silent.
            let _ = self.release(worker, taken, Facts::SPOKE);
        }
    }

    /// What a host does that has accepted a connection, in one step: the previous
    /// connection of the descriptor is [forgotten](Self::forget), the new one is
    /// [checked](Self::check_from) and, if it is admitted, [counted](Self::connect).
    /// Returns whether it is admitted; if not, the host must close it.
    #[inline(always)]
    pub fn accept(
        &self,
        worker: Worker,
        descriptor: c_int,
        source: Source,
        address: &[u8],
        facts: Facts,
    ) -> bool {
        // This comes first, because a connection that is gone must not cause the new one to
        // be rejected.
        self.forget(worker, descriptor);
        let check = match self.is_tracked(descriptor) {
            true if source.scope().is_some() => self.check_on_listener(source, address),
            true => self.check_from(source, address),
            false => self.check_untracked(source, address),
        };
        if let Err(rejection) = check
            && self.rejected(worker, rejection)
        {
            return false;
        }
        // A connection that is not counted is admitted nevertheless.
        let _ = self.connect(worker, descriptor, source, address, facts, 0);
        true
    }

    /// Adds `facts` to an open connection. Any process may do this. `false` if it is
    /// closed.
    pub fn mark(&self, token: ConnectionToken, facts: Facts) -> bool {
        self.connections().mark(token, facts)
    }

    /// The token of the connection that is counted with `descriptor`. Any process may ask.
    #[inline]
    pub fn connection(&self, descriptor: c_int) -> Option<ConnectionToken> {
        self.connections().record(descriptor)?.token()
    }

    /// The first descriptor that is not tracked: it has no record.
    pub fn first_untracked(&self) -> usize {
        self.connections().len()
    }

    /// Seconds since the oldest connection of `source` opened, at the time `now` of the
    /// host clock. `None` if it has no connection. Reads all records, so the accepting
    /// process should not call it. Exact to the second in which the background process
    /// last [set the clock](Self::set_clock).
    pub fn oldest(&self, source: Source, now: u32) -> Option<u32> {
        let at = self.table().find(source)?;
        let ages = self.open_connections().filter_map(|seen| {
            let is_its = Token::from_bits(seen.cell)?.is_in(at.slot, at.control.epoch());
            is_its.then(|| age(seen, now))
        });
        ages.max()
    }

    /// Sets the clock by which [`oldest`](Self::oldest) counts: the host clock, which a
    /// background process reads once a second. So a new connection need not read a clock.
    /// Also reads the clock of rates, penalties and bans, so that most checks need not.
    pub fn set_clock(&self, now: u32) {
        // Relaxed (statistics).
        self.settings().seconds().store(now, Ordering::Relaxed);
        self.read_clock();
    }

    /// Reads the clock of rates, penalties and bans for gates that need only know a time in
    /// the past.
    pub(super) fn read_clock(&self) {
        let past = self.settings().past_micros();
        // Relaxed (statistics): a process that sees an older time reads the clock more often.
        past.store(self.micros(), Ordering::Relaxed);
    }

    /// Microseconds of the clock, for a debt that is written now. Each debt can be compared
    /// with the time in the past that gates use, because it ends at most
    /// [`Debt::MAX`](crate::table::tagged::Debt::MAX) and a second after it, also if no
    /// background process reads the clock.
    pub(super) fn present(&self) -> u64 {
        const SECOND: u64 = 1_000_000;
        let now = self.micros();
        let past = self.settings().past_micros();
        // Relaxed: the word of the debt is written afterwards, in the total order, so a
        // process that reads the debt and then this time sees it. In all other cases any
        // time in the past will do.
        if now.wrapping_sub(past.load(Ordering::Relaxed)) > SECOND {
            past.store(now, Ordering::Relaxed);
        }
        now
    }

    /// Whether a host without hooks must find out, before it closes a connection, whether
    /// the client has sent anything, because silence is an offence. That costs a system call
    /// for each.
    pub fn reads_received(&self) -> bool {
        let settings = self.settings();
        settings.penalty(Cause::Silent) != 0 || settings.penalty(Cause::Tls) != 0
    }

    /// Makes `process` the one whose descriptors the records are for, unless another
    /// process is. `false` if another one is.
    pub fn claim_descriptors(&self, process: u32) -> bool {
        // Acquire: sees the records as their last owner left them, see
        // `release_descriptors`. Relaxed on failure: only the answer matters.
        match self.descriptors_owner().compare_exchange(
            0,
            process,
            Ordering::Acquire,
            Ordering::Relaxed,
        ) {
            Ok(_) => true,
            Err(other) => other == process,
        }
    }

    /// Releases all connections, for `worker`; then the records belong to no process. Must
    /// be called by the process that they belong to.
    pub fn release_descriptors(&self, worker: Worker) {
        for descriptor in 0..self.first_untracked() {
            if let Some(taken) = self.take(descriptor as c_int) {
                // A stale token is counted, and there is nothing else to do about it. The
                // client is not said to have been silent, because it still has its
                // connection.
                let _ = self.release(worker, taken, Facts::CLOSED_BY_HOST | Facts::SPOKE);
            }
        }
        // Release: the next owner sees all records closed.
        self.descriptors_owner().store(0, Ordering::Release);
    }

    fn descriptors_owner(&self) -> &AtomicU32 {
        &self.region.header().background.descriptors_owner
    }

    #[inline]
    pub(crate) fn connections(&self) -> Connections<'_> {
        Connections::new(&self.region)
    }
}
