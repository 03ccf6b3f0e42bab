// SPDX-License-Identifier: GPL-2.0-or-later

//! The result of a run: the JSON file, from which the tables and the plot are made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attacker::Outcome;
use crate::chosen::Proof;
use crate::common::run::Run;
use crate::cpu::{Clock, Placement};
use crate::honest::Fared;
use crate::kamailio::Versions;
use crate::plan::Plan;
use crate::scenario::Scenario;

/// A server under attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Which {
    Off,
    Module,
    Stock,
}

impl Which {
    pub(crate) const ALL: [Which; 3] = [Which::Off, Which::Module, Which::Stock];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Which::Off => "off",
            Which::Module => "module",
            Which::Stock => "stock",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: Run,
    pub(crate) versions: Versions,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) plan: Plan,
    /// Slots for sources in the module's table.
    pub(crate) slots: u64,
    pub(crate) chosen: Proof,
    pub(crate) samples: Vec<Sample>,
    /// The merged windows of each server in each scenario.
    pub(crate) together: Vec<Together>,
}

/// One window of one server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) scenario: Scenario,
    pub(crate) server: Which,
    pub(crate) honest: Times,
    /// CPU time of TCP main, in per cent of a core.
    pub(crate) cpu_share: f64,
    /// How long TCP main waited for its CPU, in per cent of the window.
    pub(crate) cpu_wait: f64,
    /// The load of the CPUs for all but TCP main, in per cent.
    pub(crate) others_busy: f64,
    /// The attack, including warm-up and end.
    pub(crate) attack: Outcome,
    /// The server's connections at the end of the window, including those held.
    pub(crate) connections: u64,
    /// Rejections by the server's own account, including warm-up and end: the module's
    /// counter, or the log of stock, which does not count rejections.
    pub(crate) rejected: u64,
    /// Sources in the module's table at the end of the window.
    pub(crate) sources: u64,
    /// The module's counters, including warm-up and end.
    pub(crate) counted: Counted,
}

/// Counters of the module; 0 for servers without it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) admitted: u64,
    pub(crate) errors: u64,
    /// Connections admitted uncounted, because the table had no free slot for the source.
    pub(crate) table_full: u64,
}

impl Counted {
    pub(crate) fn since(&self, before: &Counted) -> Counted {
        Counted {
            admitted: self.admitted - before.admitted,
            errors: self.errors - before.errors,
            table_full: self.table_full - before.table_full,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Together {
    pub(crate) scenario: Scenario,
    pub(crate) server: Which,
    pub(crate) honest: Times,
}

/// How long honest sources waited, in milliseconds. A failed source counts as a wait of
/// the plan's `patience`, so a percentile of that length is a failure.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) sources: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) max: f64,
    pub(crate) timed_out: usize,
    pub(crate) closed: usize,
}

impl Times {
    pub(crate) fn of(fared: &Fared, patience: Duration) -> Times {
        let failed = fared.timed_out + fared.closed;
        let mut sorted: Vec<f64> = fared.times.iter().map(|&us| f64::from(us) / 1e3).collect();
        sorted.resize(sorted.len() + failed, patience.as_secs_f64() * 1e3);
        sorted.sort_by(f64::total_cmp);
        // The smallest value that at least this part of the sources does not exceed.
        let percentile = |part: f64| {
            let rank = (part * sorted.len() as f64).ceil() as usize;
            sorted[rank.max(1) - 1]
        };
        Times {
            sources: sorted.len(),
            p50: percentile(0.5),
            p99: percentile(0.99),
            p99_9: percentile(0.999),
            max: percentile(1.0),
            timed_out: fared.timed_out,
            closed: fared.closed,
        }
    }

    pub(crate) fn failed(&self) -> usize {
        self.timed_out + self.closed
    }
}

impl Record {
    /// The scenarios that were measured with all servers.
    pub(crate) fn scenarios(&self) -> impl Iterator<Item = Scenario> + '_ {
        let is_there = |scenario| {
            Which::ALL
                .iter()
                .all(|&s| self.together(scenario, s).is_some())
        };
        Scenario::ALL.into_iter().filter(move |&s| is_there(s))
    }

    pub(crate) fn together(&self, scenario: Scenario, server: Which) -> Option<&Times> {
        let mut all = self.together.iter();
        let found = all.find(|t| t.scenario == scenario && t.server == server);
        found.map(|together| &together.honest)
    }

    /// The value of `metric` for each window.
    pub(crate) fn values(
        &self,
        scenario: Scenario,
        server: Which,
        metric: impl Fn(&Sample) -> f64,
    ) -> Vec<f64> {
        self.samples
            .iter()
            .filter(|s| s.scenario == scenario && s.server == server)
            .map(metric)
            .collect()
    }
}
