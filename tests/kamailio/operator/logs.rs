// SPDX-License-Identifier: GPL-2.0-or-later

//! The log lines about rejections: each rejection is covered, the number of lines is
//! bounded, and the accepting process never writes them.

use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Log, Server, Stopped, Via, source, until};
use support::programs::root;

attached_either_way!(
    first_line_has_source_limit_and_rule,
    every_rejection_is_logged_once,
    summary_names_the_worst_and_counts_the_others,
    documents_show_the_lines_of_the_log,
    no_second_line_within_the_interval,
    flood_of_many_sources_logs_few_lines,
    every_source_gets_a_line,
    worst_of_many_sources_are_named,
    source_back_under_its_limit_is_logged_once,
    flood_of_one_source_logs_few_lines,
    stopped_watcher_blocks_and_misses_nothing,
    monitor_mode_logs_as_enforce,
    log_level_is_configurable,
    log_level_changes_at_run_time,
);

/// In the line about a source's first rejection in an interval.
const FIRST: &str = "rejected connection from ";
/// In the summary of the other rejections in the interval.
const SUMMARY: &str = " more connection";

/// Longer than any test.
const A_DAY: i64 = 86_400;

/// A log line from its first `rejected` on, with N for each number and address.
fn shape(line: &str) -> String {
    let start = line.find("rejected ").expect("a line about rejections");
    let word = |word: &str| match word.trim_end_matches([':', ',']) {
        bare if bare.parse::<u64>().is_ok() || bare.parse::<IpAddr>().is_ok() => {
            word.replace(bare, "N")
        }
        _ => word.to_owned(),
    };
    let words: Vec<String> = line[start..].split_whitespace().map(word).collect();
    words.join(" ")
}

/// Opens the one connection that a source may have and is then rejected `times`.
#[track_caller]
fn be_rejected(server: &Server, c: u8, host: u8, times: u32) -> Client {
    let from = source(70, c, host);
    let held = server.admit(Via::Tcp, from);
    for _ in 0..times {
        server.reject(Via::Tcp, from);
    }
    held
}

/// The number of rejections that the log covers: one for each first line, and those in
/// the summaries, "rejected N more connections from S and M from K other sources".
#[track_caller]
fn reported(log: &Log) -> u64 {
    let first = log.lines_with(FIRST).len() as u64;
    let summaries = log.lines_with(SUMMARY);
    first + summaries.iter().map(|line| summed_up(line)).sum::<u64>()
}

/// The number of rejections in a summary.
#[track_caller]
fn summed_up(line: &str) -> u64 {
    let number = |text: &str| -> u64 {
        let digits = text.rsplit(' ').next().unwrap_or_default();
        digits.parse().unwrap_or_else(|_| panic!("{line}"))
    };
    let (before, after) = line.split_once(SUMMARY).expect("a summary");
    let (_, after) = after.split_once(" from ").expect("it names a source");
    let others = after
        .split_once(" from ")
        .map_or(0, |(others, _)| number(others));
    number(before) + others
}

fn first_line_has_source_limit_and_rule(mode: Mode) {
    let server = mode
        .with_module()
        .limit(3)
        .rule("127.70.0.0/16=1")
        .any_address()
        .start();
    let _held = (
        be_rejected(&server, 0, 1, 1),
        server.admit_all(3, Via::Tcp, source(71, 0, 1)),
    );
    server.reject(Via::Tcp, source(71, 0, 1));
    server.wait_for_log(1, "from 127.70.0.1: 1 connection, limit 1");
    server.wait_for_log(1, "from 127.71.0.1: 3 connections, limit 3");
    let log = mode.finish(server, &[]);
    let of_rule = log.lines_with(&format!("{FIRST}127.70.0.1"))[0];
    assert!(of_rule.contains("127.70.0.0/16"), "{of_rule}");
    let of_default = log.lines_with(&format!("{FIRST}127.71.0.1"))[0];
    assert!(of_default.contains("default"), "{of_default}");
    for line in [of_rule, of_default] {
        assert!(line.contains("WARNING: tcp_conn_limit"), "{line}");
    }
}

