// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Peer`]: another node: which of its processes is alive, and the counts that it reported.
//!
//! # Which messages are applied
//!
//! A *life* of a node is one run of its process, with a boot id. A life is adopted when a
//! pulse of it echoes a pulse of this node ([`Pulses`]) that was sent at most
//! [`proof_ms`](Life::proof_ms) ago. That echo has the boot id of this node, so the message
//! was made after this node started, and after that pulse was sent. Until then its messages
//! are not applied, but they are echoed, so that it can adopt this node in turn.
//!
//! Each later pulse with an echo renews this proof. All messages with a higher sequence
//! number were made after it, and those without such a proof of at most this age are late. So
//! an attacker who records messages and sends them again cannot
//! make this node apply old ones: those of this life arrived before, those of an earlier life
//! cannot echo a new pulse, and those that were held back are late.
//!
//! A life can only follow another one if it echoes a pulse that was sent after that one was
//! adopted. An earlier life cannot: it had ended by then. When a life ends because another one
//! was adopted, or it said so, its boot is also *retired*: it is not adopted again for a time.
//! Otherwise two nodes with the same name would follow each other forever.

#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use super::audit::{Audit, RangeSums};
use super::effects::Effects;
use super::hash::{ByKey, Map};
use super::message::{Echo, Header, Kind};
use super::name::NodeName;
use super::report::{NodeReport, NodeState, Rejected};
use super::sender::rounds;
use super::sums::Sums;
use super::window::Window;
use crate::source::Source;

/// A node is silent if no message arrived for this time, in ms, or for three of its intervals.
pub(super) const SILENT_MS: u64 = 3_000;

/// The proof that a life is alive expires after this time, in ms, or after ten intervals.
pub(super) const PROOF_MS: u64 = 10_000;

/// Lives of one node that were heard and not adopted.
const MAX_CANDIDATES: usize = 3;

/// How long a boot is retired, in ms. Not less than the longest [`proof_ms`].
pub(super) const RETIRED_MS: u64 = 100_000;

/// Boots that are retired at a time. A node that restarts more often is not adopted again
/// until the first of them has expired.
const MAX_RETIRED: usize = 32;

/// The time between two dumps for the same node, in ms.
pub(super) const DUMP_GAP_MS: u64 = 3_000;

/// Cycles without a record of a source until its count is removed.
const MAX_MISSED_CYCLES: u32 = 3;

/// The most pulses of this node that are remembered.
const MAX_PULSES: usize = 1_024;

/// The most proofs of a life that are remembered.
const MAX_PROOFS: usize = 128;

/// When the last pulses of this node were sent.
#[derive(Debug, Default)]
pub(super) struct Pulses(VecDeque<(u64, u64)>);

impl Pulses {
    pub(super) fn push(&mut self, sequence: u64, now: u64) {
        if self.0.len() >= MAX_PULSES {
            self.0.pop_front();
        }
        self.0.push_back((sequence, now));
    }

    /// The sequence number of a pulse with this lower half, and when it was sent; `None`:
    /// long ago, or never.
    fn find(&self, pulse: u32) -> Option<(u64, u64)> {
        let mut newest_first = self.0.iter().rev();
        newest_first
            .find(|(number, _)| *number as u32 == pulse)
            .copied()
    }

    /// The sequence number of the last pulse.
    pub(super) fn newest(&self) -> u64 {
        self.0.back().map_or(0, |(number, _)| *number)
    }
}

/// The last pulse of a life that arrived, which is echoed to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) boot: u64,
    pulse: u32,
    at: u64,
    /// Whether it must get an answer at once.
    pub(super) must_answer: bool,
}

impl Heard {
    /// Whether it makes sense to echo it.
    pub(super) fn is_recent(&self, now: u64) -> bool {
        now.saturating_sub(self.at) < PROOF_MS
    }

    pub(super) fn echo(&self, now: u64, wants_dump: bool) -> Echo {
        let held = now.saturating_sub(self.at).min(Echo::MAX_HELD_MS.into());
        Echo {
            boot: self.boot,
            pulse: self.pulse,
            held_ms: held as u16,
            wants_dump,
        }
    }
}

/// A life that was adopted.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) heard: Heard,
    window: Window,
    /// The sequence numbers of its last pulses with an echo, and when the pulses that they echo
    /// were sent. The messages after one of these pulses are not older than that. Those before
    /// the first one are late.
    proofs: VecDeque<(u64, u64)>,
    /// When the last message arrived.
    heard_at: u64,
    /// Whether this node wants all of its records.
    pub(super) wants_dump: bool,
    interval_ms: u32,
    round: u32,
    /// The number of the first and of the newest message to all nodes, and how many arrived.
    broadcasts: (u32, u32, u32),
}

