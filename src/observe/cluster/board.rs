// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Board`]: the state of the cluster in shared memory. The background process writes it,
//! all others read it.
//!
//! Each row has a version, which is odd while the row is written. A reader loads it before
//! and after the words of the row, and tries again if it has changed. The words are stored
//! with `Release` and loaded with `Acquire`, so a reader that has read a new word also sees
//! the new version. Readers never wait for the writer.

#![forbid(unsafe_code)]

use crate::cluster::report::AuditReport;
use crate::cluster::{NodeName, NodeReport, NodeState, Rejected, Totals};
use crate::shared::layout::{Board as Rows, BoardRow, ROW_WORDS};
use crate::shared::sync::Ordering;

/// How often a reader tries. A try fails only if the row is written during it.
const ATTEMPTS: u32 = 8;

const REASONS: usize = Rejected::ALL.len();
const NAME_WORDS: usize = NodeName::MAX / 8;

/// Another node at one moment, see [`NodeReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its number.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// Its boot id.
    pub boot: u64,
    /// Its state.
    pub state: NodeState,
    /// How long this state lasts, in ms.
    pub state_ms: u64,
    /// How long ago its last valid message arrived, in ms.
    pub age_ms: Option<u64>,
    /// The last measured time of a message to it and back, in ms.
    pub round_trip_ms: Option<u64>,
    /// Sources of which it reported connections.
    pub sources: u64,
    /// The sum of these connections.
    pub connections: u64,
    /// Its messages that were accepted.
    pub received: u64,
    /// Its messages that did not arrive.
    pub lost: u64,
    /// Its messages that were rejected, by the number of the [`Rejected`].
    pub rejected: [u64; REASONS],
    /// Counts that were too high.
    pub capped: u64,
    /// Records without room.
    pub overflow: u64,
    /// Its bans that are in effect here.
    pub bans: u64,
    /// The comparison with its own sums.
    pub audit: Option<AuditReport>,
}

/// This node and all others together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// The name of this node.
    pub name: String,
    /// It may not know all counts of the others yet.
    pub learning: bool,
    /// Other nodes that are alive.
    pub alive: u32,
    /// The nodes that shares are computed with.
    pub size: u32,
    /// The time between two reports, in ms.
    pub interval_ms: u32,
    /// Sources for which there was no room.
    pub no_room: u64,
    /// Sums over all nodes.
    pub totals: Totals,
}

impl Overview {
    /// The rejected messages that may come from an attacker or a mistake.
    pub fn bad(&self) -> u64 {
        let suspect = Rejected::ALL.iter().filter(|reason| reason.is_suspect());
        let numbers = suspect.map(|reason| self.totals.rejected[*reason as usize]);
        numbers.fold(0, u64::saturating_add)
    }
}

/// The board in shared memory.
#[derive(Clone, Copy)]
pub struct Board<'a>(&'a Rows);

