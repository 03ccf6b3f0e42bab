// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Limiter`]: decides whether a source may open one more connection
//! ([`check`](Limiter::check)), counts it when it opens ([`opened`](Limiter::opened)) and
//! releases it when it closes ([`closed`](Limiter::closed)). `connections` keeps a record of
//! each connection on top of that.
//!
//! The usual case is a source whose slot is found, and that is far from its limit. Its
//! code is inlined into the functions of the C ABI as a whole (`inline(always)`), and what
//! other cases need is called (`inline(never)`, `cold`). So the usual case keeps its values
//! in registers, which saves an eighth of its instructions (`make bench-instructions`).

#![forbid(unsafe_code)]

mod accounting;
pub mod cluster;
pub mod cluster_bans;
mod connections;
#[cfg(test)]
mod connections_tests;
mod gates;
mod listeners;
pub mod load;
mod moves;
mod networks;
#[cfg(test)]
mod networks_tests;
mod offences;
mod rules;
mod settings;
mod statistics;
mod token;
mod totals;
mod trust;
#[cfg(test)]
mod wraparound_tests;

pub use connections::NotConnected;
pub use gates::Rejection;
pub use moves::MoveError;
pub use offences::{BanError, MAX_BAN_SECONDS};
pub use token::{StaleToken, Token};
pub use totals::{Fault, Totals};
pub(crate) use trust::{InTime, age};
pub use trust::{OpenConnection, TrustError};

pub use crate::table::connections::{ConnectionToken, Facts};
pub use crate::table::details::RejectedFor;

use core::cell::OnceCell;
use core::fmt;
use std::io;

use crate::policy::cluster_settings::ClusterSettings;
use crate::policy::network_settings::NetworkSettings;
use crate::policy::penalties::Cause;
use crate::policy::rulebook::Rulebook;
use crate::policy::settings::{BanBounds, Mode, OnFull, Settings, Switches};
use crate::shared::clock::Clock;
use crate::shared::layout::{ACCEPTOR_ROW, Geometry, ROWS, Tally};
use crate::shared::process::OneThread;
use crate::shared::region::{OthersRegion, Region, RegionError};
use crate::shared::sync::{Ordering, Statistic64};
#[cfg(loom)]
use crate::source::NetworkLengths;
use crate::source::{Named, Nat64, PrefixLengths, Source, SourceError, read_source};
use crate::table::details::{Details, Owner, RejectedAt};
use crate::table::hash::SourceHash;
use crate::table::hint::Hints;
use crate::table::restraints::{Restraints, owed_something};
use crate::table::rows::Rows;
use crate::table::{ClaimError, Event, SlotRef, Table};
use accounting::Accounting;
use gates::{Reason, Rejected};
use load::{Load, Scarcity};

/// A worker of the server, as a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker(usize);

impl Worker {
    /// The worker that accepts connections. Its cells lie in the slots themselves, which
    /// makes it the fastest one.
    pub const ACCEPTOR: Worker = Worker(ACCEPTOR_ROW);

    /// Worker `number`; 0 is [`ACCEPTOR`](Self::ACCEPTOR). If there are more workers than
    /// rows, they share rows.
    pub fn new(number: u32) -> Worker {
        match number as usize {
            ACCEPTOR_ROW => Worker(ACCEPTOR_ROW),
            other => Worker(1 + (other - 1) % (ROWS - 1)),
        }
    }
}

/// Why a connection was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It would have exceeded the limit.
    OverLimit,
    /// Its source is over its rate.
    OverRate,
    /// The table has no slot for its source.
    TableFull,
    /// It would have exceeded the limit of its network, or that is over its rate.
    OverNetwork,
}

/// Why a limiter was not created. Its `Display` says the value or the system's error.
#[derive(Debug)]
pub struct CreateError(CreateFault);

