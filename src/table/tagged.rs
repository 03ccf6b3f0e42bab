// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Debt`] and [`Penalty`]: what a source owes, each in one word that says to whom it
//! belongs.
//!
//! Both words begin with a [`Tag`] of the owner. So a new owner of the slot need not clear
//! the words of the previous one, and a process that writes late, for a source that lost its
//! slot, never charges the source that has it now: that source does not read words with
//! other tags. At worst its own word is replaced, and what it owed is forgotten.
//!
//! Times wrap around, and are compared as differences with a sign. The background process
//! clears words that are paid off long before half of the range has passed, so no old word
//! is mistaken for one in the future.

#![forbid(unsafe_code)]

/// Distinguishes an owner of a slot from others: 12 bits of its epoch and 12 bits of its
/// identity. A previous owner of the same slot has the same tag only if the number of claims
/// between the two is a multiple of 4,096, and then with a probability of 2⁻¹².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(u64);

impl Tag {
    const BITS: u32 = 24;
    const SHIFT: u32 = 64 - Self::BITS;

    /// `epoch` has 12 bits. `identity` may have any number of bits, on all of which the tag
    /// depends.
    pub(crate) fn new(epoch: u32, identity: u64) -> Tag {
        // The upper bits of the product depend on all bits of the identity.
        let mixed = identity.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - 12);
        Tag(u64::from(epoch & 0xfff) << 12 | mixed)
    }

    /// The word with this tag and these lower 40 bits.
    pub(super) fn word(self, rest: u64) -> u64 {
        self.0 << Self::SHIFT | rest & (u64::MAX >> Self::BITS)
    }

    fn of(word: u64) -> Tag {
        Tag(word >> Self::SHIFT)
    }

    /// The epoch of the owner.
    fn epoch(self) -> u32 {
        (self.0 >> 12) as u32
    }
}

/// How long after `now` the time `end` is, if both have `bits` bits and wrap around; 0 if
/// `end` is not after `now`.
fn time_left(end: u64, now: u64, bits: u32) -> u64 {
    let unused = u64::BITS - bits;
    let left = (end.wrapping_sub(now) << unused) as i64 >> unused;
    left.max(0).unsigned_abs()
}

/// A word without an owner: nothing is owed.
pub(crate) const NOTHING: u64 = 0;

/// What a source owes for the connections that it opened: the time until it has paid for
/// them at its rate.
///
/// ```text
///   bits 0–39 the end of the debt in microseconds │ 40–63 tag
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Debt(pub(crate) u64);

impl Debt {
    const TIME_BITS: u32 = 40;

    /// The longest debt in microseconds, 3.2 days. A word that was paid off is mistaken for
    /// one in the future only after half of the range, 6.4 days.
    pub(crate) const MAX: u64 = 1 << (Self::TIME_BITS - 2);

    /// The debt that ends `owed` microseconds after `now`, or after [`MAX`](Self::MAX).
    pub(crate) fn new(tag: Tag, now: u64, owed: u64) -> Debt {
        Debt(tag.word(now.wrapping_add(owed.min(Self::MAX))))
    }

    /// The microseconds that the owner with this tag owes.
    pub(crate) fn owed(self, tag: Tag, now: u64) -> u64 {
        if self.0 == NOTHING || Tag::of(self.0) != tag {
            return 0;
        }
        time_left(self.0, now, Self::TIME_BITS)
    }

    /// As [`owed`](Self::owed), for any owner that had the slot in `epoch`.
    pub(crate) fn owed_in(self, epoch: u32, now: u64) -> u64 {
        match Tag::of(self.0).epoch() == epoch {
            true => self.owed(Tag::of(self.0), now),
            false => 0,
        }
    }
}

/// The offences of a source, which add up to a ban.
///
/// ```text
///   bits 0–35 its end in milliseconds │ 36–38 reason │ 39 banned │ 40–63 tag
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Penalty(pub(crate) u64);

/// What a [`Penalty`] says at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sentence {
    /// Milliseconds until it ends, above 0.
    pub(crate) left: u64,
    /// The source is banned until then. Otherwise these are offences that do not suffice
    /// for a ban.
    pub(crate) banned: bool,
    /// Why, as a number below 8.
    pub(crate) reason: u8,
}

impl Penalty {
    const TIME_BITS: u32 = 36;
    const REASON_SHIFT: u32 = 36;
    const BANNED: u64 = 1 << 39;

    /// The longest penalty in milliseconds: 198 days. An ended one is mistaken for one in the
    /// future only after half of the range, 397 days.
    pub(crate) const MAX: u64 = 1 << (Self::TIME_BITS - 2);

