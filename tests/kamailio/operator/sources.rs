// SPDX-License-Identifier: GPL-2.0-or-later

//! The sources with most connections or rejections, and the report of one source.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Stopped, Via, number, source, until};

attached_either_way!(
    top_sorts_by_each_key,
    each_source_is_reported_in_full,
    list_has_the_sources_in_a_prefix,
    long_lists_are_truncated,
    peak_is_exact_from_eight_connections,
    peak_of_few_connections_is_sampled,
    answers_do_not_wait_for_tcp_main,
    first_and_last_seen_are_reported,
    sources_are_found_as_they_are_shown,
    local_times_have_the_offset_of_the_server,
);

/// Three sources. The first has most connections, the second most rejections and the
/// third the highest peak.
fn three(mode: Mode) -> (Server, Vec<Client>) {
    let server = mode
        .with_module()
        .limit(10)
        .rule("127.50.0.2=11")
        .rule("127.51.0.3=12")
        .start();
    let mut held = server.admit_all(10, Via::Tcp, source(50, 0, 1));
    let mut second = server.admit_all(11, Via::Tcp, source(50, 0, 2));
    let mut third = server.admit_all(12, Via::Tcp, source(51, 0, 3));
    for (host, times) in [(1, 1), (2, 6)] {
        for _ in 0..times {
            server.reject(Via::Tcp, source(50, 0, host));
        }
    }
    for _ in 0..3 {
        server.reject(Via::Tcp, source(51, 0, 3));
    }
    second.truncate(1);
    third.truncate(2);
    server.wait_for_connections(13);
    held.extend(second);
    held.extend(third);
    (server, held)
}

const FIRST: &str = "127.50.0.1";
const SECOND: &str = "127.50.0.2";
const THIRD: &str = "127.51.0.3";

/// The sources that a list names, in its order.
#[track_caller]
fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("a list").iter();
    list.map(|source| source["source"].as_str().expect("a source"))
        .collect()
}

fn top_sorts_by_each_key(mode: Mode) {
    let (server, _held) = three(mode);
    for (arguments, expected) in [
        (json!([]), &[FIRST, THIRD, SECOND][..]),
        (json!([10]), &[FIRST, THIRD, SECOND]),
        (json!([10, "connections"]), &[FIRST, THIRD, SECOND]),
        (json!([2, "connections"]), &[FIRST, THIRD]),
        (json!([10, "rejected"]), &[SECOND, THIRD, FIRST]),
        (json!([1, "rejected"]), &[SECOND]),
        (json!([10, "peak"]), &[THIRD, SECOND, FIRST]),
        (json!([1, "peak"]), &[THIRD]),
        (json!([400, "peak"]), &[THIRD, SECOND, FIRST]),
        // In any order, and alone.
        (json!(["rejected", 1]), &[SECOND]),
        (json!(["peak", "2"]), &[THIRD, SECOND]),
        (json!(["rejected"]), &[SECOND, THIRD, FIRST]),
        (json!(["peak"]), &[THIRD, SECOND, FIRST]),
    ] {
        let top = server.rpc("tcp_conn_limit.top", arguments.clone());
        assert_eq!(names(&top), expected, "{arguments}: {top}");
    }
    for arguments in [["1", "rejected"], ["rejected", "1"]] {
        let shown = server.kamcmd(&[&["tcp_conn_limit.top"][..], &arguments].concat());
        assert!(shown.contains(SECOND) && !shown.contains(FIRST), "{shown}");
    }
    let shown = server.kamcmd(&["tcp_conn_limit.top", "rejected"]);
    assert!(shown.find(SECOND) < shown.find(FIRST), "{shown}");
    mode.finish(server, &[]);
}

