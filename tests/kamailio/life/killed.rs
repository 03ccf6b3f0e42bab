// SPDX-License-Identifier: GPL-2.0-or-later

//! A process of the server is killed, while connections are rejected at the limit.
//!
//! The core ends the whole server then. With our module it does so as without it,
//! and as fast; and the next server starts at once and counts from zero.
//!
//! # Why no connection is opened or closed at that moment
//!
//! If one is, the core cannot always end, with or without our module. TCP main
//! allocates and frees shared memory for each connection, and frees the TLS state of
//! each closed one. The kill can interrupt that halfway. So can the SIGTERM with which
//! the core ends its other processes, because they exit in its handler. Afterwards the
//! main process frees all connections. It then crashes in `qm_free()` or `SSL_free()`,
//! or walks a list of free memory in a circle.
//!
//! Servers of Kamailio 6.0.1 that did not end by themselves, of those whose TCP main
//! was killed:
//!
//! | moment of the kill | without our module | with it |
//! |---|---|---|
//! | random, connections come and go, one in five with TLS | 1 of 1,367 | 1 of 1,276 |
//! | the same load, at an instruction of the core's allocator | 7 of 23 | 8 of 32 |
//! | random, connections are rejected: this test | 0 of 1,631 | 0 of 4,321 |
//!
//! The main processes of these 17 servers were all in the core's `cleanup()`, in the
//! allocator or in OpenSSL. No backtrace has a function of our module or library.
//!
//! A rejection allocates nothing, because the core decides before it makes a
//! connection. In 1,000 rejections no process of the server called the shared memory's
//! allocator, in any of the four modes; for 200 connections that came and went, TCP
//! main called it 400 times (gdb, breakpoints on `qm_shm_*`). So TCP main is busy at
//! the moment of the kill, with the calls that our module takes, and leaves nothing of
//! the core half done. A server that does not end by itself fails the test, whatever
//! the reason is. `tests/engine/killed.rs` kills processes within our own operations.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use support::kamailio::mode::{Mode, attached_either_way};
use support::kamailio::{Client, DEADLINE, Log, Server, Via, send, source, until};

attached_either_way!(counting_goes_on_when_main_is_killed,);

/// How often each kind of process is killed, with each attachment and without our
/// module.
const ROUNDS: u64 = 3;

/// Threads of clients, and the sources of each.
const THREADS: u8 = 3;
const SOURCES: u8 = 4;

const LIMIT: u32 = 3;

/// How much longer the end may take with our module than without it, on a loaded
/// machine.
const AS_FAST: Duration = Duration::from_secs(2);

/// Parts of the lines that the core logs after a process has died, because it can no
/// longer send to it or receive from it, and about clients that were rejected or gave up.
const OF_NO_CONCERN: [&str; 7] = [
    "exited by a signal 9",
    "core was not generated",
    "exited normally",
    "core/pass_fd.c",
    "core/io_wait.h",
    "core/tcp_main.c",
    "core/tcp_read.c",
];

#[test]
fn server_ends_when_a_worker_is_killed() {
    ends_as_fast("tcp receiver", "tcp receiver");
}

#[test]
fn server_ends_when_ctl_is_killed() {
    ends_as_fast("ctl handler", "ctl handler");
}

#[test]
fn server_ends_when_tcp_main_is_killed() {
    ends_as_fast("tcp main", "tcp main");
}

/// Compared with a similar process of the core.
#[test]
fn server_ends_when_the_watcher_is_killed() {
    ends_as_fast("slow timer", "tcp_conn_limit watcher");
}

/// Kills the process `theirs` in servers without our module and `ours` in servers with
/// it. The latter must end as fast.
fn ends_as_fast(theirs: &str, ours: &str) {
    let longest = |has_module, process| {
        let modes = Mode::all().into_iter();
        let modes = modes.filter(|mode| mode.has_module() == has_module);
        let took = modes.map(|mode| kill_again_and_again(mode, process));
        took.max().expect("there are modes of both kinds")
    };
    let (without, with) = (longest(false, theirs), longest(true, ours));
    assert!(
        with < without + AS_FAST,
        "the end takes {with:?} with our module, {without:?} without"
    );
}

