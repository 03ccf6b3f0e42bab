// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads and writes the files of results.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Result;

/// The folder for the results of `bench`. Results of a quick run go to the target
/// directory, because they are not meant to be kept.
pub(crate) fn folder(bench: &str, quick: bool) -> PathBuf {
    if quick {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(bench)
    } else {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/results")
    }
}

/// Reads a file that [`write`] wrote.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// Writes `record` as JSON.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(record)?;
    text.push('\n');
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
