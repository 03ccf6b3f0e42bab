// SPDX-License-Identifier: GPL-2.0-or-later
//! What a worker does, be it a process or a thread.

use std::sync::atomic::{AtomicI32, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Token, Worker};
use tcp_conn_limit::source::Source;

/// Opens and closes at random, at most `limit` of each source; then closes all. All
/// workers count in `live`, one number for a source, what they have open: it is added
/// to after a connection was counted and taken off before, so it is never more than
/// what is counted. Returns how many were admitted.
pub(crate) fn keep_within(
    limiter: &Limiter,
    worker: u32,
    limit: i32,
    live: &[AtomicI32],
    source: fn(u32) -> Source,
    rounds: u32,
) -> u32 {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut mine: Vec<(usize, Token)> = Vec::new();
    let mut admitted = 0;
    for _ in 0..rounds {
        let n = random.random_range(0..live.len());
        if random.random_bool(0.6) {
            match limiter.opened(me, source(n as u32), limit) {
                Ok(token) => {
                    let before = live[n].fetch_add(1, Ordering::SeqCst);
                    assert!(before < limit, "{before} and one more");
                    admitted += 1;
                    mine.push((n, token));
                }
                Err(refused) => assert_eq!(refused, NotCounted::OverLimit),
            }
        } else if !mine.is_empty() {
            let (n, token) = mine.swap_remove(random.random_range(0..mine.len()));
            live[n].fetch_sub(1, Ordering::SeqCst);
            limiter.closed(me, token).unwrap();
        }
    }
    for (n, token) in mine {
        live[n].fetch_sub(1, Ordering::SeqCst);
        limiter.closed(me, token).unwrap();
    }
    admitted
}