fn each_source_is_reported_in_full(mode: Mode) {
    let (server, _held) = three(mode);
    let expected = [
        (FIRST, 10, 10, "default", 10, 1),
        (SECOND, 1, 11, SECOND, 11, 6),
        (THIRD, 2, 12, THIRD, 12, 3),
    ];
    until("the watcher has seen all", || {
        expected
            .iter()
            .all(|(name, ..)| number(&server.source(name), "last_seen") > 0)
    });
    for (name, connections, limit, rule, peak, rejected) in expected {
        let mut reported = server.source(name);
        // Only this command reads the records of connections.
        let oldest = reported["oldest"].take().as_u64();
        assert!(oldest.is_some_and(|age| age < 60), "{oldest:?}");
        let top = server.rpc("tcp_conn_limit.top", json!([10]));
        let (list, _) = listed(&server, json!([name]));
        let mut others = top.as_array().expect("a list").iter().chain(&list);
        for time in ["first_seen", "last_seen"] {
            let text = reported[format!("{time}_local")].take();
            let at = reported[time].take().as_u64().expect(time);
            assert_eq!(unix_time_of(text.as_str().expect(time)), at, "{text}");
        }
        assert_eq!(
            reported,
            json!({"source": name, "connections": connections, "limit": limit, "rule": rule,
                "terms": limit.to_string(), "peak": peak, "rejected": rejected, "would_reject": 0, "rate": "none",
                "penalty": 0, "banned": 0, "rejected_for": "limit",
                "first_seen": null, "last_seen": null,
                "first_seen_local": null, "last_seen_local": null, "oldest": null})
        );
        // Each list has the same values.
        let of_source = others.by_ref().filter(|other| other["source"] == name);
        let mut count = 0;
        for other in of_source {
            for (key, value) in reported.as_object().expect("a struct") {
                if !value.is_null() {
                    assert_eq!(&other[key], value, "{key}: {other}");
                }
            }
            assert!(number(other, "first_seen") <= number(other, "last_seen"));
            count += 1;
        }
        assert_eq!(count, 2, "{name} is not once in each list");
    }
    mode.finish(server, &[]);
}

/// The answer of `tcp_conn_limit.list`: the listed sources and the number of all.
#[track_caller]
fn listed(server: &Server, arguments: Value) -> (Vec<Value>, u64) {
    let answer = server.rpc("tcp_conn_limit.list", arguments);
    let list = answer["list"].as_array();
    let list = list.unwrap_or_else(|| panic!("no list in {answer}"));
    (list.clone(), number(&answer, "total"))
}

fn list_has_the_sources_in_a_prefix(mode: Mode) {
    let (server, _held) = three(mode);
    for (arguments, expected) in [
        (json!([]), &[FIRST, THIRD, SECOND][..]),
        (json!(["127.0.0.0/8"]), &[FIRST, THIRD, SECOND]),
        (json!(["0.0.0.0/0"]), &[FIRST, THIRD, SECOND]),
        (json!(["127.50.0.0/16"]), &[FIRST, SECOND]),
        (json!(["127.51.0.0/16"]), &[THIRD]),
        (json!(["127.50.0.2"]), &[SECOND]),
        (json!(["127.50.0.2/31"]), &[SECOND]),
        (json!(["127.52.0.0/16"]), &[]),
        (json!(["2001:db8::/32"]), &[]),
        (json!(["::/0"]), &[]),
    ] {
        let (list, total) = listed(&server, arguments.clone());
        assert_eq!(names(&Value::Array(list)), expected, "{arguments}");
        assert_eq!(total, expected.len() as u64, "{arguments}");
    }
    let shown = server.kamcmd(&["tcp_conn_limit.list", "127.51.0.0/16"]);
    assert!(shown.contains(THIRD) && !shown.contains(FIRST), "{shown}");
    // The answer says what it lists.
    for (arguments, prefix, shown) in [
        (json!([]), "all", 3),
        (json!(["127.50.0.0/16"]), "127.50.0.0/16", 2),
    ] {
        let mut answer = server.rpc("tcp_conn_limit.list", arguments);
        answer["list"].take();
        assert_eq!(
            answer,
            json!({"listed": "sources with connections, most connections first",
                "prefix": prefix, "total": shown, "shown": shown, "list": null})
        );
    }
    mode.finish(server, &[]);
}

