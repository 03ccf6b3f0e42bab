// SPDX-License-Identifier: GPL-2.0-or-later

//! Parameters of a cluster that are invalid.

use support::kamailio::mode::{Mode, attached_either_way};

use super::nodes::{KEY, Place, Transport};

attached_either_way!(
    cluster_needs_the_module_dmq,
    wrong_parameters_refuse_the_start,
    rule_for_a_cluster_needs_one,
);

fn cluster_needs_the_module_dmq(mode: Mode) {
    let log = mode
        .with_module()
        .text_param("cluster", "dmq")
        .text_param("cluster_key", KEY)
        .start_fails();
    log.assert_error(&["modparam cluster is \"dmq\", but the module dmq is not loaded"]);
}

fn wrong_parameters_refuse_the_start(mode: Mode) {
    let place = Place::new(Transport::Udp, 2);
    let start_fails = |name: &str, value: &str, error: &str| {
        let config = place.node(mode, 0, 10);
        let log = config.modparam("tcp_conn_limit", name, value).start_fails();
        assert!(log.contains(error), "{name} {value}: {log}");
    };
    start_fails(
        "cluster",
        "\"redis\"",
        "modparam cluster is \"redis\": expected dmq",
    );
    start_fails(
        "cluster_limit",
        "-1",
        "modparam cluster_limit is -1: expected",
    );
    start_fails(
        "cluster_interval",
        "99",
        "modparam cluster_interval is 99: expected",
    );
    start_fails(
        "cluster_interval",
        "10001",
        "modparam cluster_interval is 10001: expected",
    );
    start_fails(
        "cluster_key",
        "5",
        "modparam cluster_key: expected a quoted string",
    );
    start_fails("cluster_key", "\"short\"", "a key is shorter than 16 bytes");
    start_fails(
        "cluster_key_file",
        "\"/nonexistent/file\"",
        "cannot read the keys in",
    );
    start_fails(
        "cluster_strict",
        "2",
        "modparam cluster_strict is 2: expected 1",
    );
    start_fails(
        "cluster_bans",
        "2",
        "modparam cluster_bans is 2: expected 1",
    );
    let log = place.without_key(mode, 0, 10).start_fails();
    log.assert_error(&["there is no key: set cluster_key"]);
    let log = mode.config(10).param("cluster_limit", 5).start_fails();
    log.assert_error(&["modparam cluster_limit is set, but this server is not a node"]);
    let log = mode.config(10).param("cluster_bans", 1).start_fails();
    log.assert_error(&["modparam cluster_bans is set, but this server is not a node"]);
}

fn rule_for_a_cluster_needs_one(mode: Mode) {
    let log = mode.config(10).rule("127.0.0.1=5 cluster=10").start_fails();
    log.assert_error(&["has the word `cluster`, but this server is not a node of a cluster"]);
}
