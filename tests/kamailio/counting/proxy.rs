// SPDX-License-Identifier: GPL-2.0-or-later

//! Behind a proxy that speaks the PROXY protocol.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use support::kamailio::mode::{Mode, attached_either_way, in_every_mode, when_interposed};
use support::kamailio::{Client, Config, Server, Via, proxy, source};

in_every_mode!(
    proxy_is_not_throttled_by_its_clients,
    proxy_itself_is_limited,
    invalid_headers_leave_no_count,
);

attached_either_way!(script_sees_the_source_that_is_counted);

when_interposed!(peer_is_limited);

/// The source address of the proxy.
fn the_proxy() -> IpAddr {
    source(0, 9, 9)
}

/// One of the proxy's clients.
fn client(host: u8, port: u16) -> SocketAddr {
    (Ipv4Addr::new(198, 51, 100, host), port).into()
}

/// A connection from the proxy, which begins with `header`.
#[track_caller]
fn open(server: &Server, header: &[u8]) -> Option<Client> {
    let mut connection = Client::connect(the_proxy(), server.address(Via::Tcp));
    connection
        .send(header)
        .expect("a new connection can be written to");
    connection.is_admitted().then_some(connection)
}

#[track_caller]
fn admit(server: &Server, header: &[u8]) -> Client {
    open(server, header).expect("this client was not admitted")
}

fn config(config: Config) -> Config {
    config.core("tcp_accept_haproxy=yes")
}

/// The same with what an operator must configure for the proxy: a rule, if our module is
/// attached through `interpose`.
fn ready_for_the_proxy(mode: Mode) -> Config {
    let config = config(mode.config(2));
    if mode == Mode::Interposed {
        return config.rule(&format!("{}=unlimited", the_proxy()));
    }
    config
}

fn proxy_is_not_throttled_by_its_clients(mode: Mode) {
    let server = ready_for_the_proxy(mode).start();
    let _held: Vec<Client> = (1..=12)
        .map(|host| admit(&server, &proxy::v1(client(host, 5060))))
        .collect();
    assert_eq!(server.connections(), 12);
    mode.finish(server, &[]);
}

fn proxy_itself_is_limited(mode: Mode) {
    let server = config(mode.config(2)).start();
    let _held = [
        admit(&server, &proxy::v2_local()),
        admit(&server, &proxy::v1_unknown()),
    ];
    assert!(open(&server, &proxy::v2_local()).is_none());
    assert!(open(&server, &proxy::v1_unknown()).is_none());
    assert!(open(&server, b"").is_none());
    mode.finish(server, &[]);
}

fn invalid_headers_leave_no_count(mode: Mode) {
    let server = ready_for_the_proxy(mode).start();
    // No length, no family, no address, version 2 with no known command.
    let refused: [&[u8]; 4] = [
        b"PROXY\r\n\r\n",
        b"PROXY TCP5 198.51.100.1 192.0.2.1 5060 5060\r\n",
        b"PROXY TCP4 no-address 192.0.2.1 5060 5060\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x2f\x11\0\0",
    ];
    for header in refused {
        assert!(open(&server, header).is_none(), "{header:?}");
    }
    server.wait_for_connections(0);
    // Nothing is counted for the proxy or for the client that two of the headers named.
    let _held = [1, 2].map(|port| admit(&server, &proxy::v1(client(1, port))));
    let _own = [(); 2].map(|()| admit(&server, &proxy::v2_local()));
    mode.finish(
        server,
        &["invalid PROXY protocol header", "tcpconn_new failed"],
    );
}

