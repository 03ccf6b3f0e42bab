// SPDX-License-Identifier: GPL-2.0-or-later

//! Trusted and untrusted connections: the functions of scripts, the limit of untrusted
//! connections, and those that are closed because they were not trusted in time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, in_own_network, number, source, until};

use crate::counting::ipv6;

attached_either_way!(
    trusted_connections_leave_room_for_others,
    trust_works_over_tls,
    ipv6_network_shares_its_untrusted_connections,
    trust_can_be_taken_back,
    rules_trust_their_sources_or_limit_untrusted_ones,
    monitor_mode_counts_what_it_would_reject,
    settings_change_while_the_server_runs,
    without_trust_one_clear_error_says_how_to_turn_it_on,
    untrusted_connections_are_closed_in_time,
    untrusted_tls_connections_are_closed_in_time,
    monitor_mode_closes_nothing_in_time,
    many_connections_are_closed_in_time,
    late_trust_does_nothing,
    storm_of_trust_leaves_exact_counts,
    javascript_trusts,
    events_of_trust_have_their_numbers,
    values_out_of_range_are_refused_at_the_start,
);

/// Does what the user of the request says, and answers with the return code.
const ROUTE: &str = r#"
request_route {
	switch ($rU) {
		case "trust": tcp_conn_limit_trust(); break;
		case "untrust": tcp_conn_limit_untrust(); break;
		case "late":
			$var(turns) = 0;
			while ($sht(noted=>closed) == $null && $var(turns) < 90) {
				usleep("200000");
				$var(turns) = $var(turns) + 1;
			}
			tcp_conn_limit_trust();
			$sht(noted=>late) = $rc;
			break;
		case "check": tcp_conn_limit_check("$si"); break;
		case "show":
			sl_send_reply("200", "now $tcp_conn_limit(trusted) $tcp_conn_limit(untrusted) $tcp_conn_limit(untrusted_limit)");
			exit;
	}
	$var(rc) = $rc;
	sl_send_reply("200", "$var(rc)");
}
"#;

fn config(mode: Mode) -> Config {
    mode.with_module()
        .limit(20)
        .param("untrusted_limit", 2)
        .param("log_interval", 86_400)
        .module("pv.so")
        .module("cfgutils.so")
        .module("htable.so")
        .modparam("htable", "htable", "\"noted=>size=8;\"")
        .route(ROUTE)
}

#[track_caller]
fn connections(server: &Server, from: IpAddr) -> Value {
    server.rpc("tcp_conn_limit.connections", json!([from.to_string()]))
}

/// Waits until the server has closed the connection.
#[track_caller]
fn wait_until_closed(client: &Client) {
    until("the connection is closed", || client.has_news());
}

