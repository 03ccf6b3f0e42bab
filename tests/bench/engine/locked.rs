// SPDX-License-Identifier: GPL-2.0-or-later

//! What a module in Kamailio's style would do: a map under a lock that processes share,
//! or several of these, each for a part of the sources.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;

use nix::libc;

use crate::Result;
use crate::counts::{Counts, Key};
use crate::operations::Subject;
use crate::shared;
use crate::sources::address;

/// A lock and the map that it protects, on their own cache lines.
#[repr(align(128))]
struct Stripe<C> {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    counts: UnsafeCell<C>,
}

// SAFETY: `with_stripe` uses `counts` only under the mutex. `connections` reads it without
// the mutex, where the process has one thread.
unsafe impl<C> Sync for Stripe<C> {}

/// A map in `STRIPES` parts.
pub(crate) struct LockedMap<C: 'static, const STRIPES: usize> {
    stripes: &'static [Stripe<C>],
    limit: u32,
}

impl<C: Counts, const STRIPES: usize> LockedMap<C, STRIPES> {
    pub(crate) fn new(sources: u32, limit: i32) -> Result<Self> {
        // A quarter more: the parts are not equally full, and no map should grow while it
        // is measured.
        let each = (sources as usize * 5 / 4) / STRIPES + 64;
        let stripes: io::Result<Vec<_>> = (0..STRIPES).map(|_| Stripe::new(each)).collect();
        let map = LockedMap {
            stripes: shared::store(stripes?)?,
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
        // These bits are used by neither map for the list or the tag.
        let stripe = &self.stripes[(hash >> 34) as usize % STRIPES];
        // SAFETY: `init` has initialised the mutex.
        let code = unsafe { libc::pthread_mutex_lock(stripe.mutex.get()) };
        assert_eq!(code, 0, "pthread_mutex_lock");
        // SAFETY: the lock is held, so there is no other reference.
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
            // SAFETY: it is a C struct of integers; `init` makes it a mutex before use.
            mutex: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            counts: UnsafeCell::new(C::new(capacity)?),
        })
    }

    /// Initialises the mutex at its final address, for several processes.
    fn init(&self) -> io::Result<()> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the first call initialises the attributes and the last one destroys
        // them. The mutex is not in use yet.
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
        self.with_stripe(key, |counts, hash| counts.release(hash, key))
    }

    fn connections(&self) -> Result<u64> {
        let counts = self.stripes.iter().map(|stripe| {
            // SAFETY: this process has one thread, and it holds no other reference.
            unsafe { &*stripe.counts.get() }.total()
        });
        Ok(counts.sum())
    }
}
