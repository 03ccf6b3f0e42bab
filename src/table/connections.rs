// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Connections`]: one record for each connection, by its descriptor in the process that
//! accepts.
//!
//! While a connection is open, no other one has its descriptor. So the record needs no
//! search and no allocation, and any process of the host can find it: the descriptor is
//! only a number to it.
//!
//! # A record's life
//!
//! ```text
//!   bits of the state:  0–7 facts │ 8 open │ 9–31 generation
//!
//!             open: generation + 1              any process: add a fact
//!   closed ──────────────────────────▶ open ◀──────────────────────────┐
//!      ▲                                │ └────────────────────────────┘
//!      └──────── take: the facts ───────┘
//! ```
//!
//! The process that accepts opens a record, and only while the record is closed. All other
//! changes are compare-exchanges that require the record to be open and of the same
//! generation. So a fact that another process adds late, when the connection is closed or
//! its descriptor has a new connection, is dropped; and of two processes that take the
//! same connection one gets it. A generation comes back after 8,388,608 connections of one
//! descriptor; a token must not be used for that long.
//!
//! A connection that was moved to another source (`Facts::MOVED`) is counted in the cell that
//! [`moved`](super::moved) has for its descriptor. The cell in its record stays as it was.
//!
//! # If a process is killed in between
//!
//! A record is one word besides what it publishes, so it is open or closed, never in
//! between. If the process is killed before it opens the record, or after it took it, the
//! connection is counted but has no record, see [`crate::table`].

#![forbid(unsafe_code)]

use core::ffi::c_int;
use core::num::NonZeroU64;
use core::ops::BitOr;

use crate::shared::layout::Connection;
use crate::shared::region::Region;
use crate::shared::sync::{AtomicU32, Ordering};

/// A set of facts about a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts(u8);

impl Facts {
    /// Nothing is known.
    pub const NONE: Facts = Facts(0);
    /// It was accepted on a socket for TLS.
    pub const TLS: Facts = Facts(1);
    /// The client has sent a whole message, or as much as the host can say: it has sent
    /// something, or the host cannot say that it has not.
    pub const SPOKE: Facts = Facts(1 << 1);
    /// It was closed after a timeout.
    pub const TIMED_OUT: Facts = Facts(1 << 2);
    /// The host, not the client, wanted to close it.
    pub const CLOSED_BY_HOST: Facts = Facts(1 << 3);

    /// The script trusts it, see [`Limiter::trust`](crate::limiter::Limiter::trust).
    pub const TRUSTED: Facts = Facts(1 << 4);
    /// It was not trusted in time, see [`crate::limiter`]'s `trust`.
    pub(crate) const EXPIRED: Facts = Facts(1 << 5);
    /// It was moved to another source, see [`Limiter::count_for`](crate::limiter::Limiter::count_for).
    pub const MOVED: Facts = Facts(1 << 6);
    /// A process moves it at this moment.
    pub(crate) const MOVING: Facts = Facts(1 << 7);

    /// The facts that a host says.
    const OF_HOST: u8 = 0b1111;

    /// The facts with these bits. Other bits are ignored; a host cannot say that a
    /// connection is trusted.
    #[inline]
    pub fn from_bits(bits: u32) -> Facts {
        Facts(bits as u8 & Facts::OF_HOST)
    }

    /// The facts as an integer.
    #[inline]
    pub fn to_bits(self) -> u32 {
        self.0.into()
    }

    /// Those that a host can say.
    pub fn to_host(self) -> Facts {
        Facts(self.0 & Facts::OF_HOST)
    }

    /// All facts as an integer, also those that a host cannot say.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// The facts with these [`bits`](Self::bits).
    pub(crate) fn of_record(bits: u8) -> Facts {
        Facts(bits)
    }

    /// Whether the client spoke, and the connection was neither trusted nor moved.
    #[inline]
    pub(crate) fn are_usual(self) -> bool {
        self.0 & (Facts::SPOKE.0 | Facts::TRUSTED.0 | Facts::MOVED.0) == Facts::SPOKE.0
    }

