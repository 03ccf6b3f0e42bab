// SPDX-License-Identifier: GPL-2.0-or-later

//! A server that a few greedy sources fill, in virtual time: the counting and the verdicts
//! are the engine's, everything else is a schedule. So each policy gets the same load, and a
//! run has the same result on every machine.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Waits;
use crate::policy::Policy;
use support::engine::{load_rules, source};
use tcp_conn_limit::limiter::{Limiter, Token, Worker, load};
use tcp_conn_limit::source::PrefixLengths;

/// What the clients do. Times are in milliseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Load {
    /// Connections that the server allows.
    pub(crate) max: u32,
    /// Connections that each source may have.
    pub(crate) limit: i32,
    /// Greedy sources: each tries to open a connection every `retry` and keeps all.
    pub(crate) greedy: u32,
    pub(crate) greedy_retry: u64,
    /// Phones, each an address of its own, that come in a second on average. Each needs one
    /// connection.
    pub(crate) phones_per_second: u32,
    /// How long a phone keeps its connection.
    pub(crate) phone_stays: u64,
    /// Trunks, which have a trusted rule: each opens a connection in each `trunk_period`, and
    /// keeps it as long as a phone does.
    pub(crate) trunks: u32,
    pub(crate) trunk_period: u64,
    /// Phones and trunks try again after this time on average if they are rejected.
    pub(crate) retry: u64,
    /// They give up after this time.
    pub(crate) patience: u64,
    /// The greedy sources begin after this time. What happens before is not counted.
    pub(crate) calm: u64,
    /// The end.
    pub(crate) end: u64,
}

impl Load {
    /// A few greedy sources, and the same number of attempts from many.
    pub(crate) fn all(quick: bool) -> [Load; 2] {
        let few = Load::of_few(quick);
        let many = Load {
            greedy: 400,
            greedy_retry: 2_000,
            ..few.clone()
        };
        [few, many]
    }

    fn of_few(quick: bool) -> Load {
        Load {
            max: 1_000,
            limit: 500,
            greedy: 4,
            greedy_retry: 20,
            phones_per_second: 5,
            phone_stays: 60_000,
            trunks: 5,
            trunk_period: 10_000,
            retry: 2_000,
            patience: 32_000,
            calm: 120_000,
            end: if quick { 300_000 } else { 1_200_000 },
        }
    }
}

/// Who got in under a policy.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) policy: Policy,
    pub(crate) phones: Waits,
    pub(crate) trunks: Waits,
    /// The most connections that the greedy sources had together.
    pub(crate) greedy_most: usize,
    /// Connections in use at the end.
    pub(crate) in_use: usize,
}

thread_local! {
    /// Connections in use, and their maximum.
    static IN_USE: Cell<(u32, u32)> = const { Cell::new((0, 0)) };
}

fn read_load() -> load::Load {
    let (in_use, max) = IN_USE.get();
    load::Load { in_use, max }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Greedy(u32),
    Phone(u32),
    Trunk(u32),
}

impl Who {
    fn source(self) -> tcp_conn_limit::source::Source {
        match self {
            // Those of the rule below.
            Who::Trunk(n) => source(n),
            Who::Greedy(n) => source(0x1_0000 + n),
            Who::Phone(n) => source(0x10_0000 + n),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A client that came at this time tries to connect.
    Try(Who, u64),
    /// The connection with this number closes.
    Close(usize),
}

struct World<'a> {
    load: &'a Load,
    policy: Policy,
    limiter: Limiter,
    random: SmallRng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Makes the order of events that are due at the same time that of their creation.
    created: u64,
    open: Vec<Option<(Who, Token)>>,
    in_use: usize,
    greedy: usize,
    outcome: Outcome,
}

/// Runs the load under `policy`.
pub(crate) fn run(policy: Policy, load: &Load) -> Outcome {
    let limiter = Limiter::new(load.max, load.limit, PrefixLengths::DEFAULT)
        .expect("a small table")
        .with_load(read_load);
    load_rules(&limiter, &["10.0.0.0/24=500 trusted"]);
    policy.apply(&limiter);
    let mut world = World {
        load,
        policy,
        limiter,
        random: SmallRng::seed_from_u64(1),
        events: BinaryHeap::new(),
        created: 0,
        open: Vec::new(),
        in_use: 0,
        greedy: 0,
        outcome: Outcome {
            policy,
            phones: Waits::default(),
            trunks: Waits::default(),
            greedy_most: 0,
            in_use: 0,
        },
    };
    world.schedule();
    while let Some(Reverse((now, _, event))) = world.events.pop()
        && now < load.end
    {
        match event {
            Event::Try(who, came) => world.connect(now, who, came),
            Event::Close(number) => world.close(number),
        }
    }
    let mut outcome = world.outcome;
    outcome.in_use = world.in_use;
    outcome.phones = outcome.phones.sort();
    outcome.trunks = outcome.trunks.sort();
    outcome
}

impl World<'_> {
    fn at(&mut self, time: u64, event: Event) {
        self.events.push(Reverse((time, self.created, event)));
        self.created += 1;
    }

