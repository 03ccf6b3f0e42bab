// SPDX-License-Identifier: GPL-2.0-or-later
//! C programs whose `accept` and `close` are replaced, linked in all the ways that make
//! a difference. They accept real connections, see `host.c`.

#[path = "../c_program.rs"]
mod c_program;

use std::path::{Path, PathBuf};
use std::process::Command;

use c_program::{compiler, library, run};
use tempfile::TempDir;

struct Program {
    dir: TempDir,
}

impl Program {
    fn compile(source: &str, flags: &[&str]) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let program = Program { dir };
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let library = library();
        let folder = library.parent().unwrap();
        let mut command = compiler();
        command
            .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-O1"])
            .arg("-I")
            .arg(root.join("include"))
            .args(flags.iter().filter(|flag| !flag.starts_with("-Wl")))
            .arg(root.join("tests/interpose").join(source))
            .args(flags.iter().filter(|flag| flag.starts_with("-Wl")))
            .arg("-o")
            .arg(program.path());
        if !flags.contains(&"-DBY_DLOPEN") {
            command
                .arg("-L")
                .arg(folder)
                .arg(format!("-Wl,-rpath,{}", folder.display()))
                .arg("-ltcp_conn_limit");
        }
        run(&mut command);
        program
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("program")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.path());
        command.env_remove("LD_BIND_NOW");
        command
    }
}

/// Runs the host with its GOT entries resolved at the first call, and at the start.
fn host(flags: &[&str], steps: u32) {
    let program = Program::compile("host.c", flags);
    let command = || {
        let mut command = program.command();
        command.arg(library()).arg(steps.to_string());
        command
    };
    run(&mut command());
    run(command().env("LD_BIND_NOW", "1"));
}

/// Leaks are not checked, because the counting state stays until the process ends.
#[test]
fn host_has_no_memory_errors_under_valgrind() {
    let program = Program::compile("host.c", &[NOW]);
    let mut command = Command::new("valgrind");
    command.arg("--error-exitcode=99").arg(program.path());
    run(command.arg(library()).arg("50"));
}

const NOW: &str = "-Wl,-z,now,-z,relro";
const LAZY: &str = "-Wl,-z,lazy,-z,relro";
const NOT_SEALED: &str = "-Wl,-z,lazy,-z,norelro";

#[test]
fn default_linker_flags() {
    host(&[], 20_000);
}

#[test]
fn eager_binding_with_read_only_got() {
    host(&[NOW], 500);
}

#[test]
fn lazy_binding() {
    host(&[LAZY], 500);
    host(&[NOT_SEALED], 500);
}

#[test]
fn no_procedure_linkage_table() {
    for binding in [NOW, LAZY, NOT_SEALED] {
        host(&["-fno-plt", binding], 100);
    }
}

#[test]
fn fixed_address_executable() {
    for binding in [NOW, LAZY, NOT_SEALED] {
        host(&["-no-pie", "-fno-pie", binding], 100);
    }
    host(&["-no-pie", "-fno-pie", "-fno-plt"], 100);
}

/// In an executable at a fixed address, the address of a function is that of the
/// executable's own jump to it.
#[test]
fn functions_called_through_pointers() {
    for binding in [NOW, LAZY] {
        host(&["-DTAKES_ADDRESS", binding], 100);
        host(&["-DTAKES_ADDRESS", "-no-pie", "-fno-pie", binding], 100);
        host(&["-DTAKES_ADDRESS", "-fno-plt", binding], 100);
    }
}

#[test]
fn host_that_uses_accept4() {
    for binding in [NOW, LAZY] {
        host(&["-DACCEPT4", binding], 100);
    }
}

#[test]
fn library_loaded_with_dlopen() {
    for binding in [NOW, LAZY] {
        host(&["-DBY_DLOPEN", binding], 100);
        host(&["-DBY_DLOPEN", "-no-pie", "-fno-pie", binding], 100);
        let flags = ["-DBY_DLOPEN", "-DTAKES_ADDRESS", "-no-pie", "-fno-pie"];
        host(&[&flags[..], &[binding]].concat(), 100);
    }
}

/// The descriptors are beyond the table, whatever the limit of open files of this machine.
#[test]
fn connections_with_untracked_descriptors_obey_on_full() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = dir.path().join("libnumbers.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interpose/numbers.c");
    run(compiler()
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-g", "-O1"])
        .args(["-shared", "-fPIC", "-o"])
        .args([&numbers, &source]));
    let link = format!("-Wl,{},-rpath,{}", numbers.display(), dir.path().display());
    let program = Program::compile("untracked.c", &[&link]);
    for policy in ["admit", "reject"] {
        run(program.command().arg(policy));
    }
}

#[test]
fn threads_that_accept_and_close_are_counted_exactly() {
    run(&mut Program::compile("threads.c", &["-pthread"]).command());
}

#[test]
fn unsupported_executables_are_refused_by_name() {
    for (flags, word) in [
        (&["-DNO_ACCEPT"][..], "accept"),
        (&["-DNO_CLOSE"], "close"),
        (&["-DCLOSE_OF_ITS_OWN"], "close"),
        (&["-DCLOSE_IN_DATA"], "unsupported relocation"),
        (
            &["-DCLOSE_IN_DATA", "-fno-plt", NOW],
            "unsupported relocation",
        ),
    ] {
        let program = Program::compile("refused.c", flags);
        run(program.command().arg(word));
    }
}