impl Life {
    fn silent_ms(&self) -> u64 {
        SILENT_MS.max(3 * u64::from(self.interval_ms))
    }

    /// Forgets proofs that are too old. Returns whether one is left.
    fn is_proven(&mut self, now: u64, own_interval_ms: u32) -> bool {
        let proof_ms = proof_ms(self.interval_ms, own_interval_ms);
        while let Some((_, at)) = self.proofs.front()
            && now.saturating_sub(*at) > proof_ms
        {
            self.proofs.pop_front();
        }
        !self.proofs.is_empty()
    }

    /// Remembers that the pulse with this number echoes one that was sent at the time `at`.
    fn prove(&mut self, sequence: u64, at: u64) {
        if self
            .proofs
            .back()
            .is_none_or(|(newest, _)| *newest < sequence)
        {
            if self.proofs.len() >= MAX_PROOFS {
                self.proofs.pop_front();
            }
            self.proofs.push_back((sequence, at));
        }
    }

    /// Messages up to this sequence number are late.
    fn floor(&self) -> u64 {
        self.proofs.front().map_or(0, |(sequence, _)| *sequence)
    }

    fn lost(&self) -> u64 {
        let (first, newest, arrived) = self.broadcasts;
        let sent = newest.wrapping_sub(first).wrapping_add(1);
        sent.saturating_sub(arrived).into()
    }
}

/// How old the pulse may be that an echo names.
fn proof_ms(interval_ms: u32, own_interval_ms: u32) -> u64 {
    PROOF_MS.max(10 * u64::from(interval_ms.max(own_interval_ms)))
}

/// The interval of a message, in ms. It is believed only within the range of settings.
fn interval_of(header: &Header<'_>) -> u32 {
    u32::from(header.interval_ms).clamp(100, 10_000)
}

/// The count of a source.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// As the node reported it.
    reported: u32,
    /// The part of it that is believed.
    count: u32,
    /// The lower half of the sequence number of the newest message about it.
    sequence: u32,
    /// The interval of that message.
    round: u32,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    index: usize,
    pub(super) name: NodeName,
    pub(super) state: NodeState,
    since: u64,
    pub(super) life: Option<Life>,
    pub(super) candidates: Vec<Heard>,
    /// Boots, and until when they are retired.
    retired: Vec<(u64, u64)>,
    /// A life must echo a pulse of this node that is newer than this one.
    adopts_after: u64,
    last_boot: u64,
    cells: Map<Cell>,
    /// Cells with a count above 0, and the sum of these counts.
    held: (usize, u64),
    last_dump: Option<u64>,
    heard_at: Option<u64>,
    round_trip_ms: Option<u64>,
    audit: Option<Audit>,
    received: u64,
    lost_before: u64,
    pub(super) rejected: [u64; Rejected::ALL.len()],
    capped: u64,
    overflow: u64,
}

/// What applies to the counts of all nodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caps {
    pub(super) sources: usize,
    pub(super) count: u32,
}

impl Caps {
    /// The most connections of a source that a node is believed to have. More than its limit
    /// make no difference.
    fn count(self, source: Source, effects: &mut impl Effects) -> u32 {
        match effects.limit(source) {
            0 => self.count,
            limit => self.count.min(limit),
        }
    }
}

impl Peer {
    pub(super) fn new(index: usize, name: NodeName, hash: ByKey, now: u64) -> Peer {
        Peer {
            index,
            name,
            state: NodeState::Joining,
            since: now,
            life: None,
            candidates: Vec::new(),
            retired: Vec::new(),
            adopts_after: 0,
            last_boot: 0,
            cells: Map::with_hasher(hash),
            held: (0, 0),
            last_dump: None,
            heard_at: None,
            round_trip_ms: None,
            audit: None,
            received: 0,
            lost_before: 0,
            rejected: [0; Rejected::ALL.len()],
            capped: 0,
            overflow: 0,
        }
    }

