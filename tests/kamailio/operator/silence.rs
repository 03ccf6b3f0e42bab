// SPDX-License-Identifier: GPL-2.0-or-later

//! Connections that close without a message: offences of the kinds silent and tls.
//!
//! With hooks the module learns whether a whole message was received. Interposed, it
//! learns whether the client sent anything at all.

use std::fs;
use std::net::IpAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, Config, Server, Via, number, source, until};
use support::programs::root;

attached_either_way!(
    silent_connections_add_up_to_a_ban,
    connection_with_a_message_costs_nothing,
    connection_that_only_pings_is_silent_with_hooks,
    tls_connection_without_a_message_is_an_offence,
    failed_handshake_is_an_offence_with_hooks,
    health_checks_are_never_banned_with_the_documented_settings,
    scanner_is_banned_with_the_documented_settings,
    silent_sources_with_an_exempt_rule_are_not_banned,
);

/// A server on which each silent connection costs 5 s.
fn config(mode: Mode) -> Config {
    mode.with_module()
        .limit(50)
        .text_param("penalty", "silent=5")
        .text_param("penalty", "tls=5")
        .param("ban_min", 12)
        .param("log_interval", 86_400)
}

/// The penalties of the recipe in the documentation, as lines of the configuration.
fn documented(config: Config) -> Config {
    let path = "kamailio-glue/tcp_conn_limit/doc/tcp_conn_limit_bans.xml";
    let text = fs::read_to_string(root().join(path)).expect("the documentation");
    let begin = "<programlisting format=\"linespecific\" id=\"tcp_conn_limit.recipe.bans\">\n";
    let (_, rest) = text.split_once(begin).expect("the recipe");
    let (recipe, _) = rest.split_once("</programlisting>").expect("its end");
    let penalties = recipe.lines().filter(|line| line.contains("\"penalty\""));
    let values = penalties.map(|line| line.split('"').nth(5).expect("a value"));
    let values: Vec<&str> = values.collect();
    assert!(values.len() >= 3, "{values:?}");
    values
        .into_iter()
        .fold(config, |config, value| config.text_param("penalty", value))
}

/// Connects, says nothing and closes, as a health check does. Waits until the server has
/// closed it.
#[track_caller]
fn check_health(server: &Server, via: Via, from: IpAddr) {
    let before = server.connections();
    let silent = Client::connect(from, server.address(via));
    server.wait_for_connections(before + 1);
    drop(silent);
    server.wait_for_connections(before);
}

#[track_caller]
fn assert_banned(server: &Server, from: IpAddr, reason: &str) {
    let found = server.source(&from.to_string());
    assert!(number(&found, "banned") > 0, "{found}");
    assert_eq!(found["ban_reason"], reason, "{found}");
    server.reject(Via::Tcp, from);
}

fn silent_connections_add_up_to_a_ban(mode: Mode) {
    let server = config(mode).start();
    let from = source(160, 0, 1);
    let mut held = server.admit(Via::Tcp, from);
    assert_eq!(held.ask("first"), "OK");
    for _ in 0..3 {
        check_health(&server, Via::Tcp, from);
    }
    until("they are offences", || server.stat("penalty_silent") == 3);
    assert_banned(&server, from, "silent");
    assert_eq!(held.ask("still"), "OK");
    server.wait_for_log(1, "banned source 127.160.0.1 for ");
    drop(server.admit(Via::Tcp, source(160, 0, 2)));
    mode.finish(server, &[]);
}

