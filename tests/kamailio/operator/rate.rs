// SPDX-License-Identifier: GPL-2.0-or-later

//! The rate of a source: its burst, then one connection in each interval.
//!
//! No test here has a tolerance. A [`Meter`] knows for each attempt the earliest and the
//! latest moment at which the server decided, from the client's side, and checks that the
//! answer is right for at least one moment between them. A slow machine widens what it
//! accepts, and makes no test fail. Tests that count exactly have a rate of 1/h, which
//! gives nothing back while they run.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, number, source, until};

attached_either_way!(
    burst_comes_first_and_then_the_rate,
    tls_connections_have_the_same_rate,
    rate_and_limit_apply_together,
    client_that_tries_again_gets_in,
    rules_have_rates_of_their_own,
    hosts_in_a_counted_network_have_rates_of_their_own,
    reload_keeps_what_sources_owe,
    set_rate_takes_effect_at_once,
    set_rate_refuses_what_is_not_a_rate,
    cfg_variables_change_the_rate,
    restart_takes_the_rate_of_the_configuration,
    monitor_mode_rejects_nothing_for_the_rate,
    reports_show_the_rate,
    top_by_rate_lists_what_is_owed,
    large_answers_fit_a_datagram,
    log_says_the_rate,
    rate_is_off_by_default,
);

const SET_RATE: &str = "tcp_conn_limit.set_rate";

/// Gives nothing back while a test runs.
const HOURLY: &str = "1/h";

fn config(mode: Mode, rate: &str, burst: i64) -> Config {
    mode.with_module()
        .limit(0)
        .text_param("rate", rate)
        .param("burst", burst)
}

/// Checks each answer to a source against its rate.
struct Meter {
    interval: Duration,
    burst: u32,
    /// The earliest and the latest moment at which the whole burst is available again.
    complete: (Instant, Instant),
    admitted: u32,
    rejected: u32,
}

impl Meter {
    fn new(interval: Duration, burst: u32) -> Self {
        let now = Instant::now();
        Self {
            interval,
            burst,
            complete: (now, now),
            admitted: 0,
            rejected: 0,
        }
    }

    /// Opens a connection and checks whether it may be admitted, or rejected.
    #[track_caller]
    fn open(&mut self, server: &Server, via: Via, from: IpAddr) -> Option<Client> {
        // What the server adds in a source's first attempt, and the rounding of its clock.
        let rounding = Duration::from_micros(2);
        let ahead = self.interval * (self.burst - 1);
        let earliest = Instant::now();
        let client = server.open(via, from);
        let latest = Instant::now();
        let attempt = self.admitted + self.rejected;
        if client.is_some() {
            let owed = self.complete.0.saturating_duration_since(latest);
            assert!(
                owed <= ahead + rounding,
                "attempt {attempt} was admitted too early: {owed:?} ahead, {ahead:?} allowed"
            );
            self.complete.0 = self.complete.0.max(earliest) + self.interval;
            self.complete.1 = self.complete.1.max(latest) + self.interval;
            self.admitted += 1;
        } else {
            let owed = self.complete.1.saturating_duration_since(earliest);
            assert!(
                owed + rounding > ahead,
                "attempt {attempt} was rejected: only {owed:?} ahead, {ahead:?} allowed"
            );
            self.rejected += 1;
        }
        client
    }

    /// Opens and closes connections without a pause.
    #[track_caller]
    fn flood(&mut self, server: &Server, via: Via, from: IpAddr, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            drop(self.open(server, via, from));
        }
    }
}

/// Checks that exactly `count` connections are admitted. They are closed.
#[track_caller]
fn assert_burst(server: &Server, from: IpAddr, count: usize) {
    drop(server.admit_all(count, Via::Tcp, from));
    for _ in 0..3 {
        server.reject(Via::Tcp, from);
    }
}

