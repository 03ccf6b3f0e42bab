// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Trusted`]: how many connections of one source are trusted, in one word.
//!
//! ```text
//!   bits 0–27 connections │ 28–39 round │ 40–63 tag of the source
//! ```
//!
//! As with [`tagged`](super::tagged) words, a source that has the slot does not read the
//! word of another one: that says that none of its connections is trusted.
//!
//! # The word and the records
//!
//! A connection is trusted if its record says so (`Facts::TRUSTED`). A process that trusts one
//! first adds it here and then changes the record; all others first change the record and
//! then subtract it here. So the word is never less than the number of trusted records, and
//! is more only while a process is between the two steps, or was killed there. That is in
//! favour of the source: it has one more trusted connection.
//!
//! When the first connection of a source opens, no connection of it is trusted. Then what
//! killed processes left is dropped, and the *round* grows, so that a process that was
//! stopped between its two steps finds that its connection is no longer in the word and does
//! not subtract it. A stopped process subtracts a connection of a later round only if the
//! number of rounds since is a multiple of 4,096.

#![forbid(unsafe_code)]

use crate::shared::sync::{AtomicU64, Ordering};
use crate::table::tagged::{Tag, is_of};
use crate::table::{SlotRef, Table};

/// The trusted connections of the source with the slot `at`.
#[derive(Clone, Copy)]
pub(crate) struct Trusted<'a> {
    table: Table<'a>,
    at: SlotRef,
    tag: Tag,
    word: &'a AtomicU64,
}

/// The round in which a connection was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round(u64);

const COUNT_BITS: u32 = 28;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const ROUND: u64 = 0xfff << COUNT_BITS;

impl<'a> Trusted<'a> {
    /// `None` if trusted connections are not counted.
    #[inline]
    pub(crate) fn new(
        table: Table<'a>,
        words: &'a [AtomicU64],
        at: SlotRef,
        tag: Tag,
    ) -> Option<Trusted<'a>> {
        let word = words.get(at.slot)?;
        Some(Trusted {
            table,
            at,
            tag,
            word,
        })
    }

    /// The trusted connections; more than the source has if a process was killed, see the
    /// module's documentation.
    pub(crate) fn count(self) -> u32 {
        // Relaxed: the word stands alone.
        let word = self.word.load(Ordering::Relaxed);
        match is_of(word, self.tag) {
            true => (word & COUNT) as u32,
            false => 0,
        }
    }

    /// Adds one connection. `None` if the source lost the slot.
    pub(crate) fn add(self) -> Option<Round> {
        // Acquire: if the word is that of a later owner of the slot, which stored it (Release)
        // after it had the slot, then the slot below is seen to be that owner's.
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let is_ours = is_of(word, self.tag);
            // The word of another owner is replaced only while the slot is ours. If it becomes
            // another one's afterwards, and that one writes the word, then the exchange below
            // fails. If it does not write, the word that is stored here means nothing to it.
            if !is_ours && !self.table.is_owned_since(self.at) {
                return None;
            }
            let next = match is_ours {
                // A table has fewer connections than fit, except in damaged memory.
                true => word.wrapping_add(1),
                false => self.tag.word(1),
            };
            match self.exchange(word, next) {
                Ok(()) => return Some(Round(next & ROUND)),
                Err(now) => word = now,
            }
        }
    }

    /// The present round, for a connection that is trusted.
    pub(crate) fn round(self) -> Round {
        // Relaxed: the round does not change while the source has a trusted connection, and the
        // caller has found in the record (Acquire) that the connection is trusted, so it sees
        // the word with it.
        Round(self.word.load(Ordering::Relaxed) & ROUND)
    }

    /// Subtracts a connection that was added in `round`, unless all were dropped since.
    pub(crate) fn subtract(self, round: Round) {
        // Relaxed: the caller sees the word with the connection, see `round`, or has added it.
        let mut word = self.word.load(Ordering::Relaxed);
        while is_of(word, self.tag) && word & ROUND == round.0 && word & COUNT > 0 {
            match self.exchange(word, word - 1) {
                Ok(()) => return,
                Err(now) => word = now,
            }
        }
    }

    /// Drops what killed processes left, if `is_first` then says that the source has no other
    /// connection than one that just opened.
    pub(crate) fn drop_rest(self, is_first: impl FnOnce() -> bool) {
        // Acquire: `is_first` reads the counts after this.
        let word = self.word.load(Ordering::Acquire);
        if !is_of(word, self.tag) || word & COUNT == 0 || !is_first() {
            return;
        }
        // No connection was trusted when the counts were read. One that was before has been
        // subtracted before it closed, and one that is later is added: either changes the
        // word, unless it is no longer in it. So if the word is the same, all of it is left
        // over. If it is not, the rest stays until the source opens its first connection again.
        let round = (word & ROUND).wrapping_add(1 << COUNT_BITS) & ROUND;
        let _ = self.exchange(word, self.tag.word(round));
    }

    fn exchange(self, from: u64, to: u64) -> Result<(), u64> {
        // Release: see `add`. Acquire on failure: as the load there.
        let exchanged = self
            .word
            .compare_exchange(from, to, Ordering::Release, Ordering::Acquire);
        exchanged.map(|_| ())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::limiter::{Limiter, Worker};
    use crate::source::{PrefixLengths, Source};
    use crate::table::details::Owner;

    fn with_one_connection(test: impl FnOnce(&Limiter, Trusted<'_>)) {
        let limiter = Limiter::with_trust(10, 0, PrefixLengths::DEFAULT).unwrap();
        let source = Source::new(&[192, 0, 2, 1], PrefixLengths::DEFAULT).unwrap();
        limiter.opened(Worker::ACCEPTOR, source, 0).unwrap();
        let at = limiter.table().find(source).unwrap();
        let owner = Owner::of(limiter.table(), source, at);
        test(&limiter, limiter.trusted_at(owner, at).unwrap());
    }

    #[test]
    fn connections_are_added_and_subtracted() {
        with_one_connection(|_, trusted| {
            assert_eq!(trusted.count(), 0);
            let first = trusted.add().unwrap();
            let second = trusted.add().unwrap();
            assert_eq!((trusted.count(), first), (2, second));
            trusted.subtract(first);
            trusted.subtract(second);
            trusted.subtract(second);
            assert_eq!(trusted.count(), 0);
        });
    }

    /// A process is stopped between its two steps, while the source has no connection for a
    /// moment: it subtracts nothing afterwards.
    #[test]
    fn late_process_subtracts_nothing_of_a_later_round() {
        with_one_connection(|_, trusted| {
            for _ in 0..10_000 {
                let late = trusted.add().unwrap();
                trusted.drop_rest(|| true);
                assert_eq!(trusted.count(), 0);
                trusted.add().unwrap();
                trusted.subtract(late);
                assert_eq!(trusted.count(), 1);
                trusted.drop_rest(|| true);
            }
        });
    }

    #[test]
    fn only_the_rest_is_dropped() {
        with_one_connection(|_, trusted| {
            trusted.add().unwrap();
            trusted.drop_rest(|| false);
            assert_eq!(trusted.count(), 1);
            // Another connection is trusted at this moment.
            trusted.drop_rest(|| trusted.add().is_some());
            assert_eq!(trusted.count(), 2);
        });
    }
}
