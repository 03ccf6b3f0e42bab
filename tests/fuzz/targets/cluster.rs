// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages of other nodes, from any bytes to those that only a node with the key can make.
//!
//! Input: steps of a kind, a length, and that many bytes; missing bytes at the end are
//! zeros. Bits of the first kind switch bans and the strict limit off, and add a second key.
//! Compared with what the effects add up to, and with the bounds of the settings.

#![no_main]

use std::collections::HashMap;

use data_encoding::BASE64_NOPAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;
use tcp_conn_limit::cluster::{
    Ban, Cluster, Config, Count, Effects, Keys, MAX_BAN_SECONDS, NodeName, NodeReport, NodeState,
    Rejected, To,
};
use tcp_conn_limit::source::{Prefix, PrefixLengths, Source};

const KEY: &[u8] = b"the key of all nodes";
/// A key that nodes may also have, while the keys are changed.
const NEXT_KEY: &[u8] = b"the next key of all nodes";
const BOOT: u64 = 7;

const MAX_NODES: usize = 3;
const MAX_SOURCES: usize = 5;
const MAX_COUNT: u32 = 1_000;
const MAX_BANS: usize = 4;

/// What the effects add up to.
#[derive(Default)]
struct Ledger {
    others: HashMap<Source, u32>,
    of_nodes: HashMap<(usize, Source), u32>,
    /// By index and name, because the row of a node can be given to another one.
    states: HashMap<(usize, String), NodeState>,
    last: Option<(usize, Source, u32)>,
    /// Bans of other nodes apply.
    bans: bool,
    strict: bool,
    /// Messages that were accepted, and those rejected for each reason.
    received: u64,
    rejected: [u64; Rejected::ALL.len()],
}

impl Effects for Ledger {
    fn send(&mut self, _: To<'_>, body: &str) {
        assert!(body.len() <= Config::MIN_BODY);
        assert!(BASE64_NOPAD.decode(body.as_bytes()).is_ok());
    }

    fn set(&mut self, source: Source, others: u32) {
        let (_, of, _) = self
            .last
            .take()
            .expect("the count of a node before its sum");
        assert_eq!(of, source);
        match others {
            0 => self.others.remove(&source),
            _ => self.others.insert(source, others),
        };
    }

    fn set_of_node(&mut self, node: usize, source: Source, count: u32) {
        assert!(node < MAX_NODES && count <= MAX_COUNT);
        self.last = Some((node, source, count));
        match count {
            0 => self.of_nodes.remove(&(node, source)),
            _ => self.of_nodes.insert((node, source), count),
        };
    }

    fn limit(&mut self, source: Source) -> u32 {
        // Other limits for some sources.
        u32::from(source.octets().0[3] % 4) * 300
    }

    fn base(&mut self, source: Source, base: u32) {
        // The counts of a tick are single bytes.
        assert!(self.strict && base < 256, "{source:?} {base}");
    }

    fn ban(&mut self, node: usize, who: Prefix, seconds: u32) -> bool {
        assert!(self.bans && node < MAX_NODES && seconds <= MAX_BAN_SECONDS);
        // Some are refused.
        seconds > 0 && who.length != 31
    }

    fn changed(&mut self, node: &NodeReport<'_>) {
        let key = (node.index, node.name.to_string());
        self.states.insert(key, node.state);
    }
}

impl Ledger {
    fn receive(&mut self, cluster: &mut Cluster, now: u64, body: &[u8]) -> Result<(), Rejected> {
        let result = cluster.receive(now, body, self);
        match result {
            Ok(()) => self.received += 1,
            Err(reason) => self.rejected[reason as usize] += 1,
        }
        result
    }

    fn check(&mut self, cluster: &Cluster, now: u64) {
        assert!(self.last.is_none());
        let all: HashMap<Source, u32> = cluster.all_others().collect();
        assert_eq!(all, self.others);
        for (source, others) in &all {
            let sum: u32 = cluster.of_nodes(*source).map(|(_, count)| count).sum();
            assert_eq!(sum, *others);
            assert_eq!(cluster.others(*source), sum);
        }
        let totals = cluster.totals();
        assert_eq!(
            (totals.received, totals.rejected),
            (self.received, self.rejected)
        );
        let key = |node: NodeReport<'_>| (node.index, node.name.to_string());
        let listed: Vec<_> = cluster.nodes(now).map(key).collect();
        assert!(listed.len() <= MAX_NODES);
        self.states.retain(|node, _| listed.contains(node));
        for node in cluster.nodes(now) {
            let counts = self
                .of_nodes
                .iter()
                .filter(|((index, _), _)| *index == node.index);
            let counts: Vec<u64> = counts.map(|(_, count)| u64::from(*count)).collect();
            assert_eq!(node.connections, counts.iter().sum::<u64>());
            assert_eq!(node.sources, counts.len());
            assert!(node.sources <= MAX_SOURCES);
            assert!(cluster.bans_of(node.index) <= MAX_BANS);
            assert!(
                node.sources == 0 || node.state == NodeState::Alive,
                "{node:?}"
            );
            // A node that has no other state yet is joining.
            let state = self.states.get(&(node.index, node.name.to_string()));
            assert_eq!(node.state, *state.unwrap_or(&NodeState::Joining));
        }
    }
}

