// SPDX-License-Identifier: GPL-2.0-or-later

//! Systems that do not allow a process all of bpf(2), played by a filter of system calls.

use std::io;

use libc::{
    BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO,
    c_ulong, sock_filter, sock_fprog,
};

/// A command of bpf(2), by its number in `linux/bpf.h`.
#[derive(Clone, Copy, Debug)]
pub enum Bpf {
    MapCreate = 0,
    MapUpdate = 2,
    ProgLoad = 5,
}

/// Where the filter finds the number of the system call and its first argument, in `struct
/// seccomp_data`.
const NUMBER: u32 = 0;
const FIRST: u32 = if cfg!(target_endian = "big") { 20 } else { 16 };

/// From now on, `command` fails with `error` in this thread and in the processes that it
/// starts.
///
/// # Panics
///
/// If the system has no such filters.
pub fn deny(command: Bpf, error: i32) {
    let load = |at| statement(BPF_LD | BPF_W | BPF_ABS, at);
    let give = |result| statement(BPF_RET | BPF_K, result);
    // Continues after `skipped` instructions unless the value is this one.
    let equal_or_skip = |value, skipped| sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt: 0,
        jf: skipped,
        k: value,
    };
    let mut program = [
        load(NUMBER),
        equal_or_skip(libc::SYS_bpf as u32, 3),
        load(FIRST),
        equal_or_skip(command as u32, 1),
        give(SECCOMP_RET_ERRNO | error as u32),
        give(SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    let zero: c_ulong = 0;
    // SAFETY: the kernel reads the program, which lives until the call returns.
    let result = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1 as c_ulong, zero, zero, zero);
        libc::prctl(
            libc::PR_SET_SECCOMP,
            c_ulong::from(libc::SECCOMP_MODE_FILTER),
            &raw const program,
        )
    };
    assert_eq!(result, 0, "seccomp: {}", io::Error::last_os_error());
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// The ids of the maps that a process has open.
///
/// # Panics
///
/// If /proc does not show its descriptors.
pub fn map_ids(pid: u64) -> Vec<u32> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the process lives");
    let texts = descriptors.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    let ids = texts.filter_map(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("map_id:"))?;
        line.trim().parse().ok()
    });
    ids.collect()
}

/// Whether the kernel still has a map. Needs CAP_SYS_ADMIN.
pub fn has_map(id: u32) -> bool {
    const BPF_MAP_GET_FD_BY_ID: i32 = 14;
    let attributes = [id, 0, 0];
    // SAFETY: the kernel reads three words, the id and options.
    let descriptor = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_MAP_GET_FD_BY_ID,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if descriptor < 0 {
        return false;
    }
    // SAFETY: the kernel has just opened it, and nothing else owns it.
    unsafe { libc::close(descriptor as i32) };
    true
}
