// SPDX-License-Identifier: GPL-2.0-or-later
//! [`WriterLock`]: one thread of all processes publishes rules at a time.

#![forbid(unsafe_code)]

use super::error::Busy;
use crate::shared::process::{Entered, OneThread, is_alive};
use crate::shared::region::Region;
use crate::shared::sync::Ordering;

/// Held by the one thread that publishes rules.
pub(super) struct WriterLock<'a> {
    region: &'a Region,
    /// Dropped after `drop` has freed the word in shared memory, so no other
    /// thread with the same number can take the word before.
    _entered: Entered<'a>,
}

impl<'a> WriterLock<'a> {
    /// `own` is [`own_number`](crate::shared::process::own_number). Without /proc all threads of a process have the same
    /// number, so `gate` keeps a second one of them out.
    pub(super) fn take(
        region: &'a Region,
        gate: &'a OneThread,
        own: u32,
    ) -> Result<WriterLock<'a>, Busy> {
        let Some(entered) = gate.enter() else {
            let process = std::process::id();
            return Err(Busy { process });
        };
        let writer = &region.header().background.rules_writer;
        // Acquire, here and in the exchange: this writer sees everything that the previous
        // one wrote.
        let mut holder = writer.load(Ordering::Acquire);
        loop {
            // A holder with our own number has died, and we got its number: no other thread
            // of this process holds the word, because this one has entered the gate.
            if holder != 0 && holder != own && is_alive(holder) {
                return Err(Busy { process: holder });
            }
            match writer.compare_exchange(holder, own, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    return Ok(WriterLock {
                        region,
                        _entered: entered,
                    });
                }
                Err(now) => holder = now,
            }
        }
    }
}

impl Drop for WriterLock<'_> {
    fn drop(&mut self) {
        let writer = &self.region.header().background.rules_writer;
        // Release: see `take`.
        writer.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::layout::Geometry;

    /// Without /proc, both threads have the number of their process.
    #[test]
    fn second_thread_with_the_same_number_is_busy() {
        let region = Region::create(Geometry::of_buckets(1)).unwrap();
        let gate = OneThread::new();
        let own = std::process::id();
        let take = || WriterLock::take(&region, &gate, own);
        let in_another_thread = || {
            let busy = || take().map(drop).err();
            std::thread::scope(|scope| scope.spawn(busy).join().unwrap())
        };

        let first = take().ok();
        assert!(first.is_some());
        assert_eq!(in_another_thread(), Some(Busy { process: own }));
        drop(first);
        assert_eq!(in_another_thread(), None);
    }

    /// A process that died may have had the number of this one.
    #[test]
    fn word_left_with_our_own_number_is_taken_over() {
        let region = Region::create(Geometry::of_buckets(1)).unwrap();
        let own = std::process::id();
        let writer = &region.header().background.rules_writer;
        writer.store(own, Ordering::Relaxed);
        let gate = OneThread::new();
        drop(WriterLock::take(&region, &gate, own).unwrap());
        assert_eq!(writer.load(Ordering::Relaxed), 0);
    }
}
