// SPDX-License-Identifier: GPL-2.0-or-later

//! The parameters of the module.

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Server, Via, source};

attached_either_way!(
    default_limit_is_that_of_the_core,
    limit_of_the_core_is_otherwise_unused,
    zero_and_negative_limits_only_count,
    ipv4_prefix_groups_addresses,
    configuration_check_passes,
    configuration_check_finds_a_wrong_type,
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
    for limit in [0, -1, -1000] {
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
