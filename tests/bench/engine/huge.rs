// SPDX-License-Identifier: GPL-2.0-or-later

//! Huge pages: whether the engine can have them, and the setting of the system that it
//! takes.

use std::fs;

use crate::abi::Engine;
use crate::child::{serve, single};
use crate::job::Job;
use crate::{Result, shared};

/// Which shared memory may have huge pages.
const SETTING: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";

/// Huge pages for shared memory that asks for them, as long as this is there.
pub(crate) struct Allowed {
    /// What the setting must become again; none if it was not changed.
    before: Option<String>,
}

impl Allowed {
    /// Changes the setting if it forbids huge pages.
    pub(crate) fn new() -> Result<Allowed> {
        let text = fs::read_to_string(SETTING).map_err(|error| format!("{SETTING}: {error}"))?;
        // always within_size [advise] never deny force
        let word = text.split(['[', ']']).nth(1).unwrap_or_default();
        if ["advise", "always", "force"].contains(&word) {
            return Ok(Allowed { before: None });
        }
        fs::write(SETTING, "advise").map_err(|error| {
            format!("{SETTING} is {word:?}, and \"advise\" cannot be written to it: {error}")
        })?;
        Ok(Allowed {
            before: Some(word.to_owned()),
        })
    }

    /// Bytes of a table for `connections` connections that are in huge pages.
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
            eprintln!("{SETTING} cannot be set to {word:?} again: {error}");
        }
    }
}

/// The child's side.
pub(crate) fn work(connections: u32) -> Result<()> {
    shared::huge_pages_too()?;
    let engine = Engine::start(connections, 1_024)?;
    serve(|| Ok(vec![engine.huge_pages()]))
}
