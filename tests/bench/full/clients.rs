// SPDX-License-Identifier: GPL-2.0-or-later

//! Clients of the real servers: those that are in the way, and those that want to get in.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Waits;
use support::kamailio::Client;

/// A client that connects and has the answer to its ping; `None` if it is rejected.
pub(crate) fn admitted(from: IpAddr, to: SocketAddr) -> Option<Client> {
    let mut client = Client::try_connect(from, to)?;
    client.is_admitted().then_some(client)
}

/// A phone that is admitted and sends a request.
pub(crate) fn registered(from: IpAddr, to: SocketAddr) -> Option<Client> {
    let mut client = admitted(from, to)?;
    client.ask("phone");
    Some(client)
}

/// The phones that still have their connection.
pub(crate) fn kept(phones: &mut [Client]) -> usize {
    phones
        .iter_mut()
        .map(|phone| usize::from(phone.is_admitted()))
        .sum()
}

/// Clients that open connections and send nothing.
pub(crate) struct Silent {
    pub(crate) count: usize,
    /// They come within this time.
    pub(crate) settle: Duration,
    /// Each that is rejected or closed comes again after this time, or up to half of it earlier
    /// or later, so that they do not all come at once.
    pub(crate) pause: Duration,
    /// How often they are looked at.
    pub(crate) step: Duration,
}

impl Silent {
    /// Client number N comes from `from(N)`. `held` is how many of them have a connection.
    pub(crate) fn sit(
        &self,
        from: impl Fn(usize) -> IpAddr,
        to: SocketAddr,
        ends: &AtomicBool,
        held: &AtomicUsize,
    ) {
        enum State {
            Waits(Instant),
            Has(Client),
        }
        let mut random = SmallRng::seed_from_u64(0);
        let start = Instant::now();
        let mut clients: Vec<State> = (0..self.count)
            .map(|_| State::Waits(start + self.settle.mul_f64(random.random_range(0.0..1.0))))
            .collect();
        // Relaxed, here and below: they order nothing else.
        while !ends.load(Ordering::Relaxed) {
            for (n, client) in clients.iter_mut().enumerate() {
                let mut wait = || {
                    let pause = self.pause.mul_f64(random.random_range(0.5..1.5));
                    State::Waits(Instant::now() + pause)
                };
                match client {
                    State::Has(connection) if connection.has_news() => {
                        held.fetch_sub(1, Ordering::Relaxed);
                        *client = wait();
                    }
                    State::Waits(due) if *due <= Instant::now() => {
                        *client = match admitted(from(n), to) {
                            Some(connection) => {
                                held.fetch_add(1, Ordering::Relaxed);
                                State::Has(connection)
                            }
                            None => wait(),
                        };
                    }
                    _ => {}
                }
            }
            sleep(self.step);
        }
    }
}

/// How the visitors of a load come and go, whatever their number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Visits {
    /// How long each keeps its connection.
    pub(crate) stays: Duration,
    /// The pause after a rejection.
    pub(crate) retry: Duration,
    /// They give up after this time.
    pub(crate) patience: Duration,
    pub(crate) window: Duration,
}

impl Visits {
    /// Visitors that only have to be admitted, without a request.
    pub(crate) fn visitors(&self, per_second: u32) -> Visitors {
        let Visits {
            stays,
            retry,
            patience,
            window,
        } = *self;
        Visitors {
            per_second,
            window,
            retry,
            patience,
            stays: Some(stays),
            enter: admitted,
        }
    }
}

/// Clients that come at fixed times.
#[derive(Clone)]
pub(crate) struct Visitors {
    pub(crate) per_second: u32,
    pub(crate) window: Duration,
    /// The pause after a rejection.
    pub(crate) retry: Duration,
    /// They give up after this time.
    pub(crate) patience: Duration,
    /// How long each keeps its connection; `None`: until all came.
    pub(crate) stays: Option<Duration>,
    /// What a client does to get in.
    pub(crate) enter: fn(IpAddr, SocketAddr) -> Option<Client>,
}

impl Visitors {
    /// Client number N comes from `from(N)`, each in a thread of its own.
    pub(crate) fn come(&self, from: impl Fn(u32) -> IpAddr, to: SocketAddr) -> Waits {
        let start = Instant::now();
        let count = self.window.as_secs() as u32 * self.per_second;
        let visits: Vec<_> = (0..count)
            .map(|n| {
                let due = start + Duration::from_secs(1) * n / self.per_second;
                sleep(due.saturating_duration_since(Instant::now()));
                let (from, own) = (from(n), self.clone());
                thread::spawn(move || own.visit(from, to, due))
            })
            .collect();
        let mut waits = Waits::default();
        let mut stay = Vec::new();
        for visit in visits {
            match visit.join() {
                Ok(Some((client, waited))) => {
                    stay.push(client);
                    waits.waited.push(waited);
                }
                _ => waits.failed += 1,
            }
        }
        waits.sort()
    }

    /// Tries until it gets in. Returns its connection, unless it has ended, and how many seconds
    /// it waited since `due`; `None`: it gave up.
    fn visit(&self, from: IpAddr, to: SocketAddr, due: Instant) -> Option<(Option<Client>, f64)> {
        loop {
            if let Some(client) = (self.enter)(from, to) {
                let waited = due.elapsed().as_secs_f64();
                let client = match self.stays {
                    Some(stays) => {
                        sleep(stays);
                        None
                    }
                    None => Some(client),
                };
                return Some((client, waited));
            }
            if due.elapsed() + self.retry > self.patience {
                return None;
            }
            sleep(self.retry);
        }
    }
}
