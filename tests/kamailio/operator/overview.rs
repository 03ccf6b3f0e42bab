// SPDX-License-Identifier: GPL-2.0-or-later

//! The operator's view of the table: RPC answers and the server's counters.

use std::fs;

use serde_json::{Value, json};
use tcp_conn_limit::ffi::TCL_ABI;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, source};

attached_either_way!(
    stats_reports_every_field,
    get_reports_one_source,
    top_lists_the_largest_first,
    empty_table_lists_no_source,
    audit_compares_with_the_core,
    counters_are_those_of_a_core_module,
    kamcmd_shows_the_commands,
);

/// A server with limit 4 that has seen four sources. Three have 4, 3 and 1 connections,
/// the first also 5 rejections, and the fourth has closed its connection.
fn busy(config: Config) -> (Server, Vec<Client>) {
    let server = config.limit(4).start();
    let mut held = server.admit_all(4, Via::Tcp, source(0, 4, 1));
    held.extend(server.admit_all(1, Via::Tcp, source(0, 4, 2)));
    held.extend(server.admit_all(3, Via::Tcp, source(0, 4, 3)));
    for _ in 0..5 {
        server.reject(Via::Tcp, source(0, 4, 1));
    }
    drop(server.admit(Via::Tcp, source(0, 4, 4)));
    server.wait_for_connections(8);
    (server, held)
}

fn stats_reports_every_field(mode: Mode) {
    let (server, _held) = busy(mode.with_module().core("tcp_max_connections=500"));
    let mut stats = server.rpc("tcp_conn_limit.stats", json!([]));
    let stats = stats.as_object_mut().expect("a struct");
    let version = stats.remove("version");
    assert!(
        version
            .as_ref()
            .and_then(Value::as_str)
            .is_some_and(|v| v.split('.').count() == 3),
        "{version:?}"
    );
    let slots = stats.remove("slots").and_then(|n| n.as_u64());
    assert!(slots >= Some(500), "{slots:?}");
    let memory = stats.remove("memory").and_then(|n| n.as_u64());
    // The rest is for rules.
    let most = 500 * 512 + (8 << 20);
    assert!(memory > Some(0) && memory <= Some(most), "{memory:?}");
    // A source without connections may still have its slot.
    let sources = stats.remove("sources").and_then(|n| n.as_u64());
    assert!(sources == Some(3) || sources == Some(4), "{sources:?}");
    // The watcher may be about to count them.
    let nearness = ["busiest_connections", "highest_share", "near_limit"];
    for (name, most) in nearness.into_iter().zip([4, 100, 1]) {
        let value = stats.remove(name).and_then(|n| n.as_u64());
        assert!(value <= Some(most) && value.is_some(), "{name}: {value:?}");
    }
    for name in ["entries", "unlisted", "dropped", "floods", "would_list"] {
        let value = stats.remove(&format!("shield_{name}"));
        assert_eq!(value, Some(json!(0)), "{name}");
    }
    let mut expected = json!({
        "attached": mode.attached(), "limit": 4, "ipv4_prefix": 32, "ipv6_prefix": 64,
        "capacity": 500, "connections": 8, "admitted": 9, "rejected": 5,
        "errors": 0, "panics": 0, "table_full": 0, "bad_address": 0, "stale_token": 0,
        "descriptor_reused": 0, "untracked": 0, "untracked_rejected": 0,
        "mode": "enforce", "on_full": "admit", "rules": 0, "would_reject": 0,
        "full_rejected": 0, "reloads": 0, "huge_pages": 0, "rules_set": 0,
        // They are counted at the end of the interval.
        "log_suppressed": 0,
        "rate": "none", "banned": 0, "rate_rejected": 0, "rate_would_reject": 0,
        "ban_rejected": 0, "ban_would_reject": 0, "bans": 0, "would_ban": 0,
        "penalty_silent": 0, "penalty_tls": 0, "penalty_rejected": 0, "penalty_rate": 0,
        "penalty_script": 0, "forgotten": 0,
    });
    for of_others in [
        "networks",
        "busiest_network",
        "near_network_limit",
        "network_rejected",
        "network_would_reject",
        "network_uncounted",
        "moved",
        "move_rejected",
        "move_would_reject",
        "move_invalid",
    ] {
        expected[of_others] = json!(0);
    }
    for of_trust in [
        "trusted",
        "untrusted",
        "untrusted_limit",
        "trust_timeout",
        "untrusted_rejected",
        "untrusted_would_reject",
        "became_trusted",
        "trust_timeouts",
        "would_trust_timeout",
    ] {
        expected[of_trust] = json!(0);
    }
    // The macro has a limit of its own.
    let of_load = json!({
        "in_use": 8, "reserve": "none", "reserve_used": 0, "reserve_rejected": 0,
        "reserve_would_reject": 0, "pressure": "none", "pressure_level": 0,
        "pressure_rejected": 0, "pressure_would_reject": 0,
        "cluster_rejected": 0, "cluster_would_reject": 0, "cluster_nodes": 0,
        "cluster_limit": 0, "cluster_sources": 0, "cluster_sent": 0, "cluster_received": 0,
        "cluster_lost": 0, "cluster_bad": 0, "cluster_no_room": 0, "cluster_bans_sent": 0,
        "cluster_bans_received": 0, "cluster_bans_refused": 0,
    });
    let more = of_load.as_object().expect("a struct").clone();
    expected.as_object_mut().expect("a struct").extend(more);
    assert_eq!(Value::Object(stats.clone()), expected);
    mode.finish(server, &[]);
}

