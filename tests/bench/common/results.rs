// SPDX-License-Identifier: GPL-2.0-or-later

//! Reads and writes the files of results.
//!
//! They are JSON. A field of the conditions has a line of its own, and so has a sample or
//! a series of samples with all that is in it. So the files are short, and a comparison of
//! two shows which samples differ.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Serializer;
use serde_json::ser::Formatter;
use support::programs::root;

use super::Result;

/// The file for the results of a benchmark. Results of a quick run go to the target
/// directory, because they are not meant to be kept.
pub(crate) fn path(bench: &str, quick: bool) -> PathBuf {
    let folder = if quick {
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{bench}"))
    } else {
        root().join("tests/bench/results")
    };
    folder.join(format!("{bench}.json"))
}

/// Reads a file that [`write`] wrote.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Writes `record` as JSON.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<()> {
    let mut text = Vec::new();
    record.serialize(&mut Serializer::with_formatter(
        &mut text,
        SampleALine::default(),
    ))?;
    text.push(b'\n');
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// How many levels of arrays and objects have a line for each value: the record, and each
/// of its fields. Deeper levels are in the line of what contains them.
const SPREAD: usize = 2;

/// Formats JSON as the files have it.
#[derive(Default)]
struct SampleALine {
    /// The number of arrays and objects that are open.
    depth: usize,
    /// Whether the array or object that ends next has a value.
    has_value: bool,
}

impl SampleALine {
    fn begin(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.has_value = false;
        out.write_all(bracket)
    }

    fn end(&mut self, out: &mut (impl Write + ?Sized), bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.has_value && self.depth < SPREAD {
            self.new_line(out)?;
        }
        self.has_value = true;
        out.write_all(bracket)
    }

    /// Writes what is before a value of an array, or before a key.
    fn separate(&self, out: &mut (impl Write + ?Sized), first: bool) -> io::Result<()> {
        if !first {
            out.write_all(b",")?;
        }
        match self.depth {
            0..=SPREAD => self.new_line(out),
            _ if first => Ok(()),
            _ => out.write_all(b" "),
        }
    }

    fn new_line(&self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        out.write_all(b"\n")?;
        (0..self.depth).try_for_each(|_| out.write_all(b"  "))
    }
}

impl Formatter for SampleALine {
    fn begin_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"]")
    }

    fn begin_array_value<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.separate(out, first)
    }

    fn end_array_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }

    fn begin_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.begin(out, b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        self.end(out, b"}")
    }

    fn begin_object_key<W: Write + ?Sized>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.separate(out, first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.has_value = true;
        Ok(())
    }
}
