// SPDX-License-Identifier: GPL-2.0-or-later

//! Reserve and pressure: a server whose connections are nearly used up.

use std::net::{IpAddr, TcpListener};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, in_own_network, number, source, until};

use crate::counting::ipv6::{address, open};

attached_either_way!(
    last_connections_are_for_trusted_rules,
    heaviest_sources_are_rejected_first,
    each_family_is_under_pressure,
    connections_of_the_server_count,
    lowered_maximum_counts_at_once,
    commands_change_reserve_and_pressure,
    wrong_arguments_are_refused,
    kamcmd_sets_and_shows,
    wrong_parameters_refuse_the_start,
    level_runs_the_event_route,
    monitor_mode_says_what_it_would,
    full_server_is_not_an_offence,
    nothing_is_read_by_default,
);

const LOAD: &str = "tcp_conn_limit.load";
const SET_RESERVE: &str = "tcp_conn_limit.set_reserve";
const SET_PRESSURE: &str = "tcp_conn_limit.set_pressure";

/// What the core logs when it rejects connections beyond its maximum.
const CORE_IS_FULL: &str = "maximum number of connections exceeded";

/// A server with at most `max` connections.
fn with_max(mode: Mode, max: u32) -> Config {
    mode.with_module()
        .core(&format!("tcp_max_connections={max}"))
        .core(&format!("tls_max_connections={max}"))
}

#[track_caller]
fn load(server: &Server) -> Value {
    server.rpc(LOAD, json!([]))
}

#[track_caller]
fn assert_open(clients: &mut [Client]) {
    for client in clients {
        assert!(client.is_admitted(), "a connection was closed");
    }
}

