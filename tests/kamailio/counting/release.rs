// SPDX-License-Identifier: GPL-2.0-or-later

//! However a connection ends, its source may open another one.

use support::kamailio::mode::{Mode, in_every_mode};
use support::kamailio::{Client, Config, Server, Via, source};

in_every_mode!(
    client_close_is_released,
    client_reset_is_released,
    server_close_is_released,
    idle_client_is_released,
    silent_client_is_released,
    client_sending_garbage_is_released,
    failed_tls_handshake_is_released,
    tls_close_is_released,
);

/// The core's log line about a connection that ends during an operation.
const READ_FAILED: &str = "core/tcp_read.c";

/// A server with limit 2 and a source with two connections.
fn full(mode: Mode, config: impl FnOnce(Config) -> Config) -> (Server, Client, Client) {
    let server = config(mode.config(2)).start();
    let first = server.admit(Via::Tcp, source(0, 2, 1));
    let second = server.admit(Via::Tcp, source(0, 2, 1));
    server.reject(Via::Tcp, source(0, 2, 1));
    (server, first, second)
}

/// Checks that exactly one more connection of the source is admitted.
#[track_caller]
fn admit_exactly_one(server: &Server) -> Client {
    server.wait_for_connections(1);
    let client = server.admit(Via::Tcp, source(0, 2, 1));
    server.reject(Via::Tcp, source(0, 2, 1));
    client
}

fn client_close_is_released(mode: Mode) {
    let (server, mut first, second) = full(mode, |config| config);
    drop(second);
    let second = admit_exactly_one(&server);
    // Repeated, so that a connection that stays counted would be noticed.
    let mut last = second;
    for _ in 0..20 {
        drop(last);
        last = admit_exactly_one(&server);
    }
    assert!(first.is_admitted());
    mode.finish(server, &[]);
}

fn client_reset_is_released(mode: Mode) {
    let (server, _first, second) = full(mode, |config| config);
    second.reset();
    let _second = admit_exactly_one(&server);
    mode.finish(server, &[READ_FAILED]);
}

fn server_close_is_released(mode: Mode) {
    let (server, _first, mut second) = full(mode, |config| config);
    second
        .send(
            b"OPTIONS sip:close@localhost SIP/2.0\r\n\
              Via: SIP/2.0/TCP client.invalid;branch=z9hG4bK1\r\n\
              From: <sip:a@localhost>;tag=1\r\n\
              To: <sip:b@localhost>\r\n\
              Call-ID: 1\r\n\
              CSeq: 1 OPTIONS\r\n\
              Content-Length: 0\r\n\r\n",
        )
        .expect("the request can be sent");
    let answer = String::from_utf8(second.read_until_closed()).expect("SIP is text");
    assert!(answer.starts_with("SIP/2.0 200 OK"), "{answer}");
    let _second = admit_exactly_one(&server);
    mode.finish(server, &[]);
}

fn idle_client_is_released(mode: Mode) {
    let server = mode.config(2).core("tcp_connection_lifetime=6").start();
    let _other = Client::connect(source(0, 2, 2), server.address(Via::Tcp));
    let idle = [(); 2].map(|()| Client::connect(source(0, 2, 1), server.address(Via::Tcp)));
    server.wait_for_connections(3);
    server.reject(Via::Tcp, source(0, 2, 1));
    for client in idle {
        assert_eq!(client.read_until_closed(), b"");
    }
    server.wait_for_connections(0);
    let _held = server.admit_all(2, Via::Tcp, source(0, 2, 1));
    server.reject(Via::Tcp, source(0, 2, 1));
    mode.finish(server, &[]);
}

fn silent_client_is_released(mode: Mode) {
    if !mode.knows("tcp_msg_data_timeout") {
        return;
    }
    let server = mode
        .config(2)
        .core("tcp_check_timer=1\ntcp_msg_data_timeout=6")
        .start();
    let silent = [(); 2].map(|()| Client::connect(source(0, 2, 1), server.address(Via::Tcp)));
    server.wait_for_connections(2);
    server.reject(Via::Tcp, source(0, 2, 1));
    for client in silent {
        assert_eq!(client.read_until_closed(), b"");
    }
    server.wait_for_connections(0);
    let _held = server.admit_all(2, Via::Tcp, source(0, 2, 1));
    server.reject(Via::Tcp, source(0, 2, 1));
    mode.finish(server, &["message processing timeout"]);
}

fn client_sending_garbage_is_released(mode: Mode) {
    let (server, _first, mut second) = full(mode, |config| config);
    second
        .send(b"OPTIONS sip:a@localhost SIP/2.0\r\nContent-Length: none\r\n\r\n")
        .expect("the garbage can be sent");
    second.read_until_closed();
    let _second = admit_exactly_one(&server);
    mode.finish(server, &[READ_FAILED]);
}

fn failed_tls_handshake_is_released(mode: Mode) {
    let (server, _first, second) = full(mode, Config::tls);
    drop(second);
    server.wait_for_connections(1);
    let mut client = Client::connect(source(0, 2, 1), server.address(Via::Tls));
    server.wait_for_connections(2);
    server.reject(Via::Tls, source(0, 2, 1));
    client
        .send(b"this is not a TLS handshake\r\n\r\n")
        .expect("the nonsense can be sent");
    client.read_until_closed();
    let _second = admit_exactly_one(&server);
    mode.finish(server, &[READ_FAILED, "tls_server.c", "tls_util.h"]);
}

fn tls_close_is_released(mode: Mode) {
    let server = mode.config(2).tls().start();
    let mut held = server.admit_all(2, Via::Tls, source(0, 2, 1));
    server.reject(Via::Tls, source(0, 2, 1));
    drop(held.pop());
    let again = admit_exactly_one(&server);
    again.reset();
    let _again = admit_exactly_one(&server);
    mode.finish(server, &[READ_FAILED]);
}
