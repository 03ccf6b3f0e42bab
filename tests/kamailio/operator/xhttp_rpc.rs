// SPDX-License-Identifier: GPL-2.0-or-later

//! The commands on the pages of `xhttp_rpc`, which supports fewer number types than the
//! other transports.

use std::net::IpAddr;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Server, Via, source};

attached_either_way!(every_command_has_a_page);

fn page(server: &Server, command: &str, arguments: &str) -> String {
    server.get(&format!(
        "/rpc/tcp_conn_limit/tcp_conn_limit.{command}?arg={arguments}"
    ))
}

/// Panics unless the page has all of `texts`.
#[track_caller]
fn assert_shown(page: &str, texts: &[&str]) {
    for text in texts {
        assert!(page.contains(text), "no {text} in {page}");
    }
}

fn every_command_has_a_page(mode: Mode) {
    let server = mode
        .with_module()
        .limit(3)
        .rule("127.61.0.0/16=20")
        // Connections that ask for pages close a moment after the answer.
        .rule("127.0.0.1=none")
        .core("tcp_accept_no_cl=yes")
        .module("xhttp.so")
        .module("xhttp_rpc.so")
        .also_route("event_route[xhttp:request] { dispatch_xhttp_rpc(); }\n")
        .start();
    let busy: IpAddr = source(60, 0, 1);
    let _held = server.admit_all(3, Via::Tcp, busy);
    let _more = server.admit_all(14, Via::Tcp, source(61, 0, 1));
    server.reject(Via::Tcp, busy);

    let stats = page(&server, "stats", "");
    assert_shown(&stats, &["limit: 3", "rejected: 1", "log_suppressed: 0"]);
    let source = [
        "source: 127.60.0.1",
        "connections: 3",
        "rejected: 1",
        "last_seen: ",
    ];
    assert_shown(&page(&server, "get", "127.60.0.1"), &source);
    assert_shown(&page(&server, "top", ""), &source);
    assert_shown(&page(&server, "top", "5"), &source);
    let rejected = page(&server, "top", "5+rejected");
    assert_shown(&rejected, &source);
    assert!(!rejected.contains("127.61.0.1"), "{rejected}");
    assert_shown(
        &page(&server, "list", ""),
        &["total: 3", "source: 127.61.0.1"],
    );
    let list = page(&server, "list", "127.60.0.0/16");
    assert_shown(&list, &["total: 1"]);
    assert_shown(&list, &source);
    assert_shown(&page(&server, "list", "127.0"), &["127.0"]);
    assert_shown(
        &page(&server, "rules", ""),
        &["127.61.0.0/16", "connections: 14"],
    );
    assert_shown(
        &page(&server, "suggest", ""),
        &["prefix: 127.61.0.0/16", "highest: 14"],
    );
    assert_shown(&page(&server, "audit", ""), &["differences: 0"]);
    assert_shown(&page(&server, "top", "rejected+5"), &source);
    let last_seen = ["first_seen_local: 20", "last_seen_local: 20"];
    assert_shown(&page(&server, "get", "127.60.0.1/32"), &last_seen);
    assert_shown(&page(&server, "list", "127.60.0.0/16+7"), &["surplus"]);
    assert_shown(&page(&server, "set_limit", "4"), &["limit: 4", "was: 3"]);
    assert_eq!(server.stat("limit"), 4);
    for (arguments, reported) in [
        ("", "missing limit"),
        ("0", "`0`"),
        ("4294967296", "`4294967296`"),
        ("-3", "`-3`"),
        ("1.5", "`1.5`"),
        ("1+2", "surplus argument"),
    ] {
        assert_shown(&page(&server, "set_limit", arguments), &[reported]);
        assert_eq!(server.stat("limit"), 4, "{arguments}");
    }
    assert_shown(
        &page(&server, "set_mode", "monitor"),
        &["mode: monitor", "was: enforce"],
    );
    assert_shown(&page(&server, "stats", ""), &["mode: monitor"]);
    mode.finish(server, &[]);
}
