// SPDX-License-Identifier: GPL-2.0-or-later

//! The limit of a source, which is the same with our module as with the core's own
//! limit.

use support::kamailio::mode::{Mode, in_every_mode};
use support::kamailio::{Client, Server, Via, source};

in_every_mode!(
    exactly_the_limit_is_admitted,
    other_sources_are_unaffected,
    tcp_and_tls_count_together,
    full_server_admits_no_source,
    tcp_accept_unique_still_works,
);

fn exactly_the_limit_is_admitted(mode: Mode) {
    let server = mode.config(5).start();
    let held = server.admit_all(5, Via::Tcp, source(0, 1, 1));
    for _ in 0..3 {
        server.reject(Via::Tcp, source(0, 1, 1));
    }
    assert_eq!(server.connections(), 5);
    // Rejections do not affect connections admitted before.
    for mut client in held {
        assert!(client.is_admitted());
    }
    mode.finish(server, &[]);
}

fn other_sources_are_unaffected(mode: Mode) {
    let server = mode.config(2).start();
    let _greedy = server.admit_all(2, Via::Tcp, source(0, 1, 1));
    let mut crowd = Vec::new();
    for host in 2..=101 {
        crowd.extend(server.admit_all(2, Via::Tcp, source(0, 1, host)));
        server.reject(Via::Tcp, source(0, 1, host));
        server.reject(Via::Tcp, source(0, 1, 1));
    }
    assert_eq!(server.connections(), 202);
    mode.finish(server, &[]);
}

fn tcp_and_tls_count_together(mode: Mode) {
    let server = mode.config(4).tls().start();
    let mut held = server.admit_all(2, Via::Tls, source(0, 1, 1));
    held.extend(server.admit_all(2, Via::Tcp, source(0, 1, 1)));
    server.reject(Via::Tls, source(0, 1, 1));
    server.reject(Via::Tcp, source(0, 1, 1));
    server.admit(Via::Tls, source(0, 1, 2));

    // A closed TLS connection makes room for a TCP connection, and the other way round.
    drop(held.remove(0));
    server.wait_for_connections(3);
    held.push(server.admit(Via::Tcp, source(0, 1, 1)));
    server.reject(Via::Tls, source(0, 1, 1));
    drop(held.remove(2));
    server.wait_for_connections(3);
    held.push(server.admit(Via::Tls, source(0, 1, 1)));
    server.reject(Via::Tcp, source(0, 1, 1));
    mode.finish(server, &[]);
}

fn full_server_admits_no_source(mode: Mode) {
    let server = mode.config(3).core("tcp_max_connections=4").start();
    let mut held = server.admit_all(3, Via::Tcp, source(0, 1, 1));
    held.push(server.admit(Via::Tcp, source(0, 1, 2)));
    // No connection is admitted, whether or not its source is at its limit.
    server.reject(Via::Tcp, source(0, 1, 2));
    server.reject(Via::Tcp, source(0, 1, 1));
    server.reject(Via::Tcp, source(0, 1, 3));
    assert_eq!(server.connections(), 4);

    // The rejected connections were not counted.
    drop(held.pop());
    server.wait_for_connections(3);
    server.reject(Via::Tcp, source(0, 1, 1));
    held.push(server.admit(Via::Tcp, source(0, 1, 3)));
    drop(held);
    server.wait_for_connections(0);
    let _held = server.admit_all(3, Via::Tcp, source(0, 1, 3));
    server.reject(Via::Tcp, source(0, 1, 3));
    mode.finish(server, &["maximum number of connections exceeded"]);
}

/// Two connections that the core takes for the same one. Clients behind a
/// PROXY name the addresses and ports that the core compares. It compares the
/// source of the one with the destination of the other, so here all are equal.
fn same_client_twice(server: &Server, port: u16) -> (Client, Client) {
    let header = format!("PROXY TCP4 10.0.0.1 10.0.0.1 {port} {port}\r\n");
    let connect = || {
        let mut client = Client::connect(source(0, 9, 9), server.address(Via::Tcp));
        client
            .send(header.as_bytes())
            .expect("a new connection can be written to");
        client
    };
    (connect(), connect())
}

fn tcp_accept_unique_still_works(mode: Mode) {
    let server = mode
        .config(3)
        .core("tcp_accept_unique=yes\ntcp_accept_haproxy=yes")
        .start();
    // If each duplicate stayed counted, not all three would be admitted.
    let _held = [1000, 1001, 1002].map(|port| {
        let (mut first, mut second) = same_client_twice(&server, port);
        assert!(first.is_admitted());
        assert!(!second.is_admitted());
        first
    });
    mode.finish(server, &["duplicated connection"]);
}
