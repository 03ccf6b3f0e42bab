// SPDX-License-Identifier: GPL-2.0-or-later

//! Connections that stay open all the time, like those of phones.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::listeners::{self, Listeners};
use support::kamailio::Client;

pub(crate) const COUNT: u8 = 100;

pub(crate) struct Residents(Vec<Client>);

impl Residents {
    pub(crate) fn connect(listeners: &Listeners, seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let open = |n| {
            let client = listeners.open(&mut random, listeners::local(n));
            client.expect("a resident is admitted")
        };
        Self((0..COUNT).map(open).collect())
    }

    /// Sends a keep-alive on each connection, so that the server keeps it, and checks the
    /// answer.
    pub(crate) fn keep_alive(&mut self) {
        for (n, client) in self.0.iter_mut().enumerate() {
            assert!(client.is_admitted(), "resident {n} was closed");
        }
    }
}