impl<'a> Board<'a> {
    pub(crate) fn new(rows: &'a Rows) -> Board<'a> {
        Board(rows)
    }

    /// `bans` are those of the node that are in effect here.
    pub(crate) fn set_node(self, node: &NodeReport<'_>, bans: usize, now: u64) {
        let Some(row) = self.0.nodes.get(node.index) else {
            return;
        };
        let mut words = Writer::default();
        words.number(1 + node.state as u64);
        words.text(node.name.as_str());
        words.numbers([node.boot, node.state_ms]);
        words.numbers([node.age_ms, node.round_trip_ms].map(of_option));
        let sources = u64::try_from(node.sources).unwrap_or(u64::MAX);
        words.numbers([sources, node.connections, node.received, node.lost]);
        words.numbers(node.rejected);
        words.numbers([node.capped, node.overflow]);
        words.number(u64::try_from(bans).unwrap_or(u64::MAX));
        words.number(of_option(node.audit.map(|audit| audit.age_ms)));
        if let Some(audit) = node.audit {
            words.numbers([
                audit.differing,
                audit.lasting,
                audit.reported,
                audit.arrived,
            ]);
        }
        row.write(words, now);
    }

    /// There is no node with this number.
    pub(crate) fn clear_node(self, index: usize) {
        if let Some(row) = self.0.nodes.get(index)
            // Relaxed: this process is the only writer.
            && row.words[0].load(Ordering::Relaxed) != 0
        {
            row.write(Writer::default(), 0);
        }
    }

    pub(crate) fn set_overview(self, overview: &Overview, now: u64) {
        let mut words = Writer::default();
        words.number(1 + u64::from(overview.learning));
        words.text(&overview.name);
        words.numbers([overview.alive, overview.size, overview.interval_ms].map(u64::from));
        let totals = &overview.totals;
        words.numbers([
            overview.no_room,
            totals.sent,
            totals.sent_bytes,
            totals.sent_records,
        ]);
        words.numbers([totals.received, totals.received_records, totals.lost]);
        words.numbers(totals.rejected);
        words.numbers([
            totals.reported_sources,
            totals.unreported,
            totals.other_sources,
        ]);
        words.numbers([totals.bans_sent, totals.bans_received, totals.bans_refused]);
        self.0.overview.write(words, now);
    }

    /// The nodes, at the time `now`. A process reads the clock in the same unit as the one
    /// that writes.
    pub fn nodes(self, now: u64) -> impl Iterator<Item = NodeView> + 'a {
        let rows = self.0.nodes.iter().enumerate();
        rows.filter_map(move |(index, row)| {
            let (mut words, written) = row.read()?;
            let state = words.number().checked_sub(1)?;
            let passed = now.saturating_sub(written);
            let later = |ms: u64| ms.saturating_add(passed);
            let name = words.text();
            let [boot, state_ms] = words.numbers();
            let [age, round_trip] = words.numbers();
            let [sources, connections, received, lost] = words.numbers();
            let rejected = words.numbers();
            let [capped, overflow, bans] = words.numbers();
            let audited = option_of(words.number());
            let [differing, lasting, reported, arrived] = words.numbers();
            Some(NodeView {
                index,
                name,
                boot,
                state: *NodeState::ALL.get(usize::try_from(state).ok()?)?,
                state_ms: later(state_ms),
                age_ms: option_of(age).map(later),
                round_trip_ms: option_of(round_trip),
                sources,
                connections,
                received,
                lost,
                rejected,
                capped,
                overflow,
                bans,
                audit: audited.map(|age_ms| AuditReport {
                    age_ms: later(age_ms),
                    differing,
                    lasting,
                    reported,
                    arrived,
                }),
            })
        })
    }

    /// The name of the node with this number.
    pub fn name_of(self, index: u8) -> Option<String> {
        let (mut words, _) = self.0.nodes.get(usize::from(index))?.read()?;
        (words.number() > 0).then(|| words.text())
    }

    /// This node and all others together, as last written; `None`: not yet.
    pub fn overview(self) -> Option<Overview> {
        let (mut words, _) = self.0.overview.read()?;
        let learning = words.number().checked_sub(1)? != 0;
        let name = words.text();
        let small = |word: u64| u32::try_from(word).unwrap_or(u32::MAX);
        let [alive, size, interval_ms] = words.numbers().map(small);
        let [no_room, sent, sent_bytes, sent_records] = words.numbers();
        let [received, received_records, lost] = words.numbers();
        let rejected = words.numbers();
        let [reported_sources, unreported, other_sources] = words.numbers();
        let [bans_sent, bans_received, bans_refused] = words.numbers();
        Some(Overview {
            name,
            learning,
            alive,
            size,
            interval_ms,
            no_room,
            totals: Totals {
                sent,
                sent_bytes,
                sent_records,
                received,
                received_records,
                lost,
                rejected,
                reported_sources,
                unreported,
                other_sources,
                bans_sent,
                bans_received,
                bans_refused,
            },
        })
    }

    /// Counts a message that a process of the host could not pass on.
    pub fn note_not_passed_on(self) {
        // Relaxed (statistics), here and below.
        self.0.not_passed_on.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages that processes of the host could not pass on.
    pub fn not_passed_on(self) -> u64 {
        self.0.not_passed_on.load(Ordering::Relaxed)
    }
}

/// An option as a word.
fn of_option(value: Option<u64>) -> u64 {
    value.map_or(0, |value| value.saturating_add(1))
}

fn option_of(word: u64) -> Option<u64> {
    word.checked_sub(1)
}

/// Fills the words of a row, one after the other.
#[derive(Default)]
struct Writer {
    words: Vec<u64>,
}

impl Writer {
    fn number(&mut self, number: u64) {
        self.words.push(number);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        self.words.extend(numbers);
    }

