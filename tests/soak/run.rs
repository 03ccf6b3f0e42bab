// SPDX-License-Identifier: GPL-2.0-or-later

//! The soak itself: rounds of load, and the results of their checks.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::checks::{Held, audit};
use crate::control::{self, Changes, LIMIT, RULES, Settings};
use crate::crowd::{CROWDS, Crowd, Tally};
use crate::fleet::{self, Part};
use crate::listeners::{self, Listeners};
use crate::reader;
use crate::residents::{self, Residents};
use support::kamailio::mode::Mode;
use support::kamailio::{Config, free_port, number};

/// The server closes a connection that has sent nothing for this time.
pub(crate) const LIFETIME: Duration = Duration::from_secs(16);

/// The time from audit to audit.
const SLICE: Duration = Duration::from_secs(10);

/// How long an audit without hooks may report momentary differences.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Trusts connections, and counts connections of proxies for the client that the header of the
/// client's software names.
const ROUTE: &str = r#"
request_route {
	switch ($rU) {
		case "trust": tcp_conn_limit_trust(); break;
		case "count-for": tcp_conn_limit_count_for("$ua"); break;
		default: sl_send_reply("200", "OK"); exit;
	}
	$var(rc) = $rc;
	sl_send_reply("200", "$var(rc)");
}
"#;

/// Log lines that the clients of this test provoke on purpose.
const EXPECTED: &[&str] = &[
    // Connections that clients reset.
    "ERROR: <core> [core/tcp_read.c",
    "tcpconn_do_send(): failed to send on",
    "handle_ser_child(): received CON_ERROR",
    // Garbage.
    "ERROR: <core> [core/parser/",
    "ERROR: <core> [core/receive.c",
    "ERROR: tls [tls_server.c",
    "ERROR: tls [tls_util.h",
    // Invalid rules files.
    "reload_failed(): reload: ",
    "/rules:",
    // The machine is so busy that workers fall behind.
    ": queue full, ",
];

/// The options of a run.
pub(crate) struct Plan {
    pub(crate) minutes: u64,
    pub(crate) seed: u64,
    pub(crate) mode: Mode,
    /// Whether the load is a returning fleet instead of clients of all kinds.
    pub(crate) fleet: bool,
    /// Whether three servers share a limit instead.
    pub(crate) cluster: bool,
}

impl Plan {
    fn slices(&self) -> u64 {
        self.minutes * 6
    }

    /// Audits in a round. There are at least six rests.
    fn slices_a_round(&self) -> u64 {
        if self.minutes < 3 { 1 } else { 3 }
    }
}

/// The results of a run.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) seconds: u64,
    pub(crate) audits: u64,
    /// The number of requests that each clean audit took.
    pub(crate) asked: Vec<u32>,
    pub(crate) tally: Tally,
    pub(crate) changes: Changes,
    pub(crate) reports: u64,
    pub(crate) metrics: u64,
    /// Samples under load, one with each audit.
    pub(crate) loaded: Vec<Held>,
    /// Samples with only the residents connected, one after each round.
    pub(crate) rests: Vec<Held>,
    pub(crate) would_reject: u64,
    /// Connections that the server closed as idle, by the core's counter.
    pub(crate) expired: u64,
    pub(crate) errors: u64,
    pub(crate) failures: Vec<String>,
}

impl Seen {
    fn fail(&mut self, failure: impl Display) {
        println!("FAILED: {failure}");
        self.failures.push(failure.to_string());
    }

    /// Returns the result of a thread. A panic is recorded as a failure.
    fn result<T>(&mut self, thread: ScopedJoinHandle<'_, T>) -> Option<T> {
        match thread.join() {
            Ok(result) => Some(result),
            Err(panic) => {
                self.fail(message(&*panic));
                None
            }
        }
    }
}

/// Runs all rounds. A panic is a failure and ends the run.
pub(crate) fn run(plan: &Plan) -> Seen {
    let mut seen = Seen::default();
    let start = Instant::now();
    println!(
        "soak: {} minutes, seed {}, attachment {}{}",
        plan.minutes,
        plan.seed,
        plan.mode.attached(),
        if plan.fleet { ", a fleet" } else { "" }
    );
    let outcome = catch_unwind(AssertUnwindSafe(|| live(plan, &mut seen)));
    seen.seconds = start.elapsed().as_secs();
    if let Err(panic) = outcome {
        seen.fail(message(&*panic));
    }
    if let Err(failure) = crate::report::flatness(&seen.rests) {
        for failure in failure {
            seen.fail(failure);
        }
    }
    seen
}