    /// The word for a sentence that is passed at `now`.
    pub(crate) fn new(tag: Tag, now: u64, sentence: Sentence) -> Penalty {
        let end = now.wrapping_add(sentence.left.min(Self::MAX));
        let end = end & (u64::MAX >> (u64::BITS - Self::TIME_BITS));
        let reason = u64::from(sentence.reason & 7) << Self::REASON_SHIFT;
        let banned = if sentence.banned { Self::BANNED } else { 0 };
        Penalty(tag.word(end | reason | banned))
    }

    /// The sentence of the owner with this tag; `None` if it has no sentence, or that has ended.
    pub(crate) fn sentence(self, tag: Tag, now: u64) -> Option<Sentence> {
        if self.0 == NOTHING || Tag::of(self.0) != tag {
            return None;
        }
        let left = time_left(self.0, now, Self::TIME_BITS);
        (left > 0).then_some(Sentence {
            left,
            banned: self.0 & Self::BANNED != 0,
            reason: (self.0 >> Self::REASON_SHIFT & 7) as u8,
        })
    }

    /// As [`sentence`](Self::sentence), for any owner that had the slot in `epoch`.
    pub(crate) fn sentence_in(self, epoch: u32, now: u64) -> Option<Sentence> {
        let tag = Tag::of(self.0);
        if tag.epoch() != epoch {
            return None;
        }
        self.sentence(tag, now)
    }
}

/// Whether `word` belongs to the owner with this tag.
pub(crate) fn is_of(word: u64, tag: Tag) -> bool {
    word != NOTHING && Tag::of(word) == tag
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAN: Sentence = Sentence {
        left: 15_000,
        banned: true,
        reason: 5,
    };

    #[test]
    fn debt_is_paid_off_as_time_passes() {
        let tag = Tag::new(7, 0xc000_0201);
        // Also across the end of the range, and of 64 bits.
        for start in [0, 1, (1 << 40) - 10, 1 << 40, u64::MAX - 10] {
            let debt = Debt::new(tag, start, 1_000);
            for (passed, owed) in [(0, 1_000), (1, 999), (999, 1), (1_000, 0), (50_000, 0)] {
                assert_eq!(debt.owed(tag, start.wrapping_add(passed)), owed, "{start}");
            }
            // For six days, no past is mistaken for a future.
            let six_days = 6 * 24 * 3600 * 1_000_000;
            assert_eq!(debt.owed(tag, start.wrapping_add(six_days)), 0);
        }
        let most = Debt::new(tag, 5, u64::MAX);
        assert_eq!(most.owed(tag, 5), Debt::MAX);
    }

    #[test]
    fn penalty_ends_and_keeps_its_reason() {
        let tag = Tag::new(4_095, u64::MAX);
        for start in [0, (1 << 36) - 1, 1 << 36, u64::MAX / 1_000 - 5] {
            let word = Penalty::new(tag, start, BAN);
            assert_eq!(word.sentence(tag, start), Some(BAN));
            let later = word.sentence(tag, start + 14_999).unwrap();
            assert_eq!(later, Sentence { left: 1, ..BAN });
            assert_eq!(word.sentence(tag, start + 15_000), None);
            assert_eq!(word.sentence(tag, start + (1 << 34)), None);
        }
        let offence = Sentence {
            banned: false,
            reason: 1,
            ..BAN
        };
        assert_eq!(
            Penalty::new(tag, 9, offence).sentence(tag, 9),
            Some(offence)
        );
    }

    #[test]
    fn other_owners_read_nothing() {
        let tag = Tag::new(9, 100);
        let (debt, ban) = (Debt::new(tag, 0, 50), Penalty::new(tag, 0, BAN));
        for other in [Tag::new(10, 100), Tag::new(9, 101), Tag::new(0, 0)] {
            assert_eq!(debt.owed(other, 0), 0);
            assert_eq!(ban.sentence(other, 0), None);
            assert!(!is_of(debt.0, other) && is_of(debt.0, tag));
        }
        assert_eq!((debt.owed_in(9, 0), debt.owed_in(10, 0)), (50, 0));
        assert_eq!(ban.sentence_in(9, 0), Some(BAN));
        assert_eq!(ban.sentence_in(10, 0), None);
        assert_eq!(Debt(NOTHING).owed(Tag::new(0, 0), 1 << 39), 0);
        assert_eq!(Penalty(NOTHING).sentence(Tag::new(0, 0), 1 << 35), None);
    }

    /// Sources with planned addresses have different tags about as often as random ones.
    #[test]
    fn tags_of_neighbours_differ() {
        let first = Tag::new(1, 0x0a00_0000);
        let same = (1..40_960u64).filter(|n| Tag::new(1, 0x0a00_0000 + n) == first);
        assert!(same.count() <= 30);
    }
}
