// SPDX-License-Identifier: GPL-2.0-or-later

//! Three servers with one limit, two of which are restarted and killed, and whose processes of
//! the cluster are stopped, under random load.
//!
//! A round has load and ends with a rest, in which no source is connected: then the limit over
//! all servers is exact, and each server agrees with the others. The first server runs all the
//! time, so its memory can be compared.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::checks::{Held, audit, private};
use crate::report::{flatness, halves, median};
use crate::run::message;
use support::kamailio::mode::Mode;
use support::kamailio::{Client, Server, Stopped, Via, free_port, number, source, until};

const NODES: usize = 3;

/// The limit over all servers, and the highest that is set under load.
const LIMIT: usize = 40;
const HIGHEST: usize = 60;

const CROWDS: u8 = 3;
/// The greedy sources of a crowd.
const GREEDY: u8 = 4;
/// The most connections that a crowd holds of honest sources, and of a greedy one.
const HONEST: usize = 150;
const GREEDY_EACH: usize = 2 * HIGHEST;

/// The load of a round.
const LOAD: Duration = Duration::from_secs(10);
/// The longest time at a rest until no server counts what has ended. A count whose end was lost
/// would take three times as long.
const QUIET: Duration = Duration::from_secs(15);
/// About as long as a rest takes: the servers compare what they know each 10 s.
const REST: Duration = Duration::from_secs(12);

/// The growth of the process of the cluster that still counts as flat.
const MARGIN: u64 = 2 << 20;

/// Log lines that this test provokes on purpose.
const EXPECTED: &[&str] = &[
    // Nodes that are gone.
    "dmq",
    " tm ",
    "msg_send",
    "forward",
    // Connections that clients reset.
    "tcp_main.c",
    "tcp_read.c",
    "tcpconn_do_send(): failed to send on",
];

/// What happened.
#[derive(Default)]
struct Seen {
    rounds: u64,
    opened: u64,
    rejected: u64,
    failed: u64,
    restarts: u64,
    kills: u64,
    stops: u64,
    drops: u64,
    limits: u64,
    /// The longest time until no server knew of a connection that had ended.
    quiet: Duration,
    /// At the rests: of the first server, and the private pages of its process of the cluster.
    rests: Vec<Held>,
    private: Vec<u64>,
    failures: Vec<String>,
}

/// How clients see the servers.
struct Nodes {
    addresses: Vec<SocketAddr>,
    /// Even while the server runs. Each start and each end increments it.
    lives: Vec<AtomicU64>,
}

impl Nodes {
    /// The number of the server's life, if it runs.
    fn life(&self, node: usize) -> Option<u64> {
        let life = self.lives[node].load(Ordering::SeqCst);
        life.is_multiple_of(2).then_some(life)
    }
}

/// Runs the soak. Returns the report, and whether it passed.
pub(crate) fn run(minutes: u64, seed: u64, mode: Mode) -> (String, bool) {
    println!("soak: {minutes} minutes, seed {seed}, three servers");
    let mut seen = Seen::default();
    let began = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| live(minutes, seed, mode, &mut seen)));
    if let Err(panic) = outcome {
        seen.failures.push(message(&*panic));
    }
    if let Err(grown) = flatness(&seen.rests) {
        seen.failures.extend(grown);
    }
    if let Some((early, late)) = halves(&seen.private) {
        let (early, late) = (median(early, |bytes| *bytes), median(late, |bytes| *bytes));
        if late > early + MARGIN {
            let grown = format!("the process of the cluster grew from {early} to {late} bytes");
            seen.failures.push(grown);
        }
    }
    let page = page(&seen, seed, mode, began.elapsed());
    (page, seen.failures.is_empty())
}

