// SPDX-License-Identifier: GPL-2.0-or-later
//! [`SourceHash`]: the keyed hash that spreads sources over the buckets.
//!
//! Simple tabulation: each byte of a source selects a random word from its own table, and
//! the words are combined with exclusive or. Only the tables decide which addresses share
//! a bucket. The tables are drawn again at each start and never leave the server, so an
//! attacker who chooses addresses cannot choose their buckets. This hash takes a third of
//! the time of SipHash-1-3.
//!
//! For any set of keys chosen without knowledge of the tables, two choices fill
//! buckets as evenly with simple tabulation as with a truly random function, up to
//! constants (S. Dahlgaard, M. B. T. Knudsen, E. Rotenberg, M. Thorup: "The power
//! of two choices with simple tabulation", SODA 2016; the method: M. Pătraşcu, M.
//! Thorup: "The power of simple tabulation hashing", JACM 59/3, 2012).
//!
//! These constants matter where many bytes have few values each, as in networks with
//! planned numbering: if the words of two bytes cancel each other out in the upper bits,
//! they do so for all values of the other bytes. A multiplication by a random odd number
//! prevents this, since it is not linear over exclusive or. It is a bijection, so every
//! single hash, and every three of them together, stay as evenly distributed as before.

#![forbid(unsafe_code)]

use std::hash::{BuildHasher, RandomState};

use crate::source::{Kind, Source};

/// A random word for each value of a byte.
type Table = [u64; 256];

/// The tables. They are filled before the server forks and never written again, so all
/// processes share their pages.
pub(crate) struct SourceHash {
    v4: Box<[Table; 4]>,
    v6_upper: Box<[Table; 8]>,
    v6_lower: Box<[Table; 8]>,
    /// A random odd number.
    multiplier: u64,
}

impl SourceHash {
    /// Draws new tables. [`RandomState`] is keyed with random numbers of the operating
    /// system; a hash that it computes and that stays secret is as good as a random word.
    pub(crate) fn new() -> SourceHash {
        let random = RandomState::new();
        let mut drawn = 0u64;
        let mut table = || {
            core::array::from_fn(|_| {
                drawn += 1;
                random.hash_one(drawn)
            })
        };
        SourceHash {
            v4: Box::new(core::array::from_fn(|_| table())),
            v6_upper: Box::new(core::array::from_fn(|_| table())),
            v6_lower: Box::new(core::array::from_fn(|_| table())),
            multiplier: random.hash_one(0u64) | 1,
        }
    }

    /// A weak hash: sources whose addresses have the same last byte share their buckets,
    /// of which there are `pairs` pairs if the table is small. The other bits stay random.
    /// An attacker could achieve no more than this.
    #[cfg(test)]
    pub(crate) fn weak(pairs: u64) -> SourceHash {
        let mut hash = SourceHash::new();
        hash.multiplier = 1;
        // A table of up to 256 buckets uses mainly the upper byte of each half.
        let uppers = 0xff00_0000_ff00_0000;
        let tables = hash.v4.iter_mut().chain(hash.v6_upper.iter_mut());
        tables
            .chain(hash.v6_lower.iter_mut())
            .for_each(|table| table.iter_mut().for_each(|word| *word &= !uppers));
        // The last byte of an IPv4 address, and of a /64 network.
        for table in [&mut hash.v4[0], &mut hash.v6_upper[0]] {
            for (word, byte) in table.iter_mut().zip(0..) {
                let pair: u64 = byte % pairs * (256 / pairs);
                // Some second buckets equal the first one, others belong to another pair.
                *word |= pair << 24 | (pair / 2) << 56;
            }
        }
        hash
    }

    /// The hash of `source`: two independent halves of 32 bits.
    #[inline(always)]
    pub(crate) fn of(&self, source: Source) -> u64 {
        let tabulated = match source.kind() {
            Kind::V4 => mix(&self.v4, (source.word() as u32).to_le_bytes()),
            // An IPv4 source of a scope has more than 32 bits.
            Kind::ScopedV4 | Kind::V6 | Kind::ScopedV6 => {
                self.of_halves(source.upper(), source.low())
            }
        };
        // The multiplier is odd, hence this is a bijection.
        tabulated.wrapping_mul(self.multiplier)
    }

    /// Not inlined, see [`crate::limiter`].
    #[inline(never)]
    fn of_halves(&self, upper: u64, low: u64) -> u64 {
        let upper = mix(&self.v6_upper, upper.to_le_bytes());
        match low {
            // Always the case without a scope and with prefixes of up to 64 bits.
            0 => upper,
            low => upper ^ mix(&self.v6_lower, low.to_le_bytes()),
        }
    }
}

#[inline(always)]
fn mix<const N: usize>(tables: &[Table; N], bytes: [u8; N]) -> u64 {
    let words = tables.iter().zip(bytes);
    words.fold(0, |hash, (table, byte)| hash ^ table[usize::from(byte)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::PrefixLengths;

    fn source(n: u32) -> Source {
        Source::new(&n.to_be_bytes(), PrefixLengths::DEFAULT).unwrap()
    }

    #[test]
    fn each_start_draws_another_hash() {
        let (a, b) = (SourceHash::new(), SourceHash::new());
        assert_eq!(a.of(source(1)), a.of(source(1)));
        assert_ne!(a.of(source(1)), b.of(source(1)));
    }

    /// Both halves spread neighbouring addresses evenly, which an attacker may have:
    /// chi-square over 256 cells of 65,536 addresses.
    #[test]
    fn neighbouring_addresses_are_spread() {
        let hash = SourceHash::new();
        for shift in [24, 56] {
            let mut cells = [0f64; 256];
            for n in 0..65_536 {
                cells[(hash.of(source(0x0a00_0000 + n)) >> shift) as usize & 0xff] += 1.0;
            }
            let chi: f64 = cells.iter().map(|c| (c - 256.0).powi(2) / 256.0).sum();
            // 255 degrees of freedom, so the mean is 255. Tabulation is not more even than
            // chance and may be less even, but never near the 65,536 of a lopsided hash.
            assert!(chi < 2_000.0, "{chi}");
        }
    }

    #[test]
    fn hash_depends_on_family_and_both_halves() {
        let hash = SourceHash::new();
        let wide = PrefixLengths::new(32, 128).unwrap();
        let v6 = |low: u8| {
            let mut octets = [0; 16];
            octets[7] = 1;
            octets[15] = low;
            Source::new(&octets, wide).unwrap()
        };
        let hashes = [source(1), v6(0), v6(1), v6(2)].map(|s| hash.of(s));
        for (i, a) in hashes.iter().enumerate() {
            assert!(hashes[..i].iter().all(|b| a != b));
        }
    }
}
