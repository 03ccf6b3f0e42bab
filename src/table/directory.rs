// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Table`]: the directory of sources: find, claim, replace.
//!
//! Fixed size, no lock, no tombstones: a keyed hash names two buckets of four
//! slots, a source is in one of these eight slots or nowhere, for ever. So a
//! look-up touches two cache lines at most, whatever went through the table
//! before. Two choices keep the buckets evenly filled (Y. Azar et al., "Balanced
//! allocations", 1994); a new source takes the second one only if the first has
//! two sources with connections, so that few need a look at it.
//!
//! # A slot's life
//!
//! ```text
//!             claim                key written             confirmed
//!   Free ────────────▶ Claiming ──────────────▶ Pending ─────────────▶ Live
//!    ▲                    ▲                        │                    │ ▲
//!    ├───── the same source was found elsewhere ───┘     to be replaced │ │ in use
//!    │                    │                                  or to move ▼ │
//!    │                    └─────────── replaced: no connections ───── Retiring
//!    └──────────────────────────────── moves: no connections ──────────┘
//! ```
//!
//! - **Free**: never used, given back before it was used, or left by a source that
//!   moved.
//! - **Claiming**: one process owns the slot and writes its key.
//! - **Pending**: the key stands, but the same source might be pending elsewhere.
//! - **Live**: the source's one slot.
//! - **Retiring**: still the source's one slot, but somebody wants it. Who opens a
//!   connection of the source makes it Live again.
//!
//! The control word also holds the family, an epoch that counts the claims, the
//! rows in which the source was counted, and a stamp that counts the attempts to
//! take the slot. Stamp and epoch are never reset, so a process that was stopped
//! for a while notices whatever happened to the slot meanwhile, unless it was
//! exactly a multiple of 4,096 attempts.
//!
//! # Why a source has one slot
//!
//! Two processes may claim slots for one source at the same time. Each makes its
//! slot Pending, then searches both buckets. In the total order of these steps
//! one slot became Pending later than the other, and its owner sees the other
//! one: if that is Live or Retiring, it withdraws; if it is still Pending, it sets
//! it Free, which makes the other's confirmation fail. Either way at most one
//! becomes Live.
//!
//! # Why a source with connections is not replaced
//!
//! To count a connection, a process enters its row into the control word of the
//! Live slot, adds to its cell there, and then checks that the slot is still Live
//! and the same. To replace a source, a process makes it Retiring, checks that the
//! cells of all rows entered are zero, and only then makes it Claiming. No row is
//! entered meanwhile, since that takes a Live slot. In the total order either the
//! addition comes before the check of the cells, which sees it, or Retiring comes
//! before the check of the control word, which sees that and takes the addition
//! back.
//!
//! # Why a source that returns may move
//!
//! A source without connections keeps its slot until another source needs it. If it
//! always returned there, the choice between two buckets would be made once, at its
//! first connection, and forgotten by a fleet that reconnects: buckets would fill up
//! as with one random choice, and a new source would find no slot 100 times more
//! often. So a source that returns to a bucket whose other slots are all busy, and
//! whose other bucket has fewer busy ones, gives its slot up and claims one again. The
//! old slot is Free before the new one is claimed, so the source never has two.
//!
//! # A process killed on the way
//!
//! A Retiring slot is taken over by whoever wants it. One that was left Pending is
//! set free by who claims for the same source, and one that was left Claiming by
//! nobody until the restart: a slot is lost, and nobody waits. A
//! process killed between adding to a cell and giving the token out, or between the
//! last word of its host about a connection and taking it off, leaves that one
//! connection counted. `tests/killed.rs` says how often.

#![forbid(unsafe_code)]

use crate::shared::layout::{Bucket, Detail, SLOTS_PER_BUCKET, Slot};
use crate::shared::region::Region;
use crate::shared::sync::{AtomicU32, Ordering};
use crate::source::{Family, PrefixLengths, Source};
use crate::table::hash::SourceHash;
use crate::table::rows::{RowSet, Rows};

