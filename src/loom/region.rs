// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Region`] under loom: the same parts, each in its own allocation, since loom's atomics
//! are not plain memory.

use core::fmt;
use std::io;

use super::layout::{
    ACCEPTOR_ROW, Board, BoardRow, Bucket, Connection, Detail, Geometry, Header, ListenerTable,
    OTHERS_PER_BUCKET, OthersBucket, OthersDetail, ROWS, RuleEntry,
};
use crate::shared::sync::{AtomicI32, AtomicU64, Statistic32, Statistic64};

/// This error never occurs: there is always memory.
#[derive(Debug)]
pub(crate) enum RegionError {}

impl fmt::Display for RegionError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// Rules in each half: as many as the scenarios use.
const RULES: usize = 2;

pub(crate) struct Region {
    header: Header,
    buckets: Vec<Bucket>,
    connections: Vec<Connection>,
    network_cells: Vec<AtomicU64>,
    cells: [Vec<AtomicI32>; ROWS - 1],
    details: Vec<Detail>,
    ban_rejected: Vec<Statistic32>,
    trusted: Vec<AtomicU64>,
    moved: [Vec<AtomicU64>; 2],
    rules: [Vec<RuleEntry>; 2],
    listeners: ListenerTable,
}

fn zeroed<T: Default>(count: usize) -> Vec<T> {
    (0..count).map(|_| T::default()).collect()
}

impl Region {
    pub(crate) fn create(geometry: Geometry) -> Result<Region, RegionError> {
        let slots = geometry.slots();
        Ok(Region {
            header: Header::default(),
            buckets: zeroed(geometry.buckets),
            connections: zeroed(geometry.descriptors),
            network_cells: zeroed(geometry.network_cells),
            cells: core::array::from_fn(|_| zeroed(slots)),
            details: zeroed(slots),
            ban_rejected: zeroed(slots),
            trusted: zeroed(geometry.trusted_slots()),
            moved: geometry.moved_words().map(zeroed),
            rules: core::array::from_fn(|_| zeroed(RULES)),
            listeners: ListenerTable::default(),
        })
    }

    /// Does nothing: all memory is allocated from the start.
    pub(crate) fn populate(&self) -> io::Result<()> {
        Ok(())
    }

    /// Always 0: there are no pages.
    pub(crate) fn huge_bytes(&self) -> u64 {
        0
    }

    pub(crate) fn table_bytes(&self) -> usize {
        size_of_val(&self.header) + size_of_val(self.buckets())
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn buckets(&self) -> &[Bucket] {
        &self.buckets
    }

    pub(crate) fn network_cells(&self) -> &[AtomicU64] {
        &self.network_cells
    }

    pub(crate) fn connections(&self) -> &[Connection] {
        &self.connections
    }

    pub(crate) fn cells(&self, row: usize) -> &[AtomicI32] {
        assert!(row != ACCEPTOR_ROW && row < ROWS);
        &self.cells[row - 1]
    }

    pub(crate) fn details(&self) -> &[Detail] {
        &self.details
    }

    pub(crate) fn ban_rejected(&self) -> &[Statistic32] {
        &self.ban_rejected
    }

    pub(crate) fn listeners(&self) -> &ListenerTable {
        &self.listeners
    }

    pub(crate) fn trusted(&self) -> &[AtomicU64] {
        &self.trusted
    }

    pub(crate) fn moved(&self) -> (&[AtomicU64], &[AtomicU64]) {
        (&self.moved[0], &self.moved[1])
    }

    pub(crate) fn rules(&self) -> [&[RuleEntry]; 2] {
        [&self.rules[0], &self.rules[1]]
    }
}

/// The shared memory about the other nodes of a cluster.
pub(crate) struct OthersRegion {
    board: Board,
    buckets: Vec<OthersBucket>,
    details: Vec<OthersDetail>,
}

impl OthersRegion {
    /// Two buckets, of one entry each.
    pub(crate) fn create(_: u32) -> Result<OthersRegion, RegionError> {
        let row = || BoardRow {
            version: Statistic64::default(),
            words: core::array::from_fn(|_| Statistic64::default()),
        };
        Ok(OthersRegion {
            board: Board {
                overview: row(),
                nodes: core::array::from_fn(|_| row()),
                not_passed_on: Statistic64::default(),
            },
            buckets: zeroed(2),
            details: zeroed(2 * OTHERS_PER_BUCKET),
        })
    }

    pub(crate) fn board(&self) -> &Board {
        &self.board
    }

    pub(crate) fn buckets(&self) -> &[OthersBucket] {
        &self.buckets
    }

    pub(crate) fn details(&self) -> &[OthersDetail] {
        &self.details
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(self.buckets()) + size_of_val(self.details())
    }
}
