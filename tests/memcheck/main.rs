// SPDX-License-Identifier: GPL-2.0-or-later

//! memcheck: a whole life of a real Kamailio with the module, all of its processes
//! under valgrind.
//!
//! ```text
//! main ─┬─ life       what happens to the server
//!       └─ findings   what valgrind says of it, and of whose code
//! ```
//!
//! An error or a leak fails the test when a frame of ours is in one of its stacks.
//! What the core does without us is counted and told. Valgrind sees what was taken
//! by `malloc`, which is all that the library takes. Kamailio's modules take theirs
//! from a pool of the process; what the module still has of it at the end is told by
//! Kamailio itself, for each place in the code, and must be what it keeps for good.
#![forbid(unsafe_code)]

mod findings;
#[allow(dead_code, unused_imports, reason = "the tests use more of it")]
#[path = "../kamailio/harness/mod.rs"]
mod harness;
mod life;
#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the tests use more of it"
)]
#[path = "../kamailio/mode.rs"]
mod mode;

use std::io::{self, Write};
use std::time::Instant;

use findings::Report;
use harness::Log;
use mode::{Mode, interposed};

#[test]
fn attached_by_hooks() {
    whole_life(Mode::Module);
}

#[test]
fn attached_by_interposing() {
    interposed(whole_life);
}

fn whole_life(mode: Mode) {
    let began = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let logs = format!("--log-file={}/%p", folder.path().display());
    let config = life::config(mode).run_by(&[
        "valgrind",
        "--leak-check=full",
        // Indirect: what only something lost points to.
        "--show-leak-kinds=definite,indirect,possible",
        // See `findings`.
        "--track-origins=yes",
        // Calls of ours are to be seen from deep below, and through inlining.
        "--num-callers=60",
        "--child-silent-after-fork=no",
        &logs,
    ]);
    let (log, pids) = life::live(mode, config);
    let reports = Report::read_all(folder.path());
    for pid in &pids {
        let report = reports.iter().find(|report| report.pid == *pid);
        assert!(
            report.is_some_and(|report| report.is_whole),
            "valgrind did not come to an end with {pid} of {pids:?}\n{log}"
        );
    }
    let findings = || reports.iter().flat_map(|report| &report.findings);
    let (ours, others): (Vec<_>, Vec<_>) = findings().partition(|finding| finding.is_ours());
    let texts: Vec<_> = ours.iter().map(ToString::to_string).collect();
    assert!(texts.is_empty(), "of ours:\n{}", texts.join("\n"));
    assert_pool_is_clean(&log);
    let leaks = others.iter().filter(|finding| finding.is_leak()).count();
    let line = format!(
        "memcheck: {}: {} processes, none of ours: 0 errors, 0 leaks; \
         of Kamailio alone: {} errors, {leaks} leaks; {} s\n",
        mode.attached(),
        reports.len(),
        others.len() - leaks,
        began.elapsed().as_secs(),
    );
    // Not println, which nobody sees unless a test fails.
    io::stderr().write_all(line.as_bytes()).expect("stderr");
}

/// Of Kamailio's memory of each process the module has at the end what it keeps
/// for good: its rules.
#[track_caller]
fn assert_pool_is_clean(log: &Log) {
    // count= 2 size= 96 bytes from tcp_conn_limit: tcm_params.c: rule_param(49)
    let of_ours = log.lines_with("bytes from tcp_conn_limit: ");
    assert!(!of_ours.is_empty(), "nothing is told of the pool:\n{log}");
    let lost: Vec<_> = of_ours
        .into_iter()
        .filter(|line| !line.contains(": tcm_params.c: "))
        .collect();
    assert!(lost.is_empty(), "left in the pool: {lost:#?}");
}
