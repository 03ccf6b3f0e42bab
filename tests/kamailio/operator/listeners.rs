// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules for one listener: the connections there are counted apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Via, free_port, source};

attached_either_way!(
    each_listener_has_its_own_limits_and_counts,
    listener_on_any_address_counts_both_families,
    rate_of_a_listener_is_its_own,
    ban_of_an_address_holds_on_every_listener,
    offences_on_a_listener_ban_the_address,
    exempt_rule_of_a_listener_keeps_bans_out,
    reload_adds_and_removes_listeners_under_open_connections,
    unknown_listener_is_reported,
    more_than_64_listeners_are_an_error,
    invalid_listeners_stop_the_start,
    script_sees_the_listener_of_the_message,
    rpc_sets_and_removes_rules_of_a_listener,
    log_and_events_name_the_listener,
);

/// A socket that `Config` knows nothing of.
fn extra(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn open_at(from: IpAddr, to: SocketAddr) -> Option<Client> {
    let mut client = Client::connect(from, to);
    client.is_admitted().then_some(client)
}

#[track_caller]
fn admit_at(from: IpAddr, to: SocketAddr) -> Client {
    open_at(from, to).unwrap_or_else(|| panic!("{from} was not admitted at {to}"))
}

#[track_caller]
fn reject_at(from: IpAddr, to: SocketAddr) {
    assert!(
        open_at(from, to).is_none(),
        "{from} was not rejected at {to}"
    );
}

/// The listeners in an answer of `get`, each with its connections.
fn listeners(answer: &Value) -> Vec<(String, u64)> {
    let list = answer["listeners"].as_array().cloned().unwrap_or_default();
    let pair = |one: &Value| {
        let name = one["listener"].as_str().unwrap().to_owned();
        (name, one["connections"].as_u64().unwrap())
    };
    list.iter().map(pair).collect()
}

fn each_listener_has_its_own_limits_and_counts(mode: Mode) {
    let (second, third) = (free_port(), free_port());
    let server = mode
        .with_module()
        .tls()
        .limit(3)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .core(&format!("listen=tcp:127.0.0.1:{third}"))
        .rule("127.0.0.0/8 = 2 listener=tcp:127.0.0.1:@TCP@")
        .rule("127.0.0.0/8 = 1 listener=127.0.0.1:@TLS@")
        .rule(&format!("0.0.0.0/0 = 9 listener=tcp:127.0.0.1:{second}"))
        .rule(&format!(
            "127.101.0.0/16 = 1 listener=tcp:127.0.0.1:{second}"
        ))
        .start();
    let from = source(101, 0, 1);
    let (second, third) = (extra(second), extra(third));
    let mut held = server.admit_all(2, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    held.push(server.admit(Via::Tls, from));
    server.reject(Via::Tls, from);
    held.push(admit_at(from, second));
    reject_at(from, second);
    held.extend((0..3).map(|_| admit_at(from, third)));
    reject_at(from, third);

    let answer = server.source("127.101.0.1");
    assert_eq!(answer["connections"], 3);
    assert_eq!(
        (&answer["rule"], &answer["limit"]),
        (&json!("default"), &json!(3))
    );
    assert_eq!(answer["rejected"], 1);
    let tcp = server.address(Via::Tcp);
    let tls = server.address(Via::Tls);
    let mut found = listeners(&answer);
    found.sort();
    let mut expected = vec![
        (format!("tcp:{tcp}"), 2),
        (format!("tls:{tls}"), 1),
        (format!("tcp:{second}"), 1),
    ];
    expected.sort();
    assert_eq!(found, expected);
    let of_second = answer["listeners"].as_array().unwrap().iter();
    let mut of_second = of_second.filter(|one| one["listener"] == format!("tcp:{second}"));
    let of_second = of_second.next().unwrap();
    assert_eq!(of_second["rule"], "127.101.0.0/16");
    assert_eq!(
        (&of_second["limit"], &of_second["rejected"]),
        (&json!(1), &json!(1))
    );

    // Each count has a line of its own, with its listener.
    let list = server.rpc("tcp_conn_limit.list", json!(["127.101.0.0/16"]));
    assert_eq!(list["total"], 4);
    let listed: Vec<_> = list["list"].as_array().unwrap().iter().collect();
    assert_eq!(
        listed
            .iter()
            .filter(|one| one.get("listener").is_none())
            .count(),
        1
    );
    let rules = server.rpc("tcp_conn_limit.rules", json!([]));
    let terms: Vec<_> = rules
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| &rule["terms"])
        .collect();
    assert!(
        terms.contains(&&json!(format!("1 listener=tcp:{second}"))),
        "{terms:?}"
    );
    let rule = rules
        .as_array()
        .unwrap()
        .iter()
        .find(|rule| rule["terms"] == json!(format!("2 listener=tcp:{tcp}")));
    let rule = rule.unwrap();
    assert_eq!(
        (&rule["connections"], &rule["rejected"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(server.stat("rejected"), 4);
    drop(held);
    server.wait_for_connections(0);
    drop(server.admit(Via::Tls, from));
    mode.finish(server, &[]);
}

fn listener_on_any_address_counts_both_families(mode: Mode) {
    let server = mode
        .with_module()
        .any_address()
        .limit(3)
        .rule("::/0 = 1 listener=[::]:@ANY@")
        .rule("0.0.0.0/0 = 2 listener=tcp:[::]:@ANY@")
        .start();
    let v6: IpAddr = Ipv6Addr::LOCALHOST.into();
    let v4 = source(102, 0, 1);
    let mut held = vec![admit_at(v6, server.any_address(v6))];
    reject_at(v6, server.any_address(v6));
    held.extend((0..2).map(|_| admit_at(v4, server.any_address(v4))));
    reject_at(v4, server.any_address(v4));
    held.extend(server.admit_all(3, Via::Tcp, v4));
    server.reject(Via::Tcp, v4);
    let port = server.any_address(v6).port();
    let name = format!("tcp:[::]:{port}");
    assert_eq!(listeners(&server.source("::1")), [(name.clone(), 1)]);
    let answer = server.source("127.102.0.1");
    assert_eq!(answer["connections"], 3);
    assert_eq!(listeners(&answer), [(name, 2)]);
    mode.assert_audit_clean(&server);
    drop(held);
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn rpc_sets_and_removes_rules_of_a_listener(mode: Mode) {
    const SET: &str = "tcp_conn_limit.set_rule";
    const DEL: &str = "tcp_conn_limit.del_rule";
    let second = free_port();
    let server = mode
        .with_module()
        .limit(3)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rules_file("")
        .start();
    let from = source(109, 0, 1);
    let (at, word) = (extra(second), format!("listener=tcp:127.0.0.1:{second}"));
    let before = server.admit(Via::Tcp, from);

    // No rule named a listener until now.
    let answer = server.rpc(SET, json!(["127.0.0.0/8", format!("1 {word}"), 3600]));
    assert_eq!(
        answer,
        json!({"prefix": "127.0.0.0/8", "limit": 1, "terms": format!("1 {word}"),
            "seconds_left": 3600, "was": "no rule"})
    );
    let answer = server.rpc(SET, json!(["127.0.0.0/8", 2]));
    assert_eq!(answer["was"], "no rule");
    let held = admit_at(from, at);
    reject_at(from, at);
    let more = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let answer = server.source("127.109.0.1");
    assert_eq!(
        (&answer["limit"], &answer["connections"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(listeners(&answer), [(format!("tcp:{at}"), 1)]);
    assert_eq!(answer["listeners"][0]["limit"], 1);

    server.rpc("tcp_conn_limit.reload", json!([]));
    reject_at(from, at);
    let rules = server.rpc("tcp_conn_limit.rules", json!([]));
    let of_listener = |rule: &&Value| rule["terms"] == json!(format!("1 {word}"));
    let rule = rules.as_array().unwrap().iter().find(of_listener).unwrap();
    assert_eq!(
        (&rule["origin"], &rule["rejected"]),
        (&json!("rpc"), &json!(2))
    );

    let unknown = server.fault(SET, json!(["127.0.0.0/8", "1 listener=tcp:127.0.0.1:9"]));
    assert_eq!(
        unknown.message,
        "the server does not listen on tcp:127.0.0.1:9; write a TCP or TLS socket as \
         corex.list_sockets shows it"
    );
    let wrong = server.fault(DEL, json!(["127.0.0.0/8", "tcp:127.0.0.1:9"]));
    assert!(
        wrong.message.starts_with("invalid listener `tcp:"),
        "{}",
        wrong.message
    );

    // The name without its protocol is the same listener.
    let short = format!("listener=127.0.0.1:{second}");
    assert_eq!(
        server.rpc(DEL, json!(["127.0.0.0/8", short])),
        json!({"prefix": "127.0.0.0/8", "was": format!("1 {word} from rpc"),
            "rule": "127.0.0.0/8", "limit": 2, "terms": "2"})
    );
    let absent = server.fault(DEL, json!(["127.0.0.0/8", short]));
    assert_eq!(absent.message, "there is no rule for this prefix");
    server.rpc(DEL, json!(["127.0.0.0/8"]));
    drop((before, held, more));
    server.wait_for_connections(0);
    drop(server.admit_all(3, Via::Tcp, from));
    mode.finish(server, &[]);
}

fn rate_of_a_listener_is_its_own(mode: Mode) {
    let second = free_port();
    let server = mode
        .with_module()
        .limit(50)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rule(&format!(
            "0.0.0.0/0 = 50 rate=1/h burst=2 listener=127.0.0.1:{second}"
        ))
        .start();
    let from = source(103, 0, 1);
    let second = extra(second);
    let _held: Vec<_> = (0..2).map(|_| admit_at(from, second)).collect();
    reject_at(from, second);
    let _more = server.admit_all(5, Via::Tcp, from);
    reject_at(from, second);
    let answer = server.source("127.103.0.1");
    let one = &answer["listeners"][0];
    assert_eq!(
        (&one["rejected_for"], &one["rate"]),
        (&json!("rate"), &json!("1/h"))
    );
    assert_eq!(answer["rate"], "none");
    mode.finish(server, &[]);
}

fn ban_of_an_address_holds_on_every_listener(mode: Mode) {
    let second = free_port();
    let server = mode
        .with_module()
        .limit(5)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rule(&format!("0.0.0.0/0 = 3 listener=127.0.0.1:{second}"))
        .start();
    let second = extra(second);
    let (one, other) = (source(104, 0, 1), source(104, 1, 1));
    let held = [admit_at(one, second), admit_at(other, second)];
    server.rpc("tcp_conn_limit.ban", json!(["127.104.0.1", 600]));
    reject_at(one, second);
    server.reject(Via::Tcp, one);
    assert_eq!(
        server.source("127.104.0.1")["listeners"][0]["ban_reason"],
        "rpc"
    );
    drop(admit_at(other, second));
    server.rpc("tcp_conn_limit.unban", json!(["127.104.0.1"]));
    drop(admit_at(one, second));

    // A ban of a prefix, also one that is longer than that of the rule of the listener.
    server.rpc("tcp_conn_limit.ban", json!(["127.104.1.0/24", 600]));
    reject_at(other, second);
    server.reject(Via::Tcp, other);
    drop(admit_at(one, second));
    server.rpc("tcp_conn_limit.unban", json!(["127.104.1.0/24"]));
    drop(admit_at(other, second));
    assert_eq!(server.stat("ban_rejected"), 4);
    drop(held);
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn offences_on_a_listener_ban_the_address(mode: Mode) {
    let second = free_port();
    let server = mode
        .with_module()
        .limit(5)
        .text_param("penalty", "rejected=10")
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rule(&format!("0.0.0.0/0 = 1 listener=127.0.0.1:{second}"))
        .start();
    let second = extra(second);
    let from = source(105, 0, 1);
    let held = admit_at(from, second);
    drop(server.admit(Via::Tcp, from));
    for _ in 0..2 {
        reject_at(from, second);
    }
    server.reject(Via::Tcp, from);
    let answer = server.source("127.105.0.1");
    assert_eq!(answer["ban_reason"], "rejected");
    let bans = server.rpc("tcp_conn_limit.bans", json!([]));
    assert_eq!(
        (&bans["total"], &bans["list"][0]["source"]),
        (&json!(1), &json!("127.105.0.1"))
    );
    drop(held);
    server.wait_for_connections(0);
    reject_at(from, second);
    mode.finish(server, &[]);
}

fn exempt_rule_of_a_listener_keeps_bans_out(mode: Mode) {
    let second = free_port();
    let server = mode
        .with_module()
        .limit(5)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rule(&format!(
            "127.106.0.1 = unlimited listener=127.0.0.1:{second}"
        ))
        .start();
    let second = extra(second);
    let from = source(106, 0, 1);
    for banned in ["127.106.0.1", "127.106.0.0/16"] {
        server.rpc("tcp_conn_limit.ban", json!([banned, 600]));
        server.reject(Via::Tcp, from);
        drop(admit_at(from, second));
        server.rpc("tcp_conn_limit.unban", json!(["all"]));
    }
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn reload_adds_and_removes_listeners_under_open_connections(mode: Mode) {
    let second = free_port();
    let on_second = format!("0.0.0.0/0 = 2 listener=tcp:127.0.0.1:{second}\n");
    let server = mode
        .with_module()
        .limit(3)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rules_file("")
        .start();
    let second = extra(second);
    let from = source(107, 0, 1);
    let reload = || server.rpc("tcp_conn_limit.reload", json!([]));
    // Counted without a listener, and stays so.
    let first = admit_at(from, second);
    server.write_rules(&on_second);
    reload();
    let held = [admit_at(from, second), admit_at(from, second)];
    reject_at(from, second);
    assert_eq!(listeners(&server.source("127.107.0.1"))[0].1, 2);
    assert_eq!(server.counted("127.107.0.1"), 1);
    mode.assert_audit_clean(&server);
    server.write_rules("");
    reload();
    let more = [admit_at(from, second), admit_at(from, second)];
    reject_at(from, second);
    assert_eq!(listeners(&server.source("127.107.0.1"))[0].1, 2);
    assert_eq!(server.counted("127.107.0.1"), 3);
    mode.assert_audit_clean(&server);
    drop(first);
    server.wait_for_connections(4);
    assert_eq!(server.counted("127.107.0.1"), 2);
    // The listener has its number and its counts again.
    server.write_rules(&on_second);
    reload();
    reject_at(from, second);
    drop(held);
    server.wait_for_connections(2);
    drop(admit_at(from, second));
    server.wait_for_connections(2);
    for _ in 0..20 {
        server.write_rules("");
        reload();
        drop(admit_at(from, second));
        server.write_rules(&on_second);
        reload();
        drop(admit_at(from, second));
    }
    drop(more);
    server.wait_for_connections(0);
    mode.finish(server, &[]);
}

fn unknown_listener_is_reported(mode: Mode) {
    let server = mode
        .with_module()
        .tls()
        .limit(2)
        .rules_file("127.0.0.0/8 = 1 listener=192.0.2.1:5060\n127.0.0.0/8 = 1 listener=tls:127.0.0.1:@TCP@\n")
        .start();
    let from = source(108, 0, 1);
    let _held = server.admit_all(2, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let port = server.address(Via::Tcp).port();
    let unknown = [
        "rules name the listener 192.0.2.1:5060, but the server does not listen there",
        &format!("rules name the listener tls:127.0.0.1:{port}, but the server does not"),
    ];
    for text in unknown {
        server.wait_for_log(1, text);
    }
    let answer = server.rpc("tcp_conn_limit.check_rules", json!([]));
    assert_eq!(answer["valid"], "yes");
    let list = answer["list"].as_array().unwrap();
    let missing = |line: &&Value| {
        line.as_str()
            .unwrap()
            .contains("the server does not listen on")
    };
    assert_eq!(list.iter().filter(missing).count(), 2);
    server.rpc("tcp_conn_limit.reload", json!([]));
    for text in unknown {
        server.wait_for_log(2, text);
    }
    server.write_rules("127.0.0.0/8 = 1 listener=tcp:127.0.0.1:@TCP@\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    drop(server.admit(Via::Tcp, from));
    let log = mode.finish(server, &["rules name the listener"]);
    assert_eq!(log.lines_with("rules name the listener").len(), 4);
}

fn more_than_64_listeners_are_an_error(mode: Mode) {
    let rules = |ports: std::ops::Range<u16>| -> String {
        let rule = |port| format!("127.0.0.0/8 = 1 listener=192.0.2.1:{port}\n");
        ports.map(rule).collect()
    };
    let config = mode.with_module().limit(2);
    let log = config.clone().rules_file(&rules(1..66)).start_fails();
    log.assert_error(&["more than 64 different listeners", "remove some"]);
    // Also one by one: a number is given for good.
    let server = config.rules_file(&rules(1..65)).start();
    server.write_rules(&rules(65..66));
    let fault = server.fault("tcp_conn_limit.reload", json!([]));
    assert!(
        fault.message.contains("more than 64 different listeners"),
        "{fault:?}"
    );
    server.write_rules(&rules(64..65));
    server.rpc("tcp_conn_limit.reload", json!([]));
    mode.finish(
        server,
        &[
            "rules name the listener",
            "more than 64 different listeners",
        ],
    );
}

fn invalid_listeners_stop_the_start(mode: Mode) {
    for (listener, text) in [
        (
            "listener=udp:127.0.0.1:5060",
            "`udp` of a listener must be tcp or tls",
        ),
        ("listenr=127.0.0.1:5060", "did you mean `listener`?"),
        ("listener=127.0.0.1", "has an address and a port"),
        ("listener", "`listener` has no value"),
    ] {
        let config = mode
            .with_module()
            .rule(&format!("10.0.0.0/8 = 5 {listener}"));
        config
            .start_fails()
            .assert_error(&["modparam rule 1", text]);
    }
    let config = mode
        .with_module()
        .rule("10.0.0.0/8 = 5 listener=127.0.0.1:5060");
    let log = config.param("ipv6_prefix", 128).start_fails();
    log.assert_error(&["needs an ipv6_prefix of at most 120"]);
    // A command gets the same reason.
    let server = mode.with_module().param("ipv6_prefix", 128).start();
    let arguments = json!(["10.0.0.0/8", "5 listener=127.0.0.1:5060"]);
    let fault = server.fault("tcp_conn_limit.set_rule", arguments);
    let reason = "needs an ipv6_prefix of at most 120";
    assert!(fault.message.contains(reason), "{fault:?}");
    mode.finish(server, &[]);
}

const ROUTE: &str = r#"
request_route {
	$var(answer) = "at <" + $tcp_conn_limit(listener) + "> " + $tcp_conn_limit(connections)
		+ " of " + $tcp_conn_limit(limit);
	if (tcp_conn_limit_check("$si")) {
		$var(answer) = $var(answer) + " yes";
	} else {
		$var(answer) = $var(answer) + " no";
	}
	sl_send_reply("200", "$var(answer)");
}
"#;

fn script_sees_the_listener_of_the_message(mode: Mode) {
    let second = free_port();
    let server = mode
        .with_module()
        .module("pv.so")
        .limit(3)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rule(&format!("0.0.0.0/0 = 1 listener=127.0.0.1:{second}"))
        .route(ROUTE)
        .start();
    let from = source(109, 0, 1);
    let mut there = admit_at(from, extra(second));
    let answer = there.ask("me");
    assert!(
        answer.contains(&format!("at <tcp:127.0.0.1:{second}> 1 of 1 no")),
        "{answer}"
    );
    let mut held = server.admit_all(2, Via::Tcp, from);
    let answer = held[0].ask("me");
    assert!(answer.contains("at <> 2 of 3 yes"), "{answer}");
    mode.finish(server, &[]);
}

const EVENT: &str = r#"
event_route[tcp-conn-limit:rejected] {
	xlog("L_WARN", "event: $tcp_conn_limit(source) at <$tcp_conn_limit(listener)>\n");
}
"#;

fn log_and_events_name_the_listener(mode: Mode) {
    let second = free_port();
    let server = mode
        .with_module()
        .module("pv.so")
        .module("xlog.so")
        .limit(1)
        .core(&format!("listen=tcp:127.0.0.1:{second}"))
        .rule(&format!("0.0.0.0/0 = 1 listener=127.0.0.1:{second}"))
        .also_route(EVENT)
        .start();
    let from = source(110, 0, 1);
    let held = [admit_at(from, extra(second)), server.admit(Via::Tcp, from)];
    reject_at(from, extra(second));
    server.reject(Via::Tcp, from);
    let name = format!("tcp:127.0.0.1:{second}");
    server.wait_for_log(
        1,
        &format!("rejected connection from 127.110.0.1 on {name}: 1 connection"),
    );
    server.wait_for_log(1, "rejected connection from 127.110.0.1: 1 connection");
    server.wait_for_log(1, &format!("event: 127.110.0.1 at <{name}>"));
    server.wait_for_log(1, "event: 127.110.0.1 at <>");
    drop(held);
    server.wait_for_connections(0);
    server.wait_for_log(
        1,
        &format!("source 127.110.0.1 on {name} is back under its limit"),
    );
    stop(mode, server);
}

fn stop(mode: Mode, server: Server) {
    mode.finish(server, &["event: "]);
}
