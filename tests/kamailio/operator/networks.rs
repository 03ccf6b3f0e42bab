// SPDX-License-Identifier: GPL-2.0-or-later

//! Networks: a connection counts in its source and in the network of its source.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, in_own_network, number, source, until};

attached_either_way!(
    sources_of_a_network_share_its_limit,
    tls_connections_count_in_the_same_network,
    ipv6_networks_have_their_own_length,
    rejection_by_one_scope_leaves_nothing_in_the_other,
    rate_of_a_network_is_shared,
    rules_are_for_networks_or_keep_addresses_out,
    rule_for_networks_is_enough_to_count_them,
    commands_change_limit_rate_and_rules,
    cfg_variables_change_limit_and_rate,
    cfg_variables_need_counted_networks,
    monitor_mode_rejects_nothing_for_the_network,
    reports_show_networks,
    audit_compares_both_scopes,
    log_and_events_say_the_scope,
    networks_are_off_by_default,
    wrong_settings_of_networks_have_clear_errors,
);

const GET: &str = "tcp_conn_limit.get";
const TOP: &str = "tcp_conn_limit.top";
const SET_LIMIT: &str = "tcp_conn_limit.set_network_limit";
const SET_RATE: &str = "tcp_conn_limit.set_network_rate";

/// No limit for sources, this one for networks.
fn config(mode: Mode, limit: i64) -> Config {
    mode.with_module().limit(0).param("network_limit", limit)
}

/// What `get` says of the network of an address.
#[track_caller]
fn network(server: &Server, address: &str) -> Value {
    server.rpc(GET, json!([address]))["network"].clone()
}

#[track_caller]
fn counted(server: &Server, address: &str) -> u64 {
    number(&network(server, address), "connections")
}

fn sources_of_a_network_share_its_limit(mode: Mode) {
    let server = config(mode, 5).start();
    let mut held = Vec::new();
    for host in 1..=5 {
        held.push(server.admit(Via::Tcp, source(110, 0, host)));
    }
    // A new source and one with connections.
    server.reject(Via::Tcp, source(110, 0, 6));
    server.reject(Via::Tcp, source(110, 0, 1));
    // The next network is not affected.
    held.extend(server.admit_all(5, Via::Tcp, source(110, 1, 1)));
    server.reject(Via::Tcp, source(110, 1, 2));
    assert_eq!(counted(&server, "127.110.0.1"), 5);
    assert_eq!(counted(&server, "127.110.0.200"), 5);
    assert_eq!(network(&server, "127.110.1.9")["network"], "127.110.1.0/24");
    assert_eq!(server.stat("network_rejected"), 3);
    assert_eq!(server.stat("rejected"), 3);
    held.remove(0);
    until("the network has room", || {
        counted(&server, "127.110.0.1") == 4
    });
    held.push(server.admit(Via::Tcp, source(110, 0, 6)));
    server.reject(Via::Tcp, source(110, 0, 7));
    server.assert_audit_clean();
    drop(held);
    server.wait_for_connections(0);
    until("the networks are empty", || {
        counted(&server, "127.110.0.1") == 0
    });
    mode.finish(server, &[]);
}

