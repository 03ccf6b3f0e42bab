// SPDX-License-Identifier: GPL-2.0-or-later

//! Huge pages: whether the engine can have them, and the system setting that allows them.

use std::fs;

use crate::abi::Engine;
use crate::child::{serve, single};
use crate::job::Job;
use crate::{Result, shared};

/// The setting that says which shared memory may have huge pages.
const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// Allows huge pages for shared memory that asks for them, until it is dropped.
pub(crate) struct Allowed {
    /// The value to restore, or `None` if the setting was not changed.
    before: Option<String>,
}

impl Allowed {
    /// Sets `advise` if the setting forbids huge pages.
    pub(crate) fn new() -> Result<Allowed> {
        let text = fs::read_to_string(SETTING).map_err(|error| format!("{SETTING}: {error}"))?;
        // The file reads: always within_size [advise] never deny force
        let word = text.split(['[', ']']).nth(1).unwrap_or_default();
        if ["advise", "always", "force"].contains(&word) {
            return Ok(Allowed { before: None });
        }
        fs::write(SETTING, "advise").map_err(|error| {
            format!("{SETTING} is {word:?} and cannot be set to \"advise\": {error}; run as root")
        })?;
        Ok(Allowed {
            before: Some(word.to_owned()),
        })
    }

    /// The number of bytes in huge pages of a table for `connections` connections.
    pub(crate) fn bytes(&self, connections: u32) -> Result<u64> {
        let bytes: Vec<u64> = single(&Job::HugePages { connections })?;
        Ok(bytes.into_iter().sum())
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        if let Some(word) = &self.before
            && let Err(error) = fs::write(SETTING, word)
        {
            eprintln!("cannot restore {SETTING} to {word:?}: {error}");
        }
    }
}

/// The child's side.
pub(crate) fn work(connections: u32) -> Result<()> {
    shared::allow_huge_pages()?;
    let engine = Engine::start(connections, 1_024)?;
    serve(|| Ok(vec![engine.huge_pages()]))
}
