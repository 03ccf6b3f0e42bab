// SPDX-License-Identifier: GPL-2.0-or-later

//! A source that takes as many connections as it gets from three servers, and honest ones.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Result;
use crate::cpu::Clock;
use crate::record::{Contest, Cpu, Greed, Limited, Loss};
use crate::subject::{NODES, Subject};
use crate::talk::{ask, is_up, open};

/// The limit of a source.
pub(crate) const LIMIT: u32 = 60;

/// Attempts a second of [`Greed::Steady`].
const RATE: u32 = 200;

/// The most that it tries on each server in another case.
const RUSH: u32 = 4 * LIMIT;

/// New honest sources a second, and the threads that they come from.
const HONEST_RATE: u32 = 100;
const HONEST_THREADS: u32 = 4;

/// Greedy sources and offices have other addresses each time, so that no connection of an
/// earlier window counts.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A pause between two attempts of a source whose server was killed.
const RETRY: Duration = Duration::from_millis(50);

/// `patience` is how long a source tries whose server was killed.
pub(crate) fn measure(
    limited: Limited,
    round: usize,
    (window, patience): (Duration, Duration),
    clock: Clock,
) -> Result<(Vec<Contest>, Loss)> {
    let mut subject = Subject::start(limited, LIMIT)?;
    let greeds = Greed::ALL.into_iter();
    let contests = greeds.map(|greed| contest(&subject, limited, round, greed, window, clock));
    let contests = contests.collect::<Result<Vec<_>>>()?;
    let loss = lose(&mut subject, limited, round, patience)?;
    Ok((contests, loss))
}

/// Kills the last server.
fn lose(subject: &mut Subject, limited: Limited, round: usize, patience: Duration) -> Result<Loss> {
    let from = Ipv4Addr::new(127, 93, 0, 1);
    let to = subject.addresses();
    let lost = open_all(from, to[NODES - 1])?;
    if limited.is_cluster() {
        // The others know it.
        sleep(Duration::from_secs(2));
    }
    subject.servers[NODES - 1].kill_all();
    let began = Instant::now();
    let mut held = Vec::new();
    let mut seconds = 0.0;
    while held.len() < lost.len() && began.elapsed() < patience {
        let mut stream = open(from, to[0])?;
        if ask(&mut stream)? {
            held.push(stream);
            seconds = began.elapsed().as_secs_f64();
        } else {
            sleep(RETRY);
        }
    }
    Ok(Loss {
        round,
        limited,
        again: held.len() as u64,
        seconds,
    })
}

fn contest(
    subject: &Subject,
    limited: Limited,
    round: usize,
    greed: Greed,
    window: Duration,
    clock: Clock,
) -> Result<Contest> {
    let to = subject.addresses();
    let [.., number] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let office = open_all(Ipv4Addr::new(127, 91, 0, number), to[0])?;
    let before = subject.run_ns(clock)?;
    let began = Instant::now();
    let (mut micros, mut failed) = (Vec::new(), 0);
    let (attempts, held) = thread::scope(|scope| -> Result<_> {
        let honest: Vec<_> = (0..HONEST_THREADS)
            .map(|thread| {
                let to = &to;
                scope.spawn(move || honest(to, u32::from(number), thread, window))
            })
            .collect();
        let greedy = take(&to, Ipv4Addr::new(127, 92, 0, number), greed, window);
        sleep((began + window).saturating_duration_since(Instant::now()));
        for thread in honest {
            let waits = thread.join().map_err(|_| "an honest source panicked")?;
            for wait in waits {
                match wait {
                    Some(wait) => micros.push(wait.as_micros() as u32),
                    None => failed += 1,
                }
            }
        }
        greedy
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let mut run_ns = subject.run_ns(clock)?;
    for (kind, ns) in &mut run_ns {
        *ns -= before.get(kind).copied().unwrap_or(0);
    }
    let up = |held: &[TcpStream]| -> Result<u64> {
        let up = held.iter().map(|stream| Ok(u64::from(is_up(stream)?)));
        up.sum()
    };
    let contest = Contest {
        round,
        limited,
        greed,
        attempts,
        greedy: up(&held)?,
        office: up(&office)?,
        micros,
        failed,
        cpu: Cpu { seconds, run_ns },
    };
    drop((held, office));
    subject.wait_for_connections(0);
    Ok(contest)
}

/// The connections of an honest source with as many clients as the limit allows, which a
/// balancer sends to one server.
fn open_all(from: Ipv4Addr, to: SocketAddr) -> Result<Vec<TcpStream>> {
    let mut held = Vec::new();
    for _ in 0..LIMIT {
        let mut stream = open(from, to)?;
        if ask(&mut stream)? {
            held.push(stream);
        }
    }
    Ok(held)
}

/// The attempts of the greedy source, and the connections that it was not seen to lose.
fn take(
    to: &[SocketAddr],
    from: Ipv4Addr,
    greed: Greed,
    window: Duration,
) -> Result<(u64, Vec<TcpStream>)> {
    if greed == Greed::Steady {
        return take_steadily(to, from, window);
    }
    thread::scope(|scope| {
        let threads: Vec<_> = to
            .iter()
            .map(|&to| scope.spawn(move || rush(to, from, greed)))
            .collect();
        let mut held = Vec::new();
        for thread in threads {
            let taken = thread.join().map_err(|_| "the greedy source panicked")?;
            held.extend(taken.map_err(|error| format!("the greedy source: {error}"))?);
        }
        Ok((u64::from(RUSH) * to.len() as u64, held))
    })
}

fn take_steadily(
    to: &[SocketAddr],
    from: Ipv4Addr,
    window: Duration,
) -> Result<(u64, Vec<TcpStream>)> {
    let mut held = Vec::new();
    let began = Instant::now();
    let mut attempts = 0;
    while began.elapsed() < window {
        let due = Duration::from_secs(1) / RATE * attempts;
        sleep(due.saturating_sub(began.elapsed()));
        let mut stream = open(from, to[attempts as usize % to.len()])?;
        if ask(&mut stream)? {
            held.push(stream);
        }
        attempts += 1;
    }
    Ok((attempts.into(), held))
}

fn rush(to: SocketAddr, from: Ipv4Addr, greed: Greed) -> std::io::Result<Vec<TcpStream>> {
    let mut held = Vec::new();
    for _ in 0..RUSH {
        let mut stream = open(from, to)?;
        if greed == Greed::Silent || ask(&mut stream)? {
            held.push(stream);
        }
    }
    Ok(held)
}

/// New sources, one after the other at fixed times, each to any server. Returns the time of
/// each from the moment when it was due until it had its answer; `None`: it got none.
fn honest(to: &[SocketAddr], number: u32, thread: u32, window: Duration) -> Vec<Option<Duration>> {
    let mut random = SmallRng::seed_from_u64(u64::from(number * HONEST_THREADS + thread));
    let mut waits = Vec::new();
    let began = Instant::now();
    let mut client = thread;
    loop {
        let due = Duration::from_secs(1) / HONEST_RATE * client;
        if due >= window {
            return waits;
        }
        sleep(due.saturating_sub(began.elapsed()));
        let [_, high, middle, low] = (number << 16 | client).to_be_bytes();
        let from = Ipv4Addr::new(127, 128 + high, middle, low);
        let node = random.random_range(0..NODES);
        let answered = open(from, to[node]).and_then(|mut stream| ask(&mut stream));
        let wait = began.elapsed().saturating_sub(due);
        waits.push(matches!(answered, Ok(true)).then_some(wait));
        client += HONEST_THREADS;
    }
}
