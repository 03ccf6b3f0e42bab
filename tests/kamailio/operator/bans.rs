// SPDX-License-Identifier: GPL-2.0-or-later

//! Bans: set and lifted by commands, and by offences that add up.

use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, number, source, until};

attached_either_way!(
    ban_rejects_new_connections_and_closes_none,
    ban_ends_by_itself,
    ban_of_a_prefix_is_over_its_sources,
    unban_lifts_what_it_names,
    exempt_sources_are_never_banned,
    bans_survive_a_reload,
    bans_are_listed_longest_first,
    wrong_arguments_are_refused,
    kamcmd_bans_and_lifts,
    every_process_may_ban,
    monitor_mode_bans_nothing_and_says_what_it_would,
    offences_add_up_to_a_ban,
    offences_pass_with_time,
    banned_client_that_tries_again_gets_in,
    ban_by_offences_is_bounded,
    rate_offences_ban,
    bans_are_logged,
    nothing_is_penalized_by_default,
);

const BAN: &str = "tcp_conn_limit.ban";
const UNBAN: &str = "tcp_conn_limit.unban";
const BANS: &str = "tcp_conn_limit.bans";

/// Checks that the server holds all of these connections.
#[track_caller]
fn assert_open(clients: &mut [Client]) {
    for client in clients {
        assert!(client.is_admitted(), "a connection was closed");
    }
}

/// The entry of a source or a prefix in the list of bans; null if it is not banned.
fn listed(server: &Server, who: &str) -> Value {
    let bans = server.rpc(BANS, json!([]));
    let mut list = bans["list"].as_array().expect("a list").iter();
    let found = list.find(|ban| ban["source"] == who);
    found.cloned().unwrap_or_default()
}

/// A server on which each rejection over the limit of 1 costs `seconds`.
fn with_offences(mode: Mode, seconds: &str, min: i64, max: i64) -> Config {
    mode.with_module()
        .limit(1)
        .text_param("penalty", &format!("rejected={seconds}"))
        .param("ban_min", min)
        .param("ban_max", max)
        .param("log_interval", 86_400)
}

