// SPDX-License-Identifier: GPL-2.0-or-later

//! The commands that change something, through every transport: whatever is not a valid
//! argument is refused with its value, and changes nothing.

use serde_json::{Value, json};

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Fault, Server, Via, source};

attached_either_way!(
    invalid_arguments_change_nothing_through_any_transport,
    valid_arguments_work_through_any_transport,
);

/// A transport that takes arguments in JSON.
type Transport = fn(&Server, &str, Value) -> Result<Value, Fault>;

const TRANSPORTS: [(&str, Transport); 3] = [
    ("datagram", Server::try_rpc),
    ("HTTP", Server::try_rpc_by_http),
    ("FIFO", Server::try_rpc_by_fifo),
];

/// Each command with valid arguments, and how many of them it needs. A reason may also come
/// after those of `ban`, and may be any text.
const COMMANDS: [(&str, &[&str], usize); 12] = [
    ("set_limit", &["7"], 1),
    ("set_mode", &["monitor"], 1),
    ("set_rate", &["10/s", "20"], 1),
    ("set_rule", &["127.90.0.0/16", "5", "60"], 2),
    (
        "del_rule",
        &["127.91.0.0/16", "listener=tcp:127.0.0.1:5060"],
        1,
    ),
    ("ban", &["127.94.0.1", "60"], 2),
    ("unban", &["127.95.0.1"], 1),
    ("bans", &["5"], 0),
    ("set_untrusted_limit", &["9"], 1),
    ("set_trust_timeout", &["3600"], 1),
    ("reload", &[], 0),
    ("reset_stats", &[], 0),
];

/// The arguments that a command may have after those.
fn more(command: &str) -> Vec<&'static str> {
    if command == "ban" {
        vec!["scanner"]
    } else {
        Vec::new()
    }
}

/// Values that no argument can have, with how a fault shows them.
fn invalid_values() -> Vec<(Value, &'static str)> {
    vec![
        (json!(true), "true"),
        (json!(false), "false"),
        (json!(null), "null"),
        (json!([1]), "[...]"),
        (json!({"limit": 1}), "{...}"),
        (json!(1.5), "1.5"),
        (json!(-1.5), "-1.5"),
        (json!(1e20), "1e+20"),
        (json!(4_294_967_296_u64), "4294967296"),
        (json!(-7), "-7"),
        (json!(""), ""),
        (json!("12abc"), "12abc"),
        (json!("7\n8"), "7"),
        (json!("é"), "é"),
        (json!("9".repeat(5000)), "99999999"),
    ]
}

/// The same for kamcmd. It sends a text with quotes around it, or after `s:`, as it is.
const INVALID_TEXTS: [(&str, &str); 8] = [
    ("true", "true"),
    ("1.5", "1.5"),
    // kamcmd sends 1000 times a number with a fraction as an integer of 32 bits.
    ("1e20", "-"),
    // It cuts this to 0.
    ("4294967296", "0"),
    // It takes -7 for an option.
    ("s:-7", "-7"),
    ("s:", ""),
    ("12abc", "12abc"),
    ("s:99999999999999999999999", "99999999"),
];

/// What the commands change.
fn state(server: &Server) -> Value {
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    let names = [
        "limit",
        "mode",
        "rate",
        "untrusted_limit",
        "trust_timeout",
        "rules",
        "rules_set",
        "reloads",
        "rejected",
    ];
    let bans = server.rpc("tcp_conn_limit.bans", json!([]));
    let values = names.iter().map(|name| stats[name].clone());
    values.chain([bans["total"].clone()]).collect()
}

