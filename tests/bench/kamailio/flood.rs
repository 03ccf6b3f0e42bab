// SPDX-License-Identifier: GPL-2.0-or-later

//! A server that one source floods: the source holds as many connections as it may have,
//! and keeps opening more.

use crate::Result;
use crate::acceptor::Acceptor;
use crate::cpu::Placement;
use crate::generator::{End, Order, Pace};
use crate::kamailio::{self, LIMIT, STOCK_REJECTS};
use crate::loaded::Loaded;
use crate::plan::FloodPlan;
use crate::record::{FloodSample, Flooded};
use support::kamailio::{Config, Server, Via};

pub(crate) struct Flood {
    pub(crate) server: Flooded,
    // Fields drop in this order: the load ends before the program.
    loaded: Loaded,
    program: Program,
    /// The account at the end of the previous window.
    before: Account,
}

enum Program {
    Bare(Acceptor),
    Kamailio(Box<Server>),
}

impl Program {
    fn of(config: Config) -> Program {
        Program::Kamailio(Box::new(config.start()))
    }
}

/// The rejections and log lines of a server since its start.
#[derive(Default)]
struct Account {
    rejected: u64,
    lines: usize,
    lines_of_tcp_main: usize,
}

impl Flood {
    /// Starts the server, with the held connections.
    pub(crate) fn start(server: Flooded, plan: &FloodPlan, placement: &Placement) -> Result<Flood> {
        let program = match server {
            Flooded::Bare => Program::Bare(Acceptor::start(LIMIT as usize)?),
            Flooded::Off => Program::of(kamailio::off()),
            Flooded::Stock => Program::of(kamailio::stock(LIMIT)),
            Flooded::Module => Program::of(kamailio::module(LIMIT)),
        };
        let (port, pid) = match &program {
            Program::Bare(acceptor) => (acceptor.port(), acceptor.pid()),
            Program::Kamailio(server) => {
                (server.address(Via::Tcp).port(), server.tcp_main() as u32)
            }
        };
        let mut flood = Flood {
            server,
            loaded: Loaded::start(port, pid, placement)?,
            program,
            before: Account::default(),
        };
        let held = flood
            .loaded
            .hold(plan.held)
            .and_then(|_| flood.loaded.hold_of_one(plan.of_one));
        flood.explain(held)?;
        flood.before = flood.account().0;
        if flood.before.rejected > 0 {
            return Err(format!("{} rejects connections within the limit", server.name()).into());
        }
        Ok(flood)
    }

    /// Measures one window.
    pub(crate) fn window(
        &mut self,
        round: usize,
        repeat: usize,
        pace: Pace,
    ) -> Result<FloodSample> {
        let end = match self.server {
            Flooded::Off => End::Accepted,
            Flooded::Bare | Flooded::Stock | Flooded::Module => End::Rejected,
        };
        let window = self.loaded.churn(&Order::Flood { pace, end });
        let window = self.explain(window)?;
        if let Program::Kamailio(server) = &self.program {
            server.wait_for_connections(self.loaded.held() as u64);
        }

        let (now, first_line) = self.account();
        let before = std::mem::replace(&mut self.before, now);
        let now = &self.before;
        let sample = FloodSample {
            round,
            repeat,
            server: self.server,
            rejected: now.rejected - before.rejected,
            lines: now.lines - before.lines,
            lines_of_tcp_main: now.lines_of_tcp_main - before.lines_of_tcp_main,
            first_line,
            window,
        };
        self.verify(&sample)?;
        Ok(sample)
    }

    /// Checks that the server rejected every connection over its limit, and no other.
    fn verify(&self, sample: &FloodSample) -> Result<()> {
        let expected = match self.server {
            Flooded::Bare | Flooded::Off => 0,
            Flooded::Stock | Flooded::Module => sample.window.opened,
        };
        let name = self.server.name();
        if sample.rejected != expected {
            let rejected = sample.rejected;
            return Err(format!("{name}: {rejected} rejected, expected {expected}").into());
        }
        if let (Flooded::Module, Program::Kamailio(server)) = (self.server, &self.program) {
            let held = self.loaded.held() as u64;
            for (stat, expected) in [("connections", held), ("admitted", held), ("errors", 0)] {
                let found = server.stat(stat);
                if found != expected {
                    return Err(format!("{name}: {stat} is {found}, expected {expected}").into());
                }
            }
        }
        Ok(())
    }

    /// Returns the account now, and the first line since the previous one: from TCP main,
    /// or else from any process.
    fn account(&self) -> (Account, Option<String>) {
        let Program::Kamailio(server) = &self.program else {
            return (Account::default(), None);
        };
        let log = server.log();
        let all = log.lines_with("");
        let of_tcp_main = log.lines_of(self.loaded.pid().into(), "");
        let first = of_tcp_main
            .get(self.before.lines_of_tcp_main)
            .or_else(|| all.get(self.before.lines));
        let account = Account {
            rejected: match self.server {
                Flooded::Module => server.stat("rejected"),
                _ => log.lines_with(STOCK_REJECTS).len() as u64,
            },
            lines: all.len(),
            lines_of_tcp_main: of_tcp_main.len(),
        };
        (account, first.map(|&line| line.to_owned()))
    }

    /// Adds to an error the name of the server and the end of its log.
    fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let name = self.server.name();
            let log = match &self.program {
                Program::Bare(_) => String::new(),
                Program::Kamailio(server) => server.log().to_string(),
            };
            // The log may have a line per rejection; its end suffices.
            let from = log.len().saturating_sub(10_000);
            let end = log.get(from..).unwrap_or(&log);
            format!("flood, {name}: {error}\n{end}").into()
        })
    }
}
