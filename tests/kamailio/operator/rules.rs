// SPDX-License-Identifier: GPL-2.0-or-later

//! Rules for prefixes: which rule a source has, where rules are set, and the errors of
//! invalid rules.

use std::net::IpAddr;

use serde_json::json;

use crate::counting::ipv6;
use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Log, Server, Via, in_own_network, number, proxy, source};

attached_either_way!(
    longest_prefix_wins,
    rule_of_all_is_the_shortest,
    unlimited_passes_the_default,
    rules_hold_without_a_default,
    largest_limit_is_a_limit,
    longest_ipv6_prefix_wins,
    rules_apply_to_grouped_sources,
    comments_in_the_file_are_ignored,
    empty_file_has_no_rules,
    ten_thousand_rules_are_matched,
    long_lists_of_rules_are_cut,
    wrong_parameter_is_refused,
    wrong_line_is_refused,
    rule_longer_than_a_source_is_an_exception,
    exception_comes_and_goes_with_a_reload,
    exception_for_an_ipv6_host,
    all_wrong_lines_are_reported_at_once,
    failed_reload_logs_each_fault_once,
    check_of_a_rules_file_changes_nothing,
    duplicate_rule_is_refused,
    rule_for_translated_addresses_is_refused,
    file_replaces_a_modparam,
    incomplete_file_is_refused,
    missing_file_is_refused,
    one_rule_too_many_is_refused,
    words_are_the_same_in_modparam_and_file,
    wrong_word_is_refused,
);

