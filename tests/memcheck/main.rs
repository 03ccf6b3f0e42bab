// SPDX-License-Identifier: GPL-2.0-or-later

//! memcheck: a real Kamailio with the module from start to end, with all its processes under
//! valgrind.
//!
//! ```text
//! main ─┬─ life       what happens to the server
//!       └─ findings   valgrind's findings, and whether they are ours
//! ```
//!
//! An error or a leak fails the test if a frame of this project is in one of its stacks.
//! Findings in the core alone are counted and printed. Valgrind sees memory from `malloc`,
//! which is all that the library allocates. Kamailio's modules allocate from a pool of the
//! process. At the end Kamailio logs what the module still has of that pool, with the file
//! and line that allocated it; only what the module keeps on purpose may be left.
#![forbid(unsafe_code)]

mod findings;
mod life;

use std::io::{self, Write};
use std::time::Instant;

use findings::Report;
use support::kamailio::Log;
use support::kamailio::mode::{Mode, interposed};

#[test]
fn hooks_have_no_error_or_leak_from_start_to_end() {
    whole_life(Mode::Module);
}

#[test]
fn interposing_has_no_error_or_leak_from_start_to_end() {
    interposed(whole_life);
}

fn whole_life(mode: Mode) {
    let began = Instant::now();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let logs = format!("--log-file={}/%p", folder.path().display());
    let config = life::config(mode).run_by(&[
        "valgrind",
        "--leak-check=full",
        // Indirect: blocks that only lost blocks point to.
        "--show-leak-kinds=definite,indirect,possible",
        // See `findings`.
        "--track-origins=yes",
        // Deep enough to show frames of this project under calls and inlined functions.
        "--num-callers=60",
        "--child-silent-after-fork=no",
        &logs,
    ]);
    let (log, pids) = life::live(mode, config);
    let reports = Report::read_all(folder.path());
    for pid in &pids {
        let report = reports.iter().find(|report| report.pid == *pid);
        assert!(
            report.is_some_and(|report| report.is_complete),
            "valgrind did not complete its report of {pid}, of {pids:?}\n{log}"
        );
    }
    let findings = || reports.iter().flat_map(|report| &report.findings);
    let (ours, others): (Vec<_>, Vec<_>) = findings().partition(|finding| finding.is_ours());
    let texts: Vec<_> = ours.iter().map(ToString::to_string).collect();
    assert!(
        texts.is_empty(),
        "findings in this project:\n{}",
        texts.join("\n")
    );
    assert_pool_is_clean(&log);
    let leaks = others.iter().filter(|finding| finding.is_leak()).count();
    let line = format!(
        "memcheck: {}: {} processes; in this project: 0 errors, 0 leaks; \
         in Kamailio alone: {} errors, {leaks} leaks; {} s\n",
        mode.attached(),
        reports.len(),
        others.len() - leaks,
        began.elapsed().as_secs(),
    );
    // The test harness shows what println!() writes only if a test fails.
    io::stderr().write_all(line.as_bytes()).expect("stderr");
}

/// Checks that at the end the module has only its rules left in the memory pool of each
/// process, which it keeps on purpose.
#[track_caller]
fn assert_pool_is_clean(log: &Log) {
    // A line reads: count= 2 size= 96 bytes from tcp_conn_limit: tcm_params.c: rule_param(49)
    let of_ours = log.lines_with("bytes from tcp_conn_limit: ");
    assert!(
        !of_ours.is_empty(),
        "the log has no line about the pool:\n{log}"
    );
    let lost: Vec<_> = of_ours
        .into_iter()
        .filter(|line| !line.contains(": tcm_params.c: "))
        .collect();
    assert!(lost.is_empty(), "left in the pool: {lost:#?}");
}
