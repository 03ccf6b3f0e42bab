// SPDX-License-Identifier: GPL-2.0-or-later
//! The limit of untrusted connections of a source. A connection is untrusted until the
//! script trusts it. Therefore thousands of trusted clients can share an address with a few others.

#![forbid(unsafe_code)]

use super::Asked;

#[inline]
pub(super) fn admits(asked: &Asked<'_>) -> bool {
    let limiter = asked.limiter;
    let limit = asked.terms.untrusted_limit(limiter.untrusted_limit());
    limit == 0 || asked.untrusted() < limit
}
