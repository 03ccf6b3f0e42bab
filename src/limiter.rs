// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Limiter`]: the story. May this source open one more connection? It did. It
//! closed one.

#![forbid(unsafe_code)]

use core::num::NonZeroU64;

use crate::hash::SourceHash;
use crate::region::{Geometry, HOME_ROW, ROWS, Region, RegionError, Tally};
use crate::rows::Rows;
use crate::source::{Prefixes, Source};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::table::{ClaimError, Place, Table};

/// A worker of the server, as a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker(usize);

impl Worker {
    /// The worker that accepts connections: its cells lie in the slots
    /// themselves, so it is the fastest one.
    pub const ACCEPTOR: Worker = Worker(HOME_ROW);

    /// Worker `number`; 0 is [`ACCEPTOR`](Self::ACCEPTOR). More workers than rows
    /// share rows.
    pub fn new(number: u32) -> Worker {
        match number as usize {
            HOME_ROW => Worker(HOME_ROW),
            other => Worker(1 + (other - 1) % (ROWS - 1)),
        }
    }
}

/// Names the cell in which a connection is counted; 64 bits, never 0.
///
/// ```text
///   bits 0–31 slot + 1 │ 32–39 row │ 40–51 epoch of the slot
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(NonZeroU64);

impl Token {
    const ROW_SHIFT: u32 = 32;
    const EPOCH_SHIFT: u32 = 40;

    fn new(slot: usize, row: usize, epoch: u32) -> Token {
        let slot = NonZeroU64::MIN.saturating_add(slot as u64);
        Token(slot | (row as u64) << Self::ROW_SHIFT | u64::from(epoch) << Self::EPOCH_SHIFT)
    }

    /// The token that `bits` are; `None` for 0.
    pub fn from_bits(bits: u64) -> Option<Token> {
        NonZeroU64::new(bits).map(Token)
    }

    /// As an integer, for a host to keep.
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// Slot, row and epoch; `None` if no token looks like this.
    fn parts(self) -> Option<(usize, usize, u32)> {
        let bits = self.0.get();
        let slot = (bits as u32).checked_sub(1)? as usize;
        let row = (bits >> Self::ROW_SHIFT & 0xff) as usize;
        let epoch = u32::try_from(bits >> Self::EPOCH_SHIFT).ok()?;
        (row < ROWS).then_some((slot, row, epoch))
    }
}

/// A source that is at its limit or over it.
#[derive(Clone, Copy, Debug)]
pub struct Rejection {
    place: Place,
    /// Its connections.
    pub connections: i32,
    /// Its limit.
    pub limit: i32,
}

/// Why a connection was not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCounted {
    /// It would have been one more than the limit.
    OverLimit,
    /// The table has no place for its source.
    TableFull,
}

/// The token does not name a cell with a connection: it was released before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleToken;

/// The numbers since the start, over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that were counted. May fall short where several threads of a
    /// process, or workers that share a row, open connections at the same moment;
    /// Kamailio's TCP main opens one at a time.
    pub admitted: u64,
    /// Connections that were refused.
    pub rejected: u64,
    /// Panics that were stopped at the C boundary.
    pub panics: u64,
    /// Connections admitted uncounted because the table had no place.
    pub table_full: u64,
    /// Calls with an address that is neither IPv4 nor IPv6.
    pub bad_address: u64,
    /// Releases of a token that names no connection.
    pub stale_token: u64,
}

/// What went wrong, for [`Limiter::note`].
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// See [`Totals::panics`].
    Panic,
    /// See [`Totals::bad_address`].
    BadAddress,
}

/// Seconds between two logged rejections of a source.
pub const LOG_INTERVAL: u32 = 60;

/// Counts connections by source, in memory that all processes forked from its
/// maker share.
pub struct Limiter {
    region: Region,
    hash: SourceHash,
    prefixes: Prefixes,
    max_connections: u32,
    /// The slot in which this process last found a source. Who opens a connection
    /// has just checked it, as a rule, so `opened` looks here first and need not
    /// search again. A hint: whether the source is there is seen in the slot.
    recent: AtomicU32,
}

