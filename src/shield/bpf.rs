// SPDX-License-Identifier: GPL-2.0-or-later
//! The system call bpf(2): creates maps, loads the program, reads and changes entries. The
//! layouts are those of `union bpf_attr` in `linux/bpf.h`.
//!
//! No loader of eBPF programs is used: `aya` and `libbpf` load object files that clang or a
//! linker of their own produced, relocate them and bring their own parser of ELF and BTF.
//! This program is assembled in memory, so the five commands below are all that is needed.
//!
//! The kernel opens each descriptor with close-on-exec. A forked process inherits it, and
//! the kernel frees maps and program when the last descriptor and the last socket with the
//! program are closed, also after a crash.

use core::ffi::{c_int, c_void};
use core::marker::PhantomData;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::assembler::Instruction;

/// A command (`enum bpf_cmd`).
#[derive(Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapLookup = 1,
    MapUpdate = 2,
    MapDelete = 3,
    MapGetNextKey = 4,
    ProgLoad = 5,
    ProgTestRun = 10,
}

/// The kind of a map (`enum bpf_map_type`).
#[derive(Clone, Copy)]
pub(super) enum MapKind {
    Hash = 1,
    Array = 2,
    /// Finds the longest prefix. Linux 4.11; creating one needs CAP_BPF (before 5.8
    /// CAP_SYS_ADMIN) whatever `kernel.unprivileged_bpf_disabled` says.
    LpmTrie = 11,
}

/// Entries are allocated when they are added (`BPF_F_NO_PREALLOC`). A trie has it always.
const NO_PREALLOC: u32 = 1;
/// Any update (`BPF_ANY`), or only of a key that is not in the map (`BPF_NOEXIST`).
const ANY: u64 = 0;
const NO_EXIST: u64 = 1;
/// `BPF_PROG_TYPE_SOCKET_FILTER`.
const SOCKET_FILTER: u32 = 1;

const NAME_SIZE: usize = 16;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; NAME_SIZE],
}

#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; NAME_SIZE],
}

#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
}

/// Calls the kernel.
///
/// # Safety
///
/// `attributes` has the layout of `command`, and each address in it is valid for what the
/// command reads or writes there.
unsafe fn call<T>(command: Command, attributes: &mut T) -> io::Result<c_int> {
    // SAFETY: the kernel reads and writes only `size_of::<T>()` bytes there, and what the
    // addresses in it are valid for, as the caller promises.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as c_int,
            core::ptr::from_mut(attributes),
            size_of::<T>(),
        )
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        // A descriptor or 0.
        result => Ok(result as c_int),
    }
}

/// The result, unless it is this error, which means that nothing had to be done: a program
/// with the privileges for it may also change a map.
fn unless(done: c_int, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error() == Some(done) => Ok(()),
        other => other,
    }
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr() as u64
}

fn name(text: &str) -> [u8; NAME_SIZE] {
    let mut name = [0; NAME_SIZE];
    // Keeps the NUL.
    for (to, from) in name[..NAME_SIZE - 1].iter_mut().zip(text.bytes()) {
        *to = from;
    }
    name
}

/// A map with keys of `K` bytes and values of `V` bytes.
pub(super) struct Map<const K: usize, const V: usize> {
    descriptor: OwnedFd,
    bytes: PhantomData<([u8; K], [u8; V])>,
}

impl<const K: usize, const V: usize> Map<K, V> {
    /// Creates a map for `entries` entries.
    pub(super) fn create(kind: MapKind, called: &str, entries: u32) -> io::Result<Map<K, V>> {
        let map_flags = match kind {
            MapKind::Array => 0,
            MapKind::Hash | MapKind::LpmTrie => NO_PREALLOC,
        };
        let mut attributes = MapCreate {
            map_type: kind as u32,
            key_size: K as u32,
            value_size: V as u32,
            max_entries: entries,
            map_flags,
            map_name: name(called),
            ..MapCreate::default()
        };
        // SAFETY: the layout is that of the command; there is no address in it.
        let descriptor = unsafe { call(Command::MapCreate, &mut attributes) }?;
        // SAFETY: the kernel has just opened it, and nothing else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let bytes = PhantomData;
        Ok(Map { descriptor, bytes })
    }

