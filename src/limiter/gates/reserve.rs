// SPDX-License-Identifier: GPL-2.0-or-later
//! The reserve: the last connections of the host are for the sources of trusted rules only.
//! A source without a slot is also rejected, see [`Limiter::check_new`].
//!
//! [`Limiter::check_new`]: crate::limiter::Limiter::check_new

#![forbid(unsafe_code)]

use super::Asked;

#[inline]
pub(super) fn admits(asked: &Asked<'_>) -> bool {
    !asked.scarcity.reserved || asked.terms.trusted
}
