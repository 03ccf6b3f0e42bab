// SPDX-License-Identifier: GPL-2.0-or-later
//! How [`Cluster`] makes its messages: pulses, records, audits, and a [`Dump`] of all records
//! for a node that wants it.

#![forbid(unsafe_code)]

use super::effects::{Effects, To};
use super::message::{self, Echo, Header, Kind};
use super::record::{self, Record};
use super::{Cluster, Scratch, lengths, sender};

/// A repetition of all records, part by part.
#[derive(Debug)]
pub(super) struct Dump {
    pub(super) to: DumpFor,
    pub(super) part: u32,
    pub(super) due: u64,
}

/// The index and boot of the only node that wants a dump; `None`: several want it.
pub(super) type DumpFor = Option<(usize, u64)>;

/// The time until a dump begins, in ms. The node that wants it must hear before it that this
/// node is alive, which is sent in another message.
const DUMP_DELAY_MS: u64 = 200;

/// The longest time between two parts of a dump, in ms.
const DUMP_STEP_MS: u32 = 500;

/// Where a message goes.
#[derive(Clone, Copy)]
pub(super) enum Target {
    All,
    One { index: usize, boot: u64 },
}

impl Cluster {
    /// Sends all records to a node that wants them, after the dump that is under way.
    pub(super) fn begin_dump(&mut self, now: u64, to: (usize, u64)) {
        if self.dump.is_some() {
            self.next_dump = Some(match self.next_dump {
                None => Some(to),
                Some(next) => next.filter(|next| *next == to),
            });
            return;
        }
        self.dump = Some(Dump {
            to: Some(to),
            part: 0,
            due: now + DUMP_DELAY_MS,
        });
    }

    pub(super) fn send_dump(&mut self, now: u64, records: &[Record], effects: &mut impl Effects) {
        let Some(dump) = &mut self.dump else {
            return;
        };
        let target = match dump.to {
            None => Target::All,
            Some((index, boot)) => Target::One { index, boot },
        };
        dump.part += 1;
        dump.due = now + u64::from(self.config.interval_ms.min(DUMP_STEP_MS));
        if dump.part == sender::DUMP_PARTS {
            self.dump = self.next_dump.take().map(|to| Dump {
                to,
                part: 0,
                due: now + DUMP_DELAY_MS,
            });
        }
        self.send(now, Kind::Records, target, true, &[], records, effects);
    }

    /// Sends a pulse to each node that needs one at once, because it does not know yet that
    /// this node heard it.
    pub(super) fn answer(&mut self, now: u64, effects: &mut impl Effects) {
        for index in 0..self.peers.len() {
            let Some(peer) = self.peers.get_mut(index).and_then(Option::as_mut) else {
                continue;
            };
            let answers: Vec<Echo> = peer.take_answers(now);
            for echo in answers {
                let target = Target::One {
                    index,
                    boot: echo.boot,
                };
                self.send(now, Kind::Pulse, target, false, &[echo], &[], effects);
            }
        }
    }

    /// The echoes for the next pulse. If they need more than half a message, only some of
    /// them, and the others in the pulses after it.
    pub(super) fn echoes(&mut self, now: u64) -> Vec<Echo> {
        let capacity = message::capacity(self.config.body_bytes);
        let max = (capacity / 2 / Echo::SIZE).min(u8::MAX.into());
        let mut echoes = Vec::new();
        let listed = self.peers.len();
        for step in 0..listed {
            let index = (self.echo_from + step) % listed;
            let Some(peer) = self.peers.get(index).and_then(Option::as_ref) else {
                continue;
            };
            let before = echoes.len();
            peer.echo(now, &mut echoes);
            if echoes.len() > max {
                echoes.truncate(before);
                self.echo_from = index;
                return echoes;
            }
        }
        echoes
    }

    pub(super) fn send_audit(&mut self, now: u64, effects: &mut impl Effects) {
        let sums = self.sender.sums();
        self.begin(now, Kind::Audit, Target::All, false);
        sums.put(&mut self.scratch.bytes);
        self.finish(Target::All, effects);
    }

    /// Sends records, in as many messages as they need, or one without records if nothing is
    /// to be reported.
    #[expect(clippy::too_many_arguments, reason = "the parts of a message")]
    pub(super) fn send(
        &mut self,
        now: u64,
        kind: Kind,
        target: Target,
        is_dump: bool,
        echoes: &[Echo],
        records: &[Record],
        effects: &mut impl Effects,
    ) {
        let capacity = message::capacity(self.config.body_bytes);
        self.begin(now, kind, target, is_dump);
        if kind == Kind::Pulse {
            // At most 255, see `echoes`.
            self.scratch.bytes.push(echoes.len() as u8);
            for echo in echoes {
                echo.put(&mut self.scratch.bytes);
            }
        }
        for record in records {
            if self.scratch.bytes.len() + record::MAX_RECORD > capacity {
                self.finish(target, effects);
                self.begin(now, Kind::Records, target, is_dump);
            }
            record.put(&mut self.scratch.bytes);
            self.totals.sent_records += 1;
        }
        self.finish(target, effects);
    }

    /// Writes the header of the next message.
    fn begin(&mut self, now: u64, kind: Kind, target: Target, is_dump: bool) {
        self.sequence += 1;
        let to = match target {
            Target::All => {
                self.nth = self.nth.wrapping_add(1);
                None
            }
            Target::One { boot, .. } => Some(boot),
        };
        if kind == Kind::Pulse {
            self.pulses.push(self.sequence, now);
        }
        let header = Header {
            kind,
            is_dump,
            prefixes: lengths(self.config.prefixes),
            node: self.config.node.as_str(),
            boot: self.config.boot,
            sequence: self.sequence,
            nth: self.nth,
            round: self.round,
            // At most 10,000.
            interval_ms: self.config.interval_ms as u16,
            to,
        };
        self.scratch.bytes.clear();
        header.put(&mut self.scratch.bytes);
    }

    /// Signs the message and sends it.
    fn finish(&mut self, target: Target, effects: &mut impl Effects) {
        let Scratch { bytes, text, .. } = &mut self.scratch;
        let body = message::seal(bytes, &self.config.keys, text);
        let to = match target {
            Target::All => To::All,
            Target::One { index, .. } => match self.peers.get(index) {
                Some(Some(peer)) => To::Node(&peer.name),
                _ => return,
            },
        };
        self.totals.sent += 1;
        self.totals.sent_bytes += body.len() as u64;
        effects.send(to, body);
    }
}
