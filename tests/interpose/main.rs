// SPDX-License-Identifier: GPL-2.0-or-later
//! C programs whose `accept` and `close` are replaced, linked in all the ways that make
//! a difference. They accept real connections, see `host.c`.

use std::path::PathBuf;
use std::process::Command;

use support::programs::{compiler, library, link_flags, root, run};
use tempfile::TempDir;

struct Program {
    dir: TempDir,
}

impl Program {
    fn compile(source: &str, flags: &[&str]) -> Program {
        let dir = tempfile::tempdir().unwrap();
        let program = Program { dir };
        let mut command = compiler();
        command
            .arg("-std=gnu11")
            .args(flags.iter().filter(|flag| !flag.starts_with("-Wl")))
            .arg(root().join("tests/interpose").join(source))
            .args(flags.iter().filter(|flag| flag.starts_with("-Wl")))
            .arg("-o")
            .arg(program.path());
        if !flags.contains(&"-DBY_DLOPEN") {
            command.args(link_flags());
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
fn host_with_default_linker_flags_is_counted_exactly() {
    host(&[], 20_000);
}

#[test]
fn host_with_eager_binding_is_counted_exactly() {
    host(&[NOW], 500);
}

#[test]
fn host_with_lazy_binding_is_counted_exactly() {
    host(&[LAZY], 500);
    host(&[NOT_SEALED], 500);
}

#[test]
fn host_without_procedure_linkage_table_is_counted_exactly() {
    for binding in [NOW, LAZY, NOT_SEALED] {
        host(&["-fno-plt", binding], 100);
    }
}

#[test]
fn host_at_a_fixed_address_is_counted_exactly() {
    for binding in [NOW, LAZY, NOT_SEALED] {
        host(&["-no-pie", "-fno-pie", binding], 100);
    }
    host(&["-no-pie", "-fno-pie", "-fno-plt"], 100);
}

/// In an executable at a fixed address, the address of a function is that of a jump to it
/// in the executable.
#[test]
fn calls_through_pointers_are_counted_exactly() {
    for binding in [NOW, LAZY] {
        host(&["-DTAKES_ADDRESS", binding], 100);
        host(&["-DTAKES_ADDRESS", "-no-pie", "-fno-pie", binding], 100);
        host(&["-DTAKES_ADDRESS", "-fno-plt", binding], 100);
    }
}

#[test]
fn accept4_is_counted_exactly() {
    for binding in [NOW, LAZY] {
        host(&["-DACCEPT4", binding], 100);
    }
}

#[test]
fn library_loaded_with_dlopen_counts_exactly() {
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
    let source = root().join("tests/interpose/numbers.c");
    run(compiler()
        .args(["-std=gnu11", "-shared", "-fPIC", "-o"])
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