fn tls_connections_count_in_the_same_network(mode: Mode) {
    let server = config(mode, 4).tls().start();
    let mut held = server.admit_all(2, Via::Tls, source(111, 0, 1));
    held.extend(server.admit_all(2, Via::Tcp, source(111, 0, 2)));
    server.reject(Via::Tls, source(111, 0, 3));
    server.reject(Via::Tcp, source(111, 0, 3));
    server.assert_audit_clean();
    drop(held);
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

/// An address in one of the /64 networks of a site.
fn address(site: u16, net: u16, host: u16) -> IpAddr {
    Ipv6Addr::new(0x2001, 0xdb8, site, net, 0, 0, 0, host).into()
}

fn open(server: &Server, from: IpAddr) -> Option<Client> {
    let mut client = Client::connect(from, server.any_address(from));
    client.is_admitted().then_some(client)
}

fn ipv6_networks_have_their_own_length(mode: Mode) {
    in_own_network(|| {
        let config = config(mode, 6).limit(2).any_address();
        let server = config.clone().start();
        let mut held = Vec::new();
        for net in 1..=3 {
            for _ in 0..2 {
                held.push(open(&server, address(0, net, 1)).expect("it is within both limits"));
            }
            assert!(
                open(&server, address(0, net, 2)).is_none(),
                "the /64 is full"
            );
        }
        assert!(open(&server, address(0, 4, 1)).is_none(), "the /48 is full");
        let shown = network(&server, "2001:db8:0:9::1");
        assert_eq!(shown["network"], "2001:db8::/48", "{shown}");
        assert_eq!(number(&shown, "connections"), 6);
        let rejected = server.rpc(GET, json!(["2001:db8:0:1::1"]));
        assert_eq!(number(&rejected, "rejected"), 1, "{rejected}");
        assert_eq!(number(&shown, "rejected"), 1, "{shown}");
        // Clients over IPv4 are in an IPv4 network.
        held.push(open(&server, source(112, 0, 1)).expect("another network"));
        assert_eq!(counted(&server, "127.112.0.9"), 1);
        server.assert_audit_clean();
        drop(held);
        server.wait_for_connections(0);
        mode.finish(server, &[]);

        let server = config
            .param("ipv6_network", 56)
            .param("ipv4_network", 16)
            .start();
        let _held = [1, 2, 3, 0x100].map(|net| {
            [(); 2].map(|()| open(&server, address(0, net, 1)).expect("within both limits"))
        });
        assert!(open(&server, address(0, 4, 1)).is_none(), "the /56 is full");
        assert_eq!(counted(&server, "2001:db8:0:1ff::"), 2);
        assert_eq!(network(&server, "127.112.5.5")["network"], "127.112.0.0/16");
        mode.finish(server, &[]);
    });
}

fn rejection_by_one_scope_leaves_nothing_in_the_other(mode: Mode) {
    let server = config(mode, 4).limit(3).start();
    let (a, b) = (source(113, 0, 1), source(113, 0, 2));
    let held = server.admit_all(3, Via::Tcp, a);
    for _ in 0..5 {
        server.reject(Via::Tcp, a);
    }
    assert_eq!(counted(&server, "127.113.0.1"), 3, "rejected by the source");
    let last = server.admit(Via::Tcp, b);
    for _ in 0..5 {
        server.reject(Via::Tcp, b);
    }
    assert_eq!(server.counted("127.113.0.2"), 1, "rejected by the network");
    let (first, second) = (server.source("127.113.0.1"), server.source("127.113.0.2"));
    assert_eq!(
        (number(&first, "rejected"), number(&second, "rejected")),
        (5, 0)
    );
    assert_eq!(number(&second["network"], "rejected"), 5);
    assert_eq!(server.stat("network_rejected"), 5);
    server.assert_audit_clean();
    drop((held, last));
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn rate_of_a_network_is_shared(mode: Mode) {
    let server = mode
        .with_module()
        .limit(0)
        .text_param("network_rate", "1/h")
        .param("network_burst", 4)
        .start();
    for host in 1..=4 {
        drop(server.admit(Via::Tcp, source(114, 0, host)));
    }
    server.reject(Via::Tcp, source(114, 0, 5));
    server.reject(Via::Tcp, source(114, 0, 1));
    drop(server.admit(Via::Tcp, source(114, 1, 1)));
    let shown = network(&server, "127.114.0.1");
    assert_eq!(number(&shown, "owed"), 4, "{shown}");
    assert_eq!(shown["rejected_for"], "rate", "{shown}");
    assert_eq!(server.stat("network_rejected"), 2);
    assert_eq!(
        server.stat("rate_rejected"),
        0,
        "no source was over its rate"
    );
    // A proposal from what the networks used. Sources have no rate.
    let suggested = |arguments: Value| {
        let suggestions = server.rpc("tcp_conn_limit.suggest", arguments);
        let all = suggestions.as_array().expect("a list");
        all.last().expect("the default").clone()
    };
    until("the watcher has seen both networks", || {
        suggested(json!(["networks"]))["burst_sources"] == 2
    });
    let of_networks = suggested(json!(["networks"]));
    assert_eq!(
        of_networks["burst_used"], "1: 1, 2: 0, 3-4: 1",
        "{of_networks}"
    );
    assert_eq!(of_networks["rate"], "1/h", "{of_networks}");
    assert_eq!(of_networks["proposed_rate"], "1/h", "{of_networks}");
    assert_eq!(suggested(json!([]))["rate"], "none");
    mode.finish(server, &[]);
}

fn rules_are_for_networks_or_keep_addresses_out(mode: Mode) {
    let server = config(mode, 2)
        .rule("network 127.115.0.0/16 = 4")
        .rule("network 127.115.1.0/24 = unlimited")
        .rule("127.115.0.9 = 50 no_network")
        .rule("127.115.0.8 = 50 trusted")
        .start();
    let mut held = server.admit_all(4, Via::Tcp, source(115, 0, 1));
    server.reject(Via::Tcp, source(115, 0, 2));
    held.extend(server.admit_all(10, Via::Tcp, source(115, 0, 9)));
    held.extend(server.admit_all(10, Via::Tcp, source(115, 0, 8)));
    held.extend(server.admit_all(10, Via::Tcp, source(115, 1, 1)));
    held.extend(server.admit_all(2, Via::Tcp, source(116, 0, 1)));
    server.reject(Via::Tcp, source(116, 0, 2));
    let out = server.source("127.115.0.9");
    assert_eq!(out["counts_in_network"], "no", "{out}");
    let trusted = server.source("127.115.0.8");
    assert_eq!(trusted["counts_in_network"], "no", "{trusted}");
    assert_eq!(out["terms"], "50 no_network", "{out}");
    assert_eq!(number(&out["network"], "connections"), 4, "{out}");
    assert_eq!(out["network"]["rule"], "network 127.115.0.0/16", "{out}");
    let rule = server.rule("network 127.115.0.0/16");
    let numbers = ["limit", "sources", "connections", "rejected"].map(|n| number(&rule, n));
    assert_eq!(numbers, [4, 1, 4, 1], "{rule}");
    assert_eq!(number(&server.rule("default"), "sources"), 3);
    server.fault(TOP, json!(["networks", "untrusted"]));
    server.assert_audit_clean();
    drop(held);
    server.wait_for_connections(0);
    server.assert_audit_clean();
    mode.finish(server, &[]);
}

fn rule_for_networks_is_enough_to_count_them(mode: Mode) {
    let rules = "# Providers\nnetwork 127.117.0.0/16 = 3\n";
    let server = mode.with_module().limit(0).rules_file(rules).start();
    let held = server.admit_all(3, Via::Tcp, source(117, 0, 1));
    server.reject(Via::Tcp, source(117, 0, 2));
    let more = server.admit_all(9, Via::Tcp, source(118, 0, 1));
    assert_eq!(network(&server, "127.118.0.1")["limit"], "none");
    server.write_rules("network 127.117.0.0/16 = 4");
    server.rpc("tcp_conn_limit.reload", json!([]));
    let last = server.admit(Via::Tcp, source(117, 0, 2));
    server.reject(Via::Tcp, source(117, 0, 2));
    drop((held, more, last));
    mode.finish(server, &[]);
}

fn commands_change_limit_rate_and_rules(mode: Mode) {
    let server = config(mode, 0).start();
    let held = server.admit_all(3, Via::Tcp, source(119, 0, 1));
    assert_eq!(
        server.rpc(SET_LIMIT, json!([3])),
        json!({"network_limit": 3, "was": "none"})
    );
    server.reject(Via::Tcp, source(119, 0, 2));
    let set = server.rpc(
        "tcp_conn_limit.set_rule",
        json!(["network 127.119.0.0/24", "4", 60]),
    );
    assert_eq!(set["prefix"], "network 127.119.0.0/24", "{set}");
    let last = server.admit(Via::Tcp, source(119, 0, 2));
    server.reject(Via::Tcp, source(119, 0, 2));
    server.rpc("tcp_conn_limit.del_rule", json!(["network 127.119.0.0/24"]));
    server.rpc(SET_LIMIT, json!(["none"]));
    assert_eq!(
        server.rpc(SET_RATE, json!(["1/h", 2])),
        json!({"network_rate": "1/h", "network_burst": 2, "was": "none"})
    );
    drop(server.admit_all(2, Via::Tcp, source(119, 1, 1)));
    server.reject(Via::Tcp, source(119, 1, 2));
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    assert_eq!(stats["network_limit"], "none", "{stats}");
    assert_eq!(stats["network_rate"], "1/h", "{stats}");
    for (command, argument) in [(SET_LIMIT, "0"), (SET_LIMIT, "x"), (SET_RATE, "5")] {
        assert_eq!(server.fault(command, json!([argument])).code, 400);
    }
    let fault = server.fault(
        "tcp_conn_limit.set_rule",
        json!(["network 127.119.0.0/25", "4"]),
    );
    assert!(
        fault.message.contains("a network is a /24"),
        "{}",
        fault.message
    );
    drop((held, last));
    let log = mode.finish(server, &[]);
    for line in [
        "network limit changed from none to 3 by RPC",
        "network rate changed from none to 1/h, burst 2 by RPC",
    ] {
        assert_eq!(log.lines_with(line).len(), 1, "{line}");
    }
}

fn cfg_variables_change_limit_and_rate(mode: Mode) {
    let server = config(mode, 9)
        .text_param("network_rate", "10/s")
        .param("network_burst", 20)
        .module("cfg_rpc.so")
        .start();
    let get = |name: &str| server.rpc("cfg.get", json!(["tcp_conn_limit", name]));
    let set = |name: &str, value: i64| {
        server.rpc("cfg.set_now_int", json!(["tcp_conn_limit", name, value]));
    };
    let is = |name: &str, value: Value| {
        until(&format!("{name} is {value}"), || {
            server.rpc("tcp_conn_limit.stats", json!([]))[name] == value
        });
    };
    let names = ["network_limit", "network_rate", "network_burst"];
    assert_eq!(names.map(get), [json!(9), json!(36_000), json!(20)]);
    set("network_limit", 2);
    is("network_limit", json!(2));
    let held = server.admit_all(2, Via::Tcp, source(121, 0, 1));
    server.reject(Via::Tcp, source(121, 0, 2));
    set("network_limit", 0);
    is("network_limit", json!("none"));
    set("network_rate", 6_000);
    is("network_rate", json!("100/m"));
    set("network_burst", 0);
    is("network_burst", json!(5));
    // Those of sources are others.
    assert_eq!(
        server.rpc("tcp_conn_limit.stats", json!([]))["rate"],
        "none"
    );
    server.rpc(SET_RATE, json!(["1/h", 7]));
    server.rpc(SET_LIMIT, json!([8]));
    assert_eq!(names.map(get), [json!(8), json!(1), json!(7)]);
    // The burst does not fit the rate.
    set("network_burst", 73);
    server.wait_for_log(
        1,
        "cannot apply the cfg variables network_rate 1 and network_burst 73",
    );
    is("network_burst", json!(7));
    for (name, value) in [("network_limit", -1), ("network_rate", 36_000_001)] {
        server.fault("cfg.set_now_int", json!(["tcp_conn_limit", name, value]));
    }
    drop(held);
    let expected = [
        "cannot apply the cfg variables",
        "integer value is out of range",
        "failed to set the variable",
    ];
    let log = mode.finish(server, &expected);
    let by = "by a cfg variable";
    for line in [
        "network limit changed from 9 to 2",
        "network rate changed from 10/s",
    ] {
        let found = log.lines_with(line);
        assert!(found.len() == 1 && found[0].contains(by), "{found:?}");
    }
}

fn cfg_variables_need_counted_networks(mode: Mode) {
    let server = mode.with_module().limit(0).module("cfg_rpc.so").start();
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "network_limit", 5]),
    );
    server.wait_for_log(1, "networks have not been counted since the start");
    let fault = server.fault(SET_LIMIT, json!([5]));
    assert!(fault.message.contains("set the modparam network_limit"));
    let fault = server.fault(SET_RATE, json!(["5/s"]));
    assert!(fault.message.contains("set the modparam network_limit"));
    mode.finish(server, &["cannot apply the cfg variables"]);
}

