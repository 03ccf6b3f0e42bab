// SPDX-License-Identifier: GPL-2.0-or-later

//! The servers that each load gets.

use serde::{Deserialize, Serialize};

use crate::Result;
use support::kamailio::{Config, Server};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    /// The server as released, without a limit.
    Off,
    /// The same with its own limit.
    Stock,
    /// The module with a limit only.
    Limit,
    /// The module with the controls that the load is about, with hooks.
    Hooks,
    /// The same, interposed.
    Interposed,
}

/// The settings in which the loads differ.
pub(crate) struct Settings {
    /// Connections that the server allows.
    pub(crate) max: u32,
    /// The limit for each address in the core.
    pub(crate) core_limit: u32,
    /// The same in the module.
    pub(crate) limit: u32,
    /// Megabytes of the core's shared memory.
    pub(crate) memory: u32,
}

impl Which {
    pub(crate) const ALL: [Which; 5] = [
        Which::Off,
        Which::Stock,
        Which::Limit,
        Which::Hooks,
        Which::Interposed,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Which::Off => "no limit",
            Which::Stock => "the core's limit",
            Which::Limit => "module, limit only",
            Which::Hooks => "module, hooks",
            Which::Interposed => "module, interposed",
        }
    }

    /// Starts the server; `guard` sets the controls that the load is about.
    pub(crate) fn start(self, settings: &Settings, guard: impl Fn(Config) -> Config) -> Server {
        let &Settings {
            max,
            core_limit,
            limit,
            memory,
        } = settings;
        let config = match self {
            Which::Off => Config::stock().core("tcp_accept_iplimit=0"),
            Which::Stock => Config::stock().core(&format!("tcp_accept_iplimit={core_limit}")),
            Which::Limit => Config::with_module().limit(limit.into()),
            Which::Hooks => guard(Config::with_module().limit(limit.into())),
            Which::Interposed => guard(Config::interposed().limit(limit.into())),
        };
        config
            .core("debug=-1")
            .core(&format!("tcp_max_connections={max}"))
            .core("tcp_connection_lifetime=86400")
            .shared_memory(memory)
            .start()
    }

    /// Fails if the module counted differently than the core.
    pub(crate) fn verify(self, server: &Server) -> Result<()> {
        let has_module = !matches!(self, Which::Off | Which::Stock);
        match if has_module { server.stat("errors") } else { 0 } {
            0 => Ok(()),
            errors => Err(format!("{}: the module counted {errors} errors", self.name()).into()),
        }
    }
}
