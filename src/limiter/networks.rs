// SPDX-License-Identifier: GPL-2.0-or-later
//! The second scope of a connection: the network of its source, with a limit and a rate of
//! its own.
//!
//! A network is a source in the scope [`Scope::NETWORK`](crate::source::Scope::NETWORK), so
//! it has a slot, rows and details like any other, and the same gates ask for its rule. A
//! connection must pass the gates of its source and then those of its network. It is counted
//! in both, or in neither: the network is counted first, and given back if the source
//! does not admit the connection. The record of the connection says that there is a second
//! cell, see [`Token`], and an array by descriptor has that cell.
//!
//! The rule of an address can keep it out of its network. Such a connection counts in its
//! source only, also after the rule has gone.
//!
//! # If a process is killed in between
//!
//! It leaves one connection counted in the source, the network, or both, as without
//! networks.

#![forbid(unsafe_code)]

use core::cell::OnceCell;
use core::ffi::c_int;

use super::load::Scarcity;
use super::{Limiter, NotConnected, NotCounted, Rejection, StaleToken, Token, Worker};
use crate::policy::network_settings::NetworkSettings;
use crate::policy::settings::{Mode, Switches};
use crate::policy::terms::Rate;
use crate::shared::sync::Ordering;
use crate::source::Source;
use crate::table::connections::{ConnectionToken, Facts, Record, Taken};
use crate::table::details::Owner;
use crate::table::{ClaimError, SlotRef};

/// A network in which a connection was counted.
pub(super) struct Counted {
    pub(super) cell: Token,
    at: SlotRef,
    /// Microseconds that it was charged.
    charged: u64,
}

impl Limiter {
    /// The network of `source`; `None` if networks are not counted.
    #[inline]
    pub fn network(&self, source: Source) -> Option<Source> {
        source.network(self.prefixes)
    }

    /// The limit of networks without a rule; 0: no limit.
    pub fn network_limit(&self) -> i32 {
        self.network_settings().limit()
    }

    /// Changes the limit of networks without a rule; 0 or less means no limit. It has an
    /// effect only if networks are counted, as has [`set_network_rate`](Self::set_network_rate).
    pub fn set_network_limit(&self, limit: i32) {
        self.network_settings().set_limit(limit);
    }

    /// The rate of networks without another one.
    pub fn network_rate(&self) -> Rate {
        self.network_settings().rate()
    }

    /// Changes the rate of networks without another one.
    pub fn set_network_rate(&self, rate: Rate) {
        self.network_settings().set_rate(rate);
    }

    /// The rate of a source or network whose rule has none of its own.
    pub fn default_rate(&self, source: Source) -> Rate {
        match source.is_network() {
            true => self.network_rate(),
            false => self.rate(),
        }
    }

