// SPDX-License-Identifier: GPL-2.0-or-later

//! The intended differences between our limit and the core's own. This list is
//! complete: everything else that is tested in every mode is the same.

use crate::counting::ipv6;
use support::kamailio::mode::Mode;
use support::kamailio::{Client, Config, Via, in_own_network, proxy, source};

/// Each difference as a sentence about our module, a function that returns whether the
/// sentence is true for a server of the given mode, and the modes for which it is true.
macro_rules! differences {
    ($($sentence:literal => $observe:ident $modes:tt,)*) => {
        $(
            #[doc = $sentence]
            #[test]
            fn $observe() {
                assert_only_in(&$modes, observe::$observe);
            }
        )*
    };
}

differences! {
    "A peer with the address ::ffff:a.b.c.d is the IPv4 peer a.b.c.d; the core takes it for \
     another peer." =>
        mapped_ipv4_is_ipv4 [Mode::Module, Mode::Interposed],
    "A source's rejections log one WARNING a minute; the core logs a CRITICAL for each." =>
        rejections_are_one_warning [Mode::Module, Mode::Interposed],
    "A negative limit means no limit; the core's own parameter cannot be negative." =>
        limit_may_be_negative [Mode::Module, Mode::Interposed],
    "A client behind a PROXY is limited; the core stores the client but checks the proxy, and \
     without hooks the module counts the proxy." =>
        client_behind_proxy_is_limited [Mode::Module],
    "A rejection counts in the core's counter tcp.local_reject; the core's own rejections do \
     not, and neither do rejections made before the core gets the connection." =>
        rejection_is_counted [Mode::Module],
    "Without hooks the connections of a proxy count for the proxy, not for its clients." =>
        proxy_is_throttled_by_its_clients [Mode::Interposed],
}

/// The addresses of an IPv6 /64 share one limit; the core limits each of them.
#[test]
fn ipv6_network_shares_its_limit() {
    in_own_network(|| {
        assert_only_in(
            &[Mode::Module, Mode::Interposed],
            observe::ipv6_network_shares_its_limit,
        );
    });
}

/// A limit of 0 means no limit. The core of 5.7 and before rejects every connection then.
#[test]
fn zero_means_no_limit() {
    for mode in Mode::all() {
        let is_off = mode.has_module() || mode.version() >= (5, 8);
        assert_eq!(observe::zero_means_no_limit(mode), is_off, "{mode:?}");
    }
}

fn assert_only_in(modes: &[Mode], observe: fn(Mode) -> bool) {
    for mode in Mode::all() {
        assert_eq!(observe(mode), modes.contains(&mode), "{mode:?}");
    }
}

/// Observations of a server of a given mode.
mod observe {
    use super::*;

    pub(super) fn ipv6_network_shares_its_limit(mode: Mode) -> bool {
        let server = mode.config(1).any_address().start();
        let _first = ipv6::open(&server, ipv6::address(1, 1)).expect("the first is admitted");
        let second = ipv6::open(&server, ipv6::address(1, 2));
        let is_rejected = second.is_none();
        assert!(ipv6::open(&server, ipv6::address(2, 1)).is_some());
        mode.finish(server, &[]);
        is_rejected
    }

    pub(super) fn mapped_ipv4_is_ipv4(mode: Mode) -> bool {
        let server = mode.config(1).any_address().start();
        let _first = server.admit(Via::Tcp, source(0, 5, 1));
        let second = ipv6::open(&server, source(0, 5, 1));
        let is_rejected = second.is_none();
        mode.finish(server, &[]);
        is_rejected
    }

    /// Whether the second connection of a proxy is rejected, with a limit of 1.
    fn second_is_rejected(mode: Mode, config: Config, clients: [u8; 2]) -> bool {
        let server = config.core("tcp_accept_haproxy=yes").start();
        let open = |host| {
            let mut client = Client::connect(source(0, 9, 9), server.address(Via::Tcp));
            let header = proxy::v1(([198, 51, 100, host], 5060).into());
            client
                .send(&header)
                .expect("a new connection can be written to");
            client.is_admitted().then_some(client)
        };
        let _first = open(clients[0]).expect("the first is admitted");
        let is_rejected = open(clients[1]).is_none();
        mode.finish(server, &[]);
        is_rejected
    }

    pub(super) fn client_behind_proxy_is_limited(mode: Mode) -> bool {
        let mut config = mode.config(1);
        if mode.has_module() {
            config = config.rule("127.0.9.9=unlimited");
        }
        second_is_rejected(mode, config, [1, 1])
    }

    pub(super) fn proxy_is_throttled_by_its_clients(mode: Mode) -> bool {
        second_is_rejected(mode, mode.config(1), [1, 2])
    }

    pub(super) fn rejection_is_counted(mode: Mode) -> bool {
        let server = mode.config(1).start();
        let _first = server.admit(Via::Tcp, source(0, 5, 1));
        for _ in 0..3 {
            server.reject(Via::Tcp, source(0, 5, 1));
        }
        // The server has closed the last one and may be about to count it; it
        // has done so when it admits the next.
        server.admit(Via::Tcp, source(0, 5, 2));
        let counted = server.counter("tcp", "local_reject");
        assert!(counted == 0 || counted == 3, "{counted}");
        mode.finish(server, &[]);
        counted == 3
    }

    pub(super) fn rejections_are_one_warning(mode: Mode) -> bool {
        let server = mode.config(1).start();
        let _first = server.admit(Via::Tcp, source(0, 5, 1));
        for _ in 0..10 {
            server.reject(Via::Tcp, source(0, 5, 1));
        }
        if mode.has_module() {
            // The core's process for this checks once a second.
            server.wait_for_log(1, "127.0.5.1");
        }
        let log = mode.finish(server, &[]);
        let lines = log.lines_with("127.0.5.1");
        let warnings = lines
            .iter()
            .filter(|line| line.contains("WARNING:"))
            .count();
        let critical = lines
            .iter()
            .filter(|line| line.contains("CRITICAL:"))
            .count();
        match (warnings, critical) {
            (1, 0) => true,
            (0, 10) => false,
            other => panic!("{other:?} lines of a level: {lines:?}"),
        }
    }

    pub(super) fn limit_may_be_negative(mode: Mode) -> bool {
        let config = match mode {
            Mode::Module | Mode::Interposed => mode.with_module().limit(-1),
            Mode::Stock => Config::stock().core("tcp_accept_iplimit=-1"),
            Mode::Unused => Config::hooked().core("tcp_accept_iplimit=-1"),
        };
        config.check().status.success()
    }

    pub(super) fn zero_means_no_limit(mode: Mode) -> bool {
        let server = mode.config(0).start();
        let first = server.open(Via::Tcp, source(0, 5, 1));
        let is_off = first.is_some();
        if is_off {
            let _held = server.admit_all(50, Via::Tcp, source(0, 5, 1));
        }
        mode.finish(server, &[]);
        is_off
    }
}
