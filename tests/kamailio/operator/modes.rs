// SPDX-License-Identifier: GPL-2.0-or-later

//! The modes enforce, monitor and off, and the limits that `suggest` proposes.

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Via, number, source, until};

attached_either_way!(
    monitor_admits_all_and_reports,
    off_admits_all_and_counts,
    log_has_the_mode_of_the_rejection,
    enforce_is_the_default,
    suggest_proposes_limits,
    suggest_names_the_greediest_of_few,
    suggest_lists_the_ten_highest,
    suggest_without_sources_reports_zeros,
);

fn monitor_admits_all_and_reports(mode: Mode) {
    let server = mode
        .with_module()
        .text_param("mode", "monitor")
        .limit(2)
        .rule("127.41.0.0/16=1")
        .start();
    let mut held = server.admit_all(6, Via::Tcp, source(40, 0, 1));
    held.extend(server.admit_all(4, Via::Tcp, source(41, 0, 1)));
    held.extend(server.admit_all(2, Via::Tcp, source(40, 0, 2)));
    // The counts of each source.
    for (address, connections, would_reject) in [
        ("127.40.0.1", 6, 4),
        ("127.41.0.1", 4, 3),
        ("127.40.0.2", 2, 0),
    ] {
        let source = server.source(address);
        assert_eq!(number(&source, "connections"), connections, "{source}");
        assert_eq!(number(&source, "would_reject"), would_reject, "{source}");
        assert_eq!(number(&source, "rejected"), 0, "{source}");
    }
    // The counts of each rule.
    for (prefix, would_reject) in [("default", 4), ("127.41.0.0/16", 3)] {
        let rule = server.rule(prefix);
        assert_eq!(number(&rule, "would_reject"), would_reject, "{rule}");
        assert_eq!(number(&rule, "rejected"), 0, "{rule}");
    }
    assert_eq!(server.stat("would_reject"), 7);
    assert_eq!(server.stat("rejected"), 0);
    assert_eq!(server.stat("admitted"), 12);
    assert_eq!(server.counter("tcp", "local_reject"), 0);
    // The log lines.
    let reported = "would reject connection from ";
    server.wait_for_log(1, &format!("{reported}127.40.0.1: "));
    server.wait_for_log(1, &format!("{reported}127.41.0.1: "));
    let log = mode.finish(server, &[]);
    let line = log.lines_with(&format!("{reported}127.41.0.1: "))[0];
    for text in ["WARNING: tcp_conn_limit", "limit 1", "127.41.0.0/16"] {
        assert!(line.contains(text), "{line}");
    }
    assert!(log.lines_with("rejected connection from").is_empty());
    assert!(log.lines_with("127.40.0.2").is_empty());
}

fn off_admits_all_and_counts(mode: Mode) {
    let server = mode
        .with_module()
        .text_param("mode", "off")
        .limit(2)
        .rule("127.41.0.0/16=1")
        .start();
    let mut held = server.admit_all(6, Via::Tcp, source(40, 0, 1));
    held.extend(server.admit_all(4, Via::Tcp, source(41, 0, 1)));
    assert_eq!(server.counted("127.40.0.1"), 6);
    assert_eq!(server.counted("127.41.0.1"), 4);
    assert_eq!(server.stat("would_reject"), 0);
    assert_eq!(server.stat("rejected"), 0);
    // After enforcing again, the connections counted meanwhile count.
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    server.reject(Via::Tcp, source(40, 0, 1));
    server.reject(Via::Tcp, source(41, 0, 1));
    held.truncate(1);
    server.wait_for_connections(1);
    held.push(server.admit(Via::Tcp, source(40, 0, 1)));
    server.reject(Via::Tcp, source(40, 0, 1));
    mode.finish(server, &[]);
}

fn log_has_the_mode_of_the_rejection(mode: Mode) {
    let server = mode.with_module().limit(1).start();
    let set = |mode: &str| server.rpc("tcp_conn_limit.set_mode", json!([mode]));
    let mut held = vec![server.admit(Via::Tcp, source(40, 0, 1))];
    server.reject(Via::Tcp, source(40, 0, 1));
    set("monitor");
    held.extend(server.admit_all(2, Via::Tcp, source(40, 0, 2)));
    set("enforce");
    server.wait_for_log(1, "would reject connection from 127.40.0.2: ");
    server.wait_for_log(1, "rejected connection from 127.40.0.1: ");
    let log = mode.finish(server, &[]);
    assert_eq!(log.lines_with("connection from").len(), 2);
}

fn enforce_is_the_default(mode: Mode) {
    for config in [
        mode.with_module(),
        mode.with_module().text_param("mode", "enforce"),
    ] {
        let server = config.limit(1).start();
        let stats = server.rpc("tcp_conn_limit.stats", json!([]));
        assert_eq!(stats["mode"], "enforce");
        let _held = server.admit(Via::Tcp, source(40, 0, 1));
        server.reject(Via::Tcp, source(40, 0, 1));
        assert_eq!(server.stat("would_reject"), 0);
        mode.finish(server, &[]);
    }
}

/// The proposal for a rule.
#[track_caller]
fn suggestion(server: &Server, prefix: &str) -> Value {
    let all = server.rpc("tcp_conn_limit.suggest", json!([]));
    let mut list = all.as_array().expect("a list").iter();
    let found = list.find(|suggestion| suggestion["prefix"] == prefix);
    found
        .unwrap_or_else(|| panic!("nothing for {prefix} in {all}"))
        .clone()
}