    /// Its descriptor, for the program.
    pub(super) fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }

    /// Adds an entry, or replaces its value.
    pub(super) fn set(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        self.update(key, value, ANY)
    }

    /// Adds an entry, unless there is one.
    pub(super) fn add(&self, key: &[u8; K], value: &[u8; V]) -> io::Result<()> {
        unless(libc::EEXIST, self.update(key, value, NO_EXIST))
    }

    fn update(&self, key: &[u8; K], value: &[u8; V], flags: u64) -> io::Result<()> {
        let mut attributes = self.element(address(key), address(value), flags);
        // SAFETY: the layout is that of the command; the kernel reads the `K` bytes of the
        // key and the `V` bytes of the value, the sizes that the map was created with.
        unsafe { call(Command::MapUpdate, &mut attributes) }.map(|_| ())
    }

    /// Removes an entry, if there is one.
    pub(super) fn remove(&self, key: &[u8; K]) -> io::Result<()> {
        let mut attributes = self.element(address(key), 0, 0);
        // SAFETY: the layout is that of the command; the kernel reads the `K` bytes of the
        // key, the size that the map was created with.
        let removed = unsafe { call(Command::MapDelete, &mut attributes) };
        unless(libc::ENOENT, removed.map(|_| ()))
    }

    /// The value of an entry. In a trie: that of the longest prefix.
    pub(super) fn get(&self, key: &[u8; K]) -> io::Result<Option<[u8; V]>> {
        let mut value = [0; V];
        let mut attributes = self.element(address(key), value.as_mut_ptr() as u64, 0);
        // SAFETY: the layout is that of the command; the kernel reads the `K` bytes of the
        // key and writes the `V` bytes of the value. No map is one with a value for each
        // processor, for which it would write more.
        match unsafe { call(Command::MapLookup, &mut attributes) } {
            Ok(_) => Ok(Some(value)),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The keys of its entries, at most `most`. If the map is changed meanwhile, some may be
    /// missing and others twice. No entry may have the key of which all bits are set: the
    /// kernel takes it, as each key that is not in the map, for the one before the first. A
    /// null key would mean the same, but valgrind warns of it.
    pub(super) fn keys(&self, most: usize) -> io::Result<Vec<[u8; K]>> {
        let mut keys: Vec<[u8; K]> = Vec::new();
        while keys.len() < most {
            let mut next = [0; K];
            let last = keys.last().unwrap_or(&[u8::MAX; K]);
            let mut attributes = self.element(address(last), next.as_mut_ptr() as u64, 0);
            // SAFETY: the layout is that of the command; the kernel reads the `K` bytes of a
            // key and writes the `K` bytes of the next one.
            match unsafe { call(Command::MapGetNextKey, &mut attributes) } {
                Ok(_) => keys.push(next),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(keys)
    }

    fn element(&self, key: u64, value: u64, flags: u64) -> Element {
        Element {
            map_fd: self.descriptor() as u32,
            padding: 0,
            key,
            value,
            flags,
        }
    }
}

/// A loaded program.
pub(super) struct Program(OwnedFd);

impl Program {
    /// Loads a socket filter. If the verifier rejects it, the error has the verifier's log.
    pub(super) fn load(called: &str, instructions: &[Instruction]) -> io::Result<Program> {
        match load(called, instructions, &mut []) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) => {
                let mut log = vec![0; 64 << 10];
                load(called, instructions, &mut log).map_err(|error| {
                    let length = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
                    let log = String::from_utf8_lossy(&log[..length]);
                    io::Error::other(format!("{error}: {}", log.trim_ascii()))
                })
            }
            other => other,
        }
    }

    /// Attaches it to a socket, in place of another filter. It stays until the socket is
    /// closed.
    pub(super) fn attach(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let program = self.0.as_raw_fd();
        // SAFETY: the kernel reads the size of a descriptor from `program`.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_BPF,
                core::ptr::from_ref(&program).cast::<c_void>(),
                size_of::<c_int>() as libc::socklen_t,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Runs it `repeat` times on a packet. Returns its result and the nanoseconds that a run
    /// took. Needs CAP_BPF and CAP_NET_ADMIN.
    pub(super) fn run(&self, packet: &[u8], repeat: u32) -> io::Result<(u32, u32)> {
        let mut attributes = TestRun {
            prog_fd: self.0.as_raw_fd() as u32,
            data_size_in: packet.len() as u32,
            data_in: address(packet),
            repeat,
            ..TestRun::default()
        };
        // SAFETY: the layout is that of the command; the kernel reads the packet, and writes
        // none, because no address for it is given.
        unsafe { call(Command::ProgTestRun, &mut attributes) }?;
        Ok((attributes.retval, attributes.duration))
    }
}

/// Detaches the program of a socket. Without one nothing happens.
pub(super) fn detach(socket: BorrowedFd<'_>) {
    let unused: c_int = 0;
    // SAFETY: the kernel reads nothing from `unused`, whose size it is given. The result
    // only says whether there was a program.
    unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_DETACH_BPF,
            core::ptr::from_ref(&unused).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
}

fn load(called: &str, instructions: &[Instruction], log: &mut [u8]) -> io::Result<Program> {
    let license = c"GPL";
    let mut attributes = ProgLoad {
        prog_type: SOCKET_FILTER,
        insn_cnt: instructions.len() as u32,
        insns: address(instructions),
        license: license.as_ptr() as u64,
        log_level: u32::from(!log.is_empty()),
        log_size: log.len() as u32,
        // Without a log the address must be null.
        log_buf: if log.is_empty() {
            0
        } else {
            log.as_mut_ptr() as u64
        },
        prog_name: name(called),
        ..ProgLoad::default()
    };
    // SAFETY: the layout is that of the command; the kernel reads the instructions and the
    // string, and writes at most `log_size` bytes to the log.
    let descriptor = unsafe { call(Command::ProgLoad, &mut attributes) }?;
    // SAFETY: the kernel has just opened it, and nothing else owns it.
    Ok(Program(unsafe { OwnedFd::from_raw_fd(descriptor) }))
}
