// SPDX-License-Identifier: GPL-2.0-or-later

//! The servers under load.

use serde::{Deserialize, Serialize};

use support::kamailio::Config;

/// The limit in most benchmarks, which is the core's default.
pub(crate) const LIMIT: u32 = 1_024;

/// Connections that a server can have; the module sizes its table for them.
pub(crate) const CONNECTIONS: u32 = 20_000;

/// A part of the line that the stock server logs for a rejection.
pub(crate) const STOCK_REJECTS: &str = "hit the limit";

/// The versions of the measured servers and of the module.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) stock: String,
    pub(crate) hooked: String,
    pub(crate) module: String,
}

/// The server as released, without a limit.
pub(crate) fn off() -> Config {
    for_load(Config::stock().core("tcp_accept_iplimit=0"))
}

/// The server as released, with its own limit.
pub(crate) fn stock(limit: u32) -> Config {
    for_load(Config::stock().core(&format!("tcp_accept_iplimit={limit}")))
}

/// The server with hooks and the module.
pub(crate) fn module(limit: u32) -> Config {
    for_load(Config::with_module().limit(limit.into()))
}

/// The server as released and the module, which interposes on accept() and close().
pub(crate) fn interposed() -> Config {
    for_load(Config::interposed().limit(LIMIT.into()))
}

/// The server with hooks and the module, with all controls of an operator: rules, a rate,
/// penalties of every kind, monitor mode, and metrics over HTTP. Each connection is charged
/// for the rate and, since it carries no message, as an offence, but no source has enough
/// connections to be over its rate, or offences to be banned.
pub(crate) fn module_with_controls(rules: &str) -> Config {
    for_load(controls(rules).text_param("mode", "monitor"))
}

/// The same in mode `enforce`, and with the limits of untrusted connections and of networks, a
/// reserve and pressure. Each connection is counted as untrusted and for its network, but none
/// is over a limit, and the server is never so full that reserve or pressure matter.
pub(crate) fn module_with_everything(rules: &str) -> Config {
    let config = controls(rules)
        .param("untrusted_limit", 1_000)
        .param("trust_timeout", 3_600)
        .param("network_limit", 50_000)
        .text_param("network_rate", "10000/s")
        .param("network_burst", 100_000)
        .text_param("reserve", "1%")
        .text_param("pressure", "98:50% 99:10");
    for_load(config)
}

fn controls(rules: &str) -> Config {
    let config = Config::with_module()
        .limit(LIMIT.into())
        .rules_file(rules)
        .text_param("rate", "10000/s")
        .param("burst", 100_000)
        .param("ban_max", DAY)
        .param("ban_min", DAY)
        .http("tcp_conn_limit:");
    let kinds = ["silent", "tls", "rejected", "rate", "script"];
    kinds.iter().fold(config, |config, kind| {
        config.text_param("penalty", &format!("{kind}=0.1"))
    })
}

/// In seconds; the largest `ban_min`.
const DAY: i64 = 86_400;

fn for_load(config: Config) -> Config {
    config
        .core("debug=0")
        .core(&format!("tcp_max_connections={CONNECTIONS}"))
        .core("tcp_connection_lifetime=86400")
        // Otherwise the core closes connections on which no message has come for a while.
        .core("tcp_check_timer=0")
        .shared_memory(900)
}