#[test]
fn proxied_clients_are_limited_separately() {
    let server = config(Config::with_module().limit(2)).start();
    let mut held = Vec::new();
    for host in 1..=3 {
        // Whichever header names it, it is the same client.
        held.push(admit(&server, &proxy::v1(client(host, 1))));
        held.push(admit(&server, &proxy::v2(client(host, 2))));
        assert!(open(&server, &proxy::v1(client(host, 3))).is_none());
        assert!(open(&server, &proxy::v2(client(host, 4))).is_none());
    }
    assert_eq!(server.counted("198.51.100.1"), 2);
    assert_eq!(server.counted(&the_proxy().to_string()), 0);

    // The first client closes one of its two.
    drop(held.remove(0));
    server.wait_for_connections(5);
    held.push(admit(&server, &proxy::v2(client(1, 5))));
    assert!(open(&server, &proxy::v1(client(1, 6))).is_none());
    Mode::Module.finish(server, &[]);
}

#[test]
fn ipv6_clients_are_limited() {
    let server = config(Config::with_module().limit(2)).start();
    let client =
        |net: u16, port| -> SocketAddr { ([0x2001, 0xdb8, 0, net, 0, 0, 0, port], port).into() };
    let _held = [
        admit(&server, &proxy::v1(client(1, 1))),
        admit(&server, &proxy::v2(client(1, 2))),
        admit(&server, &proxy::v2(client(2, 1))),
    ];
    assert!(open(&server, &proxy::v1(client(1, 3))).is_none());
    assert!(open(&server, &proxy::v2(client(1, 4))).is_none());
    assert_eq!(server.counted("2001:db8:0:1::"), 2);
    Mode::Module.finish(server, &[]);
}

#[test]
fn client_with_and_without_proxy_is_one_source() {
    let server = config(Config::with_module().limit(2)).start();
    let direct = source(0, 9, 1);
    let header = |port| proxy::v1((direct, port).into());
    let _held = (server.admit(Via::Tcp, direct), admit(&server, &header(1)));
    assert!(open(&server, &header(2)).is_none());
    server.reject(Via::Tcp, direct);
    assert_eq!(server.counted(&direct.to_string()), 2);
    Mode::Module.finish(server, &[]);
}

/// Interposed, the counted source is the proxy, although the core takes the message for one
/// from the client.
fn script_sees_the_source_that_is_counted(mode: Mode) {
    let script = r#"
request_route {
	$var(free) = "full";
	if (tcp_conn_limit_check("$tcp_conn_limit(source)")) {
		$var(free) = "free";
	}
	$var(answer) = $si + " " + $tcp_conn_limit(source) + " " + $tcp_conn_limit(connections)
		+ " " + $var(free);
	sl_send_reply("200", "$var(answer)");
}
"#;
    let server = config(mode.config(2)).module("pv.so").route(script).start();
    let mut first = admit(&server, &proxy::v1(client(1, 5060)));
    let source = match mode {
        Mode::Interposed => the_proxy().to_string(),
        _ => "198.51.100.1".to_owned(),
    };
    assert_eq!(first.ask("x"), format!("198.51.100.1 {source} 1 free"));
    let mut second = admit(&server, &proxy::v2(client(1, 5061)));
    assert_eq!(second.ask("x"), format!("198.51.100.1 {source} 2 full"));
    // Without a header both addresses are those of the peer.
    let mut direct = server.admit(Via::Tcp, self::source(0, 9, 1));
    assert_eq!(direct.ask("x"), "127.0.9.1 127.0.9.1 1 free");
    mode.finish(server, &[]);
}

fn peer_is_limited(mode: Mode) {
    let server = config(mode.config(2)).start();
    server.wait_for_log(1, "WARNING: tcp_conn_limit");
    let _held = [1, 2].map(|host| admit(&server, &proxy::v1(client(host, 5060))));
    assert!(open(&server, &proxy::v1(client(3, 5060))).is_none());
    assert_eq!(server.counted(&the_proxy().to_string()), 2);
    assert_eq!(server.counted("198.51.100.1"), 0);
    let log = mode.finish(server, &[]);
    let reported = log.lines_with("tcp_accept_haproxy")[0];
    for text in ["WARNING: tcp_conn_limit", "rule", "=unlimited"] {
        assert!(reported.contains(text), "{reported}");
    }
}
