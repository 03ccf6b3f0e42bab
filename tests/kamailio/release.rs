// SPDX-License-Identifier: GPL-2.0-or-later

//! However a connection ends, its place is free again.

use crate::harness::{Client, Config, Server, Via, source};
use crate::mode::{Mode, in_every_mode};

in_every_mode!(
    client_closes,
    client_resets,
    server_closes,
    client_is_idle,
    client_never_says_a_thing,
    client_sends_garbage,
    tls_handshake_fails,
    tls_client_closes,
);

/// What the core says of a connection that ends in the middle of something.
const READ_FAILED: &str = "core/tcp_read.c";

/// A server with two places for each source, both taken by the same one.
fn full(mode: Mode, config: impl FnOnce(Config) -> Config) -> (Server, Client, Client) {
    let server = config(mode.config(2)).start();
    let first = server.admit(Via::Tcp, source(0, 2, 1));
    let second = server.admit(Via::Tcp, source(0, 2, 1));
    server.reject(Via::Tcp, source(0, 2, 1));
    (server, first, second)
}

/// One of the two places is free, and no more than one.
#[track_caller]
fn one_place_is_free(server: &Server) -> Client {
    server.wait_for_connections(1);
    let client = server.admit(Via::Tcp, source(0, 2, 1));
    server.reject(Via::Tcp, source(0, 2, 1));
    client
}

fn client_closes(mode: Mode) {
    let (server, mut first, second) = full(mode, |config| config);
    drop(second);
    let second = one_place_is_free(&server);
    // Again and again: no place is lost for good.
    let mut last = second;
    for _ in 0..20 {
        drop(last);
        last = one_place_is_free(&server);
    }
    assert!(first.is_admitted());
    mode.finish(server, &[]);
}

fn client_resets(mode: Mode) {
    let (server, _first, second) = full(mode, |config| config);
    second.reset();
    let _second = one_place_is_free(&server);
    mode.finish(server, &[READ_FAILED]);
}

fn server_closes(mode: Mode) {
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
    let _second = one_place_is_free(&server);
    mode.finish(server, &[]);
}

fn client_is_idle(mode: Mode) {
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

fn client_never_says_a_thing(mode: Mode) {
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

fn client_sends_garbage(mode: Mode) {
    let (server, _first, mut second) = full(mode, |config| config);
    second
        .send(b"OPTIONS sip:a@localhost SIP/2.0\r\nContent-Length: none\r\n\r\n")
        .expect("the garbage can be sent");
    second.read_until_closed();
    let _second = one_place_is_free(&server);
    mode.finish(server, &[READ_FAILED]);
}

fn tls_handshake_fails(mode: Mode) {
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
    let _second = one_place_is_free(&server);
    mode.finish(server, &[READ_FAILED, "tls_server.c", "tls_util.h"]);
}

fn tls_client_closes(mode: Mode) {
    let server = mode.config(2).tls().start();
    let mut held = server.admit_all(2, Via::Tls, source(0, 2, 1));
    server.reject(Via::Tls, source(0, 2, 1));
    drop(held.pop());
    let again = one_place_is_free(&server);
    again.reset();
    let _again = one_place_is_free(&server);
    mode.finish(server, &[READ_FAILED]);
}
