// SPDX-License-Identifier: GPL-2.0-or-later

//! Clients behind an HTTP proxy, for whom the script counts the connections of the proxy.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way, server_has};
use support::kamailio::{Client, Config, ReverseProxy, Server, Via, in_own_network, source};
use support::wait::until;

use super::ipv6;

attached_either_way!(
    clients_behind_haproxy_are_limited,
    clients_behind_nginx_are_limited,
    only_proxies_can_name_a_client,
    reports_show_the_client,
    monitor_mode_moves_what_it_would_reject,
    without_a_proxy_at_the_start_a_reload_says_how_to_get_one,
);

/// Counts the connection of each SIP request for the address in its user name.
const ROUTE: &str = r#"
request_route {
	switch ($rU) {
		case "trust": tcp_conn_limit_trust(); break;
		case "penalize": tcp_conn_limit_penalize(); break;
		case "show":
			sl_send_reply("200", "$tcp_conn_limit(source)");
			exit;
		default: tcp_conn_limit_count_for("$rU");
	}
	$var(rc) = $rc;
	sl_send_reply("200", "$var(rc)");
}
"#;

/// Counts the connection of each handshake for the client that the proxy names.
const HANDSHAKES: &str = r#"
event_route[xhttp:request] {
	tcp_conn_limit_count_for("$hdr(X-Forwarded-For)");
	$var(rc) = $rc;
	if ($var(rc) == -2) {
		set_reply_close();
		xhttp_reply("429", "Too Many Connections", "text/plain", "too many\n");
		exit;
	}
	if ($var(rc) != 1) {
		set_reply_close();
		xhttp_reply("403", "Forbidden", "text/plain", "no proxy\n");
		exit;
	}
	ws_handle_handshake();
}
"#;

fn the_proxy() -> IpAddr {
    source(200, 0, 1)
}

fn config(mode: Mode) -> Config {
    mode.with_module()
        .limit(2)
        .rule("127.200.0.0/16=unlimited proxy")
        .core("tcp_accept_no_cl=yes")
        .module("pv.so")
        .route(ROUTE)
}

fn with_web_sockets(config: Config) -> Config {
    config
        .module("xhttp.so")
        .module("websocket.so")
        .also_route(HANDSHAKES)
}

/// Does a WebSocket handshake. Returns the status of the answer.
#[track_caller]
fn handshake(client: &mut Client, more: &str) -> String {
    let answer = client.exchange(&format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: sip\r\n\
         Sec-WebSocket-Version: 13\r\n{more}\r\n"
    ));
    let status = answer.split(' ').nth(1);
    status.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A WebSocket through the proxy, or `None` if the server has refused the client.
#[track_caller]
fn open(proxy: &ReverseProxy, from: IpAddr) -> Option<Client> {
    let mut client = Client::connect(from, proxy.address(from));
    match &*handshake(&mut client, "") {
        "101" => Some(client),
        "429" => None,
        other => panic!("{from}: {other}"),
    }
}

#[track_caller]
fn admit(proxy: &ReverseProxy, from: IpAddr) -> Client {
    open(proxy, from).unwrap_or_else(|| panic!("{from} was refused"))
}

#[track_caller]
fn wait_for_count(server: &Server, address: &str, count: u64) {
    until(&format!("{address} has {count}"), || {
        server.counted(address) == count
    });
}

fn clients_are_limited(mode: Mode, start: fn(IpAddr, SocketAddr) -> ReverseProxy) {
    if !server_has("websocket") {
        return;
    }
    in_own_network(|| {
        let server = with_web_sockets(config(mode)).start();
        let proxy = start(the_proxy(), server.address(Via::Tcp));
        let greedy = source(201, 0, 1);
        let mut held: Vec<Client> = (0..2).map(|_| admit(&proxy, greedy)).collect();
        for _ in 0..5 {
            assert!(open(&proxy, greedy).is_none());
        }
        // Others pass, each up to the limit.
        for host in 2..=20 {
            held.extend((0..2).map(|_| admit(&proxy, source(201, 0, host))));
            assert!(open(&proxy, source(201, 0, host)).is_none());
        }
        for net in 7..=9 {
            held.extend([1, 2].map(|host| admit(&proxy, ipv6::address(net, host))));
            assert!(open(&proxy, ipv6::address(net, 3)).is_none());
        }
        wait_for_count(&server, "127.200.0.1", 0);
        assert_eq!(server.counted("127.201.0.1"), 2);
        assert_eq!(server.counted("2001:db8:0:7::"), 2);
        server.wait_for_connections(46);
        mode.assert_audit_clean(&server);
        assert_eq!(server.stat("moved"), 46);
        assert_eq!(server.stat("move_rejected"), 27);
        assert_eq!(server.source("127.201.0.1")["rejected"], 5);
        server.wait_for_log(
            1,
            "rejected connection from 127.201.0.1: 2 connections, limit 2, rule default",
        );
        // Requests in the frames of a moved connection are from the client.
        assert_eq!(held[0].ask_in_frame("show"), "127.201.0.1");
        assert_eq!(held[0].ask_in_frame("127.201.0.1"), "1");
        assert_eq!(held[45].ask_in_frame("show"), "2001:db8:0:9::/64");
        // One leaves, and there is room for one.
        drop(held.remove(0));
        wait_for_count(&server, "127.201.0.1", 1);
        held.push(admit(&proxy, greedy));
        assert!(open(&proxy, greedy).is_none());
        // Clients come and go, and their descriptors are used again.
        for turn in 0..100 {
            drop(admit(&proxy, source(202, 0, turn)));
        }
        held.clear();
        server.wait_for_connections(0);
        for address in [
            "127.201.0.1",
            "127.202.0.7",
            "2001:db8:0:7::",
            "127.200.0.1",
        ] {
            assert_eq!(server.counted(address), 0, "{address}");
        }
        mode.finish(server, &[]);
    });
}

