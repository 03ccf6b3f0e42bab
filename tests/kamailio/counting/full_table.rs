// SPDX-License-Identifier: GPL-2.0-or-later

//! The settings for a full table. The table of a server has more slots than the server
//! can have connections, so it is never full here. The behaviour of a full table is
//! tested on the engine.

use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Via, number, source};

attached_either_way!(on_full_is_configurable, full_server_has_slots_left,);

fn on_full_is_configurable(mode: Mode) {
    for (config, policy) in [
        (mode.with_module(), "admit"),
        (mode.with_module().text_param("on_full", "admit"), "admit"),
        (mode.with_module().text_param("on_full", "reject"), "reject"),
    ] {
        let server = config.limit(2).start();
        let stats = server.rpc("tcp_conn_limit.stats", json!([]));
        assert_eq!(stats["on_full"], policy);
        // There is a slot, so the policy makes no difference.
        let _held = server.admit_all(2, Via::Tcp, source(90, 0, 1));
        server.reject(Via::Tcp, source(90, 0, 1));
        assert_eq!(server.stat("full_rejected"), 0);
        mode.finish(server, &[]);
    }
}

/// As many sources as there can be connections, again and again.
fn full_server_has_slots_left(mode: Mode) {
    let server = mode
        .with_module()
        .text_param("on_full", "reject")
        .core("tcp_max_connections=100")
        .start();
    for round in 0..20 {
        let held: Vec<_> = (0..100)
            .map(|host| server.admit(Via::Tcp, source(91, round, host)))
            .collect();
        assert_eq!(server.connections(), 100);
        drop(held);
        server.wait_for_connections(0);
    }
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    for name in ["table_full", "full_rejected", "errors"] {
        assert_eq!(number(&stats, name), 0, "{name}");
    }
    assert!(number(&stats, "slots") >= 100);
    mode.finish(server, &[]);
}
