// SPDX-License-Identifier: GPL-2.0-or-later
//! What tests share that build programs in C and run them.

use std::path::PathBuf;
use std::process::Command;

/// The cdylib that belongs to this test, where cargo put it.
pub(crate) fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libtcp_conn_limit.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// Runs `command`, which must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command
        // cargo's would find what `cargo build` left behind, which may be old
        .env_remove("LD_LIBRARY_PATH")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
}