fn every_rejection_is_logged_once(mode: Mode) {
    let server = mode.with_module().limit(1).param("log_interval", 2).start();
    let _held = (
        be_rejected(&server, 0, 1, 30),
        be_rejected(&server, 0, 2, 5),
        be_rejected(&server, 0, 3, 1),
    );
    assert_eq!(server.stat("rejected"), 36);
    until("the log covers 36", || reported(&server.log()) >= 36);
    // Nothing more is logged then, however many intervals pass.
    let before = server.log().lines_with("tcp_conn_limit").len();
    let _other = be_rejected(&server, 1, 1, 2);
    until("the log covers 38", || reported(&server.log()) >= 38);
    let log = mode.finish(server, &[]);
    assert_eq!(reported(&log), 38);
    // At most the first line and the summary of the other source.
    let after = log.lines_with("tcp_conn_limit").len();
    assert!(after <= before + 2, "{before} {after}\n{log}");
    // A source is named in full, however the intervals fell.
    let lines = log.lines_with(SUMMARY);
    assert!(lines[0].contains(" from 127.70.0.1"), "{lines:?}");
}

fn summary_names_the_worst_and_counts_the_others(mode: Mode) {
    let server = mode
        .with_module()
        .module("cfg_rpc.so")
        .limit(1)
        .param("log_interval", A_DAY)
        .start();
    let _held = (
        be_rejected(&server, 0, 1, 5),
        be_rejected(&server, 0, 2, 11),
        be_rejected(&server, 0, 3, 3),
        be_rejected(&server, 0, 4, 1),
    );
    for host in 1..=4 {
        server.wait_for_log(1, &format!("{FIRST}127.70.0.{host}:"));
    }
    // Now it ends.
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "log_interval", 1]),
    );
    server.wait_for_log(1, SUMMARY);
    let log = mode.finish(server, &[]);
    let summary = log.lines_with(SUMMARY)[0];
    let expected = "rejected 10 more connections from 127.70.0.2 and 6 from 2 other sources in ";
    assert!(summary.contains(expected), "{summary}");
    assert_eq!(reported(&log), 20);
}

/// The samples in README.md and in the module's README have the words of real lines.
fn documents_show_the_lines_of_the_log(mode: Mode) {
    let server = mode
        .with_module()
        .module("cfg_rpc.so")
        .limit(2)
        .param("log_interval", A_DAY)
        .start();
    let _first = [1, 2, 3].map(|host| server.admit(Via::Tcp, source(70, 0, host)));
    let _second = (
        be_rejected(&server, 0, 1, 9),
        be_rejected(&server, 0, 2, 2),
        be_rejected(&server, 0, 3, 2),
    );
    for host in 1..=3 {
        server.wait_for_log(1, &format!("{FIRST}127.70.0.{host}:"));
    }
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "log_interval", 1]),
    );
    until("the log covers all", || reported(&server.log()) >= 13);
    let log = mode.finish(server, &[]);
    let first = shape(log.lines_with(FIRST)[0]);
    let summary = shape(log.lines_with(SUMMARY)[0]);
    for document in ["README.md", "kamailio-glue/tcp_conn_limit/README"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for (begin, real) in [(FIRST, &first), (SUMMARY, &summary)] {
            let mut samples = text.lines().filter(|line| line.contains(begin));
            let same = |line: &str| line.contains("rejected ") && shape(line) == *real;
            assert!(samples.any(same), "{document}: {real}");
        }
    }
}

