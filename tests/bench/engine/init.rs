// SPDX-License-Identifier: GPL-2.0-or-later

//! What a table costs before anybody uses it.

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
    /// KiB of it that have memory behind them.
    pub(crate) resident: u64,
    /// What the accepting process then takes before its first connection.
    #[serde(default)]
    pub(crate) attach_ms: f64,
    /// KiB that have memory behind them then.
    #[serde(default)]
    pub(crate) attached: u64,
    /// KiB in a page.
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
        engine.attach(0);
        let attach_ms = start.elapsed().as_secs_f64() * 1_000.0;
        let attached = shared_memory()?.resident - before.resident;
        Ok(vec![Start {
            ms,
            mapped: after.mapped - before.mapped,
            resident: after.resident - before.resident,
            attach_ms,
            attached,
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

/// The writable shared mappings of this process, together.
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
            // the first line of a mapping: addresses, permissions
            _ if !name.ends_with(':') => counts = value == "rw-s",
            _ => {}
        }
    }
    Ok(sum)
}
