// SPDX-License-Identifier: GPL-2.0-or-later
//! The cluster as checks see it: one number for each source, its connections on the other
//! nodes, which the background process keeps in `table::others`. The number is
//! only read here, so a check never waits for another node.
//!
//! Only sources without a scope are summed. A source of a listener or a network counts on
//! this node alone.

#![forbid(unsafe_code)]

use super::gates::{Reason, Rejection};
use super::load::Scarcity;
use super::{CreateError, CreateFault, Limiter};
use crate::cluster::bound::strict_share;
use crate::observe::cluster::board::Board;
use crate::policy::cluster_settings::ClusterSettings;
use crate::policy::settings::Switches;
use crate::shared::region::OthersRegion;
use crate::shared::sync::Ordering;
use crate::source::Source;
use crate::table::details::Owner;
use crate::table::others::{NoRoom, Others, OthersEntry};

pub use crate::shared::layout::MAX_NODES;
pub use crate::table::others::OthersReport;

impl Limiter {
    /// The same limiter as a node of a cluster: connections that its sources have on other
    /// nodes count, as far as they are [set](Self::set_others). Must be called before rules
    /// are set and before the server forks. Takes 480 bytes of address space more for each
    /// connection, of which 32 are used by checks.
    ///
    /// # Errors
    ///
    /// If the system gives no memory.
    pub fn with_cluster(self) -> Result<Limiter, CreateError> {
        let others = OthersRegion::create(self.max_connections)
            .map_err(|error| CreateError(CreateFault::Region(error)))?;
        self.settings().expect_cluster();
        Ok(Limiter {
            others: Some(others),
            ..self
        })
    }

    /// Whether other nodes count.
    #[inline]
    pub fn has_cluster(&self) -> bool {
        self.settings().switches().has_cluster()
    }

    /// The limit over all nodes of a source without a rule; 0: no limit.
    pub fn cluster_limit(&self) -> u32 {
        self.cluster_settings().limit()
    }

    /// Changes the limit over all nodes of sources without a rule; 0: no limit. No connection
    /// is closed.
    pub fn set_cluster_limit(&self, limit: u32) {
        self.cluster_settings().set_limit(limit);
    }

    /// The connections of `source` on the other nodes, as far as they are known.
    pub fn others(&self, source: Source) -> u32 {
        self.find_others(source)
            .map_or(0, |(_, connections)| connections)
    }

    /// The entry of `source`, and its connections on the other nodes. `None` if they have
    /// nothing, or if what they have is not known any more.
    fn find_others(&self, source: Source) -> Option<(OthersEntry, u32)> {
        let found = self.others_table()?.find(source)?;
        // Relaxed (statistics): any time in the past will do.
        let past = self.settings().past_micros().load(Ordering::Relaxed);
        (!self.cluster_settings().is_stale(past)).then_some(found)
    }

    /// Says that what the other nodes have is up to date. If this is not said for 5 s, it no
    /// longer counts.
    pub(crate) fn note_others_updated(&self) {
        self.cluster_settings().set_updated(self.micros());
    }

    /// The connections of `source`, which has `own` here, on all nodes.
    #[cold]
    #[inline(never)]
    pub(super) fn in_cluster(&self, source: Source, own: u32) -> u32 {
        own.saturating_add(self.others(source))
    }

    /// The connections that `source` may have on this node, if this is its limit over all
    /// nodes: what the other nodes leave, or its share of that.
    pub fn allowed_here(&self, source: Source, limit: u32) -> u32 {
        self.allowed(source, limit, self.others(source))
    }

    fn allowed(&self, source: Source, limit: u32, others: u32) -> u32 {
        match self.cluster_settings().shares() {
            0 => limit.saturating_sub(others),
            shares => {
                let base = self.others_table().map_or(0, |others| others.base(source));
                let known = base.saturating_add(others);
                base.saturating_add(strict_share(limit, known, shares))
            }
        }
    }

    /// Shares the rest of each limit over this many nodes; 0: each node may use all of it.
    pub fn set_cluster_shares(&self, nodes: u32) {
        self.cluster_settings().set_shares(nodes);
    }

    /// Sets the least connections that `source` had on this node of late, if limits are shared.
    /// Returns whether there is room for it. Otherwise as [`set_others`](Self::set_others).
    pub fn set_base(&self, source: Source, connections: u32) -> bool {
        let set = self
            .others_table()
            .map(|others| others.set_base(source, connections));
        set != Some(Err(NoRoom))
    }