fn monitor_mode_rejects_nothing_for_the_network(mode: Mode) {
    let server = config(mode, 2).text_param("mode", "monitor").start();
    let held = server.admit_all(5, Via::Tcp, source(120, 0, 1));
    assert_eq!(server.stat("network_would_reject"), 3);
    assert_eq!(server.stat("would_reject"), 3);
    assert_eq!(server.stat("network_rejected"), 0);
    assert_eq!(counted(&server, "127.120.0.1"), 5);
    server.wait_for_log(1, "would reject connection from network 127.120.0.0/24");
    drop(held);
    mode.finish(server, &["would reject", "more connections"]);
}

fn reports_show_networks(mode: Mode) {
    let server = config(mode, 0).start();
    let mut held = Vec::new();
    for (net, count) in [(0, 3), (1, 9), (2, 5)] {
        for host in 1..=count {
            held.push(server.admit(Via::Tcp, source(121, net, host)));
        }
    }
    let top = server.rpc(TOP, json!(["networks", 2]));
    let shown = |answer: &Value| {
        let list = answer.as_array().expect("a list").clone();
        list.iter()
            .map(|one| (one["network"].clone(), number(one, "connections")))
            .collect::<Vec<_>>()
    };
    let expected = [("127.121.1.0/24", 9), ("127.121.2.0/24", 5)];
    let expected = expected.map(|(text, count)| (json!(text), count)).to_vec();
    assert_eq!(shown(&top), expected);
    // Sources are listed without networks.
    let sources = server.rpc(TOP, json!([400]));
    let sources = sources.as_array().expect("a list");
    assert_eq!(sources.len(), 17);
    assert!(sources.iter().all(|one| one["source"].is_string()));
    let list = server.rpc("tcp_conn_limit.list", json!([]));
    assert_eq!(number(&list, "total"), 17);
    assert_eq!(
        (server.stat("sources"), server.stat("connections")),
        (17, 17)
    );
    until("the networks are sampled", || server.stat("networks") == 3);
    assert_eq!(server.stat("busiest_network"), 9);
    until("the peaks are sampled", || {
        number(&network(&server, "127.121.1.1"), "peak") == 9
    });
    let suggested = server.rpc("tcp_conn_limit.suggest", json!(["networks"]));
    assert_eq!(suggested[0]["prefix"], "default", "{suggested}");
    assert_eq!(number(&suggested[0], "sources"), 3, "{suggested}");
    assert_eq!(number(&suggested[0], "highest"), 9, "{suggested}");
    let suggested = server.rpc("tcp_conn_limit.suggest", json!([]));
    assert_eq!(number(&suggested[0], "sources"), 17, "{suggested}");
    assert_eq!(
        server.fault("tcp_conn_limit.suggest", json!(["nets"])).code,
        400
    );
    assert_eq!(server.fault(TOP, json!(["networks", "networks"])).code, 400);
    drop(held);
    mode.finish(server, &[]);
}

