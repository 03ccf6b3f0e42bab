// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Table`]: the directory of sources: find, claim, replace.
//!
//! The table has a fixed size, no lock and no tombstones. A keyed hash maps a source to
//! two buckets of four slots, and the source is in one of these eight slots or not in the
//! table; this mapping never changes. So a look-up touches at most two cache lines,
//! whatever happened in the table before. Two choices keep the buckets evenly filled (Y.
//! Azar et al., "Balanced allocations", 1994). A new source considers the second bucket
//! only if the first has two sources with connections, so that few claims need it.
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
//! - **Pending**: the key is written, but the same source might be Pending elsewhere.
//! - **Live**: the source's one slot.
//! - **Retiring**: still the source's one slot, but a process is about to take it. A
//!   process that opens a connection of the source makes the slot Live again.
//!
//! The control word also holds the kind of the source, an epoch that counts the claims, the
//! rows in which the source was counted, whether the source may owe something, and a stamp
//! that counts the attempts to take the slot. Stamp and epoch are never reset, so a process
//! that was stopped for a while detects any change to the slot meanwhile, unless the number
//! of claims was an exact multiple of 4,096 and that of attempts one of 1,024.
//!
//! # Why a source has one slot
//!
//! Two processes may claim slots for one source at the same time. Each makes its
//! slot Pending, then searches both buckets. In the total order of these steps one slot
//! became Pending later than the other, and its owner sees the earlier one. If the
//! earlier slot is Live or Retiring, the later owner withdraws. If it is still Pending,
//! the later owner sets it Free, which makes the confirmation of the earlier owner fail.
//! Either way at most one becomes Live.
//!
//! # Why a source with connections is not replaced
//!
//! To count a connection, a process enters its row into the control word of the
//! Live slot, adds to its cell there, and then checks that the slot is still Live
//! and the same. To replace a source, a process makes the slot Retiring, checks that the
//! cells of all entered rows are zero, and only then makes it Claiming. No row is entered
//! meanwhile, since entering a row requires a Live slot. In the total order there are two
//! cases. If the addition comes before the check of the cells, that check sees it. If the
//! change to Retiring comes before the check of the control word, that check sees the
//! change, and the process takes its addition back.
//!
//! # Why a source that returns may move
//!
//! A source without connections keeps its slot until another source needs it. If it
//! always returned there, the choice between two buckets would be made only once, at its
//! first connection, and would not reflect the load when a fleet reconnects: buckets would
//! fill up as with one random choice, and a new source would find no slot 100 times more
//! often. So a source gives up its slot and claims one again if it returns to a bucket
//! whose other slots are all busy while its other bucket has fewer busy slots. The old
//! slot is Free before the new one is claimed, so the source never has two.
//!
//! # What a slot remembers
//!
//! The details of a source hold what it owes: a debt of its rate, a penalty, a ban
//! ([`crate::table::restraints`]). The bit *remembers* in the control word says that they
//! must be read, so that a check of any other source reads nothing more than its slot. A
//! process that writes such a word sets the bit afterwards. The background process clears
//! the bit when it finds that all is paid off, and then reads the words again. In the total
//! order there are two cases. If the write comes before this second reading, it is seen,
//! and the bit is set again. If it comes after it, then the writer looks at the bit after it
//! was cleared, and sets it. So no debt stays without its bit, except if one of the two is
//! killed in between. Then a source owes nothing although it should, until its next debt.
//!
//! The bit says nothing about who has the slot, so it may be set for a source that owes
//! nothing: that costs one more cache line for each check until it is cleared. A source
//! that remembers and has no connections is the last of its two buckets to be replaced.
//!
//! # If a process is killed in between
//!
//! A slot that was left Retiring can be taken over by any process. A slot that was left
//! Pending is set Free by a process that claims for the same source. A slot that was left
//! Claiming is lost until the restart, but no process waits for it. A process leaves one
//! connection counted if it is killed between adding to a cell and returning the token,
//! or after its host has dropped a connection but before the connection is released.
//! `tests/engine/killed.rs` measures how often.

#![forbid(unsafe_code)]