fn live(minutes: u64, seed: u64, mode: Mode, seen: &mut Seen) {
    let addresses = [1, 2, 3].map(|n| SocketAddrV4::new(Ipv4Addr::new(127, 65, 0, n), free_port()));
    let mut servers: Vec<Server> = (0..NODES)
        .map(|node| {
            let config = mode.with_module().limit(1_000);
            config
                .core("tcp_max_connections=4000")
                .node_of_cluster(&addresses, node, LIMIT as u32)
                .shared_memory(160)
                .start()
        })
        .collect();
    let nodes = Nodes {
        addresses: servers
            .iter()
            .map(|server| server.address(Via::Tcp))
            .collect(),
        lives: (0..NODES).map(|_| AtomicU64::new(0)).collect(),
    };
    let names = addresses.map(|address| format!("sip:{address}"));
    let mut random = SmallRng::seed_from_u64(seed);
    let mut next = [0; CROWDS as usize];
    // At least six rests, of which memory needs four.
    let rounds = (minutes * 60 / (LOAD + REST).as_secs()).max(6);
    wait_until_joined(&servers);
    for round in 0..rounds {
        let end = Instant::now() + LOAD;
        thread::scope(|scope| {
            let crowds: Vec<_> = (0..CROWDS)
                .map(|number| {
                    let next = next[usize::from(number)];
                    let crowd = Crowd::new(&nodes, random.random(), number, next);
                    scope.spawn(move || crowd.run(end))
                })
                .collect();
            // In this thread, because a server ends with the thread that started it.
            while Instant::now() < end {
                sleep(Duration::from_millis(random.random_range(100..1_500)));
                disturb(&mut servers, &nodes, &names, &mut random, seen);
            }
            for (crowd, next) in crowds.into_iter().zip(&mut next) {
                match crowd.join() {
                    Ok(crowd) => {
                        *next = crowd.next;
                        seen.opened += crowd.opened;
                        seen.rejected += crowd.rejected;
                        seen.failed += crowd.failed;
                    }
                    Err(panic) => seen.failures.push(message(&*panic)),
                }
            }
        });
        rest(mode, &servers, round, seen);
        if !seen.failures.is_empty() {
            return;
        }
    }
    for server in servers {
        server.stop(EXPECTED);
    }
}

/// Restarts, kills or stops a server, or changes a setting.
fn disturb(
    servers: &mut Vec<Server>,
    nodes: &Nodes,
    names: &[String],
    random: &mut SmallRng,
    seen: &mut Seen,
) {
    let node = random.random_range(0..NODES);
    match random.random_range(0..10) {
        0..4 => {
            // Not the first one.
            let node = node.max(1);
            let kills = random.random_bool(0.5);
            nodes.lives[node].fetch_add(1, Ordering::SeqCst);
            let mut server = servers.remove(node);
            let again = if kills {
                server.kill_all();
                sleep(Duration::from_millis(random.random_range(0..4_000)));
                server.start_again()
            } else {
                server.restart(EXPECTED)
            };
            servers.insert(node, again);
            nodes.lives[node].fetch_add(1, Ordering::SeqCst);
            seen.kills += u64::from(kills);
            seen.restarts += u64::from(!kills);
        }
        4..7 => {
            let process = servers[node].process("tcp_conn_limit cluster");
            let stopped = Stopped::new(process);
            sleep(Duration::from_millis(random.random_range(100..6_000)));
            drop(stopped);
            seen.stops += 1;
        }
        7..9 => {
            let limit = random.random_range(LIMIT / 2..=HIGHEST);
            servers[node].rpc("tcp_conn_limit.set_cluster_limit", json!([limit]));
            seen.limits += 1;
        }
        _ => {
            let other = &names[(node + 1) % NODES];
            servers[node].rpc("tcp_conn_limit.cluster_drop", json!([other]));
            sleep(Duration::from_millis(random.random_range(100..1_000)));
            servers[node].rpc("tcp_conn_limit.cluster_drop", json!([other, "off"]));
            seen.drops += 1;
        }
    }
}

/// Checks a rest, in which no client is connected: the limit over all servers is exact, and
/// they agree with each other.
fn rest(mode: Mode, servers: &[Server], round: u64, seen: &mut Seen) {
    let began = Instant::now();
    for server in servers {
        server.wait_for_connections(0);
        server.rpc("tcp_conn_limit.set_cluster_limit", json!([LIMIT]));
    }
    wait_until_joined(servers);
    for server in servers {
        until("no source is on other servers", || {
            number(&cluster(server), "other_sources") == 0
        });
    }
    let quiet = began.elapsed();
    if quiet > QUIET {
        let late = format!(
            "at a rest: {:.1} s until no server counted what had ended, allowed are {QUIET:?}",
            quiet.as_secs_f64()
        );
        seen.failures.push(late);
    }
    let address = source(21, 0, round as u8);
    let mut held: Vec<Vec<Client>> = Vec::new();
    for (server, count) in servers.iter().zip([14, 13, 13]) {
        held.push(server.admit_all(count, Via::Tcp, address));
    }
    for (server, clients) in servers.iter().zip(&held) {
        wait_for_others(server, &address.to_string(), (LIMIT - clients.len()) as u64);
        server.reject(Via::Tcp, address);
    }
    drop(held);
    for server in servers {
        server.wait_for_connections(0);
        wait_for_others(server, &address.to_string(), 0);
        wait_until_agreed(server, began);
        if let Err(answer) = audit(mode, server) {
            seen.failures.push(format!("audit: {answer}"));
        }
        for name in ["connections", "errors"] {
            let found = server.stat(name);
            if found != 0 {
                seen.failures.push(format!("at a rest: {name} is {found}"));
            }
        }
    }
    seen.rounds += 1;
    let first = &servers[0];
    let held = Held::by(first, first.tcp_main());
    let private = private(first.process("tcp_conn_limit cluster"));
    println!(
        "{:3}  {:6} opened, {:6} rejected; {} restarts, {} kills, {} stops; resident {:.1} MB, \
         cluster process {:.1} MB; all quiet after {:.1} s, agreed after {:.1} s",
        seen.rounds,
        seen.opened,
        seen.rejected,
        seen.restarts,
        seen.kills,
        seen.stops,
        held.resident as f64 / 1e6,
        private as f64 / 1e6,
        quiet.as_secs_f64(),
        began.elapsed().as_secs_f64(),
    );
    seen.quiet = seen.quiet.max(quiet);
    seen.rests.push(held);
    seen.private.push(private);
}