fn seal(message: &[u8], key: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("any length is valid");
    let signature = mac.chain_update(message).finalize().into_bytes();
    BASE64_NOPAD.encode(&[message, &signature[..16]].concat())
}

/// A message whose header is valid. The first bytes say which one.
fn message(bytes: &[u8; 8], rest: &[u8]) -> Vec<u8> {
    let [kind, name, boot, sequence, pulse, wants, interval, round] = *bytes;
    let mut message = vec![1, kind & 3 | kind & 0x40, 32, 64, 1, b'a' + name % 5];
    message.extend(u64::from(boot % 4).to_be_bytes());
    message.extend(u64::from(sequence).to_be_bytes());
    message.extend(u32::from(sequence).to_be_bytes());
    message.extend(u32::from(round).to_be_bytes());
    message.extend((u16::from(interval) * 50).to_be_bytes());
    if kind & 0x20 != 0 {
        message[1] |= 0x80;
        message.extend(BOOT.to_be_bytes());
    }
    if kind & 3 == 0 {
        message.push(1);
        message.extend(BOOT.to_be_bytes());
        message.extend(u32::from(pulse).to_be_bytes());
        message.extend([wants, 0]);
    }
    message.extend(rest);
    message
}

fuzz_target!(|bytes: &[u8]| {
    let name = |text: &str| NodeName::new(text).expect("a name");
    let flags = bytes.first().copied().unwrap_or_default();
    let (bans, strict) = (flags & 8 == 0, flags & 16 == 0);
    let mut known = match flags & 32 {
        0 => vec![KEY],
        _ => vec![KEY, NEXT_KEY],
    };
    let keys = |known: &[&[u8]]| {
        let keys = Keys::new(known[0], known.get(1).copied());
        keys.expect("long keys")
    };
    let mut cluster = Cluster::new(
        Config {
            body_bytes: Config::MIN_BODY,
            max_nodes: MAX_NODES,
            max_sources: MAX_SOURCES,
            max_count: MAX_COUNT,
            max_bans: MAX_BANS,
            max_banned_prefixes: 1,
            bans,
            strict,
            ..Config::new(name("own"), BOOT, [1, 2], keys(&known))
        },
        0,
    );
    let mut ledger = Ledger {
        bans,
        strict,
        ..Ledger::default()
    };
    let mut now = 0;
    let mut left = bytes;
    while let [kind, length, rest @ ..] = left {
        let taken = usize::from(*length).min(rest.len());
        let mut step = rest[..taken].to_vec();
        step.resize(usize::from(*length).max(8), 0);
        left = &rest[taken..];
        let head = *step.first_chunk().expect("8 bytes");
        let key = if kind & 0x40 == 0 { KEY } else { NEXT_KEY };
        let is_known = known.contains(&key);
        match kind % 8 {
            0 => {
                let result = ledger.receive(&mut cluster, now, &step);
                assert!(!matches!(result, Ok(())), "a message without a signature");
            }
            1 => {
                let body = seal(&step, key);
                let result = ledger.receive(&mut cluster, now, body.as_bytes());
                assert!(is_known || result.is_err(), "a message with another key");
            }
            2..=4 => {
                let body = seal(&message(&head, &step[8..]), key);
                let result = ledger.receive(&mut cluster, now, body.as_bytes());
                let is_signed = result != Err(Rejected::Signature);
                assert_eq!(is_signed, is_known);
                if result.is_ok() {
                    let again = ledger.receive(&mut cluster, now, body.as_bytes());
                    assert!(again.is_err_and(|reason| reason != Rejected::Malformed));
                }
            }
            5 | 6 => {
                // Up to 25 s.
                now += u64::from(head[0]) * 100;
                let source = |octet| {
                    let source = Source::new(&[192, 0, 2, octet], PrefixLengths::DEFAULT);
                    source.expect("an IPv4 address")
                };
                let counts = step[1..].iter().enumerate().map(|(number, own)| Count {
                    source: source(number as u8),
                    own: u32::from(*own),
                    limit: 100,
                });
                let bans = step[1..4].iter().map(|octet| Ban {
                    who: source(*octet).prefix(PrefixLengths::DEFAULT),
                    seconds: u32::from(head[5]),
                });
                cluster.tick(now, counts.take(256), bans, &mut ledger);
            }
            _ => {
                let node = name(&char::from(b'a' + head[1] % 5).to_string());
                match head[0] % 6 {
                    0 => drop(cluster.drop_node(now, &node, &mut ledger)),
                    1 => drop(cluster.admit_node(now, &node, &mut ledger)),
                    2 => cluster.set_interval(u32::from(head[2]) * 100),
                    3 => cluster.limits_changed(&mut ledger),
                    4 => cluster.bye(now, &mut ledger),
                    _ => {
                        known = match head[2] % 3 {
                            0 => vec![KEY],
                            1 => vec![NEXT_KEY, KEY],
                            _ => vec![NEXT_KEY],
                        };
                        cluster.set_keys(keys(&known));
                    }
                }
            }
        }
        ledger.check(&cluster, now);
    }
});
