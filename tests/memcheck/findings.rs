// SPDX-License-Identifier: GPL-2.0-or-later

//! What valgrind wrote: a file for each process, in text.
//!
//! Not in XML: there, valgrind 3.19 leaves out what it finds in a process made by
//! `fork`.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

/// What a frame of ours has in its name or file: of the module's C all is in files
/// `tcm_*.c` and `tcp_conn_limit_mod.c`, of the library all is called by functions of
/// these names, and the hooks in the core are ours, too.
const OURS: [&str; 4] = ["tcl_", "tcm_", "tcp_conn_limit", "tcp_conn_hooks"];

/// Before the stack on which a value was made that has not been set.
const MADE_ON_STACK: &str = "value was created by a stack allocation";

/// A map that allocates.
const MAP: &str = "hashbrown::raw::RawTable";

/// What valgrind says of a process.
pub(crate) struct Report {
    pub(crate) pid: u64,
    pub(crate) findings: Vec<Finding>,
    /// It says all: the process ended and was looked at.
    pub(crate) is_whole: bool,
}

impl Report {
    /// The reports in a folder, each with the number of its process as its name.
    pub(crate) fn read_all(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).expect("the reports can be listed");
        let paths = entries.map(|entry| entry.expect("a report").path());
        paths.map(|path| Self::read(&path)).collect()
    }

    fn read(path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str());
        let pid = name.and_then(|name| name.parse().ok());
        let bytes = fs::read(path).expect("a report can be read");
        let pid = pid.expect("the report of a process has its number as name");
        Self::of(pid, &String::from_utf8_lossy(&bytes))
    }

    fn of(pid: u64, text: &str) -> Self {
        // ==123== Invalid write of size 1
        let mark = format!("=={pid}==");
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&mark))
            .collect();
        let paragraphs = lines.split(|line| line.trim().is_empty());
        Self {
            pid,
            findings: paragraphs.filter_map(Finding::new).collect(),
            is_whole: lines.iter().any(|line| line.contains("ERROR SUMMARY:")),
        }
    }
}

/// An error or a leak: what it is, and one or more stacks.
pub(crate) struct Finding(Vec<String>);

impl Finding {
    fn new(paragraph: &[&str]) -> Option<Self> {
        let finding = Self(paragraph.iter().map(ToString::to_string).collect());
        let has_stack = finding.frames().next().is_some();
        has_stack.then_some(finding)
    }

    fn frames(&self) -> impl Iterator<Item = &str> {
        frames(&self.0)
    }

    /// Whether code of ours had a part in it.
    pub(crate) fn is_ours(&self) -> bool {
        // Valgrind knows of each process apart which bytes have a value. The core
        // copies an address with bytes that have none from its stack to shared
        // memory; when another process has used that memory for something else, the
        // first one still counts these bytes as without a value, and so whatever is
        // read from there, connections and their addresses. So of a value it matters
        // where it was made, if that was on a stack.
        let made = self.0.iter().position(|line| line.contains(MADE_ON_STACK));
        let mut frames = frames(&self.0[made.unwrap_or_default()..]);
        let is_ours = frames.any(|frame| OURS.iter().any(|text| frame.contains(text)));
        is_ours && !self.is_map()
    }

    /// Not lost: a map points into the middle of its allocation only, and valgrind
    /// does not count that as certain.
    fn is_map(&self) -> bool {
        let mut frames = self.frames();
        self.0[0].contains("are possibly lost") && frames.any(|frame| frame.contains(MAP))
    }

    pub(crate) fn is_leak(&self) -> bool {
        self.0[0].contains(" lost in loss record ")
    }
}

fn frames(lines: &[String]) -> impl Iterator<Item = &str> {
    let lines = lines.iter().map(|line| line.trim_start());
    lines.filter(|line| line.starts_with("at 0x") || line.starts_with("by 0x"))
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[test]
fn a_report_is_understood() {
    let report = Report::of(
        12,
        "==12== Memcheck, a memory error detector\n\
         ==12== Parent PID: 1\n\
         ==12== \n\
         ==12== Invalid write of size 1\n\
         ==12==    at 0x1091A6: qm_free (q_malloc.c:4)\n\
         ==12==  Address 0x4a400a4 is 0 bytes after a block of size 20 alloc'd\n\
         ==12==    at 0x48417B4: malloc (in /usr/libexec/vgpreload.so)\n\
         ==12==    by 0x109199: rpc_top (tcm_rpc_report.c:4)\n\
         ==12== \n\
         ==12== HEAP SUMMARY:\n\
         ==12==     in use at exit: 10 bytes in 1 blocks\n\
         ==12== \n\
         ==12== 10 bytes in 1 blocks are definitely lost in loss record 1 of 1\n\
         ==12==    at 0x48417B4: malloc (in /usr/libexec/vgpreload.so)\n\
         ==12==    by 0x10917A: main (main.c:4)\n\
         ==12== \n",
    );
    assert!(!report.is_whole);
    let [error, leak] = &report.findings[..] else {
        panic!("{} findings", report.findings.len());
    };
    assert!(error.is_ours() && !error.is_leak(), "{error}");
    assert!(!leak.is_ours() && leak.is_leak(), "{leak}");
    assert!(Report::of(12, "==12== ERROR SUMMARY: 0 errors\n").is_whole);
}

#[test]
fn whose_a_finding_is() {
    let is_ours = |lines: &[&str]| Finding::new(lines).expect("a stack").is_ours();
    let used = [
        " Use of uninitialised value of size 8",
        "    at 0x9DBD590: hook_opened (tcm_hooks.c:42)",
        "    by 0x322BED: handle_new_connect (tcp_main.c:4564)",
    ];
    let made = |at| {
        [
            &used[..],
            &[
                "  Uninitialised value was created by a stack allocation",
                at,
            ],
        ]
        .concat()
    };
    assert!(is_ours(&used));
    assert!(is_ours(&made("    at 0x1: hook_opened (tcm_hooks.c:40)")));
    assert!(!is_ours(&made(
        "    at 0x1: handle_new_connect (tcp_main.c:4458)"
    )));
    let lost = |how| {
        [
            how,
            "    at 0x1: malloc (in /usr/libexec/vgpreload.so)",
            "    by 0x2: hashbrown::raw::RawTable<T,A>::reserve_rehash (src/raw/mod.rs:1)",
            "    by 0x3: tcp_conn_limit::observe::watch::Watch::tick (watch.rs:112)",
        ]
    };
    assert!(!is_ours(&lost(
        " 8 bytes in 1 blocks are possibly lost in loss record 1 of 2"
    )));
    assert!(is_ours(&lost(
        " 8 bytes in 1 blocks are definitely lost in loss record 1 of 2"
    )));
}
