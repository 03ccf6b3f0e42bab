// SPDX-License-Identifier: GPL-2.0-or-later

//! Variables, functions and events of routing scripts: in Kamailio's own language and,
//! through KEMI, in JavaScript.

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, source, until};

attached_either_way!(
    variables_are_those_of_the_messages_source,
    functions_take_an_address,
    usual_forms_of_an_address_are_understood,
    invalid_address_has_its_own_value,
    mode_is_a_variable,
    unknown_names_are_refused_at_the_start,
    javascript_has_the_same_functions,
    event_route_runs_once_for_each_source,
    event_callback_runs_once_for_each_source,
    event_route_runs_when_a_source_is_released,
    event_of_a_network_has_its_first_address,
    event_scripts_have_the_type_of_event_routes,
    event_route_runs_again_in_the_next_interval,
    event_route_runs_in_monitor_mode,
    event_route_names_the_network,
    events_cannot_flood,
    misnamed_event_route_is_reported,
    callback_without_a_script_is_reported,
);

/// Longer than any test.
const A_DAY: i64 = 86_400;

/// Modules for a script that stores values in `$sht(rejected=>KEY)`.
fn with_table(config: Config) -> Config {
    config
        .module("pv.so")
        .module("xlog.so")
        .module("htable.so")
        .modparam("htable", "htable", "\"rejected=>size=8;\"")
}

fn native(mode: Mode) -> Config {
    with_table(mode.with_module())
        .limit(4)
        .rule("127.81.0.0/16=2")
        .param("log_interval", A_DAY)
}

/// Answers with the requested value, or `none`.
const NATIVE: &str = r#"
request_route {
	$var(answer) = "none";
	switch ($rU) {
		case "me":
			$var(answer) = $tcp_conn_limit(source) + " " + $tcp_conn_limit(connections) + " "
				+ $tcp_conn_limit(limit) + " " + $tcp_conn_limit(rejected) + " "
				+ $tcp_conn_limit(would_reject) + " " + $tcp_conn_limit(peak) + " "
				+ $tcp_conn_limit(rule);
			break;
		case "check":
			if (tcp_conn_limit_check("127.81.0.1")) {
				$var(answer) = "yes";
			} else {
				$var(answer) = "no";
			}
			break;
		case "check-me":
			if (tcp_conn_limit_check("$si")) {
				$var(answer) = "yes";
			} else {
				$var(answer) = "no";
			}
			break;
		case "check-no-address":
			if (tcp_conn_limit_check("$rU")) {
				$var(answer) = "yes";
			}
			break;
		case "get":
			tcp_conn_limit_get("127.81.0.1", "connections", "$var(n)");
			tcp_conn_limit_get("127.81.0.1", "limit", "$var(limit)");
			tcp_conn_limit_get("127.81.0.1", "rejected", "$var(rejected)");
			tcp_conn_limit_get("127.81.0.1", "rule", "$var(rule)");
			tcp_conn_limit_get("127.81.0.1", "source", "$var(source)");
			$var(answer) = $var(source) + " " + $var(n) + " " + $var(limit) + " " + $var(rejected)
				+ " " + $var(rule);
			break;
		case "get-no-address":
			if (tcp_conn_limit_get("no-address", "connections", "$var(n)")) {
				$var(answer) = "yes";
			}
			break;
	}
	sl_send_reply("200", "$var(answer)");
}
"#;

fn variables_are_those_of_the_messages_source(mode: Mode) {
    let server = native(mode).route(NATIVE).start();
    let mut held = server.admit_all(3, Via::Tcp, source(80, 0, 1));
    // Source, connections, limit, rejected, would_reject, rule.
    let me = |client: &mut Client| {
        let answer = client.ask("me");
        let mut words: Vec<String> = answer.split(' ').map(ToOwned::to_owned).collect();
        // The peak of few connections is sampled once a second.
        let peak: u32 = words.remove(5).parse().expect("a number");
        assert!(peak <= 4, "{answer}");
        words.join(" ")
    };
    assert_eq!(me(&mut held[0]), "127.80.0.1 3 4 0 0 default");
    held.push(server.admit(Via::Tcp, source(80, 0, 1)));
    server.reject(Via::Tcp, source(80, 0, 1));
    assert_eq!(me(&mut held[3]), "127.80.0.1 4 4 1 0 default");
    // A source with a rule, in monitor mode.
    server.rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
    let mut other = server.admit_all(3, Via::Tcp, source(81, 0, 1));
    assert_eq!(me(&mut other[1]), "127.81.0.1 3 2 0 1 127.81.0.0/16");
    assert_eq!(me(&mut held[1]), "127.80.0.1 4 4 1 0 default");
    // 0 means no limit.
    server.rpc("tcp_conn_limit.set_limit", json!(["none"]));
    assert_eq!(me(&mut held[0]), "127.80.0.1 4 0 1 0 default");
    mode.finish(server, &[]);
}