    /// These without `other`.
    pub(crate) fn without(self, other: Facts) -> Facts {
        Facts(self.0 & !other.0)
    }

    /// Whether these include all of `other`.
    pub fn include(self, other: Facts) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Facts {
    type Output = Facts;

    #[inline]
    fn bitor(self, other: Facts) -> Facts {
        Facts(self.0 | other.0)
    }
}

/// Names an open connection; 64 bits, never 0.
///
/// ```text
///   bits 0–31 descriptor │ 32–63 state of its record when it opened, without facts
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionToken(NonZeroU64);

impl ConnectionToken {
    const STATE_SHIFT: u32 = 32;
    const OPEN: u64 = (State::OPEN as u64) << Self::STATE_SHIFT;

    /// `state` is open, without facts.
    #[inline]
    fn new(index: u32, state: State) -> ConnectionToken {
        // Never 0, since the state is open.
        let open = NonZeroU64::MIN.saturating_add(Self::OPEN - 1);
        ConnectionToken(open | u64::from(state.0) << Self::STATE_SHIFT | u64::from(index))
    }

    /// The token with these bits; `None` if they are not a token's.
    #[inline]
    pub fn from_bits(bits: u64) -> Option<ConnectionToken> {
        let token = NonZeroU64::new(bits).map(ConnectionToken);
        token.filter(|_| bits & Self::OPEN != 0)
    }

    /// The token as an integer, for the host to keep.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The descriptor.
    pub(crate) fn descriptor(self) -> c_int {
        self.index() as c_int
    }

    #[inline]
    fn index(self) -> usize {
        self.0.get() as u32 as usize
    }

    /// The lowest bits of the generation of its record.
    pub(crate) fn generation(self) -> u64 {
        self.0.get() >> (Self::STATE_SHIFT + State::GENERATION.trailing_zeros())
    }

    /// Whether `state` is that of the connection while it is open, whatever its facts.
    #[inline]
    fn is_of(self, state: State) -> bool {
        State((self.0.get() >> Self::STATE_SHIFT) as u32) == state.without_facts()
    }
}

/// Generation and facts of a record, as one word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State(u32);

impl State {
    const FACTS: u32 = 0xff;
    const OPEN: u32 = 1 << 8;
    const GENERATION: u32 = 1 << 9;

    #[inline]
    fn load(word: &AtomicU32, ordering: Ordering) -> State {
        State(word.load(ordering))
    }

    #[inline]
    fn is_open(self) -> bool {
        self.0 & Self::OPEN != 0
    }

    #[inline]
    fn without_facts(self) -> State {
        State(self.0 & !Self::FACTS)
    }

    fn facts(self) -> Facts {
        Facts(self.0 as u8)
    }

    /// Open, for the next connection. Must be closed.
    #[inline]
    fn opened(self) -> State {
        State(self.0.wrapping_add(Self::GENERATION + Self::OPEN))
    }

    #[inline]
    fn with(self, facts: Facts) -> State {
        State(self.0 | u32::from(facts.0))
    }

    /// Closed.
    #[inline]
    fn closed(self) -> State {
        State(self.0 & !(Self::FACTS | Self::OPEN))
    }
}

/// What the record of a connection held when it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The cell in which the connection is counted.
    pub(crate) cell: u64,
    /// The same in the network of its source, once it is known; 0: it does not count there.
    pub(crate) network: u64,
    pub(crate) facts: Facts,
}

/// The record of a descriptor, for the process that accepts.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    record: &'a Connection,
    descriptor: u32,
}

/// An open connection at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) token: ConnectionToken,
    /// The cell in which the connection is counted.
    pub(crate) cell: u64,
    pub(crate) facts: Facts,
    /// The second in which it opened.
    pub(crate) opened_at: u32,
}

