// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Audit`]: the host recounts its connections, we compare source by source.
//!
//! The host feeds every connection it has, then takes our counts, both while no
//! connection can be opened or closed. That takes one walk through the host's
//! list and one through our table; memory is reserved before.

#![forbid(unsafe_code)]

use std::hash::RandomState;

use hashbrown::{HashMap, TryReserveError};

use crate::limiter::Limiter;
use crate::source::Source;

/// A source's connections, counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Recount {
    host: u32,
    counted: u32,
}

/// A source for which the host and the table disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Who.
    pub source: Source,
    /// Its connections in the host.
    pub host: u32,
    /// Its connections in our table.
    pub counted: u32,
}

/// A recount under way.
pub struct Audit {
    by_source: HashMap<Source, Recount, RandomState>,
    connections: u64,
    uncounted: u64,
    counted: u64,
}

impl Audit {
    /// Reserves memory for `connections` connections of the host.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn new(connections: usize) -> Result<Audit, TryReserveError> {
        let mut by_source = HashMap::with_hasher(RandomState::new());
        by_source.try_reserve(connections)?;
        Ok(Audit {
            by_source,
            connections: 0,
            uncounted: 0,
            counted: 0,
        })
    }

    /// A connection of the host. `counted`: whether the host holds a token for it.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn connection(&mut self, source: Source, counted: bool) -> Result<(), TryReserveError> {
        self.connections += 1;
        if counted {
            self.recount(source)?.host += 1;
        } else {
            self.uncounted += 1;
        }
        Ok(())
    }

    /// Takes the counts of `limiter`.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn compare(&mut self, limiter: &Limiter) -> Result<(), TryReserveError> {
        for report in limiter.sources() {
            self.counted += u64::from(report.connections);
            let recount = self.recount(report.source)?;
            // a source is there once, except in damaged memory
            recount.counted = recount.counted.saturating_add(report.connections);
        }
        Ok(())
    }

    /// The host's connections.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// Those of the host's connections that have no token.
    pub fn uncounted(&self) -> u64 {
        self.uncounted
    }

    /// The sum of all counts.
    pub fn counted(&self) -> u64 {
        self.counted
    }

    /// All differences, in no order.
    pub fn differences(&self) -> impl Iterator<Item = Difference> + '_ {
        self.by_source
            .iter()
            .filter(|(_, recount)| recount.host != recount.counted)
            .map(|(&source, recount)| Difference {
                source,
                host: recount.host,
                counted: recount.counted,
            })
    }

    fn recount(&mut self, source: Source) -> Result<&mut Recount, TryReserveError> {
        self.by_source.try_reserve(1)?;
        Ok(self.by_source.entry(source).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Worker;
    use crate::source::Prefixes;

    #[test]
    fn finds_what_differs_and_only_that() {
        let limiter = Limiter::new(100, 0, Prefixes::DEFAULT).unwrap();
        let source = |n: u8| Source::new(&[127, 0, 0, n], Prefixes::DEFAULT).unwrap();
        for n in [1, 2, 2, 3] {
            limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        }
        let mut audit = Audit::new(4).unwrap();
        for n in [1, 2, 4] {
            audit.connection(source(n), true).unwrap();
        }
        audit.connection(source(5), false).unwrap();
        audit.compare(&limiter).unwrap();
        let mut found: Vec<_> = audit.differences().collect();
        found.sort_by_key(|d| d.source);
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
