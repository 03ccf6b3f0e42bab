// SPDX-License-Identifier: GPL-2.0-or-later
//! A C program uses every function of the library through its header, once on its
//! own and once under valgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder in which cargo put the cdylib that belongs to this test: its own.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let dir = test.parent().unwrap();
    let library = dir.join("libtcp_conn_limit.so");
    assert!(library.exists(), "{} is missing", library.display());
    dir.to_owned()
}

fn compile(into: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = into.join("abi");
    run(Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1"])
        .arg("-I")
        .arg(root.join("include"))
        .arg(root.join("tests/c_abi/abi.c"))
        .arg("-L")
        .arg(library_dir())
        .arg(format!("-Wl,-rpath,{}", library_dir().display()))
        .arg("-ltcp_conn_limit")
        .arg("-o")
        .arg(&program));
    program
}

fn run(command: &mut Command) {
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

#[test]
fn every_function_from_c() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new(compile(dir.path())).arg(dir.path()));
}

#[test]
fn every_function_from_c_under_valgrind() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("valgrind")
        .args(["--error-exitcode=99", "--leak-check=full"])
        // not "possible": a map that lives for ever points into its allocation
        .args(["--show-leak-kinds=definite,indirect"])
        .args(["--errors-for-leak-kinds=definite,indirect"])
        .arg(compile(dir.path()))
        .arg(dir.path()));
}
