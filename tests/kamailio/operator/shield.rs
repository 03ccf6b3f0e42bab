// SPDX-License-Identifier: GPL-2.0-or-later

//! The kernel shield: the kernel drops the connection attempts of banned sources. Each test
//! has a network of its own. Where the tests may not load programs they say SKIPPED.

use std::io::ErrorKind::ConnectionReset;
use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::denied::{Bpf, deny, has_map, map_ids};
use support::kamailio::mode::{Mode, attached_either_way, report_skipped};
use support::kamailio::{Client, Config, Server, Via, in_own_network, number, source, until};
use support::raw::connect_from;

use crate::counting::ipv6::address;

attached_either_way!(
    banned_source_does_not_reach_the_server,
    ipv6_and_mapped_sources_are_dropped,
    banned_prefix_is_dropped_but_for_exempt_rules,
    only_the_mode_enforce_drops,
    exempt_source_is_not_listed,
    source_that_a_listener_exempts_is_not_listed,
    names_and_shared_ports_are_shielded_and_all_else_passes,
    shield_is_off_by_default,
    missing_capability_is_named,
    denied_system_is_named,
    server_of_another_user_changes_the_maps,
    killed_server_leaves_nothing_in_the_kernel,
    flooding_source_is_dropped_for_a_time,
    flood_is_only_reported_in_monitor_mode,
    wrong_parameters_are_refused,
);

const BAN: &str = "tcp_conn_limit.ban";
const UNBAN: &str = "tcp_conn_limit.unban";
const SHIELD: &str = "tcp_conn_limit.shield";

/// Longer than a tick of the watcher, and long enough for the system to repeat a SYN.
const PATIENCE: Duration = Duration::from_millis(400);

/// For an answer that must come.
const DEADLINE: Duration = Duration::from_secs(20);

/// Whether TCP connects at all; the server may then close the connection.
fn connects(from: IpAddr, to: SocketAddr) -> bool {
    connect_from(from, to, PATIENCE).is_ok()
}

/// A source that the kernel must let through, however busy the machine is.
#[track_caller]
fn must_connect(from: IpAddr, to: SocketAddr) {
    if let Err(error) = connect_from(from, to, DEADLINE) {
        panic!("{from} does not connect: {error}");
    }
}

fn shield(server: &Server) -> Value {
    server.rpc(SHIELD, json!([]))
}

#[track_caller]
fn wait_for_entries(server: &Server, entries: u64) {
    until("the list is up to date", || {
        number(&shield(server), "entries") == entries
    });
}

/// Runs a test in a network of its own, if this system lets it load programs.
fn with_shield(test: impl FnOnce() + Send) {
    in_own_network(|| {
        if can_load() {
            test();
        } else {
            report_skipped("this system does not allow eBPF programs");
        }
    });
}

/// Whether the capabilities of this process include CAP_BPF and CAP_NET_ADMIN.
fn can_load() -> bool {
    use tcp_conn_limit::shield::Filter;
    use tcp_conn_limit::source::{Nat64, PrefixLengths};
    Filter::load(PrefixLengths::DEFAULT, &Nat64::default()).is_ok()
}

fn with(mode: Mode) -> Config {
    mode.with_module()
        .limit(9)
        .text_param("shield", "on")
        .param("log_interval", 1)
}

