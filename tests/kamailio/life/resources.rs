// SPDX-License-Identifier: GPL-2.0-or-later

//! A rejected connection frees all its resources, and so does a change of the settings.

use std::fs;
use std::net::Ipv4Addr;

use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way, in_every_mode};
use support::kamailio::{Client, Config, Server, Via, number, proxy, source, until};

in_every_mode!(rejected_peers_free_all_resources);
attached_either_way!(changed_settings_free_all_resources, tcp_main_has_all_pages,);

/// The resources of a server: connections, TLS connections, bytes of shared memory and
/// descriptors of the accepting process.
fn held(server: &Server) -> [u64; 4] {
    let info = server.rpc("core.tcp_info", json!([]));
    let memory = server.rpc("core.shmmem", json!([]));
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.tcp_main()))
        .expect("the process runs")
        .count();
    [
        number(&info, "opened_connections"),
        number(&info, "opened_tls_connections"),
        number(&memory, "used"),
        descriptors as u64,
    ]
}

/// Panics unless the server holds the same before and after `rejections`.
#[track_caller]
fn assert_frees_all(server: &Server, mut rejections: impl FnMut()) {
    // The first rejections may allocate something once, such as a buffer.
    rejections();
    let before = held(server);
    for _ in 0..100 {
        rejections();
    }
    // The client sees the end of its connection before the server has freed everything.
    until("the server holds what it held before", || {
        held(server) == before
    });
}

fn rejected_peers_free_all_resources(mode: Mode) {
    let server = mode.config(2).tls().start();
    let _held = (
        server.admit(Via::Tcp, source(0, 8, 1)),
        server.admit(Via::Tls, source(0, 8, 1)),
    );
    assert_frees_all(&server, || {
        server.reject(Via::Tcp, source(0, 8, 1));
        server.reject(Via::Tls, source(0, 8, 1));
    });
    mode.finish(server, &[]);
}

#[test]
fn rejected_proxied_clients_free_all_resources() {
    let config = Config::with_module().limit(2).tls();
    let server = config.core("tcp_accept_haproxy=yes").start();
    let open = |via, port| {
        let mut client = Client::connect(source(0, 9, 9), server.address(via));
        let header = proxy::v2((Ipv4Addr::new(198, 51, 100, 1), port).into());
        client
            .send(&header)
            .expect("a new connection can be written to");
        let mut client = match via {
            Via::Tcp => client,
            Via::Tls => client.secure()?,
        };
        client.is_admitted().then_some(client)
    };
    let _held = (
        open(Via::Tcp, 1).expect("the first is admitted"),
        open(Via::Tls, 2).expect("the second is admitted"),
    );
    assert_frees_all(&server, || {
        assert!(open(Via::Tcp, 3).is_none());
        assert!(open(Via::Tls, 4).is_none());
    });
    assert_eq!(server.counter("tcp", "local_reject"), 202);
    assert_eq!(server.counted("198.51.100.1"), 2);
    Mode::Module.finish(server, &[]);
}

/// Most processes of the server are idle meanwhile and do not read the changes.
fn changed_settings_free_all_resources(mode: Mode) {
    let server = mode
        .with_module()
        .module("cfg_rpc.so")
        .rules_file("127.0.0.1=unlimited\n")
        .start();
    let mut limit = 1000;
    assert_frees_all(&server, || {
        limit += 1;
        server.rpc("tcp_conn_limit.set_limit", json!([limit]));
        server.rpc("tcp_conn_limit.set_mode", json!(["monitor"]));
        server.rpc("tcp_conn_limit.set_mode", json!(["enforce"]));
        server.write_rules(&format!("127.0.0.1={limit}\n"));
        server.rpc("tcp_conn_limit.reload", json!([]));
        for (name, value) in [("mode", 2), ("mode", 0), ("limit", 7), ("log_interval", 9)] {
            server.rpc("cfg.set_now_int", json!(["tcp_conn_limit", name, value]));
        }
    });
    until("the limit is 7", || server.stat("limit") == 7);
    mode.finish(server, &[]);
}

/// Before the first connection, TCP main already has mapped the pages that connections
/// use. Other processes, such as the watcher, map pages only for themselves.
fn tcp_main_has_all_pages(mode: Mode) {
    // Few enough to have no huge pages, which would be a mapping of their own.
    const CONNECTIONS: u64 = 20_000;
    let server = mode
        .with_module()
        .core(&format!("tcp_max_connections={CONNECTIONS}"))
        .start();
    let memory = server.stat("memory") / 1024;
    let smaps = fs::read_to_string(format!("/proc/{}/smaps", server.tcp_main()));
    let smaps = smaps.expect("TCP main runs");
    // The table's mapping also has the rules. No other shared mapping has that size.
    let sizes = memory..memory + (9 << 10);
    let values = |name| smaps.lines().filter_map(move |line| kilobytes(line, name));
    // The first line of a mapping has its addresses, permissions and name.
    let names = smaps
        .lines()
        .filter(|line| line.contains("-") && !line.contains(": "));
    let tables: Vec<u64> = names
        .zip(values("Size:").zip(values("Rss:")))
        .filter_map(|(name, (size, resident))| {
            let is_shared = name.split(' ').nth(1) == Some("rw-s");
            (is_shared && sizes.contains(&size)).then_some(resident)
        })
        .collect();
    let [resident] = tables[..] else {
        panic!("{} mappings like the table's in\n{smaps}", tables.len());
    };
    // Seven eighths of a bucket and a record for each.
    let used = CONNECTIONS * (64 * 7 / 8 + 16) / 1024;
    assert!(
        resident >= used && resident < 2 * used,
        "{resident} kB, buckets and records take {used}"
    );
    mode.finish(server, &[]);
}

/// The value of a line of smaps, if it has that name.
fn kilobytes(line: &str, name: &str) -> Option<u64> {
    line.strip_prefix(name)?
        .strip_suffix("kB")?
        .trim()
        .parse()
        .ok()
}
