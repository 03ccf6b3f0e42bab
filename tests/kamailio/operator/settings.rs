// SPDX-License-Identifier: GPL-2.0-or-later

//! The parameters of the module.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use support::kamailio::mode::{Mode, attached_either_way, report_skipped};
use support::kamailio::{Config, Server, Via, source};

attached_either_way!(
    default_limit_is_that_of_the_core,
    start_line_says_whether_the_core_has_a_limit,
    limit_of_the_core_is_otherwise_unused,
    zero_and_negative_limits_only_count,
    ipv4_prefix_groups_addresses,
    configuration_check_passes,
    configuration_check_finds_a_wrong_type,
    configuration_check_finds_invalid_values,
    configuration_check_names_the_line,
    configuration_check_finds_what_other_lines_decide,
    configuration_check_passes_whatever_the_order,
    rate_of_the_wrong_type_is_refused,
    rules_file_of_root_is_reported,
);

/// Checks that the server admits and reports `limit` connections of a source.
#[track_caller]
fn assert_limit(server: &Server, limit: usize) {
    assert_eq!(server.stat("limit"), limit as u64);
    let _held = server.admit_all(limit, Via::Tcp, source(0, 3, 1));
    server.reject(Via::Tcp, source(0, 3, 1));
}

fn default_limit_is_that_of_the_core(mode: Mode) {
    if mode.knows("tcp_accept_iplimit") {
        let server = mode.with_module().core("tcp_accept_iplimit=3").start();
        assert_limit(&server, 3);
        mode.finish(server, &[]);
    }

    let server = mode.with_module().start();
    assert_eq!(server.stat("limit"), 1024);
    mode.finish(server, &[]);
}

/// Also without the module the server has no limit there, so none comes back.
fn start_line_says_whether_the_core_has_a_limit(mode: Mode) {
    let server = mode.with_module().core("debug=2").start();
    let log = mode.finish(server, &[]);
    let [line] = &log.lines_with("limit per source ")[..] else {
        panic!("not one line:\n{log}");
    };
    let has_limit = mode.knows("tcp_accept_iplimit");
    assert_eq!(
        line.contains("tcp_accept_iplimit is not used"),
        has_limit,
        "{line}"
    );
    assert_eq!(line.contains("no limit of its own"), !has_limit, "{line}");
    if !has_limit {
        let server = Mode::Stock.config(1).start();
        let _held = server.admit_all(1100, Via::Tcp, source(0, 3, 1));
        Mode::Stock.finish(server, &[]);
    }
}

fn limit_of_the_core_is_otherwise_unused(mode: Mode) {
    // With the core's own check the second connection would be rejected.
    let config = mode.with_module().limit(5).core("tcp_accept_iplimit=1");
    let server = config.start();
    assert_limit(&server, 5);
    let log = mode.finish(server, &[]);
    assert!(!log.contains("CRITICAL: <core> [core/tcp_main.c"));

    let server = mode
        .with_module()
        .limit(0)
        .core("tcp_accept_iplimit=1")
        .start();
    let _held = server.admit_all(20, Via::Tcp, source(0, 3, 1));
    mode.finish(server, &[]);
}

fn zero_and_negative_limits_only_count(mode: Mode) {
    for limit in [0, -1] {
        let server = mode.with_module().limit(limit).start();
        let held = server.admit_all(30, Via::Tcp, source(0, 3, 1));
        assert_eq!(server.counted("127.0.3.1"), 30);
        assert_eq!(server.stat("connections"), 30);
        assert_eq!(server.stat("rejected"), 0);
        drop(held);
        server.wait_for_connections(0);
        assert_eq!(server.counted("127.0.3.1"), 0);
        mode.finish(server, &[]);
    }
}

fn ipv4_prefix_groups_addresses(mode: Mode) {
    let config = mode.with_module().limit(2);
    let server = config.clone().param("ipv4_prefix", 24).start();
    let _held = [1, 2].map(|host| server.admit(Via::Tcp, source(1, 1, host)));
    for host in [1, 2, 3, 255] {
        server.reject(Via::Tcp, source(1, 1, host));
    }
    server.admit(Via::Tcp, source(1, 2, 1));
    let got = server.rpc("tcp_conn_limit.get", serde_json::json!(["127.1.1.77"]));
    assert_eq!(got["source"], "127.1.1.0/24");
    assert_eq!(got["connections"], 2);
    assert_eq!(got["rejected"], 4);
    assert_eq!(server.stat("ipv4_prefix"), 24);
    let line = "rejected connection from 127.1.1.0/24: 2 connections, limit 2";
    server.wait_for_log(1, line);
    mode.finish(server, &[]);

    let server = config.param("ipv4_prefix", 1).start();
    let _held = [1, 2].map(|net| server.admit(Via::Tcp, source(net, 0, 1)));
    server.reject(Via::Tcp, source(3, 0, 1));
    mode.finish(server, &[]);
}