impl Limiter {
    /// For up to `max_connections` connections (1 to 100,000,000) at a time. At a
    /// `limit` of 0 or less all are admitted.
    ///
    /// # Errors
    ///
    /// A sentence that names the value or the reason.
    pub fn new(max_connections: u32, limit: i32, prefixes: Prefixes) -> Result<Limiter, String> {
        let geometry = Geometry::for_connections(max_connections).ok_or_else(|| {
            format!(
                "max_connections {max_connections}: must be 1 to {}",
                Geometry::MAX_CONNECTIONS
            )
        })?;
        Self::with_geometry(geometry, max_connections, limit, prefixes).map_err(|e| e.to_string())
    }

    pub(crate) fn with_geometry(
        geometry: Geometry,
        max_connections: u32,
        limit: i32,
        prefixes: Prefixes,
    ) -> Result<Limiter, RegionError> {
        let region = Region::create(geometry)?;
        region.header().limit.store(limit, Ordering::Relaxed);
        Ok(Limiter {
            region,
            hash: SourceHash::new(),
            prefixes,
            max_connections,
            recent: AtomicU32::new(0),
        })
    }

    /// May `source` open one more connection, by the configured limit?
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not.
    #[inline]
    pub fn check(&self, source: Source) -> Result<(), Rejection> {
        self.check_against(source, self.limit())
    }