/// How often a lost race is run again. Losing once takes another process that
/// claims in the same two buckets at the same moment.
const ATTEMPTS: u32 = 16;

/// A bucket with fewer sources that have connections takes another one without
/// a look at the second bucket.
const FEW: usize = SLOTS_PER_BUCKET / 2;

/// A source that returns leaves its bucket if this many others there have connections
/// and its other bucket has fewer.
const CROWDED: usize = SLOTS_PER_BUCKET - 1;

/// State, family, epoch, rows and stamp of a slot, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Control(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free = 0,
    Claiming = 1,
    Pending = 2,
    Live = 3,
    Retiring = 4,
}

impl Control {
    const STATE: u32 = 0b111;
    const V6: u32 = 0b1000;
    const EPOCH_SHIFT: u32 = 4;
    const EPOCH_MASK: u32 = 0xfff;
    const ROWS_SHIFT: u32 = 16;
    const ROWS: u32 = RowSet::ALL.0 << Self::ROWS_SHIFT;
    const STAMP_SHIFT: u32 = 20;

    #[inline]
    fn load(word: &AtomicU32, ordering: Ordering) -> Control {
        Control(word.load(ordering))
    }

    /// Words that this module never writes read as Claiming: a slot to leave
    /// alone.
    #[inline]
    fn state(self) -> State {
        match self.0 & Self::STATE {
            0 => State::Free,
            2 => State::Pending,
            3 => State::Live,
            4 => State::Retiring,
            _ => State::Claiming,
        }
    }

    /// Whether the slot is its source's slot.
    #[inline]
    fn is_in_use(self) -> bool {
        matches!(self.state(), State::Live | State::Retiring)
    }

    #[inline]
    fn family(self) -> Family {
        if self.0 & Self::V6 == 0 {
            Family::V4
        } else {
            Family::V6
        }
    }

    /// Counts the claims of the slot, in 12 bits.
    #[inline]
    pub(crate) fn epoch(self) -> u32 {
        self.0 >> Self::EPOCH_SHIFT & Self::EPOCH_MASK
    }

    /// The rows in which the source was counted since it took the slot.
    #[inline]
    pub(crate) fn rows(self) -> RowSet {
        RowSet((self.0 & Self::ROWS) >> Self::ROWS_SHIFT)
    }

    fn with_state(self, state: State) -> Control {
        Control(self.0 & !Self::STATE | state as u32)
    }

    #[inline]
    fn with_row(self, row: usize) -> Control {
        Control(self.0 | RowSet::of(row).0 << Self::ROWS_SHIFT)
    }

    /// Whether nothing but rows was entered between the two.
    #[inline]
    fn is_same_but_rows(self, other: Control) -> bool {
        (self.0 ^ other.0) & !Self::ROWS == 0
    }

    fn stamped(self) -> Control {
        Control(self.0.wrapping_add(1 << Self::STAMP_SHIFT))
    }

    /// Claimed for the next source, which is of `family`, in no row yet.
    fn claimed_for(self, family: Family) -> Control {
        let stamp = self.0 >> Self::STAMP_SHIFT << Self::STAMP_SHIFT;
        let epoch = ((self.epoch() + 1) & Self::EPOCH_MASK) << Self::EPOCH_SHIFT;
        let family = match family {
            Family::V4 => 0,
            Family::V6 => Self::V6,
        };
        Control(stamp | epoch | family | State::Claiming as u32)
    }
}

/// Where a source is, and the control word under which it was seen there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRef {
    pub(crate) slot: usize,
    pub(crate) control: Control,
}

/// Why a source got no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimError {
    /// All eight slots hold sources with connections.
    Full,
    /// Another process was in the way at each of the attempts.
    Contended,
}

/// The directory of sources in a [`Region`].
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    region: &'a Region,
    rows: Rows<'a>,
    hash: &'a SourceHash,
    /// Whether family and word tell a source apart without its low half.
    one_word: bool,
}

