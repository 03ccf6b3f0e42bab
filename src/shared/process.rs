// SPDX-License-Identifier: GPL-2.0-or-later
//! The number of this thread, and whether another thread is alive. So a word in shared
//! memory that names its holder can be taken over if the holder has died.

#![forbid(unsafe_code)]

use std::io::ErrorKind;

use crate::shared::sync::{AtomicU32, Ordering};

/// The number of this thread. In a process with one thread this is the process's number.
/// If /proc cannot be read, all threads of a process have its number: see [`OneThread`].
pub(crate) fn own_number() -> u32 {
    std::fs::read_link("/proc/thread-self")
        .ok()
        .and_then(|link| link.file_name()?.to_str()?.parse().ok())
        .unwrap_or_else(std::process::id)
}

/// Whether a thread with this number is alive. Returns `true` if /proc is missing, as in
/// some chroots, or unreadable: then it must be assumed to be alive.
pub(crate) fn is_alive(thread: u32) -> bool {
    match std::fs::read(format!("/proc/{thread}/stat")) {
        // The state follows the name, which is in parentheses and may contain any bytes.
        Ok(stat) => !stat
            .rsplit(|&byte| byte == b')')
            .next()
            .and_then(|rest| rest.trim_ascii_start().first())
            .is_some_and(|state| b"ZX".contains(state)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            !std::path::Path::new("/proc/self").exists()
        }
        // ESRCH: the thread ended while its file was read.
        Err(error) => error.raw_os_error() != Some(libc::ESRCH),
    }
}

/// Admits one thread of this process at a time. It lies in the memory of the process, not
/// in shared memory: a fork copies it, and each process has its own from then on.
pub(crate) struct OneThread {
    /// The process whose thread is admitted; 0: no thread.
    process: AtomicU32,
}

/// The thread stays admitted by [`OneThread::enter`] until this is dropped.
pub(crate) struct Entered<'a>(&'a OneThread);

impl OneThread {
    pub(crate) const fn new() -> OneThread {
        OneThread {
            process: AtomicU32::new(0),
        }
    }

    /// `None` if another thread of this process has entered and not left.
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        let own = std::process::id();
        // Relaxed: the exchange decides.
        let before = self.process.load(Ordering::Relaxed);
        // The number of another process was copied by a fork: its thread runs only there.
        if before == own {
            return None;
        }
        // Acquire: this thread sees everything that the previous one wrote.
        let entered =
            self.process
                .compare_exchange(before, own, Ordering::Acquire, Ordering::Relaxed);
        entered.is_ok().then_some(Entered(self))
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // Release: see `enter`.
        self.0.process.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_thread_enters_after_the_first_left() {
        let gate = OneThread::new();
        let is_open = || std::thread::scope(|s| s.spawn(|| gate.enter().is_some()).join().unwrap());
        let entered = gate.enter();
        assert!(entered.is_some());
        assert!(!is_open());
        drop(entered);
        assert!(is_open());
        assert!(is_open());
    }

    #[test]
    fn forked_process_enters_despite_a_thread_of_its_parent() {
        let gate = OneThread::new();
        // The value that a fork copies while a thread of the parent is admitted.
        gate.process
            .store(std::process::id() + 1, Ordering::Relaxed);
        let entered = gate.enter();
        assert!(entered.is_some());
        assert!(gate.enter().is_none());
    }
}
