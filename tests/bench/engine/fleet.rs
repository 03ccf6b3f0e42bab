// SPDX-License-Identifier: GPL-2.0-or-later

//! A fleet of sources connects and disconnects again and again. Does a fresh source,
//! which was never seen, find a slot?

use serde::{Deserialize, Serialize};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::ffi::{TCL_ON_FULL_REJECT, tcl_config};

use crate::Result;
use crate::abi::{self, Engine};
use crate::child::serve;
use crate::operations::Subject;
use crate::sources;

/// Connections that the table is sized for.
pub(crate) const CAPACITY: u32 = 35_000;

/// The order in which sources leave and come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Any connected source leaves, any other one comes.
    Random,
    /// The source that has been connected for longest leaves, the one that has been away
    /// for longest comes.
    Fifo,
    /// The source that has been connected for longest leaves, a fresh one comes.
    NeverBack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Addresses {
    /// IPv4 addresses without a pattern.
    Scattered,
    /// /64 networks, one after the other.
    Consecutive,
    /// /64 networks whose eight bytes each have one of five values.
    Grid,
}

impl Addresses {
    /// Returns the address of source number `index`, and its length: 4 or 16 bytes.
    fn bytes(self, index: u32) -> ([u8; 16], usize) {
        let mut bytes = [0; 16];
        let network = match self {
            Addresses::Scattered => {
                bytes[..4].copy_from_slice(&sources::address(index));
                return (bytes, 4);
            }
            Addresses::Consecutive => 0x2001_0db8_0000_0000 + u64::from(index),
            Addresses::Grid => {
                let byte = |i: u32| u64::from(index / 5u32.pow(i) % 5) << (8 * i);
                (0..8).fold(0x2001_0000_0000_0000, |sum, i| sum + byte(i))
            }
        };
        bytes[..8].copy_from_slice(&network.to_be_bytes());
        (bytes, 16)
    }

    /// The number of different sources.
    fn count(self) -> u32 {
        match self {
            Addresses::Grid => 5u32.pow(8),
            Addresses::Scattered | Addresses::Consecutive => u32::MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    /// Connected sources, in per cent of the capacity.
    pub(crate) load: u32,
    /// All sources of the fleet, in per cent of the capacity; 0 if no source returns.
    pub(crate) fleet: u32,
    pub(crate) order: Order,
    pub(crate) addresses: Addresses,
}

impl Case {
    pub(crate) fn all() -> Vec<Case> {
        use Addresses::*;
        use Order::*;

        let mut cases = Vec::new();
        let mut add = |loads: &[u32], fleets: &[u32], order, addresses| {
            for &load in loads {
                cases.extend(fleets.iter().map(|&fleet| Case {
                    load,
                    fleet,
                    order,
                    addresses,
                }));
            }
        };
        add(
            &[100, 80, 50],
            &[120, 150, 200, 250, 400],
            Random,
            Scattered,
        );
        add(&[100, 80], &[200], Fifo, Scattered);
        for addresses in [Consecutive, Grid] {
            add(&[100], &[200], Random, addresses);
            add(&[100], &[200], Fifo, addresses);
        }
        add(&[100, 80], &[0], NeverBack, Scattered);
        cases
    }

    /// The number of sources in the fleet. Where no source returns, these are the first
    /// connected sources.
    fn size(self) -> u32 {
        CAPACITY * self.load.max(self.fleet) / 100
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    pub(crate) case: Case,
    /// How often all connections change hands. Fresh sources are checked in the second
    /// half.
    pub(crate) turnovers: u32,
    /// Fresh sources that are checked after each turnover of the second half.
    pub(crate) checks: u32,
    pub(crate) seed: u64,
}

/// How many of the checked fresh sources would find no slot.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) checked: u64,
    pub(crate) without_slot: u64,
}

impl Figure {
    pub(crate) fn share(self) -> f64 {
        self.without_slot as f64 / self.checked as f64
    }
}

impl Fleet {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        // Without a limit, only a full table rejects.
        let engine = Engine::start_with(&tcl_config {
            on_full: TCL_ON_FULL_REJECT,
            ..abi::config(CAPACITY, 0)?
        })?;
        serve(|| Ok(vec![self.pass(&engine)?]))
    }

    fn pass(&self, engine: &Engine) -> Result<Figure> {
        let mut members = Members::connect(engine, self.case, self.seed);
        let mut fresh = Fresh::of(self.case);
        let addresses = self.case.addresses;
        let mut figure = Figure::default();
        for turn in 0..self.turnovers {
            members.turn_over(&mut fresh);
            if turn < self.turnovers / 2 {
                continue;
            }
            for _ in 0..self.checks {
                let (bytes, length) = addresses.bytes(fresh.next());
                figure.checked += 1;
                figure.without_slot += u64::from(engine.rejects(&bytes[..length]));
            }
        }
        members.disconnect()?;
        Ok(figure)
    }
}

/// The sources of a fleet.
struct Members<'a> {
    engine: &'a Engine,
    case: Case,
    random: SmallRng,
    /// Each connected source: its number, and its token, which is 0 if it found no slot.
    connected: Vec<(u32, u64)>,
    away: Vec<u32>,
    /// How often one source has replaced another.
    changes: usize,
}

