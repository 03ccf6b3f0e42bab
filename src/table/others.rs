// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Others`]: how many connections the other nodes of the cluster have of each source.
//!
//! The background process is the only writer. Checks and reports read. A source that only
//! other nodes have needs no slot here.
//!
//! A source has one word, in one of the seven entries of its first bucket, or of its second
//! bucket if the first one was full:
//!
//! ```text
//!   bits 0–27 connections │ 30 base │ 31 IPv6 │ 32–63 key
//! ```
//!
//! The key of an IPv4 source is its address. The key of an IPv6 source is a keyed hash, of
//! which its buckets are another part. So an IPv6 source is taken for another one with a
//! probability of about 2⁻³² for each source in its buckets. An empty entry is 0, which no
//! source has, because a source without connections on other nodes has no entry.
//!
//! Each word is complete in itself, so a reader needs no lock, never waits, and sees for each
//! source a number that the writer has stored for this source. That number may be older than
//! the last one, as if the reader had read before. The same holds for a source that gets its
//! entry at this moment: the reader finds none, as before. No word publishes another one,
//! so all operations on them are `Relaxed`.
//!
//! If the rest of a limit is shared (`cluster_strict`), a source may have another word: with the
//! bit *base* set, its connections are the least that it had on this node of late.
//!
//! Only the first bucket is read, one cache line, unless it says that there are sources of
//! its own elsewhere.

#![forbid(unsafe_code)]

use crate::shared::layout::{MAX_NODES, OTHERS_PER_BUCKET, OthersBucket, OthersDetail};
use crate::shared::region::OthersRegion;
use crate::shared::sync::{AtomicU64, Ordering};
use crate::source::{Kind, Source};
use crate::table::Table;

/// The connections in a word.
const CONNECTIONS: u64 = (1 << 28) - 1;
/// What a word has the connections of.
const BASE: u64 = 1 << 30;
/// The family in a word.
const IPV6: u64 = 1 << 31;
/// Where the key begins in a word.
const KEY_SHIFT: u32 = 32;

/// Both buckets of a source are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// What the other nodes have of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OthersReport {
    /// The source.
    pub source: Source,
    /// The sum of its connections on the other nodes.
    pub connections: u32,
    /// Its connections on each node, by the number of the node; at most `u16::MAX`.
    pub of_nodes: [u16; MAX_NODES],
    /// Its rejections while it had no connection on this node.
    pub rejected: u32,
    /// Those that would have happened, in monitor mode.
    pub would_reject: u32,
}

/// What the other nodes have, in shared memory.
#[derive(Clone, Copy)]
pub(crate) struct Others<'a> {
    table: Table<'a>,
    region: &'a OthersRegion,
}

/// The number of an entry, over all buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OthersEntry(u32);

impl OthersEntry {
    fn new(bucket: usize, at: usize) -> OthersEntry {
        // A table for the most connections has 350 million entries.
        OthersEntry((bucket * OTHERS_PER_BUCKET + at) as u32)
    }

    fn bucket(self) -> usize {
        self.0 as usize / OTHERS_PER_BUCKET
    }
}

