// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::env;

use crate::Result;
use crate::common::run::Run;
use crate::cpu::{Clock, Placement};
use crate::flood::Flood;
use crate::generator::Order;
use crate::kamailio::{LIMIT, Versions};
use crate::machine;
use crate::plan::{Plan, Rate};
use crate::progress::Progress;
use crate::record::{FloodSample, HeldCheck, Memory, Record, Sample, Scrapes, Series};
use crate::subject::Subject;

pub(crate) fn measure(run: Run) -> Result<Record> {
    let stock = machine::kamailio_version(&program("STOCK_KAMAILIO")?)?;
    let hooked = machine::kamailio_version(&program("HOOKED_KAMAILIO")?)?;
    let placement = Placement::arrange()?;
    let clock = Clock::detect();
    let plan = Plan::new(run.quick, clock, run.machine.descriptors)?;

    let mut measurement = Measurement {
        progress: Progress::start(plan.total_cost()),
        plan: &plan,
        placement: &placement,
        clock,
        held: Vec::new(),
        samples: Vec::new(),
        scrapes: Vec::new(),
        flood: Vec::new(),
    };
    let mut of_module = None;
    for round in 0..plan.rounds {
        of_module = Some(measurement.round(round)?);
    }
    for round in 0..plan.flood.rounds {
        measurement.flood(round)?;
    }
    measurement.progress.report("done");
    let Measurement {
        held,
        samples,
        scrapes,
        flood,
        ..
    } = measurement;
    let (module, memory) = of_module.ok_or("no rounds")?;
    Ok(Record {
        run,
        versions: Versions {
            stock,
            hooked,
            module,
        },
        clock,
        placement,
        limit: LIMIT,
        plan,
        memory,
        held,
        samples,
        scrapes,
        flood,
    })
}

/// The path of a server that the Makefile has built.
fn program(variable: &str) -> Result<String> {
    env::var(variable)
        .map_err(|_| format!("{variable} is not set: run `make bench-kamailio`").into())
}

struct Measurement<'a> {
    plan: &'a Plan,
    placement: &'a Placement,
    clock: Clock,
    progress: Progress,
    held: Vec<HeldCheck>,
    samples: Vec<Sample>,
    scrapes: Vec<Scrapes>,
    flood: Vec<FloodSample>,
}

impl Measurement<'_> {
    /// Starts the servers and measures them at each level. Returns the module's version,
    /// and the memory at the highest level.
    fn round(&mut self, round: usize) -> Result<(String, Memory)> {
        self.report(round, "starting the servers");
        let mut subjects = Plan::order(round)
            .into_iter()
            .map(|series| Subject::start(series, self.placement))
            .collect::<Result<Vec<Subject>>>()?;
        let mut core_memory = Vec::new();
        for &level in &self.plan.levels {
            self.report(round, &format!("opening {level} connections to each"));
            for subject in &mut subjects {
                self.held.push(subject.hold(level, round)?);
            }
            core_memory.push(find(&mut subjects, Series::Off).core_memory());
            for repeat in 0..self.plan.repeats {
                for rate in &self.plan.rates {
                    self.report(round, &format!("{level} held, {}/s", rate.per_second));
                    self.windows(&mut subjects, round, repeat, level, rate)?;
                }
            }
        }
        for subject in &mut subjects {
            self.scrapes.extend(subject.scrapes()?);
            subject.verify()?;
        }
        let module = find(&mut subjects, Series::Module);
        let taken = core_memory[core_memory.len() - 1] - core_memory[0];
        let levels = &self.plan.levels;
        let memory = Memory {
            module: module.module_memory()?,
            core_per_connection: taken as f64 / (levels[levels.len() - 1] - levels[0]) as f64,
        };
        Ok((module.module_version(), memory))
    }

    /// Measures one window of each series.
    fn windows(
        &mut self,
        subjects: &mut [Subject],
        round: usize,
        repeat: usize,
        held: usize,
        rate: &Rate,
    ) -> Result<()> {
        let order = Order::Churn {
            per_second: rate.per_second,
            warm_up: self.plan.warm_up,
            window: rate.window,
            clock: self.clock,
            with_client: false,
        };
        for series in Plan::order(round * self.plan.repeats + repeat) {
            self.samples.push(Sample {
                round,
                repeat,
                series,
                held,
                per_second: rate.per_second,
                window: find(subjects, series).churn(&order)?,
            });
            self.progress.advance(self.plan.cost(rate));
        }
        Ok(())
    }

    /// Starts the servers and lets one source flood them in turns.
    fn flood(&mut self, round: usize) -> Result<()> {
        let plan = &self.plan.flood;
        let report = |progress: &Progress, step: &str| {
            let (round, rounds) = (round + 1, plan.rounds);
            progress.report(&format!("flood, round {round} of {rounds}: {step}"));
        };
        report(&self.progress, "starting the servers");
        let mut servers = Vec::new();
        for server in Plan::flood_order(round) {
            servers.push(Flood::start(server, plan, self.placement)?);
        }
        for repeat in 0..plan.repeats {
            report(&self.progress, &format!("{}/s", plan.rate.per_second));
            for server in Plan::flood_order(round * plan.repeats + repeat) {
                let flood = servers.iter_mut().find(|flood| flood.server == server);
                let flood = flood.expect("every server was started");
                let pace = plan.rate.pace(self.plan.warm_up, self.clock);
                self.flood.push(flood.window(round, repeat, pace)?);
                self.progress.advance(self.plan.cost(&plan.rate));
            }
        }
        Ok(())
    }

    fn report(&self, round: usize, step: &str) {
        let rounds = self.plan.rounds;
        self.progress
            .report(&format!("round {} of {rounds}: {step}", round + 1));
    }
}

fn find(subjects: &mut [Subject], series: Series) -> &mut Subject {
    subjects
        .iter_mut()
        .find(|subject| subject.series == series)
        .expect("every series has a subject")
}
