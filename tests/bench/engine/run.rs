// SPDX-License-Identifier: GPL-2.0-or-later

//! One run of the benchmark.

use std::time::Duration;

use crate::child::{Child, single};
use crate::churn::Churn;
use crate::cold::Cold;
use crate::common::progress::Progress;
use crate::common::run::Run;
use crate::delay::Delay;
use crate::fleet::{self, Case, Fleet};
use crate::huge::Allowed;
use crate::job::Job;
use crate::long_prefixes::LongPrefixes;
use crate::operations::{Figure, Operation, Operations, Population, Variant};
use crate::plan::Plan;
use crate::record::{Fleets, HugePages, InHugePages, Record, Versions};
use crate::scaling::{Counting, Scaling};
use crate::stock::Stock;
use crate::threads::Threads;
use crate::walks::Walks;
use crate::{Result, abi, cpu, report, scaling, shared};

pub(crate) fn measure(run: Run) -> Result<Record> {
    let plan = Plan::new(run.quick);
    let cpus = cpu::allowed()?;
    // All subjects run on the last CPU, which usually takes the fewest interrupts.
    cpu::pin(&cpus[cpus.len() - 1..])?;
    shared::small_pages_only()?;
    let progress = Progress::start(Duration::ZERO);

    let max = plan.sizes.iter().max().copied().unwrap_or_default();
    let stock = Stock::start(max)?;
    if stock.is_none() {
        progress.report("not measuring the core's own function: `make bench` builds what it needs");
    }
    let (huge_pages, _allowed) = huge_pages(&plan);
    let mut measurement = Measurement {
        progress,
        record: Record {
            run,
            versions: Versions {
                engine: abi::version(),
                stock: stock.as_ref().map(|stock| stock.version.clone()),
            },
            plan: plan.clone(),
            series: Vec::new(),
            huge_pages,
            churn: Vec::new(),
            fleets: Vec::new(),
            long_prefixes: Vec::new(),
            walks: Vec::new(),
            cold: Vec::new(),
            init: Vec::new(),
            scaling: Vec::new(),
            threads: Vec::new(),
            delay: Vec::new(),
        },
        plan,
    };
    for sources in measurement.plan.sizes.clone() {
        measurement.operations(sources, stock.as_ref())?;
    }
    measurement.init()?;
    measurement.churn()?;
    measurement.fleets()?;
    measurement.long_prefixes()?;
    measurement.walks()?;
    measurement.cold()?;
    measurement.scaling(&cpus)?;
    if let &[.., other, last] = &cpus[..] {
        measurement.threads([last, other])?;
        measurement.delay([last, other])?;
    }
    measurement.progress.report("done");
    Ok(measurement.record)
}

/// A subject that takes turns in a pass.
enum Turn<'a> {
    Child(Variant, Child),
    Stock(&'a Stock),
}

struct Measurement {
    plan: Plan,
    progress: Progress,
    record: Record,
}