fn configuration_check_passes(mode: Mode) {
    let output = mode
        .with_module()
        .limit(5)
        .param("ipv4_prefix", 24)
        .param("ipv6_prefix", 56)
        .check();
    assert!(output.status.success(), "{output:?}");
}

fn configuration_check_finds_a_wrong_type(mode: Mode) {
    let config = mode.with_module();
    let output = config
        .modparam("tcp_conn_limit", "tcp_conn_limit", "\"many\"")
        .check();
    assert!(!output.status.success(), "{output:?}");
}

/// What `kamailio -c` writes about an invalid configuration.
#[track_caller]
fn check_fails(config: Config) -> String {
    let output = config.check();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(255), "{text}");
    text
}

/// The value alone shows that it is invalid.
fn configuration_check_finds_invalid_values(mode: Mode) {
    for (name, value, expected) in [
        ("ipv4_prefix", 0, "ipv4_prefix 0: must be 1 to 32"),
        ("ipv4_prefix", 33, "ipv4_prefix 33: must be 1 to 32"),
        ("ipv6_prefix", 200, "ipv6_prefix 200: must be 1 to 128"),
        ("burst", -1, "burst -1"),
        ("burst", 1_000_001, "1000001"),
        ("ban_min", 0, "ban_min 0: must be at least 1"),
        ("ban_min", 86_401, "ban_min 86401"),
        ("ban_max", -1, "ban_max -1"),
        ("ban_max", 2_592_001, "ban_max 2592001"),
        ("log_interval", 0, "log_interval is 0"),
        ("log_level", 4, "log_level is 4"),
        ("tcp_conn_limit", 100_000_001, "tcp_conn_limit is 100000001"),
        // The core cuts these to 32 bits.
        (
            "tcp_conn_limit",
            99_999_999_999,
            "tcp_conn_limit is 1215752191",
        ),
        (
            "tcp_conn_limit",
            2_147_483_648,
            "tcp_conn_limit is -2147483648",
        ),
        (
            "tcp_conn_limit",
            -2,
            "tcp_conn_limit is -2: expected 1 to 100000000",
        ),
    ] {
        let text = check_fails(mode.with_module().param(name, value));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("parse error in config file"), "{text}");
    }
    for (name, value, expected) in [
        (
            "rule",
            "1.2.3.4",
            "modparam rule 1: `1.2.3.4`: `=` is missing",
        ),
        (
            "rule",
            "1.2.3.4=0",
            "modparam rule 1: `1.2.3.4=0`: a limit must be",
        ),
        ("rule", "", "modparam rule 1: ``: `=` is missing"),
        ("rule", "garbage", "modparam rule 1: `garbage`"),
        (
            "nat64_prefix",
            "2001:db8::/33",
            "nat64_prefix `2001:db8::/33`",
        ),
        (
            "nat64_prefix",
            "192.0.2.0/24",
            "nat64_prefix `192.0.2.0/24`",
        ),
        ("rate", "10", "invalid rate `10`: expected one like 10/s"),
        ("rate", "0/s", "invalid rate `0/s`"),
        ("rate", "10001/s", "at most 10000/s"),
        ("penalty", "silent", "`silent`"),
        ("penalty", "silence=1", "`silence=1`"),
        ("penalty", "silent=-1", "`silent=-1`"),
        ("penalty", "silent=3601", "3600"),
        ("penalty", "silent=0.05", "`silent=0.05`"),
    ] {
        let text = check_fails(mode.with_module().text_param(name, value));
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("parse error in config file"), "{text}");
    }
}

/// The core names the file and the line, and ends at the first wrong parameter.
fn configuration_check_names_the_line(mode: Mode) {
    let line_of = |config: Config, expected: &str| -> u32 {
        let text = check_fails(config);
        assert!(text.contains(expected), "{text}");
        let errors = text.lines();
        let mut errors = errors.filter(|line| line.contains("parse error in config file"));
        let (_, after) = errors
            .next()
            .and_then(|error| error.split_once("kamailio.cfg, line "))
            .expect("the core names the line");
        let digits = after.split(',').next();
        digits
            .and_then(|digits| digits.parse().ok())
            .expect("a number")
    };
    let config = || mode.with_module().rule("10.0.0.0/8=1");
    let first = line_of(config().rule("garbage"), "modparam rule 2: `garbage`");
    let second = line_of(
        config().rule("10.1.0.0/16=1").param("ipv6_prefix", 200),
        "ipv6_prefix 200",
    );
    assert_eq!(first + 1, second);
}