fn banned_source_does_not_reach_the_server(mode: Mode) {
    with_shield(|| {
        let server = with(mode).tls().start();
        let (from, other) = (source(9, 0, 1), source(9, 0, 2));
        let (tcp, tls) = (server.address(Via::Tcp), server.address(Via::Tls));
        let mut held = server.admit_all(2, Via::Tcp, from);
        held.extend(server.admit_all(2, Via::Tls, from));
        assert_eq!(shield(&server)["state"], "active");
        must_connect(from, tcp);

        server.rpc(BAN, json!(["127.9.0.1", 3600]));
        wait_for_entries(&server, 1);
        let rejected = server.stat("rejected");
        let began = Instant::now();
        assert!(!connects(from, tcp) && !connects(from, tls));
        assert!(began.elapsed() >= 2 * PATIENCE);
        assert_eq!(server.stat("rejected"), rejected);
        // Open connections and other sources are not affected.
        for client in &mut held {
            assert!(client.is_admitted());
        }
        assert_eq!(held[0].ask("still-here"), "OK");
        let _others = [server.admit(Via::Tcp, other), server.admit(Via::Tls, other)];
        until("drops are counted", || server.stat("shield_dropped") >= 2);
        let bans = server.rpc("tcp_conn_limit.bans", json!([]));
        let ban = &bans["list"][0];
        assert_eq!(ban["source"], "127.9.0.1");
        assert!(number(ban, "dropped") >= 2, "{ban}");
        let list = shield(&server)["list"].take();
        assert_eq!(list[0]["source"], "127.9.0.1", "{list}");
        assert!(number(&list[0], "dropped") >= 2, "{list}");
        assert_eq!(server.stat("shield_entries"), 1);
        until("drops are logged", || {
            server.log().contains(" from 127.9.0.1")
        });

        server.rpc(UNBAN, json!(["127.9.0.1"]));
        let lifted = Instant::now();
        until("it connects again", || connects(from, tcp));
        // A tick, and an attempt that began before it.
        assert!(lifted.elapsed() < Duration::from_secs(3));
        let _again = server.admit(Via::Tls, from);
        // A ban that ends by itself.
        server.rpc(BAN, json!(["127.9.0.2", 3]));
        wait_for_entries(&server, 1);
        assert!(!connects(other, tcp));
        wait_for_entries(&server, 0);
        must_connect(other, tcp);
        let log = mode.finish(server, &[]);
        assert!(log.contains("the kernel shield dropped"), "{log}");
    });
}

fn ipv6_and_mapped_sources_are_dropped(mode: Mode) {
    with_shield(|| {
        let server = with(mode).any_address().start();
        let of = |from: IpAddr| server.any_address(from);
        let (v4, v6) = (source(9, 0, 3), address(9, 1));
        let (other_v4, other_v6) = (source(9, 0, 4), address(10, 1));
        server.rpc(BAN, json!(["127.9.0.3", 600]));
        server.rpc(BAN, json!(["2001:db8:0:9::/64", 600]));
        wait_for_entries(&server, 2);
        // Any address of the network is the source.
        let neighbour = address(9, 0xffff);
        for from in [v4, v6, neighbour] {
            assert!(!connects(from, of(from)), "{from}");
        }
        for from in [other_v4, other_v6, Ipv6Addr::LOCALHOST.into()] {
            must_connect(from, of(from));
        }
        // The other socket, which listens on IPv4.
        assert!(!connects(v4, server.address(Via::Tcp)));
        server.rpc(UNBAN, json!(["all"]));
        wait_for_entries(&server, 0);
        must_connect(v4, of(v4));
        must_connect(v6, of(v6));
        mode.finish(server, &[]);
    });
}

fn banned_prefix_is_dropped_but_for_exempt_rules(mode: Mode) {
    with_shield(|| {
        let server = with(mode)
            .rule("127.7.1.0/24=5 exempt")
            .rule("127.7.1.128/25=5")
            .any_address()
            .start();
        let to = server.address(Via::Tcp);
        server.rpc(BAN, json!(["127.7.0.0/16", 600]));
        // A part of a source.
        server.rpc(BAN, json!(["2001:db8:0:7::8/125", 600]));
        wait_for_entries(&server, 3);
        for (from, passes) in [
            (source(7, 0, 1), false),
            (source(7, 1, 1), true),
            (source(7, 1, 200), false),
            (source(8, 0, 1), true),
        ] {
            match passes {
                true => must_connect(from, to),
                false => assert!(!connects(from, to), "{from}"),
            }
        }
        let (inside, outside) = (address(7, 9), address(7, 7));
        assert!(!connects(inside, server.any_address(inside)));
        must_connect(outside, server.any_address(outside));
        let bans = server.rpc("tcp_conn_limit.bans", json!([]));
        for ban in bans["list"].as_array().unwrap() {
            assert!(number(ban, "dropped") >= 1, "{bans}");
        }
        let list = server.rpc(SHIELD, json!([2]))["list"].take();
        assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
        // A rule that is set later.
        server.rpc(
            "tcp_conn_limit.set_rule",
            json!(["127.7.0.0/24", "5 exempt"]),
        );
        until("it connects", || connects(source(7, 0, 1), to));
        assert!(!connects(source(7, 2, 1), to));
        server.rpc(UNBAN, json!(["127.7.0.0/16"]));
        until("all connect", || connects(source(7, 2, 1), to));
        mode.finish(server, &[]);
    });
}