    #[inline]
    pub(crate) fn network_settings(&self) -> NetworkSettings<'_> {
        NetworkSettings::of(&self.region)
    }

    /// The check of a connection if the mode is off, sources may have a rate, the load of the
    /// host or other nodes matter, or networks are counted.
    #[inline(never)]
    pub(super) fn check_unusual(
        &self,
        source: Source,
        address: &[u8],
        switches: Switches,
    ) -> Result<(), Rejection> {
        if switches.is_off() {
            return Ok(());
        }
        let scarcity = self.scarcity();
        self.check_with_scarcity(source, address, switches, scarcity)
    }

    /// Asks all gates while `scarcity` applies to all sources.
    #[inline(always)]
    pub(super) fn check_with_scarcity(
        &self,
        source: Source,
        address: &[u8],
        switches: Switches,
        scarcity: Scarcity,
    ) -> Result<(), Rejection> {
        if let Some(network) = self.network(source) {
            self.check_with_network(source, address, network, switches)?;
            // The reserve, pressure and the cluster come after the network.
            if scarcity == Scarcity::NONE && !switches.has_cluster() {
                return Ok(());
            }
        }
        match switches.has_cluster() {
            true => self.check_in_cluster(source, address, switches, scarcity),
            false => self.check_under(source, address, switches, scarcity, switches.has_rates()),
        }
    }

    /// Asks the gates of a source and then those of its network, while there are connections
    /// for all.
    #[inline(always)]
    fn check_with_network(
        &self,
        source: Source,
        address: &[u8],
        network: Source,
        switches: Switches,
    ) -> Result<(), Rejection> {
        let table = self.table();
        // Both before either decides: the cache lines of both are then fetched at once.
        let (buckets, network_buckets) = (table.pair_of(source), table.pair_of(network));
        table.fetch(buckets, switches.has_rates());
        table.fetch(network_buckets, switches.has_network_rates());
        let at = table.find_among(buckets, source);
        let network_at = table.find_among(network_buckets, network);
        let checked_from = self.settings().checked_from();
        match at {
            Some(at) => {
                let connections = table.connections(at);
                // No count is negative, here and below.
                if (connections as u32) < checked_from
                    && (!at.control.remembers()
                        || self.owes_little(source, at, switches, self.rate()))
                {
                    self.hints.set(at.slot);
                } else {
                    self.check_gates(source, address, at, connections, Scarcity::NONE)?;
                }
            }
            None => self.check_new(source, address, checked_from, Scarcity::NONE)?,
        }
        if let Some(at) = network_at {
            let connections = table.connections(at);
            let checked_from = self.network_settings().checked_from();
            if (connections as u32) < checked_from
                && (!at.control.remembers()
                    || self.owes_little(network, at, switches, self.network_rate()))
            {
                self.network_hints.set(at.slot);
                return Ok(());
            }
        }
        self.check_network(source, address, network, network_at)
    }

    /// Asks the gates of a network, which had the slot `at`.
    #[inline(never)]
    fn check_network(
        &self,
        source: Source,
        address: &[u8],
        network: Source,
        mut at: Option<SlotRef>,
    ) -> Result<(), Rejection> {
        let counts = || self.counts_in_network(source, address);
        while let Some(found) = at {
            let connections = self.table().connections(found);
            match self.first_closed_gate_of_network(network, found, connections) {
                None => {
                    self.network_hints.set(found.slot);
                    return Ok(());
                }
                Some(_) if !counts() => return Ok(()),
                // Before rejecting, confirm that the numbers were those of this network.
                Some(rejected) if self.table().held(found).is_some() => {
                    return Err(Rejection::of_network(rejected));
                }
                // Another source took the slot meanwhile.
                Some(_) => at = self.table().find(network),
            }
        }
        match self.check_room(network) {
            Err(rejection) if counts() => Err(rejection),
            _ => Ok(()),
        }
    }

    /// Whether a connection from `address`, or from its source, counts in its network: no
    /// rule keeps it out.
    #[inline]
    pub(super) fn counts_in_network(&self, source: Source, address: &[u8]) -> bool {
        !self.network_settings().has_exceptions() || !self.is_excepted(source, address)
    }

    #[cold]
    fn is_excepted(&self, source: Source, address: &[u8]) -> bool {
        let of_host = self.terms_of_host(address, source.scope());
        let terms = match (of_host, self.table().find(source)) {
            (Some((_, terms)), _) => terms,
            (None, Some(at)) => {
                let owner = Owner::of(self.table(), source, at);
                self.terms_of_source(source, owner).1
            }
            (None, None) => self.rulebook().resolve(source).1,
        };
        !terms.count_in_network()
    }

    /// As [`connect`](Self::connect) if a connection may belong to a listener with rules, be
    /// trusted, or count in a network, perhaps with rates. If sources may have a rate and
    /// nothing else is unusual, `connect` counts it without this call.
    #[inline(never)]
    pub(super) fn connect_unusual(
        &self,
        worker: Worker,
        record: Record<'_>,
        source: Source,
        address: &[u8],
        facts: Facts,
        limit: i32,
    ) -> Result<ConnectionToken, NotConnected> {
        let network = self.network(source);
        let present = OnceCell::new();
        let counted = match network.filter(|_| self.counts_in_network(source, address)) {
            Some(network) => self.open_network(worker, network, limit, &present)?,
            None => None,
        };
        let cell = match (
            self.count(worker, source, address, limit, &present),
            counted,
        ) {
            (Ok(cell), None) => cell,
            (Ok(cell), Some(counted)) => {
                // The cell of its network is read when the previous connection is released.
                if record.token().is_some() {
                    self.forget_connection(worker, record.descriptor());
                }
                match self.network_cell(record.descriptor()) {
                    Some(word) => {
                        // Relaxed: published with the record.
                        word.store(counted.cell.to_bits(), Ordering::Relaxed);
                        cell.with_network()
                    }
                    // Never, as there is a record.
                    None => cell,
                }
            }
            (Err(reason), counted) => {
                if let (Some(counted), Some(network)) = (counted, network) {
                    self.give_back(network, &counted);
                }
                return Err(reason.into());
            }
        };
        Ok(self.open_record(worker, record, cell, facts))
    }

    /// Counts a connection of `network`, and charges it. `None` if the table has no slot for
    /// it.
    ///
    /// With a `limit` of its source above 0 the connection is counted only if the network
    /// is then within its own limit and rate, except in monitor mode and in the mode off.
    #[inline(always)]
    pub(super) fn open_network(
        &self,
        worker: Worker,
        network: Source,
        limit: i32,
        present: &OnceCell<u64>,
    ) -> Result<Option<Counted>, NotCounted> {
        let (table, rows) = (self.table(), self.rows());
        let enforces = limit > 0 && self.mode() == Mode::Enforce;
        loop {
            let at = match table.live_at(self.network_hints.get(), network, worker.0) {
                Some(at) if !table.is_crowded(at) => at,
                _ => match self.claim_network(worker, network) {
                    Some(at) => at,
                    None => return Ok(None),
                },
            };
            rows.add(worker.0, at.slot);
            let Some(at) = table.held(at) else {
                rows.release(worker.0, at.slot);
                continue;
            };
            let over_limit = enforces && self.is_over_limit(network, at);
            let switches = self.settings().switches();
            let charged = match switches.has_network_rates() {
                true if !over_limit => {
                    self.charge(network, &[], at, (switches, self.network_rate()), present)
                }
                _ => Some(0),
            };
            if over_limit || enforces && charged.is_none() {
                rows.release(worker.0, at.slot);
                return Err(NotCounted::OverNetwork);
            }
            return Ok(Some(Counted {
                cell: Token::new(at.slot, worker.0, at.control.epoch()),
                at,
                charged: charged.unwrap_or(0),
            }));
        }
    }

    /// The slot of a network, or a new one for it; `None` if the table has no slot for it.
    #[inline(never)]
    fn claim_network(&self, worker: Worker, network: Source) -> Option<SlotRef> {
        let event = |event| self.note_event(worker, network, event);
        match self.table().find_or_claim(network, worker.0, &event) {
            Ok(at) => Some(at),
            Err(ClaimError::Full | ClaimError::Contended) => {
                // Relaxed (statistics).
                let uncounted = &self.tally(worker).network_uncounted;
                uncounted.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    #[cold]
    fn is_over_limit(&self, network: Source, at: SlotRef) -> bool {
        let owner = Owner::of(self.table(), network, at);
        let (_, terms) = self.terms_of_source(network, owner);
        terms.limit > 0 && self.table().connections(at) > terms.limit
    }

    /// Takes back what [`open_network`](Self::open_network) did.
    #[cold]
    pub(super) fn give_back(&self, network: Source, counted: &Counted) {
        let Counted { cell, at, charged } = *counted;
        if charged > 0 {
            // The connection is still counted, so the network keeps the slot.
            let owner = Owner::of(self.table(), network, at);
            self.restraints(owner, at).refund(self.micros(), charged);
        }
        if let Some((slot, row, _)) = cell.parts() {
            self.rows().release(row, slot);
        }
    }

    /// Releases a connection that is counted in a network, was trusted or moved, or carried
    /// no message. If it still has its `descriptor`, the cell of its network need not have been
    /// read before. Returns all that is known of it.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] in damaged memory only.
    #[inline(never)]
    pub(super) fn release_unusual(
        &self,
        worker: Worker,
        mut cell: u64,
        mut facts: Facts,
        mut network: u64,
        mut descriptor: Option<c_int>,
    ) -> Result<Facts, StaleToken> {
        if facts.include(Facts::MOVED)
            && let Some(descriptor) = descriptor.take()
        {
            let taken = self.take_moved(
                descriptor,
                Taken {
                    cell,
                    network,
                    facts,
                },
            );
            Taken {
                cell,
                network,
                facts,
            } = taken;
        }
        let release = |cell: Token| {
            let parts = cell.parts();
            parts.is_some_and(|(slot, row, _)| self.rows().release(row, slot))
        };
        let Some(cell) = Token::from_bits(cell) else {
            return Err(self.note_stale(worker));
        };
        if !facts.are_usual() {
            facts = self.close_unusual(worker, cell, facts);
        }
        if let (true, Some(descriptor)) = (cell.has_network(), descriptor) {
            network = self.read_network_cell(descriptor);
        }
        let network = Token::from_bits(network).filter(|_| cell.has_network());
        // Both, also if one fails.
        let released = release(cell) & network.map_or(!cell.has_network(), release);
        match released {
            true => Ok(facts),
            false => Err(self.note_stale(worker)),
        }
    }

    /// The record that was taken, with all cells in which the connection is counted.
    #[inline]
    pub(super) fn with_cells(&self, descriptor: c_int, taken: Taken) -> Taken {
        if taken.facts.include(Facts::MOVED) {
            return self.take_moved(descriptor, taken);
        }
        let has_network = Token::from_bits(taken.cell).is_some_and(Token::has_network);
        match has_network {
            true => Taken {
                network: self.read_network_cell(descriptor),
                ..taken
            },
            false => taken,
        }
    }

    /// In which cell of its network the connection of a descriptor counts. Its record was
    /// open.
    pub(super) fn read_network_cell(&self, descriptor: c_int) -> u64 {
        // Relaxed: published with the record.
        let cell = self.network_cell(descriptor);
        cell.map_or(0, |cell| cell.load(Ordering::Relaxed))
    }

    /// Whether the connection of a descriptor is counted in its network. Any process may ask.
    pub fn counts_network_of(&self, descriptor: c_int) -> bool {
        let seen = self.look_at(descriptor);
        let cell = seen.and_then(|seen| Token::from_bits(seen.cell));
        cell.is_some_and(Token::has_network)
    }

    fn network_cell(&self, descriptor: c_int) -> Option<&crate::shared::sync::AtomicU64> {
        // A negative number becomes one that is too high.
        self.region.network_cells().get(descriptor as u32 as usize)
    }
}