    /// May `source` open one more connection, by `limit`?
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not.
    #[inline]
    pub fn check_against(&self, source: Source, limit: i32) -> Result<(), Rejection> {
        if limit <= 0 {
            return Ok(());
        }
        let table = self.table();
        while let Some(place) = table.find(source) {
            let connections = self.rows().sum(place.slot, place.control.rows());
            if connections < limit {
                // Relaxed: a hint
                self.recent.store(place.slot as u32, Ordering::Relaxed);
                break;
            }
            // before refusing anybody: were they this source's connections? If
            // not, another process replaced the source meanwhile, once a turn.
            if table.held(place).is_some() {
                return Err(Rejection {
                    place,
                    connections,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Counts a rejection of [`check`](Self::check) by `worker`. Whether it is to
    /// be logged: once per source and [`LOG_INTERVAL`]. `now` is in seconds.
    pub fn rejected(&self, worker: Worker, rejection: Rejection, now: u32) -> bool {
        // statistics
        self.tally(worker).rejected.fetch_add(1, Ordering::Relaxed);
        let detail = self.table().detail(rejection.place.slot);
        let epoch = rejection.place.control.epoch();
        if detail.epoch.swap(epoch, Ordering::Relaxed) != epoch {
            detail.rejected.store(0, Ordering::Relaxed);
            detail.logged_at.store(0, Ordering::Relaxed);
        }
        detail.rejected.fetch_add(1, Ordering::Relaxed);
        let stamp = now.wrapping_add(1).max(1);
        let last = detail.logged_at.load(Ordering::Relaxed);
        (last == 0 || stamp.wrapping_sub(last) >= LOG_INTERVAL)
            // of several processes one logs
            && detail
                .logged_at
                .compare_exchange(last, stamp, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Counts a connection of `source` that `worker` opened.
    ///
    /// With a `limit` above 0 the connection is counted only if the source has
    /// then at most so many. This holds among any number of workers; two that
    /// race for the last place may both be refused. Without a limit it is counted
    /// in any case.
    ///
    /// # Errors
    ///
    /// [`NotCounted`], and there is nothing to release.
    #[inline]
    pub fn opened(&self, worker: Worker, source: Source, limit: i32) -> Result<Token, NotCounted> {
        let (table, rows) = (self.table(), self.rows());
        loop {
            // Relaxed: a hint
            let recent = self.recent.load(Ordering::Relaxed) as usize;
            let found = match table.live_at(recent, source, worker.0) {
                Some(place) => Ok(place),
                None => table.find_or_claim(source, worker.0),
            };
            let place = match found {
                Ok(place) => place,
                Err(ClaimError::Full | ClaimError::Contended) => {
                    // statistics
                    self.tally(worker)
                        .table_full
                        .fetch_add(1, Ordering::Relaxed);
                    return Err(NotCounted::TableFull);
                }
            };
            rows.add(worker.0, place.slot);
            let Some(place) = table.held(place) else {
                // lost the slot to another source between find and add; each
                // turn takes another process that claimed just then
                rows.take_off(worker.0, place.slot);
                continue;
            };
            if limit > 0 && rows.sum(place.slot, place.control.rows()) > limit {
                rows.take_off(worker.0, place.slot);
                return Err(NotCounted::OverLimit);
            }
            self.count_admitted(worker);
            return Ok(Token::new(place.slot, worker.0, place.control.epoch()));
        }
    }

    /// Takes off the connection that `token` was given for. Any process may do
    /// it; `worker` is the one that does.
    ///
    /// # Errors
    ///
    /// [`StaleToken`] if the token was made up, or was released before and its
    /// cell has no connection left; nothing has changed. A token that is released
    /// twice while its source has other connections opened by the same worker
    /// cannot be told from one of theirs: the host must release a token once.
    #[inline]
    pub fn closed(&self, worker: Worker, token: Token) -> Result<(), StaleToken> {
        let released = token.parts().is_some_and(|(slot, row, epoch)| {
            self.table().in_use_since(slot, epoch) && self.rows().take_off(row, slot)
        });
        if released {
            return Ok(());
        }
        // statistics
        self.tally(worker)
            .stale_token
            .fetch_add(1, Ordering::Relaxed);
        Err(StaleToken)
    }

    /// Counts a fault that `worker` ran into.
    pub fn note(&self, worker: Worker, fault: Fault) {
        let tally = self.tally(worker);
        let counter = match fault {
            Fault::Panic => &tally.panics,
            Fault::BadAddress => &tally.bad_address,
        };
        // statistics
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The configured limit.
    #[inline]
    pub fn limit(&self) -> i32 {
        // Relaxed: it stands alone
        self.region.header().limit.load(Ordering::Relaxed)
    }

    /// The configured prefixes.
    pub fn prefixes(&self) -> Prefixes {
        self.prefixes
    }

    /// Connections the table is made for.
    pub fn max_connections(&self) -> u32 {
        self.max_connections
    }

    /// Bytes of shared memory mapped; what was never used takes no memory.
    pub fn bytes(&self) -> usize {
        self.region.bytes()
    }

    /// The numbers since the start.
    pub fn totals(&self) -> Totals {
        let sum = |pick: fn(&Tally) -> &AtomicU64| {
            let tallies = self.region.header().tallies.iter();
            // statistics
            tallies.map(|t| pick(t).load(Ordering::Relaxed)).sum()
        };
        Totals {
            admitted: sum(|t| &t.admitted),
            rejected: sum(|t| &t.rejected),
            panics: sum(|t| &t.panics),
            table_full: sum(|t| &t.table_full),
            bad_address: sum(|t| &t.bad_address),
            stale_token: sum(|t| &t.stale_token),
        }
    }

    #[inline]
    pub(crate) fn table(&self) -> Table<'_> {
        Table::new(&self.region, &self.hash, self.prefixes)
    }

    #[inline]
    pub(crate) fn rows(&self) -> Rows<'_> {
        Rows::new(&self.region)
    }

    /// Without the cost of an atomic addition, since this runs for every
    /// connection: exact as long as no two calls for workers of one row overlap,
    /// else it may miss one.
    #[inline]
    fn count_admitted(&self, worker: Worker) {
        let admitted = &self.tally(worker).admitted;
        // statistics
        let before = admitted.load(Ordering::Relaxed);
        admitted.store(before + 1, Ordering::Relaxed);
    }

    #[inline]
    fn tally(&self, worker: Worker) -> &Tally {
        &self.region.header().tallies[worker.0]
    }
}