fn no_second_line_within_the_interval(mode: Mode) {
    let server = mode
        .with_module()
        .limit(1)
        .param("log_interval", A_DAY)
        .start();
    let _held = be_rejected(&server, 0, 1, 1);
    server.wait_for_log(1, FIRST);
    for round in 2..=4 {
        // The watcher has run after each of these.
        let _other = be_rejected(&server, 0, round, 1);
        for _ in 0..50 {
            server.reject(Via::Tcp, source(70, 0, 1));
        }
        server.wait_for_log(1, &format!("{FIRST}127.70.0.{round}:"));
        server.wait_for_log(1, &format!("{FIRST}127.70.0.1:"));
    }
    mode.finish(server, &[]);
}

fn flood_of_many_sources_logs_few_lines(mode: Mode) {
    const SOURCES: u32 = 300;
    const TIMES: u32 = 15;
    let began = Instant::now();
    let server = mode.with_module().limit(1).param("log_interval", 3).start();
    let _held: Vec<Client> = (0..SOURCES)
        .map(|n| be_rejected(&server, (n / 250) as u8, (n % 250) as u8, TIMES))
        .collect();
    let all = u64::from(SOURCES * TIMES);
    assert_eq!(server.stat("rejected"), all);
    until("the log covers all", || reported(&server.log()) >= all);
    let suppressed = server.stat("log_suppressed");
    let pid = server.tcp_main();
    let log = mode.finish(server, &[]);
    assert_eq!(reported(&log), all);
    // At most 100 first lines and a summary for each interval: 80 at once, and the others
    // at its end.
    let (first, summaries) = (log.lines_with(FIRST).len(), log.lines_with(SUMMARY).len());
    assert!(first >= 100, "{first}");
    assert!(first <= 100 * (summaries + 1), "{first} {summaries}");
    // A summary every 3 seconds.
    let intervals = began.elapsed().as_secs() as usize / 3 + 1;
    assert!(summaries <= intervals, "{summaries} {intervals}");
    assert_eq!(suppressed, all - first as u64);
    assert_all_by_watcher(&log, pid);
}

fn every_source_gets_a_line(mode: Mode) {
    let server = mode.with_module().limit(1).param("log_interval", 1).start();
    let sources = 1..=150;
    let _held: Vec<Client> = sources
        .clone()
        .map(|host| server.admit(Via::Tcp, source(70, 0, host)))
        .collect();
    until("each has had a line", || {
        for host in sources.clone() {
            server.reject(Via::Tcp, source(70, 0, host));
        }
        let log = server.log();
        let mut hosts = sources.clone();
        hosts.all(|host| log.contains(&format!("{FIRST}127.70.0.{host}:")))
    });
    mode.finish(server, &[]);
}

/// A source that begins late and is rejected most has a line, although a hundred others
/// had been rejected before.
fn worst_of_many_sources_are_named(mode: Mode) {
    let server = mode
        .with_module()
        .module("cfg_rpc.so")
        .limit(1)
        .param("log_interval", A_DAY)
        .start();
    let mut held: Vec<Client> = (1..=150)
        .map(|host| be_rejected(&server, 0, host, 1))
        .collect();
    until("80 lines", || server.log().lines_with(FIRST).len() >= 80);
    held.push(be_rejected(&server, 1, 1, 40));
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "log_interval", 1]),
    );
    server.wait_for_log(1, SUMMARY);
    let log = mode.finish(server, &[]);
    assert_eq!(log.lines_with(FIRST).len(), 100, "{log}");
    assert_eq!(log.lines_with(&format!("{FIRST}127.70.1.1: ")).len(), 1);
    let summary = log.lines_with(SUMMARY)[0];
    let expected = "rejected 39 more connections from 127.70.1.1 and 51 from 51 other sources in ";
    assert!(summary.contains(expected), "{summary}");
    assert_eq!(reported(&log), 190);
}

