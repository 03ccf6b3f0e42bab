// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Record`]: what a message says of one source, or of a prefix that is banned.
//!
//! ```text
//!   tag           1 byte    128: a ban, 64: IPv6, the rest: the length of the address
//!   address       0..=16    its octets without the zeros at the end
//!   length        1         of a ban: the prefix length
//!   value         1..=5     LEB128
//! ```

#![forbid(unsafe_code)]

use crate::source::{Family, Prefix, PrefixLengths, Source};

/// The longest record.
pub(super) const MAX_RECORD: usize = 1 + 16 + 1 + 5;

const BAN: u8 = 0x80;
const V6: u8 = 0x40;

/// What a node reports of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Its connections.
    Count(Source, u32),
    /// How many seconds its addresses are still banned; 0: they are not any more.
    Ban(Prefix, u32),
}

impl Record {
    /// Appends it to a message.
    pub(super) fn put(self, out: &mut Vec<u8>) {
        let (octets, family, value) = match self {
            Record::Count(source, count) => (source.octets().0, source.family(), count),
            Record::Ban(prefix, seconds) => (prefix.octets(), prefix.family, seconds),
        };
        // The octets after an IPv4 address are also zeros.
        let last = octets.iter().rposition(|octet| *octet != 0);
        let address = &octets[..last.map_or(0, |index| index + 1)];
        let family = match family {
            Family::V4 => 0,
            Family::V6 => V6,
        };
        let (kind, length) = match self {
            Record::Count(..) => (0, None),
            Record::Ban(prefix, _) => (BAN, Some(prefix.length)),
        };
        // At most 16, which leaves the two highest bits free.
        out.push(kind | family | address.len() as u8);
        out.extend_from_slice(address);
        out.extend(length);
        let mut left = value;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }

    /// Reads the first record and returns what follows it; `None`: it is invalid.
    fn read(bytes: &[u8], prefixes: PrefixLengths) -> Option<(Record, &[u8])> {
        let (tag, rest) = bytes.split_first()?;
        let whole = if tag & V6 != 0 { 16 } else { 4 };
        let length = usize::from(tag & !(BAN | V6));
        if length > whole {
            return None;
        }
        let (address, mut rest) = rest.split_at_checked(length)?;
        let mut octets = [0; 16];
        octets[..length].copy_from_slice(address);
        let octets = &octets[..whole];
        let mut banned = None;
        if tag & BAN != 0 {
            let (length, after) = rest.split_first()?;
            banned = Some(Prefix::around(octets, *length)?);
            rest = after;
        }
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let (byte, after) = rest.split_first()?;
            rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).ok()?;
                let record = match banned {
                    None => Record::Count(Source::new(octets, prefixes)?, value),
                    Some(prefix) => Record::Ban(prefix, value),
                };
                return Some((record, rest));
            }
        }
        None
    }
}

/// The records of a message. It ends at the first invalid one.
#[derive(Clone)]
pub(super) struct Records<'a> {
    bytes: &'a [u8],
    prefixes: PrefixLengths,
}

impl<'a> Records<'a> {
    /// `None` if one of them is invalid.
    pub(super) fn new(bytes: &'a [u8], prefixes: PrefixLengths) -> Option<Records<'a>> {
        let records = Records { bytes, prefixes };
        let mut rest = records.clone();
        while rest.next().is_some() {}
        rest.bytes.is_empty().then_some(records)
    }
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        let (record, rest) = Record::read(self.bytes, self.prefixes)?;
        self.bytes = rest;
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_source() -> impl Strategy<Value = (Source, PrefixLengths)> {
        let address = prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| octets.to_vec()),
            any::<[u8; 16]>().prop_map(|octets| octets.to_vec()),
            Just(vec![0; 4]),
            Just(vec![0; 16]),
        ];
        (address, 1..=32u32, 1..=128u32).prop_map(|(address, v4, v6)| {
            let prefixes = PrefixLengths::new(v4, v6).unwrap();
            (Source::new(&address, prefixes).unwrap(), prefixes)
        })
    }

    proptest! {
        #[test]
        fn record_is_read_as_it_was_written(
            (source, prefixes) in any_source(),
            value in prop_oneof![any::<u32>(), 0..300u32],
            banned in prop::option::of(0..=128u8),
        ) {
            let whole = Prefix::from(source);
            let record = match banned {
                Some(length) => Record::Ban(whole.shortened(length.min(whole.length)), value),
                None => Record::Count(source, value),
            };
            let mut bytes = Vec::new();
            record.put(&mut bytes);
            prop_assert!(bytes.len() <= MAX_RECORD);
            let whole: Vec<Record> = Records::new(&bytes, prefixes).unwrap().collect();
            prop_assert_eq!(whole, [record]);
            for end in 1..bytes.len() {
                prop_assert!(Records::new(&bytes[..end], prefixes).is_none());
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(records) = Records::new(&bytes, PrefixLengths::DEFAULT) {
                prop_assert!(records.count() <= bytes.len());
            }
        }
    }

    #[test]
    fn ordinary_records_are_short() {
        for (address, count, length) in [
            (&[192, 0, 2, 1][..], 100, 6),
            (&[192, 0, 2, 1], 1_000, 7),
            (
                &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 9, 9, 9, 9, 9, 9, 9, 9],
                100,
                10,
            ),
        ] {
            let source = Source::new(address, PrefixLengths::DEFAULT).unwrap();
            let mut bytes = Vec::new();
            Record::Count(source, count).put(&mut bytes);
            assert_eq!(bytes.len(), length);
        }
    }

    #[test]
    fn values_over_32_bits_are_invalid() {
        let valid = [0, 0xff, 0xff, 0xff, 0xff, 0x0f];
        assert!(Records::new(&valid, PrefixLengths::DEFAULT).is_some());
        for last in [0x10, 0x7f, 0x8f] {
            let mut bytes = valid;
            bytes[5] = last;
            assert!(Records::new(&bytes, PrefixLengths::DEFAULT).is_none());
        }
    }
}
