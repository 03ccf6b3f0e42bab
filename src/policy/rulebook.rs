// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Rulebook`]: the rules in force, in shared memory, changed while they are
//! read.
//!
//! There are two halves. A generation number tells by its lowest bit which one is
//! in force. Who has new rules writes them into the other half and then stores
//! the next generation, so they come into force all at once. A reader notes the
//! generation before and after: if it has changed, the half may have been written
//! meanwhile, and the reader looks again. Readers never wait for a writer; writers
//! exclude each other by a word that names the one at work, which another one takes
//! over if that process has died.
//!
//! # Which rule a source has
//!
//! A source's rule is looked up once it has as many connections as the lowest limit.
//! Its details keep the answer, in one word with 16 bits of the generation and 32 bits
//! that distinguish the source from others (`Owner::tag`). An IPv4 source therefore
//! never gets the rule of another one. An IPv6 source gets that of the one that had
//! its slot before only if both share these bits, a chance of 2⁻³², and only if
//! another process kept that rule while the details changed their owner, since the new
//! owner starts without a rule.

#![forbid(unsafe_code)]

use core::fmt;
use std::collections::TryReserveError;

use crate::policy::rules::{Rule, RuleSet, longest_match};
use crate::policy::settings::Settings;
use crate::shared::layout::{Detail, RuleEntry};
use crate::shared::process::{Entered, OneThread, is_alive, own_number};
use crate::shared::region::Region;
use crate::shared::sync::Ordering;
use crate::source::{Family, Prefix, Source};

/// How often a reader looks again. Each time takes a reload that came just then.
const ATTEMPTS: u32 = 8;

/// A rule, or that there is none, of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RuleId {
    generation: u16,
    index: Option<u16>,
}

impl RuleId {
    /// As kept for the source of this tag:
    ///
    /// ```text
    ///   bits 0–15 index + 1, or 0 │ 16–31 generation │ 32–63 tag
    /// ```
    fn kept_for(self, tag: u32) -> u64 {
        let index = self.index.map_or(0, |index| u64::from(index) + 1);
        u64::from(tag) << 32 | u64::from(self.generation) << 16 | index
    }

    /// What was kept, if it was for the source of this tag.
    fn kept(word: u64, tag: u32) -> Option<RuleId> {
        ((word >> 32) as u32 == tag).then_some(RuleId {
            generation: (word >> 16) as u16,
            index: (word as u16).checked_sub(1),
        })
    }
}

/// A rule in force, for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// Whom it is for.
    pub prefix: Prefix,
    /// Connections of each source; 0: any number.
    pub limit: i32,
    /// Rejections of its sources.
    pub rejected: u64,
    /// Connections of its sources that would have been rejected, in monitor mode.
    pub would_reject: u64,
    parent: u32,
}

/// Another process, which lives, or another thread of this one changes the rules at
/// this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// Its number.
    pub process: u32,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Busy { process } = self;
        write!(
            f,
            "process {process} is loading rules; try again when it is done"
        )
    }
}

impl std::error::Error for Busy {}

/// The rules in force.
#[derive(Clone, Copy)]
pub(crate) struct Rulebook<'a> {
    region: &'a Region,
}

