// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Restraints`]: what one source owes. Its debt is what it has yet to pay for connections
//! at its rate; its penalty adds up its offences, and is a ban from some sum on.
//!
//! Each is one word in the source's [`Detail`] (see [`tagged`](crate::table::tagged)),
//! changed by compare-exchange, so an update is never lost and never half done. After each
//! write the slot is made to remember it, see [`crate::table`]'s directory.

#![forbid(unsafe_code)]

use crate::shared::layout::{Detail, MAX_NODES};
use crate::shared::sync::{AtomicU64, Ordering, Statistic32};
use crate::table::tagged::{Debt, NOTHING, Penalty, Sentence, Tag, is_of};
use crate::table::{SlotRef, Table};

/// What the source with the slot `at` owes. Times are those of the limiter's clock:
/// microseconds for debts, milliseconds for penalties.
#[derive(Clone, Copy)]
pub(crate) struct Restraints<'a> {
    table: Table<'a>,
    at: SlotRef,
    tag: Tag,
    detail: &'a Detail,
    more: &'a Statistic32,
}

/// More about a ban is in a second word of its slot, which only reports need:
///
/// ```text
///   bits 0–25 connections rejected since it began │ 26–30 the index of the node of the cluster
///   that set it │ 31 a command ended it and logged that
/// ```
///
/// A ban that begins clears it.
const END_IS_LOGGED: u32 = 1 << 31;
const NODE: u32 = 26;
const REJECTED: u32 = (1 << NODE) - 1;

const _: () = assert!(MAX_NODES <= (END_IS_LOGGED >> NODE) as usize);

/// What an offence or a command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The source is not banned.
    Free,
    /// The source is banned from now on.
    Begins,
    /// The source was banned before.
    Lasts,
}

impl<'a> Restraints<'a> {
    pub(crate) fn new(table: Table<'a>, at: SlotRef, tag: Tag) -> Restraints<'a> {
        Restraints {
            table,
            at,
            tag,
            detail: table.detail(at.slot),
            more: table.ban_rejected(at.slot),
        }
    }

    /// The microseconds that the source owes.
    pub(crate) fn owed(self, now: u64) -> u64 {
        Debt(load(&self.detail.debt)).owed(self.tag, now)
    }

    /// Adds `cost` to the debt if it is then at most `most`, both in microseconds. `false`
    /// if it would be more; then nothing has changed. The slot must not be taken meanwhile,
    /// which a counted connection ensures, or else the debt may be forgotten.
    pub(crate) fn charge(self, now: u64, cost: u64, most: u64) -> bool {
        let changed = self.change(&self.detail.debt, |word| {
            let owed = Debt(word).owed(self.tag, now) + cost;
            (owed <= most).then(|| Debt::new(self.tag, now, owed).0)
        });
        changed.is_some()
    }

    /// Subtracts `cost` from the debt again, in microseconds.
    pub(crate) fn refund(self, now: u64, cost: u64) {
        // Without a debt of this source there is nothing to subtract.
        let _ = self.change(&self.detail.debt, |word| {
            let owed = Debt(word).owed(self.tag, now);
            (owed > 0).then(|| Debt::new(self.tag, now, owed.saturating_sub(cost)).0)
        });
    }

    /// The offences of the source or its ban.
    pub(crate) fn sentence(self, now: u64) -> Option<Sentence> {
        Penalty(load(&self.detail.penalty)).sentence(self.tag, now)
    }

    /// The ban of the source.
    pub(crate) fn ban(self, now: u64) -> Option<Sentence> {
        self.sentence(now).filter(|sentence| sentence.banned)
    }

    /// Adds an offence of `weight` milliseconds. The sum is at most `most`, and a ban from
    /// `least` on. A ban that was set for longer is not shortened. The reason of a ban is
    /// that of the offence with which it began. `None` if the source lost its slot.
    pub(crate) fn offend(
        self,
        now: u64,
        weight: u64,
        reason: u8,
        (least, most): (u64, u64),
    ) -> Option<Outcome> {
        self.sentenced(now, |before| {
            let owed = before.map_or(0, |before| before.left);
            let was_banned = before.is_some_and(|before| before.banned);
            let left = owed.max((owed + weight).min(most));
            let reason = match before {
                Some(before) if before.banned => before.reason,
                _ => reason,
            };
            Sentence {
                left,
                banned: was_banned || left >= least,
                reason,
            }
        })
    }

    /// Bans the source as `ban` says, whatever it did before, except that a ban that ends
    /// later is kept if `keeps` says so of its reason. `None` if the source lost its slot.
    pub(crate) fn set_ban(
        self,
        now: u64,
        ban: Sentence,
        keeps: impl Fn(u8) -> bool,
    ) -> Option<Outcome> {
        self.sentenced(now, |before| match before {
            Some(before) if before.banned && before.left > ban.left && keeps(before.reason) => {
                before
            }
            _ => ban,
        })
    }

    /// Forgives all offences, and ends a ban. `is_logged` says that a log line says so.
    /// Returns what there was.
    pub(crate) fn forgive(self, now: u64, is_logged: bool) -> Option<Sentence> {
        self.forgive_if(now, is_logged, |_| true)
    }

    /// The same if there is a ban with this reason.
    pub(crate) fn forgive_ban(self, now: u64, reason: u8) -> Option<Sentence> {
        self.forgive_if(now, false, |ban| ban.banned && ban.reason == reason)
    }

    fn forgive_if(
        self,
        now: u64,
        is_logged: bool,
        is_wanted: impl Fn(Sentence) -> bool,
    ) -> Option<Sentence> {
        if is_logged && self.sentence(now).is_some() {
            // Relaxed: the background process, which reads it after the penalty (SeqCst), sees
            // it if it sees the penalty of below.
            self.more.fetch_or(END_IS_LOGGED, Ordering::Relaxed);
        }
        let penalty = &self.detail.penalty;
        // total order: the background process may clear the word at the same time. The bit of
        // the slot stays set until it looks again.
        let before = penalty.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |word| {
            let is_left = || Penalty(word).sentence(self.tag, now).is_none_or(&is_wanted);
            (is_of(word, self.tag) && is_left()).then_some(NOTHING)
        });
        Penalty(before.ok()?).sentence(self.tag, now)
    }

