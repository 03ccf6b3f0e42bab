// SPDX-License-Identifier: GPL-2.0-or-later

//! What a module in Kamailio's style would do: a hash map under a lock that
//! processes share, or several such, each for a part of the sources.
//!
//! The entries are in private memory, since hashbrown's own allocator is not what
//! this is about: one in shared memory would not be faster.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use nix::libc;
use siphasher::sip::SipHasher13;

use crate::Result;
use crate::operations::Subject;
use crate::shared;
use crate::sources::address;

/// IPv4 as IPv4-mapped IPv6: one comparison tells a source.
type Key = u128;

struct Count {
    key: Key,
    connections: u32,
}

/// A lock and what it protects, on cache lines of their own.
#[repr(align(128))]
struct Stripe {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    counts: UnsafeCell<HashTable<Count>>,
}

// SAFETY: `counts` is used under the mutex only, see `with_stripe`.
unsafe impl Sync for Stripe {}

/// A map of `STRIPES` parts.
pub(crate) struct LockedMap<const STRIPES: usize> {
    stripes: &'static [Stripe],
    keys: [u64; 2],
    limit: u32,
}

impl<const STRIPES: usize> LockedMap<STRIPES> {
    pub(crate) fn new(sources: u32, limit: i32) -> Result<Self> {
        let map = LockedMap {
            stripes: shared::place(
                (0..STRIPES)
                    // a quarter more: the parts are not equally full, and no map
                    // is to grow while it is measured
                    .map(|_| Stripe::new((sources as usize * 5 / 4) / STRIPES + 64))
                    .collect(),
            )?,
            keys: [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908],
            limit: limit.try_into()?,
        };
        for stripe in map.stripes {
            stripe.init()?;
        }
        Ok(map)
    }

    /// Runs `work` on the part that `key` belongs to, under its lock.
    #[inline]
    fn with_stripe<T>(&self, key: Key, work: impl FnOnce(&mut HashTable<Count>, u64) -> T) -> T {
        let hash = self.hash(key);
        // hashbrown takes the lowest bits for the place and the highest for the tag
        let stripe = &self.stripes[(hash >> 40) as usize % STRIPES];
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

    #[inline]
    fn hash(&self, key: Key) -> u64 {
        SipHasher13::new_with_keys(self.keys[0], self.keys[1]).hash(&key.to_le_bytes())
    }
}

impl Stripe {
    fn new(capacity: usize) -> Stripe {
        Stripe {
            // SAFETY: a C struct of integers; `init` makes a mutex of it.
            mutex: UnsafeCell::new(unsafe { MaybeUninit::zeroed().assume_init() }),
            counts: UnsafeCell::new(HashTable::with_capacity(capacity)),
        }
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

impl<const STRIPES: usize> Subject for LockedMap<STRIPES> {
    #[inline]
    fn check(&self, index: u32) -> bool {
        let key = key(index);
        let limit = self.limit;
        self.with_stripe(key, |counts, hash| {
            counts
                .find(hash, |count| count.key == key)
                .is_some_and(|count| count.connections >= limit)
        })
    }

    #[inline]
    fn opened(&self, index: u32) -> u64 {
        let key = key(index);
        self.with_stripe(key, |counts, hash| {
            let entry = counts.entry(hash, |count| count.key == key, |count| self.hash(count.key));
            match entry {
                Entry::Occupied(mut entry) => entry.get_mut().connections += 1,
                Entry::Vacant(entry) => {
                    entry.insert(Count {
                        key,
                        connections: 1,
                    });
                }
            }
        });
        index.into()
    }

    #[inline]
    fn closed(&self, token: u64) -> bool {
        let key = key(token as u32);
        self.with_stripe(key, |counts, hash| {
            let Ok(mut entry) = counts.find_entry(hash, |count| count.key == key) else {
                return false;
            };
            entry.get_mut().connections -= 1;
            if entry.get().connections == 0 {
                entry.remove();
            }
            true
        })
    }

    fn connections(&self) -> Result<u64> {
        let counts = self.stripes.iter().map(|stripe| {
            // SAFETY: this process has one thread, which holds no other reference.
            let counts = unsafe { &*stripe.counts.get() };
            counts.iter().map(|c| u64::from(c.connections)).sum::<u64>()
        });
        Ok(counts.sum())
    }

    fn without_place(&self) -> Result<u64> {
        Ok(0)
    }
}
