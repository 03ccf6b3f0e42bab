// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::chosen::{self, Chosen};
use crate::cpu::{Clock, Placement};
use crate::harness::{Servers, in_own_network};
use crate::honest::Fared;
use crate::kamailio::Versions;
use crate::machine::{self, Machine, raise_descriptors};
use crate::plan::Plan;
use crate::record::{Record, Sample, Times, Together, Which};
use crate::results;
use crate::scenario::Scenario;
use crate::subject::{Conditions, Subject};

/// Measures in a network namespace that has all addresses of the attackers. The record is
/// written to `json` after each turn of the servers, so it exists even if the run ends
/// early.
pub(crate) fn measure(quick: bool, json: &Path) -> Result<()> {
    let descriptors = raise_descriptors()?;
    let machine = machine::describe(descriptors)?;
    let mut done = None;
    in_own_network(|| {
        let run = Run::start(quick, machine).and_then(|run| run.rounds(json));
        // An error cannot be sent to another thread; its text can.
        done = Some(run.map_err(|error| error.to_string()));
    });
    done.ok_or("nothing was measured: creating a network namespace failed; run as root")??;
    Ok(())
}

struct Run {
    start: Instant,
    chosen: Chosen,
    subjects: Vec<Subject>,
    record: Record,
    /// The merged results of the honest sources so far.
    fared: Vec<(Scenario, Which, Fared)>,
}

impl Run {
    fn start(quick: bool, machine: Machine) -> Result<Run> {
        let start = Instant::now();
        let servers = Servers::from_env();
        let stock = machine::kamailio_version(&servers.stock.to_string_lossy())?;
        let hooked = machine::kamailio_version(&servers.hooked.to_string_lossy())?;
        let placement = Placement::arrange()?;
        let plan = Plan::new(quick);
        eprintln!("choosing addresses that collide");
        let chosen = chosen::choose(plan.at_a_time())?;
        eprintln!("starting the servers, with {} connections each", plan.held);
        let subjects = Which::ALL
            .into_iter()
            .map(|which| Subject::start(which, &plan, &placement))
            .collect::<Result<Vec<Subject>>>()?;
        let module = subjects.iter().find(|s| s.which == Which::Module);
        let (slots, module) = module.ok_or("no module")?.module();
        Ok(Run {
            start,
            subjects,
            fared: Vec::new(),
            record: Record {
                machine,
                versions: Versions {
                    stock,
                    hooked,
                    module,
                },
                quick,
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

    fn rounds(mut self, json: &Path) -> Result<()> {
        let rounds = self.record.plan.rounds;
        for round in 0..rounds {
            for (nth, scenario) in Scenario::ALL.into_iter().enumerate() {
                let elapsed = self.start.elapsed().as_secs();
                eprintln!(
                    "[{}:{:02} elapsed] round {} of {rounds}: {}",
                    elapsed / 60,
                    elapsed % 60,
                    round + 1,
                    scenario.name()
                );
                for which in Plan::order(round * Scenario::ALL.len() + nth) {
                    let sample = self.window(scenario, which, round)?;
                    self.record.samples.push(sample);
                }
                results::write(json, &self.record)?;
            }
        }
        Ok(())
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
