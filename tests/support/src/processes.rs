// SPDX-License-Identifier: GPL-2.0-or-later
//! Processes forked as Kamailio forks its workers, and the memory they share.
//!
//! The tests that fork are separate programs without the usual harness. The harness
//! runs tests in threads, and a process forked while another thread holds a lock of
//! the standard library would wait for that lock forever. [`run`] replaces it.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::wait::until;

/// Runs those of `tests` whose name contains an argument of the program, or all, one
/// after the other.
pub fn run(tests: &[(&str, fn())]) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        return tests.iter().for_each(|(name, _)| println!("{name}: test"));
    }
    let wanted: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    for (name, test) in tests {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let start = Instant::now();
        print!("test {name} ... ");
        std::io::stdout().flush().unwrap();
        end_in(DEADLINE);
        // A failed test ends the program.
        test();
        println!("ok, {:.1} s", start.elapsed().as_secs_f64());
    }
}

/// The time that a test may take before it calls [`end_in`] again.
pub const DEADLINE: Duration = Duration::from_secs(600);

/// Ends this process, and its children with it, after `time`, in whole seconds, unless
/// this is called again. So a wait without end fails the test.
pub fn end_in(time: Duration) {
    let seconds = time.as_secs().try_into().expect("less than 136 years");
    // SAFETY: takes no pointer; the signal ends the process.
    unsafe { libc::alarm(seconds) };
}

/// A forked process that runs `work`. It is killed when this is dropped before it was
/// waited for.
pub struct Child(libc::pid_t);

impl Child {
    /// Forks the process.
    pub fn start(work: impl FnOnce()) -> Child {
        // SAFETY: this process has one thread, so no thread is missing in the child.
        match unsafe { libc::fork() } {
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: takes no pointer. However the parent ends, the child ends
                // with it.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                set_hook(Box::new(|info| {
                    let _ = writeln!(std::io::stderr(), "in a child: {info}");
                }));
                let failed = catch_unwind(AssertUnwindSafe(work)).is_err();
                // SAFETY: ends the process without running what belongs to the
                // parent.
                unsafe { libc::_exit(i32::from(failed)) }
            }
            pid => Child(pid),
        }
    }

    /// Kills it with SIGKILL. It is waited for only when this is dropped, so it remains
    /// a zombie until then.
    pub fn kill(&self) {
        // SAFETY: a child of ours that was not waited for.
        let killed = unsafe { libc::kill(self.0, libc::SIGKILL) };
        assert_eq!(killed, 0);
    }

    /// Waits for its end. Returns 0 if it ended without a panic, otherwise the number of
    /// the signal that ended it or, from 256 on, a failure.
    pub fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: a child of ours that was not waited for, and a valid pointer.
        let pid = unsafe { libc::waitpid(self.0, &mut status, 0) };
        assert_eq!(pid, self.0);
        std::mem::forget(self);
        status
    }

    /// Waits for its end and panics if it failed.
    pub fn join(self) {
        assert_eq!(self.wait(), 0, "a child failed");
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

/// Waits for the end of all, and panics if one failed.
pub fn join_all(children: Vec<Child>) {
    for child in children {
        child.join();
    }
}

/// Kills workers, one after the other, `kills` in all, each at a random point of its work, and
/// starts another instead. Each worker counts its operations in its beat.
pub fn kill_at_random<R: Rng>(
    workers: &mut [Child],
    beats: &[AtomicU64],
    kills: u64,
    random: &mut R,
    start: impl Fn(usize, &mut R) -> Child,
) {
    for _ in 0..kills {
        let victim = random.random_range(0..workers.len());
        let beat = &beats[victim];
        let before = beat.load(Ordering::SeqCst);
        until("the worker works", || beat.load(Ordering::SeqCst) != before);
        std::thread::sleep(Duration::from_micros(random.random_range(0..800)));
        workers[victim].kill();
        let next = start(victim, random);
        let killed = std::mem::replace(&mut workers[victim], next);
        assert_eq!(killed.wait(), libc::SIGKILL, "a process failed by itself");
    }
}

/// Memory that this process shares with its children, initially zero. `T` must consist
/// of atomics.
pub fn shared<T>() -> &'static T {
    // SAFETY: this is a new mapping that is never unmapped. It is used for atomics only,
    // for which zeroed memory is valid. It is page-aligned and large enough.
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