impl<'a> Others<'a> {
    pub(crate) fn new(table: Table<'a>, region: &'a OthersRegion) -> Others<'a> {
        Others { table, region }
    }

    /// The least connections that `source` had on this node of late; 0: it is not known.
    pub(crate) fn base(self, source: Source) -> u32 {
        let key = self.key(source).map(|key| key | BASE);
        let found = key.and_then(|key| self.find_key(source, key));
        found.map_or(0, |(_, connections)| connections)
    }

    /// The entry of `source`, and its connections on other nodes. `None` for a source of a scope.
    pub(crate) fn find(self, source: Source) -> Option<(OthersEntry, u32)> {
        self.find_key(source, self.key(source)?)
    }

    fn find_key(self, source: Source, key: u64) -> Option<(OthersEntry, u32)> {
        let buckets = self.region.buckets();
        let [first, second] = self.table.pair_among(source, buckets.len());
        if let Some((at, connections)) = find_in(&buckets[first], key) {
            return Some((OthersEntry::new(first, at), connections));
        }
        if buckets[first].elsewhere.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let (at, connections) = find_in(&buckets[second], key)?;
        Some((OthersEntry::new(second, at), connections))
    }

    /// The word of `source` without its connections. `None` if it has a scope.
    fn key(self, source: Source) -> Option<u64> {
        match source.kind() {
            Kind::V4 => Some(source.word() << KEY_SHIFT),
            Kind::V6 => {
                let identity = self.table.identity(source);
                Some((identity ^ identity >> 32) << KEY_SHIFT | IPV6)
            }
            Kind::ScopedV4 | Kind::ScopedV6 => None,
        }
    }

    /// Sets the connections of `source` on other nodes. Must be called by one process only.
    ///
    /// # Errors
    ///
    /// If both its buckets are full; then it has no entry.
    pub(crate) fn set(self, source: Source, connections: u32) -> Result<(), NoRoom> {
        match self.key(source) {
            Some(key) => self.set_key(source, key, connections),
            None => Ok(()),
        }
    }

    /// Sets what [`base`](Self::base) returns. Otherwise as [`set`](Self::set).
    ///
    /// # Errors
    ///
    /// If both its buckets are full; then it is not known.
    pub(crate) fn set_base(self, source: Source, connections: u32) -> Result<(), NoRoom> {
        match self.key(source) {
            Some(key) => self.set_key(source, key | BASE, connections),
            None => Ok(()),
        }
    }

    fn set_key(self, source: Source, key: u64, connections: u32) -> Result<(), NoRoom> {
        let buckets = self.region.buckets();
        let found = self.find_key(source, key);
        if connections == 0 {
            if let Some((entry, _)) = found {
                self.word(entry).store(0, Ordering::Relaxed);
                let [first, _] = self.table.pair_among(source, buckets.len());
                if entry.bucket() != first {
                    let elsewhere = &buckets[first].elsewhere;
                    let others = elsewhere.load(Ordering::Relaxed).saturating_sub(1);
                    elsewhere.store(others, Ordering::Relaxed);
                }
            }
            return Ok(());
        }
        let word = key | u64::from(connections).min(CONNECTIONS);
        let entry = match found {
            Some((entry, _)) => entry,
            None => self.claim(source)?,
        };
        self.word(entry).store(word, Ordering::Relaxed);
        Ok(())
    }

    /// An empty entry for `source`, in its second bucket only if the first one is full.
    fn claim(self, source: Source) -> Result<OthersEntry, NoRoom> {
        let buckets = self.region.buckets();
        let [first, second] = self.table.pair_among(source, buckets.len());
        let empty = |bucket: usize| {
            let mut entries = buckets[bucket].entries.iter();
            entries.position(|entry| entry.load(Ordering::Relaxed) == 0)
        };
        let entry = match (empty(first), empty(second)) {
            (Some(at), _) => OthersEntry::new(first, at),
            (None, Some(at)) => {
                // If this process is killed now, readers look at one line more than they need.
                let elsewhere = &buckets[first].elsewhere;
                let others = elsewhere.load(Ordering::Relaxed).saturating_add(1);
                elsewhere.store(others, Ordering::Relaxed);
                OthersEntry::new(second, at)
            }
            (None, None) => return Err(NoRoom),
        };
        let detail = self.detail(entry);
        // Relaxed (statistics), here and below.
        detail.word.store(source.word(), Ordering::Relaxed);
        detail.low.store(source.low(), Ordering::Relaxed);
        detail.rejected.store(0, Ordering::Relaxed);
        detail.would_reject.store(0, Ordering::Relaxed);
        for connections in &detail.of_nodes {
            connections.store(0, Ordering::Relaxed);
        }
        Ok(entry)
    }

    /// Sets the connections of `source` on the node with this number, for reports. Must be
    /// called after [`set`](Self::set); without an entry it has no effect.
    pub(crate) fn set_of_node(self, source: Source, node: usize, connections: u32) {
        if let Some((entry, _)) = self.find(source)
            && let Some(number) = self.detail(entry).of_nodes.get(node)
        {
            let connections = u16::try_from(connections).unwrap_or(u16::MAX);
            number.store(connections, Ordering::Relaxed);
        }
    }

    /// Counts a rejection of the source of `entry`, which has no slot, or one that would have
    /// happened.
    pub(crate) fn count(self, entry: OthersEntry, rejected: bool) {
        let detail = self.detail(entry);
        let number = match rejected {
            true => &detail.rejected,
            false => &detail.would_reject,
        };
        number.fetch_add(1, Ordering::Relaxed);
    }

    /// What the other nodes have of `source`, for a report.
    pub(crate) fn get(self, source: Source) -> Option<OthersReport> {
        let (entry, connections) = self.find(source)?;
        Some(self.report(source, entry, connections))
    }

    /// All sources that other nodes have, in no order. A source that is entered or removed
    /// meanwhile may be missing.
    pub(crate) fn all(self) -> impl Iterator<Item = OthersReport> + 'a {
        let entries = self.region.buckets().len() * OTHERS_PER_BUCKET;
        (0..entries as u32)
            .map(OthersEntry)
            .filter_map(move |entry| {
                let before = self.word(entry).load(Ordering::Relaxed);
                if before == 0 || before & BASE != 0 {
                    return None;
                }
                let kind = match before & IPV6 {
                    0 => Kind::V4,
                    _ => Kind::V6,
                };
                let detail = self.detail(entry);
                let (upper, low) = (
                    detail.word.load(Ordering::Relaxed),
                    detail.low.load(Ordering::Relaxed),
                );
                let source = Source::from_words(kind, upper, low);
                // Otherwise the entry is another source's by now.
                (self.key(source) == Some(before & !CONNECTIONS))
                    .then(|| self.report(source, entry, (before & CONNECTIONS) as u32))
            })
    }

    fn report(self, source: Source, entry: OthersEntry, connections: u32) -> OthersReport {
        let detail = self.detail(entry);
        OthersReport {
            source,
            connections,
            of_nodes: core::array::from_fn(|node| detail.of_nodes[node].load(Ordering::Relaxed)),
            rejected: detail.rejected.load(Ordering::Relaxed),
            would_reject: detail.would_reject.load(Ordering::Relaxed),
        }
    }

    fn word(self, entry: OthersEntry) -> &'a AtomicU64 {
        let at = entry.0 as usize % OTHERS_PER_BUCKET;
        &self.region.buckets()[entry.bucket()].entries[at]
    }

    fn detail(self, entry: OthersEntry) -> &'a OthersDetail {
        &self.region.details()[entry.0 as usize]
    }
}