impl<'a> Rulebook<'a> {
    pub(crate) fn new(region: &'a Region) -> Rulebook<'a> {
        Rulebook { region }
    }

    /// Rule and limit of `source`; a limit of 0 or less: any number.
    pub(crate) fn resolve(self, source: Source) -> (RuleId, i32) {
        let default = Settings::of(self.region).limit();
        let found = self.read(|half| {
            let index = half.longest_match(source);
            let limit = index.map_or(default, |index| half.entry(index).limit());
            let index = index.and_then(|index| u16::try_from(index).ok());
            (index, limit)
        });
        match found {
            Some((generation, (index, limit))) => {
                let generation = generation as u16;
                (RuleId { generation, index }, limit)
            }
            None => (
                RuleId {
                    generation: 0,
                    index: None,
                },
                default,
            ),
        }
    }

    /// As [`resolve`](Self::resolve), with the answer that `detail` keeps. `tag` is
    /// 32 bits that tell the source from any other that may have had the slot.
    pub(crate) fn resolve_once(self, source: Source, tag: u32, detail: &Detail) -> (RuleId, i32) {
        // Relaxed: a word that stands alone
        if let Some(id) = RuleId::kept(detail.rule.load(Ordering::Relaxed), tag)
            && let Some(limit) = self.limit_of(id)
        {
            return (id, limit);
        }
        let (id, limit) = self.resolve(source);
        detail.rule.store(id.kept_for(tag), Ordering::Relaxed);
        (id, limit)
    }

    /// The limit that `id` stands for, if its generation is in force.
    fn limit_of(self, id: RuleId) -> Option<i32> {
        let (generation, limit) = self.read(|half| match id.index {
            None => Settings::of(self.region).limit(),
            Some(index) => half.entry(index.into()).limit(),
        })?;
        (generation as u16 == id.generation && id.generation != 0).then_some(limit)
    }

    /// Rule and limit of `source`, for a report.
    pub(crate) fn describe(self, source: Source) -> (Option<Prefix>, i32) {
        let default = Settings::of(self.region).limit();
        let found = self.read(|half| {
            let entry = half.entry(half.longest_match(source)?);
            Some((entry.prefix(), entry.limit()))
        });
        match found {
            Some((_, Some((prefix, limit)))) => (Some(prefix), limit),
            _ => (None, default),
        }
    }

    /// Counts a rejection of a source of this rule, or one that would have been.
    pub(crate) fn count(self, id: RuleId, rejected: bool) {
        let Some(index) = id.index else {
            let background = &self.region.header().background;
            let number = if rejected {
                &background.default_rejected
            } else {
                &background.default_would_reject
            };
            number.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // statistics: if the rules have changed just now, it goes to another rule
        let half = usize::from(id.generation & 1);
        if let Some(entry) = self.region.rules()[half].get(usize::from(index)) {
            let number = if rejected {
                &entry.rejected
            } else {
                &entry.would_reject
            };
            number.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All rules in force, sorted by [`Prefix`].
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub(crate) fn all(self) -> Result<Rules, TryReserveError> {
        let mut rules = Vec::new();
        loop {
            rules.clear();
            rules.try_reserve(self.len())?;
            let room = rules.capacity();
            let read = self.read_once(|half| {
                rules.extend((0..half.len().min(room)).map(|i| half.entry(i).report()));
                half.len() <= room
            });
            // else there are others now; each turn takes a reload that came just then
            if let Some((_, true)) = read {
                return Ok(Rules(rules));
            }
        }
    }

    /// Rejections of sources without a rule, and connections of theirs that would
    /// have been rejected.
    pub(crate) fn default_numbers(self) -> (u64, u64) {
        let background = &self.region.header().background;
        // statistics
        (
            background.default_rejected.load(Ordering::Relaxed),
            background.default_would_reject.load(Ordering::Relaxed),
        )
    }

    /// How many rules are in force.
    pub(crate) fn len(self) -> usize {
        self.read(|half| half.len()).map_or(0, |(_, len)| len)
    }

    /// How often rules came into force; begins anew after some 4 billion times.
    pub(crate) fn loads(self) -> u32 {
        let generation = self.generation();
        // `publish` leaves out two of each 65,536 generations
        generation - 2 * (generation >> 16)
    }

    fn generation(self) -> u32 {
        let settings = &self.region.header().settings;
        settings.rules_generation.load(Ordering::Relaxed)
    }

    /// Forgets the rejections of all rules.
    pub(crate) fn reset(self) {
        let background = &self.region.header().background;
        // statistics
        background.default_rejected.store(0, Ordering::Relaxed);
        background.default_would_reject.store(0, Ordering::Relaxed);
        let half = self.half(self.generation());
        for entry in &half.entries[..half.count] {
            entry.rejected.store(0, Ordering::Relaxed);
            entry.would_reject.store(0, Ordering::Relaxed);
        }
    }

    /// Puts `rules` in force, all at once. Rules for a prefix that had one before
    /// keep its numbers. All threads of this process pass the same `gate`.
    ///
    /// # Errors
    ///
    /// [`Busy`], and nothing has changed.
    pub(crate) fn publish(self, rules: &RuleSet, gate: &OneThread) -> Result<(), Busy> {
        let _lock = WriterLock::take(self.region, gate, own_number())?;
        let settings = &self.region.header().settings;
        // Relaxed: only who holds the lock stores it
        let generation = settings.rules_generation.load(Ordering::Relaxed);
        let mut next = generation.wrapping_add(1);
        if next as u16 & 0x7fff == 0 {
            self.forget_kept();
        }
        if next as u16 == 0 {
            // 0 as 16 bits stands for unused memory; the halves take turns all the same
            next = next.wrapping_add(2);
        }
        let (old, new) = (self.half(generation), self.half(next));
        for (entry, rule) in new.entries.iter().zip(rules.rules()) {
            entry.store(rule);
            old.hand_over(&rule.prefix, entry);
        }
        let count = rules.rules().len().min(new.entries.len()) as u32;
        settings.rules_count[usize::from(next & 1 != 0)].store(count, Ordering::Release);
        let limits = rules.rules().iter().map(|rule| rule.limit);
        let lowest = limits.filter(|&limit| limit > 0).min().unwrap_or(0);
        // first the lower of both, then the new one: nobody is admitted by rules
        // of which one is in force and the other is not
        let before = settings.lowest_rule.load(Ordering::Relaxed);
        let both = match (before, lowest) {
            (0, one) | (one, 0) => one,
            (one, other) => one.min(other),
        };
        settings.lowest_rule.store(both, Ordering::Release);
        settings.rules_generation.store(next, Ordering::Release);
        settings.lowest_rule.store(lowest, Ordering::Release);
        Ok(())
    }

    /// Clears all rules that details keep, so that none is taken for one of a later
    /// generation with the same 16 bits. Runs twice in each turn of these bits: a
    /// process that resolves a rule meanwhile may keep it for the generation that ends
    /// after its detail was cleared, and the next clearing, 32,768 generations later and
    /// as many before that number returns, removes it. Only a process stopped within
    /// [`resolve_once`](Self::resolve_once) for as many loads could still be wrong.
    fn forget_kept(self) {
        let slots = self
            .region
            .buckets()
            .iter()
            .flat_map(|bucket| &bucket.slots);
        for (slot, detail) in slots.zip(self.region.details()) {
            // Relaxed: a slot that was never claimed keeps no rule, and its detail is
            // not touched, which would give it memory; one that is claimed just now is
            // resolved for this generation or the next
            if slot.control.load(Ordering::Relaxed) != 0 {
                detail.rule.store(0, Ordering::Relaxed);
            }
        }
    }

    fn half(self, generation: u32) -> Half<'a> {
        let half = usize::from(generation & 1 != 0);
        let settings = &self.region.header().settings;
        let entries = self.region.rules()[half];
        // Acquire: what is read of the half is read after its length
        let count = settings.rules_count[half].load(Ordering::Acquire) as usize;
        Half {
            entries,
            count: count.min(entries.len()),
        }
    }

    fn read<T>(self, mut look: impl FnMut(Half<'a>) -> T) -> Option<(u32, T)> {
        (0..ATTEMPTS).find_map(|_| self.read_once(&mut look))
    }

    /// What `look` sees in the half in force, and its generation; `None` if that
    /// has changed meanwhile.
    fn read_once<T>(self, look: impl FnOnce(Half<'a>) -> T) -> Option<(u32, T)> {
        let generation = &self.region.header().settings.rules_generation;
        // publish: the half was written before
        let before = generation.load(Ordering::Acquire);
        let seen = look(self.half(before));
        // The half is written again only after the next generation was stored. Its
        // words are stored with Release and read with Acquire: who has read one of
        // the new words sees that generation here.
        (generation.load(Ordering::Acquire) == before).then_some((before, seen))
    }
}

/// Rules that were in force at one moment, for reports.
pub(crate) struct Rules(Vec<RuleReport>);

impl Rules {
    pub(crate) fn as_slice(&self) -> &[RuleReport] {
        &self.0
    }

    /// The index of the rule of `source`.
    pub(crate) fn of(&self, source: Source) -> Option<usize> {
        longest_match(
            self.0.len(),
            |i| self.0[i].prefix,
            |i| (self.0[i].parent as usize).checked_sub(1),
            source,
        )
    }
}

/// One of the two halves.
#[derive(Clone, Copy)]
struct Half<'a> {
    entries: &'a [RuleEntry],
    count: usize,
}

impl<'a> Half<'a> {
    fn len(self) -> usize {
        self.count
    }

    /// Entry `index`; the last one for an index out of range, which is read only
    /// where the rules have changed meanwhile.
    fn entry(self, index: usize) -> &'a RuleEntry {
        &self.entries[index.min(self.entries.len() - 1)]
    }

    fn longest_match(self, source: Source) -> Option<usize> {
        longest_match(
            self.count,
            |i| self.entry(i).prefix(),
            |i| (self.entry(i).parent.load(Ordering::Acquire) as usize).checked_sub(1),
            source,
        )
    }

    /// Gives the numbers of the rule for `key` to `entry`. What is counted until
    /// that is in force is lost.
    fn hand_over(self, prefix: &Prefix, entry: &RuleEntry) {
        let entries = &self.entries[..self.count];
        if let Ok(at) = entries.binary_search_by(|old| old.prefix().cmp(prefix)) {
            let old = &entries[at];
            // statistics
            let rejected = old.rejected.load(Ordering::Relaxed);
            let would_reject = old.would_reject.load(Ordering::Relaxed);
            entry.rejected.store(rejected, Ordering::Relaxed);
            entry.would_reject.store(would_reject, Ordering::Relaxed);
        }
    }
}

const V6: u32 = 1 << 8;

impl RuleEntry {
    fn store(&self, rule: &Rule) {
        let prefix = rule.prefix;
        let family = match prefix.family {
            Family::V4 => 0,
            Family::V6 => V6,
        };
        // Release: see `Rulebook::read_once`
        self.upper.store(prefix.upper, Ordering::Release);
        self.lower.store(prefix.lower, Ordering::Release);
        self.shape
            .store(family | u32::from(prefix.length), Ordering::Release);
        let parent = rule.parent.map_or(0, |parent| u32::from(parent) + 1);
        self.parent.store(parent, Ordering::Release);
        self.limit.store(rule.limit, Ordering::Release);
        self.rejected.store(0, Ordering::Release);
        self.would_reject.store(0, Ordering::Release);
    }

    fn prefix(&self) -> Prefix {
        // Acquire: see `Rulebook::read_once`
        let shape = self.shape.load(Ordering::Acquire);
        Prefix {
            family: if shape & V6 == 0 {
                Family::V4
            } else {
                Family::V6
            },
            upper: self.upper.load(Ordering::Acquire),
            lower: self.lower.load(Ordering::Acquire),
            length: shape as u8,
        }
    }

    fn limit(&self) -> i32 {
        self.limit.load(Ordering::Acquire)
    }

    fn report(&self) -> RuleReport {
        RuleReport {
            prefix: self.prefix(),
            limit: self.limit(),
            // statistics
            rejected: self.rejected.load(Ordering::Relaxed),
            would_reject: self.would_reject.load(Ordering::Relaxed),
            parent: self.parent.load(Ordering::Acquire),
        }
    }
}

/// Held by the one thread that changes rules.
struct WriterLock<'a> {
    region: &'a Region,
    /// Left after the word in shared memory is free again, see `Drop`.
    _entered: Entered<'a>,
}

impl<'a> WriterLock<'a> {
    /// `own` is [`own_number`]. Without /proc the threads of a process share it, so
    /// `gate` is what keeps a second one of them out.
    fn take(region: &'a Region, gate: &'a OneThread, own: u32) -> Result<WriterLock<'a>, Busy> {
        let Some(entered) = gate.enter() else {
            let process = std::process::id();
            return Err(Busy { process });
        };
        let writer = &region.header().background.rules_writer;
        // Acquire: what the one before has written is there
        let mut holder = writer.load(Ordering::Acquire);
        loop {
            // Our own number: one that has died had it before us. No thread of this
            // process holds the word, because this one has entered the gate.
            if holder != 0 && holder != own && is_alive(holder) {
                return Err(Busy { process: holder });
            }
            match writer.compare_exchange(holder, own, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    return Ok(WriterLock {
                        region,
                        _entered: entered,
                    });
                }
                Err(now) => holder = now,
            }
        }
    }
}

