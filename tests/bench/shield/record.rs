// SPDX-License-Identifier: GPL-2.0-or-later

//! The result of a run: the JSON file, from which the tables are made.

use serde::{Deserialize, Serialize};

use crate::common::run::Run;
use crate::cpu::{Clock, Placement};
use crate::flooder::Flooded;
use crate::honest::Waits;
use crate::kamailio::Versions;
use crate::program::Cost;

/// What stops the flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stopped {
    /// No source floods.
    NoFlood,
    /// The server rejects the banned source.
    Server,
    /// The kernel shield.
    Shield,
    /// A rule of nftables that drops the source's packets.
    Nftables,
}

impl Stopped {
    pub(crate) const ALL: [Stopped; 4] = [
        Stopped::NoFlood,
        Stopped::Server,
        Stopped::Shield,
        Stopped::Nftables,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Stopped::NoFlood => "no flood",
            Stopped::Server => "server (shield off)",
            Stopped::Shield => "kernel shield",
            Stopped::Nftables => "nftables",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) run: Run,
    pub(crate) versions: Versions,
    pub(crate) clock: Clock,
    pub(crate) placement: Placement,
    pub(crate) samples: Vec<Sample>,
    pub(crate) costs: Vec<Cost>,
}

/// One window.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) round: usize,
    pub(crate) by: Stopped,
    /// Attempts a second that were asked for; `None`: as many as possible.
    pub(crate) rate: Option<u32>,
    pub(crate) flooded: Option<Flooded>,
    /// CPU time in the window, in nanoseconds: TCP main, all processes of the server, and
    /// the kernel's threads that handle packets.
    pub(crate) tcp_main_ns: u64,
    pub(crate) server_ns: u64,
    pub(crate) kernel_ns: u64,
    /// Length of the window, in seconds.
    pub(crate) seconds: f64,
    pub(crate) honest: Waits,
    /// Rejections by the server, and packets that the shield dropped.
    pub(crate) rejected: u64,
    pub(crate) dropped: u64,
}

impl Sample {
    /// CPU time of all that handles the flood: the flooder's, in which the kernel handles
    /// its packets, the server's and that of the kernel's threads. In per cent of a core.
    pub(crate) fn whole(&self) -> f64 {
        let flooder = self.flooded.as_ref().map_or(0, |flooded| flooded.run_ns);
        self.share(flooder + self.server_ns + self.kernel_ns)
    }

    pub(crate) fn share(&self, ns: u64) -> f64 {
        ns as f64 / self.seconds / 1e7
    }

    /// Attempts a second.
    pub(crate) fn attempts(&self) -> f64 {
        let per_second = |flooded: &Flooded| flooded.attempts as f64 / flooded.seconds;
        self.flooded.as_ref().map_or(0.0, per_second)
    }

    /// Microseconds of CPU time of all that handles the flood, for an attempt.
    pub(crate) fn whole_per_attempt(&self) -> f64 {
        self.whole() * 1e4 / self.attempts()
    }
}