fn connection_with_a_message_costs_nothing(mode: Mode) {
    let server = config(mode).tls().start();
    let from = source(161, 0, 1);
    for via in [Via::Tcp, Via::Tls, Via::Tcp, Via::Tls] {
        let mut client = server.admit(via, from);
        assert_eq!(client.ask("me"), "OK");
        drop(client);
        server.wait_for_connections(0);
    }
    let found = server.source("127.161.0.1");
    assert_eq!(
        (&found["penalty"], &found["banned"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(server.stat("penalty_silent"), 0);
    assert_eq!(server.stat("penalty_tls"), 0);
    mode.finish(server, &[]);
}

fn connection_that_only_pings_is_silent_with_hooks(mode: Mode) {
    let server = config(mode).start();
    let from = source(162, 0, 1);
    for _ in 0..2 {
        drop(server.admit(Via::Tcp, from));
        server.wait_for_connections(0);
    }
    let expected = if mode == Mode::Module { 2 } else { 0 };
    until("the offences are counted", || {
        server.stat("penalty_silent") == expected
    });
    mode.finish(server, &[]);
}

fn tls_connection_without_a_message_is_an_offence(mode: Mode) {
    let server = config(mode).tls().start();
    let from = source(163, 0, 1);
    // Not even a handshake.
    for _ in 0..2 {
        check_health(&server, Via::Tls, from);
    }
    until("they are offences", || server.stat("penalty_tls") == 2);
    // With a handshake the client has sent something.
    drop(server.admit(Via::Tls, from));
    server.wait_for_connections(0);
    if mode == Mode::Module {
        until("it is an offence", || server.stat("penalty_tls") == 3);
        assert_banned(&server, from, "tls");
        server.reject(Via::Tls, from);
    }
    assert_eq!(server.stat("penalty_silent"), 0);
    mode.finish(server, &[]);
}

fn failed_handshake_is_an_offence_with_hooks(mode: Mode) {
    let server = config(mode).tls().start();
    let from = source(164, 0, 1);
    for _ in 0..3 {
        let mut client = Client::connect(from, server.address(Via::Tls));
        client.send(b"not a handshake").expect("it is open");
        drop(client.read_until_closed());
        server.wait_for_connections(0);
    }
    if mode == Mode::Module {
        until("they are offences", || server.stat("penalty_tls") == 3);
        assert_banned(&server, from, "tls");
    } else {
        assert_eq!(server.stat("penalty_tls"), 0);
    }
    mode.finish(server, &["tls", "<core>"]);
}

/// Two checkers, one of them also of the TLS port, for as long as five of their intervals.
fn health_checks_are_never_banned_with_the_documented_settings(mode: Mode) {
    const INTERVAL: Duration = Duration::from_secs(5);
    const ROUNDS: u64 = 5;
    let server = documented(mode.with_module().limit(50)).tls().start();
    let (one, both) = (source(165, 0, 1), source(165, 0, 2));
    let began = Instant::now();
    for round in 1..=ROUNDS {
        check_health(&server, Via::Tcp, one);
        check_health(&server, Via::Tcp, both);
        check_health(&server, Via::Tls, both);
        until("the checks are counted", || {
            server.stat("penalty_silent") == 2 * round && server.stat("penalty_tls") == round
        });
        for from in [one, both] {
            let found = server.source(&from.to_string());
            assert_eq!(found["banned"], 0, "{found}");
            // No more than one round costs.
            assert!(number(&found, "penalty") <= 3, "{found}");
        }
        let next = began + INTERVAL * u32::try_from(round).expect("few rounds");
        sleep(next.saturating_duration_since(Instant::now()));
    }
    for from in [one, both] {
        let found = server.source(&from.to_string());
        assert_eq!(
            (&found["banned"], &found["penalty"]),
            (&json!(0), &json!(0))
        );
    }
    assert_eq!(server.stat("bans"), 0);
    mode.finish(server, &[]);
}

fn scanner_is_banned_with_the_documented_settings(mode: Mode) {
    let server = documented(mode.with_module().limit(500)).start();
    let from = source(166, 0, 1);
    // All at once, so that a slow machine does not let them pass.
    let scan: Vec<Client> = (0..60)
        .map(|_| Client::connect(from, server.address(Via::Tcp)))
        .collect();
    server.wait_for_connections(60);
    drop(scan);
    until("it is banned", || {
        number(&server.source("127.166.0.1"), "banned") > 0
    });
    assert_banned(&server, from, "silent");
    mode.finish(server, &[]);
}

fn silent_sources_with_an_exempt_rule_are_not_banned(mode: Mode) {
    let server = config(mode)
        .rule("127.167.0.0/16=50 exempt")
        .rule("127.168.0.0/16=unlimited")
        .start();
    for from in [source(167, 0, 1), source(168, 0, 1)] {
        for _ in 0..5 {
            check_health(&server, Via::Tcp, from);
        }
        drop(server.admit(Via::Tcp, from));
        server.wait_for_connections(0);
    }
    assert_eq!(server.stat("penalty_silent"), 0);
    assert_eq!(server.stat("bans"), 0);
    mode.finish(server, &[]);
}
