// SPDX-License-Identifier: GPL-2.0-or-later

//! The life of a server: start, load, reports, changes and mistakes, and its end under load.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use support::kamailio::mode::Mode;
use support::kamailio::{Client, Config, Log, Server, Via, number, source, until};

const LIMIT: usize = 3;
const SOURCES: u8 = 20;
const STEPS: usize = 300;

const RULES: &str = "127.91.0.0/16=2\n127.92.0.0/16=unlimited\n2001:db8::/32=7\n";

/// A script that uses every function and variable of the module.
const ROUTE: &str = r#"
request_route {
	tcp_conn_limit_get("$si", "connections", "$var(n)");
	tcp_conn_limit_get("$si", "rule", "$var(rule)");
	if (tcp_conn_limit_check("127.91.0.1")) {
		$var(may) = "yes";
	} else {
		$var(may) = "no";
	}
	if (tcp_conn_limit_check("$rU")) {
		$var(may) = "no-address";
	}
	tcp_conn_limit_count_for("127.86.0.1");
	tcp_conn_limit_count_for("$rU");
	tcp_conn_limit_ban("60", "127.89.0.1");
	tcp_conn_limit_ban("60", "$rU");
	tcp_conn_limit_penalize("127.89.0.1");
	tcp_conn_limit_unban("127.89.0.1");
	tcp_conn_limit_unban();
	tcp_conn_limit_get("127.89.0.1", "ban_reason", "$var(reason)");
	$var(state) = $tcp_conn_limit(rate) + $tcp_conn_limit(banned) + $tcp_conn_limit(rejected_for);
	$var(answer) = $tcp_conn_limit(source) + " " + $tcp_conn_limit(limit) + " "
		+ $tcp_conn_limit(peak) + " " + $var(n) + " " + $var(rule) + " " + $var(may);
	sl_send_reply("200", "$var(answer)");
}

event_route[tcp-conn-limit:rejected] {
	xlog("L_NOTICE", "event of $tcp_conn_limit(source) $tcp_conn_limit(rule)\n");
}

event_route[tcp-conn-limit:banned] {
	xlog("L_NOTICE", "ban of $tcp_conn_limit(source) $tcp_conn_limit(ban_reason)\n");
}

event_route[tcp-conn-limit:unbanned] {
	xlog("L_NOTICE", "end of $tcp_conn_limit(source) $tcp_conn_limit(ban_rejected)\n");
}
"#;

pub(crate) fn config(mode: Mode) -> Config {
    mode.with_module()
        .limit(LIMIT as i64)
        .rule("127.93.0.0/16=1")
        .rule("127.84.0.0/16=unlimited proxy")
        // Clients that ask over HTTP also count as connections.
        .rule("127.0.0.1=unlimited")
        .rules_file(RULES)
        // None of them changes what is admitted here: they apply to one source only.
        .rule("127.88.0.0/16=50 rate=1/h burst=2")
        .text_param("penalty", "rate=10")
        .text_param("penalty", "script=0.1")
        .param("ban_max", 60)
        .param("log_interval", 1)
        // At its end each process logs what is left of its memory, with the file and line
        // that allocated it.
        .core("memlog=1\nmem_summary=4")
        .module("pv.so")
        .module("xlog.so")
        .module("cfg_rpc.so")
        .route(ROUTE)
        .http("tcp_conn_limit:")
        .tls()
}

/// Runs the server from start to end. Returns its log, and its processes.
pub(crate) fn live(mode: Mode, config: Config) -> (Log, Vec<u64>) {
    let server = config.start();
    let mut held = storm(mode, &server);
    reports(&server);
    reloads(&server);
    settings(&server);
    mistakes(&server);
    script(&server);
    moves(&server);
    events(&server);
    bans(&server);
    server.scrape();
    mode.assert_audit_clean(&server);
    // Hold some connections, so that TCP main must free something at its end.
    held.extend(server.admit_all(LIMIT, Via::Tcp, source(94, 0, 1)));
    held.extend(server.admit_all(1, Via::Tls, source(94, 0, 2)));
    let pids = pids(&server);
    // The core logs errors about resets and about invalid commands.
    let log = mode.finish(server, &["core/tcp_read.c", "tcp_conn_limit", "tls"]);
    drop(held);
    (log, pids)
}

