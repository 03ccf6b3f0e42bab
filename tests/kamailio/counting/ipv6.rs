// SPDX-License-Identifier: GPL-2.0-or-later

//! IPv6 sources, and IPv4 sources on an IPv6 socket.

use std::net::{IpAddr, Ipv6Addr};

use support::kamailio::mode::{Mode, attached_either_way, in_every_mode};
use support::kamailio::{Client, Server, Via, in_own_network, source};

in_every_mode!(one_address_is_limited);
attached_either_way!(
    each_network_has_its_own_limit,
    ipv6_prefix_is_configurable,
    mapped_ipv4_counts_as_ipv4,
    translated_ipv4_counts_as_ipv4,
);

/// A host in one of many networks.
pub(crate) fn address(net: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, host).into()
}

/// A connection to the socket that listens on `[::]`, or `None` if the server
/// rejects it.
#[track_caller]
pub(crate) fn open(server: &Server, from: IpAddr) -> Option<Client> {
    let mut client = Client::connect(from, server.any_address(from));
    client.is_admitted().then_some(client)
}

#[track_caller]
fn admit(server: &Server, from: IpAddr) -> Client {
    open(server, from).unwrap_or_else(|| panic!("{from} was not admitted"))
}

fn one_address_is_limited(mode: Mode) {
    let localhost = IpAddr::from(Ipv6Addr::LOCALHOST);
    let server = mode.config(3).any_address().start();
    let _held = [(); 3].map(|()| admit(&server, localhost));
    assert!(open(&server, localhost).is_none());
    // Another source, of the other family.
    admit(&server, source(0, 1, 1));
    mode.finish(server, &[]);
}

fn each_network_has_its_own_limit(mode: Mode) {
    in_own_network(|| {
        let server = mode.with_module().limit(2).any_address().start();
        let mut held = Vec::new();
        for net in 1..=200 {
            held.push(admit(&server, address(net, 1)));
            held.push(admit(&server, address(net, 2)));
            assert!(open(&server, address(net, 3)).is_none());
            assert!(open(&server, address(net, 1)).is_none());
        }
        assert_eq!(server.counted("2001:db8:0:7::"), 2);
        assert_eq!(server.counted("2001:db8:0:7:1:2:3:4"), 2);
        let top = server.rpc("tcp_conn_limit.top", serde_json::json!([1]));
        let source = top[0]["source"].as_str().expect("a source");
        assert!(
            source.starts_with("2001:db8:0:") && source.ends_with("::/64"),
            "{source}"
        );
        drop(held);
        server.wait_for_connections(0);
        admit(&server, address(7, 3));
        mode.finish(server, &[]);
    });
}

fn ipv6_prefix_is_configurable(mode: Mode) {
    in_own_network(|| {
        let config = mode.with_module().limit(1).any_address();

        let server = config.clone().param("ipv6_prefix", 128).start();
        let _held = [1, 2, 3].map(|host| admit(&server, address(1, host)));
        assert!(open(&server, address(1, 2)).is_none());
        assert_eq!(server.counted("2001:db8:0:1::2"), 1);
        mode.finish(server, &[]);

        let server = config.clone().param("ipv6_prefix", 32).start();
        let _held = admit(&server, address(1, 1));
        assert!(open(&server, address(0xffff, 2)).is_none());
        mode.finish(server, &[]);

        // All of global unicast, 2000::/3, without the old ::/8.
        let server = config.param("ipv6_prefix", 3).start();
        let _held = (
            admit(&server, address(1, 1)),
            admit(&server, Ipv6Addr::LOCALHOST.into()),
        );
        assert!(open(&server, address(2, 1)).is_none());
        mode.finish(server, &[]);
    });
}

fn mapped_ipv4_counts_as_ipv4(mode: Mode) {
    let from = source(0, 6, 1);
    let config = mode.with_module().limit(2).any_address();
    let server = config.start();
    let _held = (admit(&server, from), server.admit(Via::Tcp, from));
    assert!(open(&server, from).is_none());
    server.reject(Via::Tcp, from);
    // Mapped IPv4 peers do not share the limit of one IPv6 network.
    admit(&server, source(0, 6, 2));
    assert_eq!(server.counted("127.0.6.1"), 2);
    assert_eq!(server.counted("::ffff:127.0.6.1"), 2);
    mode.finish(server, &[]);
}

/// Clients behind a translator (NAT64), whose prefix is configured. The well-known prefix is
/// the same by default.
fn translated_ipv4_counts_as_ipv4(mode: Mode) {
    in_own_network(|| {
        let config = mode.with_module().limit(2).any_address();
        let client = |host: u16| -> IpAddr {
            Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0xc633, 0x6400 + host).into()
        };
        let server = config
            .clone()
            .text_param("nat64_prefix", "2001:db8:64::/96")
            .rule("198.51.100.9=1")
            .start();
        let _held: Vec<_> = (1..=8)
            .map(|host| [(); 2].map(|()| admit(&server, client(host))))
            .collect();
        assert!(open(&server, client(1)).is_none());
        let _ninth = admit(&server, client(9));
        assert!(open(&server, client(9)).is_none());
        assert_eq!(server.counted("198.51.100.1"), 2);
        assert_eq!(server.counted("2001:db8:64::198.51.100.1"), 2);
        let known = server.source("2001:db8:64::198.51.100.9");
        assert_eq!(known["source"], "198.51.100.9", "{known}");
        assert_eq!(known["rule"], "198.51.100.9", "{known}");
        // By default, without a connection.
        let known = server.source("64:ff9b::198.51.100.9");
        assert_eq!(known["source"], "198.51.100.9", "{known}");
        server.wait_for_log(1, "rejected connection from 198.51.100.1: 2 connections");
        mode.finish(server, &[]);

        // Without the parameter they are one network.
        let server = config.start();
        let _held = [1, 2].map(|host| admit(&server, client(host)));
        assert!(open(&server, client(3)).is_none());
        assert_eq!(server.counted("2001:db8:64::"), 2);
        mode.finish(server, &[]);
    });
}
