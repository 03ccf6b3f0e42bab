// SPDX-License-Identifier: GPL-2.0-or-later

//! The result of a run: the JSON file, from which the table is made.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::common::cpu::{Clock, Placement};
use crate::common::generator::Window;
use crate::common::run::Run;
use crate::series::Series;

/// The result of a run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: Run,
    pub(crate) versions: Vec<String>,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) limit: u32,
    pub(crate) plan: Plan,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) held: usize,
    pub(crate) per_second: u32,
    /// Windows of each series.
    pub(crate) windows: usize,
    pub(crate) window: Duration,
    /// The churn before each window that is not measured.
    pub(crate) warm_up: Duration,
}

/// One window of one server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) series: Series,
    pub(crate) turn: usize,
    #[serde(flatten)]
    pub(crate) window: Window,
}
