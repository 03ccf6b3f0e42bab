// SPDX-License-Identifier: GPL-2.0-or-later

//! The jobs that a child process can run.

use serde::{Deserialize, Serialize};

use crate::operations::Operations;
use crate::{
    Result, churn, cold, delay, fleet, huge, init, long_prefixes, scaling, threads, walks,
};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Job {
    Operations(Operations),
    Churn(churn::Churn),
    Fleet(fleet::Fleet),
    LongPrefixes(long_prefixes::LongPrefixes),
    Init { connections: u32 },
    HugePages { connections: u32 },
    Scaling(scaling::Scaling),
    Threads(threads::Threads),
    Walks(walks::Walks),
    Cold(cold::Cold),
    Delay(delay::Delay),
}

impl Job {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        match self {
            Job::Operations(job) => job.work(),
            Job::Churn(job) => job.work(),
            Job::Fleet(job) => job.work(),
            Job::LongPrefixes(job) => job.work(),
            Job::Init { connections } => init::work(connections),
            Job::HugePages { connections } => huge::work(connections),
            Job::Scaling(job) => job.work(),
            Job::Threads(job) => job.work(),
            Job::Walks(job) => job.work(),
            Job::Cold(job) => job.work(),
            Job::Delay(job) => job.work(),
        }
    }
}