    /// Everything that happens whatever the server does.
    fn schedule(&mut self) {
        let load = self.load;
        // The same for all policies, also if they draw other numbers later.
        let mut random = SmallRng::seed_from_u64(2);
        let phones = load.end * u64::from(load.phones_per_second) / 1_000;
        for n in 0..phones {
            let came = random.random_range(0..load.end);
            self.at(came, Event::Try(Who::Phone(n as u32), came));
        }
        for n in 0..load.trunks {
            for period in (0..load.end).step_by(load.trunk_period as usize) {
                let came = period + random.random_range(0..load.trunk_period);
                self.at(came, Event::Try(Who::Trunk(n), came));
            }
        }
        for n in 0..load.greedy {
            let first = load.calm + u64::from(n) * load.greedy_retry / u64::from(load.greedy);
            for came in (first..load.end).step_by(load.greedy_retry as usize) {
                self.at(came, Event::Try(Who::Greedy(n), came));
            }
        }
    }

    fn connect(&mut self, now: u64, who: Who, came: u64) {
        let load = self.load;
        if self.is_admitted(who) {
            let token = self.limiter.opened(Worker::ACCEPTOR, who.source(), 0);
            let token = token.expect("each connection has a slot");
            self.open.push(Some((who, token)));
            self.in_use += 1;
            match who {
                Who::Greedy(_) => {
                    self.greedy += 1;
                    self.outcome.greedy_most = self.outcome.greedy_most.max(self.greedy);
                }
                Who::Phone(_) | Who::Trunk(_) => {
                    let number = self.open.len() - 1;
                    self.at(now + load.phone_stays, Event::Close(number));
                    self.count(who, came, Some(now - came));
                }
            }
        } else if !matches!(who, Who::Greedy(_)) {
            // At random, so that tries do not coincide with connections that close.
            let next = now + self.random.random_range(load.retry / 2..load.retry * 3 / 2);
            match next < came + load.patience {
                true => self.at(next, Event::Try(who, came)),
                false => self.count(who, came, None),
            }
        }
        IN_USE.set((self.in_use as u32, load.max));
    }

    fn is_admitted(&mut self, who: Who) -> bool {
        let max = self.load.max;
        IN_USE.set((self.in_use as u32, max));
        if self.in_use >= max as usize {
            return false;
        }
        match self.limiter.check(who.source()) {
            Ok(()) => !self.policy.drops(self.in_use as u32, max, &mut self.random),
            Err(rejection) => !self.limiter.rejected(Worker::ACCEPTOR, rejection),
        }
    }

    fn close(&mut self, number: usize) {
        if let Some((_, token)) = self.open[number].take() {
            let closed = self.limiter.closed(Worker::ACCEPTOR, token);
            closed.expect("an open connection");
            self.in_use -= 1;
        }
    }

    /// Counts a client that came under attack, and whose patience ends before the end.
    fn count(&mut self, who: Who, came: u64, waited: Option<u64>) {
        if came < self.load.calm || came + self.load.patience > self.load.end {
            return;
        }
        let waits = match who {
            Who::Trunk(_) => &mut self.outcome.trunks,
            _ => &mut self.outcome.phones,
        };
        match waited {
            Some(waited) => waits.waited.push(waited as f64 / 1e3),
            None => waits.failed += 1,
        }
    }
}