fn start(mode: Mode) -> Server {
    let server = mode
        .with_module()
        .limit(2)
        // A call over HTTP is also a connection.
        .rule("127.0.0.1=unlimited")
        .rules_file("127.92.0.0/16=3\n")
        .param("untrusted_limit", 8)
        .fifo_and_http()
        .start();
    let from = source(93, 0, 1);
    drop(server.admit_all(2, Via::Tcp, from));
    server.wait_for_connections(0);
    let held = server.admit_all(2, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    drop(held);
    server.rpc("tcp_conn_limit.set_rule", json!(["127.91.0.0/16", 4]));
    server.rpc("tcp_conn_limit.ban", json!(["127.95.0.1", 3600]));
    server
}

fn invalid_arguments_change_nothing_through_any_transport(mode: Mode) {
    let server = start(mode);
    let before = state(&server);
    assert_eq!(before, json!([2, "enforce", "none", 8, 0, 3, 1, 0, 1, 1]));

    for (transport, call) in TRANSPORTS {
        let refused = |command: &str, arguments: &[Value], shown: &str| {
            let method = format!("tcp_conn_limit.{command}");
            let what = format!("{command} {arguments:.200?} through {transport}");
            let fault = call(&server, &method, json!(arguments));
            let fault = fault.expect_err(&what);
            assert_eq!(fault.code, 400, "{what}: {fault:?}");
            assert!(fault.message.contains(shown), "{what}: {fault:?}");
            assert_eq!(state(&server), before, "{what}");
        };
        for (command, valid, needed) in COMMANDS {
            let valid: Vec<Value> = valid.iter().map(|text| json!(text)).collect();
            for (value, shown) in invalid_values() {
                for at in 0..valid.len() {
                    let mut arguments = valid.clone();
                    arguments[at] = value.clone();
                    refused(command, &arguments, shown);
                }
                let mut surplus = valid.clone();
                surplus.extend(more(command).into_iter().map(Value::from));
                surplus.push(value);
                refused(command, &surplus, "surplus argument \"");
            }
            for count in 0..needed {
                refused(command, &valid[..count], "missing ");
            }
        }
    }
    for (command, valid, needed) in COMMANDS {
        let method = format!("tcp_conn_limit.{command}");
        let refused = |arguments: &[&str], shown: &str| {
            let mut call = vec![&*method];
            call.extend(arguments);
            let fault = server.try_kamcmd(&call).expect_err("it is refused");
            assert!(fault.starts_with("400 "), "{call:?}: {fault}");
            assert!(fault.contains(shown), "{call:?}: {fault}");
            assert!(!fault.contains("if you get this"), "{call:?}: {fault}");
            assert_eq!(state(&server), before, "{call:?}");
        };
        for (text, shown) in INVALID_TEXTS {
            for at in 0..valid.len() {
                let mut arguments = valid.to_vec();
                arguments[at] = text;
                refused(&arguments, shown);
            }
            let mut surplus = valid.to_vec();
            surplus.extend(more(command));
            surplus.push(text);
            refused(&surplus, "surplus argument \"");
        }
        for count in 0..needed {
            refused(&valid[..count], "missing ");
        }
    }
    // jsonrpcs logs nothing about types either.
    mode.finish(server, &[]);
}

/// The number 1 is one, although jsonrpcs also reads true as 1.
fn valid_arguments_work_through_any_transport(mode: Mode) {
    let server = start(mode);
    for (transport, call) in TRANSPORTS {
        let call = |command: &str, arguments: Value| {
            let answer = call(&server, &format!("tcp_conn_limit.{command}"), arguments);
            answer.unwrap_or_else(|fault| panic!("{command} through {transport}: {fault:?}"))
        };
        assert_eq!(
            call("set_limit", json!([1])),
            json!({"limit": 1, "was": 2}),
            "{transport}"
        );
        assert_eq!(call("set_limit", json!(["2"]))["was"], 1);
        let set = call("set_rule", json!(["127.90.0.0/16", 1, 1000]));
        assert_eq!(
            set,
            json!({"prefix": "127.90.0.0/16", "limit": 1, "terms": "1", "seconds_left": 1000,
                "was": "no rule"})
        );
        call("set_mode", json!(["monitor"]));
        assert_eq!(call("set_mode", json!(["enforce"]))["was"], "monitor");
        assert_eq!(call("reload", json!([]))["rules"], 4);
        let removed = call("del_rule", json!(["127.90.0.0/16"]));
        assert_eq!(removed["rule"], "default", "{removed}");
        call("reset_stats", json!([]));
        let rate = call("set_rate", json!(["10/s", 1]));
        assert_eq!(
            rate,
            json!({"rate": "10/s", "burst": 1, "was": "none"}),
            "{transport}"
        );
        call("set_rate", json!(["none"]));
        let ban = call("ban", json!(["127.94.0.1", 1000, "scanner"]));
        assert_eq!(ban["seconds_left"], 1000, "{ban}");
        assert_eq!(call("bans", json!([1]))["shown"], 1);
        assert_eq!(call("unban", json!(["127.94.0.1"])), json!({"lifted": 1}));
        let set = call("set_untrusted_limit", json!([9]));
        assert_eq!(set, json!({"untrusted_limit": 9, "was": 8}), "{transport}");
        call("set_untrusted_limit", json!(["8"]));
        let set = call("set_trust_timeout", json!(["60"]));
        assert_eq!(set, json!({"trust_timeout": 60, "was": "none"}));
        call("set_trust_timeout", json!(["none"]));
        // An argument may have a name.
        call("set_rule", json!(["127.90.0.0/16", "none"]));
        call("del_rule", json!({"prefix": "127.90.0.0/16"}));
    }
    mode.finish(server, &[]);
}
