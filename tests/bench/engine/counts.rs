// SPDX-License-Identifier: GPL-2.0-or-later

//! Maps from a source to its number of connections. They are for one process at a time:
//! [`crate::locked`] puts a lock around them.

use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use siphasher::sip::SipHasher13;

use crate::shared::{self, Zeroed};

/// A source. IPv4 is stored as IPv4-mapped IPv6, so one comparison identifies a source.
pub(crate) type Key = u128;

pub(crate) trait Counts: Sized {
    /// Creates a map with room for `sources` sources.
    fn new(sources: usize) -> io::Result<Self>;
    fn hash(key: Key) -> u64;
    fn get(&self, hash: u64, key: Key) -> u32;
    fn add(&mut self, hash: u64, key: Key);
    /// Releases a connection. Returns `false` if the source had none.
    fn release(&mut self, hash: u64, key: Key) -> bool;
    fn total(&self) -> u64;
}

/// What a C module in Kamailio's style would use: list heads in shared memory, and an
/// entry per source that is allocated when the source comes. Heads and entries have the
/// same size as in such a module. Everything else favours this map: there are at least
/// as many heads as sources, the hash is cheap and has no key, and the allocator is a
/// free list.
pub(crate) struct Chained {
    heads: &'static [ListHead],
    entries: &'static [ListEntry],
    /// 1 + the first free entry, or 0 if all are in use.
    free: u64,
}

/// The list head of Kamailio's htable module, without its lock.
#[repr(C)]
struct ListHead {
    _entries: AtomicU64,
    /// 1 + the first entry, or 0 if the list is empty.
    first: AtomicU64,
}

/// 96 bytes: `struct fm_frag` of the core's allocator (core/mem/f_malloc.h, without
/// debugging) takes 48 of them, `struct ip_addr` (core/ip_addr.h) 24.
#[repr(C)]
struct ListEntry {
    _allocator: [AtomicU64; 6],
    _family_and_length: AtomicU64,
    address: [AtomicU64; 2],
    connections: AtomicU32,
    _hash: AtomicU32,
    next: AtomicU64,
    _previous: AtomicU64,
}

// SAFETY: it consists of atomic integers.
unsafe impl Zeroed for ListHead {}
// SAFETY: it consists of atomic integers.
unsafe impl Zeroed for ListEntry {}

/// The map is read and written only under the lock, so relaxed atomics suffice.
const LOCKED: Ordering = Ordering::Relaxed;

impl Chained {
    fn head(&self, hash: u64) -> &ListHead {
        &self.heads[hash as usize & (self.heads.len() - 1)]
    }

    fn entry(&self, link: u64) -> &ListEntry {
        &self.entries[link as usize - 1]
    }

    /// Returns the link to the entry of `key`, or the last link of the list, which is 0.
    #[inline]
    fn link(&self, hash: u64, key: Key) -> &AtomicU64 {
        let mut link = &self.head(hash).first;
        loop {
            match link.load(LOCKED) {
                0 => return link,
                at if self.entry(at).is(key) => return link,
                at => link = &self.entry(at).next,
            }
        }
    }
}

impl ListEntry {
    #[inline]
    fn is(&self, key: Key) -> bool {
        self.address[0].load(LOCKED) == key as u64
            && self.address[1].load(LOCKED) == (key >> 64) as u64
    }
}

impl Counts for Chained {
    fn new(sources: usize) -> io::Result<Self> {
        let entries: &[ListEntry] = shared::zeros(sources)?;
        for (i, entry) in entries.iter().enumerate() {
            let next = if i + 1 < sources { i as u64 + 2 } else { 0 };
            entry.next.store(next, LOCKED);
        }
        Ok(Chained {
            heads: shared::zeros(sources.next_power_of_two())?,
            entries,
            free: 1,
        })
    }

    #[inline]
    fn hash(key: Key) -> u64 {
        // Multiply and shift: a few instructions.
        ((key as u64) ^ (key >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
    }

    #[inline]
    fn get(&self, hash: u64, key: Key) -> u32 {
        match self.link(hash, key).load(LOCKED) {
            0 => 0,
            at => self.entry(at).connections.load(LOCKED),
        }
    }

    #[inline]
    fn add(&mut self, hash: u64, key: Key) {
        let mut at = self.link(hash, key).load(LOCKED);
        if at == 0 {
            at = self.free;
            let entry = self.entry(at);
            let next = entry.next.load(LOCKED);
            entry.address[0].store(key as u64, LOCKED);
            entry.address[1].store((key >> 64) as u64, LOCKED);
            let head = self.head(hash);
            entry.next.store(head.first.load(LOCKED), LOCKED);
            head.first.store(at, LOCKED);
            self.free = next;
        }
        let connections = &self.entry(at).connections;
        connections.store(connections.load(LOCKED) + 1, LOCKED);
    }

    #[inline]
    fn release(&mut self, hash: u64, key: Key) -> bool {
        let link = self.link(hash, key);
        let at = link.load(LOCKED);
        if at == 0 {
            return false;
        }
        let entry = self.entry(at);
        let left = entry.connections.load(LOCKED) - 1;
        entry.connections.store(left, LOCKED);
        if left == 0 {
            link.store(entry.next.load(LOCKED), LOCKED);
            entry.next.store(self.free, LOCKED);
            self.free = at;
        }
        true
    }

    fn total(&self) -> u64 {
        let each = self.entries.iter().map(|e| e.connections.load(LOCKED));
        each.map(u64::from).sum()
    }
}

/// hashbrown with SipHash-1-3, in private memory. Several processes could not share it;
/// it shows how much of the cost is the map's.
pub(crate) struct Open(HashTable<OpenEntry>);

struct OpenEntry {
    key: Key,
    connections: u32,
}

impl Counts for Open {
    fn new(sources: usize) -> io::Result<Self> {
        Ok(Open(HashTable::with_capacity(sources)))
    }

    #[inline]
    fn hash(key: Key) -> u64 {
        SipHasher13::new_with_keys(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
            .hash(&key.to_le_bytes())
    }

    #[inline]
    fn get(&self, hash: u64, key: Key) -> u32 {
        let entry = self.0.find(hash, |entry| entry.key == key);
        entry.map_or(0, |entry| entry.connections)
    }

    #[inline]
    fn add(&mut self, hash: u64, key: Key) {
        let entry = self.0.entry(
            hash,
            |entry| entry.key == key,
            |entry| Self::hash(entry.key),
        );
        match entry {
            Entry::Occupied(mut entry) => entry.get_mut().connections += 1,
            Entry::Vacant(entry) => {
                entry.insert(OpenEntry {
                    key,
                    connections: 1,
                });
            }
        }
    }

    #[inline]
    fn release(&mut self, hash: u64, key: Key) -> bool {
        let Ok(mut entry) = self.0.find_entry(hash, |entry| entry.key == key) else {
            return false;
        };
        entry.get_mut().connections -= 1;
        if entry.get().connections == 0 {
            entry.remove();
        }
        true
    }

    fn total(&self) -> u64 {
        self.0
            .iter()
            .map(|entry| u64::from(entry.connections))
            .sum()
    }
}
