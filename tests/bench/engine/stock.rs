// SPDX-License-Identifier: GPL-2.0-or-later

//! The core's own function, in the machine code of a real server: see
//! stock/bench_stock.c.

use std::env;

use serde_json::{Value, json};

use crate::harness::{Config, Server, Servers};
use crate::{Result, machine};

/// What a synthetic connection may take of the server's shared memory.
const BYTES: u64 = 1_700;

pub(crate) struct Stock {
    server: Server,
    pub(crate) version: String,
}

impl Stock {
    /// A server for up to `most` connections; none without the module, which
    /// `make bench` builds.
    pub(crate) fn start(most: u32) -> Result<Option<Stock>> {
        let Ok(module) = env::var("BENCH_STOCK_MODULE") else {
            return Ok(None);
        };
        let megabytes = 64 + u64::from(most) * BYTES / (1 << 20);
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

    /// Has that many connections from now on.
    pub(crate) fn fill(&self, connections: u32) -> Result<()> {
        self.rpc("bench_stock.fill", connections).map(drop)
    }

    /// Nanoseconds of each of `calls` calls.
    pub(crate) fn pass(&self, calls: u32) -> Result<Vec<f64>> {
        let answer = self.rpc("bench_stock.time", calls)?;
        Ok(serde_json::from_value(answer)?)
    }

    fn rpc(&self, method: &str, parameter: u32) -> Result<Value> {
        let answer = self.server.try_rpc(method, json!([parameter]));
        answer.map_err(|fault| format!("{method}: {fault:?}").into())
    }
}
