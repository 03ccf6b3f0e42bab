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

/// The compiler, with the flags that all programs are to be built with: those of a
/// sanitizer, if the library is built with it (`make sanitize`).
pub(crate) fn compiler() -> Command {
    let mut command = Command::new("cc");
    let flags = std::env::var("TCL_TEST_CFLAGS").unwrap_or_default();
    command.args(flags.split_whitespace());
    command
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