#[derive(Debug)]
enum CreateFault {
    /// The number of connections is out of range.
    MaxConnections(u32),
    /// The system gave no memory.
    Region(RegionError),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            CreateFault::MaxConnections(value) => write!(
                f,
                "max_connections {value}: must be 1 to {}",
                Limiter::MAX_CONNECTIONS
            ),
            CreateFault::Region(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CreateError {}

/// A source with at least this many connections has its peak updated with each new
/// connection. Lower peaks are sampled ([`crate::observe::watch`]), so that the many
/// sources with few connections do not pay for it.
const BUSY: i32 = 8;

/// Counts connections by source, in memory shared by all processes forked from the one
/// that created it.
pub struct Limiter {
    region: Region,
    hash: SourceHash,
    prefixes: PrefixLengths,
    nat64: Nat64,
    max_connections: u32,
    hints: Hints,
    network_hints: Hints,
    clock: Clock,
    /// What the other nodes of the cluster have; `None`: there is no cluster.
    others: Option<OthersRegion>,
    /// Reads the load of the host.
    load: Option<fn() -> Load>,
    /// Admits one thread of this process at a time to publish rules.
    rules_gate: OneThread,
}

impl Limiter {
    /// The largest number of connections that a limiter can be sized for.
    pub const MAX_CONNECTIONS: u32 = Geometry::MAX_CONNECTIONS;

    /// A limiter sized for `max_connections` connections (1 to 100,000,000) at a time.
    /// With a `limit` of 0 or less, all connections are admitted. If `prefixes` have lengths
    /// of networks, these are also counted, which takes half as much memory again.
    ///
    /// # Errors
    ///
    /// If `max_connections` is out of range, or the system gives no memory.
    pub fn new(
        max_connections: u32,
        limit: i32,
        prefixes: PrefixLengths,
    ) -> Result<Limiter, CreateError> {
        let geometry = Self::geometry(max_connections, prefixes)?;
        Self::with_geometry(geometry, max_connections, limit, prefixes)
            .map_err(|error| CreateError(CreateFault::Region(error)))
    }

    /// The memory for `max_connections` connections, and for their networks if `prefixes` have
    /// lengths of these.
    fn geometry(max_connections: u32, prefixes: PrefixLengths) -> Result<Geometry, CreateError> {
        let geometry = Geometry::for_connections(max_connections)
            .ok_or(CreateError(CreateFault::MaxConnections(max_connections)))?;
        Ok(match prefixes.networks() {
            Some(_) => geometry.with_networks(),
            None => geometry,
        })
    }

    /// A limiter for loom, as [`with_buckets`](Self::with_buckets), whose connections can be
    /// trusted.
    #[cfg(loom)]
    pub fn with_buckets_and_trust(buckets: usize, limit: i32) -> Limiter {
        let geometry = Geometry::of_buckets(buckets).with_trust();
        match Self::with_geometry(geometry, 1, limit, PrefixLengths::DEFAULT) {
            Ok(limiter) => limiter,
            Err(error) => match error {},
        }
    }

    /// The same without a limit, whose connections can also be moved.
    #[cfg(loom)]
    pub fn with_buckets_and_moves(buckets: usize) -> Limiter {
        let geometry = Geometry::of_buckets(buckets).with_trust().with_moves();
        match Self::with_geometry(geometry, 1, 0, PrefixLengths::DEFAULT) {
            Ok(limiter) => limiter,
            Err(error) => match error {},
        }
    }

    /// A limiter for loom, with a table of `buckets` buckets.
    #[cfg(loom)]
    pub fn with_buckets(buckets: usize, limit: i32) -> Limiter {
        let geometry = Geometry::of_buckets(buckets);
        match Self::with_geometry(geometry, 1, limit, PrefixLengths::DEFAULT) {
            Ok(limiter) => limiter,
            Err(error) => match error {},
        }
    }

    /// The same, with networks of at most `network_limit` connections.
    #[cfg(loom)]
    pub fn with_networks_and_buckets(buckets: usize, network_limit: i32) -> Limiter {
        let geometry = Geometry::of_buckets(buckets).with_network_cells();
        let networks = PrefixLengths::DEFAULT.with_networks(NetworkLengths::DEFAULT);
        let prefixes = networks.unwrap_or(PrefixLengths::DEFAULT);
        match Self::with_geometry(geometry, 1, 0, prefixes) {
            Ok(limiter) => {
                limiter.set_network_limit(network_limit);
                limiter
            }
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
        let settings = Settings::of(&region);
        settings.init();
        let networks = NetworkSettings::of(&region);
        networks.init(prefixes.networks().is_some());
        ClusterSettings::of(&region).init();
        settings.set_limit(limit);
        settings.set_ban_bounds(BanBounds::default());
        if !region.trusted().is_empty() {
            settings.expect_trust();
        }
        Ok(Limiter {
            region,
            hash: SourceHash::new(),
            prefixes,
            nat64: Nat64::default(),
            max_connections,
            hints: Hints::default(),
            network_hints: Hints::default(),
            clock: Clock::new(),
            others: None,
            load: None,
            rules_gate: OneThread::new(),
        })
    }

    /// The same limiter, with prefixes behind which IPv4 clients arrive.
    pub fn with_nat64(self, nat64: Nat64) -> Limiter {
        Limiter { nat64, ..self }
    }

    /// The same limiter, with a clock for rates, penalties and bans that shows the
    /// microseconds that `read` returns. For tests.
    pub fn with_clock(self, read: fn() -> u64) -> Limiter {
        let clock = Clock::of(read);
        let limiter = Limiter { clock, ..self };
        limiter.read_clock();
        limiter
    }

    /// The translators whose clients count by their IPv4 address.
    pub fn nat64(&self) -> &Nat64 {
        &self.nat64
    }

    /// The source of an address in network byte order, 4 or 16 bytes. `None` for any
    /// other length.
    #[inline(always)]
    pub fn source(&self, address: &[u8]) -> Option<Source> {
        Source::translated(address, self.prefixes, &self.nat64)
    }

    /// The source that a text names.
    ///
    /// # Errors
    ///
    /// Why it does not name a source.
    pub fn read_source(&self, text: &str) -> Result<Named, SourceError> {
        read_source(text, self.prefixes, &self.nat64)
    }

    /// The address itself, as the source that it would be if each address were one.
    pub(crate) fn host(&self, address: &[u8]) -> Option<Source> {
        Source::translated(address, PrefixLengths::HOST, &self.nat64)
    }

    /// May `source` open one more connection, by its rule or the configured limit? Rules
    /// with a prefix longer than a source do not apply.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not, also in monitor mode. Then
    /// [`rejected`](Self::rejected) decides whether to close the connection.
    #[inline(always)]
    pub fn check(&self, source: Source) -> Result<(), Rejection> {
        self.check_from(source, &[])
    }

    /// As [`check`](Self::check), for a connection from `address` (network byte order),
    /// which `source` is the [`source`](Self::source) of. A rule with a prefix longer than
    /// a source applies if it contains the address.
    ///
    /// # Errors
    ///
    /// As for [`check`](Self::check).
    #[inline(always)]
    pub fn check_from(&self, source: Source, address: &[u8]) -> Result<(), Rejection> {
        let switches = self.settings().switches();
        if switches.is_unusual() {
            return match switches.is_only_rated() {
                true => self.check_rated(source, address, switches),
                false => self.check_unusual(source, address, switches),
            };
        }
        self.check_under(source, address, switches, Scarcity::NONE, false)
    }

    /// The check of a source if sources may have a rate and nothing else is unusual.
    #[inline(never)]
    fn check_rated(
        &self,
        source: Source,
        address: &[u8],
        switches: Switches,
    ) -> Result<(), Rejection> {
        self.check_under(source, address, switches, Scarcity::NONE, true)
    }

    /// The check of a source, without its network, while `scarcity` applies to all sources.
    /// The mode is not off. `with_details`: most sources owe something.
    #[inline(always)]
    fn check_under(
        &self,
        source: Source,
        address: &[u8],
        switches: Switches,
        scarcity: Scarcity,
        with_details: bool,
    ) -> Result<(), Rejection> {
        let settings = self.settings();
        let checked_from = scarcity.cap().lower(settings.checked_from());
        if checked_from > i32::MAX as u32
            && !scarcity.reserved
            && !switches.may_remember()
            && settings.on_full() == OnFull::Admit
        {
            return Ok(());
        }
        let table = self.table();
        if let Some(at) = table.find_for(source, with_details) {
            let connections = table.connections(at);
            // No count is negative.
            if (connections as u32) < checked_from
                && !scarcity.reserved
                && (!at.control.remembers() || self.owes_little(source, at, switches, self.rate()))
            {
                self.hints.set(at.slot);
                return Ok(());
            }
            return self.check_gates(source, address, at, connections, scarcity);
        }
        self.check_new(source, address, checked_from, scarcity)
    }

    /// May `source` open one more connection under `limit`? Rules and mode are ignored.
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
            let connections = table.connections(at);
            if connections < limit {
                break;
            }
            // Confirm before rejecting, as in `check_gates`.
            if table.held(at).is_some() {
                return Err(Rejection(Reason::OverGiven));
            }
        }
        Ok(())
    }

    /// Counts a rejection by `worker`, and charges it as an offence if it is one. Returns
    /// whether the connection must be closed: yes, except in monitor mode if the limit was
    /// not given by the caller.
    pub fn rejected(&self, worker: Worker, Rejection(reason): Rejection) -> bool {
        let close = self.mode() != Mode::Monitor || matches!(reason, Reason::OverGiven);
        let tally = self.tally(worker);
        // Relaxed (statistics), in the whole function.
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
            Reason::Network(rejected) => {
                count(&tally.network_rejected, &tally.network_would_reject);
                self.note_rejected(&rejected, close);
                // Networks without a rule have only the total.
                if !rejected.rule.is_default() {
                    self.rulebook().count(rejected.rule, close);
                }
            }
            Reason::BannedPrefix(rule) => {
                count(&tally.ban_rejected, &tally.ban_would_reject);
                self.rulebook().count(rule, close);
            }
            Reason::Reserved(rule) => {
                count(&tally.reserve_rejected, &tally.reserve_would_reject);
                self.rulebook().count(rule, close);
            }
            Reason::OnlyOthers { entry, rule } => {
                count(&tally.cluster_rejected, &tally.cluster_would_reject);
                self.rulebook().count(rule, close);
                self.count_for_others(entry, close);
            }
            Reason::Source(rejected) => {
                self.note_rejected(&rejected, close);
                let Rejected {
                    reason,
                    at,
                    owner,
                    rule,
                    exempt,
                    ..
                } = rejected;
                self.rulebook().count(rule, close);
                let offence = match reason {
                    RejectedFor::Ban => {
                        count(&tally.ban_rejected, &tally.ban_would_reject);
                        self.restraints(owner, at).count_rejected();
                        return close;
                    }
                    RejectedFor::Rate => {
                        count(&tally.rate_rejected, &tally.rate_would_reject);
                        Cause::Rate
                    }
                    RejectedFor::Limit => Cause::Rejected,
                    RejectedFor::Untrusted => {
                        count(&tally.untrusted_rejected, &tally.untrusted_would_reject);
                        Cause::Rejected
                    }
                    // That the host is full is not an offence of its source.
                    RejectedFor::Reserve => {
                        count(&tally.reserve_rejected, &tally.reserve_would_reject);
                        return close;
                    }
                    RejectedFor::Pressure => {
                        count(&tally.pressure_rejected, &tally.pressure_would_reject);
                        return close;
                    }
                    // What the other nodes say is not an offence.
                    RejectedFor::Cluster => {
                        count(&tally.cluster_rejected, &tally.cluster_would_reject);
                        return close;
                    }
                };
                if !exempt && self.settings().penalty(offence) > 0 {
                    self.offend(worker, owner, at, offence);
                }
            }
        }
        close
    }