fn source_back_under_its_limit_is_logged_once(mode: Mode) {
    let server = mode
        .with_module()
        .limit(3)
        .rule("127.71.0.0/16=1")
        .param("log_interval", A_DAY)
        .start();
    let mut held = server.admit_all(3, Via::Tcp, source(70, 0, 1));
    server.reject(Via::Tcp, source(70, 0, 1));
    let other = server.admit(Via::Tcp, source(71, 0, 1));
    server.reject(Via::Tcp, source(71, 0, 1));
    // This one is never at its limit.
    let quiet = server.admit_all(2, Via::Tcp, source(70, 0, 2));
    server.wait_for_log(1, &format!("{FIRST}127.70.0.1:"));
    server.wait_for_log(1, &format!("{FIRST}127.71.0.1:"));
    held.pop();
    server.wait_for_log(
        1,
        "source 127.70.0.1 is back under its limit: 2 connections, limit 3, rule default",
    );
    drop((other, quiet));
    server.wait_for_log(
        1,
        "source 127.71.0.1 is back under its limit: 0 connections, limit 1, \
         rule 127.71.0.0/16",
    );
    // A line follows only after another first line, which this interval does not have.
    for _ in 0..3 {
        held.extend(server.admit_all(1, Via::Tcp, source(70, 0, 1)));
        server.reject(Via::Tcp, source(70, 0, 1));
        std::thread::sleep(Duration::from_millis(1100));
        held.pop();
        server.wait_for_connections(2);
        std::thread::sleep(Duration::from_millis(1100));
    }
    let log = mode.finish(server, &[]);
    assert_eq!(log.lines_with("is back under its limit").len(), 2, "{log}");
}

fn flood_of_one_source_logs_few_lines(mode: Mode) {
    let began = Instant::now();
    let server = mode.with_module().limit(1).param("log_interval", 2).start();
    let _held = be_rejected(&server, 0, 1, 5000);
    until("the log covers all", || reported(&server.log()) >= 5000);
    let pid = server.tcp_main();
    let log = mode.finish(server, &[]);
    assert_eq!(reported(&log), 5000);
    let lines = log.lines_with("127.70.0.1");
    // Two lines for each interval of 2 seconds.
    let intervals = began.elapsed().as_secs() as usize / 2 + 1;
    assert!(lines.len() <= 2 * intervals, "{intervals} {lines:#?}");
    assert_all_by_watcher(&log, pid);
}

/// No process waits for it, and it misses no rejection.
fn stopped_watcher_blocks_and_misses_nothing(mode: Mode) {
    const SOURCES: u8 = 150;
    const ROUNDS: usize = 20;
    let server = mode.with_module().limit(1).param("log_interval", 2).start();
    let hosts = 1..=SOURCES;
    let held = hosts
        .clone()
        .map(|host| server.admit(Via::Tcp, source(70, 0, host)));
    let _held: Vec<Client> = held.collect();
    let reject_all = || {
        let began = Instant::now();
        for _ in 0..ROUNDS {
            for host in hosts.clone() {
                server.reject(Via::Tcp, source(70, 0, host));
            }
        }
        began.elapsed()
    };
    let all = |times: usize| (times * ROUNDS * usize::from(SOURCES)) as u64;
    let running = reject_all();
    until("the log covers all", || reported(&server.log()) >= all(1));

    let stopped = Stopped::new(server.process("tcp_conn_limit watcher"));
    let before = server.log().lines_with("tcp_conn_limit").len();
    let not_running = reject_all();
    // A wait of 10 ms for each rejection would take 30 s; the allowance is for a busy machine.
    assert!(
        not_running < 3 * running + Duration::from_secs(10),
        "{not_running:?} while the watcher is stopped, {running:?} before"
    );
    assert_eq!(server.stat("rejected"), all(2));
    let lines = server.log().lines_with("tcp_conn_limit").len();
    assert_eq!(lines, before, "another process has written to the log");

    drop(stopped);
    until("the log covers all", || reported(&server.log()) >= all(2));
    let suppressed = server.stat("log_suppressed");
    let log = mode.finish(server, &[]);
    assert_eq!(reported(&log), all(2));
    assert_eq!(suppressed, all(2) - log.lines_with(FIRST).len() as u64);
}