    /// At most [`NodeName::MAX`] bytes.
    fn text(&mut self, text: &str) {
        let mut bytes = [0; NodeName::MAX];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        let words = bytes.as_chunks::<8>().0.iter();
        self.words
            .extend(words.map(|word| u64::from_le_bytes(*word)));
    }
}

/// Reads them in the same order. Words that are missing read as 0.
struct Reader {
    words: [u64; ROW_WORDS],
    next: usize,
}

impl Reader {
    fn number(&mut self) -> u64 {
        let word = self.words.get(self.next).copied().unwrap_or(0);
        self.next += 1;
        word
    }

    fn numbers<const N: usize>(&mut self) -> [u64; N] {
        core::array::from_fn(|_| self.number())
    }

    fn text(&mut self) -> String {
        let words: [u64; NAME_WORDS] = self.numbers();
        let bytes = words.into_iter().flat_map(u64::to_le_bytes);
        let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl BoardRow {
    fn write(&self, Writer { mut words }: Writer, now: u64) {
        words.resize(ROW_WORDS - 1, 0);
        words.push(now);
        // Relaxed: this process is the only writer.
        let version = self.version.load(Ordering::Relaxed);
        // Release, here and below: see the module's documentation. The words are stored after
        // this: each store with Release comes after all that precede it.
        self.version
            .store(version.wrapping_add(1), Ordering::Release);
        for (to, word) in self.words.iter().zip(words) {
            to.store(word, Ordering::Release);
        }
        self.version
            .store(version.wrapping_add(2), Ordering::Release);
    }

    /// The words, and the time at which they were written.
    fn read(&self) -> Option<(Reader, u64)> {
        (0..ATTEMPTS).find_map(|_| {
            let before = self.version.load(Ordering::Acquire);
            let words: [u64; ROW_WORDS] =
                core::array::from_fn(|index| self.words[index].load(Ordering::Acquire));
            let is_whole =
                before.is_multiple_of(2) && self.version.load(Ordering::Acquire) == before;
            let written = words[ROW_WORDS - 1];
            is_whole.then_some((Reader { words, next: 0 }, written))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::Limiter;
    use crate::source::PrefixLengths;

    #[test]
    fn node_is_read_as_it_was_written() {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        assert!(limiter.cluster_board().is_none());
        let limiter = limiter.with_cluster().unwrap();
        let board = limiter.cluster_board().unwrap();
        assert_eq!((board.nodes(0).count(), board.overview()), (0, None));
        let name = NodeName::new(&"n".repeat(64)).unwrap();
        let report = NodeReport {
            index: 31,
            name: &name,
            boot: u64::MAX,
            state: NodeState::Dropped,
            state_ms: 1,
            age_ms: Some(2),
            round_trip_ms: None,
            sources: 3,
            connections: 4,
            received: 5,
            lost: 6,
            rejected: core::array::from_fn(|number| number as u64),
            capped: 7,
            overflow: 8,
            audit: Some(AuditReport {
                age_ms: 0,
                differing: 9,
                lasting: 10,
                reported: 11,
                arrived: 12,
            }),
        };
        board.set_node(&report, 13, 100);
        let view = board.nodes(150).next().unwrap();
        let expected = NodeView {
            index: 31,
            name: name.as_str().to_owned(),
            boot: u64::MAX,
            state: NodeState::Dropped,
            state_ms: 51,
            age_ms: Some(52),
            round_trip_ms: None,
            sources: 3,
            connections: 4,
            received: 5,
            lost: 6,
            rejected: report.rejected,
            capped: 7,
            overflow: 8,
            bans: 13,
            audit: report.audit.map(|audit| AuditReport {
                age_ms: 50,
                ..audit
            }),
        };
        assert_eq!(view, expected);
        board.clear_node(31);
        assert_eq!(board.nodes(0).count(), 0);
    }

    #[test]
    fn overview_is_read_as_it_was_written() {
        let limiter = Limiter::new(10, 0, PrefixLengths::DEFAULT).unwrap();
        let limiter = limiter.with_cluster().unwrap();
        let board = limiter.cluster_board().unwrap();
        let overview = Overview {
            name: "sip:10.0.0.1:5060".to_owned(),
            learning: true,
            alive: 2,
            size: 3,
            interval_ms: 1000,
            no_room: 4,
            totals: Totals {
                sent: 5,
                rejected: core::array::from_fn(|number| number as u64),
                other_sources: 6,
                bans_refused: 7,
                ..Totals::default()
            },
        };
        board.set_overview(&overview, 1);
        assert_eq!(board.overview(), Some(overview));
    }
}