fn live(plan: &Plan, seen: &mut Seen) {
    let tls6 = free_port();
    let server = plan
        .mode
        .with_module()
        .limit(LIMIT as i64)
        .rules_file(RULES)
        .module("pv.so")
        .route(ROUTE)
        .core(&format!("listen=tls:[::1]:{tls6}"))
        .tls()
        .any_address()
        .http("tcp_conn_limit:");
    let server = size(plan, server).start();
    let listeners = Listeners { server, tls6 };
    let tcp_main = listeners.server.tcp_main();
    let settings = Settings::new();
    let mut random = SmallRng::seed_from_u64(plan.seed);
    let mut residents = Residents::connect(&listeners, random.random());
    let mut next = [0; CROWDS as usize];
    let (crowds, parts) = if plan.fleet {
        (0, fleet::PARTS)
    } else {
        (CROWDS, 0)
    };
    let mut left = plan.slices();
    while left > 0 && seen.failures.is_empty() {
        let slices = left.min(plan.slices_a_round());
        left -= slices;
        let end = Instant::now() + SLICE * slices as u32;
        let server = &listeners.server;
        thread::scope(|scope| {
            let crowds: Vec<_> = (0..crowds)
                .map(|number| {
                    let next = next[usize::from(number)];
                    let crowd = Crowd::new(&listeners, &settings, random.random(), number, next);
                    scope.spawn(move || crowd.run(end))
                })
                .collect();
            let parts: Vec<_> = (0..parts)
                .map(|number| {
                    let part = Part::new(server, random.random(), number);
                    scope.spawn(move || part.run(end))
                })
                .collect();
            let [a, b, c] = random.random();
            let settings = &settings;
            // Under changing limits, a source of the fleet could be rejected for two reasons.
            let changes =
                (!plan.fleet).then(|| scope.spawn(move || control::run(server, settings, a, end)));
            let reports = scope.spawn(move || reader::reports(server, b, end));
            let metrics = scope.spawn(move || reader::metrics(server, c, end));
            for slice in (0..slices).rev() {
                // The last check is shortly before the load ends.
                let check = end - SLICE * slice as u32 - Duration::from_millis(200);
                sleep_until(check - SLICE / 2);
                residents.keep_alive();
                sleep_until(check);
                check_load(plan, &listeners, tcp_main, seen);
                residents.keep_alive();
            }
            for (crowd, next) in crowds.into_iter().zip(&mut next) {
                if let Some((tally, to)) = seen.result(crowd) {
                    seen.tally.add(tally);
                    *next = to;
                }
            }
            for part in parts {
                if let Some(tally) = seen.result(part) {
                    seen.tally.add(tally);
                }
            }
            if let Some(changes) = changes.and_then(|changes| seen.result(changes)) {
                seen.changes.add(changes);
            }
            seen.reports += seen.result(reports).unwrap_or_default();
            seen.metrics += seen.result(metrics).unwrap_or_default();
        });
        residents.keep_alive();
        rest(plan, &listeners, tcp_main, &mut random, seen);
    }
    drop(residents);
    check_end(plan, &listeners, seen);
    listeners.server.stop(EXPECTED);
}

/// Configures the size of the server for the load.
fn size(plan: &Plan, server: Config) -> Config {
    if plan.fleet {
        // The fleet sends nothing while it is connected, so the server must not close idle
        // connections: the lifetime stays at an hour, as in all tests. A source without a
        // slot is rejected; if it were admitted uncounted, an audit would not be clean.
        return server
            .core(&format!("tcp_max_connections={}", fleet::CAPACITY))
            .text_param("on_full", "reject")
            .shared_memory(320);
    }
    // Networks and trusted connections are counted, and the audit compares the former.
    server
        .param("network_limit", 0)
        .param("untrusted_limit", 0)
        .core("tcp_max_connections=4000")
        .core(&format!("tcp_connection_lifetime={}", LIFETIME.as_secs()))
        .shared_memory(160)
}

