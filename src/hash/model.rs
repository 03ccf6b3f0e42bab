// SPDX-License-Identifier: GPL-2.0-or-later
//! A hash for models: the same in each run, and all sources meet. The lowest bit of
//! the address tells which of two buckets is the first one.

#![forbid(unsafe_code)]

use crate::source::Source;

pub(crate) struct SourceHash;

impl SourceHash {
    pub(crate) fn new() -> SourceHash {
        SourceHash
    }

    pub(crate) fn of(&self, source: Source) -> u64 {
        // the lower half picks the first bucket
        match source.word() & 1 {
            0 => 0,
            _ => u32::MAX.into(),
        }
    }
}
