// SPDX-License-Identifier: GPL-2.0-or-later

//! The sizes of the tables, and how often each measurement is made.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Numbers of sources, with one connection each.
    pub(crate) sizes: Vec<u32>,
    /// How often everything is measured.
    pub(crate) passes: u32,
    /// Operations in a pass, whose mean is recorded.
    pub(crate) steps: u32,
    /// Calls of the core's function in a pass.
    pub(crate) stock_calls: u32,
    /// Sources that pass through the table one after the other, in blocks.
    pub(crate) churn_blocks: u32,
    pub(crate) churn_block: u32,
    /// Servers with a fleet, each with its own hash key; see [`crate::fleet::Fleet`]. This
    /// and the next two fields are 0 if no fleet was measured.
    pub(crate) fleets: u32,
    pub(crate) fleet_turnovers: u32,
    pub(crate) fleet_checks: u32,
    /// Checks after other memory was used, of each kind.
    pub(crate) cold_checks: u32,
    /// Sources of the tables that are walked through.
    pub(crate) walk_sizes: Vec<u32>,
    /// Connections that the table of the init measurement is sized for.
    pub(crate) init_connections: u32,
}

impl Plan {
    pub(crate) fn new(quick: bool) -> Plan {
        if quick { Plan::quick() } else { Plan::full() }
    }

    fn full() -> Plan {
        Plan {
            sizes: vec![1_000, 10_000, 35_000, 100_000, 1_000_000],
            passes: 9,
            steps: 400_000,
            stock_calls: 5,
            churn_blocks: 10,
            churn_block: 1_000_000,
            fleets: 3,
            fleet_turnovers: 40,
            fleet_checks: 500_000,
            cold_checks: 50,
            walk_sizes: vec![35_000, 1_000_000],
            init_connections: 1_000_000,
        }
    }

    fn quick() -> Plan {
        Plan {
            // The last size is large enough for huge pages.
            sizes: vec![1_000, 35_000, 100_000],
            passes: 2,
            steps: 20_000,
            stock_calls: 2,
            churn_blocks: 10,
            churn_block: 20_000,
            fleets: 1,
            fleet_turnovers: 4,
            fleet_checks: 10_000,
            cold_checks: 5,
            walk_sizes: vec![35_000],
            init_connections: 1_000_000,
        }
    }
}