impl Measurement {
    /// Measures all subjects at one size, in turns.
    fn operations(&mut self, sources: u32, stock: Option<&Stock>) -> Result<()> {
        self.progress
            .report(&format!("{sources} sources: filling the tables"));
        let mut turns = Vec::new();
        for (variant, population) in subjects(
            self.record.huge_pages.has(sources),
            report::AIMED.contains(&sources),
        ) {
            let job = Job::Operations(Operations {
                variant,
                population,
                sources,
                steps: self.plan.steps,
            });
            turns.push(Turn::Child(variant, Child::start(&job)?));
        }
        if let Some(stock) = stock {
            stock.fill(sources)?;
            turns.push(Turn::Stock(stock));
        }
        for pass in 0..self.plan.passes {
            self.report_pass(&format!("{sources} sources"), pass);
            // The first subject changes with each pass.
            turns.rotate_left(1);
            for turn in &mut turns {
                self.take(turn, sources)?;
            }
        }
        for turn in turns {
            match turn {
                Turn::Child(_, child) => child.finish()?,
                Turn::Stock(stock) => stock.fill(0)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, turn: &mut Turn<'_>, sources: u32) -> Result<()> {
        match turn {
            Turn::Child(variant, child) => {
                for Figure { operation, ns } in child.pass()? {
                    self.record.add(*variant, operation, sources, ns);
                }
            }
            Turn::Stock(stock) => {
                for ns in stock.pass(self.plan.stock_calls)? {
                    let check = Operation::CheckKnown;
                    self.record.add(Variant::Stock, check, sources, ns);
                }
            }
        }
        Ok(())
    }

    fn init(&mut self) -> Result<()> {
        self.progress.report("init");
        let connections = self.plan.init_connections;
        for _ in 0..self.plan.passes {
            self.record.init.extend(single(&Job::Init { connections })?);
        }
        Ok(())
    }

    fn churn(&mut self) -> Result<()> {
        let job = Job::Churn(Churn {
            blocks: self.plan.churn_blocks,
            block: self.plan.churn_block,
        });
        for pass in 0..self.plan.passes {
            self.report_pass("churn", pass);
            self.record.churn.extend(single(&job)?);
        }
        Ok(())
    }

    fn fleets(&mut self) -> Result<()> {
        for (case, number) in Case::all().into_iter().zip(1..) {
            let cases = Case::all().len();
            self.progress.report(&format!("fleet {number} of {cases}"));
            let mut figures = Vec::new();
            for seed in 0..self.plan.fleets {
                figures.extend(single::<fleet::Figure>(&Job::Fleet(Fleet {
                    case,
                    turnovers: self.plan.fleet_turnovers,
                    checks: self.plan.fleet_checks,
                    seed: seed.into(),
                }))?);
            }
            self.record.fleets.push(Fleets { case, figures });
        }
        Ok(())
    }

    fn long_prefixes(&mut self) -> Result<()> {
        let steps = self.plan.steps;
        let start = |ipv6_prefix| {
            let job = LongPrefixes { ipv6_prefix, steps };
            Child::start(&Job::LongPrefixes(job))
        };
        let mut children = [start(64)?, start(128)?];
        for pass in 0..self.plan.passes {
            self.report_pass("long prefixes", pass);
            children.rotate_left(1);
            for child in &mut children {
                self.record.long_prefixes.extend(child.pass()?);
            }
        }
        children.into_iter().try_for_each(Child::finish)
    }

    fn walks(&mut self) -> Result<()> {
        let sizes = self.plan.walk_sizes.clone();
        let start = |&sources| Child::start(&Job::Walks(Walks { sources }));
        let mut children: Vec<Child> = sizes.iter().map(start).collect::<Result<_>>()?;
        for pass in 0..self.plan.passes {
            self.report_pass("walks", pass);
            for child in &mut children {
                self.record.walks.extend(child.pass()?);
            }
        }
        children.into_iter().try_for_each(Child::finish)
    }

    fn cold(&mut self) -> Result<()> {
        let checks = self.plan.cold_checks;
        let mut child = Child::start(&Job::Cold(Cold { checks }))?;
        for pass in 0..self.plan.passes {
            self.report_pass("cold", pass);
            self.record.cold.extend(child.pass()?);
        }
        child.finish()
    }

    fn threads(&mut self, cpus: [usize; 2]) -> Result<()> {
        let steps = self.plan.steps;
        let mut child = Child::start(&Job::Threads(Threads { cpus, steps }))?;
        for pass in 0..self.plan.passes {
            self.report_pass("threads", pass);
            self.record.threads.extend(child.pass()?);
        }
        child.finish()
    }

    fn scaling(&mut self, cpus: &[usize]) -> Result<()> {
        let mut children = Vec::new();
        for counting in Counting::ALL {
            let job = Job::Scaling(Scaling {
                counting,
                cpus: cpus.to_vec(),
                steps: self.plan.steps,
            });
            children.push((counting, Child::start(&job)?));
        }
        for pass in 0..self.plan.passes {
            self.report_pass("several processes", pass);
            children.rotate_left(1);
            for (counting, child) in &mut children {
                for figure in child.pass()? {
                    let scaling::Figure {
                        spread,
                        processes,
                        ns,
                    } = figure;
                    self.record.add_scaling(*counting, spread, processes, ns);
                }
            }
        }
        for (_, child) in children {
            child.finish()?;
        }
        Ok(())
    }

    fn delay(&mut self, cpus: [usize; 2]) -> Result<()> {
        let job = Job::Delay(Delay {
            cpus,
            releases: self.plan.steps,
        });
        let mut child = Child::start(&job)?;
        for pass in 0..self.plan.passes {
            self.report_pass("checks during releases", pass);
            self.record.delay.extend(child.pass()?);
        }
        child.finish()
    }

    fn report_pass(&self, subject: &str, pass: u32) {
        let passes = self.plan.passes;
        self.progress
            .report(&format!("{subject}: pass {} of {passes}", pass + 1));
    }
}

/// Returns the sizes at which the engine can have huge pages, and the guard that allows
/// them for the run.
fn huge_pages(plan: &Plan) -> (HugePages, Option<Allowed>) {
    let found = || -> Result<_> {
        let allowed = Allowed::new()?;
        let mut tables = Vec::new();
        for &sources in &plan.sizes {
            let bytes = allowed.bytes(sources)?;
            if bytes > 0 {
                tables.push(InHugePages { sources, bytes });
            }
        }
        Ok((tables, allowed))
    };
    match found() {
        Ok((tables, _)) if tables.is_empty() => {
            let reason = "the system gave no huge pages although its setting allows them";
            (HugePages::NotMeasured(reason.to_owned()), None)
        }
        Ok((tables, allowed)) => (HugePages::Measured(tables), Some(allowed)),
        Err(error) => (HugePages::NotMeasured(error.to_string()), None),
    }
}

/// All subjects that run in their own process.
fn subjects(in_huge_pages: bool, has_networks: bool) -> Vec<(Variant, Population)> {
    let mut subjects = vec![(Variant::Floor, Population::Modest)];
    subjects.push((Variant::Engine, Population::Returning));
    for variant in [
        Variant::Controls,
        Variant::Listeners,
        Variant::Banned,
        Variant::NotBanned,
        Variant::Cluster,
        Variant::Pressure,
        Variant::Moves,
    ] {
        subjects.push((variant, Population::Modest));
    }
    if has_networks {
        let variants = [
            Variant::Networks,
            Variant::NetworkRates,
            Variant::NetworkRatesTrust,
        ];
        subjects.extend(variants.map(|variant| (variant, Population::Modest)));
    }
    for population in Population::COMMON {
        if in_huge_pages {
            subjects.push((Variant::HugePages, population));
        }
        for variant in [
            Variant::Engine,
            Variant::Locked,
            Variant::Striped,
            Variant::Hashbrown,
        ] {
            subjects.push((variant, population));
        }
    }
    subjects
}
