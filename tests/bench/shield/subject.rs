// SPDX-License-Identifier: GPL-2.0-or-later

//! A server under the flood.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;
use support::kamailio::{Server, Via, number, until};

use crate::Result;
use crate::cpu::Clock;
use crate::kamailio;
use crate::record::Stopped;

/// The flooding source.
pub(crate) const SOURCE: &str = "127.9.0.1";

/// Sources besides it that are banned or in the set of nftables.
const OTHERS: u32 = 100;

pub(crate) struct Subject {
    pub(crate) server: Server,
    processes: Vec<u32>,
    by: Stopped,
}

impl Subject {
    pub(crate) fn start(by: Stopped) -> Result<Subject> {
        let value = if by == Stopped::Shield { "on" } else { "off" };
        let config = kamailio::module(kamailio::LIMIT);
        let server = config.text_param("shield", value).start();
        let bans = matches!(by, Stopped::Server | Stopped::Shield);
        if bans {
            for source in listed() {
                server.rpc("tcp_conn_limit.ban", json!([source, 86_400]));
            }
        }
        if by == Stopped::Shield {
            until("the sources are listed", || {
                let shield = server.rpc("tcp_conn_limit.shield", json!([]));
                number(&shield, "entries") == u64::from(OTHERS) + 1
            });
        }
        if by == Stopped::Nftables {
            let sources: Vec<String> = listed().collect();
            nft(&format!(
                "table ip shield {{
                    set banned {{ type ipv4_addr; elements = {{ {} }}; }}
                    chain input {{
                        type filter hook input priority filter;
                        ip saddr @banned tcp dport {} drop
                    }}
                }}",
                sources.join(", "),
                server.address(Via::Tcp).port(),
            ))?;
        }
        let main = server.main() as u32;
        let mut processes = vec![main];
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        processes.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        Ok(Subject {
            server,
            processes,
            by,
        })
    }

    /// CPU time of all its processes.
    pub(crate) fn run_ns(&self, clock: Clock) -> Result<u64> {
        let times = self.processes.iter().map(|&pid| clock.read(pid));
        Ok(times.sum_run()?)
    }

    pub(crate) fn end(self) -> Result<()> {
        self.server.stop(&[]);
        if self.by == Stopped::Nftables {
            nft("delete table ip shield")?;
        }
        Ok(())
    }
}

/// The flooding source and the others.
fn listed() -> impl Iterator<Item = String> {
    let others = (0..OTHERS).map(|n| format!("127.10.0.{n}"));
    others.chain([SOURCE.to_owned()])
}

fn nft(rules: &str) -> Result<()> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = nft.stdin.take() {
        input.write_all(rules.as_bytes())?;
    }
    let status = nft.wait()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("nft: {status}").into()),
    }
}

/// CPU time of the kernel's threads that handle packets when no process does.
pub(crate) fn kernel_ns(clock: Clock) -> Result<u64> {
    let processes = fs::read_dir("/proc")?.filter_map(|entry| {
        let entry = entry.ok()?;
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with("ksoftirqd/").then_some(pid)
    });
    Ok(processes.map(|pid| clock.read(pid)).sum_run()?)
}

/// Adds up CPU times.
trait SumRun {
    fn sum_run(self) -> std::io::Result<u64>;
}

impl<I: Iterator<Item = std::io::Result<crate::cpu::CpuTime>>> SumRun for I {
    fn sum_run(self) -> std::io::Result<u64> {
        self.map(|time| Ok(time?.run_ns)).sum()
    }
}
