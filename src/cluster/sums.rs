// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Sums`]: the connections of each source on all other nodes together.

#![forbid(unsafe_code)]

use std::collections::hash_map::Entry;

use super::effects::Effects;
use super::hash::{ByKey, Map};
use crate::source::Source;

/// The sum of each source over the nodes whose counts are used, without sums of 0.
#[derive(Debug)]
pub(super) struct Sums(Map<u64>);

impl Sums {
    pub(super) fn new(hash: ByKey) -> Sums {
        Sums(Map::with_hasher(hash))
    }

    /// The count of a source on the node `node` was `old` and is `new` from now on.
    pub(super) fn change(
        &mut self,
        node: usize,
        source: Source,
        (old, new): (u32, u32),
        effects: &mut impl Effects,
    ) {
        if old == new {
            return;
        }
        let sum = match self.0.entry(source) {
            Entry::Occupied(mut entry) => {
                // `old` is a part of the sum.
                let sum = entry.get().saturating_sub(old.into()) + u64::from(new);
                match sum {
                    0 => {
                        entry.remove();
                    }
                    _ => *entry.get_mut() = sum,
                }
                sum
            }
            // No node had it, so `old` is 0 and `new` is not.
            Entry::Vacant(entry) => *entry.insert(new.into()),
        };
        effects.set_of_node(node, source, new);
        effects.set(source, narrow(sum));
    }

    pub(super) fn get(&self, source: Source) -> u32 {
        self.0.get(&source).copied().map_or(0, narrow)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Source, u32)> + '_ {
        self.0.iter().map(|(source, sum)| (*source, narrow(*sum)))
    }
}

fn narrow(sum: u64) -> u32 {
    u32::try_from(sum).unwrap_or(u32::MAX)
}
