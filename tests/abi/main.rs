// SPDX-License-Identifier: GPL-2.0-or-later
//! A C program uses every function of the library through its header, once directly and
//! once under valgrind. Another one is the program that checks rules files.

use std::path::{Path, PathBuf};
use std::process::Command;

use support::programs::{compiler, link_flags, root, run};

fn compile(into: &Path) -> PathBuf {
    compile_file("tests/abi/abi.c", into)
}

fn compile_file(file: &str, into: &Path) -> PathBuf {
    let program = into.join("program");
    run(compiler()
        .arg("-std=c11")
        .arg(root().join(file))
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
fn program_checks_rules_files() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile_file("kamailio-glue/tools/check-rules.c", dir.path());
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let good = file("good", "10.0.0.0/8 = 5\n2001:db8:64::192.0.2.1 = none\n");
    let bad = file("bad", "10.0.0.0/8\n10.1.0.0/16 = 5\n10.2.0.0/16 = 0\n");
    // The exit status, and what is printed about valid and invalid files.
    let check = |arguments: &[&str]| {
        let output = Command::new(&program)
            .args(arguments)
            .env_remove("LD_LIBRARY_PATH")
            .output()
            .unwrap();
        let [out, err] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
        (output.status.code(), out, err)
    };
    let is_valid = format!("{good}: ok, rules: 2\n");
    assert_eq!(check(&[&good]), (Some(0), is_valid.clone(), String::new()));
    let (status, out, err) = check(&[&bad, &good, "/nowhere"]);
    assert_eq!((status, out), (Some(1), is_valid));
    let lines: Vec<&str> = err.lines().collect();
    let begins = [
        format!("{bad}:1: `10.0.0.0/8`: `=` is missing"),
        format!("{bad}:3: `10.2.0.0/16 = 0`: a limit must be at least 1"),
        "cannot read /nowhere: ".to_owned(),
    ];
    assert_eq!(lines.len(), begins.len(), "{err}");
    for (line, begin) in lines.iter().zip(&begins) {
        assert!(line.starts_with(begin), "{line}");
    }

    let translator = ["--nat64", "2001:db8:65::/96", "--nat64", "2001:db8:64::/96"];
    let (status, out, err) = check(&[&translator[..], &[&good]].concat());
    assert_eq!((status, &*out), (Some(1), ""));
    assert!(
        err.contains(":2: ") && err.contains("; write 192.0.2.1"),
        "{err}"
    );
    let (status, _, err) = check(&["--nat64", "2001:db8::/33", &good]);
    assert_eq!(status, Some(1));
    assert!(err.starts_with("nat64_prefix `2001:db8::/33`: "), "{err}");

    let many = translator[..2].repeat(17);
    for wrong in [
        &[][..],
        &["--nat64", "::/96"],
        &["--other", &good],
        &[&many[..], &[&good]].concat(),
    ] {
        let (status, out, err) = check(wrong);
        assert_eq!((status, &*out), (Some(2), ""), "{wrong:?}");
        assert!(
            err.contains("usage: ") || err.contains("at most 16"),
            "{err}"
        );
    }
    let (status, out, _) = check(&["--help"]);
    assert!(status == Some(0) && out.starts_with("usage: "), "{out}");
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
