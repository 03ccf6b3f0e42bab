// SPDX-License-Identifier: GPL-2.0-or-later
//! What an audit does while the host holds its lock.

use support::allocations::{Counting, allocations};
use support::engine::source;
use tcp_conn_limit::limiter::{Limiter, Worker};
use tcp_conn_limit::observe::audit::{Audit, NoRoom};
use tcp_conn_limit::observe::report::Report;
use tcp_conn_limit::source::PrefixLengths;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Page faults of this thread.
fn page_faults() -> i64 {
    // SAFETY: `rusage` consists of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { core::mem::zeroed() };
    // SAFETY: `usage` is valid for writing.
    let code = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    assert_eq!(code, 0);
    usage.ru_minflt + usage.ru_majflt
}

/// A limiter in which each of `sources` sources has a connection.
fn busy(sources: u32) -> Limiter {
    let limiter = Limiter::new(sources, 0, PrefixLengths::DEFAULT).unwrap();
    for n in 0..sources {
        limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
    }
    // In a server the watcher has read the whole table by now. Here this call does it.
    assert_eq!(
        Report::of(&limiter).occupancy().connections,
        u64::from(sources)
    );
    limiter
}

#[test]
fn copying_neither_allocates_nor_faults() {
    const SOURCES: u32 = 100_000;
    let limiter = busy(SOURCES);
    let mut audit = Audit::new(SOURCES as usize).unwrap();
    let before = (allocations(), page_faults());
    for n in 0..SOURCES {
        audit.connection(source(n), true).unwrap();
    }
    audit.copy_counts(&limiter).unwrap();
    let after = (allocations(), page_faults());
    assert_eq!(after.0, before.0, "allocations");
    // The copies fill 2,000 pages; code and stack may take a few.
    assert!(after.1 - before.1 < 50, "{} faults", after.1 - before.1);
    assert_eq!(audit.differences().count(), 0);
    assert_eq!(audit.connections(), audit.counted());
}

/// There is room for an eighth and 1,024 connections more than announced, but no more.
#[test]
fn more_connections_than_reserved_end_the_audit() {
    let limiter = busy(2_500);
    let mut audit = Audit::new(800).unwrap();
    for n in 0..800 + 100 + 1024 {
        audit.connection(source(n), true).unwrap();
    }
    assert_eq!(audit.connection(source(0), true), Err(NoRoom));
    // A connection without a token takes no room.
    audit.connection(source(0), false).unwrap();
    assert_eq!(audit.copy_counts(&limiter), Err(NoRoom));
    let mut audit = Audit::new(2_500).unwrap();
    audit.copy_counts(&limiter).unwrap();
    assert_eq!(audit.differences().count(), 2_500);
}