    /// Counts a rejection in the details of its source or network.
    #[inline(always)]
    fn note_rejected(&self, rejected: &Rejected, close: bool) {
        let Rejected {
            reason,
            owner,
            connections,
            number,
            ..
        } = *rejected;
        let detail = self.details().own(owner);
        let rejections = if close {
            &detail.rejected
        } else {
            &detail.would_reject
        };
        // Relaxed (statistics), here and below.
        rejections.fetch_add(1, Ordering::Relaxed);
        let word = RejectedAt::word(number, reason);
        detail.rejected_at.store(word, Ordering::Relaxed);
        self.details().peak(owner, connections.unsigned_abs());
    }

    /// Counts a connection of `source` that `worker` opened.
    ///
    /// With a `limit` above 0 the connection is counted only if the source then has at
    /// most `limit` connections and is not over its rate. This holds among any number of
    /// workers. Two workers that race for the last connection within the limit may both be
    /// rejected. With a `limit` of 0 or less the connection is counted whenever the source
    /// has or gets a slot.
    ///
    /// A connection that is counted is charged to the rate of its source, except in monitor
    /// mode or with a `limit` of 0 or less one that is over the rate: it is admitted as if it
    /// had been rejected, so it costs nothing.
    ///
    /// # Errors
    ///
    /// [`NotCounted`], and there is nothing to release.
    #[inline(always)]
    pub fn opened(&self, worker: Worker, source: Source, limit: i32) -> Result<Token, NotCounted> {
        self.opened_from(worker, source, &[], limit)
    }

