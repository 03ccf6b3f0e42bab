// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections that count for another source than the one that opened them.
//!
//! Behind a proxy all connections have the address of the proxy. The script of the server
//! knows the address of the client, for example from a header of the WebSocket handshake, and
//! [moves](Limiter::count_for) the connection to the count of that source: it is checked and
//! counted there, also in the network of that source if networks are counted, and released from
//! where it was counted before. Only a connection from a proxy can be moved, which is one whose
//! rule says so. No other client can name a victim.
//!
//! The worker that processes the message moves the connection, while TCP main may close it and
//! accept another one with the same descriptor. One exchange of one word decides, see
//! [`table::moved`](crate::table::moved), and TCP main waits for nothing.
//!
//! # If a process is killed in between
//!
//! It leaves at most one connection too many: in the new source before the exchange, or in the
//! previous one after it, and the same in their networks. Never one too few, because the table
//! could then give the slot of a source with connections away.

#![forbid(unsafe_code)]

use core::cell::OnceCell;
use core::ffi::c_int;
use core::fmt;

use super::accounting::Moving;
use super::gates::{Reason, Rejection};
use super::networks::Counted;
use super::{CreateError, CreateFault, Limiter, NotCounted, Token, Worker};
use crate::policy::settings::Mode;
use crate::policy::terms::Terms;
use crate::shared::sync::Ordering;
use crate::source::{PrefixLengths, Source};
use crate::table::connections::{ConnectionToken, Facts, Seen, Taken};
use crate::table::moved::{CellWord, Moved};

/// How often a move is tried, if other processes count connections of the new source at the
/// same moment.
const ATTEMPTS: u32 = 16;

/// Why a connection was not moved. It counts where it did before.
#[derive(Clone, Copy, Debug)]
pub enum MoveError {
    /// The limiter was created without moves.
    Off,
    /// It is closed, or is not counted.
    Gone,
    /// Its address has no rule for proxies.
    NotProxy,
    /// The address of the client is invalid.
    Address,
    /// Another process moves it at this moment, or was killed while it did.
    Busy,
    /// The table has no slot for the new source.
    Full,
    /// A gate does not admit the new source or its network. The rejection is counted.
    Rejected(Rejection),
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MoveError::Off => {
                "no connection can be counted for another address, because the server started \
                 without a rule with the word `proxy`; write one and restart the server"
            }
            MoveError::Gone => "the connection is closed, or is not counted",
            MoveError::NotProxy => {
                "the connection is not from a proxy; write a rule with the word `proxy` for its \
                 address"
            }
            MoveError::Address => "invalid address of the client",
            MoveError::Busy => "the connection is being moved by another process",
            MoveError::Full => "the table has no slot for the address of the client",
            MoveError::Rejected(_) => "the source of the client is not admitted",
        })
    }
}

impl std::error::Error for MoveError {}

/// Where a connection is counted: the cell of its source, and that of its network or 0.
#[derive(Clone, Copy)]
struct Cells {
    source: u64,
    network: u64,
}

