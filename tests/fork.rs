// SPDX-License-Identifier: GPL-2.0-or-later
//! Many processes on one table, made by `fork` as Kamailio makes its workers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tcp_conn_limit::limiter::{Limiter, NotCounted, Token, Worker};
use tcp_conn_limit::source::{Prefixes, Source};

const WORKERS: u32 = 8;

/// A forked process that runs `work` and is killed if nobody waits for it.
struct Child(libc::pid_t);

impl Child {
    fn start(work: impl FnOnce()) -> Child {
        // SAFETY: the child runs `work` and ends without returning to the test
        // harness; it uses no lock that another thread might have held, since
        // glibc makes its allocator usable after fork.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // the harness would keep what the child says, and nobody would
                // ever ask for it
                set_hook(Box::new(|info| {
                    let _ = writeln!(std::io::stderr(), "in a worker: {info}");
                }));
                let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
                // SAFETY: ends the process without running what belongs to the
                // parent.
                unsafe { libc::_exit(i32::from(failed)) }
            }
            pid => Child(pid),
        }
    }

    fn join(self) {
        let mut status = 0;
        // SAFETY: a child of ours that was not waited for, and a valid pointer.
        let pid = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(pid, self.0);
        std::mem::forget(self);
        assert_eq!(status, 0, "a worker failed");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: a child of ours that was not waited for.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Memory that this process shares with its children; zero at first.
fn shared<T>() -> &'static T {
    // SAFETY: a new mapping, never unmapped; used for atomics only, for which
    // zeroed memory is valid; page-aligned and large enough.
    unsafe {
        let at = libc::mmap(
            std::ptr::null_mut(),
            size_of::<T>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(at, libc::MAP_FAILED);
        &*at.cast::<T>()
    }
}

fn source(n: u32) -> Source {
    let address = [&[10], &n.to_be_bytes()[1..]].concat();
    Source::new(&address, Prefixes::DEFAULT).unwrap()
}

fn join_all(children: Vec<Child>) {
    for child in children {
        child.join();
    }
}

/// Opens and closes at random over `sources` sources, then closes all.
fn hammer(limiter: &Limiter, worker: u32, sources: u32, rounds: u32) {
    let me = Worker::new(worker);
    let mut random = SmallRng::seed_from_u64(u64::from(worker));
    let mut live: Vec<(Source, Token)> = Vec::new();
    for _ in 0..rounds {
        let source = source(random.random_range(0..sources));
        if live.len() < 100 && random.random_bool(0.5) {
            live.push((source, limiter.opened(me, source, 0).unwrap()));
        } else if !live.is_empty() {
            let (_, token) = live.swap_remove(random.random_range(0..live.len()));
            limiter.closed(me, token).unwrap();
        }
        let own = live.iter().filter(|(s, _)| *s == source).count();
        assert!(limiter.get(source).connections as usize >= own);
    }
    for (_, token) in live {
        limiter.closed(me, token).unwrap();
    }
}

fn hammered_by_all(sources: u32) {
    let limiter = Limiter::new(WORKERS * 100, 0, Prefixes::DEFAULT).unwrap();
    let hold = limiter.opened(Worker::ACCEPTOR, source(0), 0).unwrap();
    let children = (0..WORKERS)
        .map(|worker| Child::start(|| hammer(&limiter, worker, sources, 50_000)))
        .collect();
    join_all(children);
    let left: Vec<_> = limiter.sources().collect();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].source, left[0].connections), (source(0), 1));
    limiter.closed(Worker::ACCEPTOR, hold).unwrap();
    assert_eq!(limiter.occupancy().connections, 0);
    assert_eq!(limiter.totals().stale_token, 0);
}

/// All meet in the same few sources: claim against claim, claim against release.
#[test]
fn all_counts_return_to_zero_few_sources() {
    hammered_by_all(3);
}

/// Sources are replaced all the time: replacement against look-up.
#[test]
fn all_counts_return_to_zero_many_sources() {
    hammered_by_all(100_000);
}

/// Never more than the limit, whoever opens and whoever closes.
#[test]
fn the_limit_holds_among_processes() {
    const LIMIT: i32 = 5;
    const SOURCES: usize = 4;
    let live: &[AtomicI32; SOURCES] = shared();
    let admitted: &AtomicU32 = shared();
    let limiter = Limiter::new(1_000, LIMIT, Prefixes::DEFAULT).unwrap();
    let children = (0..WORKERS)
        .map(|worker| {
            Child::start(|| {
                let me = Worker::new(worker);
                let mut random = SmallRng::seed_from_u64(u64::from(worker));
                let mut mine: Vec<(usize, Token)> = Vec::new();
                for _ in 0..100_000 {
                    let n = random.random_range(0..SOURCES);
                    if random.random_bool(0.6) {
                        match limiter.opened(me, source(n as u32), LIMIT) {
                            Ok(token) => {
                                let before = live[n].fetch_add(1, Ordering::SeqCst);
                                assert!(before < LIMIT, "{before} and one more");
                                admitted.fetch_add(1, Ordering::Relaxed);
                                mine.push((n, token));
                            }
                            Err(refused) => assert_eq!(refused, NotCounted::OverLimit),
                        }
                    } else if !mine.is_empty() {
                        let (n, token) = mine.swap_remove(random.random_range(0..mine.len()));
                        live[n].fetch_sub(1, Ordering::SeqCst);
                        limiter.closed(me, token).unwrap();
                    }
                }
                for (n, token) in mine {
                    live[n].fetch_sub(1, Ordering::SeqCst);
                    limiter.closed(me, token).unwrap();
                }
            })
        })
        .collect();
    join_all(children);
    assert!(admitted.load(Ordering::Relaxed) > WORKERS * 100);
    assert_eq!(limiter.occupancy().connections, 0);
}

/// One acceptor, the others close, as in Kamailio: exactly the limit is admitted,
/// and a place that another process freed is free at once.
#[test]
fn closed_from_another_process() {
    const LIMIT: i32 = 10;
    let limiter = Limiter::new(100, LIMIT, Prefixes::DEFAULT).unwrap();
    let (mut ours, mut theirs) = UnixStream::pair().unwrap();
    let closer = Child::start(|| {
        let mut bits = [0; 8];
        while theirs.read_exact(&mut bits).is_ok() {
            let token = Token::from_bits(u64::from_le_bytes(bits)).unwrap();
            let closed = limiter.closed(Worker::new(3), token).is_ok();
            theirs.write_all(&[u8::from(closed)]).unwrap();
        }
    });
    let source = source(1);
    let mut live: Vec<Token> = (0..LIMIT)
        .map(|_| {
            assert!(limiter.check(source).is_ok());
            limiter.opened(Worker::ACCEPTOR, source, 0).unwrap()
        })
        .collect();
    for _ in 0..1_000 {
        assert!(limiter.check(source).is_err());
        let token = live.remove(0);
        ours.write_all(&token.to_bits().to_le_bytes()).unwrap();
        let mut closed = [0];
        ours.read_exact(&mut closed).unwrap();
        assert_eq!(closed, [1]);
        assert!(limiter.check(source).is_ok());
        live.push(limiter.opened(Worker::ACCEPTOR, source, 0).unwrap());
    }
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    closer.join();
    assert_eq!(limiter.get(source).connections, LIMIT as u32);
}
