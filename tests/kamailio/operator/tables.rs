// SPDX-License-Identifier: GPL-2.0-or-later

//! Tables for people: `tcp_conn_limit-top`, and the line with jq from the documentation.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Server, Servers, Via, source};

attached_either_way!(
    top_script_shows_one_line_per_source,
    top_script_reports_a_server_that_is_gone,
    documented_jq_line_makes_a_table,
);

const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/kamailio-glue/tools/tcp_conn_limit-top"
);

/// The documentation of the RPC commands.
const MANUAL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_rpc.xml"
);

/// Two sources. One is at its limit and was rejected once, the other has no limit.
fn two(mode: Mode) -> (Server, Vec<Client>) {
    let server = mode
        .with_module()
        .limit(4)
        .rule("127.71.0.0/16=none")
        .start();
    let mut held = server.admit_all(4, Via::Tcp, source(70, 0, 1));
    server.reject(Via::Tcp, source(70, 0, 1));
    held.extend(server.admit_all(2, Via::Tcp, source(71, 0, 1)));
    (server, held)
}

/// The output and the errors of the script, and whether it succeeded.
fn script(server_dir: &Path, arguments: &[&str]) -> (String, String, bool) {
    let socket = format!("unix:{}", server_dir.join("ctl.sock").display());
    let output = Command::new(SCRIPT)
        .args(["-s", &socket])
        .args(arguments)
        .env("KAMCMD", Servers::from_env().kamcmd)
        .output()
        .expect("the script can be run");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (
        text(output.stdout),
        text(output.stderr),
        output.status.success(),
    )
}

/// The words of the line of a source.
#[track_caller]
fn words<'a>(shown: &'a str, source: &str) -> Vec<&'a str> {
    let mut lines = shown.lines();
    let line = lines.find(|line| line.starts_with(&format!("{source} ")));
    let line = line.unwrap_or_else(|| panic!("no line of {source} in\n{shown}"));
    line.split_whitespace().collect()
}

fn top_script_shows_one_line_per_source(mode: Mode) {
    let (server, _held) = two(mode);
    let (shown, errors, success) = script(server.dir(), &["--once"]);
    assert!(success && errors.is_empty(), "{errors}");
    assert!(
        shown.contains("mode enforce  limit 4  sources 2  connections 6\n"),
        "{shown}"
    );
    let greedy = words(&shown, "127.70.0.1");
    assert_eq!(
        greedy[..8],
        ["127.70.0.1", "4", "4", "100%", "4", "1", "-", "-"]
    );
    assert!(
        greedy[8].starts_with("20") && greedy[8].contains('T'),
        "{shown}"
    );
    assert_eq!(greedy[9], "default");
    let other = words(&shown, "127.71.0.1");
    assert_eq!(other[..6], ["127.71.0.1", "2", "none", "-", "2", "0"]);
    assert_eq!(other[9], "127.71.0.0/16");
    assert_eq!(shown.lines().count(), 6, "{shown}");

    let (shown, ..) = script(server.dir(), &["--once", "-n", "5", "-b", "rejected"]);
    words(&shown, "127.70.0.1");
    assert!(!shown.contains("127.71.0.1"), "{shown}");

    // What a source owes, and a ban.
    server.rpc("tcp_conn_limit.set_rate", json!(["1/h", 9]));
    server.rpc("tcp_conn_limit.set_limit", json!(["none"]));
    drop(server.admit_all(2, Via::Tcp, source(70, 0, 1)));
    let (shown, ..) = script(server.dir(), &["--once", "-b", "rate"]);
    assert_eq!(words(&shown, "127.70.0.1")[6..8], ["2", "-"]);
    server.rpc("tcp_conn_limit.ban", json!(["127.72.0.1", 3600]));
    server.reject(Via::Tcp, source(72, 0, 1));
    let (shown, ..) = script(server.dir(), &["--once", "-b", "rejected"]);
    let banned = words(&shown, "127.72.0.1")[7].to_owned();
    let banned: u32 = banned.parse().expect("seconds");
    assert!((3400..=3600).contains(&banned), "{shown}");
    mode.finish(server, &[]);
}

fn top_script_reports_a_server_that_is_gone(mode: Mode) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (shown, errors, success) = script(dir.path(), &["--once"]);
    assert!(!success && shown.is_empty(), "{shown}");
    assert!(errors.contains("ctl.sock"), "{errors}");

    // A server without the module.
    let server = match mode {
        Mode::Module => support::kamailio::Config::hooked(),
        _ => support::kamailio::Config::stock(),
    };
    let server = server.start();
    let (shown, errors, success) = script(server.dir(), &["--once"]);
    assert!(!success && shown.is_empty(), "{shown}");
    assert!(
        errors.contains("tcp_conn_limit.stats not found"),
        "{errors}"
    );
    server.stop(&[]);
}

/// The filter is read from the documentation.
fn documented_jq_line_makes_a_table(mode: Mode) {
    let (server, _held) = two(mode);
    let manual = fs::read_to_string(MANUAL).expect("the documentation can be read");
    let filter = manual
        .split_once("| jq -r '")
        .and_then(|(_, rest)| rest.split_once('\''))
        .expect("a line with jq")
        .0;
    let top = server.rpc("tcp_conn_limit.top", json!([10]));
    let answer = json!({"jsonrpc": "2.0", "result": top, "id": 1});
    let mut jq = Command::new("jq")
        .args(["-r", filter])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("jq can be run");
    let mut input = jq.stdin.take().expect("a pipe");
    write!(input, "{answer}").expect("jq reads it");
    drop(input);
    let output = jq.wait_with_output().expect("jq ends");
    assert!(output.status.success(), "{filter}");
    let shown = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Vec<&str>> = shown
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    assert_eq!(lines.len(), 2, "{shown}");
    assert_eq!(lines[0][..5], ["127.70.0.1", "4", "4", "4", "1"]);
    assert_eq!(lines[1][..5], ["127.71.0.1", "2", "none", "2", "0"]);
    assert!(lines[0][5].contains('T'), "{shown}");
    mode.finish(server, &[]);
}
