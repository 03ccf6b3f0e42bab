// SPDX-License-Identifier: GPL-2.0-or-later

//! What a table costs before it is used.

use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::{self, Engine};
use crate::child::serve;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) ms: f64,
    /// KiB of address space.
    pub(crate) mapped: u64,
    /// KiB of it with memory behind them.
    pub(crate) resident: u64,
    /// The time that the accepting process then needs before its first connection, which
    /// allocates the buckets; `None` in older records.
    pub(crate) attach_ms: Option<f64>,
    /// KiB with memory behind them after that; `None` in older records.
    pub(crate) attached: Option<u64>,
    /// The size of a page in KiB.
    pub(crate) page: u64,
}

/// The child's side.
pub(crate) fn work(connections: u32) -> Result<()> {
    let engine = Engine::load()?;
    let config = abi::config(connections, 1_024)?;
    serve(|| {
        let before = shared_memory()?;
        let start = Instant::now();
        engine.init(&config)?;
        let ms = start.elapsed().as_secs_f64() * 1_000.0;
        let after = shared_memory()?;
        let start = Instant::now();
        engine.set_worker(0);
        let attach_ms = start.elapsed().as_secs_f64() * 1_000.0;
        let attached = shared_memory()?.resident - before.resident;
        Ok(vec![Start {
            ms,
            mapped: after.mapped - before.mapped,
            resident: after.resident - before.resident,
            attach_ms: Some(attach_ms),
            attached: Some(attached),
            page: after.page,
        }])
    })
}

#[derive(Default)]
struct SharedMemory {
    mapped: u64,
    resident: u64,
    page: u64,
}

/// The sum over the writable shared mappings of this process.
fn shared_memory() -> Result<SharedMemory> {
    let mut sum = SharedMemory::default();
    let mut counts = false;
    for line in fs::read_to_string("/proc/self/smaps")?.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        match name {
            "Size:" if counts => sum.mapped += value.parse::<u64>()?,
            "Rss:" if counts => sum.resident += value.parse::<u64>()?,
            "KernelPageSize:" => sum.page = value.parse()?,
            // This is the first line of a mapping: addresses, then permissions.
            _ if !name.ends_with(':') => counts = value == "rw-s",
            _ => {}
        }
    }
    Ok(sum)
}