fn long_lists_are_truncated(mode: Mode) {
    let server = mode
        .with_module()
        .core("tcp_max_connections=3000")
        .shared_memory(128)
        .http("tcp_conn_limit:")
        .start();
    let mut held: Vec<Client> = (0..1100)
        .map(|n| server.admit(Via::Tcp, source(52, (n / 250) as u8, (n % 250) as u8)))
        .collect();
    held.extend(server.admit_all(2, Via::Tcp, source(53, 0, 1)));
    for arguments in [json!([]), json!(["127.0.0.0/8"])] {
        let (list, total) = listed(&server, arguments);
        assert_eq!((list.len(), total), (400, 1101));
        assert_eq!(list[0]["source"], "127.53.0.1");
        // There is no room for local times.
        assert_eq!(list[0]["last_seen_local"], Value::Null);
    }
    let top = server.rpc("tcp_conn_limit.top", json!([400, "peak"]));
    assert_eq!(names(&top).len(), 400);
    assert_eq!(names(&top)[0], "127.53.0.1");
    // Through kamcmd and HTTP. The HTTP client is also a source.
    let shown = server.kamcmd(&["tcp_conn_limit.list"]);
    assert_eq!(shown.matches("source:").count(), 400);
    let answer = server.rpc_by_http("tcp_conn_limit.list", json!([]));
    assert_eq!(answer["total"], 1102);
    mode.finish(server, &[]);
}

fn peak_is_exact_from_eight_connections(mode: Mode) {
    let server = mode.with_module().limit(40).start();
    for (host, count) in [(1, 8), (2, 9), (3, 33)] {
        // Opened and closed between two samples of the watcher.
        drop(server.admit_all(count, Via::Tcp, source(54, 0, host)));
        server.wait_for_connections(0);
        let reported = server.source(&format!("127.54.0.{host}"));
        assert_eq!(number(&reported, "peak"), count as u64, "{reported}");
        assert_eq!(number(&reported, "connections"), 0, "{reported}");
    }
    // Fewer connections later do not change the peak, more do.
    drop(server.admit_all(8, Via::Tcp, source(54, 0, 2)));
    server.wait_for_connections(0);
    assert_eq!(number(&server.source("127.54.0.2"), "peak"), 9);
    drop(server.admit_all(11, Via::Tcp, source(54, 0, 2)));
    server.wait_for_connections(0);
    assert_eq!(number(&server.source("127.54.0.2"), "peak"), 11);
    mode.finish(server, &[]);
}

fn peak_of_few_connections_is_sampled(mode: Mode) {
    let server = mode.with_module().start();
    let mut held = server.admit_all(5, Via::Tcp, source(54, 0, 1));
    // The watcher counts and samples once a second.
    server.wait_for_counter("connections", 5);
    let seen = number(&server.source("127.54.0.1"), "last_seen");
    until("it has sampled 5", || unix_time() > seen + 2);
    held.clear();
    server.wait_for_connections(0);
    assert_eq!(number(&server.source("127.54.0.1"), "peak"), 5);
    mode.finish(server, &[]);
}

fn answers_do_not_wait_for_tcp_main(mode: Mode) {
    let (server, _held) = three(mode);
    let stopped = Stopped::new(server.tcp_main());
    for (command, arguments) in [
        ("stats", json!([])),
        ("get", json!([FIRST])),
        ("top", json!([10, "peak"])),
        ("list", json!(["127.0.0.0/8"])),
        ("rules", json!([])),
        ("suggest", json!([])),
        ("reload", json!([])),
        ("set_limit", json!([11])),
        ("set_mode", json!(["enforce"])),
    ] {
        server.rpc(&format!("tcp_conn_limit.{command}"), arguments);
    }
    server.wait_for_counter("connections", 13);
    // The log does not stop it either.
    for name in [FIRST, SECOND, THIRD] {
        server.wait_for_log(1, &format!("rejected connection from {name}:"));
    }
    drop(stopped);
    // The settings are in effect.
    server.admit(Via::Tcp, source(50, 0, 1));
    mode.finish(server, &[]);
}