/// Kills the process in one server after the other on the same ports. Returns the
/// longest time that a server took to end.
fn kill_again_and_again(mode: Mode, process: &str) -> Duration {
    let mut server = mode
        .config(LIMIT)
        .core("tcp_max_connections=500")
        .tls()
        .start();
    let mut longest = Duration::ZERO;
    for round in 0..ROUNDS {
        eprintln!("{mode:?}, seed {round}");
        assert_memory_is_nameless(&server);
        let pid = server.process(process);
        let began = kill_under_load(&server, pid, round);
        let status = server.wait_for_end();
        longest = longest.max(began.elapsed());
        assert!(
            status.code().is_some(),
            "the server did not end by itself: {status}"
        );
        eprintln!("ended after {:?}", began.elapsed());
        assert_eq!(server.processes_left(), 0);
        assert_only_that_process_died(&server, pid);
        server = server.start_again();
        assert_counts_from_zero(mode, &server);
    }
    mode.finish(server, &[]);
    longest
}

/// Kills a process at a random moment while connections are rejected. Returns when
/// that was.
fn kill_under_load(server: &Server, pid: u64, seed: u64) -> Instant {
    let mut random = SmallRng::seed_from_u64(seed);
    let held: Vec<Client> = thread::scope(|scope| {
        let mut threads = Vec::new();
        for thread in 0..THREADS {
            let random = SmallRng::seed_from_u64(random.random());
            threads.push(scope.spawn(move || come_and_go(server, thread, random)));
        }
        let held = threads.into_iter().map(|thread| thread.join());
        held.flat_map(|held| held.expect("the clients come and go"))
            .collect()
    });
    // The core has freed all others.
    server.wait_for_connections(held.len() as u64);

    let rejected = AtomicU32::new(0);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let random = SmallRng::seed_from_u64(random.random());
            let rejected = &rejected;
            scope.spawn(move || be_rejected(server, thread, random, rejected));
        }
        let enough = random.random_range(20..200);
        until("connections are rejected", || {
            rejected.load(Ordering::Relaxed) >= enough
        });
        thread::sleep(Duration::from_micros(random.random_range(0..5000)));
        let began = Instant::now();
        send(pid, Signal::SIGKILL);
        began
    })
}

/// Opens and closes connections, some of them with TLS, then brings each source to
/// its limit. Returns the connections that are open at the end.
fn come_and_go(server: &Server, thread: u8, mut random: SmallRng) -> Vec<Client> {
    let mut held: Vec<Vec<Client>> = (0..SOURCES).map(|_| Vec::new()).collect();
    for _ in 0..random.random_range(10..70) {
        let host = random.random_range(0..SOURCES);
        let held = &mut held[usize::from(host)];
        if random.random_bool(0.35) && !held.is_empty() {
            let client = held.swap_remove(random.random_range(0..held.len()));
            if random.random_bool(0.3) {
                client.reset();
            }
        } else {
            let via = match random.random_bool(0.2) {
                true => Via::Tls,
                false => Via::Tcp,
            };
            let from = source(110, thread, host + 1);
            held.extend(server.open(via, from));
            assert!(held.len() <= LIMIT as usize, "{from}: more than the limit");
        }
    }
    for (host, held) in (1..).zip(&mut held) {
        // A connection that was just closed may still be counted.
        until("a source is at its limit", || {
            held.extend(server.open(Via::Tcp, source(110, thread, host)));
            held.len() == LIMIT as usize
        });
    }
    held.into_iter().flatten().collect()
}

/// Connects from sources at their limit until the server no longer listens.
fn be_rejected(server: &Server, thread: u8, mut random: SmallRng, rejected: &AtomicU32) {
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < 2 * DEADLINE, "the server still listens");
        let from = source(110, thread, random.random_range(0..SOURCES) + 1);
        let Some(mut client) = Client::try_connect(from, server.address(Via::Tcp)) else {
            return;
        };
        assert!(!client.is_admitted(), "{from}: more than the limit");
        rejected.fetch_add(1, Ordering::Relaxed);
    }
}