fn last_connections_are_for_trusted_rules(mode: Mode) {
    let server = with_max(mode, 20)
        .limit(100)
        .param("reserve", 5)
        .rule("127.200.0.0/24=10 trusted")
        .param("log_interval", 2)
        .tls()
        .start();
    let (greedy, phone, trunk) = (source(201, 0, 1), source(202, 0, 1), source(200, 0, 1));
    let mut held = server.admit_all(8, Via::Tcp, greedy);
    held.extend(server.admit_all(6, Via::Tls, greedy));
    assert_eq!(load(&server)["only_reserve_left"], "no");
    held.push(server.admit(Via::Tcp, phone));
    let now = load(&server);
    assert_eq!(number(&now, "in_use"), 15, "{now}");
    assert_eq!(now["only_reserve_left"], "yes", "{now}");
    assert_eq!(number(&now, "reserve_used"), 0, "{now}");
    // A source with connections, and one without.
    for from in [greedy, source(203, 0, 1)] {
        server.reject(Via::Tcp, from);
        server.reject(Via::Tls, from);
    }
    held.push(server.admit(Via::Tls, trunk));
    held.push(server.admit(Via::Tcp, trunk));
    held.push(server.admit(Via::Tcp, source(200, 0, 2)));
    server.wait_for_counter("reserve_used", 3);
    held.push(server.admit(Via::Tls, source(200, 0, 2)));
    held.push(server.admit(Via::Tcp, trunk));
    // Now the core itself rejects all.
    assert_eq!(number(&load(&server), "in_use"), 20);
    server.reject(Via::Tcp, trunk);
    server.reject(Via::Tcp, phone);
    assert_open(&mut held);
    let found = server.source("127.200.0.1");
    assert_eq!(found["trusted_rule"], "yes", "{found}");
    assert_eq!(found["terms"], "10 trusted", "{found}");
    let found = server.source("127.201.0.1");
    assert_eq!(found["rejected_for"], "reserve", "{found}");
    assert_eq!(found["only_reserve_left"], "yes", "{found}");
    let rejected = server.stat("reserve_rejected");
    // With hooks, the core rejects before it asks.
    let of_core = u64::from(mode == Mode::Interposed);
    assert_eq!(rejected, 4 + of_core);
    assert_eq!(server.stat("rejected"), rejected);
    server.wait_for_log(1, "only the reserve of 5 is left: ");
    // The reserve is free again.
    held.truncate(13);
    server.wait_for_connections(13);
    held.push(server.admit(Via::Tls, source(203, 0, 1)));
    server.wait_for_log(1, "the reserve of 5 has not been needed for ");
    let log = mode.finish(server, &[CORE_IS_FULL]);
    for line in [
        "only the reserve of 5 is left: ",
        "rejected connection from 127.201.0.1: only the reserve was left, rule default",
        " to keep the reserve of 5: ",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

fn heaviest_sources_are_rejected_first(mode: Mode) {
    let server = with_max(mode, 40)
        .limit(20)
        .text_param("pressure", "50:50% 75:3")
        .rule("127.200.0.1=20 trusted")
        .tls()
        .start();
    let (greedy, second, trunk) = (source(201, 0, 1), source(202, 0, 1), source(200, 0, 1));
    let mut held = server.admit_all(12, Via::Tcp, greedy);
    held.extend(server.admit_all(7, Via::Tls, second));
    held.push(server.admit(Via::Tcp, source(203, 0, 1)));
    // 20 of 40.
    server.reject(Via::Tcp, greedy);
    server.reject(Via::Tls, greedy);
    server.wait_for_log(1, ": 50 % of its limit for each source");
    server.wait_for_counter("pressure_level", 1);
    let found = server.source("127.201.0.1");
    assert_eq!(found["limit"], 20, "{found}");
    assert_eq!(found["effective_limit"], 10, "{found}");
    assert_eq!(found["rejected_for"], "pressure", "{found}");
    held.extend(server.admit_all(3, Via::Tcp, second));
    server.reject(Via::Tls, second);
    held.extend(server.admit_all(7, Via::Tls, trunk));
    // 30 of 40: honest clients still get in, and so do those of a trusted rule.
    for n in 1..=3 {
        held.push(server.admit(Via::Tcp, source(204, 0, n)));
        held.push(server.admit(Via::Tls, source(204, 1, n)));
    }
    server.wait_for_log(1, ": 50 % of its limit and at most 3 for each source");
    server.wait_for_counter("pressure_level", 2);
    held.push(server.admit(Via::Tls, trunk));
    held.extend(server.admit_all(2, Via::Tcp, source(204, 0, 1)));
    server.reject(Via::Tcp, source(204, 0, 1));
    assert_open(&mut held);
    assert_eq!(server.stat("pressure_rejected"), 4);
    assert_eq!(server.stat("rejected"), 4);
    assert!(server.source("127.200.0.1")["effective_limit"].is_null());
    // The greedy source closes, and the limits apply in full again.
    held.drain(..12);
    held.truncate(10);
    server.wait_for_connections(10);
    server.wait_for_log(1, ": the limits apply in full");
    server.wait_for_counter("pressure_level", 0);
    held.extend(server.admit_all(5, Via::Tcp, greedy));
    let rejected = "rejected connection from 127.201.0.1: 12 connections, limit 10 under pressure, \
                    rule default";
    server.wait_for_log(1, rejected);
    mode.finish(server, &[]);
}

fn each_family_is_under_pressure(mode: Mode) {
    in_own_network(|| {
        let server = with_max(mode, 20)
            .limit(100)
            .text_param("pressure", "50:2")
            .text_param("reserve", "25%")
            .rule("2001:db8:0:9::/64=5 trusted")
            .any_address()
            .start();
        let v4: IpAddr = source(201, 0, 1);
        let mut held: Vec<Client> = (0..5).filter_map(|_| open(&server, v4)).collect();
        held.extend((0..5).filter_map(|host| open(&server, address(1, host + 1))));
        assert_eq!(held.len(), 10);
        assert!(open(&server, v4).is_none());
        assert!(open(&server, address(1, 7)).is_none());
        for net in 2..7 {
            held.extend(open(&server, address(net, 1)));
        }
        assert_eq!(held.len(), 15);
        // Only the reserve is left.
        assert!(open(&server, address(8, 1)).is_none());
        assert!(open(&server, source(205, 0, 1)).is_none());
        held.extend((0..5).filter_map(|host| open(&server, address(9, host + 1))));
        assert_eq!(held.len(), 20);
        assert_eq!(server.stat("pressure_rejected"), 2);
        assert_eq!(server.stat("reserve_rejected"), 2);
        mode.finish(server, &[]);
    });
}

/// Connections that the server opens itself are not limited, but use up its maximum.
fn connections_of_the_server_count(mode: Mode) {
    let peer = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = peer.local_addr().expect("it is bound").port();
    let route = format!(
        "request_route {{\n\
         if (uri =~ \"^sip:out@\") {{ forward_tcp(\"127.0.0.1\", {port}); }}\n\
         sl_send_reply(\"200\", \"OK\");\n}}\n"
    );
    let server = with_max(mode, 10)
        .limit(100)
        .param("reserve", 6)
        .route(&route)
        .start();
    let from = source(201, 0, 1);
    let mut held = server.admit_all(3, Via::Tcp, from);
    held[0].ask("out");
    let _accepted = peer.accept().expect("the server connects");
    until("the core counts it", || {
        number(&load(&server), "in_use") == 4
    });
    server.reject(Via::Tcp, from);
    assert_eq!(server.stat("reserve_rejected"), 1);
    mode.finish(server, &[]);
}

/// The core has the maximum as a variable that can be lowered while it runs.
fn lowered_maximum_counts_at_once(mode: Mode) {
    let server = with_max(mode, 100)
        .limit(100)
        .text_param("reserve", "10%")
        .module("cfg_rpc.so")
        .start();
    let from = source(201, 0, 1);
    let _held = server.admit_all(18, Via::Tcp, from);
    server.rpc("cfg.set_now_int", json!(["tcp", "max_connections", 20]));
    until("TCP main has the new maximum", || {
        server.open(Via::Tcp, from).is_none()
    });
    assert_eq!(number(&load(&server), "max"), 20);
    server.wait_for_counter("reserve", 2);
    mode.finish(server, &[]);
}

fn commands_change_reserve_and_pressure(mode: Mode) {
    let server = with_max(mode, 10).limit(100).start();
    let from = source(201, 0, 1);
    let _held = server.admit_all(5, Via::Tcp, from);
    let answer = server.rpc(SET_RESERVE, json!([5]));
    assert_eq!(answer, json!({"reserve": "5", "was": "none"}));
    server.reject(Via::Tcp, from);
    let answer = server.rpc(SET_RESERVE, json!(["40%"]));
    assert_eq!(answer, json!({"reserve": "40%", "was": "5"}));
    let _another = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let answer = server.rpc(SET_RESERVE, json!(["none"]));
    assert_eq!(answer, json!({"reserve": "none", "was": "40%"}));
    let answer = server.rpc(SET_PRESSURE, json!(["50:50% 60:6"]));
    assert_eq!(answer, json!({"pressure": "50:50% 60:6", "was": "none"}));
    server.reject(Via::Tcp, from);
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    assert_eq!(stats["pressure"], "50:50% 60:6", "{stats}");
    assert_eq!(stats["reserve"], "none", "{stats}");
    assert_eq!(stats["pressure_level"], 2, "{stats}");
    let now = load(&server);
    assert_eq!(now["limit_percent"], 50, "{now}");
    assert_eq!(now["limit_connections"], 6, "{now}");
    assert_eq!(now["percent"], 60, "{now}");
    let answer = server.rpc(SET_PRESSURE, json!(["none"]));
    assert_eq!(answer, json!({"pressure": "none", "was": "50:50% 60:6"}));
    let _last = server.admit(Via::Tcp, from);
    let now = load(&server);
    assert_eq!(now["limit_connections"], "none", "{now}");
    let log = mode.finish(server, &[]);
    for line in [
        "reserve changed from none to 5 by RPC, process \"",
        "pressure changed from none to 50:50% 60:6 by RPC, process \"",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
}

fn wrong_arguments_are_refused(mode: Mode) {
    let server = with_max(mode, 10)
        .text_param("reserve", "3")
        .text_param("pressure", "80:50%")
        .start();
    for (command, arguments, expected) in [
        (
            SET_RESERVE,
            json!([]),
            "missing argument: expected a number",
        ),
        (
            SET_RESERVE,
            json!([10]),
            "it must be below tcp_max_connections (10)",
        ),
        (
            SET_RESERVE,
            json!([-1]),
            "reserve `-1`: expected one such as 100",
        ),
        (
            SET_RESERVE,
            json!(["0.5%"]),
            "expected a share from 1% to 99%",
        ),
        (SET_RESERVE, json!([1, 2]), "surplus argument \"2\""),
        (SET_PRESSURE, json!([]), "missing argument: expected levels"),
        (SET_PRESSURE, json!(["80:0"]), "must be 1 to 16777215"),
        (
            SET_PRESSURE,
            json!(["80:5", "90:3"]),
            "surplus argument \"90:3\"",
        ),
        (SET_PRESSURE, json!([true]), "argument 1 is `true`"),
        (LOAD, json!([1]), "surplus argument"),
    ] {
        let fault = server.fault(command, arguments.clone());
        assert_eq!(fault.code, 400, "{fault:?}");
        assert!(fault.message.contains(expected), "{arguments}: {fault:?}");
    }
    let now = load(&server);
    assert_eq!(now["reserve"], "3", "{now}");
    assert_eq!(now["pressure"], "80:50%", "{now}");
    mode.finish(server, &[]);
}

fn kamcmd_sets_and_shows(mode: Mode) {
    let server = with_max(mode, 100).start();
    let answer = server.kamcmd(&[SET_RESERVE, "5%"]);
    assert!(answer.contains("reserve: 5%"), "{answer}");
    let answer = server.kamcmd(&[SET_RESERVE, "7"]);
    assert!(answer.contains("reserve: 7"), "{answer}");
    let answer = server.kamcmd(&[SET_PRESSURE, "80:50% 90:10"]);
    assert!(answer.contains("pressure: 80:50% 90:10"), "{answer}");
    let answer = server.kamcmd(&[LOAD]);
    for line in [
        "max: 100",
        "reserve_connections: 7",
        "levels: 2",
        "level: 0",
    ] {
        assert!(answer.contains(line), "{answer}");
    }
    mode.finish(server, &[]);
}

fn wrong_parameters_refuse_the_start(mode: Mode) {
    let config = || with_max(mode, 10);
    for (config, expected) in [
        (
            config().param("reserve", 10),
            "reserve `10`: it must be below tcp_max_connections (10)",
        ),
        (
            config().param("reserve", -1),
            "reserve `-1`: expected one such as 100 or 5%, or none",
        ),
        (
            config().text_param("reserve", "many"),
            "reserve `many`: expected one such as",
        ),
        (
            config().text_param("pressure", "90:5 80:3"),
            "pressure `80:3`: write the levels",
        ),
        (
            config().param("pressure", 80),
            "modparam pressure: expected a quoted string",
        ),
        (
            config().also_route("event_route[tcp-conn-limit:presure] { exit; }"),
            "write event_route[tcp-conn-limit:pressure]",
        ),
    ] {
        let log = config.start_fails();
        assert_eq!(log.lines_with(expected).len(), 1, "{expected}: {log}");
    }
    let server = mode
        .with_module()
        .core("tcp_max_connections=100")
        .core("tls_max_connections=50")
        .param("reserve", 10)
        .tls()
        .start();
    server.wait_for_log(1, "set tls_max_connections to 100");
    mode.finish(server, &[]);
}

fn level_runs_the_event_route(mode: Mode) {
    let server = with_max(mode, 10)
        .module("xlog.so")
        .module("pv.so")
        .limit(100)
        .text_param("pressure", "50:9 80:8")
        .also_route(
            "event_route[tcp-conn-limit:pressure] {\n\
             xlog(\"L_NOTICE\", \"level $tcp_conn_limit(pressure_was) to \
             $tcp_conn_limit(pressure_level), $tcp_conn_limit(in_use) of \
             $tcp_conn_limit(in_use_max), $tcp_conn_limit(mode)\\n\");\n}\n",
        )
        .start();
    let from = source(201, 0, 1);
    let mut held = server.admit_all(6, Via::Tcp, from);
    server.wait_for_log(1, "level 0 to 1, 6 of 10, enforce");
    held.extend(server.admit_all(2, Via::Tcp, from));
    server.wait_for_log(1, "level 1 to 2, 8 of 10, enforce");
    held.clear();
    server.wait_for_log(1, " to 0, 0 of 10, enforce");
    mode.finish(server, &[]);
}

fn monitor_mode_says_what_it_would(mode: Mode) {
    let server = with_max(mode, 10)
        .limit(100)
        .text_param("mode", "monitor")
        .param("reserve", 2)
        .text_param("pressure", "50:3")
        .start();
    let from = source(201, 0, 1);
    let mut held = server.admit_all(8, Via::Tcp, from);
    held.push(server.admit(Via::Tcp, source(202, 0, 1)));
    assert_open(&mut held);
    assert_eq!(server.stat("pressure_would_reject"), 3);
    assert_eq!(server.stat("reserve_would_reject"), 1);
    assert_eq!(server.stat("would_reject"), 4);
    assert_eq!(server.stat("rejected"), 0);
    server.wait_for_log(1, "would reject connection from 127.201.0.1: ");
    let log = mode.finish(server, &[]);
    assert!(log.contains("; mode monitor rejects nothing"), "{log}");
}

fn full_server_is_not_an_offence(mode: Mode) {
    let server = with_max(mode, 10)
        .limit(100)
        .text_param("penalty", "rejected=60")
        .text_param("pressure", "50:3")
        .start();
    let from = source(201, 0, 1);
    let held = server.admit_all(5, Via::Tcp, from);
    for _ in 0..5 {
        server.reject(Via::Tcp, from);
    }
    assert_eq!(server.source("127.201.0.1")["penalty"], 0);
    drop(held);
    server.wait_for_connections(0);
    let _client = server.admit(Via::Tcp, from);
    mode.finish(server, &[]);
}

fn nothing_is_read_by_default(mode: Mode) {
    let server = with_max(mode, 10).limit(100).start();
    let from = source(201, 0, 1);
    let mut held = server.admit_all(10, Via::Tcp, from);
    assert_open(&mut held);
    let now = load(&server);
    assert_eq!(now["reserve"], "none", "{now}");
    assert_eq!(now["pressure"], "none", "{now}");
    assert_eq!(number(&now, "in_use"), 10, "{now}");
    assert_eq!(server.stat("rejected"), 0);
    let log = mode.finish(server, &[]);
    assert!(
        !log.contains("pressure") && !log.contains("reserve"),
        "{log}"
    );
}