/// The Unix time of a text such as 2026-11-27T14:02:32+01:00.
#[track_caller]
fn unix_time_of(text: &str) -> u64 {
    let output = Command::new("date").args(["--date", text, "+%s"]).output();
    let output = output.expect("date can be run");
    assert!(output.status.success(), "{text}: {output:?}");
    // date also accepts other forms.
    assert_eq!(
        (text.len(), &text[10..11], &text[22..23]),
        (25, "T", ":"),
        "{text}"
    );
    let number = String::from_utf8(output.stdout).expect("a number");
    number.trim().parse().expect("a number")
}

/// A report names a source as `top`, the log and events print it, and every form of it is
/// accepted.
fn sources_are_found_as_they_are_shown(mode: Mode) {
    let server = mode.with_module().param("ipv4_prefix", 24).start();
    let _held = server.admit_all(2, Via::Tcp, source(55, 0, 1));
    let top = server.rpc("tcp_conn_limit.top", json!([1]));
    let shown = top[0]["source"].as_str().expect("a source");
    assert_eq!(shown, "127.55.0.0/24");
    for name in [shown, "127.55.0.1", "127.55.0.77/32", "::ffff:127.55.0.9"] {
        assert_eq!(server.counted(name), 2, "{name}");
        let (list, _) = listed(&server, json!([shown]));
        assert_eq!(list[0]["connections"], 2);
    }
    let unknown = server.source("2001:db8:1:2::/64");
    assert_eq!(unknown["source"], "2001:db8:1:2::/64");
    let got = server.kamcmd(&["tcp_conn_limit.get", shown]);
    assert!(got.contains("connections: 2"), "{got}");
    mode.finish(server, &[]);
}

/// The server's time zone counts, not that of the client.
fn local_times_have_the_offset_of_the_server(mode: Mode) {
    for (zone, offset) in [
        ("UTC", "+00:00"),
        ("<+0530>-5:30", "+05:30"),
        ("<-08>8", "-08:00"),
    ] {
        let server = mode.with_module().environment("TZ", zone.as_ref()).start();
        let _held = server.admit(Via::Tcp, source(54, 0, 1));
        let reported = server.source("127.54.0.1");
        let text = reported["last_seen_local"].as_str().expect("a text");
        assert!(text.ends_with(offset), "{zone}: {text}");
        assert_eq!(unix_time_of(text), number(&reported, "last_seen"), "{text}");
        mode.finish(server, &[]);
    }
}

fn unix_time() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

fn first_and_last_seen_are_reported(mode: Mode) {
    let server = mode.with_module().start();
    let get = |name| number(&server.source("127.54.0.1"), name);
    assert_eq!((get("first_seen"), get("last_seen")), (0, 0));
    let unknown = server.source("127.54.0.1");
    for time in ["first_seen_local", "last_seen_local"] {
        assert_eq!(unknown[time], "never", "{unknown}");
    }
    let before = unix_time();
    let held = server.admit(Via::Tcp, source(54, 0, 1));
    // At once, not only when the watcher has sampled it.
    let first = get("first_seen");
    // Kamailio's clock counts whole ticks, and the two values are read one after the
    // other.
    assert!(first + 2 >= before && first <= unix_time() + 2, "{first}");
    until("the watcher has seen it again", || {
        get("last_seen") > first + 1
    });
    // The watcher has sampled it up to a second later.
    assert!(get("first_seen").abs_diff(first) <= 2);
    drop(held);
    server.wait_for_connections(0);
    // The source was seen a moment ago, and this value does not change any more.
    let last = get("last_seen");
    assert!(last <= unix_time() + 2 && last > first, "{first} {last}");
    until("three seconds have passed", || unix_time() > last + 2);
    assert!(get("last_seen") <= last + 1);
    // A source that comes and goes between two samples.
    drop(server.admit(Via::Tcp, source(54, 0, 2)));
    server.wait_for_connections(0);
    let shortly = |name| number(&server.source("127.54.0.2"), name);
    until("the watcher has recorded it", || shortly("first_seen") > 0);
    assert_eq!(shortly("first_seen"), shortly("last_seen"));
    mode.finish(server, &[]);
}