fn only_the_mode_enforce_drops(mode: Mode) {
    with_shield(|| {
        let server = with(mode).text_param("mode", "monitor").start();
        let (from, to) = (source(6, 0, 1), server.address(Via::Tcp));
        server.rpc(BAN, json!(["127.6.0.1", 600]));
        server.rpc(BAN, json!(["127.6.1.0/24", 600]));
        sleep(Duration::from_millis(2500));
        assert_eq!(number(&shield(&server), "entries"), 0);
        let _held = server.admit(Via::Tcp, from);
        for (name, entries) in [("enforce", 2), ("off", 0), ("enforce", 2), ("monitor", 0)] {
            server.rpc("tcp_conn_limit.set_mode", json!([name]));
            wait_for_entries(&server, entries);
            match entries {
                0 => must_connect(from, to),
                _ => assert!(!connects(from, to), "{name}"),
            }
        }
        mode.finish(server, &[]);
    });
}

fn exempt_source_is_not_listed(mode: Mode) {
    with_shield(|| {
        let server = with(mode).start();
        let (from, to) = (source(5, 0, 1), server.address(Via::Tcp));
        server.rpc(BAN, json!(["127.5.0.1", 600]));
        wait_for_entries(&server, 1);
        server.rpc(
            "tcp_conn_limit.set_rule",
            json!(["127.5.0.0/16", "5 exempt"]),
        );
        wait_for_entries(&server, 0);
        let _held = server.admit(Via::Tcp, from);
        server.rpc("tcp_conn_limit.del_rule", json!(["127.5.0.0/16"]));
        wait_for_entries(&server, 1);
        assert!(!connects(from, to));
        mode.finish(server, &[]);
    });
}

/// The kernel drops at every listener, so it must not drop what one of them admits.
fn source_that_a_listener_exempts_is_not_listed(mode: Mode) {
    with_shield(|| {
        let server = with(mode)
            .tls()
            .rule("127.5.2.0/24 = 5 exempt listener=tcp:127.0.0.1:@TCP@")
            .start();
        let from = source(5, 2, 1);
        server.rpc(BAN, json!(["127.5.2.1", 600]));
        // The other ban shows that the list is up to date.
        server.rpc(BAN, json!(["127.5.1.1", 600]));
        wait_for_entries(&server, 1);
        let _held = server.admit(Via::Tcp, from);
        server.reject(Via::Tls, from);
        assert!(!connects(source(5, 1, 1), server.address(Via::Tcp)));
        mode.finish(server, &[]);
    });
}