fn trusted_connections_leave_room_for_others(mode: Mode) {
    let server = config(mode).start();
    let from = source(170, 0, 1);
    let mut held = server.admit_all(2, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    // Another source is not affected.
    drop(server.admit(Via::Tcp, source(170, 0, 2)));
    assert_eq!(held[0].ask("check"), "-1");
    for trusted in 1..=10 {
        let last = held.len() - 1;
        assert_eq!(held[last].ask("trust"), "1");
        assert_eq!(held[last].ask("trust"), "1");
        held.push(server.admit(Via::Tcp, from));
        assert_eq!(held[0].ask("show"), format!("now {trusted} 2 2"));
        server.reject(Via::Tcp, from);
    }
    let report = server.source("127.170.0.1");
    assert_eq!(
        (&report["trusted"], &report["untrusted"]),
        (&json!(10), &json!(2))
    );
    assert_eq!(report["untrusted_limit"], 2);
    assert_eq!(report["rejected_for"], "untrusted");
    assert_eq!(server.stat("became_trusted"), 10);
    assert_eq!(server.stat("untrusted_rejected"), 11);
    server.wait_for_counter("trusted", 10);
    server.wait_for_counter("untrusted", 2);
    server.wait_for_log(
        1,
        "rejected connection from 127.170.0.1: 2 untrusted connections, untrusted limit 2, rule \
         default",
    );
    let list = connections(&server, from);
    assert_eq!((&list["total"], &list["shown"]), (&json!(12), &json!(12)));
    let of = |list: &Value, key: &str, value: &str| {
        let list = list["list"].as_array().expect("a list").iter();
        list.filter(|item| item[key] == value).count()
    };
    assert_eq!(of(&list, "trusted", "yes"), 10);
    assert_eq!(
        (of(&list, "spoke", "yes"), of(&list, "spoke", "unknown")),
        (10, 2)
    );
    assert_eq!(of(&list, "tls", "no"), 12);
    let few = server.rpc("tcp_conn_limit.connections", json!(["127.170.0.1", 3]));
    assert_eq!((&few["total"], &few["shown"]), (&json!(12), &json!(3)));
    let top = server.rpc("tcp_conn_limit.top", json!(["untrusted"]));
    assert_eq!(
        (&top[0]["source"], &top[0]["untrusted"]),
        (&json!("127.170.0.1"), &json!(2))
    );
    let suggested = server.rpc("tcp_conn_limit.suggest", json!([]));
    assert_eq!(suggested[0]["trusted_share"], 10 * 100 / 13);
    // The trusted ones leave: the untrusted limit does not change.
    held.drain(1..11);
    server.wait_for_connections(2);
    server.reject(Via::Tcp, from);
    assert_eq!(server.source("127.170.0.1")["trusted"], 0);
    held.clear();
    server.wait_for_connections(0);
    drop(server.admit_all(2, Via::Tcp, from));
    mode.finish(server, &[]);
}

fn trust_works_over_tls(mode: Mode) {
    let server = config(mode).tls().start();
    let from = source(170, 0, 1);
    let mut held = server.admit(Via::Tls, from);
    let _second = server.admit(Via::Tcp, from);
    server.reject(Via::Tls, from);
    assert_eq!(held.ask("trust"), "1");
    let _third = server.admit(Via::Tls, from);
    server.reject(Via::Tcp, from);
    let list = connections(&server, from);
    assert_eq!(
        (&list["list"][0]["tls"], &list["list"][0]["trusted"]),
        (&json!("yes"), &json!("yes"))
    );
    assert_eq!(held.ask("show"), "now 1 2 2");
    assert_eq!(held.ask("untrust"), "1");
    assert_eq!(held.ask("show"), "now 0 3 2");
    mode.finish(server, &[]);
}

fn ipv6_network_shares_its_untrusted_connections(mode: Mode) {
    in_own_network(|| {
        let server = config(mode).any_address().start();
        let open = |host| ipv6::open(&server, ipv6::address(7, host));
        let mut held = open(1).expect("the first");
        let _second = open(2).expect("the second");
        assert!(open(3).is_none());
        assert!(ipv6::open(&server, ipv6::address(8, 1)).is_some());
        assert_eq!(held.ask("trust"), "1");
        let _third = open(3).expect("room");
        assert!(open(4).is_none());
        let report = server.source("2001:db8:0:7::");
        assert_eq!(
            (&report["trusted"], &report["untrusted"]),
            (&json!(1), &json!(2))
        );
        assert_eq!(connections(&server, ipv6::address(7, 9))["total"], 3);
        // IPv4 on the same socket.
        let from = source(170, 0, 1);
        let mut mapped = Client::connect(from, server.any_address(from));
        assert!(mapped.is_admitted());
        assert_eq!(mapped.ask("trust"), "1");
        assert_eq!(server.source("127.170.0.1")["trusted"], 1);
        mode.finish(server, &[]);
    });
}

fn trust_can_be_taken_back(mode: Mode) {
    let server = config(mode).start();
    let from = source(170, 0, 1);
    let mut held = server.admit(Via::Tcp, from);
    assert_eq!(held.ask("untrust"), "1");
    assert_eq!(held.ask("trust"), "1");
    let more = server.admit_all(2, Via::Tcp, from);
    assert_eq!(held.ask("untrust"), "1");
    server.reject(Via::Tcp, from);
    drop(more);
    server.wait_for_connections(1);
    drop(server.admit(Via::Tcp, from));
    mode.finish(server, &[]);
}

fn rules_trust_their_sources_or_limit_untrusted_ones(mode: Mode) {
    let server = config(mode)
        .rules_file(
            "127.171.0.1 = 6 trusted\n127.171.0.2 = 6 untrusted=1\n127.171.0.3 = unlimited\n",
        )
        .start();
    for (n, most) in [(1, 6), (2, 1)] {
        let held = server.admit_all(most, Via::Tcp, source(171, 0, n));
        server.reject(Via::Tcp, source(171, 0, n));
        drop(held);
    }
    server.wait_for_connections(0);
    drop(server.admit_all(8, Via::Tcp, source(171, 0, 3)));
    assert_eq!(server.rule("127.171.0.2")["terms"], "6 untrusted=1");
    assert_eq!(server.rule("127.171.0.1")["terms"], "6 trusted");
    let _held = server.admit(Via::Tcp, source(171, 0, 1));
    let report = server.source("127.171.0.1");
    assert_eq!(
        (&report["trusted"], &report["untrusted_limit"]),
        (&json!(1), &json!("none"))
    );
    // A rule by RPC.
    server.rpc(
        "tcp_conn_limit.set_rule",
        json!(["127.171.0.4", "9 untrusted=1"]),
    );
    let _one = server.admit(Via::Tcp, source(171, 0, 4));
    server.reject(Via::Tcp, source(171, 0, 4));
    mode.finish(server, &[]);
}

fn monitor_mode_counts_what_it_would_reject(mode: Mode) {
    let server = config(mode).text_param("mode", "monitor").start();
    let held = server.admit_all(4, Via::Tcp, source(170, 0, 1));
    assert_eq!(server.stat("untrusted_would_reject"), 2);
    assert_eq!(server.stat("untrusted_rejected"), 0);
    server.wait_for_log(1, "would reject connection from 127.170.0.1: ");
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    server.reject(Via::Tcp, source(170, 0, 1));
    drop(held);
    server.wait_for_log(1, "source 127.170.0.1 is back under its untrusted limit: ");
    mode.finish(server, &[]);
}

fn settings_change_while_the_server_runs(mode: Mode) {
    let server = config(mode).module("cfg_rpc.so").start();
    let from = source(170, 0, 1);
    let _held = server.admit_all(2, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let set = server.rpc("tcp_conn_limit.set_untrusted_limit", json!([3]));
    assert_eq!(set, json!({"untrusted_limit": 3, "was": 2}));
    let _third = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let set = server.rpc("tcp_conn_limit.set_untrusted_limit", json!(["none"]));
    assert_eq!(set, json!({"untrusted_limit": "none", "was": 3}));
    drop(server.admit(Via::Tcp, from));
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "untrusted_limit", 3]),
    );
    server.wait_for_log(
        1,
        "untrusted limit changed from none to 3 by a cfg variable",
    );
    server.reject(Via::Tcp, from);
    let set = server.rpc("tcp_conn_limit.set_trust_timeout", json!([3600]));
    assert_eq!(set, json!({"trust_timeout": 3600, "was": "none"}));
    assert_eq!(server.stat("trust_timeout"), 3600);
    for (command, arguments, message) in [
        ("set_untrusted_limit", json!([0]), "invalid limit"),
        ("set_untrusted_limit", json!([]), "missing limit"),
        (
            "set_trust_timeout",
            json!([86_401]),
            "invalid seconds \"86401\": expected 1 to 86400, or none",
        ),
        ("set_trust_timeout", json!(["x"]), "invalid seconds \"x\""),
        ("set_trust_timeout", json!([1, 2]), "surplus argument"),
        ("connections", json!([]), "missing address"),
        ("connections", json!(["x"]), "invalid address `x`"),
        (
            "connections",
            json!(["127.0.0.1", 0]),
            "invalid number \"0\": expected 1 to 400",
        ),
        (
            "connections",
            json!(["127.0.0.1", 1, 2]),
            "surplus argument",
        ),
    ] {
        let fault = server.fault(&format!("tcp_conn_limit.{command}"), arguments);
        assert!(fault.message.starts_with(message), "{command}: {fault:?}");
    }
    mode.finish(server, &[]);
}