fn check_load(plan: &Plan, listeners: &Listeners, tcp_main: u64, seen: &mut Seen) {
    check_audit(plan, listeners, seen);
    let held = Held::by(&listeners.server, tcp_main);
    seen.loaded.push(held);
    println!(
        "{:5} s  {:6} accepted, {:5} connected; resident {:.1} MB, shared {:.1} MB; audit {}",
        seen.loaded.len() as u64 * SLICE.as_secs(),
        held.accepted,
        held.connections,
        held.resident as f64 / 1e6,
        held.shared as f64 / 1e6,
        if seen.failures.is_empty() {
            "clean"
        } else {
            "NOT CLEAN"
        }
    );
}

fn check_audit(plan: &Plan, listeners: &Listeners, seen: &mut Seen) {
    seen.audits += 1;
    match audit(plan.mode, &listeners.server) {
        Ok(asked) => seen.asked.push(asked),
        Err(answer) => seen.fail(format!("audit {}: {answer}", seen.audits)),
    }
}

/// Checks a rest, in which only the residents are connected: counts and limits are exact,
/// and memory can be compared.
fn rest(plan: &Plan, listeners: &Listeners, tcp_main: u64, random: &mut SmallRng, seen: &mut Seen) {
    let server = &listeners.server;
    let residents = u64::from(residents::COUNT);
    server.wait_for_connections(residents);
    check_audit(plan, listeners, seen);
    if seen.failures.is_empty() {
        for n in [200, 201] {
            let from = listeners::local(n);
            let mut tries = (0..LIMIT + 3).map(|_| listeners.open(random, from));
            let admitted: Vec<_> = tries.by_ref().take(LIMIT).flatten().collect();
            let more = tries.flatten().count();
            if admitted.len() != LIMIT || more != 0 {
                let first = admitted.len();
                seen.fail(format!(
                    "{from}: {first} of {LIMIT} connections were admitted, then {more} of 3"
                ));
            }
        }
        server.wait_for_connections(residents);
    }
    for (name, expected) in [("connections", residents), ("errors", 0)] {
        let found = server.stat(name);
        if found != expected {
            seen.fail(format!("at a rest: {name} is {found}, expected {expected}"));
        }
    }
    let held = Held::by(server, tcp_main);
    seen.rests.push(held);
    println!(
        "   rest  resident {:.1} MB, shared {} bytes, pkg {} bytes, {} descriptors",
        held.resident as f64 / 1e6,
        held.shared,
        held.pkg,
        held.descriptors
    );
}

/// Checks the end, when no client is connected any more.
fn check_end(plan: &Plan, listeners: &Listeners, seen: &mut Seen) {
    let server = &listeners.server;
    server.wait_for_connections(0);
    check_audit(plan, listeners, seen);
    let stats = server.rpc("tcp_conn_limit.stats", json!([]));
    let stat = |name| number(&stats, name);
    seen.errors = stat("errors");
    seen.expired = server.counter("tcp", "con_timeout");
    seen.would_reject = stat("would_reject");
    for name in ["connections", "errors"] {
        if stat(name) != 0 {
            seen.fail(format!("at the end: {name} is {}, expected 0", stat(name)));
        }
    }
    if plan.fleet {
        check_fleet(&stats, seen);
    }
    let top = server.rpc("tcp_conn_limit.top", json!([400]));
    if top != json!([]) {
        seen.fail(format!("at the end the table has sources: {top}"));
    }
}

/// Checks that the fleet was complete, and that almost every source found a slot.
fn check_fleet(stats: &Value, seen: &mut Seen) {
    let stat = |name| number(stats, name);
    let peak = seen.loaded.iter().map(|held| held.connections).max();
    let peak = peak.unwrap_or_default();
    if peak < fleet::FULL * 95 / 100 {
        seen.fail(format!(
            "the fleet had at most {peak} of {} connections",
            fleet::FULL
        ));
    }
    let (without_slot, rejected) = (stat("full_rejected"), seen.tally.rejected);
    if without_slot != rejected {
        seen.fail(format!(
            "{rejected} connections were rejected, but {without_slot} found no slot"
        ));
    }
    // 3 in a million are documented. A short run may have a few more by chance.
    let allowed = seen.tally.opened * 3 / 1_000_000 + 5;
    if without_slot > allowed {
        seen.fail(format!(
            "{without_slot} connections found no slot, expected at most {allowed}"
        ));
    }
    if stat("table_full") != 0 {
        seen.fail(format!(
            "{} connections were admitted uncounted, expected 0",
            stat("table_full")
        ));
    }
}

fn sleep_until(time: Instant) {
    sleep(time.saturating_duration_since(Instant::now()));
}

/// Returns the message of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message").to_owned()
}