impl Record<'_> {
    pub(crate) fn descriptor(self) -> c_int {
        self.descriptor as c_int
    }

    /// What the record holds; `None` if it is closed, or another connection opened meanwhile.
    pub(crate) fn look(self) -> Option<Seen> {
        // Acquire: sees what the record holds, see `open`.
        let state = State::load(&self.record.state, Ordering::Acquire);
        if !state.is_open() {
            return None;
        }
        // Relaxed (statistics).
        let opened_at = self.record.opened_at.load(Ordering::Relaxed);
        // Acquire: if it is the cell of a later connection, the state below is not the same,
        // see `open`.
        let cell = self.record.cell.load(Ordering::Acquire);
        // Acquire: for the facts that were added meanwhile, see `Connections::change`.
        let now = State::load(&self.record.state, Ordering::Acquire);
        (now.without_facts() == state.without_facts()).then(|| Seen {
            token: ConnectionToken::new(self.descriptor, state.without_facts()),
            cell,
            facts: now.facts(),
            opened_at,
        })
    }

    /// The token of the connection that is open with this descriptor.
    #[inline]
    pub(crate) fn token(self) -> Option<ConnectionToken> {
        // Relaxed: the token alone gives no access to what the record holds. A process that
        // found the connection in the host sees at least what was stored before the host
        // had it.
        let state = State::load(&self.record.state, Ordering::Relaxed);
        let token = ConnectionToken::new(self.descriptor, state.without_facts());
        state.is_open().then_some(token)
    }

    /// Opens the record for a connection that is counted in `cell`, at the second `now`.
    /// `None` if the record is still open: the end of the previous connection was not seen.
    /// Must be called by the process that has the descriptor.
    #[inline]
    pub(crate) fn open(self, cell: u64, facts: Facts, now: u32) -> Option<ConnectionToken> {
        let Connection {
            cell: word,
            state,
            opened_at,
        } = self.record;
        // Relaxed: no other process changes a closed record, and the host passed the
        // descriptor from the process that closed it.
        let before = State::load(state, Ordering::Relaxed);
        if before.is_open() {
            return None;
        }
        let opened = before.opened();
        // Release: a process that still reads the previous connection and sees this cell
        // also sees that the record was closed since, see `look`.
        word.store(cell, Ordering::Release);
        // Relaxed (statistics).
        opened_at.store(now, Ordering::Relaxed);
        // Release: a process that sees the record open also sees what it holds.
        state.store(opened.with(facts).0, Ordering::Release);
        Some(ConnectionToken::new(self.descriptor, opened))
    }
}

/// The records of all descriptors that are tracked.
#[derive(Clone, Copy)]
pub(crate) struct Connections<'a> {
    records: &'a [Connection],
}

impl<'a> Connections<'a> {
    #[inline]
    pub(crate) fn new(region: &'a Region) -> Connections<'a> {
        Connections {
            records: region.connections(),
        }
    }

    /// The number of descriptors that are tracked, from 0 on.
    #[inline]
    pub(crate) fn len(self) -> usize {
        self.records.len()
    }

    /// Whether the descriptor has a record.
    #[inline]
    pub(crate) fn is_tracked(self, descriptor: c_int) -> bool {
        // A negative number becomes one that is too high.
        (descriptor as u32 as usize) < self.records.len()
    }

    /// The record of a descriptor; `None` if it is not tracked.
    #[inline]
    pub(crate) fn record(self, descriptor: c_int) -> Option<Record<'a>> {
        // A negative number becomes one that is too high.
        let descriptor = descriptor as u32;
        let record = self.records.get(descriptor as usize)?;
        Some(Record { record, descriptor })
    }

    /// Closes the record of the connection that `token` names. `None` if the connection
    /// was taken before.
    #[inline]
    pub(crate) fn take(self, token: ConnectionToken) -> Option<Taken> {
        let record = self.records.get(token.index())?;
        // Relaxed: the exchange decides.
        let mut state = State::load(&record.state, Ordering::Relaxed);
        while token.is_of(state) {
            // Acquire: sees the cell that was stored when the record was opened. Another
            // process can at most have added a fact, which is part of this word.
            let closed = record.state.compare_exchange(
                state.0,
                state.closed().0,
                Ordering::Acquire,
                Ordering::Relaxed,
            );
            match closed {
                Ok(_) => {
                    return Some(Taken {
                        // Relaxed: the next connection has not opened the record yet.
                        cell: record.cell.load(Ordering::Relaxed),
                        network: 0,
                        facts: state.facts(),
                    });
                }
                Err(now) => state = State(now),
            }
        }
        None
    }