/// Opens and closes connections at random, many of them over the limit. Returns those that
/// stay open.
fn storm(mode: Mode, server: &Server) -> Vec<Client> {
    let mut random = SmallRng::seed_from_u64(1);
    let mut held: Vec<Client> = Vec::new();
    for _ in 0..STEPS {
        if held.len() < 60 && random.random_bool(0.8) {
            let network = random.random_range(90..94);
            let from = source(network, 0, random.random_range(1..=SOURCES / 4));
            let via = [Via::Tcp, Via::Tls][usize::from(random.random_bool(0.1))];
            held.extend(server.open(via, from));
        } else if !held.is_empty() {
            let client = held.swap_remove(random.random_range(0..held.len()));
            if random.random_bool(0.3) {
                client.reset();
            }
        }
    }
    server.wait_for_connections(held.len() as u64);
    mode.assert_audit_clean(server);
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    assert_eq!(number(&stats, "connections"), held.len() as u64);
    assert!(number(&stats, "admitted") > 60, "{stats}");
    assert!(number(&stats, "rejected") > 60, "{stats}");
    held
}

/// Fetches every report in all of its forms.
fn reports(server: &Server) {
    server.rpc("tcp_conn_limit.top", json!([400, "rate"]));
    for by in ["connections", "rejected", "peak"] {
        let top = server.rpc("tcp_conn_limit.top", json!([400, by]));
        assert!(top.as_array().is_some_and(|list| list.len() > 5), "{top}");
    }
    for (method, params) in [
        ("list", json!([])),
        ("list", json!(["127.90.0.0/16"])),
        ("list", json!(["2001:db8::/32"])),
        ("get", json!(["127.90.0.1"])),
        ("get", json!(["2001:db8::1"])),
        ("top", json!([])),
        ("rules", json!([])),
        ("suggest", json!([])),
        ("bans", json!([])),
        ("audit", json!([])),
    ] {
        let method = format!("tcp_conn_limit.{method}");
        server.rpc(&method, params.clone());
        server.rpc_by_http(&method, params);
    }
    server.kamcmd(&["tcp_conn_limit.top"]);
    server.kamcmd(&["tcp_conn_limit.rules"]);
}

/// Loads many rules, no rules, files with mistakes, and a missing file.
fn reloads(server: &Server) {
    let reload = || server.try_rpc("tcp_conn_limit.reload", json!([]));
    let many: String = (0..1000u32)
        .map(|n| format!("10.{}.{}.0/24={}\n", n >> 8, n & 255, n + 1))
        .collect();
    for rules in [
        many.as_str(),
        "",
        "# no rules\n",
        RULES,
        "127.90.0.2=9",
        RULES,
    ] {
        server.write_rules(rules);
        reload().expect("rules without mistakes");
    }
    let long = format!("{}=5\n", "1".repeat(5000));
    for rules in [
        "127.90.0.0/16=zero\n",
        "127.94.0.0/16=5\n127.94.0.0/16=6\n",
        "127.90.0.1/16=5\n",
        "=",
        "\0\0\n",
        &long,
    ] {
        server.write_rules(rules);
        reload().expect_err("rules with a mistake");
    }
    std::fs::remove_file(server.dir().join("rules")).expect("the file exists");
    reload().expect_err("no file");
    server.write_rules(RULES);
    reload().expect("rules without mistakes");
}

/// Changes every setting while connections are open.
fn settings(server: &Server) {
    let from = source(95, 0, 1);
    let mut held = server.admit_all(LIMIT, Via::Tcp, from);
    for mode in ["monitor", "off"] {
        server.rpc("tcp_conn_limit.set_mode", json!([mode]));
        held.extend(server.admit_all(2, Via::Tcp, from));
    }
    server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
    server.reject(Via::Tcp, from);
    server.rpc("tcp_conn_limit.set_limit", json!([LIMIT + 5]));
    held.extend(server.admit_all(1, Via::Tcp, from));
    for (name, value) in [("limit", LIMIT), ("mode", 0), ("log_interval", 1)] {
        let set = json!(["tcp_conn_limit", name, value]);
        server.rpc("cfg.set_now_int", set);
    }
    until("the limit is as before", || {
        server.stat("limit") == LIMIT as u64
    });
    server.reject(Via::Tcp, from);
    server.rpc("tcp_conn_limit.reset_stats", json!([]));
}

