// SPDX-License-Identifier: GPL-2.0-or-later
//! A C program uses every function of the library through its header, once directly and
//! once under valgrind.

use std::path::{Path, PathBuf};
use std::process::Command;

use support::programs::{compiler, link_flags, root, run};

fn compile(into: &Path) -> PathBuf {
    let program = into.join("abi");
    run(compiler()
        .arg("-std=c11")
        .arg(root().join("tests/abi/abi.c"))
        .args(link_flags())
        .arg("-o")
        .arg(&program));
    program
}

#[test]
fn every_function_works_from_c() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new(compile(dir.path())).arg(dir.path()));
}

#[test]
fn every_function_works_from_c_under_valgrind() {
    let dir = tempfile::tempdir().unwrap();
    run(Command::new("valgrind")
        .args(["--error-exitcode=99", "--leak-check=full"])
        // Not "possible": a map that is never freed points into its allocation.
        .args(["--show-leak-kinds=definite,indirect"])
        .args(["--errors-for-leak-kinds=definite,indirect"])
        .arg(compile(dir.path()))
        .arg(dir.path()));
}