    /// Adds `facts` to the connection that `token` names. Any process may do this. `false`
    /// if the connection is closed.
    pub(crate) fn mark(self, token: ConnectionToken, facts: Facts) -> bool {
        let Some(record) = self.records.get(token.index()) else {
            return false;
        };
        let add = |state| {
            let state = State(state);
            token.is_of(state).then_some(state.with(facts).0)
        };
        // Relaxed: the facts are part of this word and publish nothing else.
        record
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    /// Adds a fact to the connection that `token` names, or removes it. Returns whether that
    /// changed anything; `None` if the connection is closed. Any process may do this.
    pub(crate) fn change(self, token: ConnectionToken, fact: Facts, add: bool) -> Option<bool> {
        self.update(token, |facts| {
            Some(match add {
                true => facts | fact,
                false => facts.without(fact),
            })
        })
    }

    /// As [`change`](Self::change), for a connection that is not moved. `Some(false)` also if
    /// it is.
    pub(crate) fn change_unmoved(
        self,
        token: ConnectionToken,
        fact: Facts,
        add: bool,
    ) -> Option<bool> {
        self.update(token, |facts| match facts.include(Facts::MOVED) {
            true => None,
            false if add => Some(facts | fact),
            false => Some(facts.without(fact)),
        })
    }

    /// Makes the connection that `token` names one that was moved, whose trust is kept
    /// elsewhere. Returns whether it was as `trusted` as the caller found it; otherwise nothing
    /// has changed. `None` if the connection is closed.
    pub(crate) fn begin_moved(self, token: ConnectionToken, trusted: bool) -> Option<bool> {
        self.update(token, |facts| {
            let is_same = facts.include(Facts::TRUSTED) == trusted;
            is_same.then(|| (facts | Facts::MOVED).without(Facts::TRUSTED))
        })
    }

    /// Replaces the facts of the connection that `token` names by `next`. Returns whether that
    /// changed anything; `None` if the connection is closed.
    fn update(self, token: ConnectionToken, next: impl Fn(Facts) -> Option<Facts>) -> Option<bool> {
        let record = self.records.get(token.index())?;
        // Relaxed: the exchange decides.
        let mut state = State::load(&record.state, Ordering::Relaxed);
        while token.is_of(state) {
            let next = match next(state.facts()) {
                Some(facts) => state.without_facts().with(facts),
                None => return Some(false),
            };
            if next == state {
                return Some(false);
            }
            // Release: a process that takes the connection, or looks at it, and finds the fact
            // also sees what was done for it before, see `crate::table::trusted` and
            // `crate::table::moved`. Acquire: the same for a process that moves it after
            // another one.
            let changed =
                record
                    .state
                    .compare_exchange(state.0, next.0, Ordering::AcqRel, Ordering::Relaxed);
            match changed {
                Ok(_) => return Some(true),
                Err(now) => state = State(now),
            }
        }
        None
    }

    /// What the record of the connection that `token` names holds. `None` if the connection
    /// is closed.
    pub(crate) fn look(self, token: ConnectionToken) -> Option<Seen> {
        let seen = self.record(token.index() as c_int)?.look()?;
        (seen.token == token).then_some(seen)
    }

    /// Whether the connection that `token` names is open.
    pub(crate) fn is_open(self, token: ConnectionToken) -> bool {
        // Acquire: what the caller does next comes after this.
        let state = |record: &Connection| State::load(&record.state, Ordering::Acquire);
        let record = self.records.get(token.index());
        record.is_some_and(|record| token.is_of(state(record)))
    }

    /// Each open connection. One that opens or closes meanwhile may be missing.
    pub(crate) fn all(self) -> impl Iterator<Item = Seen> + 'a {
        let records = (0..).zip(self.records);
        records.filter_map(|(descriptor, record)| Record { record, descriptor }.look())
    }
}