/// The index in `bucket` of the entry with this key, and its connections.
fn find_in(bucket: &OthersBucket, key: u64) -> Option<(usize, u32)> {
    (0..).zip(&bucket.entries).find_map(|(at, entry)| {
        let word = entry.load(Ordering::Relaxed);
        let is_it = word != 0 && word & !CONNECTIONS == key;
        is_it.then_some((at, (word & CONNECTIONS) as u32))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::shared::layout::Geometry;
    use crate::shared::region::Region;
    use crate::source::PrefixLengths;
    use crate::table::hash::SourceHash;

    const HOSTS: PrefixLengths = PrefixLengths::HOST;

    impl Others<'_> {
        fn connections(self, source: Source) -> u32 {
            self.find(source).map_or(0, |(_, connections)| connections)
        }
    }

    struct Memory {
        region: Region,
        hash: SourceHash,
        others: OthersRegion,
    }

    impl Memory {
        fn new(max_connections: u32) -> Memory {
            Memory {
                region: Region::create(Geometry::of_buckets(2)).unwrap(),
                hash: SourceHash::new(),
                others: OthersRegion::create(max_connections).unwrap(),
            }
        }

        fn others(&self) -> Others<'_> {
            let table = Table::new(&self.region, &self.hash, HOSTS);
            Others::new(table, &self.others)
        }
    }

    fn v4(n: u32) -> Source {
        Source::new(&n.to_be_bytes(), HOSTS).unwrap()
    }

    fn v6(n: u128) -> Source {
        Source::new(&(0x2001_0db8 << 96 | n).to_be_bytes(), HOSTS).unwrap()
    }

    #[test]
    fn source_has_what_was_set_last() {
        let memory = Memory::new(10);
        let others = memory.others();
        for source in [v4(0), v4(u32::MAX), v6(0), v6(1), v6(1 << 64)] {
            assert_eq!(others.connections(source), 0);
            others.set(source, 7).unwrap();
            others.set_of_node(source, 31, 100_000);
            assert_eq!(others.connections(source), 7);
            let report = others.get(source).unwrap();
            assert_eq!((report.source, report.of_nodes[31]), (source, u16::MAX));
            others.set(source, u32::MAX).unwrap();
            assert_eq!(u64::from(others.connections(source)), CONNECTIONS);
            others.set(source, 0).unwrap();
            assert_eq!((others.connections(source), others.get(source)), (0, None));
            others.set(source, 1).unwrap();
            assert_eq!(others.get(source).unwrap().of_nodes, [0; MAX_NODES]);
        }
        assert_eq!(others.all().count(), 5);
    }

    #[test]
    fn source_of_a_scope_has_nothing() {
        let memory = Memory::new(10);
        let scope = crate::source::Scope::of_listener(1).unwrap();
        let scoped = v4(1).in_scope(scope);
        memory.others().set(scoped, 5).unwrap();
        memory.others().set(v4(1), 3).unwrap();
        assert_eq!(memory.others().connections(scoped), 0);
        assert_eq!(memory.others().connections(v4(1)), 3);
    }

    #[test]
    fn nearly_all_sources_of_a_full_server_fit() {
        let memory = Memory::new(100_000);
        let others = memory.others();
        let lost = (0..100_000).filter(|&n| others.set(v4(n), 1).is_err());
        assert!(lost.count() <= 3);
        assert!(others.all().count() >= 99_997);
    }

    proptest! {
        /// A tiny table, so that buckets are full and sources are elsewhere.
        #[test]
        fn table_holds_what_a_map_holds(
            steps in proptest::collection::vec((0..160u32, 0..4u32), 1..600)
        ) {
            let memory = Memory::new(1);
            let others = memory.others();
            let mut oracle = HashMap::new();
            for (n, connections) in steps {
                let source = if n % 2 == 0 { v4(n) } else { v6(u128::from(n) << 60) };
                match others.set(source, connections) {
                    Ok(()) if connections > 0 => { oracle.insert(source, connections); }
                    Ok(()) => { oracle.remove(&source); }
                    Err(NoRoom) => prop_assert!(!oracle.contains_key(&source)),
                }
                prop_assert_eq!(
                    others.connections(source),
                    oracle.get(&source).copied().unwrap_or(0)
                );
            }
            let all: HashMap<_, _> = others.all().map(|o| (o.source, o.connections)).collect();
            prop_assert_eq!(&all, &oracle);
            for (source, _) in oracle {
                others.set(source, 0).unwrap();
            }
            for bucket in memory.others.buckets() {
                prop_assert_eq!(bucket.elsewhere.load(Ordering::Relaxed), 0);
            }
        }
    }
}
