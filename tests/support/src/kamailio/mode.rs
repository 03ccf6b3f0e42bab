// SPDX-License-Identifier: GPL-2.0-or-later

//! Whose limit is tested: ours or the core's own.

use std::io::{self, Write};
use std::path::Path;
use std::thread;

pub use crate::{attached_either_way, in_every_mode, when_interposed};

use super::{Config, Log, Server, Servers, has_parameter, version};
use crate::wait::until;

/// A server with a limit of connections per source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Our module on a core with hooks.
    Module,
    /// Our module on the core as released, whose calls it takes.
    Interposed,
    /// The core as released, with its own `tcp_accept_iplimit`.
    Stock,
    /// A core with hooks but without our module, which must behave as released.
    Unused,
}

impl Mode {
    /// All modes of the servers under test. The core's own limit cannot be switched off
    /// in 5.7, so our module cannot interpose there.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Module, Self::Stock, Self::Unused];
        if Self::Stock.version() != (5, 7) {
            all.push(Self::Interposed);
        }
        all
    }

    /// A server that admits `limit` connections of each source.
    pub fn config(self, limit: u32) -> Config {
        match self {
            Self::Module | Self::Interposed => self.with_module().limit(limit.into()),
            Self::Stock => Config::stock().core(&format!("tcp_accept_iplimit={limit}")),
            Self::Unused => Config::hooked().core(&format!("tcp_accept_iplimit={limit}")),
        }
    }

    /// A server with our module.
    #[track_caller]
    pub fn with_module(self) -> Config {
        match self {
            Self::Module => Config::with_module(),
            Self::Interposed => Config::interposed(),
            Self::Stock | Self::Unused => panic!("{self:?} is without our module"),
        }
    }

    /// The attachment that our module reports.
    pub fn attached(self) -> &'static str {
        match self {
            Self::Module => "hooks",
            Self::Interposed => "interpose",
            Self::Stock | Self::Unused => "",
        }
    }

    pub fn has_module(self) -> bool {
        matches!(self, Self::Module | Self::Interposed)
    }

    /// The version of the server: major and minor number.
    pub fn version(self) -> (u32, u32) {
        let servers = Servers::from_env();
        match self {
            Self::Stock | Self::Interposed => version(&servers.stock),
            Self::Module | Self::Unused => version(&servers.hooked),
        }
    }

    /// Whether the server has the parameter. If not, prints that the test runs without
    /// it.
    pub fn knows(self, parameter: &str) -> bool {
        let knows = has_parameter(self.version(), parameter);
        if !knows {
            report_skipped(&format!("the server has no {parameter}"));
        }
        knows
    }

    /// Ends a test: the counts must agree, the server must end with success, and its log
    /// must have no errors except those `expected`.
    #[track_caller]
    pub fn finish(self, server: Server, expected: &[&str]) -> Log {
        self.assert_counts_are_right(&server);
        server.stop(&[self.rejection(), expected].concat())
    }

    /// Ends the server like [`finish`](Self::finish) and starts it again.
    #[track_caller]
    pub fn restart(self, server: Server) -> Server {
        self.assert_counts_are_right(&server);
        server.restart(self.rejection())
    }

    #[track_caller]
    fn assert_counts_are_right(self, server: &Server) {
        if self.has_module() {
            self.assert_audit_clean(server);
            assert_eq!(server.stat("errors"), 0);
        }
    }

    /// Panics when the module's counts are not those of the core. Without
    /// hooks they differ for a moment, while a connection is no longer in the
    /// core's table and not yet closed, or not yet there.
    #[track_caller]
    pub fn assert_audit_clean(self, server: &Server) {
        if self == Self::Interposed {
            until("the audit is clean", || server.audit_is_clean());
        }
        if self == Self::Module {
            server.assert_audit_clean();
        }
    }

    /// Text of the core's log line about a rejected connection.
    fn rejection(self) -> &'static [&'static str] {
        match self {
            Self::Module | Self::Interposed => &[],
            Self::Stock | Self::Unused => &["hit the limit of connections per source IP"],
        }
    }
}

/// Whether the servers have a module of their own with this name. If not, prints that the test
/// is skipped.
pub fn server_has(module: &str) -> bool {
    let path = Servers::from_env().module_path;
    let file = format!("{module}.so");
    let found = path.split(':').any(|folder| {
        let folder = Path::new(folder);
        folder.join(&file).exists() || folder.join(module).join(&file).exists()
    });
    if !found {
        report_skipped(&format!("the server has no {module}"));
    }
    found
}

/// Prints that a test, or a part of it, does not run.
pub fn report_skipped(why: &str) {
    let name = thread::current().name().unwrap_or("a test").to_owned();
    // Not eprintln: the harness shows its output only for a failed test.
    let note = format!("SKIPPED in {name}: {why}\n");
    io::stderr().write_all(note.as_bytes()).expect("stderr");
}

/// Runs a test in the mode [`Mode::Interposed`], where there is one.
pub fn interposed(test: fn(Mode)) {
    if Mode::all().contains(&Mode::Interposed) {
        test(Mode::Interposed);
    } else {
        report_skipped("this version cannot be interposed on");
    }
}

/// Makes one test of each function for every mode.
#[macro_export]
macro_rules! in_every_mode {
    ($($test:ident),* $(,)?) => {
        mod module { $(#[test] fn $test() { super::$test($crate::kamailio::mode::Mode::Module); })* }
        mod interposed { $(#[test] fn $test() { $crate::kamailio::mode::interposed(super::$test); })* }
        mod stock { $(#[test] fn $test() { super::$test($crate::kamailio::mode::Mode::Stock); })* }
        mod unused { $(#[test] fn $test() { super::$test($crate::kamailio::mode::Mode::Unused); })* }
    };
}

/// Makes one test of each function for both modes with our module.
#[macro_export]
macro_rules! attached_either_way {
    ($($test:ident),* $(,)?) => {
        mod attached {
            mod module { $(#[test] fn $test() { super::super::$test($crate::kamailio::mode::Mode::Module); })* }
            mod interposed {
                $(#[test] fn $test() { $crate::kamailio::mode::interposed(super::super::$test); })*
            }
        }
    };
}

/// Makes a test of each function for the mode without hooks.
#[macro_export]
macro_rules! when_interposed {
    ($($test:ident),* $(,)?) => {
        mod alone { $(#[test] fn $test() { $crate::kamailio::mode::interposed(super::$test); })* }
    };
}
