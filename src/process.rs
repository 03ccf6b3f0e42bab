// SPDX-License-Identifier: GPL-2.0-or-later
//! Who runs this code, and whether another one still does: so a word in shared
//! memory that names the one at work can be taken over if that one has died.

#![forbid(unsafe_code)]

/// The number of this thread, which is that of the process where it has only one.
pub(crate) fn own_number() -> u32 {
    std::fs::read_link("/proc/thread-self")
        .ok()
        .and_then(|link| link.file_name()?.to_str()?.parse().ok())
        .unwrap_or_else(std::process::id)
}

/// Whether a thread of this number runs. Where there is no /proc, as in some
/// chroots, it may.
pub(crate) fn is_alive(thread: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{thread}/stat")) {
        // the state comes after the name, which is in parentheses
        Ok(stat) => !matches!(
            stat.rsplit_once(')')
                .map(|(_, rest)| rest.trim_start().chars().next()),
            Some(Some('Z' | 'X'))
        ),
        Err(_) => !std::path::Path::new("/proc/self").exists(),
    }
}
