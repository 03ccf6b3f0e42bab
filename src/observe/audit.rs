// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Audit`]: compares the host's connections with our counts, source by source.
//!
//! The host must hold its lock while both are copied, so that no connection opens or closes
//! in between. TCP main may have to wait during that time. So the copies go into memory that
//! was reserved and touched before, and copying needs neither an allocation nor a page fault.
//! Sorting and comparing follow after the lock is released.

#![forbid(unsafe_code)]

use std::collections::TryReserveError;

use crate::limiter::Limiter;
use crate::observe::report::Report;
use crate::source::{Kind, Source};

/// A source for which the host and the table disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The source.
    pub source: Source,
    /// Its connections in the host.
    pub host: u32,
    /// Its connections in our table.
    pub counted: u32,
}

/// There are more connections or sources than memory was reserved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

/// A source and its connections in our table.
#[derive(Clone, Copy, Debug)]
struct Count {
    source: Source,
    connections: u32,
}

/// A list that never grows. All of its memory was written to when it was created.
struct Reserved<T> {
    items: Vec<T>,
    used: usize,
}

impl<T: Copy> Reserved<T> {
    fn new(room: usize, filler: T) -> Result<Reserved<T>, TryReserveError> {
        let mut items = Vec::new();
        items.try_reserve_exact(room)?;
        items.resize(room, filler);
        Ok(Reserved { items, used: 0 })
    }

    fn push(&mut self, item: T) -> Result<(), NoRoom> {
        *self.items.get_mut(self.used).ok_or(NoRoom)? = item;
        self.used += 1;
        Ok(())
    }

    fn used(&mut self) -> &mut [T] {
        &mut self.items[..self.used]
    }
}

/// An audit in progress.
pub struct Audit {
    /// The source of each of the host's connections that is counted, and the network of
    /// those that also count there.
    host: Reserved<Source>,
    /// How many of these are networks.
    networks: usize,
    counts: Reserved<Count>,
    uncounted: u64,
    counted: u64,
}

impl Audit {
    /// Reserves memory for `connections` connections of the host and some more, because
    /// others may open before the copies are made. If networks are counted, twice as many
    /// need room.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new(connections: usize) -> Result<Audit, TryReserveError> {
        let room = connections.saturating_add(connections / 8 + 1024);
        // Not all zeros, because an allocator may return zeroed memory as pages that are
        // not allocated yet.
        let source = Source::from_words(Kind::V4, u32::MAX.into(), 0);
        let count = Count {
            source,
            connections: 1,
        };
        Ok(Audit {
            host: Reserved::new(room, source)?,
            networks: 0,
            counts: Reserved::new(room, count)?,
            uncounted: 0,
            counted: 0,
        })
    }

    /// Copies a connection of the host. `counted` says whether its record is open.
    /// Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: this audit cannot be completed.
    pub fn connection(&mut self, source: Source, counted: bool) -> Result<(), NoRoom> {
        if counted {
            self.host.push(source)?;
        } else {
            self.uncounted += 1;
        }
        Ok(())
    }

    /// Copies the network of a connection that also counts there. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: this audit cannot be completed.
    pub fn network(&mut self, network: Source) -> Result<(), NoRoom> {
        self.host.push(network)?;
        self.networks += 1;
        Ok(())
    }

    /// Copies the counts of `limiter`. Allocates nothing.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]: this audit cannot be completed.
    pub fn copy_counts(&mut self, limiter: &Limiter) -> Result<(), NoRoom> {
        for (source, connections) in Report::of(limiter).counts() {
            if !source.is_network() {
                self.counted += u64::from(connections);
            }
            self.counts.push(Count {
                source,
                connections,
            })?;
        }
        Ok(())
    }

    /// The number of the host's connections.
    pub fn connections(&self) -> u64 {
        (self.host.used - self.networks) as u64 + self.uncounted
    }

    /// The number of the host's connections that are not counted.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// The sum of the counts of all sources.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// All differences, sorted by source. Sorts the copies in place.
    pub fn differences(&mut self) -> impl Iterator<Item = Difference> + '_ {
        let host = self.host.used();
        host.sort_unstable();
        let counts = self.counts.used();
        counts.sort_unstable_by_key(|count| count.source);
        let all = Merged { host, counts };
        all.filter(|both| both.host != both.counted)
    }
}

/// Each source that is in at least one of two sorted lists.
struct Merged<'a> {
    host: &'a [Source],
    counts: &'a [Count],
}

impl Iterator for Merged<'_> {
    type Item = Difference;

    fn next(&mut self) -> Option<Difference> {
        let in_host = self.host.first().copied();
        let in_counts = self.counts.first().map(|count| count.source);
        let source = in_host.into_iter().chain(in_counts).min()?;
        let is_same = |other: &&Source| **other == source;
        let host = self.host.iter().take_while(is_same).count();
        self.host = &self.host[host..];
        // A source occurs only once, except in damaged memory.
        let is_same = |count: &&Count| count.source == source;
        let counts = self.counts.iter().take_while(is_same);
        let (lines, counted) = counts.fold((0, 0u32), |(lines, sum), count| {
            (lines + 1, sum.saturating_add(count.connections))
        });
        self.counts = &self.counts[lines..];
        Some(Difference {
            source,
            host: u32::try_from(host).unwrap_or(u32::MAX),
            counted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Worker;
    use crate::source::PrefixLengths;

    #[test]
    fn only_differences_are_found() {
        let limiter = Limiter::new(100, 0, PrefixLengths::DEFAULT).unwrap();
        let source = |n: u8| Source::new(&[127, 0, 0, n], PrefixLengths::DEFAULT).unwrap();
        for n in [1, 2, 2, 3] {
            limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        }
        let mut audit = Audit::new(4).unwrap();
        for n in [1, 2, 4] {
            audit.connection(source(n), true).unwrap();
        }
        audit.connection(source(5), false).unwrap();
        audit.copy_counts(&limiter).unwrap();
        let found: Vec<_> = audit.differences().collect();
        let difference = |n, host, counted| Difference {
            source: source(n),
            host,
            counted,
        };
        assert_eq!(
            found,
            [
                difference(2, 1, 2),
                difference(3, 0, 1),
                difference(4, 1, 0)
            ]
        );
        assert_eq!(
            (audit.connections(), audit.uncounted(), audit.counted()),
            (4, 1, 4)
        );
    }
}
