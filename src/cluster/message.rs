// SPDX-License-Identifier: GPL-2.0-or-later
//! Messages: a signed header and a body, as base64 text without padding, because DMQ ends a
//! body at a NUL. Numbers are big-endian.
//!
//! ```text
//!   version       1
//!   kind          1       and flags: 128: for one node, 64: part of all records
//!   prefixes      2       the prefix lengths of IPv4 and IPv6
//!   name          1 + n   the sender
//!   boot          8       of the sender
//!   sequence      8       counts the messages of this boot
//!   nth           4       counts those to all nodes, up to this one
//!   round         4       counts the intervals
//!   interval      2       in ms
//!   to            8       if it is for one node: the boot of that node
//!   echoes        1 + 14n if the kind is a pulse
//!   records       …       or the sums of an audit
//!   signature     16      of all bytes before
//! ```

#![forbid(unsafe_code)]

use data_encoding::BASE64_NOPAD;

use super::report::Rejected;
use super::sign::{Keys, SIGNATURE};

/// The version of the protocol.
const VERSION: u8 = 1;

/// A body that is longer is not a message. DMQ has at most 64 KiB.
const MAX_BODY: usize = 65_536;

const ONE: u8 = 0x80;
const DUMP: u8 = 0x40;

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The first one of an interval, or an answer: echoes and records.
    Pulse = 0,
    /// More records.
    Records = 1,
    /// The node ends.
    Bye = 2,
    /// Sums of what the node reported.
    Audit = 3,
}

impl Kind {
    fn of(number: u8) -> Option<Kind> {
        match number {
            0 => Some(Kind::Pulse),
            1 => Some(Kind::Records),
            2 => Some(Kind::Bye),
            3 => Some(Kind::Audit),
            _ => None,
        }
    }
}

/// The beginning of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) kind: Kind,
    /// Part of a repetition of all records, which the receiver asked for.
    pub(super) is_dump: bool,
    pub(super) prefixes: (u8, u8),
    pub(super) node: &'a str,
    pub(super) boot: u64,
    pub(super) sequence: u64,
    pub(super) nth: u32,
    pub(super) round: u32,
    pub(super) interval_ms: u16,
    /// The boot of the only receiver; `None`: all nodes.
    pub(super) to: Option<u64>,
}

impl<'a> Header<'a> {
    /// Appends it to an empty message.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let one = if self.to.is_some() { ONE } else { 0 };
        let dump = if self.is_dump { DUMP } else { 0 };
        out.extend([VERSION, self.kind as u8 | one | dump]);
        out.extend([self.prefixes.0, self.prefixes.1]);
        // A name has at most 64 characters.
        out.push(self.node.len() as u8);
        out.extend(self.node.as_bytes());
        out.extend(self.boot.to_be_bytes());
        out.extend(self.sequence.to_be_bytes());
        out.extend(self.nth.to_be_bytes());
        out.extend(self.round.to_be_bytes());
        out.extend(self.interval_ms.to_be_bytes());
        if let Some(boot) = self.to {
            out.extend(boot.to_be_bytes());
        }
    }

    /// Reads it, and returns what follows it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Header<'a>, Reader<'a>)> {
        let mut reader = Reader(bytes);
        let [_version, flags, v4, v6, length] = reader.array()?;
        let header = Header {
            kind: Kind::of(flags & !(ONE | DUMP))?,
            is_dump: flags & DUMP != 0,
            prefixes: (v4, v6),
            node: core::str::from_utf8(reader.slice(length.into())?).ok()?,
            boot: u64::from_be_bytes(reader.array()?),
            sequence: u64::from_be_bytes(reader.array()?),
            nth: u32::from_be_bytes(reader.array()?),
            round: u32::from_be_bytes(reader.array()?),
            interval_ms: u16::from_be_bytes(reader.array()?),
            to: match flags & ONE {
                0 => None,
                _ => Some(u64::from_be_bytes(reader.array()?)),
            },
        };
        Some((header, reader))
    }
}

/// What a node heard of another one. It proves to that one that the message was made after
/// the pulse that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Echo {
    /// The boot of the node that sent the pulse.
    pub(super) boot: u64,
    /// The lower half of the sequence number of its last pulse.
    pub(super) pulse: u32,
    /// How long ago that pulse arrived, in ms.
    pub(super) held_ms: u16,
    /// Whether all records of that node are wanted again.
    pub(super) wants_dump: bool,
}

impl Echo {
    /// Its bytes in a message.
    pub(super) const SIZE: usize = 14;

    /// A longer time is shown as this one.
    pub(super) const MAX_HELD_MS: u16 = 0x7fff;

    pub(super) fn put(self, out: &mut Vec<u8>) {
        let wants = if self.wants_dump { 0x8000 } else { 0 };
        out.extend(self.boot.to_be_bytes());
        out.extend(self.pulse.to_be_bytes());
        out.extend((self.held_ms.min(Self::MAX_HELD_MS) | wants).to_be_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Option<Echo> {
        let boot = u64::from_be_bytes(reader.array()?);
        let pulse = u32::from_be_bytes(reader.array()?);
        let last = u16::from_be_bytes(reader.array()?);
        Some(Echo {
            boot,
            pulse,
            held_ms: last & Self::MAX_HELD_MS,
            wants_dump: last & 0x8000 != 0,
        })
    }

    /// Reads the echoes of a pulse, and returns the one of the boot `own`.
    pub(super) fn find(reader: &mut Reader<'_>, own: u64) -> Option<Option<Echo>> {
        let [number] = reader.array()?;
        let mut found = None;
        for _ in 0..number {
            let echo = Echo::read(reader)?;
            if echo.boot == own {
                found = Some(echo);
            }
        }
        Some(found)
    }
}

/// Reads from the beginning of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*bytes)
    }
}

