// SPDX-License-Identifier: GPL-2.0-or-later
//! The keys and values of the maps, as bytes that the program and this library share.

#![forbid(unsafe_code)]

use crate::source::{Family, Prefix};

/// The family in a key: IPv4, IPv6.
pub(super) const FAMILY_V4: u32 = 4;
pub(super) const FAMILY_V6: u32 = 6;

/// A source: its family, then its masked address in network byte order with zeros after an
/// IPv4 address.
pub(super) struct Key;

impl Key {
    pub(super) const SIZE: usize = 20;

    /// The key of the source that is this prefix.
    pub(super) fn of(source: Prefix) -> [u8; Key::SIZE] {
        let mut key = [0; Key::SIZE];
        let family = match source.family {
            Family::V4 => FAMILY_V4,
            Family::V6 => FAMILY_V6,
        };
        key[..4].copy_from_slice(&family.to_ne_bytes());
        key[4..].copy_from_slice(&source.octets());
        key
    }

    /// The prefix of this length that has the key.
    pub(super) fn prefix(key: [u8; Key::SIZE], length: u8) -> Prefix {
        let [a, b, c, d, octets @ ..] = key;
        let bits = u128::from_be_bytes(octets);
        let upper = (bits >> 64) as u64;
        match u32::from_ne_bytes([a, b, c, d]) {
            FAMILY_V4 => Prefix {
                of_networks: false,
                family: Family::V4,
                upper: upper >> 32,
                lower: 0,
                length,
            },
            _ => Prefix {
                of_networks: false,
                family: Family::V6,
                upper,
                lower: bits as u64,
                length,
            },
        }
    }

    /// Its family.
    pub(super) fn family(key: [u8; Key::SIZE]) -> Family {
        Key::prefix(key, 0).family
    }
}

/// A prefix: the number of bits that must be the same (`struct bpf_lpm_trie_key`), then a
/// [`Key`]. The bits include those of the family.
pub(super) struct TrieKey;

impl TrieKey {
    pub(super) const SIZE: usize = 4 + Key::SIZE;
    const FAMILY_BITS: u32 = 32;
    /// All bits, as the program asks for an address.
    pub(super) const WHOLE: u32 = Self::FAMILY_BITS + 128;

    /// The prefix that has the key.
    pub(super) fn prefix(key: [u8; TrieKey::SIZE]) -> Prefix {
        let [a, b, c, d, rest @ ..] = key;
        let bits = u32::from_ne_bytes([a, b, c, d]);
        Key::prefix(rest, bits.saturating_sub(Self::FAMILY_BITS) as u8)
    }

    pub(super) fn of(prefix: Prefix) -> [u8; TrieKey::SIZE] {
        let mut key = [0; TrieKey::SIZE];
        let bits = Self::FAMILY_BITS + u32::from(prefix.length);
        key[..4].copy_from_slice(&bits.to_ne_bytes());
        key[4..].copy_from_slice(&Key::of(prefix));
        key
    }
}

/// What happens to the SYNs of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// They are dropped, otherwise they are accepted.
    pub(super) drops: bool,
    /// The length of the prefix: a look-up of a prefix that has no entry finds that of a
    /// shorter one.
    pub(super) length: u8,
    /// Packets dropped.
    pub(super) dropped: u64,
}

impl Verdict {
    pub(super) const SIZE: usize = 16;
    /// Where the program finds the verdict, a word, and the counter.
    pub(super) const DROPS_AT: i16 = 0;
    pub(super) const DROPPED_AT: i16 = 8;

    pub(super) fn to_bytes(self) -> [u8; Verdict::SIZE] {
        let mut bytes = [0; Verdict::SIZE];
        bytes[..4].copy_from_slice(&u32::from(self.drops).to_ne_bytes());
        bytes[4] = self.length;
        bytes[8..].copy_from_slice(&self.dropped.to_ne_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; Verdict::SIZE]) -> Verdict {
        let [drops @ .., _, _, _, _] = *bytes.first_chunk::<8>().unwrap_or(&[0; 8]);
        let dropped = bytes.last_chunk::<8>().copied().unwrap_or_default();
        Verdict {
            drops: u32::from_ne_bytes(drops) != 0,
            length: bytes[4],
            dropped: u64::from_ne_bytes(dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_as_their_prefixes() {
        for text in [
            "0.0.0.0/0",
            "192.0.2.1",
            "192.0.2.0/24",
            "::/0",
            "2001:db8::/32",
            "2001:db8:1:2:3:4:5:6",
        ] {
            let prefix = Prefix::parse_any(text).unwrap();
            assert_eq!(TrieKey::prefix(TrieKey::of(prefix)), prefix);
            assert_eq!(Key::prefix(Key::of(prefix), prefix.length), prefix);
            assert_eq!(Key::family(Key::of(prefix)), prefix.family);
        }
    }
}
