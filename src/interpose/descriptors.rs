// SPDX-License-Identifier: GPL-2.0-or-later
//! The tokens of the counted connections, by file descriptor.
//!
//! A patched core keeps the token in its connection. A stock core has no room for it
//! there, but each connection has a descriptor in the process that accepts, and while it
//! is open no other connection has that number.
//!
//! # The size of the table
//!
//! The system gives a new connection the lowest free number, so a descriptor is below the
//! number of open files. The host has at most `max_connections` connections as long as it
//! runs, and far fewer than [`OTHER_FILES`] other files. The limits of open files do not
//! matter: both the soft and the hard one can be raised while the server runs.
//!
//! The whole table is mapped before the server forks, since accepting a connection must
//! not allocate. A page takes memory only once a descriptor in it is used: 4 KB for each
//! 512 connections that are open at a time.
//!
//! A descriptor beyond the table is not tracked. Its connection cannot be counted, and the
//! policy for a full table applies to it.
//!
//! # Shared memory
//!
//! A descriptor has a meaning only in the process that accepts, but all processes of the
//! host can see its number. So the table is in shared memory, where the audit looks up
//! whether a connection of the host is counted. One process at a time owns the table.

#![forbid(unsafe_code)]

use core::ffi::c_int;

use crate::limiter::Fault;
use crate::shared::region::{RegionError, SharedWords};
use crate::shared::sync::{AtomicU64, Ordering};

/// The limiter, called as the hooks of a patched core call it.
pub(crate) trait Counter: Sync {
    /// Whether a connection of this address, of 4 or 16 octets, is rejected. It can be
    /// counted only if it is `tracked`.
    fn rejects(&self, address: &[u8], tracked: bool) -> bool;
    /// Counts a connection. Returns its token, or 0 if it is not counted.
    fn opened(&self, address: &[u8]) -> u64;
    /// Releases a connection.
    fn closed(&self, token: u64);
    /// Counts a fault.
    fn note(&self, fault: Fault);
}

/// Whether an accepted connection may stay open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    Rejected,
}

/// Upper bound of the accepting process's open files that are not connections: listening
/// sockets, a channel for each worker, files that modules opened before the fork.
const OTHER_FILES: usize = 1 << 16;

/// First the id of the process that owns the table, or 0 if no process does. Then a token
/// for each descriptor, or 0 if its connection is not counted.
pub(crate) struct Descriptors(SharedWords);

impl Descriptors {
    /// Number of descriptors to track, from 0 on, for a host that has at most
    /// `connections` connections.
    pub(crate) const fn needed(connections: u32) -> usize {
        (connections as usize).saturating_add(OTHER_FILES)
    }

    /// A table for descriptors below `count`, which this process shares with all processes
    /// that it forks from now on.
    ///
    /// # Errors
    ///
    /// If the system provides no memory.
    pub(crate) fn new(count: usize) -> Result<Descriptors, RegionError> {
        SharedWords::create(count.saturating_add(1)).map(Descriptors)
    }

    /// Makes `process` the owner, unless another process is the owner.
    pub(crate) fn claim(&self, process: u64) -> bool {
        let Some(owner) = self.0.words().first() else {
            return false;
        };
        // Acquire: sees the table as its last owner left it, see `release`. Relaxed
        // on failure: only the answer matters.
        match owner.compare_exchange(0, process, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => true,
            Err(other) => other == process,
        }
    }

    /// Takes all tokens out of the table, which then has no owner. Must be called by the
    /// owner.
    pub(crate) fn release(&self, mut closed: impl FnMut(u64)) {
        let Some((owner, tokens)) = self.0.words().split_first() else {
            return;
        };
        for token in tokens {
            // Relaxed: only the owner changes a token.
            match token.swap(0, Ordering::Relaxed) {
                0 => {}
                token => closed(token),
            }
        }
        // Release: the next owner sees an empty table.
        owner.store(0, Ordering::Release);
    }

    /// Checks and counts a new connection, to which the system has given `descriptor`. Its
    /// address has 4 or 16 octets, or none if it cannot be counted. If the connection is
    /// rejected, the caller must close it.
    pub(crate) fn accepted(
        &self,
        counter: &dyn Counter,
        descriptor: c_int,
        address: &[u8],
    ) -> Verdict {
        // This comes first, because a connection that is gone must not cause the new one to
        // be rejected.
        let forgotten = self.take(descriptor);
        if forgotten != 0 {
            counter.note(Fault::DescriptorReused);
            counter.closed(forgotten);
        }
        if address.is_empty() {
            return Verdict::Admitted;
        }
        let token = self.token_of(descriptor);
        if counter.rejects(address, token.is_some()) {
            return Verdict::Rejected;
        }
        match token {
            // Relaxed: a thread that closes a descriptor got it from the thread that
            // accepted it, and so sees what that thread stored before.
            Some(token) => token.store(counter.opened(address), Ordering::Relaxed),
            None => counter.note(Fault::Untracked),
        }
        Verdict::Admitted
    }

