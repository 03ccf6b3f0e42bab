// SPDX-License-Identifier: GPL-2.0-or-later

//! Bans and offences in routing scripts, and the events of bans.

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, source, until};

attached_either_way!(
    script_bans_and_lifts,
    script_penalizes,
    script_over_tls_penalizes_its_source,
    invalid_arguments_have_their_own_value,
    exempt_sources_have_their_own_value,
    variables_show_rate_and_ban,
    check_says_whether_rate_and_ban_allow_another,
    javascript_bans_and_lifts,
    event_routes_run_when_a_ban_begins_and_ends,
    event_callback_runs_when_a_ban_begins_and_ends,
    event_of_a_rejection_has_its_reason,
    misnamed_events_of_bans_are_reported,
);

/// A script that notes values in `$sht(noted=>KEY)`.
fn config(mode: Mode) -> Config {
    mode.with_module()
        .limit(9)
        .text_param("penalty", "script=10")
        .param("ban_min", 15)
        .param("log_interval", 86_400)
        .module("pv.so")
        .module("xlog.so")
        .module("htable.so")
        .modparam("htable", "htable", "\"noted=>size=8;\"")
}

/// Waits until the script has noted a value.
#[track_caller]
fn noted(server: &Server, key: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("the script has noted {key}"), || {
        let answer = server.try_rpc("htable.get", json!(["noted", key]));
        answer.is_ok_and(|answer| {
            found = answer["item"]["value"].clone();
            true
        })
    });
    found
}

/// Does what the user of the request says, and answers with the return code.
const ROUTE: &str = r#"
request_route {
	$var(address) = "127.151.0.1";
	switch ($rU) {
		case "ban-me": tcp_conn_limit_ban("3600"); break;
		case "ban": tcp_conn_limit_ban("3600", "$var(address)"); break;
		case "ban-shorter": tcp_conn_limit_ban("60", "$var(address)"); break;
		case "ban-port": tcp_conn_limit_ban("3600", "127.151.0.1:5060"); break;
		case "unban-me": tcp_conn_limit_unban(); break;
		case "unban": tcp_conn_limit_unban("$var(address)"); break;
		case "penalize-me": tcp_conn_limit_penalize(); break;
		case "penalize": tcp_conn_limit_penalize("$var(address)"); break;
		case "ban-invalid": tcp_conn_limit_ban("60", "invalid"); break;
		case "ban-empty": tcp_conn_limit_ban("60", "$var(unset)"); break;
		case "ban-0": tcp_conn_limit_ban("0", "$var(address)"); break;
		case "ban-minus": $var(n) = -5; tcp_conn_limit_ban("$var(n)", "$var(address)"); break;
		case "ban-long": tcp_conn_limit_ban("2592001", "$var(address)"); break;
		case "unban-invalid": tcp_conn_limit_unban("invalid"); break;
		case "penalize-invalid": tcp_conn_limit_penalize("invalid"); break;
		case "check": tcp_conn_limit_check("$var(address)"); break;
	}
	$var(rc) = $rc;
	sl_send_reply("200", "$var(rc)");
}
"#;

fn script_bans_and_lifts(mode: Mode) {
    let server = config(mode).route(ROUTE).start();
    let (me, other) = (source(150, 0, 1), source(151, 0, 1));
    let mut asker = server.admit(Via::Tcp, me);
    assert_eq!(asker.ask("unban"), "-1");
    assert_eq!(asker.ask("ban"), "1");
    server.reject(Via::Tcp, other);
    assert_eq!(server.source("127.151.0.1")["ban_reason"], "script");
    // A shorter one does not shorten it.
    assert_eq!(asker.ask("ban-shorter"), "1");
    let left = server.source("127.151.0.1")["banned"].as_u64();
    assert!(left > Some(3000), "{left:?}");
    assert_eq!(asker.ask("unban"), "1");
    assert_eq!(asker.ask("unban"), "-1");
    drop(server.admit(Via::Tcp, other));
    assert_eq!(asker.ask("ban-port"), "1");
    server.reject(Via::Tcp, other);
    // The source of the message, whose connection stays.
    assert_eq!(asker.ask("ban-me"), "1");
    server.reject(Via::Tcp, me);
    assert_eq!(asker.ask("unban-me"), "1");
    drop(server.admit(Via::Tcp, me));
    assert_eq!(server.stat("bans"), 3);
    mode.finish(server, &[]);
}