impl Limiter {
    /// As [`new`](Self::new), or as [`with_trust`](Self::with_trust) if `trust`, for connections
    /// that can be moved. This takes 8 bytes more for each descriptor, 24 if networks are counted.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn with_moves(
        max_connections: u32,
        limit: i32,
        prefixes: PrefixLengths,
        trust: bool,
    ) -> Result<Limiter, CreateError> {
        let geometry = Self::geometry(max_connections, prefixes)?.with_moves();
        let geometry = match trust {
            true => geometry.with_trust(),
            false => geometry,
        };
        Self::with_geometry(geometry, max_connections, limit, prefixes)
            .map_err(|error| CreateError(CreateFault::Region(error)))
    }

    /// Counts the connection that `token` names, which `peer` opened, for `client` from now
    /// on, if a connection of `client` would be admitted: its source and network must not be
    /// banned and must be within their limits and rates, and the untrusted limit and pressure
    /// apply. The reserve does not, because the connection is open already. In monitor mode a
    /// rejection is counted, and the connection is moved nevertheless.
    ///
    /// If the connection is counted on a listener with rules, so it is for `client`. Its trust
    /// moves with it. The rate of `client` is charged, and that of `peer` stays charged. May be
    /// called again for another client of the same proxy. If `client` already counts there,
    /// nothing changes.
    ///
    /// Both addresses are in network byte order; `worker` is the one that calls.
    ///
    /// # Errors
    ///
    /// [`MoveError`], and the connection counts where it did before.
    pub fn count_for(
        &self,
        worker: Worker,
        token: ConnectionToken,
        peer: &[u8],
        client: &[u8],
    ) -> Result<(), MoveError> {
        let moved = Moved::of(&self.region, token.descriptor());
        let moved = moved.ok_or(match self.has_moves() {
            true => MoveError::Gone,
            false => MoveError::Off,
        })?;
        let client_source = self.source(client).ok_or(MoveError::Address)?;
        let seen = self.look(token).ok_or(MoveError::Gone)?;
        let present = self.source_of_cell(seen.cell).ok_or(MoveError::Gone)?;
        if !self.may_move(seen, present, peer) {
            return Err(MoveError::NotProxy);
        }
        let source = match present.scope() {
            Some(scope) => client_source.in_scope(scope),
            None => client_source,
        };
        if source == present {
            return Ok(());
        }
        match self.connections().change(token, Facts::MOVING, true) {
            Some(true) => {}
            Some(false) => return Err(MoveError::Busy),
            None => return Err(MoveError::Gone),
        }
        let done = self.move_to(worker, token, moved, source, client);
        // If it is closed, there is nothing to change.
        let _ = self.connections().change(token, Facts::MOVING, false);
        done
    }

    /// Whether connections can be moved.
    pub fn has_moves(&self) -> bool {
        !self.region.moved().0.is_empty()
    }

    /// Counts a move that the script asked for in vain.
    pub fn note_invalid_move(&self, worker: Worker) {
        // Relaxed (statistics).
        let invalid = &self.tally(worker).move_invalid;
        invalid.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether `peer` is a proxy, and the connection was opened by it.
    fn may_move(&self, seen: Seen, present: Source, peer: &[u8]) -> bool {
        let Some(source) = self.source(peer) else {
            return false;
        };
        let source = match present.scope() {
            Some(scope) => source.in_scope(scope),
            None => source,
        };
        // The record of a connection that was moved no longer says who opened it. It was the
        // peer, or it would not have been moved.
        let is_its_own = seen.facts.include(Facts::MOVED) || source == present;
        is_its_own && self.terms_of_address(source, peer).proxy
    }

    /// What `address` may do, which `source` is the source of.
    fn terms_of_address(&self, source: Source, address: &[u8]) -> Terms {
        let of_host = self.terms_of_host(address, source.scope());
        let (_, terms) = of_host.unwrap_or_else(|| self.rulebook().resolve(source));
        terms
    }

    /// Moves a connection to `source`, for the process that has marked it.
    fn move_to(
        &self,
        worker: Worker,
        token: ConnectionToken,
        moved: Moved<'_>,
        source: Source,
        client: &[u8],
    ) -> Result<(), MoveError> {
        self.admit_client(worker, source, client)?;
        let before = self.begin_move(token, moved).ok_or(MoveError::Gone)?;
        let cells = self.count_client(worker, source, client)?;
        match self.exchange(token, moved, before, cells) {
            Some(left) => {
                self.release_cells(worker, left);
                // Relaxed (statistics).
                self.tally(worker).moved.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            None => {
                self.release_cells(worker, cells);
                Err(MoveError::Gone)
            }
        }
    }

    /// Makes the connection one whose cell is in the word of its descriptor, if it is not one
    /// already. Returns what the word says; `None` if the connection is closed.
    fn begin_move(&self, token: ConnectionToken, moved: Moved<'_>) -> Option<CellWord> {
        let connections = self.connections();
        loop {
            let seen = connections.look(token)?;
            if seen.facts.include(Facts::MOVED) {
                return moved.look(token);
            }
            let trusted = seen.facts.include(Facts::TRUSTED);
            let cell = Token::from_bits(seen.cell)?;
            let network = match cell.has_network() {
                true => self.read_network_cell(token.descriptor()),
                false => 0,
            };
            let word = CellWord::new(token, cell, trusted);
            moved.prepare(connections, token, word, network)?;
            if connections.begin_moved(token, trusted)? {
                return moved.look(token);
            }
        }
    }

    /// Checks whether `source` may have another connection, which is from `client`.
    fn admit_client(&self, worker: Worker, source: Source, client: &[u8]) -> Result<(), MoveError> {
        match self.check_open(source, client) {
            Err(rejection) if self.move_rejected(worker, rejection) => {
                Err(MoveError::Rejected(rejection))
            }
            _ => Ok(()),
        }
    }

    /// Counts a connection of `client`, whose source is `source` and was admitted.
    fn count_client(
        &self,
        worker: Worker,
        source: Source,
        client: &[u8],
    ) -> Result<Cells, MoveError> {
        for _ in 0..ATTEMPTS {
            // Other workers may count connections of this source at the same moment, so the
            // limit must also hold once this one is counted.
            let limit = match self.mode() {
                Mode::Enforce => match self.terms_of_address(source, client).limit {
                    limit @ 1.. => limit,
                    _ => i32::MAX,
                },
                Mode::Monitor | Mode::Off => 0,
            };
            match self.count_in_both(worker, source, client, limit) {
                Ok(cells) => return Ok(cells),
                Err(NotCounted::TableFull) => return Err(MoveError::Full),
                // Then the check also rejects it, unless one of the others has given up.
                Err(NotCounted::OverLimit | NotCounted::OverRate | NotCounted::OverNetwork) => {
                    self.admit_client(worker, source, client)?;
                }
            }
        }
        let rejection = Rejection(Reason::OverGiven);
        self.move_rejected(worker, rejection);
        Err(MoveError::Rejected(rejection))
    }

    /// Counts a rejection, as [`rejected`](Self::rejected) does.
    fn move_rejected(&self, worker: Worker, rejection: Rejection) -> bool {
        let stays = self.rejected(worker, rejection);
        let tally = self.tally(worker);
        let number = match stays {
            true => &tally.move_rejected,
            false => &tally.move_would_reject,
        };
        // Relaxed (statistics).
        number.fetch_add(1, Ordering::Relaxed);
        stays
    }

    /// Counts a connection of `client` in its source and its network.
    fn count_in_both(
        &self,
        worker: Worker,
        source: Source,
        client: &[u8],
        limit: i32,
    ) -> Result<Cells, NotCounted> {
        let network = self.network(source);
        let network = network.filter(|_| self.counts_in_network(source, client));
        let present = OnceCell::new();
        let counted: Option<Counted> = match network {
            Some(network) => self.open_network(worker, network, limit, &present)?,
            None => None,
        };
        match self.find_and_count(worker, source, client, limit, Moving(&present)) {
            Ok(cell) => Ok(Cells {
                source: cell.to_bits(),
                network: counted.map_or(0, |counted| counted.cell.to_bits()),
            }),
            Err(reason) => {
                if let (Some(network), Some(counted)) = (network, counted) {
                    self.give_back(network, &counted);
                }
                Err(reason)
            }
        }
    }

    /// Replaces the word of a connection, which was `before`, by `cells`. Returns the cells that it
    /// has left, whose trust is released; `None` if the connection is closed.
    fn exchange(
        &self,
        token: ConnectionToken,
        moved: Moved<'_>,
        mut before: CellWord,
        cells: Cells,
    ) -> Option<Cells> {
        let connections = self.connections();
        let cell = Token::from_bits(cells.source)?;
        let mut next = CellWord::new(token, cell, false);
        if cells.network != 0 {
            next = moved.write_network(connections, token, next, cells.network)?;
        }
        // In the new source the connection is trusted before it is there, and in the previous
        // one until it has left, see `table::trusted`.
        let mut added = None;
        let trusted = |cell: u64| self.trusted_of_cell(cell).map(|found| found.2);
        loop {
            if before.is_trusted() && added.is_none() {
                added = trusted(cells.source).and_then(|trusted| trusted.add());
            }
            let next = next.with_trust(before.is_trusted());
            match moved.exchange(token, before, next) {
                Ok(()) => break,
                // Another process has trusted it, or taken that back.
                Err(Some(now)) => before = now,
                Err(None) => {
                    if let (Some(trusted), Some(round)) = (trusted(cells.source), added) {
                        trusted.subtract(round);
                    }
                    return None;
                }
            }
        }
        match (before.is_trusted(), added) {
            (true, _) => self.release_trust(before.cell()),
            (false, Some(round)) => {
                if let Some(trusted) = trusted(cells.source) {
                    trusted.subtract(round);
                }
            }
            (false, None) => {}
        }
        Some(Cells {
            source: before.cell(),
            network: moved.network(before),
        })
    }

    fn release_cells(&self, worker: Worker, cells: Cells) {
        for cell in [cells.network, cells.source] {
            let parts = Token::from_bits(cell).and_then(Token::parts);
            if let Some((slot, row, _)) = parts
                && !self.rows().release(row, slot)
            {
                // In damaged memory only.
                self.note_stale(worker);
            }
        }
    }

    /// What the record of a moved connection says that was taken, with the cells in which it
    /// is counted.
    #[cold]
    #[inline(never)]
    pub(super) fn take_moved(&self, descriptor: c_int, taken: Taken) -> Taken {
        let Some(moved) = Moved::of(&self.region, descriptor) else {
            // Never, as it was moved.
            return taken;
        };
        let word = moved.take();
        // What moved it has read a message of the client.
        let facts = taken.facts.without(Facts::MOVED | Facts::MOVING) | Facts::SPOKE;
        Taken {
            cell: word.cell(),
            network: moved.network(word),
            facts: match word.is_trusted() {
                true => facts | Facts::TRUSTED,
                false => facts,
            },
        }
    }

    /// An open connection, with the cell in which it is counted. `None` if it closed meanwhile.
    pub(super) fn with_cell(&self, seen: Seen) -> Option<Seen> {
        if !seen.facts.include(Facts::MOVED) {
            return Some(seen);
        }
        let word = Moved::of(&self.region, seen.token.descriptor())?.look(seen.token)?;
        let facts = seen.facts.without(Facts::MOVING);
        Some(Seen {
            cell: word.cell(),
            facts: match word.is_trusted() {
                true => facts | Facts::TRUSTED,
                false => facts,
            },
            ..seen
        })
    }

    /// The connection that `token` names, if it is open.
    pub(super) fn look(&self, token: ConnectionToken) -> Option<Seen> {
        let seen = self.connections().look(token)?;
        self.with_cell(seen)
    }

    /// The connection that is open with this descriptor.
    pub(super) fn look_at(&self, descriptor: c_int) -> Option<Seen> {
        let seen = self.connections().record(descriptor)?.look()?;
        self.with_cell(seen)
    }

    /// Each open connection. One that opens or closes meanwhile may be missing.
    pub(crate) fn open_connections(&self) -> impl Iterator<Item = Seen> + '_ {
        let seen = self.connections().all();
        seen.filter_map(|seen| self.with_cell(seen))
    }

    /// The source that has a connection in this cell.
    fn source_of_cell(&self, cell: u64) -> Option<Source> {
        let (slot, _, epoch) = Token::from_bits(cell)?.parts()?;
        let (source, at) = self.table().source_at(slot)?;
        (at.control.epoch() == epoch).then_some(source)
    }

    /// For whom the connection that `token` names is counted, if it was moved. Any process may
    /// ask.
    pub fn moved_to(&self, token: ConnectionToken) -> Option<Source> {
        let seen = self.look(token)?;
        let is_moved = seen.facts.include(Facts::MOVED);
        is_moved.then(|| self.source_of_cell(seen.cell))?
    }

    /// Makes the connection that was `seen` trusted, or untrusted. Returns whether that changed
    /// anything; `None` if it closed or moved meanwhile.
    pub(super) fn change_trust(&self, seen: Seen, add: bool) -> Option<bool> {
        let token = seen.token;
        if !seen.facts.include(Facts::MOVED) {
            let changed = self
                .connections()
                .change_unmoved(token, Facts::TRUSTED, add)?;
            let is_moved = || Some(self.look(token)?.facts.include(Facts::MOVED));
            return match changed {
                false if is_moved()? => None,
                changed => Some(changed),
            };
        }
        let moved = Moved::of(&self.region, token.descriptor())?;
        let mut word = moved.look(token)?;
        while word.cell() == seen.cell {
            if word.is_trusted() == add {
                return Some(false);
            }
            match moved.exchange(token, word, word.with_trust(add)) {
                Ok(()) => return Some(true),
                Err(now) => word = now?,
            }
        }
        None
    }

    /// The gates for a connection that is open already: all but the reserve.
    fn check_open(&self, source: Source, address: &[u8]) -> Result<(), Rejection> {
        let switches = self.settings().switches();
        if switches.is_off() {
            return Ok(());
        }
        if source.scope().is_some() && switches.may_remember() {
            self.check_ban_of_address(source, address)?;
        }
        let scarcity = self.scarcity().of_open_connections();
        self.check_with_scarcity(source, address, switches, scarcity)
    }
}
