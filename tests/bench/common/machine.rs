// SPDX-License-Identifier: GPL-2.0-or-later

//! The machine that the figures are from.

use std::fmt;
use std::fs;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::utsname::uname;
use serde::{Deserialize, Serialize};

use super::Result;

/// The descriptors of each process. Kamailio sizes tables from this limit.
const DESCRIPTORS: u64 = 20_000;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
    pub(crate) hypervisor: bool,
    pub(crate) kernel: String,
    pub(crate) memory_mib: u64,
    /// The limit of descriptors per process.
    pub(crate) descriptors: u64,
    /// The load average of the last minute before the run.
    pub(crate) load: f64,
}

/// Writes one line.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} x {}{}, {} MiB, Linux {}",
            self.cpus,
            self.cpu,
            if self.hypervisor { " (virtual)" } else { "" },
            self.memory_mib,
            self.kernel
        )
    }
}

/// Raises the limit of descriptors for this process and every process that it starts.
pub(crate) fn raise_descriptors() -> nix::Result<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let descriptors = hard.min(DESCRIPTORS);
    setrlimit(Resource::RLIMIT_NOFILE, descriptors, hard)?;
    Ok(descriptors)
}

pub(crate) fn describe(descriptors: u64) -> Result<Machine> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let cpu = value(&cpuinfo, "model name").unwrap_or("unknown");
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let memory_kib: u64 = value(&meminfo, "MemTotal")
        .and_then(|text| text.strip_suffix(" kB")?.parse().ok())
        .ok_or("no MemTotal in /proc/meminfo")?;
    let load = fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().ok_or("/proc/loadavg is empty")?;
    Ok(Machine {
        cpu: cpu.to_owned(),
        cpus: cpuinfo
            .lines()
            .filter(|l| l.starts_with("processor"))
            .count(),
        hypervisor: value(&cpuinfo, "flags")
            .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        kernel: uname()?.release().to_string_lossy().into_owned(),
        memory_mib: memory_kib / 1024,
        descriptors,
        load: load.parse()?,
    })
}

/// Returns the first line that `kamailio -v` prints.
pub(crate) fn kamailio_version(binary: &str) -> Result<String> {
    first_line(binary, &["-v"])
}

/// Returns the first line that a program prints, on standard output or standard error.
pub(crate) fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} {arguments:?}: {}", output.status).into());
    }
    let text = if output.stdout.is_empty() {
        output.stderr
    } else {
        output.stdout
    };
    let text = String::from_utf8(text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Returns the first value of `name` in a file of lines `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}
