// SPDX-License-Identifier: GPL-2.0-or-later
//! Helpers of the tests that build programs in C and run them.

use std::path::PathBuf;
use std::process::Command;

/// The cdylib that cargo built for this test.
pub(crate) fn library() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name("libtcp_conn_limit.so");
    assert!(library.exists(), "{} is missing", library.display());
    library
}

/// The compiler with the flags that all programs need: those of a sanitizer if the
/// library is built with one (`make sanitize`).
pub(crate) fn compiler() -> Command {
    let mut command = Command::new("cc");
    let flags = std::env::var("TCL_TEST_CFLAGS").unwrap_or_default();
    command.args(flags.split_whitespace());
    command
}

/// Runs `command`, which must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command
        // With cargo's value the program might load an old library from `cargo build`.
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
