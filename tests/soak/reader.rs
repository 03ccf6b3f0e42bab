// SPDX-License-Identifier: GPL-2.0-or-later

//! Fetches reports and metrics all the time.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use support::kamailio::Server;

/// Fetches reports until `end`. Returns how many.
pub(crate) fn reports(server: &Server, seed: u64, end: Instant) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut asked = 0;
    while Instant::now() < end {
        let order = ["connections", "rejected", "peak"][random.random_range(0..3)];
        let (report, arguments) = match random.random_range(0..7) {
            0 | 1 => ("top", json!([random.random_range(1..=100), order])),
            2 => ("list", json!(["127.20.0.0/16"])),
            3 => ("rules", json!([])),
            4 => ("suggest", json!([])),
            5 => ("get", json!(["127.20.0.2"])),
            _ => ("stats", json!([])),
        };
        // A list of thousands of rules is longer than a datagram.
        let method = format!("tcp_conn_limit.{report}");
        if report == "rules" {
            server.rpc_by_http(&method, arguments);
        } else {
            server.rpc(&method, arguments);
        }
        asked += 1;
        sleep(Duration::from_millis(random.random_range(0..100)));
    }
    asked
}

/// Fetches the metrics until `end`. Returns how often.
pub(crate) fn metrics(server: &Server, seed: u64, end: Instant) -> u64 {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut fetched = 0;
    while Instant::now() < end {
        let page = server.scrape();
        assert!(page.contains("kamailio_tcp_conn_limit_admitted "), "{page}");
        fetched += 1;
        sleep(Duration::from_millis(random.random_range(100..1000)));
    }
    fetched
}
