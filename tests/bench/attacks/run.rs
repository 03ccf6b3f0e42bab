// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::chosen::{self, Chosen};
use crate::common::run::Run;
use crate::cpu::{Clock, Placement};
use crate::honest::Fared;
use crate::kamailio::Versions;
use crate::machine;
use crate::plan::Plan;
use crate::progress::Progress;
use crate::record::{Record, Sample, Times, Together, Which};
use crate::results;
use crate::scenario::Scenario;
use crate::subject::{Conditions, Subject};
use support::kamailio::{Servers, in_own_network};

/// Measures in a network namespace that has all addresses of the attackers. The record is
/// written to `json` after each turn of the servers, so it exists even if the run ends
/// early.
pub(crate) fn measure(run: Run, json: &Path) -> Result<Record> {
    let mut done = None;
    in_own_network(|| {
        let measured = Measurement::start(run).and_then(|measurement| measurement.rounds(json));
        // An error cannot be sent to another thread; its text can.
        done = Some(measured.map_err(|error| error.to_string()));
    });
    Ok(done.ok_or("nothing was measured: creating a network namespace failed; run as root")??)
}

struct Measurement {
    progress: Progress,
    chosen: Chosen,
    subjects: Vec<Subject>,
    record: Record,
    /// The merged results of the honest sources so far.
    fared: Vec<(Scenario, Which, Fared)>,
}

impl Measurement {
    fn start(run: Run) -> Result<Measurement> {
        let progress = Progress::start(Duration::ZERO);
        let servers = Servers::from_env();
        let stock = machine::kamailio_version(&servers.stock.to_string_lossy())?;
        let hooked = machine::kamailio_version(&servers.hooked.to_string_lossy())?;
        let placement = Placement::arrange()?;
        let plan = Plan::new(run.quick);
        progress.report("choosing addresses that collide");
        let chosen = chosen::choose(plan.at_a_time())?;
        progress.report(&format!(
            "starting the servers, with {} connections each",
            plan.held
        ));
        let subjects = Which::ALL
            .into_iter()
            .map(|which| Subject::start(which, &plan, &placement))
            .collect::<Result<Vec<Subject>>>()?;
        let module = subjects.iter().find(|s| s.which == Which::Module);
        let (slots, module) = module.ok_or("no module")?.module();
        Ok(Measurement {
            progress,
            subjects,
            fared: Vec::new(),
            record: Record {
                run,
                versions: Versions {
                    stock,
                    hooked,
                    module,
                },
                clock: Clock::detect(),
                placement,
                plan,
                slots,
                chosen: chosen.proof,
                samples: Vec::new(),
                together: Vec::new(),
            },
            chosen,
        })
    }

    fn rounds(mut self, json: &Path) -> Result<Record> {
        let rounds = self.record.plan.rounds;
        for round in 0..rounds {
            for (nth, scenario) in Scenario::ALL.into_iter().enumerate() {
                self.progress.report(&format!(
                    "round {} of {rounds}: {}",
                    round + 1,
                    scenario.name()
                ));
                for which in Plan::order(round * Scenario::ALL.len() + nth) {
                    let sample = self.window(scenario, which, round)?;
                    self.record.samples.push(sample);
                }
                results::write(json, &self.record)?;
            }
        }
        Ok(self.record)
    }

    fn window(&mut self, scenario: Scenario, which: Which, round: usize) -> Result<Sample> {
        let plan = &self.record.plan;
        let subject = self.subjects.iter_mut().find(|s| s.which == which);
        let subject = subject.ok_or("a server has no subject")?;
        let conditions = Conditions {
            plan,
            placement: &self.record.placement,
            clock: self.record.clock,
            chosen: &self.chosen.addresses,
        };
        let (sample, fared) = subject.window(scenario, round, &conditions)?;
        let mut all = self.fared.iter_mut();
        let all = match all.find(|(s, w, _)| (*s, *w) == (scenario, which)) {
            Some((_, _, all)) => all,
            None => {
                self.fared.push((scenario, which, Fared::default()));
                &mut self.fared.last_mut().ok_or("just pushed")?.2
            }
        };
        all.add(fared);
        let together = Together {
            scenario,
            server: which,
            honest: Times::of(all, plan.patience),
        };
        self.record
            .together
            .retain(|t| (t.scenario, t.server) != (scenario, which));
        self.record.together.push(together);
        Ok(sample)
    }
}