/// Checks that exactly `limit` connections of a source are admitted and that
/// `rule` is the reason.
#[track_caller]
fn assert_limit(server: &Server, from: IpAddr, limit: usize, rule: &str) -> Vec<Client> {
    let held = server.admit_all(limit, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    assert_known(server, from, limit, rule);
    held
}

/// Checks the rule and the limit that the module reports for a source; 0: none.
#[track_caller]
fn assert_known(server: &Server, from: IpAddr, limit: usize, rule: &str) {
    let known = server.source(&from.to_string());
    assert_eq!(known["rule"], rule, "{known}");
    match limit {
        0 => assert_eq!(known["limit"], "none", "{known}"),
        _ => assert_eq!(known["limit"], limit, "{known}"),
    }
}

fn longest_prefix_wins(mode: Mode) {
    // Not in the order of their lengths.
    let server = mode
        .with_module()
        .limit(6)
        .any_address()
        .rule("127.20.0.0/16=4")
        .rule("127.20.1.7=1")
        .rule("127.0.0.0/8=5")
        .rule("127.20.1.0/24=2")
        .start();
    assert_eq!(server.stat("rules"), 4);
    let _held = [
        assert_limit(&server, source(19, 255, 255), 5, "127.0.0.0/8"),
        assert_limit(&server, source(21, 0, 0), 5, "127.0.0.0/8"),
        assert_limit(&server, source(20, 0, 1), 4, "127.20.0.0/16"),
        assert_limit(&server, source(20, 2, 0), 4, "127.20.0.0/16"),
        assert_limit(&server, source(20, 255, 255), 4, "127.20.0.0/16"),
        assert_limit(&server, source(20, 1, 0), 2, "127.20.1.0/24"),
        assert_limit(&server, source(20, 1, 6), 2, "127.20.1.0/24"),
        assert_limit(&server, source(20, 1, 8), 2, "127.20.1.0/24"),
        assert_limit(&server, source(20, 1, 7), 1, "127.20.1.7"),
    ];
    // Each source has the limit for itself, and a source without a rule has the default.
    let localhost = "::1".parse().expect("an address");
    let _default = [(); 6].map(|()| ipv6::open(&server, localhost).expect("within the limit"));
    assert!(ipv6::open(&server, localhost).is_none());
    assert_known(&server, localhost, 6, "default");
    // The rule of a source is reported even if the source has never connected.
    assert_known(&server, source(20, 1, 99), 2, "127.20.1.0/24");
    mode.finish(server, &[]);
}

fn rule_of_all_is_the_shortest(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .any_address()
        .rule("0.0.0.0/0=2")
        .rule("127.20.0.0/16=3")
        .start();
    let _held = [
        assert_limit(&server, source(1, 1, 1), 2, "0.0.0.0/0"),
        assert_limit(&server, source(20, 1, 1), 3, "127.20.0.0/16"),
    ];
    // The rule is for all of IPv4 only.
    assert_known(&server, "::1".parse().expect("an address"), 5, "default");
    mode.finish(server, &[]);
}

fn unlimited_passes_the_default(mode: Mode) {
    let balancer = source(21, 0, 1);
    let server = mode
        .with_module()
        .limit(2)
        .rule("127.21.0.1=unlimited")
        .rule("127.21.1.0/24=none")
        .rule("127.21.1.9=3")
        .start();
    let _held = [
        server.admit_all(100, Via::Tcp, balancer),
        server.admit_all(50, Via::Tcp, source(21, 1, 1)),
        assert_limit(&server, source(21, 1, 9), 3, "127.21.1.9"),
        assert_limit(&server, source(21, 0, 2), 2, "default"),
    ];
    assert_known(&server, balancer, 0, "127.21.0.1");
    assert_known(&server, source(21, 1, 1), 0, "127.21.1.0/24");
    assert_eq!(server.counted("127.21.0.1"), 100);
    assert_eq!(number(&server.source("127.21.0.1"), "rejected"), 0);
    mode.finish(server, &[]);
}

fn rules_hold_without_a_default(mode: Mode) {
    for limit in [0, -1] {
        let server = mode
            .with_module()
            .limit(limit)
            .rule("127.21.0.0/16=2")
            .start();
        let _held = [
            server.admit_all(30, Via::Tcp, source(22, 0, 1)),
            assert_limit(&server, source(21, 0, 1), 2, "127.21.0.0/16"),
        ];
        assert_known(&server, source(22, 0, 1), 0, "default");
        mode.finish(server, &[]);
    }
}

fn largest_limit_is_a_limit(mode: Mode) {
    let server = mode.with_module().rule("127.21.0.1=2147483647").start();
    server.admit(Via::Tcp, source(21, 0, 1));
    assert_known(&server, source(21, 0, 1), 2_147_483_647, "127.21.0.1");
    mode.finish(server, &[]);
}

fn longest_ipv6_prefix_wins(mode: Mode) {
    in_own_network(|| {
        let server = mode
            .with_module()
            .limit(9)
            .any_address()
            .rule("2001:db8::/32=4")
            .rule("2001:DB8:0:100::/56=2")
            .rule("2001:db8:0:107::/64=1")
            .rule("2001:db8:0:200::/56=unlimited")
            .rule("127.0.0.0/8=3")
            .start();
        let mut held = Vec::new();
        for (net, limit, rule) in [
            (0x007, 4, "2001:db8::/32"),
            (0x1ff, 2, "2001:db8:0:100::/56"),
            (0x100, 2, "2001:db8:0:100::/56"),
            (0x107, 1, "2001:db8:0:107::/64"),
        ] {
            // The network is the source, whatever its hosts.
            for host in 1..=limit {
                held.push(ipv6::open(&server, ipv6::address(net, host)).expect("within it"));
            }
            let another = ipv6::address(net, limit + 1);
            assert!(ipv6::open(&server, another).is_none(), "{another}");
            assert_known(&server, another, limit.into(), rule);
        }
        for host in 1..=20 {
            held.push(ipv6::open(&server, ipv6::address(0x2aa, host)).expect("no limit"));
        }
        // An IPv4 peer of a [::] socket has the rule of its IPv4 address.
        let mapped = source(23, 0, 1);
        for _ in 0..3 {
            held.push(ipv6::open(&server, mapped).expect("within the limit"));
        }
        assert!(ipv6::open(&server, mapped).is_none());
        assert_known(&server, mapped, 3, "127.0.0.0/8");
        server.wait_for_log(
            1,
            "from 2001:db8:0:107::/64: 1 connection, limit 1, rule 2001:db8:0:107::/64",
        );
        mode.finish(server, &[]);
    });
}

#[test]
fn client_behind_a_proxy_has_its_own_rule() {
    let balancer = source(25, 0, 1);
    let server = Config::with_module()
        .core("tcp_accept_haproxy=yes")
        .limit(3)
        .rule("127.25.0.1=1")
        .rule("198.51.100.0/24=2")
        .start();
    let open = |host: u8, port| {
        let mut client = Client::connect(balancer, server.address(Via::Tcp));
        let header = proxy::v2(([198, 51, 100, host], port).into());
        client
            .send(&header)
            .expect("a new connection can be written to");
        client.is_admitted().then_some(client)
    };
    let _held: Vec<Client> = (1..=5)
        .flat_map(|host| [open(host, 1), open(host, 2)])
        .map(|client| client.expect("within the limit of the client"))
        .collect();
    assert!(open(1, 3).is_none());
    assert_known(
        &server,
        "198.51.100.1".parse().expect("an address"),
        2,
        "198.51.100.0/24",
    );
    // The balancer itself has no rule.
    assert_eq!(server.counted("127.25.0.1"), 0);
    Mode::Module.finish(server, &[]);
}

fn rules_apply_to_grouped_sources(mode: Mode) {
    let server = mode
        .with_module()
        .limit(4)
        .param("ipv4_prefix", 24)
        .rule("127.24.0.0/16=2")
        .rule("127.24.7.0/24=1")
        .start();
    let _held = [1, 2].map(|host| server.admit(Via::Tcp, source(24, 1, host)));
    server.reject(Via::Tcp, source(24, 1, 3));
    let _one = server.admit(Via::Tcp, source(24, 7, 1));
    server.reject(Via::Tcp, source(24, 7, 2));
    assert_known(&server, source(24, 7, 3), 1, "127.24.7.0/24");
    mode.finish(server, &[]);
}

fn comments_in_the_file_are_ignored(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rules_file(
            "# The whole office.\n\
             \n\
             127.22.0.0/16 = 3   # each desk\n\
             127.22.1.1=unlimited# the balancer\n\
             \t127.22.2.0/24\t=\t1\t\n\
             \x20  # 127.22.0.0/16=4\n\
             \t\n\
             2001:db8::/32 =2\n\
             127.22.3.3= 2",
        )
        .rule("127.22.9.0/24=4")
        .start();
    assert_eq!(server.stat("rules"), 6);
    let _held = [
        assert_limit(&server, source(22, 0, 1), 3, "127.22.0.0/16"),
        server.admit_all(30, Via::Tcp, source(22, 1, 1)),
        assert_limit(&server, source(22, 2, 2), 1, "127.22.2.0/24"),
        // The last line has no end.
        assert_limit(&server, source(22, 3, 3), 2, "127.22.3.3"),
        // A parameter in addition to the file.
        assert_limit(&server, source(22, 9, 1), 4, "127.22.9.0/24"),
        assert_limit(&server, source(23, 0, 1), 5, "default"),
    ];
    assert_known(&server, ipv6::address(1, 1), 2, "2001:db8::/32");
    mode.finish(server, &[]);
}

fn empty_file_has_no_rules(mode: Mode) {
    for text in ["", "\n", "# none yet"] {
        let server = mode.with_module().limit(2).rules_file(text).start();
        assert_eq!(server.stat("rules"), 0);
        let _held = assert_limit(&server, source(22, 0, 1), 2, "default");
        mode.finish(server, &[]);
    }
}

/// The rules of a large site: 10,000 networks of 127.0.0.0/8, with limits of 1
/// to 3.
fn ten_thousand() -> String {
    let rule = |n: u32| format!("127.{}.{}.0/24={}\n", 40 + n / 250, n % 250, 1 + n % 3);
    (0..10_000).map(rule).collect()
}

fn ten_thousand_rules_are_matched(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rules_file(&ten_thousand())
        .start();
    assert_eq!(server.stat("rules"), 10_000);
    let mut held = Vec::new();
    for n in [0, 1, 2, 249, 250, 4_999, 7_777, 9_998, 9_999] {
        let (a, b) = (40 + n / 250, n % 250);
        let rule = format!("127.{a}.{b}.0/24");
        let from = source(a as u8, b as u8, 99);
        held.push(assert_limit(&server, from, (1 + n % 3) as usize, &rule));
    }
    held.push(assert_limit(&server, source(80, 0, 1), 5, "default"));
    // All of them are loaded again while there are connections.
    server.write_rules(&ten_thousand().replace("127.40.0.0/24=1", "127.40.0.0/24=2"));
    server.rpc("tcp_conn_limit.reload", json!([]));
    assert_eq!(server.stat("rules"), 10_000);
    held.push(server.admit_all(1, Via::Tcp, source(40, 0, 99)));
    server.reject(Via::Tcp, source(40, 0, 99));
    mode.finish(server, &[]);
}

fn long_lists_of_rules_are_cut(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rules_file(&ten_thousand())
        .start();
    // One of the last rules. It is listed because the others have nothing to report.
    let prefix = "127.79.248.0/24";
    let held = assert_limit(&server, source(79, 248, 1), 3, prefix);
    let used = json!({"prefix": prefix, "limit": 3, "terms": "3", "origin": "file:9999",
        "sources": 1, "connections": 3, "rejected": 1, "would_reject": 0});
    assert_eq!(server.rule(prefix), used);
    let rules = server.rpc("tcp_conn_limit.rules", json!([]));
    let rules = rules.as_array().expect("a list");
    assert_eq!(rules.len(), 400);
    assert_eq!(rules[399]["prefix"], "default");
    assert_eq!(rules[399]["origin"], "default");
    let shown = server.kamcmd(&["tcp_conn_limit.rules"]);
    assert_eq!(shown.matches("prefix:").count(), 400);
    assert!(shown.contains(prefix), "{shown}");
    let shown = server.kamcmd(&["tcp_conn_limit.suggest"]);
    assert_eq!(shown.matches("prefix:").count(), 100);
    assert!(shown.contains(prefix), "{shown}");
    // The rule keeps its statistics when its sources have no connections left.
    drop(held);
    server.wait_for_connections(0);
    let rule = server.rule(prefix);
    assert_eq!(number(&rule, "sources"), 0, "{rule}");
    assert_eq!(number(&rule, "rejected"), 1, "{rule}");
    mode.finish(server, &[]);
}

/// Panics unless an ERROR line of the module has all of `texts`.
#[track_caller]
fn assert_refused(log: &Log, texts: &[&str]) {
    let reported = log
        .lines_with("ERROR: tcp_conn_limit")
        .iter()
        .any(|line| texts.iter().all(|text| line.contains(text)));
    assert!(reported, "no error line with {texts:?} in\n{log}");
}

/// Invalid rules, each with the text that the error must contain besides the rule and
/// its origin.
const WRONG: [(&str, &[&str]); 25] = [
    // Malformed.
    ("127.0.0.0/8", &[]),
    ("127.0.0.0/8=", &[]),
    ("=3", &[]),
    ("=", &[]),
    ("127.0.0.0/8=many", &[]),
    ("127.0.0.0/8=3 4", &[]),
    ("127.0.0.0/8=3=4", &[]),
    ("127.0.0.0/8=+3", &[]),
    ("127.0.0.0/8=2147483648", &["2147483647"]),
    ("127.0.0.0/8=99999999999999999999", &["2147483647"]),
    ("127.0.0/8=3", &[]),
    ("127.0.0.256=3", &[]),
    ("127.0.0.0/33=3", &[]),
    ("127.0.0.0/=3", &[]),
    ("127.0.0.0/-1=3", &[]),
    ("2001:db8::/129=3", &[]),
    ("2001:db8:::/32=3", &[]),
    ("localhost=3", &[]),
    // Well formed, but most likely a mistake.
    ("127.0.0.1/8=3", &["127.0.0.0/8"]),
    ("2001:db8::1/32=3", &["2001:db8::/32"]),
    ("127.0.0.0/8=0", &["at least 1", "unlimited", "firewall"]),
    ("127.0.0.0/8=-5", &["at least 1", "unlimited", "firewall"]),
    ("::ffff:127.0.0.1=3", &["IPv4"]),
    ("::ffff:127.0.0.0/104=3", &["IPv4"]),
    ("64:ff9b::127.0.0.0/104=3", &["translator", "127.0.0.0/8"]),
];

fn wrong_parameter_is_refused(mode: Mode) {
    for (rule, texts) in WRONG {
        let log = mode
            .with_module()
            .rule("10.1.0.0/16=3")
            .rule(rule)
            .start_fails();
        assert_refused(&log, &[&["modparam rule 2", rule], texts].concat());
    }
}

fn wrong_line_is_refused(mode: Mode) {
    for (rule, texts) in WRONG {
        let file = format!("# one\n10.1.0.0/16=3\n\n{rule} # this\n10.2.0.0/16=3\n");
        let log = mode.with_module().rules_file(&file).start_fails();
        assert_refused(&log, &[&["/rules:4", rule], texts].concat());
    }
}

/// The source is the /24, which has all connections. Each host is checked against the limit
/// of its own rule.
fn rule_longer_than_a_source_is_an_exception(mode: Mode) {
    let server = mode
        .with_module()
        .limit(10)
        .rule("127.22.0.0/24=2")
        .rule("127.22.0.7=unlimited")
        .rule("127.22.0.128/25=4")
        // The address of the network is also that of a host.
        .rule("127.22.0.0=3")
        .param("ipv4_prefix", 24)
        .start();
    let of = |host| server.source(&source(22, 0, host).to_string());
    for (host, rule, limit) in [
        (1, "127.22.0.0/24", json!(2)),
        (7, "127.22.0.7", json!("none")),
        (200, "127.22.0.128/25", json!(4)),
        (0, "127.22.0.0", json!(3)),
    ] {
        let known = of(host);
        assert_eq!(known["source"], "127.22.0.0/24", "{known}");
        assert_eq!((&known["rule"], &known["limit"]), (&json!(rule), &limit));
    }
    let mut held = server.admit_all(2, Via::Tcp, source(22, 0, 1));
    for host in [1, 2] {
        server.reject(Via::Tcp, source(22, 0, host));
    }
    // Each of these counts with the network.
    held.push(server.admit(Via::Tcp, source(22, 0, 0)));
    server.reject(Via::Tcp, source(22, 0, 0));
    held.push(server.admit(Via::Tcp, source(22, 0, 200)));
    server.reject(Via::Tcp, source(22, 0, 200));
    held.extend(server.admit_all(20, Via::Tcp, source(22, 0, 7)));
    server.reject(Via::Tcp, source(22, 0, 1));
    assert_eq!(of(7)["connections"], 24);
    assert_eq!(server.counted("127.22.0.99"), 24);
    // Another network.
    held.extend(server.admit_all(10, Via::Tcp, source(22, 1, 7)));
    server.reject(Via::Tcp, source(22, 1, 7));

    // The sources belong to the network's rule, rejections to the rule that caused them.
    let network = server.rule("127.22.0.0/24");
    assert_eq!(number(&network, "sources"), 1, "{network}");
    assert_eq!(number(&network, "connections"), 24, "{network}");
    assert_eq!(number(&network, "rejected"), 3, "{network}");
    for (prefix, rejected) in [("127.22.0.7", 0), ("127.22.0.128/25", 1), ("127.22.0.0", 1)] {
        let rule = server.rule(prefix);
        assert_eq!(number(&rule, "sources"), 0, "{rule}");
        assert_eq!(number(&rule, "rejected"), rejected, "{rule}");
    }
    mode.finish(server, &[]);
}

fn exception_comes_and_goes_with_a_reload(mode: Mode) {
    let server = mode
        .with_module()
        .limit(2)
        .param("ipv4_prefix", 24)
        .rules_file("")
        .start();
    let mut held = server.admit_all(2, Via::Tcp, source(22, 2, 1));
    server.reject(Via::Tcp, source(22, 2, 7));
    server.write_rules("127.22.2.7 = 3\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    server.reject(Via::Tcp, source(22, 2, 1));
    held.push(server.admit(Via::Tcp, source(22, 2, 7)));
    server.reject(Via::Tcp, source(22, 2, 7));
    server.write_rules("127.22.0.0/16 = unlimited\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    held.extend(server.admit_all(2, Via::Tcp, source(22, 2, 7)));
    server.write_rules("");
    server.rpc("tcp_conn_limit.reload", json!([]));
    server.reject(Via::Tcp, source(22, 2, 7));
    mode.finish(server, &[]);
}

fn exception_for_an_ipv6_host(mode: Mode) {
    in_own_network(|| {
        let server = mode
            .with_module()
            .limit(1)
            .any_address()
            .rule("2001:db8:0:1::7=unlimited")
            .start();
        let admit = |host| ipv6::open(&server, ipv6::address(1, host));
        let mut held = vec![admit(1).expect("within the limit")];
        assert!(admit(1).is_none() && admit(8).is_none());
        held.extend((0..5).map(|_| admit(7).expect("an exception")));
        assert!(admit(1).is_none());
        assert_known(&server, ipv6::address(1, 7), 0, "2001:db8:0:1::7");
        assert_known(&server, ipv6::address(1, 8), 1, "default");
        assert_eq!(server.counted("2001:db8:0:1::7"), 6);
        mode.finish(server, &[]);
    });
}

fn all_wrong_lines_are_reported_at_once(mode: Mode) {
    let file = "127.0.0.0/8=5\n127.1.0.0=x\n\n127.0.0.0/8=6\n127.2.0.0/7\n";
    let log = mode
        .with_module()
        .rules_file(file)
        .rule("127.3.0.0/16=3")
        .start_fails();
    for texts in [
        ["/rules:2: `127.1.0.0=x`", "a limit must be"],
        ["/rules:4: `127.0.0.0/8=6`", "/rules:1 already has a rule"],
        ["/rules:5: `127.2.0.0/7`", "`=` is missing"],
    ] {
        assert_refused(&log, &texts);
    }
    // Twenty of them.
    let log = mode
        .with_module()
        .rules_file(&"x\n".repeat(50))
        .start_fails();
    let lines = log.lines_with("`=` is missing");
    assert_eq!(lines.len(), 20, "{log}");
    assert_refused(&log, &["30 more invalid rules"]);
}

/// Each fault has one line, and one more line says that nothing changed.
fn failed_reload_logs_each_fault_once(mode: Mode) {
    let server = mode
        .with_module()
        .rule("127.3.0.0/16=3")
        .rules_file("")
        .start();
    let rules = server.dir().join("rules").display().to_string();
    let reload = || server.fault("tcp_conn_limit.reload", json!([])).message;
    // The lines of the module since the last time.
    let mut seen = 0;
    let mut new_lines = || {
        let log = server.log();
        let lines = log.lines_with("tcp_conn_limit [");
        let new: Vec<String> = lines[seen..].iter().map(ToString::to_string).collect();
        seen = lines.len();
        new
    };
    new_lines();
    let unchanged = "nothing changed: see the lines above; active rules: 1; by RPC, process \"";

    server.write_rules("127.0.0.0/8\n127.1.0.0/16=2\n127.2.0.0/16=x\n");
    let first = format!("{rules}:1: `127.0.0.0/8`: ");
    let fault = reload();
    assert!(fault.starts_with(&first), "{fault}");
    let third = format!("{rules}:3: `127.2.0.0/16=x`: ");
    assert_lines(&new_lines(), &[&first, &third, unchanged]);

    // A single fault, and many.
    server.write_rules("127.1.0.0/16=2\n127.2.0.0/16=x\n");
    reload();
    assert_lines(&new_lines(), &["/rules:2: `127.2.0.0/16=x`: ", unchanged]);
    server.write_rules(&"x\n".repeat(50));
    reload();
    let lines = new_lines();
    assert_lines(&lines[20..], &["30 more invalid rules", unchanged]);

    // A file that cannot be read.
    std::fs::remove_file(&rules).expect("the file is there");
    let fault = reload();
    assert_lines(&new_lines(), &[&fault, unchanged]);

    // No rule is at fault.
    for n in 0..1024 {
        let prefix = format!("127.100.{}.{}", n / 256, n % 256);
        server.rpc("tcp_conn_limit.set_rule", json!([prefix, 7]));
    }
    new_lines();
    let many: String = (0..65_534_u32)
        .map(|n| format!("10.{}.{}.{}=1\n", n >> 16, n >> 8 & 255, n & 255))
        .collect();
    server.write_rules(&many);
    let fault = reload();
    assert!(fault.contains("including those set by RPC"), "{fault}");
    let lines = new_lines();
    assert_lines(
        &lines,
        &[&format!(
            "nothing changed: {fault}; active rules: 1025; by "
        )],
    );

    assert_eq!(server.stat("reloads"), 0);
    mode.finish(server, &["tcp_conn_limit"]);
}

/// Panics unless these are the lines, in this order.
#[track_caller]
fn assert_lines(lines: &[String], expected: &[&str]) {
    let are_same = lines.len() == expected.len()
        && lines
            .iter()
            .zip(expected)
            .all(|(line, part)| line.contains(part));
    assert!(are_same, "not {expected:#?}, but {lines:#?}");
}

fn check_of_a_rules_file_changes_nothing(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rule("127.30.0.0/16=3")
        .rules_file("127.31.0.0/16=2\n")
        .file(
            "other",
            "127.31.0.0/16=2\n127.30.0.0/16=4\n127.32.0.0/15\n127.31.0.0/16=5\n",
        )
        .start();
    let path = |name| server.dir().join(name).display().to_string();
    let valid = server.rpc("tcp_conn_limit.check_rules", json!([]));
    let list = valid["list"].as_array().expect("a list");
    let lines: Vec<_> = list.iter().filter_map(serde_json::Value::as_str).collect();
    assert_eq!(lines.len(), 2, "{valid}");
    // These lines are a rules file with the same rules.
    assert!(
        lines[0].contains(" = ") && lines[0].contains(" # "),
        "{valid}"
    );
    let expected = json!({"file": path("rules"), "valid": "yes", "rules": 2, "faults": [],
        "list": list});
    assert_eq!(valid, expected);

    let other = path("other");
    let checked = server.rpc("tcp_conn_limit.check_rules", json!([other]));
    assert_eq!(
        (&checked["valid"], &checked["rules"]),
        (&json!("no"), &json!(3))
    );
    let faults = checked["faults"].as_array().expect("a list");
    let [first, second] = &faults[..] else {
        panic!("{checked}");
    };
    let text = |fault: &serde_json::Value| fault.as_str().expect("a text").to_owned();
    assert!(text(first).starts_with(&format!("{other}:3: `127.32.0.0/15`: ")));
    assert!(
        text(second).contains(&format!("{other}:1 already has a rule")),
        "{second}"
    );
    // The same through the other transport.
    let shown = server.kamcmd(&["tcp_conn_limit.check_rules", &other]);
    assert!(
        shown.contains(":3: `127.32.0.0/15`") && shown.contains("valid: no"),
        "{shown}"
    );

    server.write_rules("127.31.0.0/16=\n");
    let checked = server.rpc("tcp_conn_limit.check_rules", json!([]));
    assert_eq!(
        checked["faults"].as_array().map(Vec::len),
        Some(1),
        "{checked}"
    );
    let missing = server.rpc("tcp_conn_limit.check_rules", json!(["/nowhere/rules"]));
    assert!(
        text(&missing["faults"][0]).contains("No such file"),
        "{missing}"
    );
    for file in ["rules", ""] {
        let fault = server.fault("tcp_conn_limit.check_rules", json!([file]));
        assert!(fault.message.contains("full path"), "{}", fault.message);
    }
    assert_known(&server, source(31, 0, 1), 2, "127.31.0.0/16");
    assert_eq!(server.stat("rules"), 2);
    mode.finish(server, &[]);

    let server = mode.with_module().start();
    let fault = server.fault("tcp_conn_limit.check_rules", json!([]));
    assert!(fault.message.contains("no file"), "{}", fault.message);
    mode.finish(server, &[]);
}

fn duplicate_rule_is_refused(mode: Mode) {
    let config = mode.with_module();
    let log = config
        .clone()
        .rule("127.1.0.0/16=3")
        .rule("127.2.0.0/16=3")
        .rule("127.1.0.0/16=4")
        .start_fails();
    assert_refused(&log, &["modparam rule 3", "127.1.0.0/16=4"]);

    let log = config
        .clone()
        .rules_file("127.1.0.0/16=3\n127.2.0.0/16=3\n127.2.0.0/16 = 3\n")
        .start_fails();
    assert_refused(&log, &["/rules:3", "127.2.0.0/16 = 3"]);

    // In other words.
    let log = config
        .clone()
        .rules_file("# one\n2001:db8:0::/48=3\n2001:0DB8::/48=unlimited\n")
        .start_fails();
    assert_refused(&log, &["/rules:3", "2001:0DB8::/48=unlimited"]);

    let log = config
        .rule("127.0.0.1=3")
        .rule("127.0.0.1/32=3")
        .start_fails();
    assert_refused(&log, &["modparam rule 2", "127.0.0.1/32=3"]);
}

/// Clients of a translator count as IPv4, so an IPv6 rule for them would never apply.
fn rule_for_translated_addresses_is_refused(mode: Mode) {
    let config = || {
        let config = mode.with_module().limit(5);
        config.text_param("nat64_prefix", "2001:db8:64::/96")
    };
    let expected = "clients of the translator 2001:db8:64::/96 count as IPv4; write 192.0.2.0/24";
    let rule = "2001:db8:64::192.0.2.0/120=5";
    // The parameters may have any order.
    let before = mode.with_module().rule(rule);
    let before = before.text_param("nat64_prefix", "2001:db8:64::/96");
    for config in [config().rule(rule), before] {
        let output = config.clone().check();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{text}");
        assert!(text.contains(expected), "{text}");
        let log = config.start_fails();
        assert_refused(
            &log,
            &["modparam rule 1: `2001:db8:64::192.0.2.0/120=5`", expected],
        );
    }
    let log = config()
        .rules_file(&format!("# one\n{rule}\n"))
        .start_fails();
    assert_refused(&log, &["/rules:2: ", expected]);

    // The network of the translator, and another one, have other addresses.
    let file = "2001:db8:64::/64=5\n2001:db8:65::/96=6\n";
    let server = config().rules_file(file).start();
    assert_eq!(server.stat("rules"), 2);
    server.write_rules(rule);
    server.fault("tcp_conn_limit.reload", json!([]));
    // jsonrpcs cuts the fault.
    server.log().assert_error(&["/rules:1: ", expected]);
    let checked = server.rpc("tcp_conn_limit.check_rules", json!([]));
    let reported = checked["faults"][0].as_str().unwrap_or_default();
    assert!(reported.contains(expected), "{checked}");
    for command in ["set_rule", "del_rule"] {
        let mut arguments = vec!["2001:db8:64::192.0.2.0/120"];
        arguments.extend((command == "set_rule").then_some("5"));
        let fault = server.fault(&format!("tcp_conn_limit.{command}"), json!(arguments));
        assert_eq!(fault.code, 400, "{command}");
        assert!(fault.message.contains(expected), "{}", fault.message);
    }
    assert_eq!(server.stat("rules"), 2);
    mode.finish(server, &["/rules:1: ", "reload: nothing changed"]);
}

/// A rule in the file replaces a modparam for the same prefix, also while the server runs.
fn file_replaces_a_modparam(mode: Mode) {
    let server = mode
        .with_module()
        .limit(5)
        .rule("127.20.0.0/16=3")
        .rule("127.21.0.0/16=4")
        .rules_file("127.20.0.0/16 = 2\n")
        .start();
    assert_eq!(server.stat("rules"), 2);
    let origin = |prefix: &str| server.rule(prefix)["origin"].clone();
    assert_eq!(origin("127.20.0.0/16"), "file:1");
    assert_eq!(origin("127.21.0.0/16"), "modparam 2");
    let held = assert_limit(&server, source(20, 0, 1), 2, "127.20.0.0/16");
    drop(held);
    server.wait_for_connections(0);
    server.write_rules("# none for 127.20.0.0/16\n127.21.0.0/16=1\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    assert_eq!(origin("127.20.0.0/16"), "modparam 1");
    assert_eq!(origin("127.21.0.0/16"), "file:2");
    let _held = [
        assert_limit(&server, source(20, 0, 1), 3, "127.20.0.0/16"),
        assert_limit(&server, source(21, 0, 1), 1, "127.21.0.0/16"),
    ];
    mode.finish(server, &[]);
}

/// A file that says where it begins is refused if its end is missing.
fn incomplete_file_is_refused(mode: Mode) {
    let config = mode.with_module();
    let cut = "# begin\n127.0.0.76 = 5000\n127.0.0.77 = 5";
    let log = config.clone().rules_file(cut).start_fails();
    assert_refused(&log, &["/rules:3", "127.0.0.77 = 5", "# end"]);
    let log = config
        .clone()
        .rules_file("127.0.0.76 = 5000\n# end 2\n")
        .start_fails();
    assert_refused(&log, &["/rules:2", "# end 2", "the file has 1 rule"]);
    // A byte order mark does not matter.
    let whole = "\u{feff}# begin\r\n127.0.0.76 = 5000\r\n# end 1\r\n";
    let server = config.rules_file(whole).start();
    assert_eq!(server.stat("rules"), 1);
    server.write_rules(cut);
    let fault = server.fault("tcp_conn_limit.reload", json!([]));
    assert!(fault.message.contains("# end"), "{}", fault.message);
    assert_eq!(server.stat("rules"), 1);
    mode.finish(server, &["reload: ", "the last one is not `# end`"]);
}

fn missing_file_is_refused(mode: Mode) {
    let log = mode
        .with_module()
        .text_param("rules_file", "@DIR@/nowhere")
        .start_fails();
    assert_refused(&log, &["/nowhere", "No such file"]);
    // Or the path is not a file.
    let log = mode
        .with_module()
        .text_param("rules_file", "@DIR@")
        .start_fails();
    assert_refused(&log, &["not a regular file"]);
}

fn one_rule_too_many_is_refused(mode: Mode) {
    let rule = |n: u32| {
        format!(
            "10.{}.{}.{}={}\n",
            n >> 16,
            n >> 8 & 255,
            n & 255,
            1 + n % 9
        )
    };
    let most: String = (0..65_535).map(rule).collect();
    let server = mode.with_module().rules_file(&most).start();
    assert_eq!(server.stat("rules"), 65_535);
    assert_known(
        &server,
        "10.0.255.254".parse().expect("an address"),
        6,
        "10.0.255.254",
    );
    mode.finish(server, &[]);

    let log = mode
        .with_module()
        .rules_file(&(most + "127.0.0.1=3\n"))
        .start_fails();
    assert_refused(&log, &["65535"]);
}

fn words_are_the_same_in_modparam_and_file(mode: Mode) {
    let texts = [
        ("5", "5"),
        ("5 rate=10/s", "5 rate=10/s"),
        ("5 burst=20 rate=60/m", "5 rate=1/s burst=20"),
        ("5\texempt", "5 exempt"),
        ("unlimited rate=none", "none rate=none"),
        ("5 burst=7", "5 burst=7"),
    ];
    let mut config = mode.with_module().limit(50);
    let mut file = String::new();
    for (n, (text, _)) in texts.iter().enumerate() {
        config = config.rule(&format!("127.{}.0.0/16 = {text}", 20 + n));
        file += &format!("127.{}.0.0/16={text} # a comment\n", 30 + n);
    }
    let server = config.rules_file(&file).start();
    let checked = server.rpc("tcp_conn_limit.check_rules", json!([]));
    let list = checked["list"].as_array().expect("a list");
    assert_eq!(list.len(), 12, "{checked}");
    for (n, (_, shown)) in texts.iter().enumerate() {
        for (net, origin) in [(20 + n, "modparam "), (30 + n, "file:")] {
            let prefix = format!("127.{net}.0.0/16");
            assert_eq!(server.rule(&prefix)["terms"], *shown);
            let origin = format!("{origin}{}", n + 1);
            let line = json!(format!("{prefix} = {shown} # {origin}"));
            assert!(list.contains(&line), "{line}: {checked}");
            let shown_by_get = server.rpc("tcp_conn_limit.get", json!([format!("127.{net}.0.1")]));
            assert_eq!(shown_by_get["terms"], *shown);
        }
    }
    // The words do not change the limit.
    let _held = [
        assert_limit(&server, source(21, 0, 1), 5, "127.21.0.0/16"),
        assert_limit(&server, source(33, 0, 1), 5, "127.33.0.0/16"),
    ];
    // The list is a rules file.
    let lines: Vec<_> = list.iter().filter_map(|line| line.as_str()).collect();
    server.write_rules(&lines.join("\n"));
    server.rpc("tcp_conn_limit.reload", json!([]));
    for (n, (_, shown)) in texts.iter().enumerate() {
        let rule = server.rule(&format!("127.{}.0.0/16", 20 + n));
        assert_eq!(rule["terms"], *shown);
        assert!(
            rule["origin"]
                .as_str()
                .expect("a text")
                .starts_with("file:")
        );
    }
    mode.finish(server, &[]);
}

fn wrong_word_is_refused(mode: Mode) {
    let texts = [
        ("5 brust=9", "unknown word `brust`; did you mean `burst`?"),
        (
            "5 vlan=9",
            "unknown word `vlan`; expected rate=10/s, burst=20, exempt, \
             listener=192.0.2.1:5060, untrusted=20, trusted, no_network, cluster=100 or proxy",
        ),
        ("5 rate=1/s rate=1/s", "`rate` is written twice"),
        (
            "5 rate = 1/s",
            "`rate` has no value; write rate=10/s, without blanks",
        ),
        ("5 exempt=yes", "`exempt` takes no value"),
        (
            "5 rate=10001/s",
            "invalid rate `10001/s`: expected at most 10000/s",
        ),
        ("5 burst=0", "invalid burst `0`: expected 1 to 1000000"),
        ("rate=1/s", "the limit is missing"),
    ];
    let mut file = String::new();
    for (n, (text, error)) in texts.iter().enumerate() {
        file += &format!("127.{}.0.0/16 = {text}\n", 30 + n);
        // The core stops at the first invalid parameter.
        let rule = format!("127.20.0.0/16 = {text}");
        let log = mode.with_module().rule(&rule).start_fails();
        let modparam = format!("modparam rule 1: `{rule}`: {error}");
        assert!(log.contains(&modparam), "{modparam}\n{log}");
    }
    let log = mode.with_module().rules_file(&file).start_fails();
    for (n, (text, error)) in texts.iter().enumerate() {
        let line = format!(
            "/rules:{}: `127.{}.0.0/16 = {text}`: {error}",
            n + 1,
            30 + n
        );
        assert!(log.contains(&line), "{line}\n{log}");
    }

    let server = mode
        .with_module()
        .rules_file("127.30.0.0/16 = 5 exempt\n")
        .start();
    server.write_rules(&file);
    let checked = server.rpc("tcp_conn_limit.check_rules", json!([]));
    assert_eq!(checked["valid"], "no");
    assert_eq!(checked["list"], json!([]));
    let faults = checked["faults"].to_string();
    for (_, error) in texts {
        assert!(faults.contains(error), "{error}: {faults}");
    }
    let fault = server.fault("tcp_conn_limit.reload", json!([]));
    assert!(fault.message.contains("did you mean"), "{}", fault.message);
    assert_eq!(server.rule("127.30.0.0/16")["terms"], "5 exempt");
    mode.finish(server, &["reload: ", "/rules:"]);
}
