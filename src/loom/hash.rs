// SPDX-License-Identifier: GPL-2.0-or-later
//! The hash under loom. It is the same in each run, and all sources share their buckets.

#![forbid(unsafe_code)]

use crate::source::Source;

pub(crate) struct SourceHash;

impl SourceHash {
    pub(crate) fn new() -> SourceHash {
        SourceHash
    }

    pub(crate) fn of(&self, _: Source) -> u64 {
        0
    }
}
