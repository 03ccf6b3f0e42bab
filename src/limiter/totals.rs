// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Totals`]: the statistics of a limiter, summed over all rows.

#![forbid(unsafe_code)]

use crate::shared::layout::Tally;
use crate::shared::sync::{Ordering, Statistic64};

/// A total, and the number of each row that adds to it.
pub(super) type TotalField = (fn(&mut Totals) -> &mut u64, fn(&Tally) -> &Statistic64);

/// Defines [`Totals`], and [`TOTALS`], which pairs each field with that of [`Tally`].
macro_rules! totals {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The statistics since the start or the last reset, summed over all workers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        pub(super) const TOTALS: &[TotalField] = &[$((|t| &mut t.$name, |t| &t.$name),)*];
    };
}

totals! {
    /// Connections that were counted. May be too low if several threads of a process, or
    /// workers that share a row, open connections at the same moment. Kamailio's TCP main
    /// opens one at a time.
    admitted,
    /// Rejected connections.
    rejected,
    /// Connections that would have been rejected, in monitor mode.
    would_reject,
    /// The part of `rejected` for whose source the table had no slot.
    full_rejected,
    /// The part of `rejected` whose descriptor is not tracked, see
    /// [`untracked`](Self::untracked).
    untracked_rejected,
    /// Panics that were stopped at the C boundary.
    panics,
    /// Connections admitted uncounted because the table had no slot.
    table_full,
    /// Connections admitted uncounted because their descriptor has no record.
    untracked,
    /// Connections whose peer is neither IPv4 nor IPv6.
    bad_address,
    /// Releases of a connection that was not counted.
    stale_token,
    /// Descriptors that were used again while their connection was still counted, see
    /// [`Limiter::forget`](super::Limiter::forget).
    descriptor_reused,
    /// The part of `rejected` whose source was over its rate.
    rate_rejected,
    /// The part of `would_reject` whose source was over its rate.
    rate_would_reject,
    /// The part of `rejected` whose source was banned.
    ban_rejected,
    /// The part of `would_reject` whose source was banned.
    ban_would_reject,
    /// Bans that began.
    bans,
    /// Bans that would have begun, in monitor mode.
    would_ban,
    /// Offences by kind, see [`Cause`](crate::policy::penalties::Cause). Those that cost
    /// nothing do not count, nor do those of exempt sources, here and below.
    penalty_silent,
    /// See `penalty_silent`.
    penalty_tls,
    /// See `penalty_silent`.
    penalty_rejected,
    /// See `penalty_silent`.
    penalty_rate,
    /// See `penalty_silent`.
    penalty_script,
    /// Sources whose slot another source took while they owed something.
    forgotten,
    /// The part of `rejected` whose source was at its limit of untrusted connections.
    untrusted_rejected,
    /// The part of `would_reject` whose source was at its limit of untrusted connections.
    untrusted_would_reject,
    /// Connections that became trusted.
    became_trusted,
    /// Untrusted connections that timed out.
    trust_timeouts,
    /// Untrusted connections that would have timed out, in monitor mode.
    would_trust_timeout,
    /// The part of `rejected` that would have used the reserve.
    reserve_rejected,
    /// The part of `would_reject` that would have used the reserve.
    reserve_would_reject,
    /// The part of `rejected` whose source was at the effective limit under pressure.
    pressure_rejected,
    /// The part of `would_reject` whose source was at the effective limit under pressure.
    pressure_would_reject,
    /// The part of `rejected` whose network was at its limit or over its rate.
    network_rejected,
    /// The part of `would_reject` whose network was at its limit or over its rate.
    network_would_reject,
    /// Connections that count in their source, but not in their network, because the table
    /// had no slot for the network.
    network_uncounted,
    /// Connections that were moved to another source, see
    /// [`count_for`](super::Limiter::count_for). One that moves again counts again.
    moved,
    /// The part of `rejected` whose connection the script asked to move: it stayed where it was.
    move_rejected,
    /// The part of `would_reject` whose connection was moved.
    move_would_reject,
    /// Moves that the script asked for in vain: the connection is not from a proxy, or the text
    /// of the client is not an address.
    move_invalid,
    /// The part of `rejected` whose source was at its limit over all nodes of the cluster.
    cluster_rejected,
    /// The part of `would_reject` whose source was at its limit over all nodes of the cluster.
    cluster_would_reject,
}

impl Totals {
    /// Connections that were not counted or not checked as they should be, and faults.
    pub fn errors(&self) -> u64 {
        self.panics
            + self.table_full
            + self.untracked
            + self.bad_address
            + self.stale_token
            + self.descriptor_reused
            + self.network_uncounted
    }

    /// The sums of all `tallies` since they were `reset_at`.
    pub(super) fn since(reset_at: &Tally, tallies: &[Tally]) -> Totals {
        let mut totals = Totals::default();
        for ((field, pick), sum) in TOTALS.iter().zip(sums(tallies)) {
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
    for ((_, pick), sum) in TOTALS.iter().zip(sums(tallies)) {
        // Relaxed (statistics): whatever is counted meanwhile belongs after the reset.
        pick(reset_at).store(sum, Ordering::Relaxed);
    }
}

/// The sums over all tallies, in the order of [`TOTALS`].
fn sums(tallies: &[Tally]) -> impl Iterator<Item = u64> {
    TOTALS.iter().map(|(_, pick)| {
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
    /// See [`Totals::stale_token`].
    StaleToken,
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
            Fault::StaleToken => &tally.stale_token,
            Fault::DescriptorReused => &tally.descriptor_reused,
            Fault::Untracked => &tally.untracked,
        }
    }
}