impl<'a> Table<'a> {
    pub(crate) fn new(
        region: &'a Region,
        hash: &'a SourceHash,
        prefixes: PrefixLengths,
    ) -> Table<'a> {
        Table {
            region,
            rows: Rows::new(region),
            hash,
            one_word: prefixes.fit_one_word(),
        }
    }

    /// The slot of `source`.
    #[inline]
    pub(crate) fn find(self, source: Source) -> Option<SlotRef> {
        self.find_in(self.buckets_of(source), source)
    }

    /// The Live slot of `source` with `row` entered, claimed for it if it has none.
    ///
    /// A source that returns to a crowded bucket moves to its other bucket: then
    /// `on_move` is called with the slot it left and the slot it has now.
    #[inline]
    pub(crate) fn find_or_claim(
        self,
        source: Source,
        row: usize,
        on_move: impl FnOnce(SlotRef, SlotRef),
    ) -> Result<SlotRef, ClaimError> {
        let buckets = self.buckets_of(source);
        let mut left = None;
        for _ in 0..ATTEMPTS {
            let at = match self.find_in(buckets, source) {
                Some(at) if self.is_crowded(at) && self.is_better_elsewhere(at, buckets) => {
                    if self.give_up(at) {
                        left = Some(at);
                    }
                    None
                }
                Some(at) => self.enter(at, row),
                None => {
                    let victim = self.choose(buckets).ok_or(ClaimError::Full)?;
                    self.claim(victim, source, row, buckets)
                }
            };
            if let Some(at) = at {
                if let Some(left) = left {
                    on_move(left, at);
                }
                return Ok(at);
            }
        }
        Err(ClaimError::Contended)
    }

    /// 51 bits that distinguish `source` from other sources in the same slot: an IPv4
    /// address whole; of an IPv6 source 50 bits of a keyed hash, which two sources of
    /// one slot share with a probability below 2⁻³⁵ in a table of any size (their
    /// bucket is part of the hash), and no IPv4 address has.
    pub(crate) fn identity(self, source: Source) -> u64 {
        match source.family() {
            Family::V4 => source.word(),
            Family::V6 => {
                // multiplied, so that the 50 upper bits depend on all 64
                let hash = self.hash.of(source).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                1 << 50 | hash >> 14
            }
        }
    }

    /// Whether there is a slot that `source`, which has none, could take.
    pub(crate) fn has_place(self, source: Source) -> bool {
        self.choose(self.buckets_of(source)).is_some()
    }

    /// `slot`, if it is the Live slot of `source` with `row` entered.
    #[inline]
    pub(crate) fn live_at(self, slot: usize, source: Source, row: usize) -> Option<SlotRef> {
        let entry = self.any_slot(slot)?;
        // publish: as in `find_in`
        let control = Control::load(&entry.control, Ordering::Acquire);
        let is_it = control.state() == State::Live
            && control.with_row(row) == control
            && self.has_key(slot, entry, control, source);
        is_it.then_some(SlotRef { slot, control })
    }

    /// `at` as it is now, with the rows entered meanwhile, if its source still
    /// has the slot. Asked after adding to a cell, see the module's documentation.
    #[inline]
    pub(crate) fn held(self, at: SlotRef) -> Option<SlotRef> {
        // total order, see crate::shared::sync
        let control = Control::load(&self.slot(at.slot).control, Ordering::SeqCst);
        let SlotRef { slot, .. } = at;
        control
            .is_same_but_rows(at.control)
            .then_some(SlotRef { slot, control })
    }

    /// Whether `slot` exists and belongs to the source that took it in `epoch`.
    #[inline]
    pub(crate) fn in_use_since(self, slot: usize, epoch: u32) -> bool {
        self.any_slot(slot).is_some_and(|entry| {
            // Relaxed: a source with connections is not replaced, so for the holder
            // of a token of this epoch nothing changes; for others it does not
            // matter when they learn of a change.
            let control = Control::load(&entry.control, Ordering::Relaxed);
            control.is_in_use() && control.epoch() == epoch
        })
    }

    /// The source whose slot `slot` is, if any.
    pub(crate) fn source_at(self, slot: usize) -> Option<(Source, SlotRef)> {
        let entry = self.slot(slot);
        loop {
            // publish: the key that belongs to this control word, or a later one
            let control = Control::load(&entry.control, Ordering::Acquire);
            if !control.is_in_use() {
                return None;
            }
            // Acquire: the second look at the control word must not come before
            let word = entry.word.load(Ordering::Acquire);
            let low = if self.one_word {
                0
            } else {
                self.detail(slot).low.load(Ordering::Acquire)
            };
            let at = SlotRef { slot, control };
            if let Some(at) = self.held(at) {
                return Some((Source::from_words(control.family(), word, low), at));
            }
        }
    }

    /// The connections of the source in `slot`; 0 if there is none. Reads neither its
    /// key nor its details.
    #[inline]
    pub(crate) fn connections_at(self, slot: usize) -> u32 {
        // publish: the rows that belong to this control word
        let control = Control::load(&self.slot(slot).control, Ordering::Acquire);
        // Summed before the state decides: the cell is next to the control word, and no
        // processor can predict which slots are in use.
        let connections = self
            .rows
            .sum_or_acceptor(slot, control.rows())
            .unsigned_abs();
        if control.is_in_use() { connections } else { 0 }
    }

    /// Whether `slot` is some source's slot.
    #[inline]
    pub(crate) fn is_in_use(self, slot: usize) -> bool {
        // Relaxed: a hint; the caller reads the slot again before it uses it.
        Control::load(&self.slot(slot).control, Ordering::Relaxed).is_in_use()
    }

    pub(crate) fn slots(self) -> usize {
        self.region.details().len()
    }

    pub(crate) fn detail(self, slot: usize) -> &'a Detail {
        &self.region.details()[slot]
    }

    /// The slot of a number that may come from outside.
    #[inline]
    fn any_slot(self, slot: usize) -> Option<&'a Slot> {
        let bucket = self.region.buckets().get(slot / SLOTS_PER_BUCKET)?;
        Some(&bucket.slots[slot % SLOTS_PER_BUCKET])
    }

    #[inline]
    fn slot(self, slot: usize) -> &'a Slot {
        &self.region.buckets()[slot / SLOTS_PER_BUCKET].slots[slot % SLOTS_PER_BUCKET]
    }

    #[inline]
    fn buckets_of(self, source: Source) -> [usize; 2] {
        let hash = self.hash.of(source);
        let count = self.region.buckets().len() as u64;
        // from 32 random bits to 0..count by multiplication: D. Lemire, "Fast
        // random integer generation in an interval", 2019
        let pick = |bits: u64| (((bits & 0xffff_ffff) * count) >> 32) as usize;
        let (first, second) = (pick(hash), pick(hash >> 32));
        if first != second {
            [first, second]
        } else {
            [first, (first + 1) % self.region.buckets().len()]
        }
    }

    /// All eight slots are compared before anything is decided: both cache lines
    /// are then fetched at once, and a processor cannot foresee which slot it is
    /// anyway, so that a branch for each slot costs more than it spares.
    #[inline]
    fn find_in(self, buckets: [usize; 2], source: Source) -> Option<SlotRef> {
        let word = source.word();
        let mut hits = 0u32;
        for (b, bucket) in buckets.into_iter().enumerate() {
            for (i, entry) in self.region.buckets()[bucket].slots.iter().enumerate() {
                // Relaxed: a sieve, `has_key` looks again
                let hit = entry.word.load(Ordering::Relaxed) == word;
                hits |= u32::from(hit) << (b * SLOTS_PER_BUCKET + i);
            }
        }
        while hits != 0 {
            let i = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            let slot = buckets[i / SLOTS_PER_BUCKET] * SLOTS_PER_BUCKET + i % SLOTS_PER_BUCKET;
            let entry = self.slot(slot);
            // publish: what is read below belongs to this control word or to a
            // later one; if it is a later one, `held` will say so
            let control = Control::load(&entry.control, Ordering::Acquire);
            if control.is_in_use() && self.has_key(slot, entry, control, source) {
                return Some(SlotRef { slot, control });
            }
        }
        None
    }

    #[inline]
    fn has_key(self, slot: usize, entry: &Slot, control: Control, source: Source) -> bool {
        entry.word.load(Ordering::Acquire) == source.word()
            && control.family() == source.family()
            && (self.one_word
                || source.family() == Family::V4
                || self.detail(slot).low.load(Ordering::Acquire) == source.low())
    }

    /// The slot to claim: a free one before one whose source has no connections,
    /// in the first bucket while that has few sources with connections, else in
    /// the bucket with fewer.
    fn choose(self, buckets: [usize; 2]) -> Option<SlotRef> {
        let first = self.look(buckets[0]);
        let less = if first.busy < FEW {
            first
        } else {
            let second = self.look(buckets[1]);
            if second.busy < first.busy {
                second
            } else {
                first
            }
        };
        less.free.or(less.idle)
    }

    /// Counts the busy slots of a bucket and picks the free slot and the idle slot to
    /// claim next. The slots take turns, so that the idle source that is replaced is
    /// about the one that has been in the bucket longest: every claim adds 1 to one
    /// epoch of the bucket, so the sum of the epochs is a turn counter that needs no
    /// memory.
    #[inline]
    fn look(self, bucket: usize) -> Look {
        let entries: &Bucket = &self.region.buckets()[bucket];
        // publish
        let controls: [Control; SLOTS_PER_BUCKET] =
            core::array::from_fn(|i| Control::load(&entries.slots[i].control, Ordering::Acquire));
        let claims: u32 = controls.iter().map(|control| control.epoch()).sum();
        let turn = claims as usize % SLOTS_PER_BUCKET;
        let (mut busy, mut free, mut idle) = (0, 0u32, 0u32);
        for (i, control) in controls.iter().enumerate() {
            let slot = bucket * SLOTS_PER_BUCKET + i;
            match control.state() {
                State::Free => free |= 1 << i,
                State::Live | State::Retiring if self.rows.sum(slot, control.rows()) == 0 => {
                    idle |= 1 << i;
                }
                _ => busy += 1,
            }
        }
        // the first member of the set at or after the turn
        let next = |set: u32| {
            let twice = set | set << SLOTS_PER_BUCKET;
            let i = (turn + (twice >> turn).trailing_zeros() as usize) % SLOTS_PER_BUCKET;
            (set != 0).then(|| SlotRef {
                slot: bucket * SLOTS_PER_BUCKET + i,
                control: controls[i],
            })
        };
        Look {
            busy,
            free: next(free),
            idle: next(idle),
        }
    }

    /// Enters `row`, and makes a Retiring slot Live again.
    #[inline]
    fn enter(self, at: SlotRef, row: usize) -> Option<SlotRef> {
        let live = at.control.with_state(State::Live).with_row(row);
        if live == at.control {
            return Some(at);
        }
        self.exchange(at.slot, at.control, live)
    }

    /// Whether the source at `at` has no connections and all other slots of its
    /// bucket belong to sources that have some. A hint: of the others, only the home
    /// row is read, without a branch for each slot.
    #[inline]
    pub(crate) fn is_crowded(self, at: SlotRef) -> bool {
        if self.rows.sum(at.slot, at.control.rows()) != 0 {
            return false;
        }
        let bucket = &self.region.buckets()[at.slot / SLOTS_PER_BUCKET];
        // Relaxed: a hint
        let busy = |slot: &Slot| usize::from(slot.acceptor_cell.load(Ordering::Relaxed) > 0);
        bucket.slots.iter().map(busy).sum::<usize>() >= CROWDED
    }

    /// Whether the other bucket of the source at `at` has fewer busy slots.
    #[cold]
    fn is_better_elsewhere(self, at: SlotRef, buckets: [usize; 2]) -> bool {
        let own = at.slot / SLOTS_PER_BUCKET;
        let other = if own == buckets[0] {
            buckets[1]
        } else {
            buckets[0]
        };
        // Under loom a bucket has one slot, which is too few for a crowd: there, every
        // source that returns to its lower bucket moves.
        self.look(other).busy < self.look(own).busy || cfg!(loom) && own < other
    }

    /// Frees the slot of a source without connections, by the first steps of a
    /// replacement. `false` if the slot changed meanwhile or has connections again.
    #[cold]
    fn give_up(self, at: SlotRef) -> bool {
        let Some(retiring) = self.retire(at) else {
            return false;
        };
        let free = retiring.control.stamped().with_state(State::Free);
        self.exchange(retiring.slot, retiring.control, free)
            .is_some()
    }

    /// Makes the slot Retiring if its source has no connections, which the cells show
    /// only after the change, see the module's documentation.
    fn retire(self, at: SlotRef) -> Option<SlotRef> {
        let retiring = at.control.stamped().with_state(State::Retiring);
        let at = self.exchange(at.slot, at.control, retiring)?;
        if self.rows.sum(at.slot, retiring.rows()) != 0 {
            // in use: Live again, unless its source was faster
            self.revive(at);
            return None;
        }
        Some(at)
    }

    /// Makes a Retiring slot Live again.
    fn revive(self, at: SlotRef) -> Option<SlotRef> {
        let live = at.control.with_state(State::Live);
        self.exchange(at.slot, at.control, live)
    }

    /// Takes the slot of `victim` for `source`. `None` if another process was
    /// faster or the victim is in use; then the source may have got a slot.
    fn claim(
        self,
        victim: SlotRef,
        source: Source,
        row: usize,
        buckets: [usize; 2],
    ) -> Option<SlotRef> {
        let SlotRef { slot, control } = victim;
        let from = match control.state() {
            State::Free => control,
            _ => self.retire(victim)?.control,
        };
        let claiming = from.stamped().claimed_for(source.family()).with_row(row);
        self.exchange(slot, from, claiming)?;
        let entry = self.slot(slot);
        // publish: complete with the control word below. Release: who reads this key by
        // the old control word must then find that one changed, see `source_at`.
        entry.word.store(source.word(), Ordering::Release);
        if !self.one_word {
            self.detail(slot).low.store(source.low(), Ordering::Release);
        }
        let pending = claiming.with_state(State::Pending);
        // publish, and total order with the search that follows
        entry.control.swap(pending.0, Ordering::SeqCst);
        if self.settle_rivals(slot, source, buckets).is_none() {
            // The source is elsewhere. If this fails, a rival set it Free already.
            self.exchange(slot, pending, pending.with_state(State::Free));
            return None;
        }
        self.exchange(slot, pending, pending.with_state(State::Live))
    }

    /// Searches for other slots of `source` and aborts those that are Pending.
    /// `None` if the source has a slot, or if it changed under our eyes.
    fn settle_rivals(self, own: usize, source: Source, buckets: [usize; 2]) -> Option<()> {
        for bucket in buckets {
            for (i, entry) in self.region.buckets()[bucket].slots.iter().enumerate() {
                let slot = bucket * SLOTS_PER_BUCKET + i;
                // total order, see crate::shared::sync
                let control = Control::load(&entry.control, Ordering::SeqCst);
                if slot == own || !self.has_key(slot, entry, control, source) {
                    continue;
                }
                match control.state() {
                    State::Live | State::Retiring => return None,
                    State::Pending => {
                        self.exchange(slot, control, control.with_state(State::Free))?;
                    }
                    State::Free | State::Claiming => {}
                }
            }
        }
        Some(())
    }

    /// Changes the control word of `slot` if it is `from`.
    fn exchange(self, slot: usize, from: Control, to: Control) -> Option<SlotRef> {
        self.slot(slot)
            .control
            // total order, see crate::shared::sync
            .compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        Some(SlotRef { slot, control: to })
    }
}

/// What [`Table::look`] saw in a bucket.
struct Look {
    busy: usize,
    free: Option<SlotRef>,
    idle: Option<SlotRef>,
}