impl Drop for WriterLock<'_> {
    fn drop(&mut self) {
        let writer = &self.region.header().background.rules_writer;
        writer.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::layout::Geometry;

    /// Without /proc both threads have the number of their process.
    #[test]
    fn second_thread_with_the_same_number_is_busy() {
        let region = Region::create(Geometry::of_buckets(1)).unwrap();
        let gate = OneThread::new();
        let own = std::process::id();
        let take = || WriterLock::take(&region, &gate, own);
        let in_another_thread = || {
            let busy = || take().map(drop).err();
            std::thread::scope(|scope| scope.spawn(busy).join().unwrap())
        };

        let first = take().ok();
        assert!(first.is_some());
        assert_eq!(in_another_thread(), Some(Busy { process: own }));
        drop(first);
        assert_eq!(in_another_thread(), None);
    }

    /// A process that has died may have had the number of this one.
    #[test]
    fn word_left_with_our_own_number_is_taken_over() {
        let region = Region::create(Geometry::of_buckets(1)).unwrap();
        let own = std::process::id();
        let writer = &region.header().background.rules_writer;
        writer.store(own, Ordering::Relaxed);
        let gate = OneThread::new();
        drop(WriterLock::take(&region, &gate, own).unwrap());
        assert_eq!(writer.load(Ordering::Relaxed), 0);
    }
}