fn functions_take_an_address(mode: Mode) {
    let server = native(mode).route(NATIVE).start();
    let mut asker = server.admit(Via::Tcp, source(80, 0, 1));
    assert_eq!(asker.ask("get"), "127.81.0.1 0 2 0 127.81.0.0/16");
    assert_eq!(asker.ask("check"), "yes");
    let held = server.admit_all(2, Via::Tcp, source(81, 0, 1));
    assert_eq!(asker.ask("check"), "no");
    assert_eq!(asker.ask("get"), "127.81.0.1 2 2 0 127.81.0.0/16");
    // A check counts nothing.
    assert_eq!(server.stat("rejected"), 0);
    server.reject(Via::Tcp, source(81, 0, 1));
    assert_eq!(asker.ask("get"), "127.81.0.1 2 2 1 127.81.0.0/16");
    drop(held);
    server.wait_for_connections(1);
    assert_eq!(asker.ask("check"), "yes");
    assert_eq!(asker.ask("check-me"), "yes");
    let mut more = server.admit_all(3, Via::Tcp, source(80, 0, 1));
    assert_eq!(more[2].ask("check-me"), "no");
    // In the other modes every source is admitted.
    for mode in ["monitor", "off"] {
        server.rpc("tcp_conn_limit.set_mode", json!([mode]));
        assert_eq!(more[2].ask("check-me"), "yes");
    }
    assert_eq!(asker.ask("check-no-address"), "none");
    assert_eq!(asker.ask("get-no-address"), "none");
    // The log may contain errors about these invalid addresses.
    mode.finish(server, &["tcp_conn_limit"]);
}

fn usual_forms_of_an_address_are_understood(mode: Mode) {
    let script = r#"
request_route {
	$var(n) = 0;
	$var(answers) = "";
	while ($var(n) < 6) {
		switch ($var(n)) {
			case 0: $var(a) = "[::1]"; break;
			case 1: $var(a) = "[::1]:5060"; break;
			case 2: $var(a) = "127.81.0.1:5060"; break;
			case 3: $var(a) = "fe80::1%eth0"; break;
			case 4: $var(a) = "2001:db8::/64"; break;
			case 5: $var(a) = "::ffff:127.81.0.1"; break;
		}
		if (!tcp_conn_limit_get("$var(a)", "source", "$var(source)")) {
			$var(source) = "none";
		}
		$var(answers) = $var(answers) + " " + $var(source);
		$var(n) = $var(n) + 1;
	}
	sl_send_reply("200", "$var(answers)");
}
"#;
    let server = native(mode).route(script).start();
    let mut asker = server.admit(Via::Tcp, source(80, 0, 1));
    assert_eq!(
        asker.ask("forms").trim(),
        "::/64 ::/64 127.81.0.1 fe80::/64 2001:db8::/64 127.81.0.1"
    );
    mode.finish(server, &[]);
}

/// Neither as of a source at its limit, nor an error for each call.
fn invalid_address_has_its_own_value(mode: Mode) {
    let script = r#"
request_route {
	switch ($rU) {
		case "invalid":
			tcp_conn_limit_check("no-address");
			break;
		case "invalid-get":
			tcp_conn_limit_get("no-address", "limit", "$var(x)");
			break;
		case "full":
			tcp_conn_limit_check("127.81.0.1");
			break;
		default:
			tcp_conn_limit_check("127.82.0.1");
	}
	$var(rc) = $rc;
	sl_send_reply("200", "$var(rc)");
}
"#;
    let server = native(mode).route(script).start();
    let mut held = server.admit_all(2, Via::Tcp, source(81, 0, 1));
    assert_eq!(held[0].ask("free"), "1");
    assert_eq!(held[0].ask("full"), "-1");
    for _ in 0..20 {
        assert_eq!(held[0].ask("invalid"), "-2");
        assert_eq!(held[0].ask("invalid-get"), "-2");
    }
    let log = mode.finish(server, &[]);
    let lines = log.lines_with("invalid address `no-address`: expected an IPv4 or IPv6 address; ");
    // At most one for each of the processes that answer.
    assert!((1..=2).contains(&lines.len()), "{lines:?}");
}