fn suggest_proposes_limits(mode: Mode) {
    let server = mode
        .with_module()
        .text_param("mode", "monitor")
        .limit(2)
        .rule("127.42.0.0/16=3")
        .rule("127.43.0.0/16=unlimited")
        .start();
    // 99 of 100 sources had 9 connections at a time, two of 200 had more.
    let ordinary = (1..=198).map(|host| source(40, 0, host));
    let mut held: Vec<Client> = ordinary
        .flat_map(|from| server.admit_all(9, Via::Tcp, from))
        .collect();
    held.extend(server.admit_all(30, Via::Tcp, source(40, 1, 1)));
    held.extend(server.admit_all(14, Via::Tcp, source(40, 1, 2)));
    held.extend(server.admit_all(10, Via::Tcp, source(42, 0, 1)));
    assert_eq!(
        suggestion(&server, "default"),
        json!({"prefix": "default", "limit": 2, "sources": 200, "highest": 30,
            "peaks": "1: 0, 2: 0, 3-4: 0, 5-8: 0, 9-16: 199, 17-32: 1",
            "hit": "1: 100.00 %, 2: 100.00 %, 4: 100.00 %, 8: 100.00 %, 16: 0.50 %, 32: 0 %",
            "percentile": 99, "usual": 9, "proposed": 14, "above": 1, "rate": "none", "list": [{"source": "127.40.1.1", "peak": 30}]})
    );
    assert_eq!(
        suggestion(&server, "127.42.0.0/16"),
        json!({"prefix": "127.42.0.0/16", "limit": 3, "sources": 1, "highest": 10,
            "peaks": "1: 0, 2: 0, 3-4: 0, 5-8: 0, 9-16: 1",
            "hit": "1: 100.00 %, 2: 100.00 %, 4: 100.00 %, 8: 100.00 %, 16: 0 %",
            "percentile": 50, "usual": 10, "proposed": 15, "above": 0, "list": []})
    );
    // This rule has had no source.
    assert_eq!(
        suggestion(&server, "127.43.0.0/16"),
        json!({"prefix": "127.43.0.0/16", "limit": "none", "sources": 0, "highest": 0,
            "peaks": "", "hit": "", "percentile": 50, "usual": 0, "proposed": 8, "above": 0, "list": []})
    );
    let shown = server.kamcmd(&["tcp_conn_limit.suggest"]);
    assert!(shown.contains("proposed: 14"), "{shown}");

    // Enforce the proposed limits.
    held.clear();
    server.wait_for_connections(0);
    let proposed = number(&suggestion(&server, "default"), "proposed");
    assert_eq!(proposed, 14, "the peaks were not kept");
    server.rpc("tcp_conn_limit.set_limit", json!([proposed]));
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    let _held = server.admit_all(14, Via::Tcp, source(40, 1, 1));
    server.reject(Via::Tcp, source(40, 1, 1));
    mode.finish(server, &[]);
}

/// On a small site the 99th percentile would be that of the greediest source.
fn suggest_names_the_greediest_of_few(mode: Mode) {
    let server = mode.with_module().text_param("mode", "monitor").start();
    let ordinary = (1..=62).map(|host| server.admit(Via::Tcp, source(40, 0, host)));
    let mut held: Vec<Client> = ordinary.collect();
    held.extend(server.admit_all(21, Via::Tcp, source(40, 1, 1)));
    until("the watcher has seen the peaks", || {
        number(&suggestion(&server, "default"), "sources") == 63
    });
    let default = suggestion(&server, "default");
    for (name, value) in [("percentile", 90), ("usual", 1), ("proposed", 8)] {
        assert_eq!(number(&default, name), value, "{name}: {default}");
    }
    assert_eq!(
        default["list"],
        json!([{"source": "127.40.1.1", "peak": 21}])
    );
    let hit = "1: 1.58 %, 2: 1.58 %, 4: 1.58 %, 8: 1.58 %, 16: 1.58 %, 32: 0 %";
    assert_eq!(default["hit"], hit);
    mode.finish(server, &[]);
}

fn suggest_lists_the_ten_highest(mode: Mode) {
    let server = mode
        .with_module()
        .text_param("mode", "monitor")
        .core("tcp_max_connections=3000")
        .shared_memory(128)
        .start();
    // 1,200 sources with one connection, and the upper 1 % with 13 and more.
    let mut held: Vec<Client> = (0..1200)
        .map(|n| server.admit(Via::Tcp, source(44, (n / 200) as u8, (n % 200) as u8)))
        .collect();
    for n in 1..=12 {
        held.extend(server.admit_all(12 + usize::from(n), Via::Tcp, source(45, 0, n)));
    }
    let default = suggestion(&server, "default");
    for (name, value) in [
        ("sources", 1212),
        ("highest", 24),
        ("percentile", 99),
        ("usual", 1),
        ("proposed", 8),
        ("above", 12),
    ] {
        assert_eq!(number(&default, name), value, "{name}: {default}");
    }
    let expected: Vec<Value> = (3..=12)
        .rev()
        .map(|n| json!({"source": format!("127.45.0.{n}"), "peak": 12 + n}))
        .collect();
    assert_eq!(default["list"], Value::Array(expected));
    mode.finish(server, &[]);
}

fn suggest_without_sources_reports_zeros(mode: Mode) {
    let server = mode.with_module().limit(7).start();
    let all = server.rpc("tcp_conn_limit.suggest", json!([]));
    assert_eq!(
        all,
        json!([{"prefix": "default", "limit": 7, "sources": 0, "highest": 0, "peaks": "",
            "hit": "", "percentile": 50, "usual": 0, "proposed": 8, "above": 0, "rate": "none", "list": []}])
    );
    mode.finish(server, &[]);
}