fn clients_behind_haproxy_are_limited(mode: Mode) {
    clients_are_limited(mode, ReverseProxy::haproxy);
}

fn clients_behind_nginx_are_limited(mode: Mode) {
    clients_are_limited(mode, ReverseProxy::nginx);
}

fn only_proxies_can_name_a_client(mode: Mode) {
    if !server_has("websocket") {
        return;
    }
    let server = with_web_sockets(config(mode)).start();
    let from = source(203, 0, 1);
    let mut client = server.admit(Via::Tcp, from);
    assert_eq!(client.ask("127.204.0.1"), "-1");
    let mut second = Client::connect(from, server.address(Via::Tcp));
    let status = handshake(&mut second, "X-Forwarded-For: 127.204.0.1\r\n");
    assert_eq!(status, "403");
    assert_eq!(server.counted("127.204.0.1"), 0);
    assert_eq!(server.stat("moved"), 0);
    // Each process says so once for some time.
    let reason = "the connection is not from a proxy; write a rule";
    until("it is logged", || server.log().contains(reason));
    // A proxy that names no address.
    let mut proxied = server.admit(Via::Tcp, the_proxy());
    for text in ["unknown", "127.204.0.1.2", "127.204.0.1%2C127.204.0.2"] {
        assert_eq!(proxied.ask(text), "-1", "{text}");
    }
    assert_eq!(server.counted("127.200.0.1"), 1);
    assert_eq!(server.stat("move_invalid"), 5);
    drop((client, second, proxied));
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn connections(server: &Server, address: &str) -> Value {
    server.rpc("tcp_conn_limit.connections", json!([address]))
}

fn reports_show_the_client(mode: Mode) {
    let server = config(mode)
        .param("untrusted_limit", 1)
        .text_param("penalty", "script=60")
        .start();
    let mut first = server.admit(Via::Tcp, the_proxy());
    assert_eq!(first.ask("show"), "127.200.0.1");
    assert_eq!(first.ask("127.205.0.1"), "1");
    assert_eq!(first.ask("127.205.0.1"), "1");
    assert_eq!(first.ask("show"), "127.205.0.1");
    let mut second = server.admit(Via::Tcp, the_proxy());
    // One untrusted connection of the client, and then one that is trusted.
    assert_eq!(second.ask("127.205.0.1"), "-2");
    assert_eq!(first.ask("trust"), "1");
    assert_eq!(second.ask("127.205.0.1"), "1");
    let report = server.source("127.205.0.1");
    assert_eq!(
        (&report["trusted"], &report["untrusted"]),
        (&json!(1), &json!(1))
    );
    let list = connections(&server, "127.205.0.1");
    assert_eq!(list["total"], 2);
    assert_eq!(list["list"][0]["proxied"], "yes");
    assert_eq!(connections(&server, "127.200.0.1")["total"], 0);
    // The trust moves with the connection.
    assert_eq!(first.ask("127.205.0.2"), "1");
    assert_eq!(server.source("127.205.0.1")["trusted"], 0);
    assert_eq!(server.source("127.205.0.2")["trusted"], 1);
    // What the script says of the connection is about the client.
    assert_eq!(first.ask("penalize"), "2");
    assert_eq!(server.source("127.205.0.2")["banned"], 60);
    let mut third = server.admit(Via::Tcp, the_proxy());
    assert_eq!(third.ask("127.205.0.2"), "-2");
    drop((first, second, third));
    server.wait_for_connections(0);
    assert_eq!(server.source("127.205.0.2")["trusted"], 0);
    mode.finish(server, &[]);
}

fn monitor_mode_moves_what_it_would_reject(mode: Mode) {
    let server = config(mode).text_param("mode", "monitor").start();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = server.admit(Via::Tcp, the_proxy());
        assert_eq!(client.ask("127.206.0.1"), "1");
        held.push(client);
    }
    assert_eq!(server.counted("127.206.0.1"), 3);
    assert_eq!(server.stat("move_would_reject"), 1);
    server.wait_for_log(1, "would reject connection from 127.206.0.1");
    drop(held);
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn without_a_proxy_at_the_start_a_reload_says_how_to_get_one(mode: Mode) {
    let server = mode
        .with_module()
        .limit(2)
        .rules_file("127.207.0.0/16 = 5\n")
        .module("pv.so")
        .route(
            "request_route { tcp_conn_limit_count_for(\"$rU\"); $var(rc) = $rc; \
             sl_send_reply(\"200\", \"$var(rc)\"); }\n",
        )
        .start();
    server.write_rules("127.207.0.0/16 = 5 proxy\n");
    let fault = server.fault("tcp_conn_limit.reload", json!([]));
    assert!(
        fault
            .message
            .contains("the server started without such a rule"),
        "{fault:?}"
    );
    let mut client = server.admit(Via::Tcp, source(207, 0, 1));
    assert_eq!(client.ask("127.208.0.1"), "-1");
    server.wait_for_log(1, "no connection can be counted for another address");
    drop(client);
    server.wait_for_connections(0);
    mode.finish(server, &["the server started without such a rule"]);
}