fn mode_is_a_variable(mode: Mode) {
    let script = r#"
request_route {
	sl_send_reply("200", "$tcp_conn_limit(mode)");
}
"#;
    let server = native(mode).route(script).start();
    let mut asker = server.admit(Via::Tcp, source(80, 0, 1));
    assert_eq!(asker.ask("mode"), "enforce");
    for word in ["monitor", "off"] {
        server.rpc("tcp_conn_limit.set_mode", json!([word]));
        assert_eq!(asker.ask("mode"), word);
    }
    mode.finish(server, &[]);
}

fn unknown_names_are_refused_at_the_start(mode: Mode) {
    for script in [
        "request_route {\n\t$var(x) = $tcp_conn_limit(nothing);\n}\n",
        "request_route {\n\ttcp_conn_limit_get(\"127.0.0.1\", \"nothing\", \"$var(x)\");\n}\n",
        "request_route {\n\ttcp_conn_limit_get(\"127.0.0.1\", \"limit\", \"text\");\n}\n",
        "request_route {\n\ttcp_conn_limit_top(\"1\", \"nothing\", \"$var(x)\");\n}\n",
        "request_route {\n\ttcp_conn_limit_top(\"1\", \"limit\", \"text\");\n}\n",
        "request_route {\n\ttcp_conn_limit_top(\"one\", \"limit\", \"$var(x)\");\n}\n",
    ] {
        native(mode).route(script).start_fails();
    }
}

/// Waits until the script has stored a value for a source and returns it.
#[track_caller]
fn noted(server: &Server, key: &str) -> Value {
    let mut found = Value::Null;
    until(&format!("the script has noted {key}"), || {
        let answer = server.try_rpc("htable.get", json!(["rejected", key]));
        answer.is_ok_and(|answer| {
            found = answer["item"]["value"].clone();
            true
        })
    });
    found
}

/// Stores for each event how often it happened, its values and the process.
const NATIVE_EVENT: &str = r#"
event_route[tcp-conn-limit:rejected] {
	$sht(rejected=>$tcp_conn_limit(source)) = $tcp_conn_limit(source) + " "
		+ $tcp_conn_limit(connections) + " " + $tcp_conn_limit(limit) + " "
		+ $tcp_conn_limit(rule);
	$var(times) = "times-" + $tcp_conn_limit(source);
	$var(pid) = "pid-" + $tcp_conn_limit(source);
	$sht(rejected=>$var(pid)) = $pp;
	xlog("L_NOTICE", "event of $tcp_conn_limit(source)\n");
}
"#;

/// The same in JavaScript, with a request route like the one above.
const JAVASCRIPT: &str = r#"
function ksr_request_route() {
	var limit = KSR.tcp_conn_limit;
	var user = KSR.pv.get("$rU");
	var answer = "none";
	if (user == "me") {
		answer = ["source", "connections", "limit", "rejected", "rule"].map(function (name) {
			return KSR.pv.get("$tcp_conn_limit(" + name + ")");
		}).join(" ");
	} else if (user == "check") {
		answer = limit.check("127.81.0.1") > 0 ? "yes" : "no";
	} else if (user == "check-no-address") {
		answer = limit.check("no-address") > 0 ? "yes" : "no";
	} else if (user == "get") {
		answer = [limit.connections("127.81.0.1"), limit.limit("127.81.0.1"),
			limit.rejected("127.81.0.1"), limit.peak("127.81.0.1")].join(" ");
	}
	KSR.sl.send_reply(200, answer);
	return 1;
}

function on_rejected(name) {
	var source = KSR.pv.get("$tcp_conn_limit(source)");
	var text = ["source", "connections", "limit", "rule"].map(function (name) {
		return KSR.pv.get("$tcp_conn_limit(" + name + ")");
	}).join(" ");
	KSR.htable.sht_sets("rejected", source, text);
	KSR.htable.sht_seti("rejected", "pid-" + source, KSR.pv.get("$pp"));
	KSR.notice("event of " + source + "\n");
	return 1;
}
"#;