    pub(super) fn report(&self, now: u64) -> NodeReport<'_> {
        NodeReport {
            index: self.index,
            name: &self.name,
            boot: self.last_boot,
            state: self.state,
            state_ms: now.saturating_sub(self.since),
            age_ms: self.heard_at.map(|at| now.saturating_sub(at)),
            round_trip_ms: self.round_trip_ms,
            sources: self.held.0,
            connections: self.held.1,
            received: self.received,
            lost: self.lost(),
            rejected: self.rejected,
            capped: self.capped,
            overflow: self.overflow,
            audit: self.audit.map(|audit| audit.report(now)),
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost_before + self.life.as_ref().map_or(0, Life::lost)
    }

    /// Whether its row can be given to another node: it has no counts, nothing of it is
    /// remembered that protects from old messages, and no operator chose its state.
    pub(super) fn is_replaceable(&self, now: u64) -> bool {
        let is_old = now.saturating_sub(self.since) > RETIRED_MS;
        match self.state {
            NodeState::Alive | NodeState::Dropped => false,
            NodeState::Joining => self.last_boot == 0 || is_old,
            NodeState::Silent | NodeState::Deaf | NodeState::Left => is_old,
        }
    }

    /// The order in which rows are replaced: first those of nodes that were never alive, then
    /// the oldest state.
    pub(super) fn replacement_order(&self) -> (bool, u64) {
        (self.last_boot != 0, self.since)
    }

    pub(super) fn set_state(&mut self, state: NodeState, now: u64, effects: &mut impl Effects) {
        if self.state != state {
            self.state = state;
            self.since = now;
            effects.changed(&self.report(now));
        }
    }

    /// Removes all of its counts.
    pub(super) fn clear(&mut self, sums: &mut Sums, effects: &mut impl Effects) {
        for (source, cell) in self.cells.drain() {
            sums.change(self.index, source, (cell.count, 0), effects);
        }
        self.cells.shrink_to_fit();
        self.held = (0, 0);
        self.audit = None;
        if let Some(life) = &mut self.life {
            life.wants_dump = true;
        }
    }

    /// Ends the life, if there is one. `newest` is the last pulse of this node.
    pub(super) fn end_life(
        &mut self,
        now: u64,
        newest: u64,
        sums: &mut Sums,
        effects: &mut impl Effects,
    ) {
        self.clear(sums, effects);
        self.adopts_after = newest;
        if let Some(life) = self.life.take() {
            self.lost_before += life.lost();
            let until = now.saturating_add(RETIRED_MS);
            self.retired.push((life.heard.boot, until));
        }
    }

    /// Checks if the node became silent or deaf.
    pub(super) fn expire(
        &mut self,
        now: u64,
        own_interval_ms: u32,
        sums: &mut Sums,
        effects: &mut impl Effects,
    ) {
        let Some(life) = &mut self.life else {
            return;
        };
        if self.state == NodeState::Dropped {
            return;
        }
        let state = if now.saturating_sub(life.heard_at) > life.silent_ms() {
            NodeState::Silent
        } else if !life.is_proven(now, own_interval_ms) {
            NodeState::Deaf
        } else {
            return;
        };
        if self.state == NodeState::Alive {
            self.clear(sums, effects);
        }
        self.set_state(state, now, effects);
    }

