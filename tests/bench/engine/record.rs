// SPDX-License-Identifier: GPL-2.0-or-later

//! The result of a run: the JSON file, from which the tables and the plot are made.

use serde::{Deserialize, Serialize};

use crate::churn::Blocks;
use crate::common::run::Run;
use crate::init::Start;
use crate::operations::{Operation, Variant};
use crate::plan::Plan;
use crate::scaling::{Counting, Spread};
use crate::{cold, delay, fleet, long_prefixes, stats, threads, walks};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: Run,
    pub(crate) versions: Versions,
    pub(crate) plan: Plan,
    pub(crate) series: Vec<Series>,
    pub(crate) huge_pages: HugePages,
    pub(crate) churn: Vec<Blocks>,
    pub(crate) fleets: Vec<Fleets>,
    pub(crate) long_prefixes: Vec<long_prefixes::Figure>,
    pub(crate) walks: Vec<walks::Figure>,
    pub(crate) cold: Vec<cold::Figure>,
    pub(crate) init: Vec<Start>,
    pub(crate) scaling: Vec<ScalingSeries>,
    /// Empty on a machine with one CPU.
    pub(crate) threads: Vec<threads::Figure>,
    /// Empty on a machine with one CPU.
    pub(crate) delay: Vec<delay::Figure>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) engine: String,
    /// `None` if the core's function was not measured.
    pub(crate) stock: Option<String>,
}

/// The time of an operation in each pass.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Series {
    pub(crate) variant: Variant,
    pub(crate) operation: Operation,
    pub(crate) sources: u32,
    pub(crate) ns: Vec<f64>,
}

/// How many fresh sources found no slot, for each server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fleets {
    pub(crate) case: fleet::Case,
    pub(crate) figures: Vec<fleet::Figure>,
}

impl Fleets {
    pub(crate) fn sum(&self) -> fleet::Figure {
        let figures = self.figures.iter();
        figures.fold(fleet::Figure::default(), |sum, figure| fleet::Figure {
            checked: sum.checked + figure.checked,
            without_slot: sum.without_slot + figure.without_slot,
        })
    }
}

/// Whether the engine was measured in huge pages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum HugePages {
    Measured(Vec<InHugePages>),
    /// The reason.
    NotMeasured(String),
}

/// A table that is partly in huge pages.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct InHugePages {
    pub(crate) sources: u32,
    pub(crate) bytes: u64,
}

/// The time of a cycle in the slowest of several processes, in each pass.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScalingSeries {
    pub(crate) counting: Counting,
    pub(crate) spread: Spread,
    pub(crate) processes: u32,
    pub(crate) ns: Vec<f64>,
}

impl HugePages {
    /// Returns whether the engine was measured in huge pages with that many sources.
    pub(crate) fn has(&self, sources: u32) -> bool {
        match self {
            HugePages::Measured(tables) => tables.iter().any(|table| table.sources == sources),
            HugePages::NotMeasured(_) => false,
        }
    }
}

impl Record {
    pub(crate) fn add(&mut self, variant: Variant, operation: Operation, sources: u32, ns: f64) {
        let same = |s: &&mut Series| {
            s.variant == variant && s.operation == operation && s.sources == sources
        };
        match self.series.iter_mut().find(same) {
            Some(series) => series.ns.push(rounded(ns)),
            None => self.series.push(Series {
                variant,
                operation,
                sources,
                ns: vec![rounded(ns)],
            }),
        }
    }

    pub(crate) fn add_scaling(
        &mut self,
        counting: Counting,
        spread: Spread,
        processes: u32,
        ns: f64,
    ) {
        let same = |s: &&mut ScalingSeries| {
            s.counting == counting && s.spread == spread && s.processes == processes
        };
        match self.scaling.iter_mut().find(same) {
            Some(series) => series.ns.push(rounded(ns)),
            None => self.scaling.push(ScalingSeries {
                counting,
                spread,
                processes,
                ns: vec![rounded(ns)],
            }),
        }
    }

    /// Returns `None` if that was not measured.
    pub(crate) fn spread(
        &self,
        variant: Variant,
        operation: Operation,
        sources: u32,
    ) -> Option<stats::Spread> {
        self.series
            .iter()
            .find(|s| s.variant == variant && s.operation == operation && s.sources == sources)
            .map(|s| stats::Spread::of(&s.ns))
    }

    pub(crate) fn scaling_spread(
        &self,
        counting: Counting,
        spread: Spread,
        processes: u32,
    ) -> Option<stats::Spread> {
        self.scaling
            .iter()
            .find(|s| s.counting == counting && s.spread == spread && s.processes == processes)
            .map(|s| stats::Spread::of(&s.ns))
    }
}

/// Rounds to hundredths: the rest is noise, and people read the file.
fn rounded(ns: f64) -> f64 {
    (ns * 100.0).round() / 100.0
}
