// SPDX-License-Identifier: GPL-2.0-or-later

//! What the figures hold for.

use std::fs;
use std::process::Command;

use nix::sys::utsname::uname;

use crate::Result;
use crate::record::Machine;

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
        date: first_line("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"])?,
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

/// The first line that `kamailio -v` prints.
pub(crate) fn kamailio_version(binary: &str) -> Result<String> {
    first_line(binary, &["-v"])
}

fn first_line(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("cannot run {program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program} {arguments:?}: {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The first value of `name` in a file of lines `name : value`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim())
    })
}
