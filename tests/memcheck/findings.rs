// SPDX-License-Identifier: GPL-2.0-or-later

//! The output of valgrind: a text file per process.
//!
//! It is not XML, because valgrind 3.19 leaves findings in forked processes out of its XML.

use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;

/// Parts of the function or file name of this project's frames. The module's C is in files
/// `tcm_*.c` and `tcp_conn_limit_mod.c`, the library is called through functions with these
/// names, and the hooks in the core also belong to this project.
const OURS: [&str; 4] = ["tcl_", "tcm_", "tcp_conn_limit", "tcp_conn_hooks"];

/// The line before the stack that created an uninitialised value.
const MADE_ON_STACK: &str = "value was created by a stack allocation";

/// A map, in the frame that allocates it.
const MAP: &str = "hashbrown::raw::RawTable";

/// The valgrind report of a process.
pub(crate) struct Report {
    pub(crate) pid: u64,
    pub(crate) findings: Vec<Finding>,
    /// Whether the report is complete: the process ended and valgrind checked it.
    pub(crate) is_complete: bool,
}

impl Report {
    /// Reads the reports in a folder. The name of each is the PID of its process.
    pub(crate) fn read_all(folder: &Path) -> Vec<Self> {
        let entries = fs::read_dir(folder).expect("the reports can be listed");
        let paths = entries.map(|entry| entry.expect("a report").path());
        paths.map(|path| Self::read(&path)).collect()
    }

    fn read(path: &Path) -> Self {
        let name = path.file_name().and_then(|name| name.to_str());
        let pid = name.and_then(|name| name.parse().ok());
        let bytes = fs::read(path).expect("a report can be read");
        let pid = pid.expect("the name of a report is a PID");
        Self::of(pid, &String::from_utf8_lossy(&bytes))
    }

    fn of(pid: u64, text: &str) -> Self {
        // A line reads: ==123== Invalid write of size 1
        let mark = format!("=={pid}==");
        let lines: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&mark))
            .collect();
        let paragraphs = lines.split(|line| line.trim().is_empty());
        Self {
            pid,
            findings: paragraphs.filter_map(Finding::new).collect(),
            is_complete: lines.iter().any(|line| line.contains("ERROR SUMMARY:")),
        }
    }
}

/// An error or a leak: its description and one or more stacks.
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

    /// Returns whether code of this project was involved.
    pub(crate) fn is_ours(&self) -> bool {
        // Valgrind tracks for each process separately which bytes are initialised. The core
        // copies an address with uninitialised bytes from its stack to shared memory. When
        // another process then writes that memory, valgrind in the first process still
        // treats these bytes as uninitialised, and so everything that is read from there,
        // such as connections and their addresses. So if an uninitialised value was created
        // on a stack, only the stack that created it counts.
        let made = self.0.iter().position(|line| line.contains(MADE_ON_STACK));
        let mut frames = frames(&self.0[made.unwrap_or_default()..]);
        let is_ours = frames.any(|frame| OURS.iter().any(|text| frame.contains(text)));
        is_ours && !self.is_map()
    }

    /// Returns whether the finding is only a map, which is not lost: a map points into the
    /// middle of its allocation, and valgrind reports such a block as possibly lost.
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
fn report_is_parsed() {
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
    assert!(!report.is_complete);
    let [error, leak] = &report.findings[..] else {
        panic!("{} findings", report.findings.len());
    };
    assert!(error.is_ours() && !error.is_leak(), "{error}");
    assert!(!leak.is_ours() && leak.is_leak(), "{leak}");
    assert!(Report::of(12, "==12== ERROR SUMMARY: 0 errors\n").is_complete);
}

#[test]
fn finding_is_attributed_by_its_stacks() {
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