/// Memory without a name is freed with the last process that shares it.
#[track_caller]
fn assert_memory_is_nameless(server: &Server) {
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.tcp_main()));
    let maps = maps.expect("TCP main runs");
    let shared: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains(" rw-s "))
        .collect();
    assert!(!shared.is_empty(), "{maps}");
    for line in shared {
        assert!(line.ends_with(" /dev/zero (deleted)"), "{line}");
    }
}

/// Checks that nothing the server has left shows a crash.
#[track_caller]
fn assert_only_that_process_died(server: &Server, pid: u64) {
    let log = server.log();
    let killed = format!("child process {pid} exited by a signal 9");
    assert_eq!(log.lines_with(&killed).len(), 1, "{log}");
    assert_eq!(log.lines_with("exited by a signal").len(), 1, "{log}");
    assert_no_errors_of_ours(&log);
    log.assert_clean_but_for(&OF_NO_CONCERN);
    let files = fs::read_dir(server.dir()).expect("the server's directory");
    let names = files.map(|file| file.expect("a file").file_name());
    let dumps: Vec<_> = names
        .filter(|name| name.as_encoded_bytes().starts_with(b"core"))
        .collect();
    assert!(dumps.is_empty(), "{dumps:?}");
}

#[track_caller]
fn assert_no_errors_of_ours(log: &Log) {
    for trouble in [
        "ERROR: tcp_conn_limit",
        "CRITICAL: tcp_conn_limit",
        "panicked",
    ] {
        assert_eq!(log.lines_with(trouble), [""; 0]);
    }
}

#[track_caller]
fn assert_counts_from_zero(mode: Mode, server: &Server) {
    assert_eq!(server.connections(), 0);
    if mode.has_module() {
        for name in ["connections", "sources", "admitted", "rejected", "errors"] {
            assert_eq!(server.stat(name), 0, "{name}");
        }
    }
    let from = source(110, 0, 1);
    let _held = server.admit_all(LIMIT as usize, Via::Tcp, from);
    server.reject(Via::Tcp, from);
    if mode.has_module() {
        assert_eq!(server.counted("127.110.0.1"), u64::from(LIMIT));
        assert_eq!(server.stat("rejected"), 1);
        mode.assert_audit_clean(server);
    }
}

/// The other processes do not notice it. They go on, and so does counting.
fn counting_goes_on_when_main_is_killed(mode: Mode) {
    let mut server = mode
        .config(LIMIT)
        .rules_file("127.111.0.0/16=2\n")
        .param("log_interval", 1)
        .start();
    let (from, other) = (source(110, 0, 1), source(111, 0, 1));
    let mut held = server.admit_all(2, Via::Tcp, from);
    let before = server.processes_left();
    send(server.main(), Signal::SIGKILL);
    assert!(server.wait_for_end().code().is_none(), "it was killed");
    assert_eq!(server.processes_left(), before - 1);

    held.extend(server.admit_all(1, Via::Tcp, from));
    server.reject(Via::Tcp, from);
    held.extend(server.admit_all(2, Via::Tcp, other));
    server.reject(Via::Tcp, other);
    assert_eq!(server.stat("connections"), 5);
    mode.assert_audit_clean(&server);
    server.write_rules("127.111.0.0/16=1\n");
    server.rpc("tcp_conn_limit.reload", json!([]));
    server.reject(Via::Tcp, other);
    server.wait_for_log(1, "rejected connection from 127.110.0.1");
    held.clear();
    server.wait_for_connections(0);
    mode.assert_audit_clean(&server);
    assert_eq!(server.stat("connections"), 0);
    assert_eq!(server.stat("errors"), 0);
    assert_no_errors_of_ours(&server.log());

    // So they only end when the operator ends them.
    server.kill_all();
    let server = server.start_again();
    assert_counts_from_zero(mode, &server);
    mode.finish(server, &[]);
}
