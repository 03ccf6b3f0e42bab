// SPDX-License-Identifier: GPL-2.0-or-later
//! The limit of a source: the most connections that it may have at a time.

#![forbid(unsafe_code)]

use super::Asked;

#[inline]
pub(super) fn admits(asked: &Asked<'_>) -> bool {
    let limit = asked.terms.limit;
    limit <= 0 || asked.connections < limit
}
