// SPDX-License-Identifier: GPL-2.0-or-later

//! Check, opened and closed on a table of sources with one connection each.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::abi::{Engine, PROXY};
use crate::chain::chain;
use crate::child::serve;
use crate::counts::{Chained, Open};
use crate::floor::Floor;
use crate::locked::LockedMap;
use crate::sources::{Sources, is_greedy, is_idle};

/// The maximum number of connections of new sources that are open at a time.
const MAX_NEW: u32 = 256;

/// Something that counts connections; sources are given as numbers.
pub(crate) trait Subject {
    /// Returns whether the source is at its limit.
    fn check(&self, index: u32) -> bool;
    /// Counts a connection and returns the token that releases it.
    fn opened(&self, index: u32) -> u64;
    /// Releases a connection. Returns `false` if the token is invalid.
    fn closed(&self, token: u64) -> bool;
    /// Returns the number of all connections, or an error if anything went wrong since
    /// the start.
    fn connections(&self) -> Result<u64>;
}

/// Sources that are banned at the same time.
const BANNED: u32 = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Variant {
    Floor,
    Engine,
    /// The engine in huge pages.
    HugePages,
    /// The engine with a rate and penalties, which no source exceeds.
    Controls,
    /// The engine with 10,000 rules, some of which name the listener of all connections.
    Listeners,
    /// The engine with [`BANNED`] other sources that are banned.
    Banned,
    /// The engine with a table of the same size, in which no source is banned.
    NotBanned,
    /// The engine of a node of a cluster, with a limit over all nodes.
    Cluster,
    /// The engine with networks counted, which have limits.
    Networks,
    /// The same, and sources and networks have rates.
    NetworkRates,
    /// The same, and trusted connections are counted.
    NetworkRatesTrust,
    /// The engine when the host has reached a level of pressure.
    Pressure,
    /// The engine with a connection of a proxy.
    Moves,
    /// A chained map in shared memory, one lock.
    Locked,
    /// The same in 64 parts, each with a lock.
    Striped,
    /// hashbrown in private memory, one lock.
    Hashbrown,
    Stock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Operation {
    /// One atomic addition.
    Add,
    CheckKnown,
    CheckNew,
    CheckAtLimit,
    OpenedKnown,
    OpenedNew,
    /// Opened, for a source without connections that still has its slot.
    OpenedReturning,
    ClosedKnown,
    /// Check, opened, closed.
    CycleKnown,
    CycleReturning,
    CycleNew,
    /// A cycle for most; one source in ten is new, and one in ten of the others is
    /// rejected.
    CycleMix,
    /// Moves a connection of a proxy from one client to another.
    CountFor,
}

/// The state of the sources in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Population {
    /// All sources are far below their limit.
    Modest,
    /// All sources are at their limit.
    AtLimit,
    /// One source in ten is at its limit.
    Mixed,
    /// One source in five has no connection any more, but still has its slot.
    Returning,
}

impl Population {
    /// The populations that every subject is measured with.
    pub(crate) const COMMON: [Population; 3] =
        [Population::Modest, Population::AtLimit, Population::Mixed];

