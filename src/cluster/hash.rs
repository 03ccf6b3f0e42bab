// SPDX-License-Identifier: GPL-2.0-or-later
//! [`ByKey`]: the hash of the maps. It is keyed, because clients choose sources, and gives
//! the same order for the same key, so that a simulation can be repeated.

#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hasher as _};

use crate::source::{Family, Prefix, Source};

/// A map with a source as its key.
pub(super) type Map<V> = HashMap<Source, V, ByKey>;

/// A map with a prefix as its key.
pub(super) type PrefixMap<V> = HashMap<Prefix, V, ByKey>;

/// Makes hashers that start with a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByKey(pub(super) [u64; 2]);

impl BuildHasher for ByKey {
    type Hasher = DefaultHasher;

    #[inline]
    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0[0]);
        hasher.write_u64(self.0[1]);
        hasher
    }
}

/// The ranges of sources that an audit compares.
pub(super) const RANGES: usize = 64;

/// The range of a source, the same on all nodes.
pub(super) fn range(source: Source) -> usize {
    let (octets, _) = source.octets();
    let number = u128::from_be_bytes(octets);
    let family = u64::from(source.family() == Family::V6);
    let mixed = ((number >> 64) as u64 ^ family)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
        ^ number as u64;
    let mixed = mixed.wrapping_mul(0xd6e8_feb8_6659_fd93);
    (mixed ^ mixed >> 32) as usize % RANGES
}