fn javascript(mode: Mode, script: &str) -> Config {
    native(mode)
        .file("script.js", script)
        .module("app_jsdt.so")
        .modparam("app_jsdt", "load", "\"@DIR@/script.js\"")
        .text_param("event_callback", "on_rejected")
        .route("cfgengine \"jsdt\"\n")
}

fn javascript_has_the_same_functions(mode: Mode) {
    let server = javascript(mode, JAVASCRIPT).start();
    let mut asker = server.admit(Via::Tcp, source(80, 0, 1));
    assert_eq!(asker.ask("me"), "127.80.0.1 1 4 0 default");
    assert_eq!(asker.ask("check"), "yes");
    let mut held = server.admit_all(2, Via::Tcp, source(81, 0, 1));
    assert_eq!(asker.ask("check"), "no");
    server.reject(Via::Tcp, source(81, 0, 1));
    assert_eq!(held[0].ask("me"), "127.81.0.1 2 2 1 127.81.0.0/16");
    let get = asker.ask("get");
    assert!(get.starts_with("2 2 1 "), "{get}");
    // From eight connections on the peak is exact.
    server.rpc("tcp_conn_limit.set_mode", json!(["off"]));
    held.extend(server.admit_all(7, Via::Tcp, source(81, 0, 1)));
    assert_eq!(asker.ask("get"), "9 2 1 9");
    held.truncate(3);
    server.wait_for_connections(4);
    assert_eq!(asker.ask("get"), "3 2 1 9");
    assert_eq!(asker.ask("check-no-address"), "no");
    mode.finish(server, &["tcp_conn_limit"]);
}

/// Rejects two sources many times and checks that each has one event, in the dedicated
/// process.
#[track_caller]
fn assert_events(mode: Mode, server: Server) {
    let mut held = server.admit_all(4, Via::Tcp, source(80, 0, 1));
    held.extend(server.admit_all(2, Via::Tcp, source(81, 0, 1)));
    for _ in 0..20 {
        server.reject(Via::Tcp, source(80, 0, 1));
        server.reject(Via::Tcp, source(81, 0, 1));
    }
    assert_eq!(noted(&server, "127.80.0.1"), "127.80.0.1 4 4 default");
    assert_eq!(noted(&server, "127.81.0.1"), "127.81.0.1 2 2 127.81.0.0/16");
    let tcp_main = server.tcp_main();
    for address in ["127.80.0.1", "127.81.0.1"] {
        let pid = noted(&server, &format!("pid-{address}"));
        let pid = pid.as_u64().expect("a pid");
        assert_ne!(pid, tcp_main);
        let description = server.description(pid);
        assert!(description.contains("tcp_conn_limit"), "{description}");
    }
    // Once within the interval: the watcher has run again when there is an event of a
    // third source.
    held.extend(server.admit_all(4, Via::Tcp, source(80, 0, 3)));
    for host in [1, 3] {
        server.reject(Via::Tcp, source(80, 0, host));
    }
    noted(&server, "127.80.0.3");
    let log = mode.finish(server, &[]);
    for address in ["127.80.0.1", "127.81.0.1", "127.80.0.3"] {
        let events = log.lines_with(&format!("event of {address}"));
        assert_eq!(events.len(), 1, "{events:?}");
    }
    assert_eq!(log.lines_of(tcp_main, "event of"), [""; 0]);
}

fn event_route_runs_once_for_each_source(mode: Mode) {
    assert_events(
        mode,
        native(mode).route(NATIVE).also_route(NATIVE_EVENT).start(),
    );
}

fn event_callback_runs_once_for_each_source(mode: Mode) {
    assert_events(mode, javascript(mode, JAVASCRIPT).start());
}

/// Modules that report which type the core gives to the route that runs.
fn with_route_type(config: Config) -> Config {
    config.module("tm.so").module("tmx.so")
}

/// Stores whether the core runs the event route with the type of a request route.
const NATIVE_TYPE: &str = r#"
event_route[tcp-conn-limit:rejected] {
	if (t_is_request_route()) {
		$sht(rejected=>event) = "request";
	} else {
		$sht(rejected=>event) = "other";
	}
}