/// These faults depend on other parameters, files, or routes.
fn configuration_check_finds_what_other_lines_decide(mode: Mode) {
    let config = || mode.with_module();
    let route = |name: &str| {
        let route = format!("event_route[{name}] {{\n\texit;\n}}\n");
        config().also_route(&route)
    };
    let mut cases = vec![
        (
            config().rule("10.0.0.0/8=1").rule("10.0.0.0/8=2"),
            "modparam rule 1 already has a rule",
        ),
        (
            config().text_param("rules_file", "/nonexistent"),
            "cannot read /nonexistent",
        ),
        (
            config().rules_file("10.0.0.0/8=1\n\n10.1.0.0/16\n"),
            "/rules:3: `10.1.0.0/16`",
        ),
        (config().core("disable_tcp=yes"), "TCP is disabled"),
        (config().param("ban_max", 10), "ban_max 10"),
        (
            route("tcp-conn-limit:ban"),
            "write event_route[tcp-conn-limit:banned]",
        ),
        (
            config().text_param("event_callback", "on_rejected"),
            "no KEMI script is loaded",
        ),
        (
            route("tcp_conn_limit:rejected"),
            "write event_route[tcp-conn-limit:rejected]",
        ),
        (
            route("tcp-conn-limit:reject"),
            "event_route[tcp-conn-limit:reject] never runs",
        ),
        (
            route("TCP-Conn-Limit:rejected"),
            "event_route[TCP-Conn-Limit:rejected] never runs",
        ),
    ];
    if mode == Mode::Interposed {
        cases.push((config().text_param("attach", "hooks"), "connection hooks"));
        cases.push((config().core("tcp_poll_method=epoll_et"), "tcp_poll_method"));
    }
    for (config, expected) in cases {
        let text = check_fails(config);
        let is_error =
            |line: &str| line.contains("ERROR: tcp_conn_limit") && line.contains(expected);
        assert!(text.lines().any(is_error), "no {expected:?} in\n{text}");
        assert!(text.contains("the configuration is not ok"), "{text}");
    }
}

fn configuration_check_passes_whatever_the_order(mode: Mode) {
    let output = mode
        .with_module()
        .rule("2001:db8::1=5")
        .rule("192.0.2.1=unlimited")
        .rules_file("2001:db8::/48 = 7\n")
        .param("ipv6_prefix", 128)
        .param("ipv4_prefix", 24)
        .text_param("nat64_prefix", "2001:db8:64::/96")
        .param("burst", 50)
        .text_param("rate", "10/s")
        .param("ban_max", 10)
        .param("ban_min", 5)
        .text_param("penalty", "silent=1")
        .text_param("penalty", "silent = 0.5")
        .text_param("penalty", "script=5")
        .also_route("event_route[tcp-conn-limit:rejected] {\n\texit;\n}\n")
        .also_route("event_route[tcp-conn-limit:banned] {\n\texit;\n}\n")
        .also_route("event_route[tcp-conn-limit:unbanned] {\n\texit;\n}\n")
        .also_route("event_route[tm:local-request] {\n\texit;\n}\n")
        .check();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("ERROR:"), "{text}");
}

fn rate_of_the_wrong_type_is_refused(mode: Mode) {
    let text = check_fails(mode.with_module().param("rate", 10));
    assert!(
        text.contains("modparam rate: expected a quoted string, got the number 10"),
        "{text}"
    );
    let text = check_fails(mode.with_module().text_param("ban_min", "15"));
    assert!(
        text.contains("modparam ban_min: expected a number"),
        "{text}"
    );
}

/// The server reads the file as root at the start, and as its user in a reload.
fn rules_file_of_root_is_reported(mode: Mode) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    if fs::metadata(folder.path())
        .expect("the folder is ours")
        .uid()
        != 0
    {
        report_skipped("only root can give the server another user");
        return;
    }
    let file = folder.path().join("rules");
    fs::write(&file, "10.0.0.0/8=1\n").expect("the folder is ours");
    let allow = |path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
    };
    let check = |core: &str| {
        let path = file.display().to_string();
        let output = mode
            .with_module()
            .core(core)
            .text_param("rules_file", &path)
            .check();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let another_user = "user=\"daemon\"";
    let warning = "WARNING: tcp_conn_limit";
    for (folder_mode, file_mode, is_reported) in [
        (0o755, 0o600, true),
        (0o700, 0o644, true),
        (0o755, 0o644, false),
    ] {
        allow(folder.path(), folder_mode);
        allow(&file, file_mode);
        let text = check(another_user);
        let reported = text
            .lines()
            .find(|line| line.contains("readable for root only"));
        assert_eq!(reported.is_some(), is_reported, "{text}");
        if let Some(line) = reported {
            for part in [warning, "user daemon", "Permission denied", "chmod g+r"] {
                assert!(line.contains(part), "{line}");
            }
        }
    }
    // Without another user there is nothing to report.
    allow(&file, 0o600);
    assert!(!check("").contains("readable for root only"));
}