    /// As [`opened`](Self::opened), for a connection from `address` (network byte order),
    /// which `source` is the [`source`](Self::source) of. It is charged at the rate by which
    /// [`check_from`](Self::check_from) decides.
    ///
    /// # Errors
    ///
    /// As for [`opened`](Self::opened).
    #[inline(always)]
    pub fn opened_from(
        &self,
        worker: Worker,
        source: Source,
        address: &[u8],
        limit: i32,
    ) -> Result<Token, NotCounted> {
        self.count(worker, source, address, limit, &OnceCell::new())
    }

    /// As [`opened_from`](Self::opened_from). With [`Off`](accounting::Off) there must be no
    /// rates and no trust.
    #[inline(always)]
    fn count<A: Accounting>(
        &self,
        worker: Worker,
        source: Source,
        address: &[u8],
        limit: i32,
        accounting: A,
    ) -> Result<Token, NotCounted> {
        // The slot that the check of this connection found, in nearly all cases.
        let table = self.table();
        if let Some(at) = table.live_at(self.hints.get(), source, worker.0)
            && !table.is_crowded(at)
            && let Some(counted) =
                self.count_at(worker, source, address, (table, at), limit, accounting)
        {
            return counted;
        }
        self.find_and_count(worker, source, address, limit, accounting)
    }

