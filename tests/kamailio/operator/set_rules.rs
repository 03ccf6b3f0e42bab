// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules that are set by RPC: what they do, when they end, what they answer, and what is
//! refused.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Server, Via, number, source, until};

attached_either_way!(
    set_rule_applies_at_once_and_until_it_is_removed,
    set_rule_ends_by_itself,
    reload_keeps_set_rules,
    set_rule_replaces_file_and_modparam,
    every_process_may_set_a_rule,
    wrong_arguments_are_refused,
    too_many_set_rules_are_refused,
    kamcmd_sets_and_removes_rules,
    set_rule_takes_the_words_of_a_rule,
);

const SET: &str = "tcp_conn_limit.set_rule";
const DEL: &str = "tcp_conn_limit.del_rule";

/// Checks that exactly `limit` connections of a source are admitted, and closes them.
#[track_caller]
fn assert_limit(server: &Server, from: IpAddr, limit: usize) {
    let held = server.admit_all(limit, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    drop(held);
    until("they are closed", || server.counted(&from.to_string()) == 0);
}

/// The origin of the rule for this prefix; null without a rule.
fn origin(server: &Server, prefix: &str) -> Value {
    let rules = server.rpc("tcp_conn_limit.rules", json!([]));
    let mut rules = rules.as_array().expect("a list").iter();
    let rule = rules.find(|rule| rule["prefix"] == prefix);
    rule.map_or(Value::Null, |rule| rule["origin"].clone())
}

fn set_rule_applies_at_once_and_until_it_is_removed(mode: Mode) {
    let server = mode.with_module().limit(2).start();
    let from = source(90, 0, 1);
    assert_limit(&server, from, 2);
    assert_eq!(
        server.rpc(SET, json!(["127.90.0.0/16", 4])),
        json!({"prefix": "127.90.0.0/16", "limit": 4, "terms": "4", "was": "no rule"})
    );
    assert_limit(&server, from, 4);
    assert_eq!(
        server.rpc(SET, json!(["127.90.0.1", "1"])),
        json!({"prefix": "127.90.0.1", "limit": 1, "terms": "1", "was": "no rule"})
    );
    assert_limit(&server, from, 1);
    assert_eq!(
        server.rpc(SET, json!(["127.90.0.1", "unlimited"])),
        json!({"prefix": "127.90.0.1", "limit": "none", "terms": "none",
            "was": "1 from rpc"})
    );
    let held = server.admit_all(20, Via::Tcp, from);
    assert_eq!(server.stat("rules"), 2);
    assert_eq!(server.stat("rules_set"), 2);
    assert_eq!(
        server.rpc(DEL, json!(["127.90.0.1"])),
        json!({"prefix": "127.90.0.1", "was": "none from rpc", "rule": "127.90.0.0/16",
            "limit": 4, "terms": "4"})
    );
    // No connection is closed.
    assert_eq!(server.counted("127.90.0.1"), 20);
    server.reject(Via::Tcp, from);
    drop(held);
    server.wait_for_connections(0);
    assert_eq!(
        server.rpc(DEL, json!(["127.90.0.0/16"])),
        json!({"prefix": "127.90.0.0/16", "was": "4 from rpc", "rule": "default", "limit": 2,
            "terms": "2"})
    );
    assert_limit(&server, from, 2);
    assert_eq!(server.stat("rules_set"), 0);
    // They do not count as reloads.
    assert_eq!(server.stat("reloads"), 0);
    let log = mode.finish(server, &[]);
    for line in [
        "rule 127.90.0.0/16 = 4 set by RPC, process \"",
        "rule 127.90.0.1 = none set by RPC, process \"",
        ", was: 1 from rpc",
        ", now: limit 4, rule 127.90.0.0/16",
        "rule 127.90.0.0/16 = 4 removed by RPC, process \"",
        ", now: limit 2, rule default",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    assert!(log.lines_with("set by RPC")[0].contains("NOTICE: tcp_conn_limit"));
}

fn set_rule_ends_by_itself(mode: Mode) {
    let server = mode.with_module().limit(3).start();
    let began = Instant::now();
    assert_eq!(
        server.rpc(SET, json!(["127.90.0.0/16", 1, 4])),
        json!({"prefix": "127.90.0.0/16", "limit": 1, "terms": "1", "seconds_left": 4,
            "was": "no rule"})
    );
    server.rpc(SET, json!(["127.91.0.0/16", 2, 3600]));
    server.rpc(SET, json!(["127.92.0.0/16", 2]));
    let left = number(&server.rule("127.90.0.0/16"), "seconds_left");
    assert!((2..=4).contains(&left), "{left}");
    assert_limit(&server, source(90, 0, 1), 1);
    let left = number(&server.rule("127.91.0.0/16"), "seconds_left");
    assert!((3590..=3600).contains(&left), "{left}");
    assert!(server.rule("127.92.0.0/16")["seconds_left"].is_null());
    until("the rule ends", || {
        origin(&server, "127.90.0.0/16").is_null()
    });
    let took = began.elapsed();
    // It lasts its seconds, and a few more if the machine is busy.
    assert!(took >= Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    assert_limit(&server, source(90, 0, 1), 3);
    assert_eq!(server.stat("rules_set"), 2);
    server.wait_for_log(
        1,
        "rule 127.90.0.0/16 = 1 ended, now: limit 3, rule default",
    );
    mode.finish(server, &[]);
}

fn reload_keeps_set_rules(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rules_file("127.91.0.0/16=2\n")
        .start();
    server.rpc(SET, json!(["127.90.0.0/16", 1]));
    server.rpc(SET, json!(["127.91.0.0/16", 3, 3600]));
    server.write_rules("127.91.0.0/16=4\n127.92.0.0/16=2\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    assert_eq!(server.stat("rules"), 3);
    assert_eq!(origin(&server, "127.90.0.0/16"), "rpc");
    assert_eq!(origin(&server, "127.91.0.0/16"), "rpc");
    assert_eq!(origin(&server, "127.92.0.0/16"), "file:2");
    assert_limit(&server, source(90, 0, 1), 1);
    assert_limit(&server, source(91, 0, 1), 3);
    // The reloaded rule applies when the other one is removed.
    assert_eq!(
        server.rpc(DEL, json!(["127.91.0.0/16"])),
        json!({"prefix": "127.91.0.0/16", "was": "3 from rpc", "rule": "127.91.0.0/16",
            "limit": 4, "terms": "4"})
    );
    assert_limit(&server, source(91, 0, 1), 4);
    mode.finish(server, &[]);
}

fn set_rule_replaces_file_and_modparam(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rule("127.90.0.0/16=2")
        .rule("127.91.0.0/16=2")
        .rules_file("# one\n127.90.0.0/16=3\n")
        .start();
    let answer = server.rpc(SET, json!(["127.90.0.0/16", 4]));
    assert_eq!(answer["was"], "3 from file:2");
    let answer = server.rpc(SET, json!(["127.91.0.0/16", 4]));
    assert_eq!(answer["was"], "2 from modparam 2");
    assert_eq!(server.stat("rules"), 2);
    assert_limit(&server, source(90, 0, 1), 4);
    server.rpc(DEL, json!(["127.90.0.0/16"]));
    server.rpc(DEL, json!(["127.91.0.0/16"]));
    assert_limit(&server, source(90, 0, 1), 3);
    assert_limit(&server, source(91, 0, 1), 2);
    // What a command has not set, a command does not remove.
    let fault = server.fault(DEL, json!(["127.90.0.0/16"]));
    assert_eq!(
        fault.message,
        "the rule for this prefix comes from file:2; remove it there, or replace it with \
         set_rule"
    );
    mode.finish(server, &[]);
}

/// HTTP requests run in other processes than those of the datagram socket and ctl.
fn every_process_may_set_a_rule(mode: Mode) {
    let server = mode.with_module().limit(50).http("all").start();
    server.rpc_by_http(SET, json!(["127.90.0.1", 1, 3600]));
    server.rpc(SET, json!(["127.90.0.2", 2]));
    server.kamcmd(&[SET, "127.90.0.3", "3"]);
    for host in 1..=3 {
        assert_eq!(origin(&server, &format!("127.90.0.{host}")), "rpc");
        assert_limit(&server, source(90, 0, host), host.into());
    }
    server.kamcmd(&[DEL, "127.90.0.1"]);
    server.rpc_by_http(DEL, json!(["127.90.0.2"]));
    server.rpc(DEL, json!(["127.90.0.3"]));
    assert_eq!(server.stat("rules"), 0);
    mode.finish(server, &[]);
}

fn wrong_arguments_are_refused(mode: Mode) {
    let server = mode.with_module().limit(2).rule("127.90.0.0/16=3").start();
    for (arguments, texts) in [
        (json!([]), &["missing prefix"][..]),
        (json!(["127.0.0.1"]), &["missing limit", "unlimited"]),
        (
            json!(["127.0.0.1/8", 5]),
            &["127.0.0.1/8", "write 127.0.0.0/8"],
        ),
        (json!(["127.0.0", 5]), &["127.0.0", "192.0.2.0/24"]),
        (json!(["", 5]), &["invalid prefix"]),
        (json!(["::ffff:127.0.0.1", 5]), &["IPv4"]),
        (
            json!(["127.0.0.1", 0]),
            &["invalid limit `0`", "at least 1"],
        ),
        (
            json!(["127.0.0.1", -1]),
            &["invalid limit `-1`", "at least 1"],
        ),
        (json!(["127.0.0.1", "nothing"]), &["`nothing`", "unlimited"]),
        (json!(["127.0.0.1", ""]), &["invalid limit"]),
        (
            json!(["127.0.0.1", "4294967297"]),
            &["4294967297", "at most 2147483647"],
        ),
        (json!(["127.0.0.1", 5, 0]), &["invalid seconds `0`"]),
        (json!(["127.0.0.1", 5, -1]), &["invalid seconds `-1`"]),
        (
            json!(["127.0.0.1", 5, "1h"]),
            &["invalid seconds `1h`", "2147483647"],
        ),
        (json!(["127.0.0.1", 5, "4294967296"]), &["invalid seconds"]),
        (
            json!(["127.0.0.1", 5, 60, "x"]),
            &["surplus argument \"x\""],
        ),
    ] {
        let fault = server.fault(SET, arguments.clone());
        assert_eq!(fault.code, 400, "{arguments}: {}", fault.message);
        for text in texts {
            assert!(
                fault.message.contains(text),
                "{arguments}: {}",
                fault.message
            );
        }
    }
    for (arguments, text) in [
        (json!([]), "missing prefix"),
        (json!(["x"]), "invalid prefix `x`"),
        (json!(["127.0.0.1", "x"]), "invalid listener `x`"),
        (
            json!(["127.0.0.1", "listener=127.0.0.1:9", "x"]),
            "surplus argument \"x\"",
        ),
        (json!(["127.0.0.1"]), "there is no rule for this prefix"),
        (json!(["127.90.0.0/16"]), "comes from modparam 1"),
    ] {
        let fault = server.fault(DEL, arguments.clone());
        assert!(
            fault.message.contains(text),
            "{arguments}: {}",
            fault.message
        );
    }
    // Nothing is cut into a valid argument.
    let long = format!("127.0.0.1{}/99", " ".repeat(500));
    let fault = server.fault(SET, json!([long, 5]));
    assert!(
        fault
            .message
            .starts_with("argument 1 is too long: \"127.0.0.1  "),
        "{}",
        fault.message
    );
    server.fault(SET, json!(["127.0.0.1", "5".repeat(2000)]));
    assert_eq!(server.stat("rules"), 1);
    assert_eq!(server.stat("rules_set"), 0);
    mode.finish(server, &[]);
}

fn too_many_set_rules_are_refused(mode: Mode) {
    let server = mode.with_module().limit(2).start();
    for n in 0..1024 {
        server.rpc(SET, json!([format!("10.{}.{}.0/24", n / 250, n % 250), 1]));
    }
    let fault = server.fault(SET, json!(["127.90.0.0/16", 1]));
    assert!(
        fault.message.contains("already 1024 rules"),
        "{}",
        fault.message
    );
    server.rpc(DEL, json!(["10.0.0.0/24"]));
    server.rpc(SET, json!(["127.90.0.0/16", 1]));
    assert_limit(&server, source(90, 0, 1), 1);
    mode.finish(server, &[]);
}

fn kamcmd_sets_and_removes_rules(mode: Mode) {
    let server = mode.with_module().limit(2).start();
    let answer = server.kamcmd(&[SET, "127.90.0.0/16", "4", "3600"]);
    for text in [
        "prefix: 127.90.0.0/16",
        "limit: 4",
        "seconds_left: 3600",
        "was: no rule",
    ] {
        assert!(answer.contains(text), "{answer}");
    }
    let answer = server.kamcmd(&[SET, "127.90.0.0/16", "unlimited"]);
    assert!(
        answer.contains("limit: none") && answer.contains("was: 4 from rpc"),
        "{answer}"
    );
    let answer = server.kamcmd(&[DEL, "127.90.0.0/16"]);
    assert!(answer.contains("rule: default"), "{answer}");
    for arguments in [
        &[SET, "127.90.0.0/16"][..],
        &[SET, "127.90.0.0/16", "4294967296"],
        &[SET, "127.90.0.0/16", "5", "0"],
        &[SET, "127.90.0.0/16", "5", "60", "7"],
        &[DEL],
    ] {
        let fault = server.try_kamcmd(arguments).expect_err("it is refused");
        assert!(fault.starts_with("400 "), "{arguments:?}: {fault}");
        assert!(!fault.contains("if you get this string"), "{fault}");
    }
    assert_eq!(server.stat("rules"), 0);
    mode.finish(server, &[]);
}

/// What `rules` shows can be given to set_rule, and written into a rules file.
fn set_rule_takes_the_words_of_a_rule(mode: Mode) {
    let file = "127.91.0.0/16 = 3 exempt rate=100/m\n";
    let server = mode.with_module().limit(2).rules_file(file).start();
    assert_eq!(
        server.rpc(SET, json!(["127.90.0.0/16", "4 burst=30 rate=10/s", 3600])),
        json!({"prefix": "127.90.0.0/16", "limit": 4, "terms": "4 rate=10/s burst=30",
            "seconds_left": 3600, "was": "no rule"})
    );
    let terms = |prefix: &str| server.rule(prefix)["terms"].clone();
    assert_eq!(terms("127.90.0.0/16"), "4 rate=10/s burst=30");
    assert_eq!(terms("127.91.0.0/16"), "3 rate=100/m exempt");
    assert_eq!(terms("default"), "2");
    let shown = server.rpc("tcp_conn_limit.get", json!(["127.90.0.1"]));
    assert_eq!(shown["terms"], "4 rate=10/s burst=30");
    assert_limit(&server, source(91, 0, 1), 3);

    let pasted = terms("127.91.0.0/16");
    let answer = server.rpc(SET, json!(["127.90.0.0/16", pasted]));
    assert_eq!(answer["terms"], pasted);
    assert_eq!(answer["was"], "4 rate=10/s burst=30 from rpc");
    server.write_rules(&format!(
        "127.90.0.0/16 = {}\n",
        pasted.as_str().expect("text")
    ));
    server.rpc(DEL, json!(["127.90.0.0/16"]));
    server.rpc("tcp_conn_limit.reload", json!([]));
    assert_eq!(terms("127.90.0.0/16"), pasted);

    // The same through the other transport, where the shell passes one argument.
    let answer = server.kamcmd(&[SET, "127.92.0.0/16", "5 burst=9 exempt"]);
    assert!(answer.contains("terms: 5 burst=9 exempt"), "{answer}");
    for (text, error) in [
        ("5 brust=9", "unknown word `brust`; did you mean `burst`?"),
        ("5 rate=10", "invalid rate `10`: expected one like 10/s"),
        ("5 rate=0/s", "expected 1/h or more, or none for no rate"),
        ("5 exempt exempt", "`exempt` is written twice"),
        ("rate=10/s", "the limit is missing"),
    ] {
        let fault = server.fault(SET, json!(["127.90.0.0/16", text]));
        assert_eq!(fault.code, 400);
        assert!(fault.message.contains(error), "{text}: {}", fault.message);
        let fault = server.try_kamcmd(&[SET, "127.90.0.0/16", text]);
        let fault = fault.expect_err("it is refused");
        assert!(fault.contains(error), "{text}: {fault}");
    }
    assert_eq!(terms("127.90.0.0/16"), pasted);
    let log = mode.finish(server, &[]);
    let line = "rule 127.90.0.0/16 = 4 rate=10/s burst=30 set for 3600 s by RPC";
    assert!(log.contains(line), "{log}");
}
