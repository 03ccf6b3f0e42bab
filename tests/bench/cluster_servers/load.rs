// SPDX-License-Identifier: GPL-2.0-or-later

//! Many sources, which reconnect to any of the servers.

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::kamailio::number;

use crate::cpu::Clock;
use crate::crowd::{Opened, Order, ROLE};
use crate::process::Process;
use crate::record::{Cpu, Limited, LoadSample};
use crate::subject::{NODES, Subject, cluster};
use crate::wire::{Wire, count_during};
use crate::{Result, known};

/// The part of the connections that is replaced in a second.
const CHURN: f64 = 0.01;

pub(crate) struct Load {
    pub(crate) limited: Limited,
    pub(crate) limit: u32,
    pub(crate) sources: u32,
    pub(crate) window: Duration,
    /// Changes, and as many jumps, on each server.
    pub(crate) changes: u32,
    /// Whether it ends when the servers have compared what they know, which takes 10 s or more.
    pub(crate) is_audited: bool,
}

impl Load {
    /// About how long it takes.
    pub(crate) fn time(&self) -> Duration {
        let known = match self.limited.is_cluster() {
            true => Duration::from_millis(2_200) * self.changes,
            false => Duration::ZERO,
        };
        let audit = Duration::from_secs(if self.is_audited { 10 } else { 0 });
        self.window * 2 + known + audit + Duration::from_secs(3)
    }

    pub(crate) fn measure(&self, clock: Clock) -> Result<LoadSample> {
        let subject = Subject::start(self.limited, self.limit)?;
        let mut crowds = self.hold(&subject)?;
        let churn = f64::from(self.sources) * CHURN;
        for crowd in &mut crowds {
            crowd.order::<Opened>(&Order::Churn(churn / NODES as f64))?;
        }
        // The first cycle of reports.
        sleep(self.window);
        let (wire, cpu) = if self.limited.is_cluster() {
            count_during(&subject.wires, self.window, || self.cpu(&subject, clock))?
        } else {
            (Wire::default(), self.cpu(&subject, clock)?)
        };
        let mut reported = 0;
        let mut changed = Vec::new();
        if self.limited.is_cluster() {
            let nodes = subject.servers.iter().map(cluster);
            reported = nodes.map(|node| number(&node, "reported_sources")).sum();
            changed = known::measure(&subject, self.limit, self.changes)?;
        }
        for crowd in &mut crowds {
            crowd.order::<Opened>(&Order::Rest)?;
        }
        subject.wait_for_connections(self.sources.into());
        if self.is_audited {
            subject.wait_until_agreed();
        }
        for crowd in crowds {
            crowd.finish()?;
        }
        Ok(LoadSample {
            limited: self.limited,
            limit: self.limit,
            sources: self.sources,
            churn,
            reported,
            cpu,
            wire,
            changed,
        })
    }

    /// Connects all sources.
    fn hold(&self, subject: &Subject) -> Result<Vec<Process>> {
        let count = self.sources / NODES as u32;
        let mut crowds = Vec::new();
        for part in 0..NODES as u32 {
            let first = part * count;
            let rest = self.sources - first;
            let mut crowd = Process::start(&ROLE, &[])?;
            crowd.send(&Order::Hold {
                to: subject.addresses(),
                first,
                count: if part + 1 == NODES as u32 {
                    rest
                } else {
                    count
                },
            })?;
            crowds.push(crowd);
        }
        for crowd in &mut crowds {
            let Opened(_) = crowd.receive()?;
        }
        subject.wait_for_connections(self.sources.into());
        Ok(crowds)
    }

    fn cpu(&self, subject: &Subject, clock: Clock) -> Result<Cpu> {
        let before = subject.run_ns(clock)?;
        let began = Instant::now();
        sleep(self.window);
        let mut run_ns = subject.run_ns(clock)?;
        let seconds = began.elapsed().as_secs_f64();
        for (kind, ns) in &mut run_ns {
            *ns -= before.get(kind).copied().unwrap_or(0);
        }
        Ok(Cpu { seconds, run_ns })
    }
}
