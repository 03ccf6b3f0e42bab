// SPDX-License-Identifier: GPL-2.0-or-later

//! The work that takes longer in a larger table: the answers to operators, a tick of the
//! watcher, and the part of an audit during which the core's lock is held. The process that
//! accepts does none of it. Also the time that the first sources of a fresh table take in
//! the process that accepts, with and without the allocation at the start.

use std::hint::black_box;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tcp_conn_limit::limiter::{Limiter, Token, Worker};
use tcp_conn_limit::observe::audit::Audit;
use tcp_conn_limit::observe::report::{By, Report};
use tcp_conn_limit::observe::watch::Watch;
use tcp_conn_limit::source::{PrefixLengths, Source};

use crate::Result;
use crate::child::serve;
use crate::sources::address;

/// The first sources of a fresh table.
const FIRST: u32 = 20_000;

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Walks {
    /// The table's capacity; each connection is a source of its own.
    pub(crate) sources: u32,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) sources: u32,
    /// Milliseconds, here and below: an exact count of sources and connections.
    pub(crate) stats: f64,
    pub(crate) top: f64,
    pub(crate) suggest: f64,
    pub(crate) tick: f64,
    /// Copies of all connections and of all counts.
    pub(crate) audit_locked: f64,
    /// Nanoseconds, here and below, of check and opened among the first sources: the mean,
    /// and what 99 of 100 do not exceed.
    pub(crate) first_mean: f64,
    pub(crate) first_p99: f64,
    /// The same after the buckets were allocated.
    pub(crate) allocated_mean: f64,
    pub(crate) allocated_p99: f64,
}

impl Walks {
    /// The child's side.
    pub(crate) fn work(self) -> Result<()> {
        let limiter = limiter(self.sources)?;
        for index in 0..self.sources {
            open(&limiter, index)?;
        }
        let mut watch = Watch::default();
        let mut now = 0;
        serve(|| {
            let (first_mean, first_p99) = first(self.sources, false)?;
            let (allocated_mean, allocated_p99) = first(self.sources, true)?;
            let figure = Figure {
                sources: self.sources,
                stats: ms(|| Report::of(&limiter).occupancy().sources),
                top: ms(|| Report::of(&limiter).top(100, By::Connections, None).is_ok()),
                suggest: ms(|| Report::of(&limiter).suggest(usize::MAX, 10).is_ok()),
                tick: ms(|| {
                    now += 1;
                    watch.tick(&limiter, now, 60, &mut |_| {});
                }),
                audit_locked: self.audit(&limiter)?,
                first_mean,
                first_p99,
                allocated_mean,
                allocated_p99,
            };
            Ok(vec![figure])
        })
    }

    fn audit(&self, limiter: &Limiter) -> Result<f64> {
        let mut audit = Audit::new(self.sources as usize)?;
        let began = Instant::now();
        for index in 0..self.sources {
            let counted = audit.connection(source(index)?, true);
            counted.map_err(|_| "no room for a connection")?;
        }
        let counts = audit.copy_counts(limiter);
        counts.map_err(|_| "no room for a count")?;
        let ms = began.elapsed().as_secs_f64() * 1e3;
        match audit.differences().count() {
            0 => Ok(ms),
            differences => Err(format!("the audit found {differences} differences").into()),
        }
    }
}

fn limiter(connections: u32) -> Result<Limiter> {
    Ok(Limiter::new(connections, 1_024, PrefixLengths::DEFAULT)?)
}

fn source(index: u32) -> Result<Source> {
    let source = Source::new(&address(index), PrefixLengths::DEFAULT);
    source.ok_or_else(|| "four bytes are not an address".into())
}

fn open(limiter: &Limiter, index: u32) -> Result<Token> {
    let opened = limiter.opened(Worker::ACCEPTOR, source(index)?, 0);
    opened.map_err(|error| format!("source {index}: {error:?}").into())
}

/// Mean and 99th percentile of check and opened of the first sources of a fresh table.
fn first(connections: u32, allocated: bool) -> Result<(f64, f64)> {
    let limiter = limiter(connections)?;
    if allocated {
        limiter.populate()?;
    }
    let mut times = Vec::with_capacity(FIRST as usize);
    for index in 0..FIRST {
        let source = source(index)?;
        let began = Instant::now();
        black_box(limiter.check(source).is_ok());
        let opened = limiter.opened(Worker::ACCEPTOR, source, 0);
        times.push(began.elapsed().as_nanos() as f64);
        opened.map_err(|error| format!("source {index}: {error:?}"))?;
    }
    times.sort_unstable_by(f64::total_cmp);
    let mean = times.iter().sum::<f64>() / f64::from(FIRST);
    Ok((mean, times[times.len() * 99 / 100]))
}

fn ms<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    black_box(work());
    began.elapsed().as_secs_f64() * 1e3
}