fn burst_comes_first_and_then_the_rate(mode: Mode) {
    for (host, rate, burst, interval_us) in [
        (1, "10/s", 5, 100_000),
        (2, "3/s", 2, 333_334),
        (3, "3000/m", 20, 20_000),
        (4, "7200/h", 1, 500_000),
        (5, "200/s", 100, 5_000),
    ] {
        let server = config(mode, rate, burst.into()).start();
        let from = source(100, 0, host);
        let mut meter = Meter::new(Duration::from_micros(interval_us), burst);
        let began = Instant::now();
        meter.flood(&server, Via::Tcp, from, Duration::from_secs(3));
        let most = began.elapsed().as_micros() / u128::from(interval_us);
        let most = u128::from(burst) + most;
        assert!(u128::from(meter.admitted) <= most, "{rate}: {most}");
        assert!(meter.admitted > burst, "{rate}: {}", meter.admitted);
        let rejected = u64::from(meter.rejected);
        assert_eq!(server.stat("rate_rejected"), rejected, "{rate}");
        assert_eq!(server.stat("rejected"), rejected, "{rate}");
        assert_eq!(server.stat("admitted"), u64::from(meter.admitted), "{rate}");
        // After a pause the burst is available again.
        let pause = meter.complete.1.saturating_duration_since(Instant::now());
        std::thread::sleep(pause);
        for _ in 0..burst {
            assert!(meter.open(&server, Via::Tcp, from).is_some(), "{rate}");
        }
        mode.finish(server, &[]);
    }
}

fn tls_connections_have_the_same_rate(mode: Mode) {
    let server = config(mode, "5/s", 3).tls().start();
    let from = source(101, 0, 1);
    let mut meter = Meter::new(Duration::from_millis(200), 3);
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        drop(meter.open(&server, Via::Tls, from));
        drop(meter.open(&server, Via::Tcp, from));
    }
    assert!(meter.admitted > 3 && meter.rejected > 3);
    mode.finish(server, &[]);
}