    /// Sets the connections of `source` on the other nodes. Must be called by one process
    /// only. Returns whether there is room for the source; if not, it counts as having none.
    pub fn set_others(&self, source: Source, connections: u32) -> bool {
        let set = self
            .others_table()
            .map(|others| others.set(source, connections));
        set != Some(Err(NoRoom))
    }

    /// Sets the connections of `source` on the node with this number, for reports, after
    /// [`set_others`](Self::set_others).
    pub fn set_others_of_node(&self, source: Source, node: usize, connections: u32) {
        if let Some(others) = self.others_table() {
            others.set_of_node(source, node, connections);
        }
    }

    /// What the other nodes have of `source`; `None` if they have nothing.
    pub fn others_of(&self, source: Source) -> Option<OthersReport> {
        self.others_table()?.get(source)
    }

    /// All sources that the other nodes have, in no order.
    pub fn all_others(&self) -> impl Iterator<Item = OthersReport> + '_ {
        self.others_table().into_iter().flat_map(Others::all)
    }

    /// The check of a node of a cluster.
    #[inline(never)]
    pub(super) fn check_in_cluster(
        &self,
        source: Source,
        address: &[u8],
        switches: Switches,
        scarcity: Scarcity,
    ) -> Result<(), Rejection> {
        let checked_from = self.cluster_settings().checked_from();
        if checked_from > i32::MAX as u32 {
            return self.check_under(source, address, switches, scarcity, switches.has_rates());
        }
        let found = self.find_others(source);
        let others = found.map_or(0, |(_, connections)| connections);
        // With fewer connections here, the source is below each limit over all nodes.
        let here = self.allowed(source, checked_from, others);
        let settings = self.settings();
        let checked_from = scarcity.cap().lower(settings.checked_from());
        let table = self.table();
        if let Some(at) = table.find_for(source, switches.has_rates()) {
            let connections = table.connections(at);
            let is_usual = connections.unsigned_abs() < checked_from.min(here);
            let is_free =
                !at.control.remembers() || self.owes_little(source, at, switches, self.rate());
            if is_usual && !scarcity.reserved && is_free {
                self.hints.set(at.slot);
                return Ok(());
            }
            return self.check_gates(source, address, at, connections, scarcity);
        }
        self.check_new(source, address, checked_from, scarcity)?;
        match found {
            Some(found) if here == 0 => self.check_others(source, address, found),
            _ => Ok(()),
        }
    }

    /// The gate of a source without a slot, which has this entry, and this many connections
    /// on other nodes.
    #[cold]
    fn check_others(
        &self,
        source: Source,
        address: &[u8],
        (entry, others): (OthersEntry, u32),
    ) -> Result<(), Rejection> {
        let of_host = self.terms_of_host(address, source.scope());
        let (rule, terms) = of_host.unwrap_or_else(|| self.rulebook().resolve(source));
        let limit = terms.cluster_limit(self.cluster_limit());
        if limit == 0 || others < limit {
            return Ok(());
        }
        Err(Rejection(Reason::OnlyOthers { entry, rule }))
    }

    /// Counts a rejection of a source without a slot, or one that would have happened.
    pub(super) fn count_for_others(&self, entry: OthersEntry, rejected: bool) {
        if let Some(others) = self.others_table() {
            others.count(entry, rejected);
        }
    }

    /// The limit of `source`, which has no scope, over all nodes; 0: no limit. Uses the cached
    /// rule of the source.
    pub(crate) fn cluster_limit_of(&self, source: Source) -> u32 {
        let terms = match self.table().find(source) {
            Some(at) => {
                let owner = Owner::of(self.table(), source, at);
                self.terms_of_source(source, owner).1
            }
            None => self.rulebook().resolve(source).1,
        };
        terms.cluster_limit(self.cluster_limit())
    }

    /// The state of the nodes; `None` without a cluster.
    pub fn cluster_board(&self) -> Option<Board<'_>> {
        let region = self.others.as_ref()?;
        Some(Board::new(region.board()))
    }

    fn others_table(&self) -> Option<Others<'_>> {
        let region = self.others.as_ref()?;
        Some(Others::new(self.table(), region))
    }

    /// Bytes of shared memory for what the other nodes have.
    pub(super) fn others_bytes(&self) -> usize {
        self.others.as_ref().map_or(0, OthersRegion::bytes)
    }

    pub(crate) fn cluster_settings(&self) -> ClusterSettings<'_> {
        ClusterSettings::of(&self.region)
    }
}
