// SPDX-License-Identifier: GPL-2.0-or-later
//! The policy for connections that cannot be counted, because the table has no slot for
//! their source or their descriptor is not tracked.

#![forbid(unsafe_code)]

use super::{Reason, Rejection};
use crate::limiter::Limiter;
use crate::policy::settings::{Mode, OnFull};
use crate::source::Source;

impl Limiter {
    /// Whether a source without a slot would get one, if that matters.
    #[inline]
    pub(in crate::limiter) fn check_room(&self, source: Source) -> Result<(), Rejection> {
        if self.settings().on_full() == OnFull::Reject && !self.table().has_room(source) {
            return Err(Rejection(Reason::Full));
        }
        Ok(())
    }

    /// May `source` open one more connection that cannot be counted, because its
    /// descriptor is not tracked? The policy for a full table applies, since the reason
    /// is the same: there is no cell to count it in. If the policy admits the connection,
    /// the gates still apply to the connections that are counted.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if it may not, as for [`check`](Self::check).
    #[cold]
    #[inline(never)]
    pub fn check_untracked(&self, source: Source, address: &[u8]) -> Result<(), Rejection> {
        let settings = self.settings();
        if settings.mode() != Mode::Off && settings.on_full() == OnFull::Reject {
            return Err(Rejection(Reason::Untracked));
        }
        self.check_on_listener(source, address)
    }
}