    /// Accepts a message, or says why it is not applied. `echo` is what it echoes of this
    /// node. `Ok`: its records must be applied.
    pub(super) fn accept(
        &mut self,
        now: u64,
        own_interval_ms: u32,
        (header, echo): (&Header<'_>, Option<Echo>),
        pulses: &Pulses,
        sums: &mut Sums,
        effects: &mut impl Effects,
    ) -> Result<(), Rejected> {
        self.retired.retain(|(_, until)| *until > now);
        if self.retired.iter().any(|(boot, _)| *boot == header.boot) {
            return Err(Rejected::OldBoot);
        }
        // The pulse that the message echoes, if it was not sent too long ago.
        let proof_ms = proof_ms(interval_of(header), own_interval_ms);
        let proof = echo
            .and_then(|echo| pulses.find(echo.pulse))
            .filter(|(_, at)| now.saturating_sub(*at) <= proof_ms);
        let proven_at = proof.map(|(_, at)| at);
        match &mut self.life {
            Some(life) if life.heard.boot == header.boot => {
                let is_proven = life.is_proven(now, own_interval_ms);
                if is_proven && header.sequence < life.floor() {
                    return Err(Rejected::Late);
                }
                life.window.check(header.sequence)?;
                life.window.insert(header.sequence);
            }
            _ => {
                let rejected = match proof {
                    None => Some(Rejected::Unproven),
                    Some((pulse, _)) if pulse <= self.adopts_after => Some(Rejected::OldBoot),
                    Some(_) if self.retired.len() >= MAX_RETIRED => Some(Rejected::Unproven),
                    Some(_) => None,
                };
                if let Some(reason) = rejected {
                    self.hear_candidate(now, header);
                    return Err(reason);
                }
                self.adopt(now, (header, pulses.newest()), sums, effects);
            }
        }
        self.heard_at = Some(now);
        self.received += 1;
        if let (Some(echo), Some(at)) = (echo, proven_at) {
            let there_and_back = now.saturating_sub(at);
            if echo.held_ms < Echo::MAX_HELD_MS {
                self.round_trip_ms = Some(there_and_back.saturating_sub(echo.held_ms.into()));
            }
        }
        let Some(life) = &mut self.life else {
            return Err(Rejected::Unproven);
        };
        life.hear(now, header);
        if let Some(at) = proven_at {
            life.prove(header.sequence, at);
        }
        match life.is_proven(now, own_interval_ms) {
            true => self.set_state(NodeState::Alive, now, effects),
            false => {
                if self.state == NodeState::Alive {
                    self.clear(sums, effects);
                }
                self.set_state(NodeState::Deaf, now, effects);
                return Err(Rejected::Unproven);
            }
        }
        if header.is_dump
            && let Some(life) = &mut self.life
        {
            life.wants_dump = false;
        }
        Ok(())
    }

    /// Remembers a life that has not proven that it is alive, to echo it.
    fn hear_candidate(&mut self, now: u64, header: &Header<'_>) {
        if header.kind != Kind::Pulse {
            return;
        }
        self.heard_at = Some(now);
        let heard = Heard {
            boot: header.boot,
            pulse: header.sequence as u32,
            at: now,
            must_answer: true,
        };
        let known = self
            .candidates
            .iter_mut()
            .find(|known| known.boot == header.boot);
        if let Some(known) = known {
            *known = Heard {
                must_answer: known.must_answer,
                ..heard
            };
        } else if self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push(heard);
        } else if let Some(oldest) = self.candidates.iter_mut().min_by_key(|known| known.at) {
            *oldest = heard;
        }
    }

