// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Totals`]: the statistics of a limiter, summed over all rows.

#![forbid(unsafe_code)]

use crate::shared::layout::Tally;
use crate::shared::sync::{Ordering, Statistic64};

/// The statistics since the start or the last reset, summed over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Connections that were counted. May be too low if several threads of a process, or
    /// workers that share a row, open connections at the same moment. Kamailio's TCP main
    /// opens one at a time.
    pub admitted: u64,
    /// Rejected connections.
    pub rejected: u64,
    /// Connections that would have been rejected, in monitor mode.
    pub would_reject: u64,
    /// The part of `rejected` for whose source the table had no slot.
    pub full_rejected: u64,
    /// The part of `rejected` whose descriptor is not tracked, see
    /// [`untracked`](Self::untracked).
    pub untracked_rejected: u64,
    /// Panics that were stopped at the C boundary.
    pub panics: u64,
    /// Connections admitted uncounted because the table had no slot.
    pub table_full: u64,
    /// Connections admitted uncounted because their descriptor is higher than those that
    /// `interpose` tracks.
    pub untracked: u64,
    /// Connections whose peer is neither IPv4 nor IPv6.
    pub bad_address: u64,
    /// Releases of a connection that was not counted.
    pub stale_token: u64,
    /// Descriptors that were used again while they were still counted, see `interpose`.
    pub descriptor_reused: u64,
}

/// A total, and the counter of each row that adds to it.
pub(super) type TotalField = (fn(&mut Totals) -> &mut u64, fn(&Tally) -> &Statistic64);

pub(super) const TOTALS: [TotalField; 11] = [
    (|t| &mut t.admitted, |t| &t.admitted),
    (|t| &mut t.rejected, |t| &t.rejected),
    (|t| &mut t.would_reject, |t| &t.would_reject),
    (|t| &mut t.full_rejected, |t| &t.full_rejected),
    (|t| &mut t.untracked_rejected, |t| &t.untracked_rejected),
    (|t| &mut t.panics, |t| &t.panics),
    (|t| &mut t.table_full, |t| &t.table_full),
    (|t| &mut t.untracked, |t| &t.untracked),
    (|t| &mut t.bad_address, |t| &t.bad_address),
    (|t| &mut t.stale_token, |t| &t.stale_token),
    (|t| &mut t.descriptor_reused, |t| &t.descriptor_reused),
];

impl Totals {
    /// The sums of all `tallies` since they were `reset_at`.
    pub(super) fn since(reset_at: &Tally, tallies: &[Tally]) -> Totals {
        let mut totals = Totals::default();
        for ((field, pick), sum) in TOTALS.into_iter().zip(sums(tallies)) {
            // Relaxed (statistics).
            let before = pick(reset_at).load(Ordering::Relaxed);
            // A sum may have wrapped around. It may also be a little less than at the
            // reset, see `Limiter::count_admitted`.
            let since = sum.wrapping_sub(before) as i64;
            *field(&mut totals) = since.max(0).unsigned_abs();
        }
        totals
    }
}

/// Stores the sums of all `tallies` in `reset_at`, from which [`Totals::since`] counts.
pub(super) fn reset(reset_at: &Tally, tallies: &[Tally]) {
    for ((_, pick), sum) in TOTALS.into_iter().zip(sums(tallies)) {
        // Relaxed (statistics): whatever is counted meanwhile belongs after the reset.
        pick(reset_at).store(sum, Ordering::Relaxed);
    }
}

/// The sums over all tallies, in the order of [`TOTALS`].
fn sums(tallies: &[Tally]) -> [u64; TOTALS.len()] {
    TOTALS.map(|(_, pick)| {
        // Relaxed (statistics).
        let numbers = tallies.iter().map(|t| pick(t).load(Ordering::Relaxed));
        numbers.fold(0, u64::wrapping_add)
    })
}

/// A fault to be counted with [`Limiter::note`](super::Limiter::note).
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// See [`Totals::panics`].
    Panic,
    /// See [`Totals::bad_address`].
    BadAddress,
    /// See [`Totals::descriptor_reused`].
    DescriptorReused,
    /// See [`Totals::untracked`].
    Untracked,
}

impl Fault {
    /// The counter of this fault in `tally`.
    pub(super) fn counter(self, tally: &Tally) -> &Statistic64 {
        match self {
            Fault::Panic => &tally.panics,
            Fault::BadAddress => &tally.bad_address,
            Fault::DescriptorReused => &tally.descriptor_reused,
            Fault::Untracked => &tally.untracked,
        }
    }
}