fn audit_compares_both_scopes(mode: Mode) {
    let server = config(mode, 30).rule("127.122.0.3 = 9 no_network").start();
    let mut held = Vec::new();
    for round in 0..60u8 {
        held.push(server.open(Via::Tcp, source(122, 0, round % 4)));
        if round % 7 == 6 {
            held.remove(usize::from(round) % held.len());
        }
        if round == 30 {
            // Connections that count in their network still do so.
            let rule = ["127.122.0.2", "9 no_network"];
            server.rpc("tcp_conn_limit.set_rule", json!(rule));
        }
    }
    until("the audit is clean", || server.audit_is_clean());
    drop(held);
    server.wait_for_connections(0);
    until("the audit is clean", || server.audit_is_clean());
    assert_eq!(counted(&server, "127.122.0.1"), 0);
    assert_eq!(server.stat("errors"), 0);
    mode.finish(server, &[]);
}

fn log_and_events_say_the_scope(mode: Mode) {
    let script = r#"event_route[tcp-conn-limit:rejected] {
        xlog("L_NOTICE", "rejected $tcp_conn_limit(scope) $tcp_conn_limit(source) for $tcp_conn_limit(rejected_for) at $tcp_conn_limit(connections) of $tcp_conn_limit(limit)\n");
    }
    event_route[tcp-conn-limit:released] {
        xlog("L_NOTICE", "released $tcp_conn_limit(scope) $tcp_conn_limit(source)\n");
    }"#;
    let server = config(mode, 2).module("xlog").also_route(script).start();
    let held = server.admit_all(2, Via::Tcp, source(123, 0, 1));
    server.reject(Via::Tcp, source(123, 0, 2));
    let line = "rejected connection from network 127.123.0.0/24: 2 connections, limit 2, \
                rule default";
    server.wait_for_log(1, line);
    server.wait_for_log(1, "rejected network 127.123.0.0/24 for limit at 2 of 2");
    drop(held);
    server.wait_for_log(1, "source network 127.123.0.0/24 is back under its limit");
    server.wait_for_log(1, "released network 127.123.0.0/24");
    mode.finish(server, &["rejected connection", "is back under"]);
}

