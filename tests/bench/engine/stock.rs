// SPDX-License-Identifier: GPL-2.0-or-later

//! The core's own function, in the machine code of a real server. See
//! stock/bench_stock.c.

use std::env;

use serde_json::{Value, json};

use crate::{Result, machine};
use support::kamailio::{Config, Server, Servers};

/// The maximum size of a synthetic connection in the server's shared memory.
const BYTES: u64 = 1_700;

pub(crate) struct Stock {
    server: Server,
    pub(crate) version: String,
}

impl Stock {
    /// Starts a server for up to `max` connections. Returns `None` without the module,
    /// which `make bench` builds.
    pub(crate) fn start(max: u32) -> Result<Option<Stock>> {
        let Ok(module) = env::var("BENCH_STOCK_MODULE") else {
            return Ok(None);
        };
        let megabytes = 64 + u64::from(max) * BYTES / (1 << 20);
        let server = Config::stock()
            .module(&module)
            .shared_memory(megabytes as u32)
            .start();
        let program = Servers::from_env().stock;
        Ok(Some(Stock {
            server,
            version: machine::kamailio_version(&program.to_string_lossy())?,
        }))
    }

    /// Replaces all connections with `connections` new ones.
    pub(crate) fn fill(&self, connections: u32) -> Result<()> {
        self.rpc("bench_stock.fill", connections).map(drop)
    }

    /// Returns the nanoseconds of each of `calls` calls.
    pub(crate) fn pass(&self, calls: u32) -> Result<Vec<f64>> {
        let answer = self.rpc("bench_stock.time", calls)?;
        Ok(serde_json::from_value(answer)?)
    }

    fn rpc(&self, method: &str, parameter: u32) -> Result<Value> {
        let answer = self.server.try_rpc(method, json!([parameter]));
        answer.map_err(|fault| format!("{method}: {fault:?}").into())
    }
}
