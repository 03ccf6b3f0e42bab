// SPDX-License-Identifier: GPL-2.0-or-later

//! Connections that are there all the time, as phones are.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::doors::{self, Doors};
use crate::harness::Client;

pub(crate) const COUNT: u8 = 100;

pub(crate) struct Residents(Vec<Client>);

impl Residents {
    pub(crate) fn move_in(doors: &Doors, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let enter = |n| {
            let client = doors.enter(&mut random, doors::local(n));
            client.expect("a resident is admitted")
        };
        Self((0..COUNT).map(enter).collect())
    }

    /// All say something, so that the server keeps them, and are answered.
    pub(crate) fn keep_alive(&mut self) {
        for (n, client) in self.0.iter_mut().enumerate() {
            assert!(client.is_admitted(), "resident {n} has been closed");
        }
    }
}
