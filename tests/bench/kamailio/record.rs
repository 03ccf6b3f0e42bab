// SPDX-License-Identifier: GPL-2.0-or-later

//! The result of a run: the JSON file, from which the tables and the plot are made.

use serde::{Deserialize, Serialize};

use crate::common::run::Run;
use crate::cpu::{Clock, Placement};
use crate::generator::Window;
use crate::kamailio::Versions;
use crate::plan::Plan;
use crate::stats::Spread;

/// A measured server. `Off` and `OffAgain` are set up alike, so their difference is the
/// noise of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Series {
    Off,
    Stock,
    OffAgain,
    Module,
    /// The module interposed in the server as released.
    Interposed,
    /// The module with rules, a rate, penalties and in monitor mode, its metrics fetched.
    Controls,
    /// The same in mode `enforce`, and with the limits of untrusted connections and networks,
    /// reserve, pressure and rules for proxies.
    Everything,
}

impl Series {
    pub(crate) const ALL: [Series; 7] = [
        Series::Off,
        Series::Stock,
        Series::OffAgain,
        Series::Module,
        Series::Interposed,
        Series::Controls,
        Series::Everything,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Series::Off => "off",
            Series::Stock => "stock",
            Series::OffAgain => "off again",
            Series::Module => "module",
            Series::Interposed => "module, interposed",
            Series::Controls => "module, all controls",
            Series::Everything => "module, everything on",
        }
    }
}

/// A server to which one source opens more connections than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Flooded {
    /// Only accepts and closes.
    Bare,
    /// Without a limit: it admits the connections, and the client closes them.
    Off,
    Stock,
    Module,
}

impl Flooded {
    pub(crate) const ALL: [Flooded; 4] =
        [Flooded::Bare, Flooded::Off, Flooded::Stock, Flooded::Module];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Flooded::Bare => "bare",
            Flooded::Off => "off",
            Flooded::Stock => "stock",
            Flooded::Module => "module",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: Run,
    pub(crate) versions: Versions,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) limit: u32,
    pub(crate) plan: Plan,
    pub(crate) memory: Memory,
    pub(crate) held: Vec<HeldCheck>,
    pub(crate) samples: Vec<Sample>,
    /// The scrapes of the series whose metrics are fetched, one entry per series and round.
    pub(crate) scrapes: Vec<Scrapes>,
    pub(crate) flood: Vec<FloodSample>,
}

/// Shared memory, in bytes.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Memory {
    pub(crate) module: ModuleMemory,
    /// The core's own shared memory per connection.
    pub(crate) core_per_connection: f64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ModuleMemory {
    /// Connections that the table is sized for.
    pub(crate) capacity: u64,
    pub(crate) mapped: u64,
    pub(crate) resident: u64,
    /// Connections held when `resident` was read.
    pub(crate) held: usize,
}

/// The connections of a server, counted in three ways.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeldCheck {
    pub(crate) round: usize,
    pub(crate) series: Series,
    pub(crate) level: usize,
    /// The generator's sockets that are up.
    pub(crate) sockets: usize,
    /// `opened_connections` of RPC `core.tcp_info`.
    pub(crate) tcp_info: usize,
    /// Sockets in `/proc/PID/fd` of TCP main, without those at its start.
    pub(crate) descriptors: usize,
}

/// One window of one server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) repeat: usize,
    pub(crate) series: Series,
    pub(crate) held: usize,
    pub(crate) per_second: u32,
    #[serde(flatten)]
    pub(crate) window: Window,
}

/// How the metrics of a server were fetched.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Scrapes {
    pub(crate) count: usize,
    /// The time from the start to the last scrape.
    pub(crate) seconds: f64,
    /// The size of an answer's body.
    pub(crate) bytes: usize,
    /// The time from the request to the end of the answer.
    pub(crate) milliseconds: Spread,
}

/// One window of one server in the flood.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FloodSample {
    pub(crate) round: usize,
    pub(crate) repeat: usize,
    pub(crate) server: Flooded,
    /// Rejections by the server's own account, including warm-up and end: the module's
    /// counter, or the log of stock, which does not count rejections.
    pub(crate) rejected: u64,
    /// Lines in the server's log since its previous window.
    pub(crate) lines: usize,
    /// The lines of these that TCP main logged.
    pub(crate) lines_of_tcp_main: usize,
    /// The first line of TCP main or, without one, the first of any process.
    pub(crate) first_line: Option<String>,
    #[serde(flatten)]
    pub(crate) window: Window,
}

impl Record {
    /// Whether the record has windows of `series`: it may be older than the series.
    pub(crate) fn has(&self, series: Series) -> bool {
        self.samples.iter().any(|sample| sample.series == series)
    }

    pub(crate) fn lowest(&self) -> usize {
        self.plan.levels[0]
    }

    pub(crate) fn highest(&self) -> usize {
        self.plan.levels[self.plan.levels.len() - 1]
    }

    /// The value of `metric` for each window of `series`, in the order of the run.
    pub(crate) fn values(
        &self,
        series: Series,
        held: usize,
        per_second: u32,
        metric: impl Fn(&Window) -> f64,
    ) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|s| s.series == series && s.held == held && s.per_second == per_second)
            .map(|s| metric(&s.window))
            .collect()
    }

    /// The spread of `metric` over the windows of all `series`.
    pub(crate) fn spread(
        &self,
        series: &[Series],
        held: usize,
        per_second: u32,
        metric: fn(&Window) -> f64,
    ) -> Spread {
        series
            .iter()
            .flat_map(|&series| self.values(series, held, per_second, metric))
            .collect()
    }

    /// The windows of `server` in the flood.
    pub(crate) fn flood_of(&self, server: Flooded) -> impl Iterator<Item = &FloodSample> {
        self.flood.iter().filter(move |s| s.server == server)
    }
}