    fn limit(self) -> i32 {
        match self {
            Population::Modest | Population::Returning => 1_000_000,
            Population::AtLimit => 1,
            Population::Mixed => 2,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Operations {
    pub(crate) variant: Variant,
    pub(crate) population: Population,
    pub(crate) sources: u32,
    pub(crate) steps: u32,
}

/// The time of one operation in one pass, in nanoseconds.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) operation: Operation,
    pub(crate) ns: f64,
}

impl Operations {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        let limit = self.population.limit();
        let max = self.held() + self.max_new();
        match self.variant {
            Variant::Floor => self.serve_floor(&Floor::new(self.sources)?),
            Variant::Engine => self.serve(&Engine::start(max, limit)?),
            Variant::HugePages => self.serve(&Engine::start_in_huge_pages(max, limit)?),
            Variant::Controls => self.serve(&Engine::start_with_controls(max, limit)?),
            Variant::Listeners => self.serve(&Engine::start_with_listeners(max, limit)?),
            Variant::Banned => {
                let engine = Engine::start(max + BANNED, limit)?;
                engine.ban_others(BANNED)?;
                self.serve(&engine)
            }
            Variant::NotBanned => self.serve(&Engine::start(max + BANNED, limit)?),
            Variant::Cluster => self.serve(&Engine::start_in_cluster(max, limit)?),
            Variant::Networks => self.serve(&Engine::start_with_networks(max, limit, None, false)?),
            Variant::NetworkRates | Variant::NetworkRatesTrust => {
                // Steps of a pass never use up a burst.
                let rate = Some((c"10000/s", 1_000_000));
                let trust = self.variant == Variant::NetworkRatesTrust;
                self.serve(&Engine::start_with_networks(max, limit, rate, trust)?)
            }
            Variant::Pressure => self.serve(&Engine::start_under_pressure(max, limit)?),
            Variant::Moves => self.serve_moves(&Engine::start_with_moves(max, limit)?),
            Variant::Locked => self.serve(&LockedMap::<Chained, 1>::new(max, limit)?),
            Variant::Striped => self.serve(&LockedMap::<Chained, 64>::new(max, limit)?),
            Variant::Hashbrown => self.serve(&LockedMap::<Open, 1>::new(max, limit)?),
            Variant::Stock => Err("the core's function runs in its own server".into()),
        }
    }

    fn serve_floor(&self, floor: &Floor) -> Result<()> {
        let indices = Sources::new(self.sources).known(self.steps);
        serve(|| {
            chain(self.warm_up(&indices), |index| floor.add(index));
            let ns = chain(&indices, |index| floor.add(index));
            Ok(vec![Figure {
                operation: Operation::Add,
                ns,
            }])
        })
    }

    /// All sources are clients of a proxy, which has one connection more.
    fn serve_moves(&self, engine: &Engine) -> Result<()> {
        let tokens = self.populate(engine);
        let moved = engine.opened_from(&PROXY);
        let indices = Sources::new(self.sources).known(self.steps);
        let count_for = |index| u64::from(engine.count_for(moved, index));
        serve(|| {
            chain(self.warm_up(&indices), count_for);
            Ok(vec![Figure {
                operation: Operation::CountFor,
                ns: chain(&indices, count_for),
            }])
        })?;
        let last = indices[indices.len() - 1];
        if engine.connections_of(last)? != 2 {
            return Err("the connection is not counted for its last client".into());
        }
        if !engine.closed(moved) || !tokens.into_iter().all(|token| engine.closed(token)) {
            return Err("a connection could not be released".into());
        }
        match engine.connections()? {
            0 => Ok(()),
            left => Err(format!("{left} connections counted after all were closed").into()),
        }
    }

    fn serve(&self, subject: &impl Subject) -> Result<()> {
        let tokens = self.populate(subject);
        let mut sources = Sources::new(self.sources);
        serve(|| {
            Ok(match self.population {
                Population::Modest => self.modest(subject, &mut sources),
                Population::AtLimit => self.at_limit(subject, &mut sources),
                Population::Mixed => self.mixed(subject, &mut sources),
                Population::Returning => self.returning(subject, &mut sources),
            })
        })?;
        let found = subject.connections()?;
        if found != tokens.len() as u64 {
            let expected = tokens.len();
            return Err(format!("{found} connections counted, expected {expected}").into());
        }
        if !tokens.into_iter().all(|token| subject.closed(token)) {
            return Err("a connection could not be released".into());
        }
        match subject.connections()? {
            0 => Ok(()),
            left => Err(format!("{left} connections counted after all were closed").into()),
        }
    }

    /// Opens the connections that stay.
    fn populate(&self, subject: &impl Subject) -> Vec<u64> {
        let mut tokens = Vec::new();
        for index in 0..self.sources {
            tokens.push(subject.opened(index));
            match self.population {
                Population::Modest | Population::Returning => {}
                // Only the first rejection of each source is logged, so reject once here.
                Population::AtLimit => assert!(subject.check(index)),
                Population::Mixed if !is_greedy(index) => {}
                Population::Mixed => {
                    tokens.push(subject.opened(index));
                    assert!(subject.check(index));
                }
            }
        }
        if self.population == Population::Returning {
            // Only now, when each source has its slot: so no source takes another's.
            let closes = |(token, index)| is_idle(index).then_some(token);
            let idle = tokens.iter().copied().zip(0..).filter_map(closes);
            idle.for_each(|token| assert!(subject.closed(token)));
            let mut index = 0..;
            tokens.retain(|_| !index.next().is_some_and(is_idle));
        }
        tokens
    }

    fn modest(&self, subject: &impl Subject, sources: &mut Sources) -> Vec<Figure> {
        let steps = self.steps;
        let known = sources.known(steps);
        let check = |index| u64::from(subject.check(index));
        let cycle = |index| cycle(subject, index);
        let mut figures = Vec::new();
        let mut add = |operation, ns| figures.push(Figure { operation, ns });

        chain(self.warm_up(&known), cycle);
        add(Operation::CycleKnown, chain(&known, cycle));
        add(Operation::CheckKnown, chain(&known, check));

        let (opened, closed) = self.opened_and_closed(subject, &known);
        add(Operation::OpenedKnown, opened);
        add(Operation::ClosedKnown, closed);

        add(Operation::CycleNew, chain(&sources.new_ones(steps), cycle));
        add(Operation::CheckNew, chain(&sources.new_ones(steps), check));
        add(
            Operation::OpenedNew,
            self.opened_in_batches(subject, &sources.new_ones(steps)),
        );
        figures
    }

    /// Opens connections of sources and then closes them, in batches of as many descriptors
    /// as the engine tracks besides those of the sources.
    fn opened_and_closed(&self, subject: &impl Subject, known: &[u32]) -> (f64, f64) {
        const BATCH: usize = 60_000;
        let mut tokens = Vec::with_capacity(BATCH);
        // The order is that of opening, which is random.
        let order: Vec<u32> = (0..BATCH as u32).collect();
        let (mut open, mut close) = (0.0, 0.0);
        for indices in known.chunks(BATCH) {
            let opened = |index| {
                let token = subject.opened(index);
                tokens.push(token);
                token
            };
            let count = indices.len() as f64;
            open += chain(indices, opened) * count;
            let closed = |i| u64::from(subject.closed(tokens[i as usize]));
            close += chain(&order[..indices.len()], closed) * count;
            tokens.clear();
        }
        let count = known.len() as f64;
        (open / count, close / count)
    }

    /// Opens a first connection of each source, in batches.
    fn opened_in_batches(&self, subject: &impl Subject, without: &[u32]) -> f64 {
        let batch = self.max_new() as usize;
        let mut tokens = Vec::with_capacity(batch);
        let mut total = 0.0;
        for indices in without.chunks(batch) {
            let opened = |index| {
                let token = subject.opened(index);
                tokens.push(token);
                token
            };
            total += chain(indices, opened) * indices.len() as f64;
            for token in tokens.drain(..) {
                subject.closed(token);
            }
        }
        total / without.len() as f64
    }

    fn returning(&self, subject: &impl Subject, sources: &mut Sources) -> Vec<Figure> {
        let idle = sources.idle(self.steps);
        chain(self.warm_up(&idle), |index| cycle(subject, index));
        vec![
            Figure {
                operation: Operation::CycleReturning,
                ns: chain(&idle, |index| cycle(subject, index)),
            },
            Figure {
                operation: Operation::OpenedReturning,
                ns: self.opened_in_batches(subject, &idle),
            },
        ]
    }

    fn at_limit(&self, subject: &impl Subject, sources: &mut Sources) -> Vec<Figure> {
        let known = sources.known(self.steps);
        let check = |index| u64::from(subject.check(index));
        chain(self.warm_up(&known), check);
        vec![Figure {
            operation: Operation::CheckAtLimit,
            ns: chain(&known, check),
        }]
    }

    fn mixed(&self, subject: &impl Subject, sources: &mut Sources) -> Vec<Figure> {
        let mix = sources.mix(self.steps);
        let known = sources.known(self.steps);
        chain(self.warm_up(&known), |index| cycle(subject, index));
        vec![Figure {
            operation: Operation::CycleMix,
            ns: chain(&mix, |index| cycle(subject, index)),
        }]
    }

    /// The connections that stay open, at most.
    fn held(&self) -> u32 {
        match self.population {
            Population::Mixed => self.sources + self.sources.div_ceil(10),
            Population::Modest | Population::AtLimit | Population::Returning => self.sources,
        }
    }

    /// The maximum number of connections of new sources at a time, small compared with
    /// the number of known sources.
    fn max_new(&self) -> u32 {
        (self.sources / 16).clamp(1, MAX_NEW)
    }

    /// The steps to run before measuring: other subjects have used the caches since the
    /// last pass.
    fn warm_up<'a>(&self, indices: &'a [u32]) -> &'a [u32] {
        &indices[..indices.len().min(2 * self.sources as usize)]
    }
}

/// What a connection goes through, unless it is rejected.
#[inline]
pub(crate) fn cycle(subject: &impl Subject, index: u32) -> u64 {
    if subject.check(index) {
        return 1;
    }
    u64::from(subject.closed(subject.opened(index)))
}
