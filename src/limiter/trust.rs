// SPDX-License-Identifier: GPL-2.0-or-later
//! Trusted connections.
//!
//! Each connection is untrusted when it opens. The script of the server
//! [trusts](Limiter::trust) it when it has reason to, such as after it has authenticated a
//! user. The gate `untrusted` limits the untrusted connections of a source, and the
//! background process finds those that are not trusted [in time](Limiter::time_out), so that
//! the host closes them.
//!
//! The calls name a connection by its token. So a call for one that is closed does nothing,
//! also if its descriptor has another connection by then.

#![forbid(unsafe_code)]

use core::ffi::c_int;
use core::fmt;

use super::{CreateError, CreateFault, Limiter, Token, Worker};
use crate::policy::settings::Mode;
use crate::shared::sync::Ordering;
use crate::source::{PrefixLengths, Scope, Source};
use crate::table::SlotRef;
use crate::table::connections::{ConnectionToken, Facts, Seen};
use crate::table::details::Owner;
use crate::table::trusted::Trusted;

/// An address counts without a scope, and once for each listener with rules.
const ALL_SCOPES: usize = Scope::MAX_LISTENERS as usize + 1;

/// Why a connection is not trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustError {
    /// The limiter was created without trust.
    Off,
    /// The connection is closed.
    Gone,
}

impl fmt::Display for TrustError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TrustError::Off => {
                "trust is off; set the modparam untrusted_limit (0: no limit by default) and \
                 restart the server"
            }
            TrustError::Gone => "the connection is closed, or is not counted",
        })
    }
}

impl std::error::Error for TrustError {}

/// An open connection, for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenConnection {
    /// Its descriptor in the process that accepts.
    pub descriptor: c_int,
    /// Seconds since it opened.
    pub age: u32,
    /// The facts that are known so far.
    pub facts: Facts,
}

/// What became of an untrusted connection when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InTime {
    /// It has time left, or needs no trust.
    Yes,
    /// It was not trusted in time, and was found so before.
    Known,
    /// It was not trusted in time, which was not known before.
    New(Source),
}

