// SPDX-License-Identifier: GPL-2.0-or-later

//! The state that our module leaves when it detaches from a server as released.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::kamailio::mode::{Mode, when_interposed};
use support::kamailio::{Via, source};

when_interposed!(detach_restores_the_limit_of_the_core);

const AT_EXIT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/kamailio/attachment/at_exit.c"
);

/// Compiles the library that prints the core's limit at the end of a process.
fn compile(to: &Path) {
    let status = Command::new("cc")
        .args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"])
        .args([to, Path::new(AT_EXIT)])
        .status()
        .expect("cc can be run");
    assert!(status.success(), "cc: {status}");
}

fn detach_restores_the_limit_of_the_core(mode: Mode) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let at_exit = dir.path().join("at_exit.so");
    compile(&at_exit);
    // A sanitizer's runtime must stay the first preloaded library.
    let before = env::var("LD_PRELOAD").unwrap_or_default();
    let preloaded = PathBuf::from(format!("{before} {}", at_exit.display()));
    let server = mode
        .with_module()
        .limit(2)
        .core("tcp_accept_iplimit=77")
        .environment("LD_PRELOAD", &preloaded)
        .start();
    let _held = server.admit_all(2, Via::Tcp, source(100, 0, 1));
    server.reject(Via::Tcp, source(100, 0, 1));
    let main = fs::read_to_string(server.dir().join("kamailio.pid")).expect("a file with the pid");
    let main = main.trim();
    let log = mode.finish(server, &[]);
    let line = format!("at exit of {main}: limit of the core 77");
    assert_eq!(log.lines_with(&line).len(), 1, "{log}");
}