    /// Whether the connection with this descriptor in the owning process is counted.
    pub(crate) fn is_counted(&self, descriptor: c_int) -> bool {
        // Relaxed: the caller has found the connection in the host, under a lock that the
        // owner took after it stored the token.
        self.token_of(descriptor)
            .is_some_and(|token| token.load(Ordering::Relaxed) != 0)
    }

    /// Takes the token of a descriptor out of the table; 0 if it has none.
    pub(crate) fn take(&self, descriptor: c_int) -> u64 {
        // Relaxed: as in `accepted`.
        self.token_of(descriptor)
            .map_or(0, |token| token.swap(0, Ordering::Relaxed))
    }

    fn token_of(&self, descriptor: c_int) -> Option<&AtomicU64> {
        let index = usize::try_from(descriptor).ok()?.checked_add(1)?;
        self.0.words().get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::{Limiter, Token, Totals, Worker};
    use crate::observe::report::Report;
    use crate::policy::settings::{Mode, OnFull};
    use crate::source::{PrefixLengths, Source};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const A: &[u8] = &[192, 0, 2, 1];
    const B: &[u8] = &[192, 0, 2, 2];

    impl Counter for Limiter {
        fn rejects(&self, address: &[u8], tracked: bool) -> bool {
            let check = match tracked {
                true => self.check(source(address)),
                false => self.check_untracked(source(address), address),
            };
            match check {
                Ok(()) => false,
                Err(rejection) => self.rejected(Worker::ACCEPTOR, rejection),
            }
        }

        fn opened(&self, address: &[u8]) -> u64 {
            let opened = self.opened(Worker::ACCEPTOR, source(address), 0);
            opened.unwrap().to_bits()
        }

        fn closed(&self, token: u64) {
            self.closed(Worker::ACCEPTOR, Token::from_bits(token).unwrap())
                .unwrap();
        }

        fn note(&self, fault: Fault) {
            self.note(Worker::ACCEPTOR, fault);
        }
    }

    fn source(address: &[u8]) -> Source {
        Source::new(address, PrefixLengths::DEFAULT).unwrap()
    }

    fn limiter(limit: i32) -> Limiter {
        Limiter::new(1000, limit, PrefixLengths::DEFAULT).unwrap()
    }

    fn connections(limiter: &Limiter, address: &[u8]) -> u32 {
        Report::of(limiter).get(source(address)).connections
    }

    fn closed(limiter: &Limiter, descriptors: &Descriptors, descriptor: c_int) {
        match descriptors.take(descriptor) {
            0 => {}
            token => Counter::closed(limiter, token),
        }
    }

    #[test]
    fn accept_adds_and_close_removes() {
        let (limiter, descriptors) = (limiter(2), Descriptors::new(10).unwrap());
        assert_eq!(descriptors.accepted(&limiter, 3, A), Verdict::Admitted);
        assert_eq!(descriptors.accepted(&limiter, 4, A), Verdict::Admitted);
        assert_eq!(descriptors.accepted(&limiter, 5, A), Verdict::Rejected);
        assert_eq!(descriptors.accepted(&limiter, 5, B), Verdict::Admitted);
        assert_eq!(connections(&limiter, A), 2);
        closed(&limiter, &descriptors, 3);
        closed(&limiter, &descriptors, 3);
        assert_eq!(connections(&limiter, A), 1);
        assert_eq!(descriptors.accepted(&limiter, 3, A), Verdict::Admitted);
        assert_eq!(limiter.totals().rejected, 1);
        assert_eq!(limiter.totals().descriptor_reused, 0);
    }

    #[test]
    fn reused_descriptor_releases_its_old_connection() {
        let (limiter, descriptors) = (limiter(1), Descriptors::new(10).unwrap());
        descriptors.accepted(&limiter, 3, A);
        // Its close was not seen. The next connection is admitted nevertheless.
        assert_eq!(descriptors.accepted(&limiter, 3, A), Verdict::Admitted);
        assert_eq!(connections(&limiter, A), 1);
        assert_eq!(limiter.totals().descriptor_reused, 1);
        // The next connection is of another source.
        assert_eq!(descriptors.accepted(&limiter, 3, B), Verdict::Admitted);
        assert_eq!(connections(&limiter, A), 0);
        assert_eq!(connections(&limiter, B), 1);
        // The next connection is not counted.
        assert_eq!(descriptors.accepted(&limiter, 3, &[]), Verdict::Admitted);
        assert_eq!(connections(&limiter, B), 0);
        // The next connection is rejected.
        descriptors.accepted(&limiter, 4, A);
        descriptors.accepted(&limiter, 5, B);
        assert_eq!(descriptors.accepted(&limiter, 5, A), Verdict::Rejected);
        assert_eq!(connections(&limiter, B), 0);
        assert_eq!(limiter.totals().descriptor_reused, 4);
        let mut left = 0;
        descriptors.release(|_| left += 1);
        assert_eq!(left, 1);
    }

    const BEYOND: [c_int; 4] = [4, 5, c_int::MAX, -1];

    #[test]
    fn untracked_connections_are_admitted_uncounted() {
        let (limiter, descriptors) = (limiter(1), Descriptors::new(4).unwrap());
        for descriptor in BEYOND {
            let verdict = descriptors.accepted(&limiter, descriptor, A);
            assert_eq!(verdict, Verdict::Admitted);
            assert!(!descriptors.is_counted(descriptor));
            assert_eq!(descriptors.take(descriptor), 0);
        }
        assert_eq!(connections(&limiter, A), 0);
        // A source that is at its limit with tracked ones is rejected as usual.
        descriptors.accepted(&limiter, 3, A);
        assert_eq!(descriptors.accepted(&limiter, 4, A), Verdict::Rejected);
        let expected = Totals {
            admitted: 1,
            rejected: 1,
            untracked: 4,
            ..Totals::default()
        };
        assert_eq!(limiter.totals(), expected);
    }

    #[test]
    fn untracked_connections_obey_on_full() {
        let (limiter, descriptors) = (limiter(1), Descriptors::new(4).unwrap());
        limiter.set_on_full(OnFull::Reject);
        let all = |verdict| {
            for descriptor in BEYOND {
                assert_eq!(descriptors.accepted(&limiter, descriptor, A), verdict);
            }
        };
        all(Verdict::Rejected);
        let mut expected = Totals {
            rejected: 4,
            untracked_rejected: 4,
            ..Totals::default()
        };
        assert_eq!(limiter.totals(), expected);
        limiter.set_mode(Mode::Monitor);
        all(Verdict::Admitted);
        (expected.would_reject, expected.untracked) = (4, 4);
        assert_eq!(limiter.totals(), expected);
        limiter.set_mode(Mode::Off);
        all(Verdict::Admitted);
        expected.untracked = 8;
        assert_eq!(limiter.totals(), expected);
        // This does not affect tracked descriptors.
        limiter.set_mode(Mode::Enforce);
        assert_eq!(descriptors.accepted(&limiter, 3, A), Verdict::Admitted);
        assert!(descriptors.is_counted(3));
    }

    #[test]
    fn one_process_owns_the_table() {
        let (limiter, descriptors) = (limiter(1), Descriptors::new(4).unwrap());
        assert!(descriptors.claim(7));
        assert!(descriptors.claim(7));
        assert!(!descriptors.claim(8));
        descriptors.accepted(&limiter, 3, A);
        descriptors.release(|token| Counter::closed(&limiter, token));
        assert_eq!(connections(&limiter, A), 0);
        assert!(!descriptors.is_counted(3));
        assert!(descriptors.claim(8));
    }

    #[test]
    fn unused_descriptors_take_no_memory() {
        let resident = || -> usize {
            let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
            statm.split(' ').nth(1).unwrap().parse().unwrap()
        };
        let before = resident();
        // 800 MB, of which two pages are used.
        let descriptors = Descriptors::new(Descriptors::needed(100_000_000)).unwrap();
        let limiter = limiter(1);
        descriptors.accepted(&limiter, 100_000_000, A);
        assert!(descriptors.claim(1) && descriptors.is_counted(100_000_000));
        // Other tests run at the same time; 51,200 pages are 200 MB.
        assert!(resident() < before + 51_200);
    }

    #[test]
    fn too_many_descriptors_are_an_error() {
        assert!(Descriptors::new(usize::MAX).is_err());
    }

    proptest! {
        /// Compares the table with a map. Each connection gets the lowest free descriptor,
        /// as from the system. Some closes are not seen.
        #[test]
        fn counts_follow_the_descriptors(
            steps in prop::collection::vec((0u8..4, 0u8..3, 0usize..20), 1..300),
        ) {
            let (limiter, descriptors) = (limiter(5), Descriptors::new(64).unwrap());
            let mut open: HashMap<c_int, u8> = HashMap::new();
            // A connection whose close was not seen is counted until its descriptor is
            // reused.
            let mut counted: HashMap<c_int, u8> = HashMap::new();
            let mut reused = 0;
            for (what, host, which) in steps {
                let address = [192, 0, 2, host];
                if what < 2 {
                    let descriptor = (0..).find(|d| !open.contains_key(d)).unwrap();
                    reused += u64::from(counted.remove(&descriptor).is_some());
                    let before = counted.values().filter(|&&h| h == host).count();
                    let verdict = descriptors.accepted(&limiter, descriptor, &address);
                    prop_assert_eq!(verdict == Verdict::Admitted, before < 5);
                    if verdict == Verdict::Admitted {
                        open.insert(descriptor, host);
                        counted.insert(descriptor, host);
                    }
                } else if let Some(&descriptor) = open.keys().nth(which) {
                    open.remove(&descriptor);
                    if what == 2 {
                        counted.remove(&descriptor);
                        closed(&limiter, &descriptors, descriptor);
                    }
                }
                for host in 0..3 {
                    let expected = counted.values().filter(|&&h| h == host).count();
                    let counted = connections(&limiter, &[192, 0, 2, host]);
                    prop_assert_eq!(counted as usize, expected);
                }
            }
            prop_assert_eq!(limiter.totals().descriptor_reused, reused);
        }
    }
}
