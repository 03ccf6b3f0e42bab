// SPDX-License-Identifier: GPL-2.0-or-later

//! The CPU time of a process, and the CPUs that it may use.

use std::fs;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::{Pid, SysconfVar, sysconf};
use serde::{Deserialize, Serialize};

/// The kernel's sources of CPU time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Clock {
    /// `/proc/PID/task/*/schedstat`, in nanoseconds.
    Schedstat,
    /// `/proc/PID/stat`, in ticks of (usually) 10 ms, which need long windows.
    Ticks,
}

/// The CPU time of a process since its start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CpuTime {
    pub(crate) run_ns: u64,
    /// The time ready to run while another process had the CPU. 0 if unknown.
    pub(crate) wait_ns: u64,
}

impl Clock {
    /// The best clock of this kernel; schedstat can be compiled out.
    pub(crate) fn detect() -> Clock {
        match Clock::Schedstat.read(std::process::id()) {
            Ok(time) if time.run_ns > 0 => Clock::Schedstat,
            _ => Clock::Ticks,
        }
    }

    pub(crate) fn read(self, pid: u32) -> io::Result<CpuTime> {
        match self {
            Clock::Schedstat => {
                let mut sum = CpuTime {
                    run_ns: 0,
                    wait_ns: 0,
                };
                for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                    let text = fs::read_to_string(task?.path().join("schedstat"))?;
                    sum.run_ns += field(&text, 0)?;
                    sum.wait_ns += field(&text, 1)?;
                }
                Ok(sum)
            }
            Clock::Ticks => {
                let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
                // The name, in brackets, may itself contain spaces and brackets.
                let (_, rest) = text.rsplit_once(')').ok_or_else(|| malformed(&text))?;
                let hz = sysconf(SysconfVar::CLK_TCK)?.unwrap_or(100) as u64;
                Ok(CpuTime {
                    run_ns: (field(rest, 11)? + field(rest, 12)?) * (1_000_000_000 / hz),
                    wait_ns: 0,
                })
            }
        }
    }
}

fn field(text: &str, n: usize) -> io::Result<u64> {
    text.split_whitespace()
        .nth(n)
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| malformed(text))
}

fn malformed(text: &str) -> io::Error {
    io::Error::other(format!("cannot read CPU time from {text:?}"))
}

/// Which CPUs the processes use: the measured process of the server has one CPU to itself,
/// everything else shares the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Placement {
    /// The CPU of the measured process; `None` on a machine with one CPU.
    pub(crate) tcp_main: Option<usize>,
    pub(crate) others: Vec<usize>,
}

impl Placement {
    /// Reserves for the server the last CPU that this process may use. Moves this process,
    /// and so every process that it starts, to the others.
    pub(crate) fn arrange() -> nix::Result<Placement> {
        let mut cpus = allowed()?;
        let tcp_main = if cpus.len() > 1 { cpus.pop() } else { None };
        pin(&cpus)?;
        Ok(Placement {
            tcp_main,
            others: cpus,
        })
    }

    /// Clock ticks since the start of the machine, on all CPUs but the server's: the busy
    /// ticks, and all ticks.
    pub(crate) fn ticks_of_others(&self) -> io::Result<[u64; 2]> {
        /// The numbers of a line that are idle time.
        const IDLE: std::ops::Range<usize> = 3..5;
        /// How many numbers of a line to add up. The later ones are guest time, which is
        /// also in user time.
        const COUNT: usize = 8;

        let text = fs::read_to_string("/proc/stat")?;
        let mut ticks = [0, 0];
        for cpu in &self.others {
            let name = format!("cpu{cpu} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            let line = line.ok_or_else(|| malformed(&text))?;
            for n in 0..COUNT {
                let number = field(line, n)?;
                ticks[0] += if IDLE.contains(&n) { 0 } else { number };
                ticks[1] += number;
            }
        }
        Ok(ticks)
    }

    /// Prints which CPUs the processes have. `others` names what shares the CPUs with all
    /// else.
    pub(crate) fn print(&self, others: &str) {
        match self.tcp_main {
            Some(cpu) => println!(
                "TCP main alone on CPU {cpu}; {others} and all else on {:?}",
                self.others
            ),
            None => println!("one CPU for all processes: TCP main has no CPU of its own"),
        }
    }

    pub(crate) fn pin_server(&self, pid: u32) -> nix::Result<()> {
        match self.tcp_main {
            Some(cpu) => pin_process(pid, &[cpu]),
            None => Ok(()),
        }
    }
}

/// The CPUs that this process may use.
pub(crate) fn allowed() -> nix::Result<Vec<usize>> {
    let allowed = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count())
        .filter(|&cpu| allowed.is_set(cpu) == Ok(true))
        .collect())
}

/// Moves this process or thread, and so everything that it starts, to `cpus`.
pub(crate) fn pin(cpus: &[usize]) -> nix::Result<()> {
    pin_process(0, cpus)
}

fn pin_process(pid: u32, cpus: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for &cpu in cpus {
        set.set(cpu)?;
    }
    sched_setaffinity(Pid::from_raw(pid as i32), &set)
}