use crate::shared::layout::{Bucket, Detail, SLOTS_PER_BUCKET, Slot};
use crate::shared::prefetch::prefetch;
use crate::shared::region::Region;
use crate::shared::sync::{AtomicU32, Ordering, Statistic32};
use crate::source::{Kind, PrefixLengths, Source};
use crate::table::hash::SourceHash;
use crate::table::rows::{RowSet, Rows};

/// Attempts before a claim fails as contended. An attempt fails only if another process
/// changes a slot of the same two buckets at the same moment, or if the source just gave up
/// its slot to move.
const ATTEMPTS: u32 = 16;

/// If fewer slots than this are busy in the first bucket, a new source takes a slot there
/// and the second bucket is not examined.
const FEW: usize = SLOTS_PER_BUCKET / 2;

/// A returning source leaves its bucket if at least this many other sources there have
/// connections and fewer slots of its other bucket are busy.
const CROWDED: usize = SLOTS_PER_BUCKET - 1;

/// State, kind, epoch, rows and stamp of a slot, and whether it remembers something, as
/// one word.
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
    const KIND_SHIFT: u32 = 3;
    const KIND: u32 = 0b11 << Self::KIND_SHIFT;
    const EPOCH_SHIFT: u32 = 5;
    const EPOCH_MASK: u32 = 0xfff;
    const ROWS_SHIFT: u32 = 17;
    const ROWS: u32 = RowSet::ALL.0 << Self::ROWS_SHIFT;
    const REMEMBERS: u32 = 1 << 21;
    /// The bits that may change while a source has the slot.
    const MARKS: u32 = Self::ROWS | Self::REMEMBERS;
    const STAMP_SHIFT: u32 = 22;

    #[inline]
    fn load(word: &AtomicU32, ordering: Ordering) -> Control {
        Control(word.load(ordering))
    }

    /// Values that this module never writes are read as Claiming, so that the slot is
    /// left alone.
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
    fn kind(self) -> Kind {
        Kind::from_bits(self.0 >> Self::KIND_SHIFT)
    }

    /// Whether the source has a scope.
    pub(crate) fn is_scoped(self) -> bool {
        matches!(self.kind(), Kind::ScopedV4 | Kind::ScopedV6)
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

    /// Whether the source may owe something, see the module's documentation.
    #[inline]
    pub(crate) fn remembers(self) -> bool {
        self.0 & Self::REMEMBERS != 0
    }

    fn with_memory(self, remembers: bool) -> Control {
        let bit = if remembers { Self::REMEMBERS } else { 0 };
        Control(self.0 & !Self::REMEMBERS | bit)
    }

    /// Whether a slot with this word belongs to the source that had it with the word
    /// `before`.
    fn is_still_owned_since(self, before: Control) -> bool {
        self.is_in_use() && self.epoch() == before.epoch() && self.kind() == before.kind()
    }

    fn with_state(self, state: State) -> Control {
        Control(self.0 & !Self::STATE | state as u32)
    }

    #[inline]
    fn with_row(self, row: usize) -> Control {
        Control(self.0 | RowSet::of(row).0 << Self::ROWS_SHIFT)
    }

    /// Whether the two differ at most in their rows and in what the slot remembers.
    #[inline]
    fn is_same_but_marks(self, other: Control) -> bool {
        (self.0 ^ other.0) & !Self::MARKS == 0
    }

    /// Whether a source of `kind` lives in the slot, with `row` entered.
    #[inline]
    fn is_live_with(self, kind: Kind, row: usize) -> bool {
        let row = RowSet::of(row).0 << Self::ROWS_SHIFT;
        let wanted = State::Live as u32 | (kind as u32) << Self::KIND_SHIFT | row;
        self.0 & (Self::STATE | Self::KIND | row) == wanted
    }

    fn stamped(self) -> Control {
        Control(self.0.wrapping_add(1 << Self::STAMP_SHIFT))
    }

    /// Claiming for the next source, of `kind`: the next epoch, no rows, no memory.
    fn claimed_for(self, kind: Kind) -> Control {
        let stamp = self.0 >> Self::STAMP_SHIFT << Self::STAMP_SHIFT;
        let epoch = ((self.epoch() + 1) & Self::EPOCH_MASK) << Self::EPOCH_SHIFT;
        let kind = (kind as u32) << Self::KIND_SHIFT;
        Control(stamp | epoch | kind | State::Claiming as u32)
    }
}

