// SPDX-License-Identifier: GPL-2.0-or-later

//! The checks: audit, memory and descriptors.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use support::kamailio::mode::Mode;
use support::kamailio::server::is_clean;
use support::kamailio::{Server, number};

/// The resources of the server at one moment. Memory is in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    /// Connections accepted since the start.
    pub(crate) accepted: u64,
    pub(crate) connections: u64,
    /// The resident pages of TCP main.
    pub(crate) resident: u64,
    /// The resident pages that only TCP main has.
    pub(crate) private: u64,
    /// The used part of Kamailio's private memory pool in TCP main.
    pub(crate) pkg: u64,
    /// The used part of Kamailio's shared memory.
    pub(crate) shared: u64,
    /// The number of descriptors of TCP main.
    pub(crate) descriptors: u64,
}

impl Held {
    pub(crate) fn by(server: &Server, tcp_main: u64) -> Self {
        let stats = server.rpc("tcp_conn_limit.stats", json!([]));
        let pkg = server.rpc("pkg.stats", json!(["pid", tcp_main]));
        let rollup = rollup(tcp_main);
        let descriptors = fs::read_dir(format!("/proc/{tcp_main}/fd")).expect("TCP main runs");
        Self {
            accepted: number(&stats, "admitted") + number(&stats, "rejected"),
            connections: number(&stats, "connections"),
            resident: bytes(&rollup, "Rss:"),
            private: of_itself(&rollup),
            pkg: number(pkg.get(0).unwrap_or(&pkg), "used"),
            shared: number(&server.rpc("core.shmmem", json!([])), "used"),
            descriptors: descriptors.count() as u64,
        }
    }
}

/// Returns the resident pages that only this process has, in bytes.
pub(crate) fn private(process: u64) -> u64 {
    of_itself(&rollup(process))
}

fn of_itself(rollup: &str) -> u64 {
    bytes(rollup, "Private_Clean:") + bytes(rollup, "Private_Dirty:")
}

fn rollup(process: u64) -> String {
    fs::read_to_string(format!("/proc/{process}/smaps_rollup")).expect("the process runs")
}

/// Returns the value of a line of /proc/PID/smaps_rollup, in bytes.
fn bytes(rollup: &str, name: &str) -> u64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_else(|| panic!("no {name} in {rollup}")) * 1024
}

/// Compares the module's counts with the core's connections. Returns the number of requests
/// until the audit was clean, or else the last answer.
///
/// With hooks every answer must be clean, also under load. For the other attachment see
/// `Mode::assert_audit_clean`.
pub(crate) fn audit(mode: Mode, server: &Server) -> Result<u32, Value> {
    let end = Instant::now() + crate::run::PATIENCE;
    let mut asked = 0;
    loop {
        asked += 1;
        let answer = server.rpc("tcp_conn_limit.audit", json!([]));
        if is_clean(&answer) {
            return Ok(asked);
        }
        if mode == Mode::Module || Instant::now() > end {
            return Err(answer);
        }
    }
}
