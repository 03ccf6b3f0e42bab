// SPDX-License-Identifier: GPL-2.0-or-later

//! Changes at run time, without a restart and without losing counts.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

use support::SetAtEnd;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Fault, Server, Via, number, source, until};

attached_either_way!(
    reload_changes_limits_and_keeps_counts,
    reload_applies_to_later_sources,
    reload_keeps_modparam_rules,
    reload_without_a_file_succeeds,
    reload_is_rate_limited,
    reload_keeps_old_rules_on_error,
    rules_reports_statistics_of_each_rule,
    set_limit_closes_nothing,
    set_limit_keeps_the_rules,
    set_limit_refuses_what_is_not_a_limit,
    changes_report_what_was,
    cfg_framework_changes_limit_and_mode,
    cfg_framework_checks_ranges,
    set_mode_takes_effect_at_once,
    reset_stats_clears_events_and_keeps_counts,
    restart_reads_the_configuration,
    wrong_arguments_are_faults,
    counts_are_right_while_reloading,
    concurrent_reloads_succeed_or_report_busy,
);

/// Two prefixes of the tests.
const RULES: &str = "127.31.0.0/16=2\n127.32.0.0/16=3\n";

fn with_rules(mode: Mode) -> Config {
    mode.with_module().limit(5).rules_file(RULES)
}

#[track_caller]
fn reload(server: &Server, rules: &str) {
    server.write_rules(rules);
    server.rpc("tcp_conn_limit.reload", json!([]));
}