/// A listener that is given by name, with `tcp_reuse_port`; datagrams, and a connection that
/// the server itself opens to a banned address.
fn names_and_shared_ports_are_shielded_and_all_else_passes(mode: Mode) {
    with_shield(|| {
        let (from, other) = (source(5, 3, 1), source(5, 3, 2));
        let own = TcpListener::bind((from, 0)).expect("a free port");
        let port = own.local_addr().expect("it is bound").port();
        let route = format!(
            "request_route {{\n\tif ($rU == \"out\") {{\n\t\tforward_tcp({from}, {port});\n\t\
             \texit;\n\t}}\n\tsl_send_reply(\"200\", \"OK\");\n}}\n"
        );
        let server = with(mode)
            .core("tcp_reuse_port=yes")
            .core("listen=tcp:localhost:@ANY@")
            .core("listen=udp:127.0.0.1:@TCP@")
            .module("pv")
            .route(&route)
            .start();
        let named = server.any_address(from);
        must_connect(from, named);
        server.rpc(BAN, json!(["127.5.3.1", 600]));
        wait_for_entries(&server, 1);
        assert!(!connects(from, named) && !connects(from, server.address(Via::Tcp)));
        must_connect(other, named);

        let request = |user: &str, protocol: &str| {
            format!(
                "OPTIONS sip:{user}@localhost SIP/2.0\r\n\
                 Via: SIP/2.0/{protocol} {from};branch=z9hG4bK-1;rport\r\n\
                 From: <sip:test@localhost>;tag=1\r\n\
                 To: <sip:{user}@localhost>\r\n\
                 Call-ID: 1@localhost\r\n\
                 CSeq: 1 OPTIONS\r\n\
                 Content-Length: 0\r\n\r\n"
            )
        };
        let datagrams = UdpSocket::bind((from, 0)).expect("a free port");
        datagrams.set_read_timeout(Some(DEADLINE)).unwrap();
        let sent = datagrams.send_to(request("x", "UDP").as_bytes(), server.address(Via::Tcp));
        sent.expect("the datagram is sent");
        let mut answer = [0; 20];
        datagrams.recv(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"SIP/2.0 200 OK"));

        let mut client = server.admit(Via::Tcp, other);
        client.send(request("out", "TCP").as_bytes()).unwrap();
        own.set_nonblocking(true).expect("a socket");
        let mut accepted = None;
        until("the server connects", || {
            accepted = own.accept().ok();
            accepted.is_some()
        });
        let (mut opened, _) = accepted.expect("a connection");
        opened.set_nonblocking(false).expect("a socket");
        opened.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut first = [0; 7];
        opened.read_exact(&mut first).expect("the request");
        assert_eq!(&first, b"OPTIONS");
        mode.finish(server, &[]);
    });
}

fn shield_is_off_by_default(mode: Mode) {
    let server = mode.with_module().limit(9).start();
    let answer = shield(&server);
    assert_eq!(answer["state"], "off", "{answer}");
    assert_eq!(answer["reason"], "shield is off", "{answer}");
    server.rpc(BAN, json!(["127.5.0.2", 600]));
    assert_eq!(map_ids(server.main()), [0u32; 0]);
    server.reject(Via::Tcp, source(5, 0, 2));
    assert_eq!(number(&shield(&server), "entries"), 0);
    mode.finish(server, &[]);
}

/// The server without the shield: it says why, and rejects by itself.
#[track_caller]
fn assert_unavailable(mode: Mode, server: Server, reasons: &[&str]) {
    let answer = shield(&server);
    assert_eq!(answer["state"], "unavailable", "{answer}");
    let reason = answer["reason"].as_str().unwrap();
    server.rpc(BAN, json!(["127.5.0.3", 600]));
    server.reject(Via::Tcp, source(5, 0, 3));
    assert_eq!(number(&answer, "entries"), 0);
    let log = mode.finish(server, &[]);
    assert!(log.contains("the kernel shield is not active: "), "{log}");
    for text in reasons {
        assert!(
            reason.contains(text) && log.contains(text),
            "{reason}: {log}"
        );
    }
}

fn missing_capability_is_named(mode: Mode) {
    with_shield(|| {
        let without = |value: &str| {
            let config = mode.with_module().limit(9).text_param("shield", value);
            config.run_by(&["setpriv", "--bounding-set", "-bpf,-sys_admin"])
        };
        let reasons = [
            "cannot create an eBPF map: Operation not permitted",
            "CAP_BPF",
        ];
        let log = without("on").start_fails();
        log.assert_error(&["modparam shield is \"on\"", reasons[0], reasons[1]]);
        assert_unavailable(mode, without("auto").start(), &reasons);
    });
}