fn rate_and_limit_apply_together(mode: Mode) {
    let server = config(mode, HOURLY, 5).limit(3).start();
    let from = source(102, 0, 1);
    let held = server.admit_all(3, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    let found = server.source("127.102.0.1");
    assert_eq!(found["rejected_for"], "limit", "{found}");
    assert_eq!(found["owed"], 3, "{found}");
    // What the limit rejected cost nothing: two of the burst are left.
    drop(held);
    server.wait_for_connections(0);
    assert_burst(&server, from, 2);
    let found = server.source("127.102.0.1");
    assert_eq!(found["rejected_for"], "rate", "{found}");
    assert_eq!(number(&found, "rejected"), 4, "{found}");
    assert_eq!(server.stat("rejected"), 4);
    assert_eq!(server.stat("rate_rejected"), 3);
    // Another source is not affected.
    let _held = server.admit_all(3, Via::Tcp, source(102, 0, 2));
    mode.finish(server, &[]);
}

/// A client that never pauses gets exactly what its rate gives.
fn client_that_tries_again_gets_in(mode: Mode) {
    let server = config(mode, "2/s", 2).start();
    let from = source(103, 0, 1);
    let mut meter = Meter::new(Duration::from_millis(500), 2);
    until("three more than its burst are admitted", || {
        drop(meter.open(&server, Via::Tcp, from));
        meter.admitted >= 5
    });
    assert!(meter.rejected >= meter.admitted, "{}", meter.rejected);
    mode.finish(server, &[]);
}

fn rules_have_rates_of_their_own(mode: Mode) {
    let server = config(mode, HOURLY, 2)
        .rule("127.104.0.0/16=unlimited rate=1/h burst=3")
        .rule("127.105.0.0/16=100 rate=none")
        .rule("127.106.0.0/16=100 burst=7")
        .rule("127.107.0.0/16=100")
        .rule("127.104.9.0/24=2 rate=1/h burst=4")
        .start();
    assert_burst(&server, source(104, 0, 1), 3);
    drop(server.admit_all(30, Via::Tcp, source(105, 0, 1)));
    assert_burst(&server, source(106, 0, 1), 7);
    assert_burst(&server, source(107, 0, 1), 2);
    assert_burst(&server, source(108, 0, 1), 2);
    // Each source has its own, and the longest rule applies, with its limit.
    assert_burst(&server, source(104, 0, 2), 3);
    let held = server.admit_all(2, Via::Tcp, source(104, 9, 1));
    server.reject(Via::Tcp, source(104, 9, 1));
    drop(held);
    server.wait_for_connections(0);
    assert_burst(&server, source(104, 9, 1), 2);
    mode.finish(server, &[]);
}

/// Each /24 is a source here; what a host opens is charged to it at the rate of the host.
fn hosts_in_a_counted_network_have_rates_of_their_own(mode: Mode) {
    let server = config(mode, HOURLY, 5)
        .param("ipv4_prefix", 24)
        .rule("127.112.0.7=unlimited rate=1/m burst=7")
        .rule("127.112.0.8=unlimited rate=none")
        .start();
    drop(server.admit_all(30, Via::Tcp, source(112, 0, 8)));
    assert_burst(&server, source(112, 0, 7), 7);
    // The seven minutes of that host leave four connections of an hour each, as the fifth
    // may begin when four hours are owed.
    assert_burst(&server, source(112, 0, 9), 4);
    assert_burst(&server, source(112, 1, 7), 5);
    mode.finish(server, &[]);
}

fn reload_keeps_what_sources_owe(mode: Mode) {
    let server = mode
        .with_module()
        .limit(0)
        .rules_file("127.109.0.0/16=100 rate=1/h burst=5\n")
        .start();
    let from = source(109, 0, 1);
    let reload = |rules: &str| {
        server.write_rules(rules);
        server.rpc("tcp_conn_limit.reload", json!([]));
    };
    assert_burst(&server, from, 5);
    reload("127.109.0.0/16=100 rate=1/h burst=5\n");
    assert_burst(&server, from, 0);
    reload("127.109.0.0/16=100 rate=1/h burst=8\n");
    assert_eq!(server.source("127.109.0.1")["owed"], 5);
    assert_burst(&server, from, 3);
    reload("127.109.0.0/16=100\n");
    drop(server.admit_all(20, Via::Tcp, from));
    mode.finish(server, &[]);
}

fn set_rate_takes_effect_at_once(mode: Mode) {
    let server = mode.with_module().limit(0).start();
    let from = source(110, 0, 1);
    drop(server.admit_all(20, Via::Tcp, from));
    assert_eq!(
        server.rpc(SET_RATE, json!(["1/h", 4])),
        json!({"rate": "1/h", "burst": 4, "was": "none"})
    );
    assert_burst(&server, from, 4);
    assert_eq!(
        server.rpc(SET_RATE, json!(["100/m"])),
        json!({"rate": "100/m", "burst": 5, "was": "1/h", "burst_was": 4})
    );
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    assert_eq!(
        (&stats["rate"], &stats["burst"]),
        (&json!("100/m"), &json!(5))
    );
    let answer = server.kamcmd(&[SET_RATE, "10/s", "20"]);
    for text in ["rate: 10/s", "burst: 20", "was: 100/m", "burst_was: 5"] {
        assert!(answer.contains(text), "{answer}");
    }
    assert_eq!(
        server.rpc(SET_RATE, json!(["none"])),
        json!({"rate": "none", "was": "10/s", "burst_was": 20})
    );
    drop(server.admit_all(20, Via::Tcp, from));
    let log = mode.finish(server, &[]);
    for line in [
        "rate changed from none to 1/h, burst 4 by RPC, process \"",
        "rate changed from 1/h, burst 4 to 100/m, burst 5 by RPC",
        "rate changed from 100/m, burst 5 to 10/s, burst 20 by RPC",
        "rate changed from 10/s, burst 20 to none by RPC",
    ] {
        assert_eq!(log.lines_with(line).len(), 1, "{line}: {log}");
    }
    assert_eq!(log.lines_with("rate changed").len(), 4, "{log}");
}

fn set_rate_refuses_what_is_not_a_rate(mode: Mode) {
    let server = config(mode, "10/s", 20).start();
    for (arguments, text) in [
        (json!([]), "missing rate: expected one such as 10/s"),
        (json!([10]), "invalid rate `10`"),
        (json!([-1]), "invalid rate `-1`"),
        (json!([1.5]), "invalid rate `1.5`"),
        (json!([true]), "invalid rate"),
        (json!([null]), "invalid rate"),
        (json!([[1]]), "invalid rate"),
        (json!([""]), "invalid rate"),
        (json!(["0/s"]), "invalid rate `0/s`"),
        (json!(["10001/s"]), "at most 10000/s"),
        (json!(["10/d"]), "10/s, 100/m or 2/h"),
        (json!(["4294967306/s"]), "invalid rate"),
        (json!(["10/s", 0]), "invalid burst \"0\""),
        (json!(["10/s", -5]), "invalid burst \"-5\""),
        (json!(["10/s", "many"]), "invalid burst \"many\""),
        (json!(["10/s", 1.5]), "invalid burst \"1.5\""),
        (json!(["10/s", 1_000_001]), "1000001"),
        (json!(["10/s", 4_294_967_301_u64]), "invalid burst"),
        (json!(["1/h", 73]), "burst 73"),
        (json!(["10/s", 5, "x"]), "surplus argument \"x\""),
    ] {
        let fault = server.fault(SET_RATE, arguments.clone());
        assert_eq!(fault.code, 400, "{arguments}: {}", fault.message);
        assert!(
            fault.message.contains(text),
            "{arguments}: {}",
            fault.message
        );
    }
    for arguments in [
        &[SET_RATE][..],
        &[SET_RATE, "10"],
        &[SET_RATE, "10/s", "0"],
        &[SET_RATE, "10/s", "5", "x"],
    ] {
        let fault = server.try_kamcmd(arguments).expect_err("it is refused");
        assert!(fault.starts_with("400 "), "{arguments:?}: {fault}");
        assert!(!fault.contains("if you get this string"), "{fault}");
    }
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    assert_eq!(
        (&stats["rate"], &stats["burst"]),
        (&json!("10/s"), &json!(20))
    );
    let log = mode.finish(server, &[]);
    assert!(!log.contains("rate changed"), "{log}");
}

fn cfg_variables_change_the_rate(mode: Mode) {
    let server = config(mode, "10/s", 20).module("cfg_rpc.so").start();
    let get = |name: &str| server.rpc("cfg.get", json!(["tcp_conn_limit", name]));
    let set = |name: &str, value: i64| {
        server.rpc("cfg.set_now_int", json!(["tcp_conn_limit", name, value]));
    };
    let is = |rate: &str, burst: u64| {
        until(&format!("the rate is {rate}, burst {burst}"), || {
            let stats = server.rpc("tcp_conn_limit.stats", json!([]));
            stats["rate"] == rate && stats["burst"] == burst
        });
    };
    assert_eq!((get("rate"), get("burst")), (json!(36_000), json!(20)));
    set("rate", 6_000);
    is("100/m", 20);
    set("burst", 0);
    is("100/m", 5);
    server.rpc(SET_RATE, json!(["3/s", 7]));
    assert_eq!((get("rate"), get("burst")), (json!(10_800), json!(7)));
    set("burst", 9);
    is("3/s", 9);
    // Out of their ranges.
    for (name, value) in [("rate", -1), ("rate", 36_000_001), ("burst", 1_000_001)] {
        server.fault("cfg.set_now_int", json!(["tcp_conn_limit", name, value]));
    }
    // The burst does not fit the rate.
    set("rate", 1);
    is("1/h", 9);
    set("burst", 73);
    server.wait_for_log(1, "cannot apply the cfg variables rate 1 and burst 73");
    is("1/h", 9);
    set("rate", 0);
    until("there is no rate", || {
        server.rpc("tcp_conn_limit.stats", json!([]))["rate"] == "none"
    });
    let log = mode.finish(
        server,
        &["cannot apply the cfg variables", "cfg", "Failed to set"],
    );
    let changes = log.lines_with("rate changed from 10/s, burst 20 to 100/m, burst 20");
    assert_eq!(changes.len(), 1, "{log}");
    assert!(changes[0].contains("by a cfg variable"), "{}", changes[0]);
    assert_eq!(log.lines_with("cannot apply the cfg variables").len(), 1);
}

fn restart_takes_the_rate_of_the_configuration(mode: Mode) {
    let server = config(mode, HOURLY, 3).start();
    let from = source(111, 0, 1);
    assert_burst(&server, from, 3);
    server.rpc(SET_RATE, json!(["none"]));
    let server = mode.restart(server);
    assert_burst(&server, from, 3);
    mode.finish(server, &[]);
}

fn monitor_mode_rejects_nothing_for_the_rate(mode: Mode) {
    let server = config(mode, HOURLY, 3)
        .text_param("mode", "monitor")
        .start();
    let from = source(112, 0, 1);
    drop(server.admit_all(10, Via::Tcp, from));
    assert_eq!(server.stat("rate_would_reject"), 7);
    assert_eq!(server.stat("would_reject"), 7);
    assert_eq!(server.stat("rate_rejected"), 0);
    assert_eq!(server.stat("rejected"), 0);
    let found = server.source("127.112.0.1");
    assert_eq!(found["would_reject"], 7, "{found}");
    assert_eq!(found["rejected_for"], "rate", "{found}");
    server.wait_for_log(
        1,
        "would reject connection from 127.112.0.1: more than 1/h, burst 3, rule default",
    );
    // As in the mode enforce, what would be rejected cost nothing.
    assert_eq!(found["owed"], 3, "{found}");
    server.rpc("tcp_conn_limit.set_mode", json!(["off"]));
    drop(server.admit_all(10, Via::Tcp, from));
    assert_eq!(server.stat("rate_would_reject"), 7);
    mode.finish(server, &[]);
}

fn reports_show_the_rate(mode: Mode) {
    let server = config(mode, HOURLY, 5)
        .rule("127.114.0.0/16=9 rate=none")
        .start();
    drop(server.admit_all(4, Via::Tcp, source(113, 0, 1)));
    let found = server.source("127.113.0.1");
    assert_eq!(found["rate"], "1/h", "{found}");
    assert_eq!((&found["burst"], &found["owed"]), (&json!(5), &json!(4)));
    assert_eq!(found["rejected_for"], Value::Null, "{found}");
    let other = server.source("127.114.0.1");
    assert_eq!(other["rate"], "none", "{other}");
    assert!(
        other["burst"].is_null() && other["owed"].is_null(),
        "{other}"
    );
    let answer = server.kamcmd(&["tcp_conn_limit.get", "127.113.0.1"]);
    assert!(
        answer.contains("rate: 1/h") && answer.contains("owed: 4"),
        "{answer}"
    );
    // A proposal from what the sources used.
    drop(server.admit_all(2, Via::Tcp, source(113, 0, 2)));
    let suggested = |server: &Server| {
        let suggestions = server.rpc("tcp_conn_limit.suggest", json!([]));
        let all = suggestions.as_array().expect("a list");
        assert!(all[0]["rate"].is_null(), "of a rule: {suggestions}");
        all.last().expect("the default").clone()
    };
    until("the watcher has seen both", || {
        suggested(&server)["burst_sources"] == 2
    });
    let default = suggested(&server);
    assert_eq!(default["prefix"], "default");
    assert_eq!(
        (&default["rate"], &default["burst"]),
        (&json!("1/h"), &json!(5))
    );
    assert_eq!(default["burst_used"], "1: 0, 2: 1, 3-4: 1", "{default}");
    assert_eq!(default["proposed_rate"], "1/h", "{default}");
    assert!(number(&default, "proposed_burst") >= 5, "{default}");
    server.rpc(SET_RATE, json!(["none"]));
    let default = suggested(&server);
    assert_eq!(default["rate"], "none", "{default}");
    assert!(default["proposed_rate"].is_null(), "{default}");
    mode.finish(server, &[]);
}

fn top_by_rate_lists_what_is_owed(mode: Mode) {
    let server = config(mode, HOURLY, 50).start();
    for (host, count) in [(1, 3), (2, 9), (3, 6)] {
        drop(server.admit_all(count, Via::Tcp, source(115, 0, host)));
    }
    server.wait_for_connections(0);
    let top = server.rpc("tcp_conn_limit.top", json!(["rate", 2]));
    let top: Vec<_> = top.as_array().expect("a list").iter().collect();
    let found: Vec<_> = top
        .iter()
        .map(|one| (&one["source"], &one["owed"]))
        .collect();
    assert_eq!(
        found,
        [
            (&json!("127.115.0.2"), &json!(9)),
            (&json!("127.115.0.3"), &json!(6))
        ]
    );
    mode.finish(server, &[]);
}

/// As many sources as an answer can list, each with a rate, offences and a ban.
fn large_answers_fit_a_datagram(mode: Mode) {
    let server = config(mode, HOURLY, 1)
        .rule("127.119.0.0/16=2147483647 rate=1/h burst=2")
        .text_param("penalty", "rate=3600")
        .param("ban_max", 2_592_000)
        .start();
    let _held: Vec<Client> = (0..400u16)
        .map(|n| {
            let from = source(119, (n / 200) as u8 + 100, (n % 200) as u8 + 50);
            let held = server.admit(Via::Tcp, from);
            drop(server.admit(Via::Tcp, from));
            server.reject(Via::Tcp, from);
            held
        })
        .collect();
    server.wait_for_connections(400);
    for list in [
        server.rpc("tcp_conn_limit.list", json!([]))["list"].take(),
        server.rpc("tcp_conn_limit.top", json!([400, "rate"])),
        server.rpc("tcp_conn_limit.bans", json!([]))["list"].take(),
    ] {
        assert_eq!(list.as_array().map(Vec::len), Some(400));
    }
    let list = server.rpc("tcp_conn_limit.list", json!([]));
    let first = &list["list"][0];
    assert_eq!(first["owed"], 2, "{first}");
    assert!(number(first, "banned") > 3_000, "{first}");
    let shown = server.kamcmd(&["tcp_conn_limit.bans"]);
    assert_eq!(shown.matches("source:").count(), 400);
    let shown = server.kamcmd(&["tcp_conn_limit.top", "400", "rate"]);
    assert_eq!(shown.matches("source:").count(), 400);
    mode.finish(server, &[]);
}

fn log_says_the_rate(mode: Mode) {
    let server = config(mode, "2/s", 3)
        .rule("127.117.0.0/16=5 rate=1/h burst=2")
        .param("log_interval", 86_400)
        .start();
    assert_burst(&server, source(117, 0, 1), 2);
    drop(server.admit_all(3, Via::Tcp, source(116, 0, 1)));
    server.reject(Via::Tcp, source(116, 0, 1));
    server.wait_for_log(
        1,
        "rejected connection from 127.117.0.1: more than 1/h, burst 2, rule 127.117.0.0/16",
    );
    server.wait_for_log(
        1,
        "rejected connection from 127.116.0.1: more than 2/s, burst 3, rule default",
    );
    server.wait_for_log(
        1,
        "source 127.116.0.1 is back under its rate: 2/s, burst 3, rule default",
    );
    let log = mode.finish(server, &[]);
    assert!(!log.contains("127.117.0.1 is back"), "{log}");
}

fn rate_is_off_by_default(mode: Mode) {
    let server = mode.with_module().limit(0).start();
    drop(server.admit_all(100, Via::Tcp, source(118, 0, 1)));
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    assert_eq!(stats["rate"], "none");
    assert_eq!(stats["rate_rejected"], 0);
    mode.finish(server, &[]);
}
