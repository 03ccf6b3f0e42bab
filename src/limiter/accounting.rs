// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Accounting`]: whether a new connection is charged to rates and matters for trust. Its
//! source and its network are charged at one time, so the clock is read once.

#![forbid(unsafe_code)]

use core::cell::OnceCell;

use super::Limiter;

/// The work that a new connection needs besides being counted.
pub(super) trait Accounting: Copy {
    /// Whether there may be rates or trust.
    const IS_ON: bool;
    /// Whether the connection was just admitted. Otherwise it was admitted before, for
    /// another source.
    const ADMITS: bool = true;

    /// The present, in microseconds.
    fn present(self, limiter: &Limiter) -> u64;
}

/// There are no rates and no trust.
#[derive(Clone, Copy)]
pub(super) struct Off;

impl Accounting for Off {
    const IS_ON: bool = false;

    /// Nothing is charged.
    fn present(self, _: &Limiter) -> u64 {
        0
    }
}

/// There may be rates, and the network of the source is not charged.
#[derive(Clone, Copy)]
pub(super) struct Rated;

impl Accounting for Rated {
    const IS_ON: bool = true;

    #[inline]
    fn present(self, limiter: &Limiter) -> u64 {
        limiter.present()
    }
}

/// There may be rates and trust, at this time, once it is known.
impl Accounting for &OnceCell<u64> {
    const IS_ON: bool = true;

    #[inline]
    fn present(self, limiter: &Limiter) -> u64 {
        *self.get_or_init(|| limiter.present())
    }
}

/// As `&OnceCell`, for a connection that moves to another source.
#[derive(Clone, Copy)]
pub(super) struct Moving<'a>(pub(super) &'a OnceCell<u64>);

impl Accounting for Moving<'_> {
    const IS_ON: bool = true;
    const ADMITS: bool = false;

    #[inline]
    fn present(self, limiter: &Limiter) -> u64 {
        self.0.present(limiter)
    }
}