fn cluster(server: &Server) -> serde_json::Value {
    server.rpc("tcp_conn_limit.cluster", json!([]))
}

fn wait_until_joined(servers: &[Server]) {
    for server in servers {
        until("the servers hear each other", || {
            number(&cluster(server), "alive") == NODES as u64 - 1
        });
    }
}

fn wait_for_others(server: &Server, address: &str, others: u64) {
    until(&format!("{others} connections on other servers"), || {
        number(&server.source(address), "others") == others
    });
}

/// Waits until the server agrees with all others, by sums that they sent after `began`.
fn wait_until_agreed(server: &Server, began: Instant) {
    until("the servers agree", || {
        let answer = server.rpc("tcp_conn_limit.cluster_audit", json!([]));
        let since = began.elapsed().as_millis() as u64;
        let nodes = answer["nodes"].as_array().cloned().unwrap_or_default();
        let agrees =
            |node: &serde_json::Value| node["result"] == "agrees" && number(node, "age_ms") < since;
        nodes.len() == NODES - 1 && nodes.iter().all(agrees)
    });
}

/// An open connection, and the server and its life.
struct Open {
    client: Client,
    node: usize,
    life: u64,
}

/// Clients, in a thread.
struct Crowd<'a> {
    nodes: &'a Nodes,
    random: SmallRng,
    number: u8,
    next: u32,
    honest: Vec<Open>,
    greedy: Vec<Vec<Open>>,
    opened: u64,
    rejected: u64,
    /// Connections to a server that was ending or gone.
    failed: u64,
}

/// What became of an attempt.
enum Attempt {
    Open(Open),
    Rejected,
    /// The server was ending or gone.
    Failed,
}

impl<'a> Crowd<'a> {
    fn new(nodes: &'a Nodes, seed: u64, number: u8, next: u32) -> Self {
        Self {
            nodes,
            random: SmallRng::seed_from_u64(seed),
            number,
            next,
            honest: Vec::new(),
            greedy: (0..GREEDY).map(|_| Vec::new()).collect(),
            opened: 0,
            rejected: 0,
            failed: 0,
        }
    }

    /// Opens and closes connections until `end`, then closes all.
    fn run(mut self, end: Instant) -> Self {
        while Instant::now() < end {
            match self.random.random_range(0..100) {
                0..25 => self.come(),
                25..50 => self.leave(),
                50..85 => self.grab(),
                85..90 => self.yield_some(),
                _ => self.keep_alive(),
            }
            let pause = [0, 0, 1, 2, 5][self.random.random_range(0..5)];
            sleep(Duration::from_millis(pause));
        }
        self.honest.clear();
        self.greedy.clear();
        self
    }

    fn attempt(&mut self, from: std::net::IpAddr, node: usize) -> Attempt {
        let life = self.nodes.life(node);
        let client = Client::try_connect(from, self.nodes.addresses[node]);
        let admitted = client.and_then(|mut client| client.is_admitted().then_some(client));
        match (admitted, life) {
            (_, None) => Attempt::Failed,
            (_, Some(life)) if self.nodes.life(node) != Some(life) => Attempt::Failed,
            (Some(client), Some(life)) => Attempt::Open(Open { client, node, life }),
            (None, Some(_)) => Attempt::Rejected,
        }
    }

    /// A new honest source with a few connections, far from every limit.
    fn come(&mut self) {
        self.next += 1;
        let [_, high, middle, low] = self.next.to_be_bytes();
        let from = source(100 + self.number * 8 + high % 8, middle, low);
        for _ in 0..self.random.random_range(1..=3) {
            let node = self.random.random_range(0..NODES);
            match self.attempt(from, node) {
                Attempt::Open(open) => {
                    self.opened += 1;
                    self.honest.push(open);
                }
                Attempt::Rejected => panic!("{from} was rejected below every limit"),
                Attempt::Failed => self.failed += 1,
            }
        }
        while self.honest.len() > HONEST {
            self.leave();
        }
    }