request_route {
	if (t_is_request_route()) {
		sl_send_reply("200", "request");
	} else {
		sl_send_reply("200", "other");
	}
}
"#;

/// The same in JavaScript.
const JAVASCRIPT_TYPE: &str = r#"
function route_type() {
	return KSR.tmx.t_is_request_route() > 0 ? "request" : "other";
}

function ksr_request_route() {
	KSR.sl.send_reply(200, route_type());
	return 1;
}

function on_rejected(name) {
	KSR.htable.sht_sets("rejected", "event", route_type());
	return 1;
}
"#;

fn event_scripts_have_the_type_of_event_routes(mode: Mode) {
    let native = with_route_type(native(mode)).route(NATIVE_TYPE);
    let javascript = with_route_type(javascript(mode, JAVASCRIPT_TYPE));
    for config in [native, javascript] {
        let server = config.start();
        let mut held = server.admit_all(4, Via::Tcp, source(80, 0, 1));
        assert_eq!(held[0].ask("type"), "request");
        server.reject(Via::Tcp, source(80, 0, 1));
        assert_eq!(noted(&server, "event"), "other");
        // The module sl logs an error because tm is loaded after it.
        mode.finish(server, &["load_tm"]);
    }
}

/// Stores the values of both events, and the address of the message.
const NATIVE_RELEASED: &str = r#"
event_route[tcp-conn-limit:rejected] {
	$var(key) = "rejected-" + $tcp_conn_limit(source);
	$sht(rejected=>$var(key)) = $si + " " + $tcp_conn_limit(connections);
}

event_route[tcp-conn-limit:released] {
	$var(key) = "released-" + $tcp_conn_limit(source);
	$sht(rejected=>$var(key)) = $si + " " + $tcp_conn_limit(connections) + " "
		+ $tcp_conn_limit(limit) + " " + $tcp_conn_limit(rejected) + " "
		+ $tcp_conn_limit(rule);
	xlog("L_NOTICE", "released $tcp_conn_limit(source)\n");
}
"#;

/// The same in JavaScript, with one function for both.
const JAVASCRIPT_RELEASED: &str = r#"
function ksr_request_route() {
	return 1;
}

function value(name) {
	return KSR.pv.get("$tcp_conn_limit(" + name + ")");
}

function on_rejected(name) {
	var text = [KSR.pv.get("$si"), value("connections")];
	var key = name.split(":")[1] + "-" + value("source");
	if (name == "tcp-conn-limit:released") {
		text = text.concat([value("limit"), value("rejected"), value("rule")]);
		KSR.notice("released " + value("source") + "\n");
	}
	KSR.htable.sht_sets("rejected", key, text.join(" "));
	return 1;
}
"#;

fn event_route_runs_when_a_source_is_released(mode: Mode) {
    let native = native(mode).also_route(NATIVE_RELEASED);
    for config in [native, javascript(mode, JAVASCRIPT_RELEASED)] {
        let server = config.start();
        let mut held = server.admit_all(4, Via::Tcp, source(80, 0, 1));
        let other = server.admit_all(2, Via::Tcp, source(81, 0, 1));
        server.reject(Via::Tcp, source(80, 0, 1));
        server.reject(Via::Tcp, source(81, 0, 1));
        assert_eq!(noted(&server, "rejected-127.80.0.1"), "127.80.0.1 4");
        assert_eq!(noted(&server, "rejected-127.81.0.1"), "127.81.0.1 2");
        held.truncate(3);
        let expected = "127.80.0.1 3 4 1 default";
        assert_eq!(noted(&server, "released-127.80.0.1"), expected);
        // The other one is at its limit until that is raised.
        let missing = server.try_rpc("htable.get", json!(["rejected", "released-127.81.0.1"]));
        assert!(missing.is_err(), "{missing:?}");
        server.rpc(
            "tcp_conn_limit.set_rule",
            json!(["127.81.0.1", "unlimited"]),
        );
        let expected = "127.81.0.1 2 0 1 127.81.0.1";
        assert_eq!(noted(&server, "released-127.81.0.1"), expected);
        drop(other);
        server.wait_for_connections(3);
        let log = mode.finish(server, &[]);
        assert_eq!(log.lines_with("released 127.8").len(), 2, "{log}");
    }
}