/// A kernel without BPF, one that does not load the program, and one that does not let the
/// server change maps after the change of its user.
fn denied_system_is_named(mode: Mode) {
    for (command, error, reasons) in [
        (
            Bpf::MapCreate,
            libc_error::ENOSYS,
            ["cannot create an eBPF map", "without the system call bpf()"],
        ),
        (
            Bpf::ProgLoad,
            libc_error::EINVAL,
            ["cannot load the eBPF program", "Linux 5.2"],
        ),
        (
            Bpf::MapUpdate,
            libc_error::EPERM,
            ["cannot change an eBPF map", "before Linux 5.19"],
        ),
    ] {
        with_shield(|| {
            deny(command, error);
            let config = |value| mode.with_module().limit(9).text_param("shield", value);
            let log = config("on").start_fails();
            log.assert_error(&["modparam shield is \"on\"", reasons[0], reasons[1]]);
            assert_unavailable(mode, config("auto").start(), &reasons);
        });
    }
}

mod libc_error {
    use nix::errno::Errno;
    pub(super) const ENOSYS: i32 = Errno::ENOSYS as i32;
    pub(super) const EINVAL: i32 = Errno::EINVAL as i32;
    pub(super) const EPERM: i32 = Errno::EPERM as i32;
}

fn server_of_another_user_changes_the_maps(mode: Mode) {
    with_shield(|| {
        let server = with(mode).as_user("daemon", "daemon").start();
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process("watcher")));
        let status = status.expect("the watcher lives");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        let (from, to) = (source(4, 0, 1), server.address(Via::Tcp));
        server.rpc(BAN, json!(["127.4.0.1", 600]));
        server.rpc(BAN, json!(["127.4.1.0/24", 600]));
        wait_for_entries(&server, 2);
        assert!(!connects(from, to) && !connects(source(4, 1, 1), to));
        let bans = server.rpc("tcp_conn_limit.bans", json!([]));
        for ban in bans["list"].as_array().unwrap() {
            assert!(number(ban, "dropped") >= 1, "{bans}");
        }
        server.rpc(UNBAN, json!(["all"]));
        until("it connects", || connects(from, to));
        mode.finish(server, &[]);
    });
}

fn killed_server_leaves_nothing_in_the_kernel(mode: Mode) {
    with_shield(|| {
        let mut server = with(mode).start();
        let from = source(3, 0, 1);
        server.rpc(BAN, json!(["127.3.0.1", 600]));
        wait_for_entries(&server, 1);
        let maps = map_ids(server.main());
        assert_eq!(maps.len(), 4);
        assert!(maps.iter().all(|&id| has_map(id)));
        server.kill_all();
        until("the kernel freed them", || {
            !maps.iter().any(|&id| has_map(id))
        });
        // The next server knows no bans.
        let server = server.start_again();
        let _held = server.admit(Via::Tcp, from);
        assert_eq!(number(&shield(&server), "entries"), 0);
        mode.finish(server, &[]);
    });
}

/// Is rejected until the source is listed, or `most` times. Returns how often.
fn flood(server: &Server, from: IpAddr, most: usize) -> usize {
    let to = server.address(Via::Tcp);
    let attempts = (0..most).take_while(|_| {
        // Longer than the time after which the system repeats a SYN.
        let Ok(mut stream) = connect_from(from, to, Duration::from_millis(2500)) else {
            return false;
        };
        // Otherwise the server's queue might overflow, and a SYN be lost for that reason.
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let ended = stream
            .read(&mut [0])
            .map_or_else(|error| error.kind() == ConnectionReset, |n| n == 0);
        assert!(ended, "{from} was not rejected");
        true
    });
    attempts.count()
}

fn with_threshold(mode: Mode) -> Config {
    let config = mode.with_module().limit(1).text_param("shield", "on");
    config.param("shield_threshold", 50).param("shield_time", 6)
}