fn script_penalizes(mode: Mode) {
    let server = config(mode).route(ROUTE).start();
    let (me, other) = (source(150, 0, 1), source(151, 0, 1));
    let mut asker = server.admit(Via::Tcp, me);
    assert_eq!(asker.ask("penalize"), "1");
    drop(server.admit(Via::Tcp, other));
    let found = server.source("127.151.0.1");
    assert!(found["penalty"].as_u64() > Some(0), "{found}");
    // The second makes it nearly 20 s, which is a ban.
    assert_eq!(asker.ask("penalize"), "2");
    server.reject(Via::Tcp, other);
    assert_eq!(server.source("127.151.0.1")["ban_reason"], "script");
    // Lifting it forgives both.
    assert_eq!(asker.ask("unban"), "1");
    assert_eq!(asker.ask("penalize"), "1");
    drop(server.admit(Via::Tcp, other));
    assert_eq!(asker.ask("penalize-me"), "1");
    assert_eq!(asker.ask("penalize-me"), "2");
    server.reject(Via::Tcp, me);
    assert_eq!(server.stat("penalty_script"), 5);
    mode.finish(server, &[]);
}

fn script_over_tls_penalizes_its_source(mode: Mode) {
    let server = config(mode).tls().route(ROUTE).start();
    let me = source(150, 0, 1);
    let mut asker = server.admit(Via::Tls, me);
    assert_eq!(asker.ask("penalize-me"), "1");
    assert_eq!(asker.ask("penalize-me"), "2");
    server.reject(Via::Tls, me);
    server.reject(Via::Tcp, me);
    assert_eq!(asker.ask("unban-me"), "1");
    drop(server.admit(Via::Tls, me));
    mode.finish(server, &[]);
}

fn invalid_arguments_have_their_own_value(mode: Mode) {
    let server = config(mode).route(ROUTE).start();
    let mut asker = server.admit(Via::Tcp, source(150, 0, 1));
    for user in [
        "ban-invalid",
        "ban-empty",
        "ban-0",
        "ban-minus",
        "ban-long",
        "unban-invalid",
        "penalize-invalid",
    ] {
        assert_eq!(asker.ask(user), "-2", "{user}");
    }
    assert_eq!(server.rpc("tcp_conn_limit.bans", json!([]))["total"], 0);
    let log = mode.finish(server, &[]);
    // At most one line for each of the processes that answer.
    let lines = log.lines_with("; the function returns -2");
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
}

fn exempt_sources_have_their_own_value(mode: Mode) {
    let server = config(mode)
        .rule("127.151.0.0/16=5 exempt")
        .route(ROUTE)
        .start();
    let mut asker = server.admit(Via::Tcp, source(150, 0, 1));
    assert_eq!(asker.ask("ban"), "-1");
    assert_eq!(asker.ask("penalize"), "-1");
    drop(server.admit(Via::Tcp, source(151, 0, 1)));
    mode.finish(server, &[]);
}

fn variables_show_rate_and_ban(mode: Mode) {
    let script = r#"
request_route {
	if ($rU == "me") {
		$var(answer) = $tcp_conn_limit(rate) + " " + $tcp_conn_limit(burst) + " "
			+ $tcp_conn_limit(owed) + " " + $tcp_conn_limit(penalty) + " "
			+ $tcp_conn_limit(banned) + " " + $tcp_conn_limit(exempt);
	} else {
		tcp_conn_limit_get("127.151.0.1", "banned", "$var(banned)");
		tcp_conn_limit_get("127.151.0.1", "ban_reason", "$var(reason)");
		tcp_conn_limit_get("127.151.0.1", "ban_rejected", "$var(rejected)");
		tcp_conn_limit_get("127.151.0.1", "rejected_for", "$var(for)");
		$var(answer) = $(var(banned){s.substr,0,2}) + " " + $var(reason) + " "
			+ $var(rejected) + " " + $var(for);
	}
	sl_send_reply("200", "$var(answer)");
}
"#;
    let server = config(mode)
        .text_param("rate", "1/h")
        .param("burst", 20)
        .rule("127.152.0.0/16=5 rate=none exempt")
        .route(script)
        .start();
    let mut held = server.admit_all(3, Via::Tcp, source(150, 0, 1));
    assert_eq!(held[0].ask("me"), "1/h 20 3 0 0 0");
    let mut other = server.admit(Via::Tcp, source(152, 0, 1));
    let answer = other.ask("me");
    assert!(answer.starts_with("none "), "{answer}");
    assert!(answer.ends_with(" 0 0 1"), "{answer}");
    server.rpc("tcp_conn_limit.ban", json!(["127.151.0.1", 3600]));
    server.reject(Via::Tcp, source(151, 0, 1));
    server.reject(Via::Tcp, source(151, 0, 1));
    // The first digits of 3599 or so.
    let answer = held[0].ask("other");
    assert!(
        answer == "35 rpc 2 ban" || answer == "36 rpc 2 ban",
        "{answer}"
    );
    mode.finish(server, &[]);
}

