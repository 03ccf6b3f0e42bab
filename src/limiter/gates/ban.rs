// SPDX-License-Identifier: GPL-2.0-or-later
//! A banned source gets no new connection until its ban ends. A connection that is rejected
//! because of a ban is not an offence, so a ban always ends.

#![forbid(unsafe_code)]

use super::Asked;

#[inline]
pub(super) fn admits(asked: &Asked<'_>) -> bool {
    if asked.terms.exempt {
        return true;
    }
    if asked.terms.banned {
        return false;
    }
    let Some(restraints) = &asked.owes else {
        return true;
    };
    asked.at_present(|micros| restraints.ban(micros / 1_000).is_none())
}
