// SPDX-License-Identifier: GPL-2.0-or-later
//! C programs that use the library.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use tcp_conn_limit::ffi::TCL_ABI;

/// The folder with `tests/`.
pub fn root() -> &'static Path {
    let support = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = support.ancestors().nth(2);
    root.expect("this crate is in tests/support")
}

/// The cdylib that cargo built for this test. Next to it is a link with its soname, by
/// which a program that is linked with it finds it.
pub fn library() -> PathBuf {
    const NAME: &str = "libtcp_conn_limit.so";
    let test = std::env::current_exe().unwrap();
    let library = test.with_file_name(NAME);
    assert!(library.exists(), "{} is missing", library.display());
    let link = test.with_file_name(format!("{NAME}.{TCL_ABI}"));
    match symlink(NAME, &link) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            panic!("{}: {error}", link.display())
        }
        _ => library,
    }
}

/// The compiler with the flags that all programs need, which include those of a
/// sanitizer if the library is built with one (`make sanitize`). The programs find the
/// header of the library, and `host.h`, which they share.
pub fn compiler() -> Command {
    let mut command = Command::new("cc");
    let flags = std::env::var("TCL_TEST_CFLAGS").unwrap_or_default();
    command
        .args(flags.split_whitespace())
        .args(["-Wall", "-Wextra", "-Werror", "-g", "-O1"])
        .arg("-I")
        .arg(root().join("include"))
        .arg("-I")
        .arg(root().join("tests/support/c"));
    command
}

/// The flags that link a program with the library.
pub fn link_flags() -> [String; 3] {
    let library = library();
    let folder = library.parent().expect("a file has a folder").display();
    [
        format!("-L{folder}"),
        format!("-Wl,-rpath,{folder}"),
        "-ltcp_conn_limit".to_owned(),
    ]
}

/// Runs `command`, which must succeed.
pub fn run(command: &mut Command) {
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