fn check_says_whether_rate_and_ban_allow_another(mode: Mode) {
    let server = config(mode)
        .text_param("rate", "1/h")
        .param("burst", 2)
        .rule("127.150.0.0/16=50 rate=none")
        .route(ROUTE)
        .start();
    let mut asker = server.admit(Via::Tcp, source(150, 0, 1));
    assert_eq!(asker.ask("check"), "1");
    server.rpc("tcp_conn_limit.ban", json!(["127.151.0.1", 3600]));
    assert_eq!(asker.ask("check"), "-1");
    server.rpc("tcp_conn_limit.unban", json!(["all"]));
    server.rpc("tcp_conn_limit.ban", json!(["127.151.0.0/16", 3600]));
    assert_eq!(asker.ask("check"), "-1");
    server.rpc("tcp_conn_limit.unban", json!(["all"]));
    drop(server.admit(Via::Tcp, source(151, 0, 1)));
    assert_eq!(asker.ask("check"), "1");
    drop(server.admit(Via::Tcp, source(151, 0, 1)));
    assert_eq!(asker.ask("check"), "-1");
    server.reject(Via::Tcp, source(151, 0, 1));
    server.rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
    assert_eq!(asker.ask("check"), "1");
    mode.finish(server, &[]);
}

const JAVASCRIPT: &str = r#"
function ksr_request_route() {
	var limit = KSR.tcp_conn_limit;
	var user = KSR.pv.get("$rU");
	var me = KSR.pv.get("$tcp_conn_limit(source)");
	var answer = {
		"ban": function () { return limit.ban(3600, "127.151.0.1"); },
		"banned": function () { return limit.banned("127.151.0.1") > 3000 ? "yes" : "no"; },
		"unban": function () { return limit.unban("127.151.0.1"); },
		"penalize": function () { return limit.penalize("127.151.0.1"); },
		"ban-me": function () { return limit.ban(3600, me); },
		"wrong": function () {
			return [limit.ban(60, "invalid"), limit.ban(60, ""), limit.ban(0, me), limit.unban(""),
				limit.penalize(""), limit.banned("")].join(" ");
		}
	}[user]();
	KSR.sl.send_reply(200, String(answer));
	return 1;
}

function on_event(name) {
	var value = function (field) {
		return KSR.pv.get("$tcp_conn_limit(" + field + ")");
	};
	var key = name.split(":")[1] + "-" + value("source");
	KSR.htable.sht_sets("noted", key, [KSR.pv.get("$si"), value("ban_reason"),
		value("banned") > 0 ? "banned" : "free", value("ban_rejected")].join(" "));
	KSR.notice("event " + key + "\n");
	return 1;
}
"#;

fn javascript(mode: Mode) -> Config {
    config(mode)
        .file("script.js", JAVASCRIPT)
        .module("app_jsdt.so")
        .modparam("app_jsdt", "load", "\"@DIR@/script.js\"")
        .text_param("event_callback", "on_event")
        .route("cfgengine \"jsdt\"\n")
}

fn javascript_bans_and_lifts(mode: Mode) {
    let server = javascript(mode).start();
    let other = source(151, 0, 1);
    let mut asker = server.admit(Via::Tcp, source(150, 0, 1));
    assert_eq!(asker.ask("banned"), "no");
    assert_eq!(asker.ask("ban"), "1");
    assert_eq!(asker.ask("banned"), "yes");
    server.reject(Via::Tcp, other);
    assert_eq!(asker.ask("unban"), "1");
    drop(server.admit(Via::Tcp, other));
    assert_eq!(asker.ask("penalize"), "1");
    assert_eq!(asker.ask("penalize"), "2");
    server.reject(Via::Tcp, other);
    assert_eq!(asker.ask("wrong"), "-2 -2 -2 -2 -2 -2");
    assert_eq!(asker.ask("ban-me"), "1");
    server.reject(Via::Tcp, source(150, 0, 1));
    mode.finish(server, &[]);
}