/// The bytes that a message with a body of `body_bytes` has for its header and records.
pub(super) fn capacity(body_bytes: usize) -> usize {
    (body_bytes.min(MAX_BODY) / 4 * 3).saturating_sub(SIGNATURE)
}

/// Signs the message in `bytes`, writes its text to `text` and returns that.
pub(super) fn seal<'a>(bytes: &mut Vec<u8>, keys: &Keys, text: &'a mut Vec<u8>) -> &'a str {
    let signature = keys.sign(bytes);
    bytes.extend_from_slice(&signature);
    text.resize(BASE64_NOPAD.encode_len(bytes.len()), 0);
    BASE64_NOPAD.encode_mut(bytes, text);
    // It is ASCII, so this never fails.
    core::str::from_utf8(text).unwrap_or_default()
}

/// Decodes the text of a message into `bytes` and checks its signature. Returns the message
/// without it.
pub(super) fn open<'a>(
    body: &[u8],
    keys: &Keys,
    bytes: &'a mut Vec<u8>,
) -> Result<&'a [u8], Rejected> {
    if body.len() > MAX_BODY {
        return Err(Rejected::Malformed);
    }
    let length = BASE64_NOPAD.decode_len(body.len());
    bytes.resize(length.map_err(|_| Rejected::Malformed)?, 0);
    let decoded = BASE64_NOPAD.decode_mut(body, bytes);
    let decoded = &bytes[..decoded.map_err(|_| Rejected::Malformed)?];
    match decoded.first() {
        Some(&VERSION) => {}
        Some(_) => return Err(Rejected::Version),
        None => return Err(Rejected::Malformed),
    }
    let (message, signature) = decoded
        .split_last_chunk::<SIGNATURE>()
        .ok_or(Rejected::Malformed)?;
    match keys.verify(message, signature) {
        true => Ok(message),
        false => Err(Rejected::Signature),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn keys() -> Keys {
        Keys::new(&[7; 32], None).unwrap()
    }

    proptest! {
        #[test]
        fn message_is_read_as_it_was_written(
            kind in 0..4u8,
            is_dump in any::<bool>(),
            node in "[!-~]{1,64}",
            (boot, sequence, nth, round, interval_ms) in any::<(u64, u64, u32, u32, u16)>(),
            to in option::of(any::<u64>()),
            body in vec(any::<u8>(), 0..900),
        ) {
            let header = Header {
                kind: Kind::of(kind).unwrap(),
                is_dump,
                prefixes: (32, 64),
                node: &node,
                boot,
                sequence,
                nth,
                round,
                interval_ms,
                to,
            };
            let mut bytes = Vec::new();
            header.put(&mut bytes);
            bytes.extend(&body);
            let mut text = Vec::new();
            let text = seal(&mut bytes, &keys(), &mut text).to_owned();
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            let mut opened = Vec::new();
            let message = open(text.as_bytes(), &keys(), &mut opened).unwrap();
            let (read, rest) = Header::read(message).unwrap();
            prop_assert_eq!(read, header);
            prop_assert_eq!(rest.0, &body[..]);
        }

        #[test]
        fn changed_message_is_rejected(index in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut text = Vec::new();
            let text = seal(&mut vec![VERSION; 99], &keys(), &mut text);
            let mut changed = text.as_bytes().to_vec();
            let index = index.index(changed.len());
            let mut opened = Vec::new();
            prop_assume!(changed[index] != byte);
            changed[index] = byte;
            prop_assert!(open(&changed, &keys(), &mut opened).is_err());
            prop_assert!(open(&text.as_bytes()[..index], &keys(), &mut opened).is_err());
        }
    }

    #[test]
    fn echo_of_the_own_boot_is_found() {
        let echo = |boot, wants_dump| Echo {
            boot,
            pulse: 9,
            held_ms: 400,
            wants_dump,
        };
        let mut bytes = vec![2];
        echo(1, false).put(&mut bytes);
        echo(2, true).put(&mut bytes);
        assert_eq!(bytes.len(), 1 + 2 * Echo::SIZE);
        for (own, expected) in [(1, Some(false)), (2, Some(true)), (3, None)] {
            let found = Echo::find(&mut Reader(&bytes), own).unwrap();
            assert_eq!(found, expected.map(|wants| echo(own, wants)));
        }
        assert!(Echo::find(&mut Reader(&bytes[..20]), 1).is_none());
        let long = Echo {
            held_ms: u16::MAX,
            ..echo(1, false)
        };
        let mut bytes = vec![1];
        long.put(&mut bytes);
        let read = Echo::find(&mut Reader(&bytes), 1).unwrap().unwrap();
        assert_eq!((read.held_ms, read.wants_dump), (0x7fff, false));
    }
}
