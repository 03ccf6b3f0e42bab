// SPDX-License-Identifier: GPL-2.0-or-later

//! Processes that start their work at the same moment, each on its own CPU.

use std::hint::spin_loop;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::libc;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::Result;
use crate::cpu::pin;
use crate::shared::{self, Line};

/// The work of a process. It calls [`Start::wait`] when it is ready; its return value goes
/// to the parent.
pub(crate) type Work<'a> = Box<dyn FnOnce(&Start) -> f64 + 'a>;

/// The moment at which the processes start.
pub(crate) struct Start {
    ready: &'static AtomicU32,
    all: usize,
}

impl Start {
    /// Waits, without a system call, until all processes have called it.
    pub(crate) fn wait(&self) {
        self.ready.fetch_add(1, Ordering::SeqCst);
        while (self.ready.load(Ordering::SeqCst) as usize) < self.all {
            spin_loop();
        }
    }
}

/// Runs each work in its own process, the first on the first of `cpus`, and so on.
/// Returns their answers.
pub(crate) fn together(works: Vec<Work<'_>>, cpus: &[usize]) -> Result<Vec<f64>> {
    let ready: &[AtomicU32] = shared::zeros(1)?;
    let answers: &[Line] = shared::zeros(works.len())?;
    let start = Start {
        ready: &ready[0],
        all: works.len(),
    };
    let mut children = Vec::new();
    for ((work, &cpu), answer) in works.into_iter().zip(cpus).zip(answers) {
        // SAFETY: this process has one thread, so the child may call any function. The
        // child ends with _exit(), so it runs no destructors of the parent.
        match unsafe { fork()? } {
            ForkResult::Parent { child } => children.push(child),
            ForkResult::Child => {
                let code = i32::from(pin(&[cpu]).is_err());
                answer.0.store(work(&start).to_bits(), Ordering::Relaxed);
                // SAFETY: _exit() only ends the process.
                unsafe { libc::_exit(code) }
            }
        }
    }
    for child in children {
        match waitpid(child, None)? {
            WaitStatus::Exited(_, 0) => {}
            other => return Err(format!("a forked process failed: {other:?}").into()),
        }
    }
    let read = |line: &Line| f64::from_bits(line.0.load(Ordering::Relaxed));
    Ok(answers.iter().map(read).collect())
}

/// A signal from one process to another.
pub(crate) struct Flag(&'static AtomicU64);

impl Flag {
    pub(crate) fn new() -> io::Result<Flag> {
        Ok(Flag(&shared::zeros::<Line>(1)?[0].0))
    }

    pub(crate) fn raise(&self) {
        self.0.store(1, Ordering::SeqCst);
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }
}