fn networks_are_off_by_default(mode: Mode) {
    let server = mode
        .with_module()
        .limit(2)
        .param("ipv4_network", 20)
        .start();
    let held = server.admit_all(2, Via::Tcp, source(124, 0, 1));
    let shown = server.source("127.124.0.1");
    assert!(shown.get("network").is_none(), "{shown}");
    assert_eq!(server.rpc(TOP, json!(["networks"])), json!([]));
    let fault = server.fault(SET_LIMIT, json!([5]));
    assert!(
        fault.message.contains("set the modparam network_limit"),
        "{}",
        fault.message
    );
    let fault = server.fault(
        "tcp_conn_limit.set_rule",
        json!(["network 127.0.0.0/8", "4"]),
    );
    assert!(
        fault.message.contains("set the modparam network_limit"),
        "{}",
        fault.message
    );
    drop(held);
    mode.finish(server, &[]);
}

fn wrong_settings_of_networks_have_clear_errors(mode: Mode) {
    let wrong = |config: Config, expected: &str| {
        let log = config.start_fails();
        assert!(log.contains(expected), "{expected}");
    };
    let config = || mode.with_module().limit(0);
    wrong(
        config().param("network_limit", -1),
        "modparam network_limit is -1: expected 1 to",
    );
    wrong(
        config().param("ipv4_network", 32),
        "ipv4_network 32: must be 8 to 31",
    );
    wrong(
        config().param("network_limit", 5).param("ipv4_prefix", 16),
        "ipv4_network 24: must be at most ipv4_prefix, which is 16",
    );
    wrong(
        config().text_param("network_rate", "5"),
        "network_rate: invalid rate `5`",
    );
    wrong(
        config()
            .param("network_limit", 5)
            .rule("network 10.0.0.0/25 = 5"),
        "a network is a /24; write a prefix of at most 24 bits",
    );
    wrong(
        config().rule("network 10.0.0.0/8 = 5 exempt"),
        "a rule for networks has no `exempt`",
    );
}
