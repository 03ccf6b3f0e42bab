// SPDX-License-Identifier: GPL-2.0-or-later

//! The conditions of a run: which code was measured, how it was built, and on which
//! machine.

use std::env;
use std::fmt;
use std::process::Command;

use serde::{Deserialize, Serialize};
use support::programs::root;

use super::Result;
use super::machine::{self, Machine};

/// The conditions of a run. A field is `None` if it is unknown, as in records that are
/// older than the field.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// The start of the run, in UTC.
    pub(crate) date: String,
    /// The commit of the measured code.
    pub(crate) commit: Option<String>,
    /// Whether the tree differed from this commit, except in the results.
    pub(crate) modified: Option<bool>,
    pub(crate) command: Option<String>,
    /// The version of the compiler.
    pub(crate) rustc: Option<String>,
    /// The folder that Cargo builds in, which is named after the profile; `cargo bench`
    /// builds in `release`.
    pub(crate) profile: Option<String>,
    /// The value of `RUSTFLAGS` at compile time.
    pub(crate) rustflags: Option<String>,
    /// The processor that `rustflags` compile for, or `default`.
    pub(crate) target_cpu: Option<String>,
    /// A quick run only shows that the benchmark works.
    pub(crate) quick: bool,
    pub(crate) machine: Machine,
}

impl Run {
    /// Describes this process and its machine. Raises the limit of descriptors for this
    /// process and every process that it starts.
    pub(crate) fn start(bench: &str, quick: bool) -> Result<Run> {
        let rustflags = option_env!("RUSTFLAGS").unwrap_or_default();
        Ok(Run {
            date: machine::first_line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
            commit: git(&["rev-parse", "HEAD"]),
            modified: git(&[
                "status",
                "--porcelain",
                "--",
                ".",
                NOT_RESULTS[0],
                NOT_RESULTS[1],
            ])
            .map(|changes| !changes.is_empty()),
            command: Some(command(bench)),
            rustc: Some(machine::first_line(
                &env::var("RUSTC").unwrap_or("rustc".to_owned()),
                &["--version"],
            )?),
            profile: profile(),
            target_cpu: Some(target_cpu(rustflags).to_owned()),
            rustflags: Some(rustflags.to_owned()),
            quick,
            machine: machine::describe(machine::raise_descriptors()?)?,
        })
    }

    /// Prints the machine and the measured code.
    pub(crate) fn print(&self) {
        println!("{}, {}", self.machine, self.date);
        println!("code: {self}");
    }

    /// Prints that the figures of a quick run mean nothing.
    pub(crate) fn print_quick(&self) {
        if self.quick {
            println!("\nA quick run only shows that the benchmark works; ignore its figures.");
        }
    }
}

/// Writes which code was measured, and how it was built.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_unknown = |value: &Option<String>| value.clone().unwrap_or("unknown".to_owned());
        write!(
            f,
            "commit {}{}, {}, profile {}, RUSTFLAGS {}",
            or_unknown(&self.commit),
            match self.modified {
                Some(true) => " with uncommitted changes",
                Some(false) | None => "",
            },
            match &self.rustc {
                Some(version) => version,
                None => "rustc unknown",
            },
            or_unknown(&self.profile),
            match self.rustflags.as_deref() {
                Some("") => "not set",
                Some(flags) => flags,
                None => "unknown",
            },
        )
    }
}

/// Excludes the files that a run itself writes, and the text about them.
const NOT_RESULTS: [&str; 2] = [
    ":(exclude)tests/bench/results",
    ":(exclude)tests/bench/RESULTS.md",
];

/// Returns what Git prints about this tree, or `None` if the tree is not under Git.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .current_dir(root())
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The command line without what Cargo adds to it.
fn command(bench: &str) -> String {
    let own = env::args().skip(1).filter(|argument| argument != "--bench");
    let words: Vec<String> = [format!("bench-{bench}")].into_iter().chain(own).collect();
    words.join(" ")
}

fn profile() -> Option<String> {
    // TARGET/PROFILE/deps/PROGRAM
    let program = env::current_exe().ok()?;
    let folder = program.parent()?.parent()?.file_name()?;
    Some(folder.to_string_lossy().into_owned())
}

/// Returns the processor that the flags of rustc name.
fn target_cpu(rustflags: &str) -> &str {
    rustflags
        .split_whitespace()
        .filter_map(|word| word.split_once("target-cpu="))
        .map(|(_, cpu)| cpu)
        .next_back()
        .unwrap_or("default")
}