/// Checks that exactly `room` more connections of the source are admitted.
#[track_caller]
fn take_all(server: &Server, from: IpAddr, room: usize) -> Vec<Client> {
    let held = server.admit_all(room, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    held
}

#[track_caller]
fn assert_held(server: &Server, from: IpAddr, count: u64, held: &mut [Client]) {
    assert_eq!(server.counted(&from.to_string()), count);
    for client in held {
        assert!(client.is_admitted(), "a connection of {from} was closed");
    }
}

fn reload_changes_limits_and_keeps_counts(mode: Mode) {
    let server = with_rules(mode).start();
    let from = source(31, 0, 1);
    let mut held = take_all(&server, from, 2);
    assert_eq!(server.stat("reloads"), 0);

    // A higher limit.
    reload(&server, "127.31.0.0/16=4\n127.32.0.0/16=3\n");
    assert_eq!(server.stat("reloads"), 1);
    assert_held(&server, from, 2, &mut held);
    held.extend(take_all(&server, from, 2));

    // A limit below the count closes nothing and admits nothing.
    reload(&server, "127.31.0.0/16=1\n");
    assert_held(&server, from, 4, &mut held);
    take_all(&server, from, 0);
    held.truncate(1);
    server.wait_for_connections(1);
    take_all(&server, from, 0);
    held.clear();
    server.wait_for_connections(0);
    held.extend(take_all(&server, from, 1));

    // First another rule for the same source, then no rule.
    reload(&server, "127.31.0.0/16=1\n127.31.0.1=3\n");
    assert_held(&server, from, 1, &mut held);
    assert_eq!(server.source("127.31.0.1")["rule"], "127.31.0.1");
    held.extend(take_all(&server, from, 2));
    reload(&server, "# all default\n");
    assert_held(&server, from, 3, &mut held);
    assert_eq!(server.source("127.31.0.1")["rule"], "default");
    held.extend(take_all(&server, from, 2));
    reload(&server, "127.31.0.1=unlimited\n");
    held.extend(server.admit_all(20, Via::Tcp, from));
    assert_held(&server, from, 25, &mut held);
    assert_eq!(server.stat("reloads"), 5);
    mode.finish(server, &[]);
}

fn reload_applies_to_later_sources(mode: Mode) {
    let server = with_rules(mode).start();
    reload(&server, "127.31.0.0/16=3\n");
    let _held = take_all(&server, source(31, 0, 1), 3);
    let _held = take_all(&server, source(32, 0, 1), 5);
    mode.finish(server, &[]);
}

fn reload_keeps_modparam_rules(mode: Mode) {
    let server = with_rules(mode).rule("127.33.0.0/16=1").start();
    reload(&server, "127.31.0.0/16=4\n");
    assert_eq!(server.stat("rules"), 2);
    let _held = take_all(&server, source(33, 0, 1), 1);
    mode.finish(server, &[]);
}

fn reload_without_a_file_succeeds(mode: Mode) {
    let server = mode.with_module().rule("127.33.0.0/16=1").start();
    let answer = server.rpc("tcp_conn_limit.reload", json!([]));
    assert_eq!(
        answer,
        json!({"rules": 1, "was": 1, "rules_file": "none",
            "note": "no rules file was read: modparam rules_file is not set"})
    );
    server.wait_for_log(
        1,
        "reload: active rules: 1, before: 1; rules_file is not set",
    );
    let _held = take_all(&server, source(33, 0, 1), 1);
    mode.finish(server, &[]);
}

fn reload_is_rate_limited(mode: Mode) {
    if !mode.knows("rpc_exec_delta") {
        return;
    }
    // The core limits the rate of all commands that reload something.
    let server = with_rules(mode).core("rpc_exec_delta=3600").start();
    reload(&server, "127.31.0.0/16=4\n");
    server.write_rules("127.31.0.0/16=9\n");
    server.fault("tcp_conn_limit.reload", json!([]));
    assert_eq!(server.source("127.31.0.1")["limit"], 4);
    mode.finish(server, &["is limited by delta"]);
}

fn reload_keeps_old_rules_on_error(mode: Mode) {
    let server = with_rules(mode).rule("127.33.0.0/16=1").start();
    let from = source(31, 0, 1);
    let mut held = take_all(&server, from, 2);
    for (rules, origin, text) in [
        (
            "127.31.0.0/16=9\n127.32.0.0/16=zero\n",
            "/rules:2",
            "127.32.0.0/16=zero",
        ),
        (
            "\n\n# three\n127.31.0.1/16=9\n",
            "/rules:4",
            "127.31.0.1/16=9",
        ),
        ("127.31.0.0/16=0\n", "/rules:1", "127.31.0.0/16=0"),
        (
            "127.31.0.0/16=9\n127.31.0.0/16=8",
            "/rules:2",
            "127.31.0.0/16=8",
        ),
        // It was cut off.
        ("# begin\n127.31.0.0/16=9\n", "/rules:2", "127.31.0.0/16=9"),
    ] {
        server.write_rules(rules);
        let fault = server.fault("tcp_conn_limit.reload", json!([]));
        for part in [origin, text] {
            assert!(fault.message.contains(part), "{part} is not in {fault:?}");
        }
        assert_eq!(server.stat("rules"), 3);
        assert_eq!(server.source("127.31.0.1")["limit"], 2);
        take_all(&server, from, 0);
    }
    assert_eq!(server.stat("reloads"), 0);
    // The corrected file is loaded.
    reload(&server, "127.31.0.0/16=3\n");
    held.extend(take_all(&server, from, 1));
    // No file at all.
    std::fs::remove_file(server.dir().join("rules")).expect("the file is there");
    let fault = server.fault("tcp_conn_limit.reload", json!([]));
    assert!(fault.message.contains("No such file"), "{fault:?}");
    take_all(&server, from, 0);
    assert_held(&server, from, 3, &mut held);
    // The log may contain these errors.
    mode.finish(server, &["/rules", "tcp_conn_limit"]);
}

fn rules_reports_statistics_of_each_rule(mode: Mode) {
    let server = with_rules(mode).start();
    let mut held = take_all(&server, source(31, 0, 1), 2);
    held.extend(take_all(&server, source(31, 0, 2), 2));
    held.extend(server.admit_all(1, Via::Tcp, source(31, 0, 3)));
    held.extend(take_all(&server, source(33, 0, 1), 5));
    for _ in 0..3 {
        server.reject(Via::Tcp, source(31, 0, 2));
    }
    let expected = |first_limit, origins: [&str; 2]| {
        json!([
            {"prefix": "127.31.0.0/16", "limit": first_limit,
                "terms": i32::to_string(&first_limit), "origin": origins[0], "sources": 3,
                "connections": 5, "rejected": 5, "would_reject": 0},
            {"prefix": "127.32.0.0/16", "limit": 3, "terms": "3", "origin": origins[1], "sources": 0,
                "connections": 0, "rejected": 0, "would_reject": 0},
            {"prefix": "default", "limit": 5, "terms": "5", "origin": "default", "sources": 1,
                "connections": 5, "rejected": 1, "would_reject": 0},
        ])
    };
    let rules = |server: &Server| server.rpc("tcp_conn_limit.rules", json!([]));
    assert_eq!(sorted(rules(&server)), expected(2, ["file:1", "file:2"]));
    // Statistics are kept for a prefix that stays, even if its limit changes.
    reload(&server, "127.32.0.0/16=3\n127.31.0.0/16=3\n");
    assert_eq!(sorted(rules(&server)), expected(3, ["file:2", "file:1"]));
    // They are also kept for the default when a rule takes its source.
    reload(&server, "127.33.0.0/16=unlimited\n127.31.0.0/16=3\n");
    let default = server.rule("default");
    assert_eq!(number(&default, "sources"), 0, "{default}");
    assert_eq!(number(&default, "rejected"), 1, "{default}");
    let new = server.rule("127.33.0.0/16");
    assert_eq!(
        new,
        json!({"prefix": "127.33.0.0/16", "limit": "none", "terms": "none", "origin": "file:1", "sources": 1,
            "connections": 5, "rejected": 0, "would_reject": 0})
    );
    assert_eq!(number(&server.rule("127.31.0.0/16"), "rejected"), 5);
    let shown = server.kamcmd(&["tcp_conn_limit.rules"]);
    assert!(shown.contains("prefix: 127.33.0.0/16"), "{shown}");
    mode.finish(server, &[]);
}

/// Rules in the order of their prefixes, the default last.
#[track_caller]
fn sorted(mut rules: Value) -> Value {
    let list = rules.as_array_mut().expect("a list of rules");
    assert_eq!(list.last().expect("the default")["prefix"], "default");
    list.sort_by_key(|rule| rule["prefix"].as_str().map(ToOwned::to_owned));
    rules
}

fn set_limit_closes_nothing(mode: Mode) {
    let server = mode.with_module().limit(5).start();
    let from = source(34, 0, 1);
    let set = |limit: i32| server.rpc("tcp_conn_limit.set_limit", json!([limit]));
    let set_none = || server.rpc("tcp_conn_limit.set_limit", json!(["none"]));
    let mut held = take_all(&server, from, 5);
    set(3);
    assert_eq!(server.stat("limit"), 3);
    assert_eq!(server.source("127.34.0.1")["limit"], 3);
    assert_held(&server, from, 5, &mut held);
    for left in [5, 4, 3] {
        held.truncate(left);
        server.wait_for_connections(left as u64);
        take_all(&server, from, 0);
    }
    held.truncate(2);
    server.wait_for_connections(2);
    held.extend(take_all(&server, from, 1));
    set(4);
    held.extend(take_all(&server, from, 1));
    set_none();
    held.extend(server.admit_all(20, Via::Tcp, from));
    assert_eq!(server.source("127.34.0.1")["limit"], "none");
    set(24);
    take_all(&server, from, 0);
    assert_held(&server, from, 24, &mut held);
    mode.finish(server, &[]);
}

/// What a client may send that is not a limit: each is a fault with the value and the
/// remedy, and changes nothing.
fn set_limit_refuses_what_is_not_a_limit(mode: Mode) {
    // A call over HTTP is also a connection.
    let server = mode
        .with_module()
        .limit(5)
        .rule("127.0.0.1=unlimited")
        .http("tcp_conn_limit:")
        .start();
    let fault = |arguments: &Value, fault: Fault, reported: &str| {
        assert_eq!(fault.code, 400, "{arguments}: {fault:?}");
        for part in [reported, "none"] {
            assert!(fault.message.contains(part), "{arguments}: {fault:?}");
        }
        assert_eq!(server.stat("limit"), 5, "{arguments}");
    };
    for (arguments, reported) in [
        (json!([]), "missing limit"),
        (json!([4_294_967_296_u64]), "`4294967296`"),
        (json!([2_147_483_648_u64]), "`2147483648`"),
        (json!([99_999_999_999_u64]), "`99999999999`"),
        (json!([1_215_752_191]), "`1215752191`"),
        (json!([100_000_001]), "1 to 100000000"),
        (json!([0]), "`0`"),
        (json!([-3]), "`-3`"),
        (json!([1.5]), "`1.5`"),
        (json!([0.5]), "`0.5`"),
        (json!([1e20]), "`1e+20`"),
        (json!([-1e20]), "`-1e+20`"),
        (json!([""]), "``"),
        (json!([" "]), "` `"),
        (json!(["many"]), "`many`"),
        (json!(["0"]), "`0`"),
        (json!(["-3"]), "`-3`"),
        (json!(["1.5"]), "`1.5`"),
        (json!(["1 2"]), "`1 2`"),
        (json!(["99999999999999999999"]), "`99999999999999999999`"),
        (json!(["-18446744073709551615"]), "`-18446744073709551615`"),
        (json!([null]), "`null`"),
        (json!([false]), "`false`"),
        (json!([true]), "`true`"),
        (json!([[7]]), "`[...]`"),
        (json!([{"limit": 7}]), "`{...}`"),
    ] {
        let method = "tcp_conn_limit.set_limit";
        fault(
            &arguments,
            server.fault(method, arguments.clone()),
            reported,
        );
        let by_http = server.try_rpc_by_http(method, arguments.clone());
        fault(&arguments, by_http.unwrap_err(), reported);
    }
    // Two limits: the remedy is another one.
    let surplus = server.fault("tcp_conn_limit.set_limit", json!([1, 2]));
    assert!(
        surplus.message.contains("surplus argument \"2\""),
        "{surplus:?}"
    );

    for (arguments, reported) in [
        (&[][..], "missing limit"),
        // kamcmd cuts these to 32 bits: 0, -2147483648 and 1215752191.
        (&["4294967296"], "`0`"),
        (&["2147483648"], "`-2147483648`"),
        (&["99999999999"], "`1215752191`"),
        (&["0"], "`0`"),
        (&[""], "`0`"),
        (&["s:"], "``"),
        (&["s:-3"], "`-3`"),
        (&["1.5"], "`1.5`"),
        (&["1e20"], "`-"),
        (&["many"], "`many`"),
        (&["1", "2"], "surplus argument \"2\""),
        (&["1", "1.5"], "surplus argument \"1.5\""),
        (&["1", "none"], "surplus argument \"none\""),
    ] {
        let call = [&["tcp_conn_limit.set_limit"], arguments].concat();
        let error = server.try_kamcmd(&call).unwrap_err();
        assert!(error.starts_with("400 - "), "{arguments:?}: {error}");
        assert!(error.contains(reported), "{arguments:?}: {error}");
        assert!(!error.contains("if you get this"), "{arguments:?}: {error}");
        assert_eq!(server.stat("limit"), 5, "{arguments:?}");
    }
    let log = mode.finish(server, &[]);
    assert!(log.lines_with("limit changed").is_empty());
}

/// The answer and the log show the new and the old value, and the log the process that
/// received the command.
fn changes_report_what_was(mode: Mode) {
    let server = with_rules(mode).module("cfg_rpc.so").start();
    let set = |limit: Value| server.rpc("tcp_conn_limit.set_limit", json!([limit]));
    assert_eq!(set(json!(7)), json!({"limit": 7, "was": 5}));
    assert_eq!(set(json!("none")), json!({"limit": "none", "was": 7}));
    assert_eq!(
        server.rpc("tcp_conn_limit.stats", json!([]))["limit"],
        "none"
    );
    assert_eq!(server.rule("default")["limit"], "none");
    assert_eq!(set(json!("8")), json!({"limit": 8, "was": "none"}));
    assert_eq!(set(json!(8)), json!({"limit": 8, "was": 8}));
    let kamcmd = |command: &[&str]| -> Vec<String> {
        let shown = server.kamcmd(command);
        let lines = shown.lines().map(|line| line.trim().to_owned());
        lines.filter(|line| line.contains(": ")).collect()
    };
    let set_limit = "tcp_conn_limit.set_limit";
    assert_eq!(kamcmd(&[set_limit, "9"]), ["limit: 9", "was: 8"]);
    assert_eq!(kamcmd(&[set_limit, "unlimited"]), ["limit: none", "was: 9"]);
    assert_eq!(kamcmd(&[set_limit, "1e3"]), ["limit: 1000", "was: none"]);
    assert_eq!(
        server.rpc("tcp_conn_limit.set_mode", json!(["monitor"])),
        json!({"mode": "monitor", "was": "enforce"})
    );
    let set_mode = "tcp_conn_limit.set_mode";
    assert_eq!(kamcmd(&[set_mode, "off"]), ["mode: off", "was: monitor"]);
    assert_eq!(
        kamcmd(&[set_mode, "enforce"]),
        ["mode: enforce", "was: off"]
    );
    server.write_rules("127.31.0.0/16=4\n127.32.0.0/16=4\n127.33.0.0/16=none\n");
    let file = server.dir().join("rules").display().to_string();
    assert_eq!(
        server.rpc("tcp_conn_limit.reload", json!([])),
        json!({"rules": 3, "was": 2, "rules_file": file})
    );
    assert_eq!(server.rule("127.33.0.0/16")["limit"], "none");

    let _held = take_all(&server, source(31, 0, 1), 4);
    assert_eq!(
        server.rpc("tcp_conn_limit.reset_stats", json!([])),
        json!({"admitted": 0, "rejected": 0, "would_reject": 0,
            "admitted_was": 4, "rejected_was": 1, "would_reject_was": 0})
    );
    set_now(&server, "limit", 6);
    set_now(&server, "mode", 1);
    server.wait_for_log(1, "mode changed from enforce to monitor by a cfg variable");

    let log = mode.finish(server, &[]);
    let datagram = "RPC, process \"JSONRPCS DATAGRAM\"";
    let ctl = "RPC, process \"ctl handler\"";
    for (line, by) in [
        ("limit changed from 5 to 7", datagram),
        ("limit changed from 7 to none", datagram),
        ("limit changed from none to 8", datagram),
        ("limit changed from 8 to 9", ctl),
        ("limit changed from 9 to none", ctl),
        ("limit changed from none to 1000", ctl),
        ("limit changed from 1000 to 6", "a cfg variable"),
        ("mode changed from enforce to monitor by RPC", datagram),
        ("mode changed from monitor to off", ctl),
        ("mode changed from off to enforce", ctl),
        ("reload: active rules: 3, before: 2; rules_file /", datagram),
        ("statistics reset", datagram),
    ] {
        let lines = log.lines_with(line);
        assert_eq!(lines.len(), 1, "{line} in\n{log}");
        for text in ["NOTICE: tcp_conn_limit", by] {
            assert!(lines[0].contains(text), "{text} in {}", lines[0]);
        }
    }
    // A limit that stays the same is not a change.
    assert_eq!(log.lines_with("limit changed").len(), 7);
}

fn set_limit_keeps_the_rules(mode: Mode) {
    let server = with_rules(mode).start();
    server.rpc("tcp_conn_limit.set_limit", json!([1]));
    let _held = [
        take_all(&server, source(31, 0, 1), 2),
        take_all(&server, source(40, 0, 1), 1),
    ];
    mode.finish(server, &[]);
}

/// The value of a variable of the group, as returned by cfg_rpc.
#[track_caller]
fn configured(server: &Server, name: &str) -> Value {
    server.rpc("cfg.get", json!(["tcp_conn_limit", name]))
}

#[track_caller]
fn set_now(server: &Server, name: &str, value: i32) {
    server.rpc("cfg.set_now_int", json!(["tcp_conn_limit", name, value]));
}

fn cfg_framework_changes_limit_and_mode(mode: Mode) {
    let server = mode
        .with_module()
        .module("cfg_rpc.so")
        .limit(2)
        .param("log_interval", 5)
        .param("log_level", 1)
        .start();
    for (name, value) in [
        ("limit", 2),
        ("mode", 0),
        ("log_interval", 5),
        ("log_level", 1),
    ] {
        assert_eq!(configured(&server, name), value, "{name}");
    }
    let from = source(34, 0, 1);
    let mut held = take_all(&server, from, 2);

    set_now(&server, "limit", 3);
    until("the limit is 3", || server.stat("limit") == 3);
    held.extend(take_all(&server, from, 1));

    set_now(&server, "mode", 1);
    until("the mode is monitor", || mode_of(&server) == "monitor");
    held.extend(server.admit_all(2, Via::Tcp, from));
    set_now(&server, "mode", 2);
    until("the mode is off", || mode_of(&server) == "off");
    held.extend(server.admit_all(2, Via::Tcp, from));
    set_now(&server, "mode", 0);
    until("the mode is enforce", || mode_of(&server) == "enforce");
    take_all(&server, from, 0);

    // The RPC command and the cfg framework set the same value.
    server.rpc("tcp_conn_limit.set_limit", json!([9]));
    assert_eq!(configured(&server, "limit"), 9);
    server.rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
    assert_eq!(configured(&server, "mode"), 1);
    assert_held(&server, from, 7, &mut held);
    mode.finish(server, &[]);
}

fn cfg_framework_checks_ranges(mode: Mode) {
    let server = mode.with_module().module("cfg_rpc.so").start();
    for (name, wrong) in [
        ("limit", -2),
        ("limit", 100_000_001),
        ("mode", -1),
        ("mode", 3),
        ("log_interval", 0),
        ("log_interval", 86_401),
        ("log_level", -6),
        ("log_level", 4),
    ] {
        let before = configured(&server, name);
        server.fault("cfg.set_now_int", json!(["tcp_conn_limit", name, wrong]));
        assert_eq!(configured(&server, name), before);
    }
    for name in ["limit", "mode", "log_interval", "log_level"] {
        let help = server.kamcmd(&["cfg.help", "tcp_conn_limit", name]);
        // The text alone or, in later versions, as one of several fields.
        let reported = help.lines().any(|line| {
            let text = line.trim().trim_start_matches("desc: ");
            text.len() > 10 && !text.starts_with("(parameter")
        });
        assert!(reported, "{help}");
    }
    // The core logs an error for a value out of range.
    mode.finish(server, &["cfg"]);
}

/// The mode that the server reports.
fn mode_of(server: &Server) -> Value {
    server.rpc("tcp_conn_limit.stats", json!([]))["mode"].clone()
}

fn set_mode_takes_effect_at_once(mode: Mode) {
    let server = mode.with_module().limit(2).start();
    let from = source(34, 0, 1);
    let set = |mode: &str| server.rpc("tcp_conn_limit.set_mode", json!([mode]));
    let mut held = take_all(&server, from, 2);
    assert_eq!(mode_of(&server), "enforce");
    for new in ["monitor", "off"] {
        set(new);
        assert_eq!(mode_of(&server), new);
        held.extend(server.admit_all(3, Via::Tcp, from));
    }
    set("enforce");
    assert_eq!(mode_of(&server), "enforce");
    take_all(&server, from, 0);
    assert_held(&server, from, 8, &mut held);
    assert_eq!(server.stat("rejected"), 2);
    assert_eq!(server.stat("would_reject"), 3);
    mode.finish(server, &[]);
}

fn reset_stats_clears_events_and_keeps_counts(mode: Mode) {
    let server = with_rules(mode).start();
    let (greedy, big) = (source(31, 0, 1), source(40, 0, 1));
    let mut held = take_all(&server, greedy, 2);
    server.rpc("tcp_conn_limit.set_limit", json!([20]));
    let mut many = server.admit_all(12, Via::Tcp, big);
    many.truncate(3);
    server.wait_for_connections(5);
    assert_eq!(number(&server.source("127.40.0.1"), "peak"), 12);
    server.rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
    held.push(server.admit(Via::Tcp, greedy));
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    assert_eq!(server.stat("admitted"), 15);

    server.rpc("tcp_conn_limit.reset_stats", json!([]));
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    for name in [
        "admitted",
        "rejected",
        "would_reject",
        "errors",
        "full_rejected",
        "untracked_rejected",
    ] {
        assert_eq!(number(&stats, name), 0, "{name}");
    }
    // Present values are kept.
    assert_eq!(number(&stats, "connections"), 6);
    assert_eq!(number(&stats, "rules"), 2);
    let greedy_one = server.source("127.31.0.1");
    for (name, value) in [("rejected", 0), ("would_reject", 0), ("connections", 3)] {
        assert_eq!(number(&greedy_one, name), value, "{name}");
    }
    assert_eq!(number(&server.source("127.40.0.1"), "peak"), 3);
    let rule = server.rule("127.31.0.0/16");
    for (name, value) in [("rejected", 0), ("would_reject", 0), ("connections", 3)] {
        assert_eq!(number(&rule, name), value, "{name}");
    }

    // Counting goes on from there.
    server.reject(Via::Tcp, greedy);
    assert_eq!(server.stat("rejected"), 1);
    assert_eq!(number(&server.source("127.31.0.1"), "rejected"), 1);
    assert_eq!(number(&server.rule("127.31.0.0/16"), "rejected"), 1);
    many.extend(server.admit_all(7, Via::Tcp, big));
    assert_eq!(number(&server.source("127.40.0.1"), "peak"), 10);
    assert_eq!(server.stat("admitted"), 7);
    mode.finish(server, &[]);
}

fn restart_reads_the_configuration(mode: Mode) {
    let server = with_rules(mode).start();
    server.rpc("tcp_conn_limit.set_limit", json!([1]));
    server.rpc("tcp_conn_limit.set_mode", json!(["off"]));
    let server = mode.restart(server);
    assert_eq!(server.stat("limit"), 5);
    assert_eq!(mode_of(&server), "enforce");
    mode.finish(server, &[]);
}

fn wrong_arguments_are_faults(mode: Mode) {
    let server = with_rules(mode).start();
    for (command, arguments, reported) in [
        ("set_mode", json!([]), "monitor"),
        ("set_mode", json!(["strict"]), "monitor"),
        ("set_mode", json!(["strict"]), "strict"),
        ("set_mode", json!([""]), "monitor"),
        ("top", json!([0]), "1 to 400"),
        ("top", json!([401]), "1 to 400"),
        ("top", json!([5, "size"]), "peak"),
        ("top", json!([5, "size"]), "size"),
        ("list", json!(["127.0.0"]), "127.0.0"),
        ("list", json!(["127.0.0.0/33"]), "127.0.0.0/33"),
        ("list", json!(["127.0.0.1/8"]), "127.0.0.1/8"),
        ("list", json!([""]), ""),
        // Another type than expected.
        ("list", json!([7]), "7"),
        ("list", json!([null]), "prefix"),
        ("list", json!([{}]), "prefix"),
        ("list", json!([10.5]), "10.5"),
        ("list", json!(["127.0.0.0/8", "127.0.0.0/8"]), "surplus"),
        ("top", json!(["rejected", "peak"]), "peak"),
        ("top", json!([null]), "1 to 400"),
        ("top", json!([1.5]), "1.5"),
        ("top", json!([5, 7]), "7"),
        ("top", json!([5, null]), "peak"),
        ("top", json!([5, "peak", 5]), "at most three"),
        ("top", json!([5, "networks", "networks"]), "networks"),
        ("set_mode", json!(["off", "now"]), "now"),
        ("get", json!(["127.0.0.1", 7]), "surplus"),
        ("get", json!(["127.0.0.0/8"]), "tcp_conn_limit.list"),
        ("get", json!(["2001:db8::/129"]), "0 to 128"),
        ("stats", json!(["all"]), "surplus argument \"all\""),
        ("rules", json!([5]), "surplus argument \"5\""),
        ("suggest", json!([5]), "expected networks"),
        ("suggest", json!(["networks", 5]), "surplus"),
        ("audit", json!([5]), "surplus"),
        ("reload", json!(["/rules"]), "surplus"),
        ("reset_stats", json!(["rejected"]), "surplus"),
        ("set_mode", json!([1]), "monitor"),
        ("get", json!([127]), "address"),
        ("get", json!(["localhost"]), "localhost"),
        ("get", json!([]), "address"),
    ] {
        let method = format!("tcp_conn_limit.{command}");
        let fault = server.fault(&method, arguments.clone());
        assert_eq!(fault.code, 400, "{command} {arguments}: {fault:?}");
        assert!(
            !fault.message.is_empty() && fault.message.contains(reported),
            "{command} {arguments}: {fault:?}"
        );
    }
    for (arguments, reported) in [
        (&["top", "size"][..], "size"),
        (&["top", "1.5"], "1.5"),
        (&["list", "127"], "127"),
        (&["list", "10.5"], "10.5"),
        // kamcmd sends an empty text as 0.
        (&["list", ""], "0"),
        (&["list", "s:"], "prefix"),
        (&["list", "127.0.0.0/8", "5"], "surplus argument \"5\""),
        (&["get"], "missing address"),
        (&["get", "127"], "127"),
        (&["get", "127.0.0.1", "127.0.0.2"], "127.0.0.2"),
        (&["set_mode"], "missing mode"),
        (&["set_mode", "1"], "invalid mode \"1\""),
        (&["set_mode", "off", "1.5"], "surplus argument \"1.5\""),
        (&["stats", "5"], "surplus"),
        (&["reload", "5"], "surplus"),
        (&["reset_stats", "5"], "surplus"),
        (&["audit", "5"], "surplus"),
    ] {
        let method = format!("tcp_conn_limit.{}", arguments[0]);
        let mut call = vec![&*method];
        call.extend(&arguments[1..]);
        let error = server.try_kamcmd(&call).unwrap_err();
        assert!(
            error.contains("400") && error.contains(reported),
            "{arguments:?}: {error}"
        );
        // What ctl leaves where a scan failed.
        assert!(!error.contains("if you get this"), "{arguments:?}: {error}");
    }
    assert_eq!(server.stat("limit"), 5);
    assert_eq!(mode_of(&server), "enforce");
    // jsonrpcs did not log an error either.
    mode.finish(server, &[]);
}

/// A hundred reloads while connections of a hundred sources come and go.
fn counts_are_right_while_reloading(mode: Mode) {
    const RELOADS: u64 = 100;
    let server = mode
        .with_module()
        .limit(5)
        .rules_file(RULES)
        .core("tcp_max_connections=4000")
        .shared_memory(128)
        .start();
    let is_over = AtomicBool::new(false);
    let rounds = AtomicU32::new(0);
    thread::scope(|scope| {
        let _over = SetAtEnd(&is_over);
        for worker in 0..4 {
            let (server, is_over, rounds) = (&server, &is_over, &rounds);
            scope.spawn(move || {
                let mut held = Vec::new();
                let mut round = 0usize;
                while !is_over.load(Ordering::Relaxed) || round < 200 {
                    let from = source(30 + worker, 0, (round % 25) as u8 + 1);
                    // The limits of all rules are between these two.
                    let open: Vec<Client> =
                        (0..6).filter_map(|_| server.open(Via::Tcp, from)).collect();
                    assert!(open.len() < 6, "{from}: more than any limit");
                    held.extend(open);
                    if held.len() > 60 {
                        held.drain(..30);
                    }
                    round += 1;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=RELOADS {
            reload(
                &server,
                &match n % 3 {
                    0 => "127.31.0.0/16=2\n127.32.0.0/16=3\n".to_owned(),
                    1 => (1..=25)
                        .map(|host| format!("127.31.0.{host}=4\n"))
                        .collect(),
                    _ => "127.0.0.0/8=4\n127.33.0.0/24=1\n".to_owned(),
                },
            );
            if n % 10 == 0 {
                mode.assert_audit_clean(&server);
            }
        }
    });
    assert_eq!(server.stat("reloads"), RELOADS);
    assert!(rounds.load(Ordering::Relaxed) >= 800);
    server.wait_for_connections(0);
    mode.assert_audit_clean(&server);
    assert_eq!(server.stat("connections"), 0);
    let rules = server.rpc("tcp_conn_limit.rules", json!([]));
    for rule in rules.as_array().expect("a list of rules") {
        assert_eq!(number(rule, "connections"), 0, "{rule}");
        assert_eq!(number(rule, "sources"), 0, "{rule}");
    }
    // The rules of the last reload are active.
    reload(&server, RULES);
    let _held = [
        take_all(&server, source(31, 0, 1), 2),
        take_all(&server, source(32, 0, 1), 3),
        take_all(&server, source(30, 0, 1), 5),
    ];
    mode.finish(server, &[]);
}

/// In three processes at a time. Some may get `Busy`, and the active set is a whole one
/// at the end.
fn concurrent_reloads_succeed_or_report_busy(mode: Mode) {
    let server = with_rules(mode)
        .rule("127.33.0.0/16=1")
        // A call over HTTP is also a connection.
        .rule("127.0.0.1=unlimited")
        .http("tcp_conn_limit:")
        .start();
    let done = AtomicU32::new(0);
    let check = |answer: Result<Value, Fault>| match answer {
        Ok(_) => _ = done.fetch_add(1, Ordering::Relaxed),
        Err(fault) => assert!(fault.message.contains("loading rules"), "{fault:?}"),
    };
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..50 {
                    check(server.try_rpc_by_http("tcp_conn_limit.reload", json!([])));
                }
            });
        }
        for _ in 0..100 {
            check(server.try_rpc("tcp_conn_limit.reload", json!([])));
        }
    });
    let done = done.into_inner();
    assert!(done > 0);
    assert_eq!(server.stat("reloads"), u64::from(done));
    assert_eq!(server.stat("rules"), 4);
    let _held = take_all(&server, source(31, 0, 1), 2);
    mode.finish(server, &["loading rules"]);
}
