// SPDX-License-Identifier: GPL-2.0-or-later

//! The registrar of the documentation, as it is printed there: phones that register with a
//! password behind one address pass, and silent connections do not. And the configuration that
//! comes with Kamailio, with one line more.

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use support::kamailio::mode::{Mode, attached_either_way, report_skipped};
use support::kamailio::phone::register;
use support::kamailio::{Client, Config, Server, Via, number, own_configuration, source, until};
use support::programs::root;

attached_either_way!(
    registered_phones_pass_over_tcp,
    registered_phones_pass_over_tls,
    wrong_password_is_not_trusted,
    configuration_of_kamailio_trusts_its_users,
    phones_of_sipp_pass_beside_silent_connections,
);

/// The listing of the documentation, for users with the password `secret`, without a
/// database.
fn example(mode: Mode) -> Config {
    let path = root().join("kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_trust.xml");
    let text = fs::read_to_string(path).expect("the documentation");
    let (_, rest) = text
        .split_once("id=\"tcp_conn_limit.recipe.trust\">\n")
        .expect("the listing");
    let (listing, _) = rest.split_once("</programlisting>").expect("its end");
    let listing = listing
        .replace("...\n", "")
        .replace("&gt;", ">")
        .replace("&lt;", "<");
    let of_database = "auth_check(\"$fd\", \"subscriber\", \"1\")";
    assert_eq!(listing.matches(of_database).count(), 1);
    let listing = listing.replace(
        of_database,
        "pv_auth_check(\"$fd\", \"secret\", \"0\", \"1\")",
    );
    let (parameters, routes) = listing.split_once("request_route").expect("the routes");
    let values: Vec<(&str, &str)> = parameters
        .lines()
        .filter_map(|line| {
            line.strip_prefix("modparam(\"tcp_conn_limit\", \"")?
                .split_once("\", ")
        })
        .map(|(name, value)| (name, value.trim_end_matches(')')))
        .collect();
    assert_eq!(values.len(), 4, "{parameters}");
    let config = [
        "pv.so",
        "textops.so",
        "siputils.so",
        "usrloc.so",
        "registrar.so",
        "auth.so",
    ]
    .into_iter()
    .fold(mode.with_module(), Config::module);
    let config = values.into_iter().fold(config, |config, (name, value)| {
        config.modparam("tcp_conn_limit", name, value)
    });
    config.route(&format!("request_route{routes}"))
}

/// Opens as many silent connections as the source may have.
fn fill(server: &Server, via: Via, from: IpAddr) -> Vec<Client> {
    let silent = server.admit_all(20, via, from);
    server.reject(via, from);
    silent
}

fn numbers(server: &Server, from: IpAddr) -> (u64, u64) {
    let report = server.source(&from.to_string());
    (number(&report, "trusted"), number(&report, "untrusted"))
}

fn registered_phones_pass(mode: Mode, via: Via) {
    let server = example(mode).tls().start();
    let from = source(175, 0, 1);
    let mut phones = Vec::new();
    for n in 1..=60 {
        let mut phone = server.admit(via, from);
        let statuses = register(&mut phone, &format!("phone{n}"), "secret");
        assert_eq!(statuses, [401, 200], "{n}");
        phones.push(phone);
        assert_eq!(numbers(&server, from), (n, 0));
    }
    let silent = fill(&server, via, from);
    assert_eq!(numbers(&server, from), (60, 20));
    // The phones stay, and register again.
    assert_eq!(register(&mut phones[7], "phone8", "secret"), [401, 200]);
    drop(silent);
    server.wait_for_connections(60);
    phones.push(server.admit(via, from));
    assert_eq!(server.counter("usrloc", "registered_users"), 60);
    mode.finish(server, &[]);
}

fn registered_phones_pass_over_tcp(mode: Mode) {
    registered_phones_pass(mode, Via::Tcp);
}

fn registered_phones_pass_over_tls(mode: Mode) {
    registered_phones_pass(mode, Via::Tls);
}

fn wrong_password_is_not_trusted(mode: Mode) {
    let server = example(mode).tls().start();
    let from = source(175, 0, 1);
    let mut phone = server.admit(Via::Tls, from);
    assert_eq!(register(&mut phone, "phone", "guess"), [401, 401]);
    assert_eq!(numbers(&server, from), (0, 1));
    assert_eq!(register(&mut phone, "phone", "secret"), [401, 200]);
    assert_eq!(numbers(&server, from), (1, 0));
    mode.finish(server, &[]);
}

