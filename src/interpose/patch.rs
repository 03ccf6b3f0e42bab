// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes what lies in the GOT entries, and takes it back.
//!
//! A GOT entry that the dynamic linker made read-only can be written to only while its
//! page is not; it is read-only again before anybody goes on. All GOT entries are changed
//! or none is.
//!
//! The pages are this process's own: what a process forked before has in its GOT entries
//! stays, what it forks from now on has what is there now.

use core::ffi::c_void;
use std::collections::BTreeSet;
use std::io;

use super::got::GotEntry;
use crate::shared::sync::{AtomicUsize, Ordering};

/// A GOT entry and the address that is to be in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change {
    entry: GotEntry,
    from: usize,
    to: usize,
}

impl Change {
    /// # Safety
    ///
    /// `entry` is a GOT entry of the executable, and `to` the address of a function with
    /// the signature of what is in it, there until the process ends.
    pub(super) unsafe fn new(entry: GotEntry, to: usize) -> Change {
        // SAFETY: a GOT entry, as the caller promises.
        let from = unsafe { content(entry) };
        Change { entry, from, to }
    }

    fn word(&self) -> &AtomicUsize {
        // SAFETY: an aligned word of the executable's data, as `new` was promised,
        // which stays as long as the process. Whoever else uses it, the processor in
        // a call and the dynamic linker, uses it as a whole.
        unsafe { AtomicUsize::from_ptr(self.entry.at as *mut usize) }
    }
}

/// The address that is in a GOT entry.
///
/// # Safety
///
/// `entry` is a GOT entry of the executable.
pub(super) unsafe fn content(entry: GotEntry) -> usize {
    // SAFETY: an aligned word of the executable's data, as the caller promises. Not
    // an atomic: the page may be read-only.
    unsafe { (entry.at as *const usize).read_volatile() }
}

/// Slots that were changed.
#[derive(Debug)]
pub(super) struct Changed(Vec<Change>);

/// Makes all changes, or none.
///
/// # Errors
///
/// A sentence that says what the system did not allow; every GOT entry is as it was.
pub(super) fn change(changes: Vec<Change>) -> Result<Changed, String> {
    let sealed = while_writable(&changes, || {
        for change in &changes {
            // publish: what the new function reads was written before
            change.word().store(change.to, Ordering::Release);
        }
    })?;
    let changed = Changed(changes);
    if let Err(sentence) = sealed {
        changed.undo()?;
        return Err(sentence);
    }
    Ok(changed)
}

impl Changed {
    /// Puts back what was in the GOT entries. One that somebody else has changed since is
    /// theirs, and stays.
    ///
    /// # Errors
    ///
    /// A sentence that says which are not as they were.
    pub(super) fn undo(&self) -> Result<(), String> {
        let mut theirs = 0;
        let sealed = while_writable(&self.0, || {
            for change in &self.0 {
                let (from, to) = (change.from, change.to);
                let word = change.word();
                let answer = word.compare_exchange(to, from, Ordering::Relaxed, Ordering::Relaxed);
                theirs += usize::from(answer.is_err_and(|now| now != from));
            }
        })?;
        sealed?;
        if theirs > 0 {
            return Err(format!(
                "another library has since changed {theirs} of the executable's GOT entries"
            ));
        }
        Ok(())
    }
}

/// Runs `work` while all GOT entries can be written to. The outer error: it did not run,
/// and nothing has changed; the inner one: a page could not be made read-only again.
fn while_writable(changes: &[Change], work: impl FnOnce()) -> Result<Result<(), String>, String> {
    let page = page_size();
    let pages: BTreeSet<usize> = changes
        .iter()
        .filter(|change| change.entry.read_only)
        .map(|change| change.entry.at - change.entry.at % page)
        .collect();
    let mut opened = Vec::with_capacity(pages.len());
    for at in pages {
        if let Err(error) = protect(at, page, libc::PROT_READ | libc::PROT_WRITE) {
            for at in opened {
                protect(at, page, libc::PROT_READ).map_err(sealing)?;
            }
            return Err(format!(
                "cannot make a page of the executable's GOT entries writable: {error}"
            ));
        }
        opened.push(at);
    }
    work();
    let mut answer = Ok(());
    for at in opened {
        if let Err(error) = protect(at, page, libc::PROT_READ) {
            answer = Err(sealing(error));
        }
    }
    Ok(answer)
}

fn sealing(error: io::Error) -> String {
    format!("cannot make a page of the executable's GOT entries read-only again: {error}")
}

fn protect(page: usize, size: usize, protection: i32) -> io::Result<()> {
    // SAFETY: a page of the executable's data that the dynamic linker made
    // read-only: nobody writes to it, and nobody takes what cannot be read there.
    match unsafe { libc::mprotect(page as *mut c_void, size, protection) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn page_size() -> usize {
    // SAFETY: reads a constant of the system.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
}
