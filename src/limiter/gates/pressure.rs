// SPDX-License-Identifier: GPL-2.0-or-later
//! Pressure: while the host is nearly full, the effective limit is lower than the limit of a
//! source. So the sources with the most connections are rejected first. It is never below 1,
//! so a source without connections passes this gate.

#![forbid(unsafe_code)]

use super::Asked;

#[inline]
pub(super) fn admits(asked: &Asked<'_>) -> bool {
    if asked.terms.trusted {
        return true;
    }
    let effective = asked.scarcity.cap().effective(asked.terms.limit);
    effective <= 0 || asked.connections < effective
}