impl Limiter {
    /// As [`new`](Self::new), for connections that can be trusted. This takes 28 bytes more
    /// for each connection.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_trust(
        max_connections: u32,
        limit: i32,
        prefixes: PrefixLengths,
    ) -> Result<Limiter, CreateError> {
        let geometry = Self::geometry(max_connections, prefixes)?.with_trust();
        Self::with_geometry(geometry, max_connections, limit, prefixes)
            .map_err(|error| CreateError(CreateFault::Region(error)))
    }

    /// Whether connections can be trusted.
    pub fn has_trust(&self) -> bool {
        !self.region.trusted().is_empty()
    }

    /// Trusts the connection that `token` names, for `worker`. Returns whether it was
    /// untrusted before.
    ///
    /// # Errors
    ///
    /// [`TrustError`], and nothing has changed.
    pub fn trust(&self, worker: Worker, token: ConnectionToken) -> Result<bool, TrustError> {
        // Again only if another process moved the connection meanwhile.
        loop {
            let (seen, trusted) = self.connection_to_trust(token)?;
            if seen.facts.include(Facts::TRUSTED) {
                return Ok(false);
            }
            // In this order, see `table::trusted`.
            let Some(round) = trusted.add() else {
                continue;
            };
            match self.change_trust(seen, true) {
                Some(true) => {
                    // Relaxed (statistics).
                    let number = &self.tally(worker).became_trusted;
                    number.fetch_add(1, Ordering::Relaxed);
                    return Ok(true);
                }
                other => {
                    trusted.subtract(round);
                    if other.is_some() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Makes the connection that `token` names untrusted again. The source keeps it also if
    /// it then has more untrusted connections than its limit. The time until it is closed
    /// counts from when it opened. Returns whether it was trusted before.
    ///
    /// # Errors
    ///
    /// [`TrustError`], and nothing has changed.
    pub fn untrust(&self, token: ConnectionToken) -> Result<bool, TrustError> {
        // As in `trust`.
        loop {
            let (seen, trusted) = self.connection_to_trust(token)?;
            if !seen.facts.include(Facts::TRUSTED) {
                return Ok(false);
            }
            let round = trusted.round();
            if let Some(changed) = self.change_trust(seen, false) {
                if changed {
                    trusted.subtract(round);
                }
                return Ok(changed);
            }
        }
    }

    /// The limit of untrusted connections of sources without a rule; 0: no limit.
    pub fn untrusted_limit(&self) -> u32 {
        self.settings().untrusted_limit()
    }

    /// Changes the limit of untrusted connections of sources without a rule; 0: no limit. A
    /// source over a lowered limit keeps its connections.
    ///
    /// # Errors
    ///
    /// If the limiter was created without trust.
    pub fn set_untrusted_limit(&self, limit: u32) -> Result<(), TrustError> {
        self.require_trust()?;
        self.settings().set_untrusted_limit(limit);
        Ok(())
    }

    /// Seconds after which an untrusted connection is closed; 0: never.
    pub fn trust_timeout(&self) -> u32 {
        self.settings().trust_timeout()
    }

    /// Changes the seconds after which an untrusted connection is closed; 0: never.
    ///
    /// # Errors
    ///
    /// If the limiter was created without trust.
    pub fn set_trust_timeout(&self, seconds: u32) -> Result<(), TrustError> {
        self.require_trust()?;
        self.settings().set_trust_timeout(seconds);
        Ok(())
    }

    /// Whether the connection of `descriptor` must be closed because it was not trusted in
    /// time, as the background process last found. Any process may ask.
    pub fn is_expired(&self, descriptor: c_int) -> bool {
        let seen = self.look_at(descriptor);
        let is_expired =
            |facts: Facts| facts.include(Facts::EXPIRED) && !facts.include(Facts::TRUSTED);
        self.mode() == Mode::Enforce && seen.is_some_and(|seen| is_expired(seen.facts))
    }

    /// The open connections of `source`, also those on listeners that rules name, oldest
    /// first, at most `max` of them, at the time `now` of the host clock, and how many there
    /// are. Reads all records, so the accepting
    /// process should not call it; takes no lock of the host.
    ///
    /// # Errors
    ///
    /// If there is no memory for `max` connections.
    pub fn connections_of(
        &self,
        source: Source,
        now: u32,
        max: usize,
    ) -> Result<(Vec<OpenConnection>, u64), std::collections::TryReserveError> {
        let mut list = Vec::new();
        let slots = self.slots_of_all_scopes(source);
        let mut oldest = std::collections::BinaryHeap::new();
        let room = max.min(self.first_untracked());
        oldest.try_reserve(room.saturating_add(1))?;
        let mut found = 0;
        for seen in self.open_connections() {
            let Some(cell) = Token::from_bits(seen.cell) else {
                continue;
            };
            let mut slots = slots.iter().flatten();
            if !slots.any(|at| cell.is_in(at.slot, at.control.epoch())) {
                continue;
            }
            found += 1;
            let descriptor = seen.token.descriptor();
            let key = (age(seen, now), core::cmp::Reverse(descriptor));
            oldest.push(core::cmp::Reverse((key, seen.facts.bits())));
            if oldest.len() > room {
                oldest.pop();
            }
        }
        list.try_reserve_exact(oldest.len())?;
        let sorted = oldest.into_sorted_vec().into_iter();
        list.extend(sorted.map(
            |core::cmp::Reverse(((age, descriptor), facts))| OpenConnection {
                descriptor: descriptor.0,
                age,
                facts: Facts::of_record(facts),
            },
        ));
        Ok((list, found))
    }

    /// The slots of the address without a scope and on each listener.
    fn slots_of_all_scopes(&self, source: Source) -> [Option<SlotRef>; ALL_SCOPES] {
        let table = self.table();
        let mut slots = [None; ALL_SCOPES];
        slots[0] = table.find(source);
        if self.prefixes.leave_room_for_scopes() {
            for (number, slot) in (0..).zip(&mut slots).skip(1) {
                let scope = Scope::of_listener(number);
                *slot = scope.and_then(|scope| table.find(source.in_scope(scope)));
            }
        }
        slots
    }

    fn require_trust(&self) -> Result<(), TrustError> {
        match self.has_trust() {
            true => Ok(()),
            false => Err(TrustError::Off),
        }
    }

    /// The record of the open connection that `token` names, and the trusted connections
    /// of its source.
    fn connection_to_trust(
        &self,
        token: ConnectionToken,
    ) -> Result<(Seen, Trusted<'_>), TrustError> {
        self.require_trust()?;
        let seen = self.look(token).ok_or(TrustError::Gone)?;
        let trusted = self.trusted_of_cell(seen.cell).ok_or(TrustError::Gone)?;
        Ok((seen, trusted.2))
    }

    /// The source that has a connection in this cell, its slot, and its trusted connections.
    /// `None` if it lost the slot, since the connection is closed.
    pub(super) fn trusted_of_cell(&self, cell: u64) -> Option<(Source, Owner, Trusted<'_>)> {
        let (slot, _, epoch) = Token::from_bits(cell)?.parts()?;
        if !self.table().in_use_since(slot, epoch) {
            return None;
        }
        let (source, at) = self.table().source_at(slot)?;
        if at.control.epoch() != epoch {
            return None;
        }
        let owner = Owner::of(self.table(), source, at);
        Some((source, owner, self.trusted_at(owner, at)?))
    }

    /// The trusted connections of `owner`, which has the slot `at`. `None` without trust.
    pub(crate) fn trusted_at(&self, owner: Owner, at: SlotRef) -> Option<Trusted<'_>> {
        let words = self.region.trusted();
        Trusted::new(self.table(), words, at, owner.restraint_tag())
    }

    /// How many of the `connections` of `owner` are trusted.
    pub(crate) fn count_trusted(&self, owner: Owner, at: SlotRef, connections: u32) -> u32 {
        let trusted = self.trusted_at(owner, at);
        trusted.map_or(0, |trusted| trusted.count().min(connections))
    }

    /// Releases the trust of a connection that closes, before its cell is released: until
    /// then its source keeps the slot. So for a moment the source has one more untrusted
    /// connection, and another process that accepts may reject one that would fit.
    #[cold]
    #[inline(never)]
    pub(super) fn release_trust(&self, cell: u64) {
        if let Some((_, _, trusted)) = self.trusted_of_cell(cell) {
            trusted.subtract(trusted.round());
        }
    }

    /// Must be called when `source` opened the first connection in the cell of a row: drops
    /// what killed processes left of earlier ones.
    pub(super) fn begin_trust(&self, source: Source, at: SlotRef) {
        let owner = Owner::of(self.table(), source, at);
        if let Some(trusted) = self.trusted_at(owner, at) {
            // The rows of this moment: others may have been entered.
            let is_only_one = || {
                let now = self.table().held(at);
                now.is_some_and(|at| self.rows().sum(at.slot, at.control.rows()) <= 1)
            };
            trusted.drop_rest(is_only_one);
        }
    }

    /// Looks whether an open connection was trusted in time, at the time `now` of the host
    /// clock. If it was not, that is counted once, or once more with `again`. `None` if it is
    /// closed, or there is no time.
    pub(crate) fn time_out(
        &self,
        worker: Worker,
        seen: Seen,
        now: u32,
        again: bool,
    ) -> Option<InTime> {
        let tally = self.tally(worker);
        let number = match self.mode() {
            Mode::Enforce => &tally.trust_timeouts,
            Mode::Monitor => &tally.would_trust_timeout,
            Mode::Off => return None,
        };
        let timeout = self.trust_timeout();
        if seen.facts.include(Facts::TRUSTED) || timeout == 0 {
            return None;
        }
        let is_known = seen.facts.include(Facts::EXPIRED);
        // None is closed too early: the clock of the records counts whole seconds, and is a second
        // behind, or a little more if the background process is late.
        let late =
            (age(seen, now) >= timeout.saturating_add(3)).then(|| self.source_to_time_out(seen));
        let Some(source) = late.flatten() else {
            if is_known {
                // The time or a rule has changed. If the connection is closed, there is nothing
                // to change.
                let _ = self.connections().change(seen.token, Facts::EXPIRED, false);
            }
            return Some(InTime::Yes);
        };
        let is_new = self
            .connections()
            .change(seen.token, Facts::EXPIRED, true)?;
        if !is_new && !again {
            return Some(InTime::Known);
        }
        // Relaxed (statistics).
        number.fetch_add(1, Ordering::Relaxed);
        Some(InTime::New(source))
    }

    /// The source of a connection, unless a rule trusts it.
    fn source_to_time_out(&self, seen: Seen) -> Option<Source> {
        let (source, owner, _) = self.trusted_of_cell(seen.cell)?;
        let (_, terms) = self.terms_of_source(source, owner);
        (!terms.trusted).then_some(source)
    }
}

/// Seconds since the connection opened. A clock that is read in another process may be a
/// second behind.
pub(crate) fn age(seen: Seen, now: u32) -> u32 {
    (now.wrapping_sub(seen.opened_at) as i32)
        .max(0)
        .unsigned_abs()
}
