// SPDX-License-Identifier: GPL-2.0-or-later

//! Whether the figures in RESULTS.md are of a record.
//!
//! RESULTS.md names the record of each table, in a line of this form:
//!
//! ```text
//! Record: [kamailio.json](results/kamailio.json), commit 0123abc, measured …
//! ```

use std::fs;

use support::programs::root;

use super::Result;
use super::run::Run;

/// Warns unless the record of `bench` is of the commit that RESULTS.md names for it. The
/// figures of a quick run are never in RESULTS.md.
pub(crate) fn compare(bench: &str, run: &Run) -> Result<()> {
    if run.quick {
        return Ok(());
    }
    let path = root().join("tests/bench/RESULTS.md");
    let text = fs::read_to_string(&path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if let Some(warning) = warning(bench, run, named_commit(&text, bench)) {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

/// Returns the word after `commit` in the line about the record of `bench`, or `None` if
/// it is `unknown`.
fn named_commit<'a>(text: &'a str, bench: &str) -> Option<&'a str> {
    let start = format!("Record: [{bench}.json]");
    let line = text.lines().find(|line| line.starts_with(&start))?;
    let (_, rest) = line.split_once(", commit ")?;
    let commit = rest.split([',', ' ', '.']).next()?;
    (commit != "unknown").then_some(commit)
}

fn warning(bench: &str, run: &Run, named: Option<&str>) -> Option<String> {
    let Some(commit) = &run.commit else {
        return Some(format!(
            "the record {bench}.json does not name its commit, so it is unknown which code \
             these figures are of"
        ));
    };
    let modified = match run.modified {
        Some(false) => "",
        Some(true) | None => " with uncommitted changes",
    };
    match named {
        None => Some(format!(
            "the record {bench}.json is of commit {commit}{modified}, but RESULTS.md names no \
             commit for its figures"
        )),
        Some(named) if !commit.starts_with(named) => Some(format!(
            "the record {bench}.json is of commit {commit}{modified}, but the figures in \
             RESULTS.md are of commit {named}"
        )),
        Some(_) if !modified.is_empty() => Some(format!(
            "the record {bench}.json is of commit {commit}{modified}"
        )),
        Some(_) => None,
    }
}
