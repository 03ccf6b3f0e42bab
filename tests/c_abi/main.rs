// SPDX-License-Identifier: GPL-2.0-or-later
//! A C program uses every function of the library through its header, once directly and
//! once under valgrind.

#[path = "../c_program.rs"]
mod c_program;

use std::path::{Path, PathBuf};
use std::process::Command;

use c_program::{compiler, library, run};

fn compile(into: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = into.join("abi");
    let library = library();
    let folder = library.parent().unwrap();
    run(compiler()
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-g", "-O1"])
        .arg("-I")
        .arg(root.join("include"))
        .arg(root.join("tests/c_abi/abi.c"))
        .arg("-L")
        .arg(folder)
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .arg("-ltcp_conn_limit")
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