fn flooding_source_is_dropped_for_a_time(mode: Mode) {
    with_shield(|| {
        let server = with_threshold(mode).rule("127.2.9.0/24=1 exempt").start();
        let (from, to) = (source(2, 0, 1), server.address(Via::Tcp));
        let mut held: Client = server.admit(Via::Tcp, from);
        // Not a flood.
        for _ in 0..20 {
            server.reject(Via::Tcp, from);
        }
        sleep(Duration::from_millis(2100));
        assert_eq!(number(&shield(&server), "floods"), 0);
        let attempts = flood(&server, from, 1_000_000);
        let listed = Instant::now();
        assert!(attempts > 50, "{attempts}");
        assert!(held.is_admitted());
        let answer = shield(&server);
        assert_eq!(number(&answer, "floods"), 1, "{answer}");
        // It is not banned, but listed with what was dropped.
        assert_eq!(answer["list"][0]["source"], "127.2.0.1", "{answer}");
        until("it connects again", || connects(from, to));
        // It was listed at most two attempts before the first that failed.
        let took = listed.elapsed();
        assert!(
            took >= Duration::from_secs(1) && took < Duration::from_secs(12),
            "{took:?}"
        );
        // An exempt source may flood.
        let exempt = source(2, 9, 1);
        let _held = server.admit(Via::Tcp, exempt);
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2500) {
            assert_eq!(flood(&server, exempt, 100), 100);
        }
        assert_eq!(number(&shield(&server), "floods"), 1);
        let log = mode.finish(server, &[]);
        let line = "the kernel shield drops new connections from 127.2.0.1 for 6 s: ";
        assert!(
            log.contains(line) && log.contains("shield_threshold 50"),
            "{log}"
        );
    });
}

fn flood_is_only_reported_in_monitor_mode(mode: Mode) {
    with_shield(|| {
        let server = with_threshold(mode).text_param("mode", "monitor").start();
        let (from, to) = (source(2, 0, 2), server.address(Via::Tcp));
        until("the flood is seen", || {
            for _ in 0..200 {
                connect_from(from, to, DEADLINE).expect("monitor mode drops nothing");
            }
            number(&shield(&server), "would_list") == 1
        });
        let answer = shield(&server);
        assert_eq!(number(&answer, "entries"), 0, "{answer}");
        assert_eq!(number(&answer, "floods"), 0, "{answer}");
        let log = mode.finish(server, &[]);
        assert!(
            log.contains("the kernel shield would drop new connections"),
            "{log}"
        );
    });
}

fn wrong_parameters_are_refused(mode: Mode) {
    let module = || mode.with_module();
    for (config, texts) in [
        (
            module().text_param("shield", "yes"),
            ["modparam shield is \"yes\"", "off, auto or on"],
        ),
        (
            module().param("shield", 1),
            ["modparam shield: expected a quoted string", "the number 1"],
        ),
        (
            module().text_param("shield_time", "10s"),
            ["modparam shield_time: expected a number", "\"10s\""],
        ),
        (
            module().param("shield_time", 0),
            ["modparam shield_time is 0", "1 to 86400"],
        ),
        (
            module().param("shield_threshold", -1),
            ["modparam shield_threshold is -1", "1 to 1000000"],
        ),
        (
            module().param("shield_threshold", 100),
            [
                "shield_threshold is 100, but the shield is off",
                "set shield to",
            ],
        ),
    ] {
        config.start_fails().assert_error(&texts);
    }
    let server = module().start();
    for (arguments, text) in [
        (
            json!(["now"]),
            "invalid number \"now\": expected a number from 1 to 400",
        ),
        (json!([401]), "invalid number \"401\""),
        (json!([1, 2]), "surplus argument \"2\""),
    ] {
        let fault = server.fault(SHIELD, arguments);
        assert!(fault.message.contains(text), "{fault:?}");
    }
    mode.finish(server, &[]);
}