/// Sends commands with invalid arguments.
fn mistakes(server: &Server) {
    let long = "1".repeat(3000);
    for (command, params) in [
        ("set_limit", json!([])),
        ("set_limit", json!(["many"])),
        ("set_mode", json!([])),
        ("set_mode", json!([long])),
        ("top", json!([401])),
        ("top", json!([5, long])),
        ("list", json!([long])),
        ("list", json!(["127.0.0.1/8"])),
        ("get", json!([])),
        ("get", json!([""])),
        ("get", json!([long])),
        ("set_rate", json!([])),
        ("set_rate", json!([long])),
        ("set_rate", json!(["1/h", 73])),
        ("ban", json!([])),
        ("ban", json!(["127.0.0.1", long])),
        ("ban", json!(["127.0.0.1", 0, "x"])),
        ("unban", json!(["127.0.0.1"])),
        ("bans", json!([long])),
    ] {
        server.fault(&format!("tcp_conn_limit.{command}"), params);
    }
}

/// Runs the script, in the process that handles the request.
fn script(server: &Server) {
    let mut client = server.admit(Via::Tcp, source(96, 0, 1));
    for _ in 0..5 {
        let answer = client.ask("no-address");
        let words: Vec<&str> = answer.split(' ').collect();
        assert_eq!((words[0], words[1]), ("127.96.0.1", "3"), "{answer}");
        assert_eq!(words[3..5], ["1", "default"], "{answer}");
    }
}

/// Counts connections of a proxy for a client, up to its limit.
fn moves(server: &Server) {
    let mut held: Vec<Client> = (0..=LIMIT)
        .map(|_| server.admit(Via::Tcp, source(84, 0, 1)))
        .collect();
    for client in &mut held {
        client.ask("no-address");
    }
    assert_eq!(server.counted("127.86.0.1"), LIMIT as u64);
    assert_eq!(server.counted("127.84.0.1"), 1);
    assert_eq!(server.stat("move_rejected"), 1);
}

/// Checks that rejections are logged and reach the script.
fn events(server: &Server) {
    let _held = server.admit_all(LIMIT, Via::Tcp, source(97, 0, 1));
    let is_logged = |text: &str| !server.log().lines_with(text).is_empty();
    until("an event of a rejection", || {
        server.reject(Via::Tcp, source(97, 0, 1));
        is_logged("event of 127.97.0.1 default")
    });
    assert!(is_logged("rejected connection from 127.97.0.1"));
}

/// Bans by commands and by offences, until they end or are lifted.
fn bans(server: &Server) {
    let from = source(88, 0, 1);
    drop(server.admit_all(2, Via::Tcp, from));
    for _ in 0..3 {
        server.reject(Via::Tcp, from);
    }
    let is_logged = |text: &str| !server.log().lines_with(text).is_empty();
    until("the event of a ban", || is_logged("ban of 127.88.0.1 rate"));
    for who in ["127.87.0.1", "127.86.0.0/16", "2001:db8:7::1"] {
        server.rpc("tcp_conn_limit.ban", json!([who, 3600, "a reason"]));
    }
    server.reject(Via::Tcp, source(87, 0, 1));
    server.reject(Via::Tcp, source(86, 0, 1));
    server.rpc("tcp_conn_limit.bans", json!([1]));
    server.rpc("tcp_conn_limit.unban", json!(["127.86.0.0/16"]));
    server.rpc("tcp_conn_limit.unban", json!(["all"]));
    until("the event of its end", || is_logged("end of 127.88.0.1 "));
    server.rpc("tcp_conn_limit.set_rate", json!(["10/s", 20]));
    server.rpc("tcp_conn_limit.set_rate", json!(["none"]));
}

fn pids(server: &Server) -> Vec<u64> {
    let list = server.rpc("core.psa", json!([]));
    let processes = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let pids: Vec<u64> = processes.iter().map(pid).collect();
    assert!(pids.len() > 5, "{list}");
    pids
}

fn pid(process: &Value) -> u64 {
    number(process, "pid")
}
