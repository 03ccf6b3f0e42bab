// SPDX-License-Identifier: GPL-2.0-or-later

//! Which sources come, and in which order.

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Returns the IPv4 address of source number `index`. Different numbers have different
/// addresses, neighbouring numbers have unrelated ones, and computing them reads no memory.
#[inline]
pub(crate) fn address(index: u32) -> [u8; 4] {
    const ODD: u32 = 0x9e37_79b1;
    index.wrapping_mul(ODD).to_be_bytes()
}

/// Returns whether a source of the table is at its limit in a mix.
pub(crate) fn is_greedy(index: u32) -> bool {
    index.is_multiple_of(10)
}

/// Returns whether a source of the table has no connection, where some sources return.
pub(crate) fn is_idle(index: u32) -> bool {
    index % 5 == 4
}

pub(crate) struct Sources {
    random: SmallRng,
    /// Numbers below this one are sources with connections.
    known: u32,
    /// Numbers from this one on were never used.
    unused: u32,
}

impl Sources {
    pub(crate) fn new(known: u32) -> Sources {
        Sources {
            random: SmallRng::seed_from_u64(known.into()),
            known,
            unused: known,
        }
    }

    /// Sources with connections, in random order.
    pub(crate) fn known(&mut self, steps: u32) -> Vec<u32> {
        (0..steps)
            .map(|_| self.random.random_range(0..self.known))
            .collect()
    }

    /// Sources that never had a connection.
    pub(crate) fn new_ones(&mut self, steps: u32) -> Vec<u32> {
        let first = self.unused;
        self.unused += steps;
        (first..self.unused).collect()
    }

    /// Sources for which [`is_idle`] is true, in random order. A source repeats only after
    /// all others have come.
    pub(crate) fn idle(&mut self, steps: u32) -> Vec<u32> {
        let mut idle: Vec<u32> = (0..self.known).filter(|index| is_idle(*index)).collect();
        idle.shuffle(&mut self.random);
        idle.into_iter().cycle().take(steps as usize).collect()
    }

    /// One source in ten was never seen. Of the others, one in ten [`is_greedy`].
    pub(crate) fn mix(&mut self, steps: u32) -> Vec<u32> {
        let mut indices = self.known(steps);
        for index in &mut indices {
            if self.random.random_ratio(1, 10) {
                *index = self.unused;
                self.unused += 1;
            }
        }
        indices
    }
}
