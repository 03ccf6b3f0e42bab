// SPDX-License-Identifier: GPL-2.0-or-later

//! A server under measurement with its load.

use std::fs;

use serde_json::json;

use crate::Result;
use crate::cpu::Placement;
use crate::generator::{Order, Window};
use crate::harness::{Config, Server, Via, number};
use crate::kamailio::{self, LIMIT};
use crate::loaded::Loaded;
use crate::record::{HeldCheck, ModuleMemory, Scrapes, Series};
use crate::rules;
use crate::scraper::Scraper;

const PAGE: u64 = 4096;

/// A source of the load, and the rule for it in the series with all controls.
const SOURCE_WITH_RULE: (&str, &str) = ("127.64.0.1", "127.64.0.0/24");

pub(crate) struct Subject {
    pub(crate) series: Series,
    // Before the server: it ends first.
    loaded: Loaded,
    /// In the series with all controls, until it has ended.
    scraper: Option<Scraper>,
    /// Connections that the scraper has opened.
    of_scraper: u64,
    server: Server,
}

impl Subject {
    pub(crate) fn start(series: Series, placement: &Placement) -> Result<Subject> {
        let server = config(series).start();
        let address = server.address(Via::Tcp);
        // First: its connection is none of the load's.
        let scraper = match series {
            Series::Controls => Some(Scraper::start(address)?),
            Series::Off
            | Series::OffAgain
            | Series::Stock
            | Series::Module
            | Series::Interposed => None,
        };
        Ok(Subject {
            series,
            loaded: Loaded::start(address.port(), server.tcp_main() as u32, placement)?,
            of_scraper: u64::from(scraper.is_some()),
            scraper,
            server,
        })
    }

    /// Hold `level` connections, and count them where they can be counted.
    pub(crate) fn hold(&mut self, level: usize, round: usize) -> Result<HeldCheck> {
        let up = self.loaded.hold(level);
        let check = HeldCheck {
            round,
            series: self.series,
            level,
            sockets: self.explain(up)?,
            tcp_info: (self.server.connections() - self.of_scraper) as usize,
            descriptors: self.loaded.descriptors()?,
        };
        if check.tcp_info != level {
            return Err(format!("not {level} connections held: {check:?}").into());
        }
        Ok(check)
    }

    /// Measure one window of churn.
    pub(crate) fn churn(&mut self, order: &Order) -> Result<Window> {
        let window = self.loaded.churn(order);
        let window = self.explain(window)?;
        // Until the churned ones are gone.
        self.server
            .wait_for_connections(self.loaded.held() as u64 + self.of_scraper);
        Ok(window)
    }

    /// Tell with an error which server it was and what that said.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let series = self.series.name();
            format!("{series}: {error}\n{}", self.server.log()).into()
        })
    }

    /// Make sure that the server did what its series stands for.
    pub(crate) fn verify(&self) -> Result<()> {
        if self.server.log().contains("hit the limit") {
            return Err(format!("{}: connections were rejected", self.series.name()).into());
        }
        let expected: &[(&str, u64)] = match self.series {
            Series::Off | Series::OffAgain | Series::Stock => &[],
            Series::Module | Series::Interposed => &[("rules", 0)],
            Series::Controls => &[("rules", rules::RULES as u64), ("would_reject", 0)],
        };
        if expected.is_empty() {
            return Ok(());
        }
        let opened = self.loaded.opened() + self.of_scraper;
        let expected = expected.iter().copied();
        for (name, expected) in
            expected.chain([("admitted", opened), ("rejected", 0), ("errors", 0)])
        {
            let found = self.server.stat(name);
            if found != expected {
                let series = self.series.name();
                return Err(format!("{series}: {name} is {found}, not {expected}").into());
            }
        }
        if self.series == Series::Controls {
            let (source, rule) = SOURCE_WITH_RULE;
            let found = self.server.source(source);
            if found["rule"] != rule {
                return Err(format!("the rule of {source} is not {rule}: {found}").into());
            }
        }
        Ok(())
    }

    /// End the scrapes, if the series has any; how they went.
    pub(crate) fn scrapes(&mut self) -> Result<Option<Scrapes>> {
        self.scraper.take().map(Scraper::finish).transpose()
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
            resident: self.resident(mapped + RULES)?,
            held: self.loaded.held(),
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
        for pid in pids(&self.server) {
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
            resident += proportional_share(&smaps, size)
                .ok_or_else(|| format!("no shared mapping of {size} bytes in process {pid}"))?;
        }
        Ok(resident)
    }
}

/// Bytes that the module maps for rules, behind those for sources: two sets of the
/// most there can be.
const RULES: u64 = 2 * 65_535 * 48;

fn config(series: Series) -> Config {
    match series {
        Series::Off | Series::OffAgain => kamailio::off(),
        Series::Stock => kamailio::stock(LIMIT),
        Series::Module => kamailio::module(LIMIT),
        Series::Interposed => kamailio::interposed(),
        Series::Controls => kamailio::module_with_controls(&rules::file()),
    }
}

/// All processes of a server.
fn pids(server: &Server) -> Vec<u32> {
    let list = server.rpc("core.psx", json!([]));
    let processes = list.as_array().into_iter().flatten();
    processes
        .map(|process| number(process, "PID") as u32)
        .collect()
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
