// SPDX-License-Identifier: GPL-2.0-or-later

//! Where results go.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Result;

/// The folder for the results of `bench`. Those of a quick run are not for
/// keeping.
pub(crate) fn folder(bench: &str, quick: bool) -> PathBuf {
    if quick {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(bench)
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/results")
    }
}

/// Write `record` as JSON.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(record)?;
    text.push('\n');
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
