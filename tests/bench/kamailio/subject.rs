// SPDX-License-Identifier: GPL-2.0-or-later

//! A server under measurement with its load.

use std::fs;
use std::io;
use std::net::Ipv4Addr;

use serde::de::DeserializeOwned;
use serde_json::json;

use crate::Result;
use crate::cpu::Placement;
use crate::generator::{Held, Order, Window};
use crate::harness::{Config, Server, Via, number};
use crate::load::Load;
use crate::record::{HeldCheck, ModuleMemory, Series};

/// The limit of the series `stock` and `module`: the core's own default. No
/// source comes near it, so no connection is rejected.
pub(crate) const LIMIT: u32 = 1_024;

const PAGE: u64 = 4096;

pub(crate) struct Subject {
    pub(crate) series: Series,
    server: Server,
    load: Load,
    tcp_main: u32,
    /// Sockets of TCP main without any connection.
    other_sockets: usize,
    held: usize,
    /// Connections opened so far in all.
    opened: u64,
}

impl Subject {
    pub(crate) fn start(series: Series, placement: &Placement) -> Result<Subject> {
        let server = config(series).start();
        // TCP main is started last: it is there once it has taken a connection.
        drop(server.admit(Via::Tcp, Ipv4Addr::LOCALHOST.into()));
        server.wait_for_connections(0);
        let tcp_main = pids(&server, "tcp main process")[0];
        placement.pin_tcp_main(tcp_main)?;
        Ok(Subject {
            series,
            load: Load::start(server.address(Via::Tcp).port(), tcp_main)?,
            other_sockets: sockets(tcp_main)?,
            tcp_main,
            server,
            held: 0,
            opened: 1,
        })
    }

    /// Hold `level` connections, and count them where they can be counted.
    pub(crate) fn hold(&mut self, level: usize, round: usize) -> Result<HeldCheck> {
        let Held { up } = self.load(&Order::Hold(level))?;
        self.opened += (level - self.held) as u64;
        self.held = level;
        self.server.wait_for_connections(level as u64);
        let check = HeldCheck {
            round,
            series: self.series,
            level,
            sockets: up,
            tcp_info: self.server.connections() as usize,
            descriptors: sockets(self.tcp_main)? - self.other_sockets,
        };
        if check.sockets != level || check.descriptors != level {
            return Err(format!("not {level} connections held: {check:?}").into());
        }
        Ok(check)
    }

    /// Measure one window of churn.
    pub(crate) fn churn(&mut self, order: &Order) -> Result<Window> {
        let window: Window = self.load(order)?;
        self.opened += window.opened;
        if window.accepted == 0 {
            return Err("a window without a new connection: the machine is too busy".into());
        }
        if window.held_up != self.held {
            return Err(format!(
                "{}: {} of {} held connections are gone",
                self.series.name(),
                self.held - window.held_up,
                self.held
            )
            .into());
        }
        // Until the churned ones are gone.
        self.server.wait_for_connections(self.held as u64);
        Ok(window)
    }

    fn load<A: DeserializeOwned>(&mut self, order: &Order) -> Result<A> {
        self.load.order(order).map_err(|error| {
            let series = self.series.name();
            format!("{series}: {error}\n{}", self.server.log()).into()
        })
    }

    /// Make sure that the server did what its series stands for.
    pub(crate) fn verify(&self) -> Result<()> {
        if self.server.log().contains("hit the limit") {
            return Err(format!("{}: connections were rejected", self.series.name()).into());
        }
        if self.series == Series::Module {
            for (name, expected) in [("admitted", self.opened), ("rejected", 0), ("errors", 0)] {
                let found = self.server.stat(name);
                if found != expected {
                    return Err(format!("module: {name} is {found}, not {expected}").into());
                }
            }
        }
        Ok(())
    }

    pub(crate) fn module_version(&self) -> String {
        let stats = self.server.rpc("tcp_conn_limit.stats", json!([]));
        stats["version"].as_str().unwrap_or_default().to_owned()
    }

    /// Shared memory of the module, while `held` connections are held.
    pub(crate) fn module_memory(&self) -> Result<ModuleMemory> {
        let mapped = self.server.stat("memory");
        Ok(ModuleMemory {
            capacity: self.server.stat("capacity"),
            mapped,
            resident: self.resident(mapped)?,
            held: self.held,
        })
    }

    /// Bytes in use of the core's own shared memory.
    pub(crate) fn core_memory(&self) -> u64 {
        number(&self.server.rpc("core.shmmem", json!([])), "real_used")
    }

    /// Bytes of memory behind the shared mapping of `size` bytes: those which
    /// any process of the server has touched.
    fn resident(&self, size: u64) -> Result<u64> {
        let mut resident = 0;
        for pid in pids(&self.server, "") {
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
            resident += proportional_share(&smaps, size)
                .ok_or_else(|| format!("no shared mapping of {size} bytes in process {pid}"))?;
        }
        Ok(resident)
    }
}

fn config(series: Series) -> Config {
    let config = match series {
        Series::Off | Series::OffAgain => Config::stock().core("tcp_accept_iplimit=0"),
        Series::Stock => Config::stock().core(&format!("tcp_accept_iplimit={LIMIT}")),
        Series::Module => Config::with_module().limit(LIMIT.into()),
    };
    config
        .core("debug=0")
        .core("tcp_max_connections=20000")
        .core("tcp_connection_lifetime=86400")
        // Closes connections on which no message has come for a while.
        .core("tcp_check_timer=0")
        .shared_memory(900)
}

/// The processes of a server whose description contains `what`.
fn pids(server: &Server, what: &str) -> Vec<u32> {
    let list = server.rpc("core.psx", json!([]));
    let processes = list.as_array().into_iter().flatten();
    processes
        .filter(|process| {
            process["DSC"]
                .as_str()
                .is_some_and(|text| text.contains(what))
        })
        .map(|process| number(process, "PID") as u32)
        .collect()
}

/// How many sockets a process has.
fn sockets(pid: u32) -> io::Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let target = fs::read_link(entry?.path())?;
        count += usize::from(target.to_string_lossy().starts_with("socket:"));
    }
    Ok(count)
}

/// `Pss` in bytes of the shared mapping of `size` bytes in the text of a smaps
/// file. Anonymous shared mappings have no name of their own: the size tells.
fn proportional_share(smaps: &str, size: u64) -> Option<u64> {
    let mut wanted = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()?) {
            (range, "rw-s") => {
                let (from, to) = range.split_once('-')?;
                let from = u64::from_str_radix(from, 16).ok()?;
                wanted = u64::from_str_radix(to, 16).ok()? - from == size.next_multiple_of(PAGE);
            }
            ("Pss:", kib) if wanted => return Some(kib.parse::<u64>().ok()? * 1024),
            _ => {}
        }
    }
    None
}
