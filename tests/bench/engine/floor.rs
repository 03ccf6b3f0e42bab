// SPDX-License-Identifier: GPL-2.0-or-later

//! The least that a shared counter can cost: one atomic addition on a cache line of a
//! table with one line per source. The line is found by index, without a search.

use std::io;
use std::sync::atomic::Ordering;

use crate::shared::{self, Line};

pub(crate) struct Floor(&'static [Line]);

impl Floor {
    pub(crate) fn new(lines: u32) -> io::Result<Floor> {
        let lines = shared::zeros::<Line>(lines as usize)?;
        // Touch each line, so that every page has memory behind it.
        for line in lines {
            line.0.store(1, Ordering::Relaxed);
        }
        Ok(Floor(lines))
    }

    #[inline]
    pub(crate) fn add(&self, index: u32) -> u64 {
        self.0[index as usize].0.fetch_add(1, Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn subtract(&self, index: u32) -> u64 {
        self.0[index as usize].0.fetch_sub(1, Ordering::SeqCst)
    }
}
