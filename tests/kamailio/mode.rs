// SPDX-License-Identifier: GPL-2.0-or-later

//! Whose limit is tested: ours or the core's own.

use crate::harness::{Config, Log, Server, Servers, version};

/// A server with a limit of connections per source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Our module on a core with hooks.
    Module,
    /// The core as released, with its own `tcp_accept_iplimit`.
    Stock,
    /// A core with hooks but without our module: to behave as released.
    Unused,
}

impl Mode {
    /// A server that admits `limit` connections of each source.
    pub(crate) fn config(self, limit: u32) -> Config {
        match self {
            Self::Module => Config::with_module().limit(limit.into()),
            Self::Stock => Config::stock().core(&format!("tcp_accept_iplimit={limit}")),
            Self::Unused => Config::hooked().core(&format!("tcp_accept_iplimit={limit}")),
        }
    }

    /// The version of the server: major and minor number.
    pub(crate) fn version(self) -> (u32, u32) {
        let servers = Servers::from_env();
        match self {
            Self::Stock => version(&servers.stock),
            Self::Module | Self::Unused => version(&servers.hooked),
        }
    }

    /// The end of a test: counts agree, the server ends well, and its log has
    /// no complaints but those `expected`.
    #[track_caller]
    pub(crate) fn finish(self, server: Server, expected: &[&str]) -> Log {
        self.assert_counts_are_right(&server);
        server.stop(&[self.rejection(), expected].concat())
    }

    /// Ends the server like [`finish`](Self::finish) and starts it again.
    #[track_caller]
    pub(crate) fn restart(self, server: Server) -> Server {
        self.assert_counts_are_right(&server);
        server.restart(self.rejection())
    }

    #[track_caller]
    fn assert_counts_are_right(self, server: &Server) {
        if self == Self::Module {
            server.assert_audit_clean();
            assert_eq!(server.stat("errors"), 0);
        }
    }

    /// The complaint in the log about a rejected connection.
    fn rejection(self) -> &'static [&'static str] {
        match self {
            Self::Module => &[],
            Self::Stock | Self::Unused => &["hit the limit of connections per source IP"],
        }
    }
}

/// Makes one test of each function for every mode.
macro_rules! in_every_mode {
    ($($test:ident),* $(,)?) => {
        mod module { $(#[test] fn $test() { super::$test($crate::mode::Mode::Module); })* }
        mod stock { $(#[test] fn $test() { super::$test($crate::mode::Mode::Stock); })* }
        mod unused { $(#[test] fn $test() { super::$test($crate::mode::Mode::Unused); })* }
    };
}
pub(crate) use in_every_mode;
