// SPDX-License-Identifier: GPL-2.0-or-later

//! IPv6 sources that are single addresses of one /64 network, compared with the default,
//! where each /64 network is a source.

use serde::{Deserialize, Serialize};
use tcp_conn_limit::ffi::tcl_config;

use crate::Result;
use crate::abi::{self, Engine};
use crate::chain::chain;
use crate::child::serve;
use crate::operations::Subject;
use crate::sources::{self, Sources};

/// Sources, with one connection each.
pub(crate) const SOURCES: u32 = 35_000;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LongPrefixes {
    /// 64 or 128.
    pub(crate) ipv6_prefix: u8,
    pub(crate) steps: u32,
}

/// Nanoseconds per operation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) ipv6_prefix: u8,
    pub(crate) check_known: f64,
    pub(crate) check_new: f64,
    /// Check, opened, closed.
    pub(crate) cycle_new: f64,
}

impl LongPrefixes {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        let engine = Engine::start_with(&tcl_config {
            ipv6_prefix: self.ipv6_prefix.into(),
            ..abi::config(SOURCES, 1_024)?
        })?;
        let tokens: Vec<u64> = (0..SOURCES)
            .map(|index| engine.opened_from(&self.address(index)))
            .collect();
        let mut sources = Sources::new(SOURCES);
        serve(|| Ok(vec![self.pass(&engine, &mut sources)]))?;
        if engine.connections()? != tokens.len() as u64 {
            return Err("connections of long prefixes were counted wrong".into());
        }
        Ok(())
    }

    fn pass(&self, engine: &Engine, sources: &mut Sources) -> Figure {
        let check = |index| u64::from(engine.rejects(&self.address(index)));
        let cycle = |index| {
            let address = self.address(index);
            let rejected = engine.rejects(&address);
            u64::from(rejected) + u64::from(engine.closed(engine.opened_from(&address)))
        };
        let known = sources.known(self.steps);
        // Other subjects have used the caches since the last pass.
        chain(&known, check);
        Figure {
            ipv6_prefix: self.ipv6_prefix,
            check_known: chain(&known, check),
            check_new: chain(&sources.new_ones(self.steps), check),
            cycle_new: chain(&sources.new_ones(self.steps), cycle),
        }
    }

    /// Returns an address in a separate network per source, or one in the shared network.
    #[inline]
    fn address(&self, index: u32) -> [u8; 16] {
        let mut bytes = [0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let at = if self.ipv6_prefix == 64 { 4 } else { 12 };
        bytes[at..at + 4].copy_from_slice(&sources::address(index));
        bytes
    }
}