/// The slot of a source, and the control word that was read there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotRef {
    pub(crate) slot: usize,
    pub(crate) control: Control,
}

/// Why a source got no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClaimError {
    /// None of the eight slots is free or idle: they hold sources with connections, or
    /// are being claimed.
    Full,
    /// Each of the attempts failed because of another process.
    Contended,
}

/// What else happened while a source got its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    /// The source moved.
    Moved {
        /// The slot that it left.
        left: SlotRef,
        /// Its new slot.
        now: SlotRef,
    },
    /// It took this slot of a source that remembered something.
    Replaced(SlotRef),
}

/// The directory of sources in a [`Region`].
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    region: &'a Region,
    buckets: &'a [Bucket],
    hash: &'a SourceHash,
    /// Sources of the kinds up to this one are identified by their kind and their word,
    /// without their lower half.
    last_of_one_word: Kind,
}

/// The two buckets of a source.
#[derive(Clone, Copy)]
pub(crate) struct Pair([usize; 2]);

impl<'a> Table<'a> {
    #[inline]
    pub(crate) fn new(
        region: &'a Region,
        hash: &'a SourceHash,
        prefixes: PrefixLengths,
    ) -> Table<'a> {
        Table {
            region,
            buckets: region.buckets(),
            hash,
            last_of_one_word: match prefixes.fit_one_word() {
                true => Kind::V6,
                false => Kind::ScopedV4,
            },
        }
    }

    /// The cells of all slots.
    #[inline]
    pub(crate) fn rows(self) -> Rows<'a> {
        Rows::among(self.region, self.buckets)
    }

    /// The slot of `source`.
    #[inline(always)]
    pub(crate) fn find(self, source: Source) -> Option<SlotRef> {
        self.find_in(self.buckets_of(source), source)
    }

    /// As [`find`](Self::find). If `with_details`, the details of each slot that the source may
    /// have are fetched together with the slots, so that a reader does not wait again.
    #[inline(always)]
    pub(crate) fn find_for(self, source: Source, with_details: bool) -> Option<SlotRef> {
        let pair = self.pair_of(source);
        self.fetch(pair, with_details);
        self.find_among(pair, source)
    }

    /// The buckets in which the source has its slot if it has one.
    #[inline(always)]
    pub(crate) fn pair_of(self, source: Source) -> Pair {
        Pair(self.buckets_of(source))
    }

    /// Fetches the slots of two buckets, and their details.
    #[inline(always)]
    pub(crate) fn fetch(self, pair: Pair, with_details: bool) {
        for bucket in pair.0 {
            prefetch(&self.buckets[bucket]);
        }
        if with_details {
            for bucket in pair.0 {
                let first = bucket * SLOTS_PER_BUCKET;
                for detail in &self.region.details()[first..first + SLOTS_PER_BUCKET] {
                    prefetch(detail);
                }
            }
        }
    }

    /// As [`find`](Self::find), in the two buckets of the source.
    #[inline(always)]
    pub(crate) fn find_among(self, pair: Pair, source: Source) -> Option<SlotRef> {
        self.find_in(pair.0, source)
    }

    /// The Live slot of `source` with `row` entered. If the source has no slot, one is
    /// claimed. Not inlined, see [`crate::limiter`].
    ///
    /// A source that returns to a crowded bucket may move to its other bucket. `event` is
    /// called for that, and if the slot of a source that remembered something was claimed.
    #[inline(never)]
    pub(crate) fn find_or_claim(
        self,
        source: Source,
        row: usize,
        event: &dyn Fn(Event),
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
                    let claimed = self.claim(victim, source, row, buckets);
                    if claimed.is_some() && victim.control.remembers() {
                        event(Event::Replaced(victim));
                    }
                    claimed
                }
            };
            if let Some(at) = at {
                if let Some(left) = left {
                    event(Event::Moved { left, now: at });
                }
                return Ok(at);
            }
        }
        Err(ClaimError::Contended)
    }

    /// 51 bits that distinguish `source` from other sources in the same slot. IPv4: the
    /// whole address. IPv6, and any source of a scope: 50 bits of a keyed hash, and a bit
    /// that no IPv4 address has. Two hashed sources of one slot share them with a
    /// probability below 2⁻³⁵ in a table of any size (their bucket is part of the hash).
    pub(crate) fn identity(self, source: Source) -> u64 {
        match source.kind() {
            Kind::V4 => source.word(),
            Kind::ScopedV4 | Kind::V6 | Kind::ScopedV6 => {
                // The multiplication makes the 50 upper bits depend on all 64.
                let hash = self.hash.of(source).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                1 << 50 | hash >> 14
            }
        }
    }

    /// The two of `count` buckets, at least 2, in which a source may be. They differ.
    #[inline(always)]
    pub(super) fn pair_among(self, source: Source, count: usize) -> [usize; 2] {
        let hash = self.hash.of(source);
        // A multiplication maps 32 random bits to 0..count: D. Lemire, "Fast random
        // integer generation in an interval", 2019.
        let pick = |bits: u64| (((bits & 0xffff_ffff) * count as u64) >> 32) as usize;
        let (first, second) = (pick(hash), pick(hash >> 32));
        let last = first + 1 == count;
        let next = if last { 0 } else { first + 1 };
        [first, if first == second { next } else { second }]
    }

    /// Whether `source`, which has no slot, could claim one now.
    pub(crate) fn has_room(self, source: Source) -> bool {
        self.choose(self.buckets_of(source)).is_some()
    }

    /// `slot`, if it is the Live slot of `source` with `row` entered.
    #[inline]
    pub(crate) fn live_at(self, slot: usize, source: Source, row: usize) -> Option<SlotRef> {
        let entry = self.any_slot(slot)?;
        // publish: as in `find_in`.
        let control = Control::load(&entry.control, Ordering::Acquire);
        // The word comes first, since it is what differs if another source has the slot.
        let is_it = entry.word.load(Ordering::Acquire) == source.word()
            && control.is_live_with(source.kind(), row)
            && self.has_low(slot, source);
        is_it.then_some(SlotRef { slot, control })
    }

    /// `at` with its present rows and memory, if the slot is otherwise unchanged. To be
    /// called after adding to a cell, see the module's documentation.
    #[inline(always)]
    pub(crate) fn held(self, at: SlotRef) -> Option<SlotRef> {
        // total order, see crate::shared::sync.
        let control = Control::load(&self.slot(at.slot).control, Ordering::SeqCst);
        let SlotRef { slot, .. } = at;
        control
            .is_same_but_marks(at.control)
            .then_some(SlotRef { slot, control })
    }

    /// Whether `slot` exists and belongs to the source that took it in `epoch`.
    #[inline]
    pub(crate) fn in_use_since(self, slot: usize, epoch: u32) -> bool {
        self.any_slot(slot).is_some_and(|entry| {
            // Relaxed: a source with connections is not replaced, so state and epoch do
            // not change for the holder of a token of this epoch. For other callers it
            // does not matter when they see a change.
            let control = Control::load(&entry.control, Ordering::Relaxed);
            control.is_in_use() && control.epoch() == epoch
        })
    }

    /// Whether the source that had the slot `at` still has it.
    pub(crate) fn is_owned_since(self, at: SlotRef) -> bool {
        // Acquire is enough, see `Trusted::add`: what was read before this load is not read
        // after it.
        let control = Control::load(&self.slot(at.slot).control, Ordering::Acquire);
        control.is_still_owned_since(at.control)
    }

    /// The source that has `slot`, if any. The slot may be out of range, because a record names
    /// it.
    pub(crate) fn source_at(self, slot: usize) -> Option<(Source, SlotRef)> {
        let entry = self.any_slot(slot)?;
        loop {
            // publish: the key read below belongs to this control word or to a later one.
            let control = Control::load(&entry.control, Ordering::Acquire);
            if !control.is_in_use() {
                return None;
            }
            // Acquire: `held` must not read the control word before this load.
            let word = entry.word.load(Ordering::Acquire);
            let kind = control.kind();
            let low = match self.fits_one_word(kind) {
                true => 0,
                false => self.detail(slot).low.load(Ordering::Acquire),
            };
            let at = SlotRef { slot, control };
            if let Some(at) = self.held(at) {
                return Some((Source::from_words(kind, word, low), at));
            }
        }
    }

    /// The connections of the source at `at`, unless another source took the slot since.
    #[inline]
    pub(crate) fn connections(self, at: SlotRef) -> i32 {
        self.rows().sum(at.slot, at.control.rows())
    }

    /// The connections of the source in `slot`; 0 if the slot is not in use. Reads neither
    /// key nor details.
    #[inline]
    pub(crate) fn connections_at(self, slot: usize) -> u32 {
        // publish: the rows that belong to this control word.
        let control = Control::load(&self.slot(slot).control, Ordering::Acquire);
        // Summed before the state decides: the cell is next to the control word, and no
        // processor can predict which slots are in use.
        let connections = self
            .rows()
            .sum_or_acceptor(slot, control.rows())
            .unsigned_abs();
        if control.is_in_use() { connections } else { 0 }
    }

    /// Whether `slot` is the slot of a source.
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

    pub(crate) fn ban_rejected(self, slot: usize) -> &'a Statistic32 {
        &self.region.ban_rejected()[slot]
    }

    /// The slot with this number, which may be out of range.
    #[inline]
    fn any_slot(self, slot: usize) -> Option<&'a Slot> {
        let bucket = self.buckets.get(slot / SLOTS_PER_BUCKET)?;
        Some(&bucket.slots[slot % SLOTS_PER_BUCKET])
    }

    #[inline]
    fn slot(self, slot: usize) -> &'a Slot {
        &self.buckets[slot / SLOTS_PER_BUCKET].slots[slot % SLOTS_PER_BUCKET]
    }

    #[inline(always)]
    fn buckets_of(self, source: Source) -> [usize; 2] {
        self.pair_among(source, self.buckets.len())
    }

    /// Compares all eight slots before it decides: both cache lines are then fetched at
    /// once. A processor cannot predict which slot matches, so a branch for each slot
    /// would cost more than it saves.
    #[inline(always)]
    fn find_in(self, buckets: [usize; 2], source: Source) -> Option<SlotRef> {
        let word = source.word();
        let mut hits = 0u32;
        for (b, bucket) in buckets.into_iter().enumerate() {
            for (i, entry) in self.buckets[bucket].slots.iter().enumerate() {
                // Relaxed: only a filter; `has_key` loads the word again.
                let hit = entry.word.load(Ordering::Relaxed) == word;
                hits |= u32::from(hit) << (b * SLOTS_PER_BUCKET + i);
            }
        }
        while hits != 0 {
            let i = hits.trailing_zeros() as usize;
            hits &= hits - 1;
            // Selects one of the two without a branch, for the same reason.
            let bucket = buckets[0] ^ ((buckets[0] ^ buckets[1]) * (i / SLOTS_PER_BUCKET));
            let slot = bucket * SLOTS_PER_BUCKET + i % SLOTS_PER_BUCKET;
            let entry = self.slot(slot);
            // publish: what is read below belongs to this control word or to a later one.
            // If it is a later one, `held` returns `None`.
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
            && control.kind() == source.kind()
            && self.has_low(slot, source)
    }

    /// Whether the lower half of the source in `slot` is that of `source`, as far as it
    /// matters.
    #[inline]
    fn has_low(self, slot: usize, source: Source) -> bool {
        self.fits_one_word(source.kind()) || has_low(self.region, slot, source.low())
    }

    /// Whether sources of this kind are identified by their word.
    #[inline]
    fn fits_one_word(self, kind: Kind) -> bool {
        kind <= self.last_of_one_word
    }

    /// The slot to claim, in the first bucket while few of its slots are busy, otherwise
    /// in the bucket with fewer busy slots. A source that remembers something is replaced
    /// only if neither bucket has another slot.
    fn choose(self, buckets: [usize; 2]) -> Option<SlotRef> {
        let first = self.survey(buckets[0]);
        if first.busy < FEW && !first.forgets {
            return first.next;
        }
        self.choose_of_both(first, buckets[1])
    }

    /// Not inlined, see [`crate::limiter`].
    #[inline(never)]
    fn choose_of_both(self, first: Survey, second: usize) -> Option<SlotRef> {
        let second = self.survey(second);
        let fewer_busy = first.busy < FEW || first.busy <= second.busy;
        let (less, more) = match fewer_busy {
            true => (first, second),
            false => (second, first),
        };
        let forgets = less.next.is_none() || less.forgets;
        match more.next {
            Some(next) if forgets && !more.forgets => Some(next),
            next => less.next.or(next),
        }
    }

    /// Counts the busy slots of a bucket and picks the slot to claim next: a free one, or
    /// one whose source is idle, preferably one that remembers nothing. The slots take
    /// turns, so that the replaced idle source is roughly the one that has been in the
    /// bucket longest. Every claim adds 1 to one epoch of the bucket, so the sum of the
    /// epochs is a turn counter that needs no memory.
    #[inline]
    fn survey(self, bucket: usize) -> Survey {
        let (entries, rows) = (&self.buckets[bucket], self.rows());
        // publish: the rows that belong to each control word.
        let controls: [Control; SLOTS_PER_BUCKET] =
            core::array::from_fn(|i| Control::load(&entries.slots[i].control, Ordering::Acquire));
        let claims: u32 = controls.iter().map(|control| control.epoch()).sum();
        let turn = claims as usize % SLOTS_PER_BUCKET;
        let (mut free, mut idle, mut remembering) = (0u32, 0u32, 0u32);
        for (i, control) in controls.iter().enumerate() {
            let slot = bucket * SLOTS_PER_BUCKET + i;
            match control.state() {
                State::Free => free |= 1 << i,
                State::Live | State::Retiring
                    if rows.sum_in(&entries.slots[i], slot, control.rows()) == 0 =>
                {
                    idle |= 1 << i;
                    remembering |= u32::from(control.remembers()) << i;
                }
                _ => {}
            }
        }
        let forgettable = idle & !remembering;
        let set = match (free, forgettable) {
            (0, 0) => remembering,
            (0, _) => forgettable,
            _ => free,
        };
        // The first member of the set at or after the turn.
        let twice = set | set << SLOTS_PER_BUCKET;
        let i = (turn + (twice >> turn).trailing_zeros() as usize) % SLOTS_PER_BUCKET;
        Survey {
            busy: SLOTS_PER_BUCKET - (free | idle).count_ones() as usize,
            next: (set != 0).then(|| SlotRef {
                slot: bucket * SLOTS_PER_BUCKET + i,
                control: controls[i],
            }),
            forgets: free | forgettable == 0,
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

    /// Makes the slot remember something, after it was written. `false` if the source lost
    /// the slot. A slot that is being replaced becomes one that is not: its control word
    /// changes, so the claim fails.
    #[inline]
    pub(crate) fn remember(self, at: SlotRef) -> bool {
        // total order, here and below, see the module's documentation: also a load that finds
        // the bit set comes before it is cleared.
        let now = Control::load(&self.slot(at.slot).control, Ordering::SeqCst);
        now.is_still_owned_since(at.control) && (now.remembers() || self.mark(at, now))
    }

    /// As [`remember`](Self::remember), for a slot with the control word `now`.
    #[cold]
    fn mark(self, at: SlotRef, mut now: Control) -> bool {
        let word = &self.slot(at.slot).control;
        loop {
            if !now.is_still_owned_since(at.control) {
                return false;
            }
            if now.remembers() {
                return true;
            }
            let marked = now.with_memory(true);
            match word.compare_exchange(now.0, marked.0, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(other) => now = Control(other),
            }
        }
    }

    /// Makes the slot forget, before its words are read again. `None` if it changed
    /// meanwhile.
    pub(crate) fn forget(self, at: SlotRef) -> Option<SlotRef> {
        self.exchange(at.slot, at.control, at.control.with_memory(false))
    }

    /// Whether `slot` may remember something.
    #[inline]
    pub(crate) fn remembers(self, slot: usize) -> bool {
        // Relaxed: a hint; the caller reads the slot again before it uses it.
        Control::load(&self.slot(slot).control, Ordering::Relaxed).remembers()
    }

    /// Whether the source at `at` has no connections and all other slots of its bucket
    /// belong to sources that have some. This is a hint: of the other slots only the
    /// acceptor row is read, without a branch for each slot.
    #[inline]
    pub(crate) fn is_crowded(self, at: SlotRef) -> bool {
        let bucket = &self.buckets[at.slot / SLOTS_PER_BUCKET];
        let own = &bucket.slots[at.slot % SLOTS_PER_BUCKET].acceptor_cell;
        // Relaxed: a hint. Nearly all sources have no other cell.
        let has_others = at.control.rows() != RowSet::ACCEPTOR;
        if own.load(Ordering::Relaxed) > 0 || has_others && self.connections(at) != 0 {
            return false;
        }
        // Relaxed: a hint.
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
        // Under loom a bucket has one slot, which is idle here, so the other bucket cannot
        // have fewer busy slots. There, every source that returns to its lower bucket
        // moves.
        self.survey(other).busy < self.survey(own).busy || cfg!(loom) && own < other
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

    /// Makes the slot Retiring, and keeps it so if its source has no connections. The cells
    /// show this only after the change, see the module's documentation.
    fn retire(self, at: SlotRef) -> Option<SlotRef> {
        let retiring = at.control.stamped().with_state(State::Retiring);
        let at = self.exchange(at.slot, at.control, retiring)?;
        if self.rows().sum(at.slot, retiring.rows()) != 0 {
            // The source has connections: Live again, unless a process that opens one
            // made it so already.
            self.revive(at);
            return None;
        }
        Some(at)
    }

    /// Makes a Retiring slot Live again. If another process changed what the slot remembers
    /// at this moment, the slot stays Retiring until the source opens its next connection,
    /// which makes no difference to it.
    fn revive(self, at: SlotRef) -> Option<SlotRef> {
        let live = at.control.with_state(State::Live);
        self.exchange(at.slot, at.control, live)
    }

    /// Claims the slot of `victim` for `source`. `None` if another process was faster or
    /// the victim has connections. Then the source may have a slot by now.
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
        let claiming = from.stamped().claimed_for(source.kind()).with_row(row);
        self.exchange(slot, from, claiming)?;
        let entry = self.slot(slot);
        // publish: complete with the control word below. Release: a reader that loads this
        // key after the old control word must then see that the control word has changed,
        // see `source_at`.
        entry.word.store(source.word(), Ordering::Release);
        if !self.fits_one_word(source.kind()) {
            self.detail(slot).low.store(source.low(), Ordering::Release);
        }
        let pending = claiming.with_state(State::Pending);
        // publish, and total order with the search that follows.
        entry.control.swap(pending.0, Ordering::SeqCst);
        if self.abort_rivals(slot, source, buckets).is_none() {
            // The source has another slot. If this exchange fails, a rival has set the
            // slot Free already.
            self.exchange(slot, pending, pending.with_state(State::Free));
            return None;
        }
        self.exchange(slot, pending, pending.with_state(State::Live))
    }

    /// Searches for other slots of `source` and sets those that are Pending Free. `None`
    /// if the source has a slot, or if such a Pending slot changed meanwhile.
    fn abort_rivals(self, own: usize, source: Source, buckets: [usize; 2]) -> Option<()> {
        for bucket in buckets {
            for (i, entry) in self.buckets[bucket].slots.iter().enumerate() {
                let slot = bucket * SLOTS_PER_BUCKET + i;
                // total order, see crate::shared::sync.
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
            // total order, see crate::shared::sync.
            .compare_exchange(from.0, to.0, Ordering::SeqCst, Ordering::Relaxed)
            .ok()?;
        Some(SlotRef { slot, control: to })
    }
}

/// Whether the lower half of the source in `slot` is `low`. Not inlined, see
/// [`crate::limiter`].
#[inline(never)]
fn has_low(region: &Region, slot: usize, low: u64) -> bool {
    region.details()[slot].low.load(Ordering::Acquire) == low
}

/// The result of [`Table::survey`] for one bucket.
struct Survey {
    busy: usize,
    /// The slot to claim next.
    next: Option<SlotRef>,
    /// Whether the bucket has no free slot and no idle source that remembers nothing.
    forgets: bool,
}
