// SPDX-License-Identifier: GPL-2.0-or-later

//! Configurations with which the server does not start, and the errors that it logs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSection, ObjectSymbol};
use tcp_conn_limit::ffi::TCL_ABI;
use tempfile::TempDir;

use support::kamailio::{Config, Servers};

const MODULE: &str = "tcp_conn_limit.so";

/// The file name of its library.
fn library() -> String {
    format!("libtcp_conn_limit.so.{TCL_ABI}")
}

/// The directory of our module.
fn module_dir() -> PathBuf {
    let path = Servers::from_env().module_path;
    let mut dirs = path.split(':').map(PathBuf::from);
    dirs.find(|dir| dir.join(MODULE).exists())
        .unwrap_or_else(|| panic!("no {MODULE} in {path}"))
}

/// A directory with a copy of our module and its library.
fn copy_of_module() -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in [MODULE, &library()] {
        fs::copy(module_dir().join(file), copy.path().join(file)).expect("a file can be copied");
    }
    copy
}

/// The path of our module in another directory, for `loadmodule`.
fn module_in(dir: &Path) -> String {
    dir.join(MODULE).display().to_string()
}

#[test]
fn core_with_another_hook_abi_is_refused() {
    let servers = Servers::from_env();
    let program = fs::read(&servers.hooked).expect("the server can be read");
    let abi = offset_in(&program, "ksr_tcp_conn_hooks_abi");
    let ours = u32::from_ne_bytes(program[abi..][..4].try_into().expect("four bytes"));
    for theirs in [ours - 1, ours + 6] {
        let mut program = program.clone();
        program[abi..][..4].copy_from_slice(&theirs.to_ne_bytes());
        hook_abi_is_refused(&servers, program, theirs, ours);
    }
}

/// The server `program` has the hooks ABI `theirs`, our module has `ours`.
fn hook_abi_is_refused(servers: &Servers, program: Vec<u8>, theirs: u32, ours: u32) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("kamailio");
    fs::write(&copy, program).expect("the copy can be written");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the copy is ours");

    let config = Config::new(&copy, &servers.module_path);
    let log = config.module(MODULE).start_fails();
    let theirs = format!("this server has hooks ABI {theirs}");
    let ours = format!("built for hooks ABI {ours}");
    log.assert_error(&[&theirs, &ours, "make unpatch", "make patch"]);
}

/// The offset in the file of what a program or library exports by this name.
fn offset_in(file: &[u8], name: &str) -> usize {
    let object = object::File::parse(file).expect("an ELF file");
    let symbol = object
        .dynamic_symbols()
        .find(|symbol| symbol.name() == Ok(name))
        .unwrap_or_else(|| panic!("no symbol {name}"));
    let section = symbol.section_index().expect("it is defined");
    let section = object.section_by_index(section).expect("it has a section");
    let (start, _) = section.file_range().expect("it is in the file");
    (start + symbol.address() - section.address()) as usize
}

/// The machine code of a function that returns 99.
const RETURN_99: &[u8] = if cfg!(target_arch = "x86_64") {
    b"\xb8\x63\0\0\0\xc3"
} else {
    // aarch64
    b"\x60\x0c\x80\x52\xc0\x03\x5f\xd6"
};

#[test]
fn library_of_another_abi_is_refused() {
    let copy = copy_of_module();
    let path = copy.path().join(library());
    let mut bytes = fs::read(&path).expect("the library can be read");
    let function = offset_in(&bytes, "tcl_abi");
    bytes[function..][..RETURN_99.len()].copy_from_slice(RETURN_99);
    fs::write(&path, bytes).expect("the copy can be written");

    let log = Config::hooked()
        .module(&module_in(copy.path()))
        .start_fails();
    let module = format!("module ABI {TCL_ABI}");
    log.assert_error(&["library ABI 99", &module, "from one build"]);
}

#[test]
fn module_without_its_library_is_refused() {
    let copy = copy_of_module();
    let named_by_another_abi = copy.path().join("libtcp_conn_limit.so.99");
    fs::rename(copy.path().join(library()), named_by_another_abi).expect("a file can be renamed");

    let log = Config::hooked()
        .module(&module_in(copy.path()))
        .start_fails();
    // The core logs this.
    assert!(
        log.contains(&format!("{}: cannot open", library())),
        "{log}"
    );
}

#[test]
fn parameter_out_of_range_is_refused() {
    for (name, value, range) in [
        ("ipv4_prefix", 0, "1 to 32"),
        ("ipv4_prefix", 33, "1 to 32"),
        ("ipv4_prefix", -1, "1 to 32"),
        ("ipv6_prefix", 0, "1 to 128"),
        ("ipv6_prefix", 129, "1 to 128"),
        ("ipv6_prefix", i64::from(i32::MIN), "1 to 128"),
        ("log_interval", 0, "1 to 86400"),
        ("log_interval", -1, "1 to 86400"),
        ("log_interval", 86_401, "1 to 86400"),
        ("log_level", -6, "-5 to 3"),
        ("log_level", 4, "-5 to 3"),
    ] {
        let log = Config::with_module().param(name, value).start_fails();
        log.assert_error(&[name, &value.to_string(), range]);
    }
}

#[test]
fn parameter_of_the_wrong_type_is_refused() {
    for name in [
        "tcp_conn_limit",
        "ipv4_prefix",
        "ipv6_prefix",
        "log_interval",
        "log_level",
    ] {
        let log = Config::with_module().text_param(name, "many").start_fails();
        log.assert_error(&[name, "\"many\"", "number"]);
    }
    for name in [
        "attach",
        "nat64_prefix",
        "rule",
        "rules_file",
        "mode",
        "on_full",
        "event_callback",
    ] {
        let log = Config::with_module().param(name, 5).start_fails();
        log.assert_error(&[name, "5", "string"]);
    }
}

#[test]
fn unknown_word_in_a_parameter_is_refused() {
    for (name, word, known) in [
        ("attach", "patch", ["auto", "hooks", "interpose"].as_slice()),
        ("attach", "", &["auto", "hooks", "interpose"]),
        ("mode", "strict", &["enforce", "monitor", "off"]),
        ("mode", "", &["enforce", "monitor", "off"]),
        ("mode", "Monitor", &["enforce", "monitor", "off"]),
        ("on_full", "ignore", &["admit", "reject"]),
        ("on_full", "", &["admit", "reject"]),
    ] {
        let log = Config::with_module().text_param(name, word).start_fails();
        log.assert_error(&[&[name, word], known].concat());
    }
}

#[test]
fn too_little_shared_memory_is_refused() {
    // This is enough for the server itself, but not for a table for this many
    // connections.
    let log = Config::with_module()
        .core("tcp_max_connections=50000000")
        .run_by(&["prlimit", "--as=2000000000"])
        .start_fails();
    log.assert_error(&["shared memory", "tcp_max_connections"]);
}

#[test]
fn disabled_tcp_is_refused() {
    let log = Config::with_module().core("disable_tcp=yes").start_fails();
    log.assert_error(&["TCP is disabled"]);
}

#[test]
fn loading_twice_is_refused() {
    let copy = copy_of_module();
    for again in [MODULE, &module_in(copy.path())] {
        let log = Config::with_module().module(again).start_fails();
        // Depending on the version, the core itself rejects this.
        let texts = ["already", "same module twice"];
        assert!(texts.iter().any(|text| log.contains(text)), "{log}");
    }
}