/// Checks that the process that accepts wrote none of our lines, and that one
/// process wrote all of them.
#[track_caller]
fn assert_all_by_watcher(log: &Log, tcp_main: u64) {
    let mut lines = log.lines_with(FIRST);
    lines.extend(log.lines_with(SUMMARY));
    assert!(!lines.is_empty());
    assert_eq!(log.lines_of(tcp_main, "connection from"), [""; 0]);
    assert_eq!(log.lines_of(tcp_main, SUMMARY), [""; 0]);
    let pid = |line: &str| {
        let (_, rest) = line.split_once('(').expect("a line has a process id");
        rest.split_once(')')
            .expect("which is a number")
            .0
            .to_owned()
    };
    let watcher = pid(lines[0]);
    assert!(lines.iter().all(|line| pid(line) == watcher), "{lines:#?}");
}

fn monitor_mode_logs_as_enforce(mode: Mode) {
    let server = mode
        .with_module()
        .text_param("mode", "monitor")
        .limit(1)
        .param("log_interval", 2)
        .start();
    let _held = server.admit_all(31, Via::Tcp, source(70, 0, 1));
    let reported = |log: &Log| -> u64 {
        let first = log
            .lines_with("would reject connection from 127.70.0.1")
            .len() as u64;
        let summaries = log.lines_with(SUMMARY);
        first + summaries.iter().map(|line| summed_up(line)).sum::<u64>()
    };
    until("the log covers 30", || reported(&server.log()) >= 30);
    let log = mode.finish(server, &[]);
    assert_eq!(reported(&log), 30);
    assert!(log.lines_with(FIRST).is_empty());
    for line in log.lines_with(SUMMARY) {
        assert!(line.contains("would reject "), "{line}");
        assert!(!line.contains("rejected "), "{line}");
    }
}

/// Shows that the watcher has processed a source's rejection.
const MARK: &str = r#"
event_route[tcp-conn-limit:rejected] {
	$sht(seen=>$tcp_conn_limit(source)) = 1;
}
"#;

fn with_mark(mode: Mode) -> Config {
    mode.with_module()
        .module("cfg_rpc.so")
        .module("pv.so")
        .module("htable.so")
        .modparam("htable", "htable", "\"seen=>size=4;\"")
        .also_route(MARK)
}

#[track_caller]
fn wait_for_mark(server: &Server, address: &str) {
    until("the watcher has seen it", || {
        server
            .try_rpc("htable.get", json!(["seen", address]))
            .is_ok()
    });
}

fn log_level_is_configurable(mode: Mode) {
    // With debug=1 the log has notices, but no infos.
    for (level, written) in [(-1, Some("ERROR")), (1, Some("NOTICE")), (2, None)] {
        let server = with_mark(mode).limit(1).param("log_level", level).start();
        let _held = be_rejected(&server, 0, 1, 1);
        wait_for_mark(&server, "127.70.0.1");
        if let Some(name) = written {
            server.wait_for_log(1, &format!("{name}: tcp_conn_limit"));
        }
        let log = mode.finish(server, &[FIRST]);
        let lines = log.lines_with(FIRST);
        assert_eq!(lines.len(), usize::from(written.is_some()), "{lines:?}");
        if let Some(name) = written {
            assert!(lines[0].contains(&format!("{name}: tcp_conn_limit")));
        }
    }
}

fn log_level_changes_at_run_time(mode: Mode) {
    let server = with_mark(mode).limit(1).param("log_level", 3).start();
    let mut held = vec![be_rejected(&server, 0, 1, 1)];
    wait_for_mark(&server, "127.70.0.1");
    server.rpc("cfg.set_now_int", json!(["tcp_conn_limit", "log_level", 0]));
    held.push(be_rejected(&server, 0, 2, 1));
    server.wait_for_log(1, &format!("{FIRST}127.70.0.2"));
    let log = mode.finish(server, &[]);
    assert_eq!(log.lines_with(&format!("{FIRST}127.70.0.1")), [""; 0]);
}