    /// Counts a connection that was rejected because of the ban.
    pub(crate) fn count_rejected(self) {
        // Relaxed (statistics), here and below. The largest number is kept, up to as many as
        // there are processes that reject at the same moment.
        if self.rejected() <= REJECTED / 2 {
            self.more.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The connections that were rejected since the ban began, at most 2²⁵.
    pub(crate) fn rejected(self) -> u32 {
        self.more.load(Ordering::Relaxed) & REJECTED
    }

    /// The node of the cluster that set the ban, if its cause says so.
    pub(crate) fn node(self) -> u8 {
        ((self.more.load(Ordering::Relaxed) & !END_IS_LOGGED) >> NODE) as u8
    }

    /// To be called after a node of the cluster set the ban. Only one process does so.
    pub(crate) fn set_node(self, node: u8) {
        // The difference, because other processes add rejections meanwhile.
        let change = u32::from(node).wrapping_sub(self.node().into()) << NODE;
        self.more.fetch_add(change, Ordering::Relaxed);
    }

    /// Whether a log line says that the last ban ended, because a command ended it.
    pub(crate) fn end_is_logged(self) -> bool {
        self.more.load(Ordering::Relaxed) & END_IS_LOGGED != 0
    }

    /// Clears the words that are paid off, and makes the slot forget if nothing is left.
    /// `now` is in microseconds.
    pub(crate) fn settle(self, now: u64) {
        if self.is_owing(now, true) {
            return;
        }
        // total order: the words are read again after the bit was cleared, see the
        // directory's documentation.
        if let Some(at) = self.table.forget(self.at)
            && self.is_owing(now, false)
        {
            self.table.remember(at);
        }
    }

    /// Whether the source owes anything. Clears the words that are paid off if it shall.
    fn is_owing(self, now: u64, clear: bool) -> bool {
        let debt = load(&self.detail.debt);
        let penalty = load(&self.detail.penalty);
        let owes = Debt(debt).owed(self.tag, now) > 0;
        let is_sentenced = Penalty(penalty).sentence(self.tag, now / 1_000).is_some();
        if clear {
            // If the word changed meanwhile, it is not cleared, and is looked at again.
            for (word, read, keep) in [
                (&self.detail.debt, debt, owes),
                (&self.detail.penalty, penalty, is_sentenced),
            ] {
                if !keep && is_of(read, self.tag) {
                    let _ =
                        word.compare_exchange(read, NOTHING, Ordering::SeqCst, Ordering::Relaxed);
                }
            }
        }
        owes || is_sentenced
    }

    /// Copies what the same source owed in its former slot.
    pub(crate) fn carry(self, from: Restraints<'_>, now: u64) {
        let owed = from.owed(now);
        if owed > 0 {
            self.charge(now, owed, Debt::MAX);
        }
        if let Some(sentence) = from.sentence(now / 1_000) {
            let more = from.more.load(Ordering::Relaxed) & !END_IS_LOGGED;
            self.sentenced(now / 1_000, |_| sentence);
            self.more.store(more, Ordering::Relaxed);
        }
    }

    /// Replaces the sentence by what `pass` makes of it.
    fn sentenced(self, now: u64, pass: impl Fn(Option<Sentence>) -> Sentence) -> Option<Outcome> {
        let changed = self.change(&self.detail.penalty, |word| {
            let sentence = pass(Penalty(word).sentence(self.tag, now));
            Some(Penalty::new(self.tag, now, sentence).0)
        });
        let (before, is_remembered) = changed?;
        if !is_remembered {
            return None;
        }
        let before = Penalty(before).sentence(self.tag, now);
        let is_banned = pass(before).banned;
        Some(
            match (before.is_some_and(|before| before.banned), is_banned) {
                (_, false) => Outcome::Free,
                (true, true) => Outcome::Lasts,
                (false, true) => {
                    self.more.store(0, Ordering::Relaxed);
                    Outcome::Begins
                }
            },
        )
    }

    /// Changes a word, and then makes the slot remember it. Returns the word before, and
    /// whether the source still has the slot. `None` if `change` returned none.
    fn change(self, word: &AtomicU64, change: impl Fn(u64) -> Option<u64>) -> Option<(u64, bool)> {
        // total order: written before the bit is read, see the directory's documentation.
        let before = word
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, change)
            .ok()?;
        Some((before, self.table.remember(self.at)))
    }
}

/// Whether the source that had the slot `at` still owes something. `now` is in microseconds.
pub(crate) fn owed_something(table: Table<'_>, at: SlotRef, now: u64) -> bool {
    let detail = table.detail(at.slot);
    let epoch = at.control.epoch();
    Debt(load(&detail.debt)).owed_in(epoch, now) > 0
        || Penalty(load(&detail.penalty))
            .sentence_in(epoch, now / 1_000)
            .is_some()
}

fn load(word: &AtomicU64) -> u64 {
    // total order: a reading after the bit was cleared must see what was written before the
    // bit was looked at, see the directory's documentation.
    word.load(Ordering::SeqCst)
}