fn without_trust_one_clear_error_says_how_to_turn_it_on(mode: Mode) {
    let remedy = "trust is off; set the modparam untrusted_limit (0: no limit by default) and \
                  restart the server";
    let server = mode
        .with_module()
        .limit(20)
        .module("pv.so")
        .module("cfgutils.so")
        .module("cfg_rpc.so")
        .module("htable.so")
        .modparam("htable", "htable", "\"noted=>size=8;\"")
        .route(ROUTE)
        .start();
    let from = source(170, 0, 1);
    let mut held = server.admit(Via::Tcp, from);
    assert_eq!(held.ask("trust"), "-2");
    assert_eq!(held.ask("untrust"), "-2");
    server.wait_for_log(1, &format!("{remedy}; the function returns -2"));
    for (command, value) in [("set_untrusted_limit", 5), ("set_trust_timeout", 5)] {
        let fault = server.fault(&format!("tcp_conn_limit.{command}"), json!([value]));
        assert_eq!(fault.message, remedy);
    }
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "untrusted_limit", 3]),
    );
    server.wait_for_log(1, &format!("trust_timeout 0: {remedy}"));
    assert_eq!(server.source("127.170.0.1").get("trusted"), None);
    assert_eq!(held.ask("show"), "now 0 0 0");
    let rule = json!(["127.0.0.1", "5 untrusted=1"]);
    let fault = server.fault("tcp_conn_limit.set_rule", rule);
    assert!(
        fault
            .message
            .contains("has the word `untrusted`, but trust is off"),
        "{fault:?}"
    );
    mode.finish(server, &["cannot apply the cfg variables"]);

    let log = mode
        .with_module()
        .rule("127.0.0.1=5 untrusted=1")
        .start_fails();
    assert!(
        log.contains("set the modparam untrusted_limit (0: no limit by default)"),
        "{log}"
    );
}

