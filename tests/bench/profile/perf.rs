// SPDX-License-Identifier: GPL-2.0-or-later

//! Sampling with perf.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::Result;
use support::kamailio::until;

/// A running `perf record` of a process.
pub(crate) struct Recording {
    perf: Child,
    file: PathBuf,
}

/// A function on the stack of a sample.
pub(crate) struct Frame<'a> {
    pub(crate) symbol: &'a str,
    /// The executable or library.
    pub(crate) object: &'a str,
}

impl Recording {
    /// Samples the process after every `period` that it ran in user mode. Each sample has
    /// the top 1,024 bytes of its stack, enough for the accept of a connection.
    pub(crate) fn start(pid: u32, folder: &Path, period: Duration) -> Result<Recording> {
        let file = folder.join("perf.data");
        // cpu-clock exists on every machine, also on a virtual one.
        let perf = Command::new("perf")
            .args(["record", "--quiet", "--event=cpu-clock:u"])
            .args(["--call-graph=dwarf,1024", "--count"])
            .arg(period.as_nanos().to_string())
            .arg(format!("--pid={pid}"))
            .arg("--output")
            .arg(&file)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot run perf (Debian: linux-perf): {error}"))?;
        let recording = Recording { perf, file };
        until("perf writes its file", || recording.file.exists());
        Ok(recording)
    }

    /// Ends the recording and returns the samples as text, for [`samples`]. The text
    /// includes inlined functions, because the compiler inlines the core's own limit.
    pub(crate) fn stop(mut self) -> Result<String> {
        kill(Pid::from_raw(self.perf.id() as i32), Signal::SIGINT)?;
        self.perf.wait()?;
        let output = Command::new("perf")
            .args(["script", "--inline", "--fields=ip,sym,dso", "--input"])
            .arg(&self.file)
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("perf script: {}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // stop() has already waited for perf, unless the measurement has failed.
        if matches!(self.perf.try_wait(), Ok(None)) && self.perf.kill().is_ok() {
            until("perf has ended", || {
                !matches!(self.perf.try_wait(), Ok(None))
            });
        }
    }
}

/// Returns the stacks of the samples, with the innermost function first. In the text, a
/// sample has a line per function and ends with an empty line.
pub(crate) fn samples(text: &str) -> impl Iterator<Item = Vec<Frame<'_>>> {
    text.split("\n\n")
        .map(|sample| sample.lines().filter_map(frame).collect())
        .filter(|stack: &Vec<Frame>| !stack.is_empty())
}

/// Parses `    16395a __memcmp_evex_movbe (/usr/lib/x86_64-linux-gnu/libc.so.6)`.
fn frame(line: &str) -> Option<Frame<'_>> {
    let (_address, rest) = line.trim().split_once(' ')?;
    let (symbol, object) = rest.rsplit_once(" (")?;
    Some(Frame {
        symbol,
        object: object.trim_end_matches(')'),
    })
}