impl<'a> Members<'a> {
    fn connect(engine: &'a Engine, case: Case, seed: u64) -> Members<'a> {
        let mut random = SmallRng::seed_from_u64(seed);
        let connected = CAPACITY * case.load / 100;
        let mut sources: Vec<u32> = (0..case.size()).collect();
        if case.order == Order::Random {
            sources.shuffle(&mut random);
        }
        let away = sources.split_off(connected as usize);
        let mut members = Members {
            engine,
            case,
            random,
            connected: Vec::new(),
            away,
            changes: 0,
        };
        for index in sources {
            let token = members.open(index);
            members.connected.push((index, token));
        }
        members
    }

    fn open(&self, index: u32) -> u64 {
        let (bytes, length) = self.case.addresses.bytes(index);
        self.engine.opened_from(&bytes[..length])
    }

    /// Replaces as many sources as there are connections.
    fn turn_over(&mut self, fresh: &mut Fresh) {
        for _ in 0..self.connected.len() {
            let (leaves, comes) = match self.case.order {
                Order::Random => (
                    self.random.random_range(0..self.connected.len()),
                    self.random.random_range(0..self.away.len()),
                ),
                Order::Fifo => (
                    self.changes % self.connected.len(),
                    self.changes % self.away.len(),
                ),
                Order::NeverBack => (self.changes % self.connected.len(), 0),
            };
            self.changes += 1;
            let (index, token) = self.connected[leaves];
            self.engine.closed(token);
            let next = match self.case.order {
                Order::NeverBack => fresh.next(),
                Order::Random | Order::Fifo => std::mem::replace(&mut self.away[comes], index),
            };
            self.connected[leaves] = (next, self.open(next));
        }
    }

    /// Closes all connections. Returns an error if any was counted wrong.
    fn disconnect(self) -> Result<()> {
        let counted = self.connected.iter().filter(|(_, token)| *token != 0);
        let right = counted.count() as u64;
        let found = self.engine.connections()?;
        if found != right {
            return Err(format!("the engine counts {found} connections, expected {right}").into());
        }
        for (_, token) in &self.connected {
            self.engine.closed(*token);
        }
        match self.engine.connections()? {
            0 => Ok(()),
            left => {
                Err(format!("the engine counts {left} connections after all were closed").into())
            }
        }
    }
}

/// The numbers of sources outside the fleet. Each is given once before any repeats.
struct Fresh {
    first: u32,
    count: u32,
    given: u32,
}

impl Fresh {
    fn of(case: Case) -> Fresh {
        let first = case.size();
        Fresh {
            first,
            count: case.addresses.count() - first,
            given: 0,
        }
    }

    #[inline]
    fn next(&mut self) -> u32 {
        let index = self.first + self.given;
        self.given = (self.given + 1) % self.count;
        index
    }
}