/// The expected report of a source of these tests, without the sampled fields.
fn reported(source: &str, connections: u32, rejected: u32) -> Value {
    let mut report = json!({
        "source": source, "connections": connections, "limit": 4, "rule": "default",
        "terms": "4", "rejected": rejected, "would_reject": 0, "rate": "none", "penalty": 0, "banned": 0,
    });
    if rejected > 0 {
        report["rejected_for"] = json!("limit");
    }
    report
}

/// Removes the fields that depend on the time, and on when the watcher samples.
#[track_caller]
fn without_sampled(mut source: Value) -> Value {
    let fields = source.as_object_mut().expect("a struct");
    for name in ["peak", "first_seen", "last_seen"] {
        let value = fields.remove(name);
        assert!(value.is_some_and(|value| value.is_u64()), "{name}");
    }
    for name in ["first_seen_local", "last_seen_local"] {
        let value = fields.remove(name);
        assert!(value.is_some_and(|value| value.is_string()), "{name}");
    }
    source
}

fn get_reports_one_source(mode: Mode) {
    let (server, _held) = busy(mode.with_module());
    let get = |address: &str| {
        let mut found = server.source(address);
        let oldest = found["oldest"].take().as_u64();
        // No connection is older than this test.
        assert!(oldest < Some(60), "{oldest:?}");
        assert_eq!(oldest.is_some(), found["connections"] != 0, "{found}");
        found.as_object_mut().expect("a struct").remove("oldest");
        without_sampled(found)
    };
    assert_eq!(get("127.0.4.1"), reported("127.0.4.1", 4, 5));
    assert_eq!(get("127.0.4.3"), reported("127.0.4.3", 3, 0));
    // No connection has come from this address.
    assert_eq!(get("10.1.2.3"), reported("10.1.2.3", 0, 0));
    assert_eq!(get("2001:db8::77"), reported("2001:db8::/64", 0, 0));
    for bad in [
        json!(["no address"]),
        json!(["127.0.0"]),
        json!([""]),
        json!([]),
    ] {
        let fault = server.fault("tcp_conn_limit.get", bad.clone());
        assert_eq!(fault.code, 400, "{bad}: {}", fault.message);
    }
    mode.finish(server, &[]);
}

fn top_lists_the_largest_first(mode: Mode) {
    let (server, _held) = busy(mode.with_module());
    let top = |parameters| -> Vec<Value> {
        let top = server.rpc("tcp_conn_limit.top", parameters);
        let list = top.as_array().expect("a list").iter().cloned();
        list.map(without_sampled).collect()
    };
    let first = reported("127.0.4.1", 4, 5);
    let second = reported("127.0.4.3", 3, 0);
    let third = reported("127.0.4.2", 1, 0);
    assert_eq!(top(json!([2])), [first.clone(), second.clone()]);
    assert_eq!(top(json!([1])), std::slice::from_ref(&first));
    assert_eq!(top(json!([])), [first, second, third]);
    for bad in [json!([0]), json!([-1]), json!([401])] {
        let fault = server.fault("tcp_conn_limit.top", bad.clone());
        assert_eq!(fault.code, 400, "{bad}: {}", fault.message);
    }
    // Without a number, ten are listed.
    let _more: Vec<Client> = (10..30)
        .map(|host| server.admit(Via::Tcp, source(0, 4, host)))
        .collect();
    assert_eq!(top(json!([])).len(), 10);
    assert_eq!(top(json!([400])).len(), 23);
    mode.finish(server, &[]);
}

