// SPDX-License-Identifier: GPL-2.0-or-later

//! What a module in Kamailio's style would do: a map under a lock that processes
//! share, or several such, each for a part of the sources.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;

use nix::libc;

use crate::Result;
use crate::counts::{Counts, Key};
use crate::operations::Subject;
use crate::shared;
use crate::sources::address;

/// A lock and what it protects, on cache lines of their own.
#[repr(align(128))]
struct Stripe<C> {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    counts: UnsafeCell<C>,
}

// SAFETY: `counts` is used under the mutex only, see `with_stripe`.
unsafe impl<C> Sync for Stripe<C> {}

/// A map of `STRIPES` parts.
pub(crate) struct LockedMap<C: 'static, const STRIPES: usize> {
    stripes: &'static [Stripe<C>],
    limit: u32,
}

impl<C: Counts, const STRIPES: usize> LockedMap<C, STRIPES> {
    pub(crate) fn new(sources: u32, limit: i32) -> Result<Self> {
        // a quarter more: the parts are not equally full, and no map is to grow
        // while it is measured
        let each = (sources as usize * 5 / 4) / STRIPES + 64;
        let stripes: io::Result<Vec<_>> = (0..STRIPES).map(|_| Stripe::new(each)).collect();
        let map = LockedMap {
            stripes: shared::place(stripes?)?,
            limit: limit.try_into()?,
        };
        for stripe in map.stripes {
            stripe.init()?;
        }
        Ok(map)
    }

    /// Runs `work` on the part that `key` belongs to, under its lock.
    #[inline]
    fn with_stripe<T>(&self, key: Key, work: impl FnOnce(&mut C, u64) -> T) -> T {
        let hash = C::hash(key);
        // bits that neither map takes for the place or the tag
        let stripe = &self.stripes[(hash >> 34) as usize % STRIPES];
        // SAFETY: `init` has made the mutex.
        let code = unsafe { libc::pthread_mutex_lock(stripe.mutex.get()) };
        assert_eq!(code, 0, "pthread_mutex_lock");
        // SAFETY: the lock is held, so nobody else has a reference.
        let answer = work(unsafe { &mut *stripe.counts.get() }, hash);
        // SAFETY: locked above by this thread.
        let code = unsafe { libc::pthread_mutex_unlock(stripe.mutex.get()) };
        assert_eq!(code, 0, "pthread_mutex_unlock");
        answer
    }
}

impl<C: Counts> Stripe<C> {
    fn new(capacity: usize) -> io::Result<Stripe<C>> {
        Ok(Stripe {
            // SAFETY: a C struct of integers; `init` makes a mutex of it.
            mutex: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            counts: UnsafeCell::new(C::new(capacity)?),
        })
    }

    /// Makes the mutex, at its final place, one for several processes.
    fn init(&self) -> io::Result<()> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: attributes that the first call makes and the last one ends, and
        // a mutex that nobody uses yet.
        let codes = unsafe {
            [
                libc::pthread_mutexattr_init(attributes.as_mut_ptr()),
                libc::pthread_mutexattr_setpshared(
                    attributes.as_mut_ptr(),
                    libc::PTHREAD_PROCESS_SHARED,
                ),
                libc::pthread_mutex_init(self.mutex.get(), attributes.as_ptr()),
                libc::pthread_mutexattr_destroy(attributes.as_mut_ptr()),
            ]
        };
        match codes.into_iter().find(|&code| code != 0) {
            None => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

#[inline]
fn key(index: u32) -> Key {
    0xffff << 32 | Key::from(u32::from_be_bytes(address(index)))
}

impl<C: Counts, const STRIPES: usize> Subject for LockedMap<C, STRIPES> {
    #[inline]
    fn check(&self, index: u32) -> bool {
        let key = key(index);
        self.with_stripe(key, |counts, hash| counts.get(hash, key)) >= self.limit
    }

    #[inline]
    fn opened(&self, index: u32) -> u64 {
        let key = key(index);
        self.with_stripe(key, |counts, hash| counts.add(hash, key));
        index.into()
    }

    #[inline]
    fn closed(&self, token: u64) -> bool {
        let key = key(token as u32);
        self.with_stripe(key, |counts, hash| counts.take_off(hash, key))
    }

    fn connections(&self) -> Result<u64> {
        let counts = self.stripes.iter().map(|stripe| {
            // SAFETY: this process has one thread, which holds no other reference.
            unsafe { &*stripe.counts.get() }.total()
        });
        Ok(counts.sum())
    }
}