fn ban_rejects_new_connections_and_closes_none(mode: Mode) {
    let server = mode.with_module().limit(9).tls().start();
    let from = source(120, 0, 1);
    let mut held = server.admit_all(2, Via::Tcp, from);
    held.extend(server.admit_all(2, Via::Tls, from));
    let answer = server.rpc(BAN, json!(["127.120.0.1", 3600, "a scanner"]));
    assert_eq!(answer["source"], "127.120.0.1", "{answer}");
    assert_eq!(answer["reason"], "rpc", "{answer}");
    assert_eq!(answer["rejected"], 0, "{answer}");
    assert_eq!(answer["was"], 0, "{answer}");
    let left = number(&answer, "seconds_left");
    assert!((3599..=3600).contains(&left), "{answer}");
    for _ in 0..3 {
        server.reject(Via::Tcp, from);
        server.reject(Via::Tls, from);
    }
    assert_open(&mut held);
    assert_eq!(held[0].ask("still-here"), "OK");
    // Others are not affected.
    let _other = server.admit(Via::Tcp, source(120, 0, 2));
    let found = server.source("127.120.0.1");
    assert_eq!(found["connections"], 4, "{found}");
    assert_eq!(found["ban_reason"], "rpc", "{found}");
    assert_eq!(found["ban_rejected"], 6, "{found}");
    assert_eq!(found["rejected_for"], "ban", "{found}");
    let left = number(&found, "banned");
    assert!((3400..=3600).contains(&left), "{found}");
    assert_eq!(server.stat("ban_rejected"), 6);
    assert_eq!(server.stat("rejected"), 6);
    assert_eq!(server.stat("bans"), 1);
    server.wait_for_counter("banned", 1);
    assert_eq!(
        server.rpc(UNBAN, json!(["127.120.0.1"])),
        json!({"lifted": 1})
    );
    held.push(server.admit(Via::Tcp, from));
    held.push(server.admit(Via::Tls, from));
    assert_open(&mut held);
    assert_eq!(server.source("127.120.0.1")["banned"], 0);
    server.wait_for_counter("banned", 0);
    let log = mode.finish(server, &[]);
    for line in [
        "ban of 127.120.0.1 set for 3600 s by RPC, process \"",
        ": a scanner",
        "ban of 127.120.0.1 lifted by RPC, process \"",
        "rejected connection from 127.120.0.1: banned, reason rpc, ",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    // The command has said so.
    assert!(!log.contains("127.120.0.1 is no longer banned"), "{log}");
}

fn ban_ends_by_itself(mode: Mode) {
    let server = mode.with_module().limit(9).start();
    let from = source(121, 0, 1);
    let began = Instant::now();
    // It has no connection and no slot.
    server.rpc(BAN, json!(["127.121.0.1", 2]));
    server.reject(Via::Tcp, from);
    let mut ended = began;
    until("the ban ends", || {
        let client = server.open(Via::Tcp, from);
        ended = Instant::now();
        client.is_some()
    });
    let took = ended - began;
    // Bans count in whole milliseconds, so one may end up to a millisecond early.
    assert!(took >= Duration::from_millis(1_999), "{took:?}");
    // A slow machine may try late.
    assert!(took < Duration::from_secs(10), "{took:?}");
    until("it is not listed", || {
        listed(&server, "127.121.0.1").is_null()
    });
    let fault = server.fault(UNBAN, json!(["127.121.0.1"]));
    assert!(!fault.message.is_empty(), "{fault:?}");
    mode.finish(server, &[]);
}

fn ban_of_a_prefix_is_over_its_sources(mode: Mode) {
    let server = mode
        .with_module()
        .limit(9)
        .rule("127.122.1.0/24=5")
        .tls()
        .start();
    let (plain, of_rule) = (source(122, 0, 1), source(122, 1, 1));
    let mut held = server.admit_all(2, Via::Tcp, plain);
    held.extend(server.admit_all(2, Via::Tcp, of_rule));
    let answer = server.rpc(BAN, json!(["127.122.0.0/16", 3600, "a network"]));
    assert_eq!(answer["source"], "127.122.0.0/16", "{answer}");
    // Sources with connections, one with a longer rule, and one that was never seen.
    for from in [plain, of_rule, source(122, 7, 7)] {
        server.reject(Via::Tcp, from);
        server.reject(Via::Tls, from);
    }
    assert_open(&mut held);
    let _outside = server.admit(Via::Tcp, source(123, 0, 1));
    let found = server.source("127.122.0.1");
    let left = number(&found, "banned");
    assert!((3400..=3600).contains(&left), "{found}");
    // Those of the source with a longer rule included, which is not why they were rejected.
    let ban = listed(&server, "127.122.0.0/16");
    assert_eq!(ban["rejected"], 6, "{ban}");
    assert_eq!(server.rule("127.122.1.0/24")["rejected"], 0);
    assert_eq!(server.stat("ban_rejected"), 6);
    assert_eq!(ban["reason"], "rpc", "{ban}");
    assert_eq!(
        server.rpc(UNBAN, json!(["127.122.0.0/16"])),
        json!({"lifted": 1})
    );
    for from in [plain, of_rule, source(122, 7, 7)] {
        held.push(server.admit(Via::Tcp, from));
    }
    // The rule is as it was.
    assert_eq!(server.source("127.122.1.1")["limit"], 5);
    assert_open(&mut held);
    // It ends by itself as well.
    server.rpc(BAN, json!(["127.122.0.0/16", 2]));
    server.reject(Via::Tcp, source(122, 7, 7));
    until("the ban ends", || {
        server.open(Via::Tcp, source(122, 7, 7)).is_some()
    });
    mode.finish(server, &[]);
}

fn unban_lifts_what_it_names(mode: Mode) {
    let server = mode.with_module().limit(9).start();
    let ban_all = || {
        for who in [
            "127.124.0.1",
            "127.124.0.2",
            "127.125.0.1",
            "127.126.0.0/16",
        ] {
            server.rpc(BAN, json!([who, 3600]));
        }
    };
    let is_banned = |from: IpAddr| server.open(Via::Tcp, from).is_none();
    let all = [
        source(124, 0, 1),
        source(124, 0, 2),
        source(125, 0, 1),
        source(126, 0, 1),
    ];
    ban_all();
    assert_eq!(all.map(is_banned), [true; 4]);
    assert_eq!(
        server.rpc(UNBAN, json!(["127.124.0.2"])),
        json!({"lifted": 1})
    );
    assert_eq!(all.map(is_banned), [true, false, true, true]);
    ban_all();
    // Of a prefix: the sources in it.
    assert_eq!(
        server.rpc(UNBAN, json!(["127.124.0.0/16"])),
        json!({"lifted": 2})
    );
    assert_eq!(all.map(is_banned), [false, false, true, true]);
    ban_all();
    assert_eq!(server.rpc(UNBAN, json!(["all"])), json!({"lifted": 4}));
    assert_eq!(all.map(is_banned), [false; 4]);
    assert_eq!(server.rpc(BANS, json!([]))["total"], 0);
    for who in ["127.124.0.1", "127.126.0.0/16", "all"] {
        let fault = server.fault(UNBAN, json!([who]));
        assert!(!fault.message.is_empty(), "{fault:?}");
    }
    mode.finish(server, &[]);
}

fn exempt_sources_are_never_banned(mode: Mode) {
    let server = with_offences(mode, "10", 5, 60)
        .rule("127.127.0.0/16=1 exempt")
        .rule("127.128.0.0/16=unlimited")
        .start();
    let (exempt, unlimited, other) = (source(127, 0, 1), source(128, 0, 1), source(129, 0, 1));
    for from in ["127.127.0.1", "127.128.0.1"] {
        let fault = server.fault(BAN, json!([from, 3600]));
        assert!(fault.message.contains("exempt"), "{fault:?}");
    }
    server.rpc(BAN, json!(["127.0.0.0/8", 3600]));
    server.reject(Via::Tcp, other);
    let held = server.admit(Via::Tcp, exempt);
    let _unlimited = server.admit_all(3, Via::Tcp, unlimited);
    // The limit of its rule applies, and a rejection by it does not count as an offence.
    for _ in 0..10 {
        server.reject(Via::Tcp, exempt);
    }
    let found = server.source("127.127.0.1");
    assert_eq!(found["exempt"], "yes", "{found}");
    assert_eq!(found["rejected_for"], "limit", "{found}");
    assert_eq!(
        (&found["banned"], &found["penalty"]),
        (&json!(0), &json!(0))
    );
    assert!(server.source("127.129.0.1")["exempt"].is_null());
    assert_eq!(server.stat("penalty_rejected"), 0);
    drop(held);
    server.wait_for_connections(3);
    drop(server.admit(Via::Tcp, exempt));
    mode.finish(server, &[]);
}

fn bans_survive_a_reload(mode: Mode) {
    let server = with_offences(mode, "30", 5, 600)
        .rules_file("127.132.0.0/16=5\n")
        .start();
    server.rpc(BAN, json!(["127.130.0.1", 3600]));
    server.rpc(BAN, json!(["127.131.0.0/16", 3600]));
    let by_offence = source(133, 0, 1);
    let mut held = vec![server.admit(Via::Tcp, by_offence)];
    server.reject(Via::Tcp, by_offence);
    assert_eq!(server.source("127.133.0.1")["ban_reason"], "rejected");
    server.write_rules("127.132.0.0/16=6\n127.131.5.0/24=7\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    let banned = [
        source(130, 0, 1),
        source(131, 0, 1),
        source(131, 5, 1),
        by_offence,
    ];
    for from in banned {
        server.reject(Via::Tcp, from);
    }
    assert_eq!(server.rpc(BANS, json!([]))["total"], 3);
    assert_open(&mut held);
    server.rpc("tcp_conn_limit.reset_stats", json!([]));
    for from in banned {
        server.reject(Via::Tcp, from);
    }
    mode.finish(server, &[]);
}

fn bans_are_listed_longest_first(mode: Mode) {
    let server = mode.with_module().limit(9).start();
    assert_eq!(
        server.rpc(BANS, json!([])),
        json!({"total": 0, "shown": 0, "list": []})
    );
    for (who, seconds) in [
        ("127.134.0.1", 300),
        ("127.134.0.2", 900),
        ("127.135.0.0/16", 600),
        ("127.134.0.4", 100),
    ] {
        server.rpc(BAN, json!([who, seconds]));
    }
    let names = |bans: &Value| -> Vec<String> {
        let list = bans["list"].as_array().expect("a list").iter();
        list.map(|ban| ban["source"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let all = server.rpc(BANS, json!([]));
    assert_eq!(all["total"], 4, "{all}");
    assert_eq!(
        names(&all),
        [
            "127.134.0.2",
            "127.135.0.0/16",
            "127.134.0.1",
            "127.134.0.4"
        ]
    );
    let two = server.rpc(BANS, json!([2]));
    assert_eq!((&two["total"], &two["shown"]), (&json!(4), &json!(2)));
    assert_eq!(names(&two), ["127.134.0.2", "127.135.0.0/16"]);
    // Setting it again replaces it, also by a shorter one.
    for (who, before) in [("127.134.0.2", 900), ("127.135.0.0/16", 600)] {
        let answer = server.rpc(BAN, json!([who, 50]));
        let was = number(&answer, "was");
        assert!((before - 100..=before).contains(&was), "{answer}");
    }
    assert_eq!(
        names(&server.rpc(BANS, json!([])))[2..],
        ["127.134.0.2", "127.135.0.0/16"]
    );
    let log = mode.finish(server, &[]);
    let line = log.lines_with("ban of 127.135.0.0/16 set for 50 s by RPC")[0];
    assert!(line.contains(" s, reason rpc"), "{line}");
}

fn wrong_arguments_are_refused(mode: Mode) {
    let config = mode.with_module().limit(2);
    let server = config
        .text_param("nat64_prefix", "2001:db8:64::/96")
        .start();
    for (arguments, text) in [
        (json!([]), "missing"),
        (json!(["127.0.0.1"]), "missing seconds"),
        (json!(["nonsense", 60]), "nonsense"),
        (json!(["", 60]), "invalid"),
        (json!(["127.0.0.1/8", 60]), "127.0.0.1/8"),
        // Clients of a translator are IPv4 sources.
        (json!(["64:ff9b::192.0.2.0/120", 60]), "write 192.0.2.0/24"),
        (json!(["2001:db8:64::/96", 60]), "write 0.0.0.0/0"),
        (json!(["127.0.0.1", 60, true]), "argument 3 is `true`"),
        (json!(["127.0.0.1", 60, null]), "argument 3 is `null`"),
        (json!(["127.0.0.1", 60, ["x"]]), "argument 3 is `[...]`"),
        (json!([5, 60]), "5"),
        (json!(["127.0.0.1", 0]), "`0`"),
        (json!(["127.0.0.1", -1]), "`-1`"),
        (json!(["127.0.0.1", 1.5]), "`1.5`"),
        (json!(["127.0.0.1", "1h"]), "`1h`"),
        (json!(["127.0.0.1", 2_592_001]), "2592000"),
        (json!(["127.0.0.1", "4294967297"]), "4294967297"),
        (json!(["127.0.0.1", 60, "a", "b"]), "surplus argument \"b\""),
    ] {
        let fault = server.fault(BAN, arguments.clone());
        assert_eq!(fault.code, 400, "{arguments}: {}", fault.message);
        assert!(
            fault.message.contains(text),
            "{arguments}: {}",
            fault.message
        );
    }
    for (method, arguments, text) in [
        (UNBAN, json!([]), "missing"),
        (UNBAN, json!(["nonsense"]), "nonsense"),
        (UNBAN, json!([null]), "argument 1 is `null`"),
        (UNBAN, json!(["2001:db8:64::/96"]), "write 0.0.0.0/0"),
        (UNBAN, json!(["127.0.0.1", "x"]), "surplus argument \"x\""),
        (BANS, json!([0]), "invalid number \"0\""),
        (BANS, json!([401]), "from 1 to 400"),
        (BANS, json!([-1]), "invalid number \"-1\""),
        (BANS, json!(["all"]), "invalid number \"all\""),
        (BANS, json!([1.5]), "invalid number \"1.5\""),
        (BANS, json!([5, 6]), "surplus argument \"6\""),
    ] {
        let fault = server.fault(method, arguments.clone());
        assert_eq!(fault.code, 400, "{arguments}: {}", fault.message);
        assert!(
            fault.message.contains(text),
            "{method} {arguments}: {}",
            fault.message
        );
    }
    // Nothing is cut into a valid argument.
    let long = format!("127.0.0.1{}/99", " ".repeat(500));
    let fault = server.fault(BAN, json!([long, 60]));
    assert!(fault.message.contains("too long"), "{fault:?}");
    assert_eq!(server.rpc(BANS, json!([]))["total"], 0);
    // A reason cannot begin a line of its own.
    server.rpc(BAN, json!(["127.136.0.1", 60, "x\n 0(1) ERROR: forged"]));
    let log = mode.finish(server, &["ban of 127.136.0.1 set"]);
    assert!(
        log.lines_with("ban of 127.136.0.1 set")[0].contains("forged"),
        "{log}"
    );
}

fn kamcmd_bans_and_lifts(mode: Mode) {
    let server = mode.with_module().limit(2).start();
    let answer = server.kamcmd(&[BAN, "127.137.0.1", "3600", "a scanner"]);
    for text in ["source: 127.137.0.1", "reason: rpc", "seconds_left: 3600"] {
        assert!(answer.contains(text), "{answer}");
    }
    server.reject(Via::Tcp, source(137, 0, 1));
    let answer = server.kamcmd(&[BANS, "5"]);
    for text in ["total: 1", "source: 127.137.0.1", "rejected: 1"] {
        assert!(answer.contains(text), "{answer}");
    }
    let answer = server.kamcmd(&[UNBAN, "all"]);
    assert!(answer.contains("lifted: 1"), "{answer}");
    for arguments in [
        &[BAN][..],
        &[BAN, "127.137.0.1"],
        &[BAN, "127.137.0.1", "0"],
        &[BAN, "127.137.0.1", "60", "two", "words"],
        &[UNBAN],
        &[BANS, "0"],
    ] {
        let fault = server.try_kamcmd(arguments).expect_err("it is refused");
        assert!(fault.starts_with("400 "), "{arguments:?}: {fault}");
        assert!(!fault.contains("if you get this string"), "{fault}");
    }
    mode.finish(server, &[]);
}

/// HTTP requests run in other processes than those of the datagram socket and ctl.
fn every_process_may_ban(mode: Mode) {
    let server = mode.with_module().limit(50).http("all").start();
    server.rpc_by_http(BAN, json!(["127.138.0.1", 3600]));
    server.rpc(BAN, json!(["127.138.0.2", 3600]));
    server.kamcmd(&[BAN, "127.138.0.3", "3600"]);
    for host in 1..=3 {
        server.reject(Via::Tcp, source(138, 0, host));
    }
    server.kamcmd(&[UNBAN, "127.138.0.1"]);
    server.rpc_by_http(UNBAN, json!(["127.138.0.2"]));
    server.rpc(UNBAN, json!(["127.138.0.3"]));
    for host in 1..=3 {
        drop(server.admit(Via::Tcp, source(138, 0, host)));
    }
    mode.finish(server, &[]);
}

fn monitor_mode_bans_nothing_and_says_what_it_would(mode: Mode) {
    let server = with_offences(mode, "10", 5, 60)
        .text_param("mode", "monitor")
        .start();
    let from = source(139, 0, 1);
    let mut held = server.admit_all(2, Via::Tcp, from);
    server.wait_for_log(1, "would ban source 127.139.0.1 for ");
    held.extend(server.admit_all(3, Via::Tcp, from));
    let found = server.source("127.139.0.1");
    assert!(number(&found, "banned") > 0, "{found}");
    assert_eq!(found["ban_reason"], "rejected", "{found}");
    assert_eq!(server.stat("would_ban"), 1);
    assert_eq!(server.stat("bans"), 0);
    assert_eq!(server.stat("ban_would_reject"), 3);
    assert_eq!(server.stat("ban_rejected"), 0);
    assert_eq!(server.stat("rejected"), 0);
    // By hand it is the same.
    server.rpc(BAN, json!(["127.139.0.2", 3600]));
    server.rpc(BAN, json!(["127.140.0.0/16", 3600]));
    held.push(server.admit(Via::Tcp, source(139, 0, 2)));
    held.push(server.admit(Via::Tcp, source(140, 0, 1)));
    assert_eq!(server.stat("ban_would_reject"), 5);
    let ban = listed(&server, "127.139.0.2");
    assert_eq!(ban["rejected"], 1, "{ban}");
    assert_open(&mut held);
    // After a change to enforce the bans apply, and close nothing.
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    server.reject(Via::Tcp, source(139, 0, 2));
    server.reject(Via::Tcp, source(140, 0, 1));
    assert_open(&mut held);
    let log = mode.finish(server, &[]);
    assert!(!log.contains("NOTICE: tcp_conn_limit: banned"), "{log}");
    assert_eq!(log.lines_with(": banned source").len(), 0, "{log}");
}

fn offences_add_up_to_a_ban(mode: Mode) {
    let server = with_offences(mode, "10", 15, 600).tls().start();
    let from = source(141, 0, 1);
    let mut held = vec![server.admit(Via::Tcp, from)];
    server.reject(Via::Tcp, from);
    let found = server.source("127.141.0.1");
    let penalty = number(&found, "penalty");
    assert!((1..=10).contains(&penalty), "{found}");
    assert_eq!(found["banned"], 0, "{found}");
    assert_eq!(found["rejected_for"], "limit", "{found}");
    // The second makes it nearly 20 s, if the machine takes less than 5 s.
    server.reject(Via::Tcp, from);
    let found = server.source("127.141.0.1");
    let left = number(&found, "banned");
    assert!((1..=20).contains(&left), "{found}");
    assert_eq!(found["penalty"], 0, "{found}");
    assert_eq!(found["ban_reason"], "rejected", "{found}");
    held.truncate(0);
    server.wait_for_connections(0);
    // Below the limit, and still banned: TCP and TLS.
    server.reject(Via::Tcp, from);
    server.reject(Via::Tls, from);
    assert_eq!(server.source("127.141.0.1")["rejected_for"], "ban");
    assert_eq!(server.stat("penalty_rejected"), 2);
    assert_eq!(server.stat("bans"), 1);
    drop(server.admit(Via::Tls, source(141, 0, 2)));
    mode.finish(server, &[]);
}

fn offences_pass_with_time(mode: Mode) {
    let server = with_offences(mode, "2", 3, 600).start();
    let from = source(142, 0, 1);
    let _held = server.admit(Via::Tcp, from);
    for _ in 0..4 {
        server.reject(Via::Tcp, from);
        // Longer than the offence costs: it never adds up.
        sleep(Duration::from_millis(2100));
        let found = server.source("127.142.0.1");
        assert_eq!(
            (&found["banned"], &found["penalty"]),
            (&json!(0), &json!(0))
        );
    }
    assert_eq!(server.stat("bans"), 0);
    assert_eq!(server.stat("penalty_rejected"), 4);
    mode.finish(server, &[]);
}

/// A rejection by a ban does not count as an offence, so trying again does not make it longer.
fn banned_client_that_tries_again_gets_in(mode: Mode) {
    let server = with_offences(mode, "2", 1, 600).start();
    let from = source(143, 0, 1);
    let held = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let banned = Instant::now();
    drop(held);
    server.wait_for_connections(0);
    let mut attempts = 0;
    until("it gets in", || {
        attempts += 1;
        server.open(Via::Tcp, from).is_some()
    });
    let took = banned.elapsed();
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(attempts > 1, "{attempts}");
    assert_eq!(server.stat("penalty_rejected"), 1);
    assert_eq!(server.stat("ban_rejected"), attempts - 1);
    mode.finish(server, &[]);
}

fn ban_by_offences_is_bounded(mode: Mode) {
    let server = with_offences(mode, "3600", 5, 30).start();
    let from = source(144, 0, 1);
    let _held = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let left = number(&server.source("127.144.0.1"), "banned");
    assert!((15..=30).contains(&left), "{left}");
    mode.finish(server, &[]);
}

fn rate_offences_ban(mode: Mode) {
    let server = mode
        .with_module()
        .limit(0)
        .text_param("rate", "1/h")
        .param("burst", 2)
        .text_param("penalty", "rate=5")
        .param("ban_min", 6)
        .start();
    let from = source(145, 0, 1);
    drop(server.admit_all(2, Via::Tcp, from));
    server.reject(Via::Tcp, from);
    assert_eq!(server.source("127.145.0.1")["rejected_for"], "rate");
    server.reject(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let found = server.source("127.145.0.1");
    assert_eq!(found["rejected_for"], "ban", "{found}");
    assert_eq!(found["ban_reason"], "rate", "{found}");
    assert_eq!(server.stat("penalty_rate"), 2);
    // Lifting the ban does not give its rate back.
    server.rpc(UNBAN, json!(["127.145.0.1"]));
    server.reject(Via::Tcp, from);
    assert_eq!(server.source("127.145.0.1")["rejected_for"], "rate");
    mode.finish(server, &[]);
}

fn bans_are_logged(mode: Mode) {
    let server = with_offences(mode, "3", 2, 600).start();
    let from = source(146, 0, 1);
    let held = server.admit(Via::Tcp, from);
    server.reject(Via::Tcp, from);
    server.wait_for_log(1, "banned source 127.146.0.1 for ");
    server.reject(Via::Tcp, from);
    server.wait_for_log(1, "source 127.146.0.1 is no longer banned: ");
    drop(held);
    let tcp_main = server.tcp_main();
    let log = mode.finish(server, &[]);
    let line = log.lines_with("banned source 127.146.0.1 for ")[0];
    assert!(line.contains(" s, reason rejected"), "{line}");
    let line = log.lines_with("127.146.0.1 is no longer banned: ")[0];
    assert!(line.contains("rejected 1 connection"), "{line}");
    assert!(line.contains("reason rejected"), "{line}");
    assert!(log.lines_of(tcp_main, "banned").is_empty(), "{log}");
}

fn nothing_is_penalized_by_default(mode: Mode) {
    let server = mode.with_module().limit(1).start();
    let from = source(147, 0, 1);
    let _held = server.admit(Via::Tcp, from);
    for _ in 0..50 {
        server.reject(Via::Tcp, from);
    }
    let found = server.source("127.147.0.1");
    assert_eq!(
        (&found["banned"], &found["penalty"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(server.stat("bans"), 0);
    assert_eq!(server.stat("penalty_rejected"), 0);
    mode.finish(server, &[]);
}
