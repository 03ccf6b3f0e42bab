// SPDX-License-Identifier: GPL-2.0-or-later

//! A measured server with its load.

use std::fs;

use serde_json::json;

use crate::Result;
use crate::cpu::Placement;
use crate::generator::{Order, Window};
use crate::kamailio::{self, LIMIT, STOCK_REJECTS};
use crate::loaded::Loaded;
use crate::record::{HeldCheck, ModuleMemory, Scrapes, Series};
use crate::rules;
use crate::scraper::Scraper;
use support::kamailio::{Config, Server, Via, number};

const PAGE: u64 = 4096;

/// A source of the load, and its rule in the series with rules.
const SOURCE_WITH_RULE: (&str, &str) = ("127.64.0.1", "127.64.0.0/24");

pub(crate) struct Subject {
    pub(crate) series: Series,
    // Fields drop in this order: the load ends before the server.
    loaded: Loaded,
    /// Only in the series whose metrics are fetched, until it has ended.
    scraper: Option<Scraper>,
    /// Connections that the scraper has opened.
    of_scraper: u64,
    server: Server,
}

impl Subject {
    pub(crate) fn start(series: Series, placement: &Placement) -> Result<Subject> {
        let server = config(series).start();
        let address = server.address(Via::Tcp);
        // The scraper starts first, so its connection does not count as load.
        let scraper = match series {
            Series::Controls | Series::Everything => Some(Scraper::start(address)?),
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

    /// Holds `level` connections and counts them in three ways.
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
            return Err(format!("expected {level} held connections: {check:?}").into());
        }
        Ok(check)
    }

    /// Measures one window of churn.
    pub(crate) fn churn(&mut self, order: &Order) -> Result<Window> {
        let window = self.loaded.churn(order);
        let window = self.explain(window)?;
        // Wait until the churned connections are closed.
        self.server
            .wait_for_connections(self.loaded.held() as u64 + self.of_scraper);
        Ok(window)
    }

    /// Adds to an error the name of the series and the log of its server.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let series = self.series.name();
            format!("{series}: {error}\n{}", self.server.log()).into()
        })
    }

    /// Checks that the server admitted every connection and that its settings were active.
    pub(crate) fn verify(&self) -> Result<()> {
        if self.server.log().contains(STOCK_REJECTS) {
            return Err(format!("{}: connections were rejected", self.series.name()).into());
        }
        let expected: &[(&str, u64)] = match self.series {
            Series::Off | Series::OffAgain | Series::Stock => &[],
            Series::Module | Series::Interposed => &[("rules", 0)],
            Series::Controls => &[
                ("rules", rules::RULES as u64),
                ("would_reject", 0),
                ("would_ban", 0),
            ],
            Series::Everything => &[
                ("rules", rules::RULES as u64),
                ("bans", 0),
                ("pressure_level", 0),
            ],
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
                return Err(format!("{series}: {name} is {found}, expected {expected}").into());
            }
        }
        if matches!(self.series, Series::Controls | Series::Everything) {
            let (source, rule) = SOURCE_WITH_RULE;
            let found = self.server.source(source);
            if found["rule"] != rule {
                return Err(format!("expected rule {rule} for {source}: {found}").into());
            }
        }
        Ok(())
    }

    /// Ends the scrapes, if the series has any, and returns their results.
    pub(crate) fn scrapes(&mut self) -> Result<Option<Scrapes>> {
        self.scraper.take().map(Scraper::finish).transpose()
    }

    pub(crate) fn module_version(&self) -> String {
        let stats = self.server.rpc("tcp_conn_limit.stats", json!([]));
        stats["version"].as_str().unwrap_or_default().to_owned()
    }

    /// The shared memory of the module with the connections held now.
    pub(crate) fn module_memory(&self) -> Result<ModuleMemory> {
        let mapped = self.server.stat("memory");
        Ok(ModuleMemory {
            capacity: self.server.stat("capacity"),
            mapped,
            resident: self.resident(mapped + RULES)?,
            held: self.loaded.held(),
        })
    }

    /// The bytes in use of the core's shared memory.
    pub(crate) fn core_memory(&self) -> u64 {
        number(&self.server.rpc("core.shmmem", json!([])), "real_used")
    }

    /// The bytes with memory behind them in the module's shared mapping, which is not much
    /// larger than `size`: those that a process of the server has touched.
    fn resident(&self, size: u64) -> Result<u64> {
        let mut resident = 0;
        for pid in pids(&self.server) {
            let smaps = fs::read_to_string(format!("/proc/{pid}/smaps"))?;
            resident += proportional_share(&smaps, size)
                .ok_or_else(|| format!("process {pid} has no shared mapping of {size} bytes"))?;
        }
        Ok(resident)
    }
}

/// The bytes that the module maps for rules, after those for sources: two sets of the
/// maximum number of rules.
const RULES: u64 = 2 * 65_535 * 64;

/// The table of listeners is at most as large. It is the last part of the mapping.
const LISTENERS: u64 = 64 << 10;

fn config(series: Series) -> Config {
    match series {
        Series::Off | Series::OffAgain => kamailio::off(),
        Series::Stock => kamailio::stock(LIMIT),
        Series::Module => kamailio::module(LIMIT),
        Series::Interposed => kamailio::interposed(),
        Series::Controls => kamailio::module_with_controls(&rules::file(false)),
        Series::Everything => kamailio::module_with_everything(&rules::file(true)),
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

/// Returns the `Pss`, in bytes, of the shared mapping of `size` bytes and the table of listeners
/// in the text of a smaps file. Anonymous shared mappings have no name, so the size identifies it.
fn proportional_share(smaps: &str, size: u64) -> Option<u64> {
    let mut wanted = false;
    for line in smaps.lines() {
        let mut words = line.split_whitespace();
        match (words.next()?, words.next()?) {
            (range, "rw-s") => {
                let (from, to) = range.split_once('-')?;
                let from = u64::from_str_radix(from, 16).ok()?;
                let more = (u64::from_str_radix(to, 16).ok()? - from).checked_sub(size);
                wanted = more.is_some_and(|more| more <= LISTENERS + PAGE);
            }
            ("Pss:", kib) if wanted => return Some(kib.parse::<u64>().ok()? * 1024),
            _ => {}
        }
    }
    None
}
