// SPDX-License-Identifier: GPL-2.0-or-later

//! The end of a server with thousands of connections, and the one after it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use support::kamailio::mode::{Mode, in_every_mode};
use support::kamailio::{Client, Server, Via, source};

in_every_mode!(
    server_stops_with_thousands_of_connections,
    server_restarts_with_thousands_of_connections,
);

/// Lets one of these tests run at a time: each uses up to 8,000 descriptors, and on some
/// machines a process may have at most 20,000.
fn alone() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    // A failed test does not affect the next one.
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens 4,000 connections: the limit of 40 for each of 100 sources.
fn fill(server: &Server) -> Vec<Client> {
    let sources = (1..=100).map(|host| source(0, 10, host));
    let held = sources.flat_map(|source| server.admit_all(40, Via::Tcp, source));
    let held = held.collect();
    assert_eq!(server.connections(), 4000);
    server.reject(Via::Tcp, source(0, 10, 1));
    held
}

fn server_stops_with_thousands_of_connections(mode: Mode) {
    let _alone = alone();
    // At its end the server lists the shared memory that was not freed.
    let server = mode
        .config(40)
        .core("tcp_max_connections=5000\nmemlog=1\nmem_summary=8")
        .shared_memory(160)
        .start();
    let held = fill(&server);
    let log = mode.finish(server, &[]);
    assert!(log.contains("Memory still-in-use summary (shm)"), "{log}");
    assert!(!log.contains("tcpconn_new"), "a connection was not freed");
    for client in held {
        client.read_until_closed();
    }
}

fn server_restarts_with_thousands_of_connections(mode: Mode) {
    let _alone = alone();
    let server = mode
        .config(40)
        .core("tcp_max_connections=5000")
        .shared_memory(160)
        .start();
    let held = fill(&server);
    let server = mode.restart(server);
    // Counting starts from zero while the old clients still exist.
    assert_eq!(server.connections(), 0);
    let _again = fill(&server);
    for client in held {
        client.read_until_closed();
    }
    mode.finish(server, &[]);
}