    /// Counts a connection of a source that may not have a slot, or not the one that the
    /// hint names.
    #[inline(never)]
    fn find_and_count<A: Accounting>(
        &self,
        worker: Worker,
        source: Source,
        address: &[u8],
        limit: i32,
        accounting: A,
    ) -> Result<Token, NotCounted> {
        let table = self.table();
        loop {
            let event = |event| self.note_event(worker, source, event);
            let found = table.find_or_claim(source, worker.0, &event);
            let at = match found {
                Ok(at) => at,
                Err(ClaimError::Full | ClaimError::Contended) => {
                    // Relaxed (statistics).
                    self.tally(worker)
                        .table_full
                        .fetch_add(1, Ordering::Relaxed);
                    return Err(NotCounted::TableFull);
                }
            };
            if let Some(counted) =
                self.count_at(worker, source, address, (table, at), limit, accounting)
            {
                return counted;
            }
        }
    }

    /// Counts a connection of `source` in the slot `at` of the table, which has the row of
    /// `worker` entered. The caller found the slot in this `table`, so its address is not worked
    /// out again. `None` if another source took the slot meanwhile, which happens only if another
    /// process claimed it at that moment.
    #[inline(always)]
    fn count_at<A: Accounting>(
        &self,
        worker: Worker,
        source: Source,
        address: &[u8],
        (table, at): (Table<'_>, SlotRef),
        limit: i32,
        accounting: A,
    ) -> Option<Result<Token, NotCounted>> {
        let rows = table.rows();
        let in_row = rows.add(worker.0, at.slot);
        let Some(at) = table.held(at) else {
            rows.release(worker.0, at.slot);
            return None;
        };
        if limit > 0 && rows.sum(at.slot, at.control.rows()) > limit {
            rows.release(worker.0, at.slot);
            return Some(Err(NotCounted::OverLimit));
        }
        let switches = self.settings().switches();
        if A::IS_ON
            && switches.has_rates_or_trust()
            && !self.account(source, address, at, in_row, (switches, accounting))
            && limit > 0
            && self.mode() == Mode::Enforce
        {
            rows.release(worker.0, at.slot);
            return Some(Err(NotCounted::OverRate));
        }
        if in_row >= BUSY || !at.control.rows().is_one() {
            self.note_peak(source, at, in_row);
        }
        if A::ADMITS {
            self.count_admitted(worker);
        }
        Some(Ok(Token::new(at.slot, worker.0, at.control.epoch())))
    }

    /// Does what rates and trust need when a connection of `source` was counted in the slot
    /// `at`, in whose row it has `in_row` connections. `false` if it is over its rate.
    #[cold]
    #[inline(never)]
    fn account(
        &self,
        source: Source,
        address: &[u8],
        at: SlotRef,
        in_row: i32,
        (switches, accounting): (Switches, impl Accounting),
    ) -> bool {
        if switches.has_trust() && in_row == 1 {
            self.begin_trust(source, at);
        }
        !switches.has_rates()
            || self
                .charge(source, address, at, (switches, self.rate()), accounting)
                .is_some()
    }

    /// Releases the connection that `token` was given for. Any process may do this;
    /// `worker` is the one that does.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] if the token was made up, or if it was released before and its
    /// cell has no connection left; then no count has changed. A token that is released
    /// twice while its source has other connections opened by the same worker cannot be
    /// distinguished from one of theirs. So the host must release each token only once.
    #[inline]
    pub fn closed(&self, worker: Worker, token: Token) -> Result<(), StaleToken> {
        let parts = token.parts().filter(|_| !token.has_network());
        let released = parts.is_some_and(|(slot, row, epoch)| {
            self.table().in_use_since(slot, epoch) && self.rows().release(row, slot)
        });
        if released {
            return Ok(());
        }
        Err(self.note_stale(worker))
    }

    #[cold]
    #[inline(never)]
    fn note_stale(&self, worker: Worker) -> StaleToken {
        self.note(worker, Fault::StaleToken);
        StaleToken
    }

    /// Counts a fault that `worker` encountered.
    pub fn note(&self, worker: Worker, fault: Fault) {
        // Relaxed (statistics).
        fault
            .counter(self.tally(worker))
            .fetch_add(1, Ordering::Relaxed);
    }

    /// The configured prefix lengths.
    pub fn prefixes(&self) -> PrefixLengths {
        self.prefixes
    }

    /// The number of connections the table is sized for.
    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// Allocates the memory that `check`, `connect` and `disconnect` use, up to 1 GiB (14
    /// million connections), and maps it in this process, so that they do not wait for a page.
    /// The accepting process should call this before it accepts: on a machine with several
    /// memory nodes the memory then lies on the node where that process runs.
    ///
    /// # Errors
    ///
    /// The system's error. The limiter still works: each missing page is allocated when
    /// it is first touched.
    pub fn populate(&self) -> io::Result<()> {
        self.region.populate()
    }

    /// Bytes of the table that are in huge pages, or 0 if /proc does not show it. Reads a
    /// file, so the accepting process should not call it.
    pub fn huge_bytes(&self) -> u64 {
        self.region.huge_bytes()
    }

    /// Bytes of shared memory mapped for sources and connections; rules have another 8 MB.
    /// A page takes memory when it is first touched, which may be by a report, or when
    /// [`populate`](Self::populate) allocates it.
    pub fn table_bytes(&self) -> usize {
        self.region.table_bytes() + self.others_bytes()
    }

    /// Raises the peak of `source` at `at` to its current number of connections, which is
    /// at least `at_least`.
    #[cold]
    fn note_peak(&self, source: Source, at: SlotRef, at_least: i32) {
        let sum = self.table().connections(at);
        let connections = sum.max(at_least);
        if connections < BUSY {
            return;
        }
        let owner = Owner::of(self.table(), source, at);
        self.details().peak(owner, connections.unsigned_abs());
    }

    /// Carries the history of `source` from the slot it left to the slot it has now, or
    /// counts a source that `source` replaced while it owed something.
    #[cold]
    fn note_event(&self, worker: Worker, source: Source, event: Event) {
        match event {
            Event::Moved { left, now } => {
                let owner = |at| Owner::of(self.table(), source, at);
                let (before, after) = (owner(left), owner(now));
                self.details().carry(before, after);
                if left.control.remembers() {
                    let before = self.restraints(before, left);
                    self.restraints(after, now)
                        .carry(before, self.clock.micros());
                }
            }
            Event::Replaced(at) => {
                if owed_something(self.table(), at, self.clock.micros()) {
                    // Relaxed (statistics).
                    self.tally(worker).forgotten.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// What `owner`, which has the slot `at`, owes.
    pub(crate) fn restraints(&self, owner: Owner, at: SlotRef) -> Restraints<'_> {
        Restraints::new(self.table(), at, owner.restraint_tag())
    }

    /// Microseconds of the clock of rates, penalties and bans.
    pub(crate) fn micros(&self) -> u64 {
        self.clock.micros()
    }

    #[inline]
    pub(crate) fn settings(&self) -> Settings<'_> {
        Settings::of(&self.region)
    }

    pub(crate) fn details(&self) -> Details<'_> {
        Details::new(&self.region)
    }

    pub(crate) fn rulebook(&self) -> Rulebook<'_> {
        Rulebook::new(&self.region, self.prefixes)
    }

    #[inline]
    pub(crate) fn table(&self) -> Table<'_> {
        Table::new(&self.region, &self.hash, self.prefixes)
    }

    #[inline]
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.region)
    }

    /// Avoids the cost of an atomic addition, since this runs for every connection. It is
    /// exact as long as no two calls for workers of one row overlap; otherwise it may miss
    /// one.
    #[inline]
    fn count_admitted(&self, worker: Worker) {
        let admitted = &self.tally(worker).admitted;
        // Relaxed (statistics).
        let before = admitted.load(Ordering::Relaxed);
        admitted.store(before.wrapping_add(1), Ordering::Relaxed);
    }

    /// The same limiter with a weak hash.
    #[cfg(test)]
    pub(crate) fn with_weak_hash(self, pairs: u64) -> Limiter {
        let hash = SourceHash::weak(pairs);
        Limiter { hash, ..self }
    }

    /// The shared memory, for tests that preset its contents.
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

    /// Tallies start at the highest number, as damaged memory may have it.
    #[test]
    fn tallies_wrap_around() {
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

    /// All slots hold the same source, with more connections than possible.
    #[test]
    fn audit_of_damaged_counts_ends() {
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