/// The message of an event of a network has the first address of that network.
fn event_of_a_network_has_its_first_address(mode: Mode) {
    let server = native(mode)
        .param("ipv4_prefix", 24)
        .also_route(NATIVE_RELEASED)
        .start();
    let _held: Vec<Client> = (1..=4)
        .map(|host| server.admit(Via::Tcp, source(80, 0, host)))
        .collect();
    server.reject(Via::Tcp, source(80, 0, 5));
    assert_eq!(noted(&server, "rejected-127.80.0.0/24"), "127.80.0.0 4");
    mode.finish(server, &[]);
}

fn event_route_runs_again_in_the_next_interval(mode: Mode) {
    let server = native(mode)
        .param("log_interval", 1)
        .also_route(NATIVE_EVENT)
        .start();
    let _held = server.admit_all(4, Via::Tcp, source(80, 0, 1));
    until("three events", || {
        server.reject(Via::Tcp, source(80, 0, 1));
        server.log().lines_with("event of 127.80.0.1").len() >= 3
    });
    mode.finish(server, &[]);
}

fn event_route_runs_in_monitor_mode(mode: Mode) {
    let server = native(mode)
        .text_param("mode", "monitor")
        .also_route(NATIVE_EVENT)
        .start();
    let _held = server.admit_all(6, Via::Tcp, source(80, 0, 1));
    // The count is that of the moment.
    let noted = noted(&server, "127.80.0.1");
    let expected = [4, 5, 6].map(|count| format!("127.80.0.1 {count} 4 default"));
    assert!(expected.iter().any(|text| noted == *text), "{noted}");
    mode.finish(server, &[]);
}

fn event_route_names_the_network(mode: Mode) {
    let server = native(mode)
        .param("ipv4_prefix", 24)
        .also_route(NATIVE_EVENT)
        .start();
    let _held: Vec<Client> = (1..=4)
        .map(|host| server.admit(Via::Tcp, source(80, 0, host)))
        .collect();
    server.reject(Via::Tcp, source(80, 0, 5));
    let network = "127.80.0.0/24";
    assert_eq!(noted(&server, network), "127.80.0.0/24 4 4 default");
    mode.finish(server, &[]);
}

/// As many events as first lines in the log: a hundred for an interval.
fn events_cannot_flood(mode: Mode) {
    let server = native(mode)
        .module("cfg_rpc.so")
        .also_route(NATIVE_EVENT)
        .limit(1)
        .param("log_interval", 86_400)
        .start();
    let held: Vec<Client> = (0..150)
        .map(|host| {
            let client = server.admit(Via::Tcp, source(80, 1, host));
            server.reject(Via::Tcp, source(80, 1, host));
            client
        })
        .collect();
    until("eighty events", || {
        server.log().lines_with("event of").len() >= 80
    });
    // The others are those of the end of the interval.
    server.rpc(
        "cfg.set_now_int",
        json!(["tcp_conn_limit", "log_interval", 1]),
    );
    until("the interval has ended", || {
        server.stat("log_suppressed") == 50
    });
    let log = mode.finish(server, &[]);
    assert_eq!(log.lines_with("event of").len(), 100);
    assert_eq!(log.lines_with("rejected connection from").len(), 100);
    drop(held);
}

fn misnamed_event_route_is_reported(mode: Mode) {
    // The core reads the first as limit:rejected and reports no error.
    for (name, expected) in [
        ("tcp_conn_limit:rejected", "tcp-conn-limit:rejected"),
        ("tcp_conn_limit:released", "tcp-conn-limit:released"),
        ("tcp-conn-limit:reject", "tcp-conn-limit:rejected"),
        ("tcp-conn-limit:release", "tcp-conn-limit:released"),
    ] {
        let script = format!("event_route[{name}] {{\n\texit;\n}}\n");
        let log = native(mode).also_route(&script).start_fails();
        log.assert_error(&[&format!("write event_route[{expected}]")]);
    }
}

fn callback_without_a_script_is_reported(mode: Mode) {
    let config = native(mode).text_param("event_callback", "on_rejected");
    let log = config.start_fails();
    let lines = log.lines_with("ERROR: tcp_conn_limit");
    assert!(
        lines[0].contains("on_rejected") && lines[0].contains("KEMI"),
        "{log}"
    );
}