fn empty_table_lists_no_source(mode: Mode) {
    let server = mode.with_module().start();
    let top = server.rpc("tcp_conn_limit.top", json!([]));
    assert_eq!(top, json!([]));
    mode.finish(server, &[]);
}

fn audit_compares_with_the_core(mode: Mode) {
    let (server, held) = busy(mode.with_module());
    let audit = |server: &Server| server.rpc("tcp_conn_limit.audit", json!([]));
    assert_eq!(
        audit(&server),
        json!({"connections": 8, "counted": 8, "uncounted": 0, "differences": 0, "list": []})
    );
    drop(held);
    server.wait_for_connections(0);
    assert_eq!(
        audit(&server),
        json!({"connections": 0, "counted": 0, "uncounted": 0, "differences": 0, "list": []})
    );
    mode.finish(server, &[]);
}

fn counters_are_those_of_a_core_module(mode: Mode) {
    let (server, _held) = busy(mode.with_module().core("tcp_max_connections=500"));
    server.wait_for_counter("connections", 8);
    for (name, value) in [
        ("connections", 8),
        ("admitted", 9),
        ("rejected", 5),
        ("errors", 0),
        ("capacity", 500),
    ] {
        assert_eq!(server.counter("tcp_conn_limit", name), value, "{name}");
        let line = server.kamcmd(&["cnt.get", "tcp_conn_limit", name]);
        assert_eq!(line.trim(), value.to_string(), "{name}");
    }
    let all = server.kamcmd(&["stats.get_statistics", "tcp_conn_limit:"]);
    for line in [
        "tcp_conn_limit:connections = 8",
        "tcp_conn_limit:rejected = 5",
    ] {
        assert!(all.contains(line), "{all}");
    }
    let sources = server.counter("tcp_conn_limit", "sources");
    assert_eq!(sources, server.stat("sources"));
    mode.finish(server, &[]);
}

fn kamcmd_shows_the_commands(mode: Mode) {
    let (server, _held) = busy(mode.with_module());
    let stats = server.kamcmd(&["tcp_conn_limit.stats"]);
    assert!(stats.contains("connections: 8"), "{stats}");
    let get = server.kamcmd(&["tcp_conn_limit.get", "127.0.4.1"]);
    assert!(
        get.contains("connections: 4") && get.contains("rejected: 5"),
        "{get}"
    );
    let top = server.kamcmd(&["tcp_conn_limit.top", "2"]);
    assert_eq!(top.matches("source:").count(), 2, "{top}");
    let audit = server.kamcmd(&["tcp_conn_limit.audit"]);
    assert!(audit.contains("differences: 0"), "{audit}");
    mode.finish(server, &[]);
}

#[test]
fn module_calls_its_own_librarys_functions() {
    // The server also has a function tcp_connection_limit_srcip, which the dynamic
    // linker prefers. The linker logs which functions it bound. This cannot be seen in a
    // running server, because it closes the linker's file and reuses the descriptor for
    // a socket.
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = Config::with_module()
        .environment("LD_DEBUG", "bindings".as_ref())
        .environment("LD_DEBUG_OUTPUT", &dir.path().join("bindings"))
        .check();
    assert!(output.status.success(), "{output:?}");
    let mut bindings = String::new();
    for file in fs::read_dir(dir.path()).expect("the directory is there") {
        let path = file.expect("the directory can be read").path();
        bindings += &fs::read_to_string(path).expect("the linker writes text");
    }
    let of_module: Vec<&str> = bindings
        .lines()
        .filter(|line| line.contains("/tcp_conn_limit.so [0] to "))
        .collect();
    for function in ["tcl_check", "tcl_opened", "tcl_closed"] {
        let line = of_module
            .iter()
            .find(|line| line.ends_with(&format!("`{function}'")))
            .unwrap_or_else(|| panic!("{function} is not among {of_module:#?}"));
        let library = format!("/libtcp_conn_limit.so.{TCL_ABI} [0]: ");
        assert!(line.contains(&library), "{line}");
    }
    let of_the_core = "`tcp_connection_limit_srcip'";
    assert!(!of_module.iter().any(|line| line.ends_with(of_the_core)));
}