/// The `kamailio.cfg` that comes with the server, with `WITH_AUTH` and users in a database of
/// text files; the connections of users that are authenticated are trusted.
fn with_database(mode: Mode, users: u32) -> Option<Config> {
    // The modules that the tests load in any case.
    const LOADED: [&str; 5] = ["kex", "sl", "counters", "ctl", "jsonrpcs"];
    let Some(mut text) = own_configuration() else {
        report_skipped("the server comes without its kamailio.cfg");
        return None;
    };
    for module in LOADED {
        let line = format!("loadmodule \"{module}.so\"\n");
        assert_eq!(text.matches(&line).count(), 1, "{line}");
        text = text.replace(&line, "");
    }
    let place = "# user authenticated - remove auth header\n";
    assert_eq!(text.matches(place).count(), 1);
    text = text.replace(place, "tcp_conn_limit_trust();\n");
    let subscribers = (1..=users).map(|n| format!("{n}:phone{n}:127.0.0.1:secret\n"));
    let config = mode
        .with_module()
        .core("#!define WITH_AUTH\n#!define DBURL \"text://@DIR@\"\nalias=127.0.0.1")
        .param("untrusted_limit", 20)
        .module("db_text.so")
        .file(
            "version",
            "table_name(string) table_version(int)\nsubscriber:7\n",
        )
        .file(
            "subscriber",
            &format!(
                "id(int,auto) username(string) domain(string) password(string)\n{}",
                subscribers.collect::<String>()
            ),
        );
    Some(config.route(&text))
}

fn configuration_of_kamailio_trusts_its_users(mode: Mode) {
    let Some(config) = with_database(mode, 30) else {
        return;
    };
    let server = config.tls().start();
    for (via, from, first) in [
        (Via::Tcp, source(175, 0, 1), 1),
        (Via::Tls, source(175, 0, 2), 16),
    ] {
        let mut phones = Vec::new();
        for n in first..first + 15 {
            let mut phone = server.admit(via, from);
            let statuses = register(&mut phone, &format!("phone{n}"), "secret");
            assert_eq!(statuses, [401, 200], "{n}");
            phones.push(phone);
        }
        assert_eq!(numbers(&server, from), (15, 0));
        let mut silent = fill(&server, via, from);
        let statuses = register(&mut silent[0], "stranger", "secret");
        assert_eq!(statuses, [401, 401]);
        assert_eq!(numbers(&server, from), (15, 20));
        assert_eq!(
            register(&mut phones[7], &format!("phone{first}"), "secret"),
            [401, 200]
        );
    }
    assert_eq!(server.counter("usrloc", "registered_users"), 30);
    // Here sl is loaded before tm.
    mode.finish(server, &["tm module are loaded after tm"]);
}

/// Real phones of sipp, each over a connection of its own, from the address that 20 silent
/// connections come from.
fn phones_of_sipp_pass_beside_silent_connections(mode: Mode) {
    const SCENARIO: &str = "tests/kamailio/counting/register_with_password.xml";
    let server = example(mode).start();
    let from = source(175, 0, 1);
    let mut silent = fill(&server, Via::Tcp, from);
    // Some leave, so that a phone can connect and say who it is.
    silent.truncate(10);
    server.wait_for_connections(10);
    let mut sipp = Command::new("sipp")
        .arg(server.address(Via::Tcp).to_string())
        .arg("-sf")
        .arg(root().join(SCENARIO))
        .args(["-t", "tn", "-m", "60", "-r", "40", "-i", &from.to_string()])
        .args(["-au", "phone", "-ap", "secret", "-nostdin"])
        .args(["-timeout", "30", "-timeout_error"])
        .args(["-max_socket", "100", "-max_reconnect", "0"])
        .current_dir(server.dir())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("sipp (Debian: sip-tester) can be run");
    until("all phones are trusted", || {
        server.stat("became_trusted") == 60
    });
    assert_eq!(numbers(&server, from), (60, 10));
    assert!(sipp.wait().expect("sipp ends").success());
    server.wait_for_connections(10);
    assert_eq!(numbers(&server, from), (0, 10));
    mode.finish(server, &[]);
}