const EVENTS: &str = r#"
event_route[tcp-conn-limit:banned] {
	$var(key) = "banned-" + $tcp_conn_limit(source);
	$var(state) = "free";
	if ($tcp_conn_limit(banned) > 0) {
		$var(state) = "banned";
	}
	$sht(noted=>$var(key)) = $si + " " + $tcp_conn_limit(ban_reason) + " " + $var(state) + " "
		+ $tcp_conn_limit(ban_rejected);
	xlog("L_NOTICE", "event $var(key)\n");
}

event_route[tcp-conn-limit:unbanned] {
	$var(key) = "unbanned-" + $tcp_conn_limit(source);
	$var(state) = "free";
	if ($tcp_conn_limit(banned) > 0) {
		$var(state) = "banned";
	}
	$sht(noted=>$var(key)) = $si + " " + $tcp_conn_limit(ban_reason) + " " + $var(state) + " "
		+ $tcp_conn_limit(ban_rejected);
	xlog("L_NOTICE", "event $var(key)\n");
}
"#;

/// One ban ends by itself, the other one is lifted.
#[track_caller]
fn assert_events(mode: Mode, config: Config) {
    let server = config
        .rule("127.153.0.0/16=1")
        .text_param("penalty", "rejected=4")
        .param("ban_min", 3)
        .start();
    let mut held: Vec<Client> = Vec::new();
    for host in [1, 2] {
        let from = source(153, 0, host);
        held.push(server.admit(Via::Tcp, from));
        server.reject(Via::Tcp, from);
        server.reject(Via::Tcp, from);
        let address = from.to_string();
        let banned = noted(&server, &format!("banned-{address}"));
        let banned = banned.as_str().unwrap_or_default().to_owned();
        assert!(
            banned.starts_with(&format!("{address} rejected banned ")),
            "{banned}"
        );
        if host == 2 {
            // It may have ended just now.
            _ = server.try_rpc("tcp_conn_limit.unban", json!([address]));
        }
        let unbanned = noted(&server, &format!("unbanned-{address}"));
        assert_eq!(unbanned, format!("{address} rejected free 1"));
    }
    let log = mode.finish(server, &[]);
    for host in [1, 2] {
        for event in ["banned", "unbanned"] {
            let line = format!("event {event}-127.153.0.{host}");
            assert_eq!(log.lines_with(&line).len(), 1, "{line}: {log}");
        }
    }
}

fn event_routes_run_when_a_ban_begins_and_ends(mode: Mode) {
    assert_events(mode, config(mode).also_route(EVENTS));
}

fn event_callback_runs_when_a_ban_begins_and_ends(mode: Mode) {
    assert_events(mode, javascript(mode));
}

fn event_of_a_rejection_has_its_reason(mode: Mode) {
    let script = r#"
event_route[tcp-conn-limit:rejected] {
	$sht(noted=>$tcp_conn_limit(source)) = $tcp_conn_limit(rejected_for) + " "
		+ $tcp_conn_limit(ban_reason);
}
"#;
    let server = config(mode)
        .text_param("rate", "1/h")
        .param("burst", 1)
        .rule("127.155.0.0/16=1 rate=none")
        .also_route(script)
        .start();
    drop(server.admit(Via::Tcp, source(154, 0, 1)));
    server.reject(Via::Tcp, source(154, 0, 1));
    let _held = server.admit(Via::Tcp, source(155, 0, 1));
    server.reject(Via::Tcp, source(155, 0, 1));
    server.rpc("tcp_conn_limit.ban", json!(["127.156.0.1", 3600]));
    server.reject(Via::Tcp, source(156, 0, 1));
    assert_eq!(noted(&server, "127.154.0.1"), "rate ");
    assert_eq!(noted(&server, "127.155.0.1"), "limit ");
    assert_eq!(noted(&server, "127.156.0.1"), "ban rpc");
    mode.finish(server, &[]);
}

fn misnamed_events_of_bans_are_reported(mode: Mode) {
    for (name, expected) in [
        ("tcp-conn-limit:ban", "tcp-conn-limit:banned"),
        ("tcp_conn_limit:banned", "tcp-conn-limit:banned"),
        ("tcp-conn-limit:unban", "tcp-conn-limit:unbanned"),
    ] {
        let script = format!("event_route[{name}] {{\n\texit;\n}}\n");
        let log = config(mode).also_route(&script).start_fails();
        log.assert_error(&[&format!("write event_route[{expected}]")]);
    }
}
