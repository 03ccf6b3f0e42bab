// SPDX-License-Identifier: GPL-2.0-or-later
//! The work of a worker that is a process or a thread.

use std::sync::atomic::{AtomicI32, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Token, Worker};
use tcp_conn_limit::source::Source;

/// Opens and closes at random, at most `limit` connections of each source, then closes
/// all. The workers count their open connections in `live`, one number a source. It is
/// increased after a connection was counted and decreased before it is released, so it
/// never exceeds the counted connections. Returns how many connections were admitted.
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
                    assert!(before < limit, "admitted one more than {before}");
                    admitted += 1;
                    mine.push((n, token));
                }
                Err(error) => assert_eq!(error, NotCounted::OverLimit),
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