    fn leave(&mut self) {
        if !self.honest.is_empty() {
            let index = self.random.random_range(0..self.honest.len());
            close(&mut self.random, self.honest.swap_remove(index));
        }
    }

    /// A source that is often at its limit tries to get one more, of any server.
    fn grab(&mut self) {
        let n = self.random.random_range(0..GREEDY);
        let from = source(20, self.number, n);
        let node = self.random.random_range(0..NODES);
        let attempt = self.attempt(from, node);
        let held = &mut self.greedy[usize::from(n)];
        match attempt {
            Attempt::Open(open) => {
                self.opened += 1;
                let is_like = |other: &&Open| other.node == node && other.life == open.life;
                let count = held.iter().filter(is_like).count();
                assert!(
                    count < HIGHEST,
                    "{from} was admitted with {count} connections: the highest limit is {HIGHEST}"
                );
                held.push(open);
            }
            Attempt::Rejected => self.rejected += 1,
            Attempt::Failed => self.failed += 1,
        }
        if held.len() > GREEDY_EACH {
            held.drain(..GREEDY_EACH / 2);
        }
    }

    fn yield_some(&mut self) {
        let n = self.random.random_range(0..usize::from(GREEDY));
        for _ in 0..self.random.random_range(1..=8) {
            if self.greedy[n].is_empty() {
                return;
            }
            let index = self.random.random_range(0..self.greedy[n].len());
            close(&mut self.random, self.greedy[n].swap_remove(index));
        }
    }

    /// Checks that the server still answers on an open connection.
    fn keep_alive(&mut self) {
        if self.honest.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.honest.len());
        let open = &mut self.honest[index];
        if !open.client.is_admitted() {
            let life = self.nodes.life(open.node);
            assert!(life != Some(open.life), "a server closed a connection");
            self.honest.swap_remove(index);
        }
    }
}

fn close(random: &mut SmallRng, open: Open) {
    if random.random_bool(0.3) {
        open.client.reset();
    }
}

fn page(seen: &Seen, seed: u64, mode: Mode, took: Duration) -> String {
    let mut page = String::new();
    write(&mut page, seen, seed, mode, took).expect("writing to a string cannot fail");
    page
}

fn write(
    page: &mut String,
    seen: &Seen,
    seed: u64,
    mode: Mode,
    took: Duration,
) -> std::fmt::Result {
    let verdict = if seen.failures.is_empty() {
        "passed"
    } else {
        "FAILED"
    };
    writeln!(page, "Soak of a cluster: {verdict}\n")?;
    let minutes = took.as_secs_f64() / 60.0;
    let attached = mode.attached();
    writeln!(
        page,
        "attachment {attached}, seed {seed}, {minutes:.1} minutes, {NODES} servers"
    )?;
    writeln!(page, "Load")?;
    writeln!(page, "  {} connections admitted and answered", seen.opened)?;
    writeln!(
        page,
        "  {} rejected, {} to a server that was down",
        seen.rejected, seen.failed
    )?;
    writeln!(page, "Disturbances")?;
    writeln!(
        page,
        "  {} servers restarted, {} killed and started again",
        seen.restarts, seen.kills
    )?;
    writeln!(
        page,
        "  {} processes of the cluster stopped and continued",
        seen.stops
    )?;
    writeln!(
        page,
        "  {} changes of the limit, {} nodes shut out and admitted",
        seen.limits, seen.drops
    )?;
    writeln!(page, "Counts")?;
    let exact = if seen.failures.is_empty() {
        ", limit over all servers exact, audits of each server and of the cluster clean"
    } else {
        ""
    };
    writeln!(page, "  {} rests{exact}", seen.rounds)?;
    let quiet = seen.quiet.as_secs_f64();
    writeln!(
        page,
        "  at most {quiet:.1} s until no server counted what had ended"
    )?;
    if let (Some((early, late)), Some((first, last))) = (halves(&seen.rests), halves(&seen.private))
    {
        writeln!(
            page,
            "Memory of the server that ran all the time, early and late rests, bytes"
        )?;
        let line = |name, before, after| format!("  {name:26} {before:>10} {after:>10}");
        let of = |of: fn(&Held) -> u64| (median(early, of), median(late, of));
        let (before, after) = of(|held| held.resident);
        writeln!(page, "{}", line("TCP main, resident", before, after))?;
        let (before, after) = of(|held| held.shared);
        writeln!(page, "{}", line("shared memory", before, after))?;
        let (before, after) = (median(first, |bytes| *bytes), median(last, |bytes| *bytes));
        writeln!(page, "{}", line("cluster process, private", before, after))?;
    }
    for failure in &seen.failures {
        let lines: Vec<&str> = failure.lines().take(20).collect();
        writeln!(page, "FAILED: {}", lines.join("\n"))?;
    }
    Ok(())
}