    fn adopt(
        &mut self,
        now: u64,
        (header, newest): (&Header<'_>, u64),
        sums: &mut Sums,
        effects: &mut impl Effects,
    ) {
        let restarted = self.life.is_some();
        self.end_life(now, newest, sums, effects);
        self.candidates.retain(|known| known.boot != header.boot);
        self.last_boot = header.boot;
        self.last_dump = None;
        self.life = Some(Life {
            heard: Heard {
                boot: header.boot,
                pulse: header.sequence as u32,
                at: now,
                must_answer: true,
            },
            window: Window::after(header.sequence),
            proofs: VecDeque::new(),
            heard_at: now,
            wants_dump: true,
            interval_ms: interval_of(header),
            round: header.round,
            broadcasts: (header.nth.wrapping_add(1), header.nth, 0),
        });
        if restarted && self.state == NodeState::Alive {
            self.since = now;
            effects.changed(&self.report(now));
        }
    }

    /// The boot of its last life; 0: it was never alive.
    pub(super) fn boot(&self) -> u64 {
        self.last_boot
    }

    /// Appends the echoes for all lives of this node that were heard.
    pub(super) fn echo(&self, now: u64, echoes: &mut Vec<Echo>) {
        if self.state == NodeState::Dropped {
            return;
        }
        if let Some(life) = &self.life
            && life.heard.is_recent(now)
        {
            echoes.push(life.heard.echo(now, life.wants_dump));
        }
        let candidates = self.candidates.iter().filter(|heard| heard.is_recent(now));
        echoes.extend(candidates.map(|heard| heard.echo(now, true)));
    }

    /// The echoes that must be sent at once.
    pub(super) fn take_answers(&mut self, now: u64) -> Vec<Echo> {
        let mut echoes = Vec::new();
        if let Some(life) = &mut self.life
            && core::mem::take(&mut life.heard.must_answer)
        {
            echoes.push(life.heard.echo(now, life.wants_dump));
        }
        for heard in &mut self.candidates {
            if core::mem::take(&mut heard.must_answer) {
                echoes.push(heard.echo(now, true));
            }
        }
        echoes
    }

    /// Whether a dump for this node, which wants one, must begin now.
    pub(super) fn takes_dump(&mut self, now: u64) -> bool {
        let is_due = self
            .last_dump
            .is_none_or(|at| now.saturating_sub(at) >= DUMP_GAP_MS);
        if is_due {
            self.last_dump = Some(now);
        }
        is_due
    }

    /// Applies the count of a source.
    pub(super) fn count(
        &mut self,
        (sequence, round): (u64, u32),
        (source, reported): (Source, u32),
        caps: Caps,
        sums: &mut Sums,
        effects: &mut impl Effects,
    ) {
        let is_full = self.cells.len() >= caps.sources;
        let entry = match self.cells.entry(source) {
            Entry::Vacant(_) if is_full => {
                self.overflow += u64::from(reported > 0);
                return;
            }
            entry => entry,
        };
        let sequence = sequence as u32;
        // A count of 0 is also kept, until older messages would be too late to replace it.
        let cell = entry.or_insert(Cell {
            reported: 0,
            count: 0,
            sequence,
            round,
        });
        // The lower halves of two numbers that are near each other.
        if (sequence.wrapping_sub(cell.sequence) as i32) < 0 {
            return;
        }
        let new = reported.min(caps.count(source, effects));
        self.capped += u64::from(new < reported);
        let old = cell.count;
        *cell = Cell {
            reported,
            count: new,
            sequence,
            round,
        };
        self.held.0 = self.held.0 + usize::from(new > 0) - usize::from(old > 0);
        self.held.1 = self.held.1 + u64::from(new) - u64::from(old);
        sums.change(self.index, source, (old, new), effects);
    }

    /// Removes the counts that were not repeated for some cycles, and those of 0 that no late
    /// message can replace any more.
    pub(super) fn sweep(&mut self, sums: &mut Sums, effects: &mut impl Effects) {
        let Some(life) = &self.life else {
            return;
        };
        let max_missed = MAX_MISSED_CYCLES * rounds(life.interval_ms) + 1;
        let (round, floor, index) = (life.round, life.floor() as u32, self.index);
        let held = &mut self.held;
        self.cells.retain(|source, cell| {
            if cell.count == 0 {
                return (floor.wrapping_sub(cell.sequence) as i32) < 0;
            }
            let missed = round.wrapping_sub(cell.round) as i32;
            let keep = missed <= max_missed as i32;
            if !keep {
                held.0 -= 1;
                held.1 -= u64::from(cell.count);
                sums.change(index, *source, (cell.count, 0), effects);
            }
            keep
        });
        if self.cells.capacity() > 8 * self.cells.len() + 64 {
            self.cells.shrink_to(2 * self.cells.len());
        }
    }

    /// Limits of sources changed, and with them how much of a count is believed.
    pub(super) fn cap_again(&mut self, caps: Caps, sums: &mut Sums, effects: &mut impl Effects) {
        let (index, held) = (self.index, &mut self.held);
        let cells = self.cells.iter_mut().filter(|(_, cell)| cell.reported > 0);
        for (source, cell) in cells {
            let (old, new) = (cell.count, cell.reported.min(caps.count(*source, effects)));
            cell.count = new;
            held.1 = held.1 + u64::from(new) - u64::from(old);
            sums.change(index, *source, (old, new), effects);
        }
    }

    /// Compares what the node says that it reported with what arrived.
    pub(super) fn compare(&mut self, now: u64, reported: &RangeSums) {
        let counts = self
            .cells
            .iter()
            .map(|(source, cell)| (*source, cell.reported));
        let arrived = RangeSums::of(counts);
        self.audit = Some(Audit::compare(now, reported, &arrived, self.audit));
    }

    /// The count of a source.
    pub(super) fn get(&self, source: Source) -> u32 {
        self.cells.get(&source).map_or(0, |cell| cell.count)
    }
}

impl Life {
    /// Updates what is known of the life with a message that was accepted.
    fn hear(&mut self, now: u64, header: &Header<'_>) {
        self.heard_at = now;
        if header.to.is_none() {
            let (first, newest, arrived) = &mut self.broadcasts;
            if header.nth.wrapping_sub(*newest) as i32 > 0 {
                *newest = header.nth;
            }
            // Messages from before the first one that counts are not counted as arrived.
            if header.nth.wrapping_sub(*first) as i32 >= 0 {
                *arrived += 1;
            }
        }
        if header.kind != Kind::Pulse {
            return;
        }
        if (header.sequence as u32).wrapping_sub(self.heard.pulse) as i32 >= 0 {
            self.heard.pulse = header.sequence as u32;
            self.heard.at = now;
            self.interval_ms = interval_of(header);
            self.round = header.round;
        }
    }
}
