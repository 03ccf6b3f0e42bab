// SPDX-License-Identifier: GPL-2.0-or-later
//! Which descriptor stands for which counted connection.
//!
//! The hooks of a patched core keep the token in the connection. A stock core gives
//! us no place in it, but each connection has a descriptor in the process that
//! accepts, and while it is open no other has that number.
//!
//! The memory is the process's own: descriptors mean nothing elsewhere.

#![forbid(unsafe_code)]

use core::ffi::c_int;
use std::collections::TryReserveError;

use crate::limiter::Fault;
use crate::sync::{AtomicU64, Ordering};

/// Who counts: what the hooks of a patched core would call.
pub(crate) trait Counter: Sync {
    /// Is the connection of this address, of 4 or 16 octets, to be refused?
    fn rejects(&self, address: &[u8]) -> bool;
    /// Counts it. The token is 0 if it is not counted.
    fn opened(&self, address: &[u8]) -> u64;
    /// Takes it off.
    fn closed(&self, token: u64);
    /// Counts what went wrong.
    fn note(&self, fault: Fault);
}

/// What becomes of an accepted connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admitted,
    Rejected,
}

/// A token for each descriptor; 0: no connection that is counted.
pub(crate) struct Descriptors(Box<[AtomicU64]>);

impl Descriptors {
    /// For descriptors below `count`.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub(crate) fn new(count: usize) -> Result<Descriptors, TryReserveError> {
        let mut tokens = Vec::new();
        tokens.try_reserve_exact(count)?;
        tokens.resize_with(count, AtomicU64::default);
        Ok(Descriptors(tokens.into_boxed_slice()))
    }

    /// The system has given `descriptor` to a new connection, of an address of 4 or
    /// 16 octets, or of none that can be counted. If it is rejected, the caller
    /// closes it.
    pub(crate) fn accepted(
        &self,
        counter: &dyn Counter,
        descriptor: c_int,
        address: &[u8],
    ) -> Verdict {
        // first, for a connection that is gone must not keep this one out
        let forgotten = self.take(descriptor);
        if forgotten != 0 {
            counter.note(Fault::DescriptorReused);
            counter.closed(forgotten);
        }
        if address.is_empty() {
            return Verdict::Admitted;
        }
        if counter.rejects(address) {
            return Verdict::Rejected;
        }
        match self.place(descriptor) {
            // Relaxed: whoever closes a descriptor has got it from who accepted it,
            // and so sees what was stored before that
            Some(place) => place.store(counter.opened(address), Ordering::Relaxed),
            None => counter.note(Fault::Uncounted),
        }
        Verdict::Admitted
    }

    /// The token of a descriptor, which from now on has none.
    pub(crate) fn take(&self, descriptor: c_int) -> u64 {
        // Relaxed: as above
        self.place(descriptor)
            .map_or(0, |place| place.swap(0, Ordering::Relaxed))
    }

    /// The tokens of all descriptors, which from now on have none.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = u64> {
        let tokens = self.0.iter().map(|place| place.swap(0, Ordering::Relaxed));
        tokens.filter(|&token| token != 0)
    }

    fn place(&self, descriptor: c_int) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(descriptor).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limiter::{Limiter, Token, Worker};
    use crate::source::{Prefixes, Source};
    use proptest::prelude::*;
    use std::collections::HashMap;

    const A: &[u8] = &[192, 0, 2, 1];
    const B: &[u8] = &[192, 0, 2, 2];

    impl Counter for Limiter {
        fn rejects(&self, address: &[u8]) -> bool {
            match self.check(source(address)) {
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
        Source::new(address, Prefixes::DEFAULT).unwrap()
    }

    fn limiter(limit: i32) -> Limiter {
        Limiter::new(1000, limit, Prefixes::DEFAULT).unwrap()
    }

    fn connections(limiter: &Limiter, address: &[u8]) -> u32 {
        limiter.get(source(address)).connections
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
    fn a_number_that_comes_back_heals_itself() {
        let (limiter, descriptors) = (limiter(1), Descriptors::new(10).unwrap());
        descriptors.accepted(&limiter, 3, A);
        // closed by a way that was not seen: the next one is not kept out
        assert_eq!(descriptors.accepted(&limiter, 3, A), Verdict::Admitted);
        assert_eq!(connections(&limiter, A), 1);
        assert_eq!(limiter.totals().descriptor_reused, 1);
        // for somebody else
        assert_eq!(descriptors.accepted(&limiter, 3, B), Verdict::Admitted);
        assert_eq!(connections(&limiter, A), 0);
        assert_eq!(connections(&limiter, B), 1);
        // for what is not counted
        assert_eq!(descriptors.accepted(&limiter, 3, &[]), Verdict::Admitted);
        assert_eq!(connections(&limiter, B), 0);
        // for one that is rejected
        descriptors.accepted(&limiter, 4, A);
        descriptors.accepted(&limiter, 5, B);
        assert_eq!(descriptors.accepted(&limiter, 5, A), Verdict::Rejected);
        assert_eq!(connections(&limiter, B), 0);
        assert_eq!(limiter.totals().descriptor_reused, 4);
        assert_eq!(descriptors.take_all().count(), 1);
    }

    #[test]
    fn beyond_the_last_descriptor_nothing_is_counted() {
        let (limiter, descriptors) = (limiter(1), Descriptors::new(4).unwrap());
        for descriptor in [4, 5, c_int::MAX, -1] {
            let verdict = descriptors.accepted(&limiter, descriptor, A);
            assert_eq!(verdict, Verdict::Admitted);
            assert_eq!(descriptors.take(descriptor), 0);
        }
        assert_eq!(connections(&limiter, A), 0);
        assert_eq!(limiter.totals().table_full, 4);
    }

    #[test]
    fn more_than_there_is_memory_for() {
        assert!(Descriptors::new(usize::MAX).is_err());
    }

    proptest! {
        /// Against a map, with descriptors given out as the system does: the lowest
        /// that is free. Some are closed unseen.
        #[test]
        fn counts_follow_the_descriptors(
            steps in prop::collection::vec((0u8..4, 0u8..3, 0usize..20), 1..300),
        ) {
            let (limiter, descriptors) = (limiter(5), Descriptors::new(64).unwrap());
            let mut open: HashMap<c_int, u8> = HashMap::new();
            // what was closed unseen is counted until its number comes back
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