/// Untrusted connections over `via` are closed after 2 s, trusted ones are not.
fn close_in_time(mode: Mode, via: Via) {
    let server = config(mode).tls().param("trust_timeout", 2).start();
    let from = source(170, 0, 1);
    let mut trusted = server.admit(via, from);
    assert_eq!(trusted.ask("trust"), "1");
    let mut by_rule = {
        server.rpc(
            "tcp_conn_limit.set_rule",
            json!(["127.172.0.1", "5 trusted"]),
        );
        server.admit(via, source(172, 0, 1))
    };
    let began = Instant::now();
    let talkative = server.admit(via, from);
    let silent = Client::connect(from, server.address(via));
    for client in [&talkative, &silent] {
        wait_until_closed(client);
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
    assert_eq!(trusted.ask("show"), "now 1 0 2");
    assert!(by_rule.is_admitted());
    assert_eq!(server.stat("trust_timeouts"), 2);
    server.wait_for_connections(2);
    server.wait_for_log(1, "from 127.170.0.1: not trusted within 2 s");
    // Its descriptor is used again, by a connection that has its own time.
    let mut next = server.admit(via, from);
    assert_eq!(next.ask("trust"), "1");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(next.ask("show"), "now 2 0 2");
    mode.finish(server, &[]);
}

fn untrusted_connections_are_closed_in_time(mode: Mode) {
    close_in_time(mode, Via::Tcp);
}

fn untrusted_tls_connections_are_closed_in_time(mode: Mode) {
    close_in_time(mode, Via::Tls);
}

fn monitor_mode_closes_nothing_in_time(mode: Mode) {
    let server = config(mode)
        .param("trust_timeout", 1)
        .text_param("mode", "monitor")
        .start();
    let mut held = server.admit(Via::Tcp, source(170, 0, 1));
    until("it would be closed", || {
        server.stat("would_trust_timeout") == 1
    });
    server.wait_for_log(
        1,
        "would close 1 connection from 127.170.0.1: not trusted within 1 s",
    );
    assert!(held.is_admitted());
    assert_eq!(server.stat("trust_timeouts"), 0);
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    wait_until_closed(&held);
    until("it is counted", || server.stat("trust_timeouts") == 1);
    mode.finish(server, &[]);
}

/// More than are closed in one second.
fn many_connections_are_closed_in_time(mode: Mode) {
    let server = config(mode)
        .param("trust_timeout", 1)
        .shared_memory(128)
        .limit(1000)
        .param("untrusted_limit", 1000)
        .start();
    let from = source(170, 0, 1);
    let mut kept = server.admit(Via::Tcp, from);
    assert_eq!(kept.ask("trust"), "1");
    let silent: Vec<Client> = (0..900)
        .map(|_| Client::connect(from, server.address(Via::Tcp)))
        .collect();
    server.wait_for_connections(1);
    silent.iter().for_each(wait_until_closed);
    assert_eq!(server.stat("trust_timeouts"), 900);
    assert!(kept.is_admitted());
    mode.finish(server, &[]);
}

/// The script trusts a connection that was closed while it ran, and whose descriptor another
/// connection has by then.
fn late_trust_does_nothing(mode: Mode) {
    let server = config(mode).param("trust_timeout", 1).start();
    let from = source(170, 0, 1);
    let mut late = server.admit(Via::Tcp, from);
    let request = "OPTIONS sip:late@localhost SIP/2.0\r\n\
         Via: SIP/2.0/TCP localhost;branch=z9hG4bK-1\r\n\
         From: <sip:test@localhost>;tag=1\r\nTo: <sip:late@localhost>\r\n\
         Call-ID: 1@localhost\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    late.send(request.as_bytes()).expect("it is open");
    // It is closed although a worker reads from it.
    wait_until_closed(&late);
    server.rpc("tcp_conn_limit.set_trust_timeout", json!(["none"]));
    server.rpc("htable.seti", json!(["noted", "closed", 1]));
    server.wait_for_connections(0);
    let next = server.admit(Via::Tcp, from);
    let mut found = Value::Null;
    until("the script has run", || {
        let answer = server.try_rpc("htable.get", json!(["noted", "late"]));
        answer.is_ok_and(|answer| {
            found = answer["item"]["value"].clone();
            true
        })
    });
    assert_eq!(found, -1);
    let report = server.source("127.170.0.1");
    assert_eq!(
        (&report["trusted"], &report["untrusted"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(server.stat("became_trusted"), 0);
    drop(next);
    // The core reports that it could not answer.
    mode.finish(server, &["ERROR"]);
}

/// Clients connect, are trusted, lose it and close, all at once, some with a RST.
fn storm_of_trust_leaves_exact_counts(mode: Mode) {
    let server = config(mode)
        .limit(1000)
        .param("untrusted_limit", 1000)
        .start();
    std::thread::scope(|scope| {
        for n in 0..6u8 {
            let server = &server;
            scope.spawn(move || {
                let from = source(170, 0, n % 3);
                for round in 0..40 {
                    let mut client = server.admit(Via::Tcp, from);
                    assert_eq!(client.ask("trust"), "1");
                    if round % 3 == 0 {
                        assert_eq!(client.ask("untrust"), "1");
                    }
                    if round % 2 == 0 {
                        client.reset();
                    }
                }
            });
        }
    });
    server.wait_for_connections(0);
    assert_eq!(server.stat("became_trusted"), 240);
    for n in 0..3 {
        let _held = server.admit_all(2, Via::Tcp, source(170, 0, n));
        let report = server.source(&source(170, 0, n).to_string());
        assert_eq!(
            (&report["trusted"], &report["untrusted"]),
            (&json!(0), &json!(2))
        );
    }
    // The core reports each RST that it reads.
    mode.finish(server, &["Connection reset by peer", "error reading"]);
}

fn javascript_trusts(mode: Mode) {
    let script = r#"
function ksr_request_route() {
	var user = KSR.pv.getw("$rU");
	var result = "?";
	if (user == "trust") result = KSR.tcp_conn_limit.trust();
	if (user == "untrust") result = KSR.tcp_conn_limit.untrust();
	if (user == "show") result = KSR.tcp_conn_limit.trusted(KSR.pv.get("$si")) + " "
		+ KSR.tcp_conn_limit.untrusted(KSR.pv.get("$si"));
	KSR.sl.sl_send_reply(200, "" + result);
	return 1;
}
"#;
    let server = mode
        .with_module()
        .limit(9)
        .param("untrusted_limit", 1)
        .module("pv.so")
        .module("app_jsdt.so")
        .file("script.js", script)
        .modparam("app_jsdt", "load", "\"@DIR@/script.js\"")
        .route("cfgengine \"jsdt\"\n")
        .start();
    let from = source(170, 0, 1);
    let mut held = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    assert_eq!(held.ask("trust"), "1");
    let _second = server.admit(Via::Tcp, from);
    assert_eq!(held.ask("show"), "1 1");
    assert_eq!(held.ask("untrust"), "1");
    assert_eq!(held.ask("show"), "0 2");
    mode.finish(server, &[]);
}

fn events_of_trust_have_their_numbers(mode: Mode) {
    let events = r#"
event_route[tcp-conn-limit:rejected] {
	$sht(noted=>rejected) = $tcp_conn_limit(rejected_for) + " " + $tcp_conn_limit(connections);
}
event_route[tcp-conn-limit:timed-out] {
	$sht(noted=>timed-out) = $tcp_conn_limit(source) + " " + $tcp_conn_limit(connections) + " " + $si;
}
"#;
    let server = config(mode)
        .param("trust_timeout", 2)
        .also_route(events)
        .start();
    let from = source(170, 0, 1);
    let held = server.admit_all(2, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    for (key, expected) in [
        ("rejected", "untrusted 2"),
        ("timed-out", "127.170.0.1 2 127.170.0.1"),
    ] {
        let mut found = Value::Null;
        until(&format!("the event {key}"), || {
            let answer = server.try_rpc("htable.get", json!(["noted", key]));
            answer.is_ok_and(|answer| {
                found = answer["item"]["value"].clone();
                true
            })
        });
        assert_eq!(found, expected, "{key}");
    }
    drop(held);
    mode.finish(server, &[]);
}

fn values_out_of_range_are_refused_at_the_start(mode: Mode) {
    for (name, value, message) in [
        (
            "untrusted_limit",
            "-1",
            "untrusted_limit -1: must be 0 to 100000000",
        ),
        (
            "trust_timeout",
            "86401",
            "trust_timeout 86401: must be 0 to 86400",
        ),
        (
            "trust_timeout",
            "\"5\"",
            "modparam trust_timeout: expected a number without quotes",
        ),
        (
            "untrusted_limit",
            "\"5\"",
            "modparam untrusted_limit: expected a number without quotes",
        ),
    ] {
        let config = mode.with_module().modparam("tcp_conn_limit", name, value);
        let log = config.start_fails();
        assert!(log.contains(message), "{log}");
    }
    // 0 counts without a limit.
    let server = mode.with_module().param("untrusted_limit", 0).start();
    let _held = server.admit_all(5, Via::Tcp, source(170, 0, 1));
    assert_eq!(number(&server.source("127.170.0.1"), "untrusted"), 5);
    mode.finish(server, &[]);
}
