// SPDX-License-Identifier: GPL-2.0-or-later
//! Who runs this code, and whether another one still does: so a word in shared
//! memory that names the one at work can be taken over if that one has died.

#![forbid(unsafe_code)]

use std::io::ErrorKind;

/// The number of this thread, which is that of the process where it has only one.
pub(crate) fn own_number() -> u32 {
    std::fs::read_link("/proc/thread-self")
        .ok()
        .and_then(|link| link.file_name()?.to_str()?.parse().ok())
        .unwrap_or_else(std::process::id)
}

/// Whether a thread of this number runs. Where nobody can tell, for there is no /proc,
/// as in some chroots, or it cannot be read, it may.
pub(crate) fn is_alive(thread: u32) -> bool {
    match std::fs::read(format!("/proc/{thread}/stat")) {
        // the state comes after the name, which is in parentheses and may be any bytes
        Ok(stat) => !stat
            .rsplit(|&byte| byte == b')')
            .next()
            .and_then(|rest| rest.trim_ascii_start().first())
            .is_some_and(|state| b"ZX".contains(state)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            !std::path::Path::new("/proc/self").exists()
        }
        // it ended while it was read
        Err(error) => error.raw_os_error() != Some(libc::ESRCH),
    }
}
