// SPDX-License-Identifier: GPL-2.0-or-later
//! A C program uses every function of the library through its header, once directly and
//! once under valgrind. The program that checks rules files does what its help says.

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
    assert_eq!((status, out), (Some(1), is_valid.clone()));
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
    for arguments in [
        ["--list", "--nat64", "2001:db8:65::/96"],
        ["--nat64", "2001:db8:65::/96", "--list"],
    ] {
        let (status, out, _) = check(&[&arguments[..], &[&good]].concat());
        assert_eq!(status, Some(0));
        assert!(out.ends_with(&format!("\n# {is_valid}")), "{out}");
    }
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

/// The program that checks rules files, compiled against the library.
struct CheckRules {
    dir: tempfile::TempDir,
    program: PathBuf,
}

impl CheckRules {
    fn new() -> CheckRules {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("check-rules");
        run(compiler()
            .arg("-std=c11")
            .arg(root().join("kamailio-glue/tools/check-rules.c"))
            .args(link_flags())
            .arg("-o")
            .arg(&program));
        CheckRules { dir, program }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The exit status, and what the program writes to its two outputs.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let ended = Command::new(&self.program)
            .args(arguments)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended.status.code(), text(ended.stdout), text(ended.stderr))
    }
}

#[test]
fn check_rules_lists_rules_as_a_rules_file() {
    let check = CheckRules::new();
    let rules = check.file(
        "rules",
        "# a head\n10.1.0.0/16=5 exempt burst=20 rate=600/m\n\n10.0.0.0/8 = unlimited\n",
    );
    let ok = format!("{rules}: ok, rules: 2\n");
    assert_eq!(check.run(&[&rules]), (Some(0), ok.clone(), String::new()));
    let (code, listed, errors) = check.run(&["--list", &rules]);
    assert_eq!((code, &*errors), (Some(0), ""));
    assert_eq!(
        listed,
        format!(
            "10.0.0.0/8 = none # file:4\n\
             10.1.0.0/16 = 5 rate=10/s burst=20 exempt # file:2\n\
             # {ok}"
        )
    );
    let again = check.file("again", &listed);
    let (code, listed_again, _) = check.run(&["--list", &again]);
    let rules_of = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split('#').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(code, Some(0));
    assert_eq!(rules_of(&listed_again), rules_of(&listed));
}

#[test]
fn check_rules_reports_wrong_words_with_their_lines() {
    let check = CheckRules::new();
    let wrong = check.file(
        "wrong",
        "10.0.0.0/8=5\n10.1.0.0/16=5 rat=1/s\n10.2.0.0/16=5 rate=1\n",
    );
    let right = check.file("right", "10.0.0.0/8=5\n");
    let (code, shown, errors) = check.run(&["--list", &wrong, &right]);
    assert_eq!(code, Some(1));
    assert_eq!(
        errors,
        format!(
            "{wrong}:2: `10.1.0.0/16=5 rat=1/s`: unknown word `rat`; did you mean `rate`?\n\
             {wrong}:3: `10.2.0.0/16=5 rate=1`: invalid rate `1`: expected one like 10/s, \
             100/m or 2/h, or none\n"
        )
    );
    assert_eq!(
        shown,
        format!("10.0.0.0/8 = 5 # file:1\n# {right}: ok, rules: 1\n")
    );
    let (code, _, errors) = check.run(&["/nowhere"]);
    assert_eq!(code, Some(1));
    assert!(errors.starts_with("cannot read /nowhere: "), "{errors}");
}

#[test]
fn check_rules_shows_the_grammar() {
    let check = CheckRules::new();
    let (code, help, errors) = check.run(&["--help"]);
    assert_eq!((code, &*errors), (Some(0), ""));
    let among_others = ["--list", "--help", "--nat64", "2001:db8:64::/96"];
    assert_eq!(check.run(&among_others).1, help);
    for text in [
        "usage: ",
        "PREFIX = LIMIT [rate=10/s] [burst=20] [exempt] [listener=192.0.2.1:5060] \
         [untrusted=20] [trusted] [no_network] [cluster=100] [proxy]\n",
        "\n  burst=20 ",
    ] {
        assert!(help.contains(text), "{help}");
    }
    for arguments in [
        &[][..],
        &["--list"],
        &["--what", "file"],
        &["--list", "--nat64"],
    ] {
        let (code, shown, errors) = check.run(arguments);
        assert_eq!((code, &*shown), (Some(2), ""));
        assert!(errors.starts_with("usage: "), "{errors}");
    }
}
