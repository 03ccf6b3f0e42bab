// SPDX-License-Identifier: GPL-2.0-or-later
//! The cluster: its start, the work of the background process, and what it shows.

use core::ffi::c_char;
use core::fmt;
use std::ffi::CString;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use core::fmt::Write as _;

use super::codes::{
    TCL_CLUSTER_REASONS, TCL_EARG, TCL_EINIT, TCL_EMEM, TCL_EOFF, TCL_NODE_TEXT, TCL_OK,
    TCL_REASON_TEXT, TCL_SOURCE_TEXT,
};
use super::global::{Global, guard, worker};
use super::line::Line;
use super::memory::{bytes, put, strings, text, write_text};
use super::reports::write_all;
use crate::cluster::{Config, Keys, NodeName, NodeState, Rejected, To};
use crate::host::{TCL_LOG_NOTICE, TCL_LOG_WARN};
use crate::limiter::cluster::MAX_NODES;
use crate::observe::cluster::board::{NodeView, Overview};
use crate::observe::cluster::{ClusterNotice, Node, Outside};
use crate::observe::report::Report;
use crate::policy::cluster_keys::{self, KeyError};
use crate::source::Named;

/// The shortest time between two reports, in ms.
pub const TCL_MIN_CLUSTER_INTERVAL: i32 = 100;
/// The longest time between two reports, in ms.
pub const TCL_MAX_CLUSTER_INTERVAL: i32 = 10_000;

/// The most other nodes.
pub const TCL_MAX_NODES: u32 = 32;

const _: () = assert!(TCL_MAX_NODES as usize == MAX_NODES);

/// Sends `length` bytes of text to the other node `node`; null: to all of them. The message
/// may be lost, late and repeated. Must not wait.
#[allow(non_camel_case_types)]
pub type tcl_cluster_send =
    Option<unsafe extern "C" fn(node: *const c_char, body: *const c_char, length: u32)>;

type Send = unsafe extern "C" fn(*const c_char, *const c_char, u32);

/// How this node takes part in the cluster.
#[repr(C)]
#[allow(non_camel_case_types)]
pub struct tcl_cluster_config {
    /// The name of this node: at most 64 visible ASCII characters, such as its address. It is
    /// unique in the cluster, and the same after a restart.
    pub node: *const c_char,
    /// The keys, each a text of at least 16 bytes, or "file:" and the path of a file with a
    /// key on each line. With the first one messages are signed; all are accepted. There are
    /// one or two in all.
    pub keys: *const *const c_char,
    /// The number of these strings.
    pub key_count: u32,
    /// The time between two reports, in ms: `TCL_MIN_CLUSTER_INTERVAL` to
    /// `TCL_MAX_CLUSTER_INTERVAL`.
    pub interval_ms: i32,
    /// 1: each node may use only its share of what is left of a limit over all nodes; 0: all of
    /// it.
    pub strict: i32,
    /// 1: bans are sent to the other nodes, and theirs apply here; 0: they are not.
    pub bans: i32,
    /// The longest body of a message, in bytes.
    pub body_bytes: u32,
    /// How messages are sent.
    pub send: tcl_cluster_send,
}

/// This node, and sums over the others since the start.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_cluster_report {
    /// The name of this node.
    pub node: [c_char; TCL_NODE_TEXT],
    /// 1 if it may not know all counts of the others yet, because it started just now.
    pub learning: i32,
    /// Other nodes that are alive.
    pub alive: u32,
    /// The limit over all nodes of a source without a rule; 0: no limit.
    pub limit: i32,
    /// The time between two reports, in ms.
    pub interval_ms: u32,
    /// Messages sent; one to all nodes counts once.
    pub sent: u64,
    /// The bytes of their bodies.
    pub sent_bytes: u64,
    /// Records in them.
    pub sent_records: u64,
    /// Messages that were accepted.
    pub received: u64,
    /// Records in them.
    pub received_records: u64,
    /// Messages that did not arrive.
    pub lost: u64,
    /// Messages that processes of the host could not pass on.
    pub not_passed_on: u64,
    /// Messages that were rejected, by reason, see `tcl_cluster_reason()`.
    pub rejected: [u64; TCL_CLUSTER_REASONS],
    /// Sources that this node reports.
    pub reported_sources: u64,
    /// Sources with connections on other nodes.
    pub other_sources: u64,
    /// Times that a source of other nodes did not count because there was no room.
    pub no_room: u64,
    /// Bans of this node that were sent to the others.
    pub bans_sent: u64,
    /// Bans of other nodes that were applied.
    pub bans_received: u64,
    /// Bans of other nodes that were not applied: a rule exempts or trusts the source, or there
    /// is room for no more.
    pub bans_refused: u64,
}

/// Another node.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_node {
    /// Its name.
    pub name: [c_char; TCL_NODE_TEXT],
    /// "joining", "alive", "silent", "deaf", "left" or "dropped".
    pub state: [c_char; TCL_REASON_TEXT],
    /// How long this state lasts, in ms.
    pub state_ms: u64,
    /// 1 if its connections count, else 0.
    pub counts: i32,
    /// How long ago its last valid message arrived, in ms; -1: none did.
    pub age_ms: i64,
    /// The last measured time of a message to it and back, in ms; -1: not measured yet.
    pub round_trip_ms: i64,
    /// Sources of which it reported connections.
    pub sources: u64,
    /// The sum of these connections.
    pub connections: u64,
    /// Its messages that were accepted.
    pub received: u64,
    /// Its messages that did not arrive.
    pub lost: u64,
    /// Its messages that were rejected, by reason, see `tcl_cluster_reason()`.
    pub rejected: [u64; TCL_CLUSTER_REASONS],
    /// Counts that were above the limit of their source here.
    pub capped: u64,
    /// Records without room.
    pub overflow: u64,
    /// Its bans that are in effect here.
    pub bans: u64,
    /// How long ago what it reported was compared with what arrived here, in ms; -1: not yet.
    pub audit_ms: i64,
    /// Of 64 ranges of sources, those that differed the last time.
    pub differing: u32,
    /// Those that differed the last two times.
    pub lasting: u32,
    /// The sum of connections that it reported, by its own figures.
    pub reported: u64,
    /// The same sum, by what arrived here.
    pub arrived: u64,
}

/// The connections of a source on one other node.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_node_count {
    /// The name of the node.
    pub name: [c_char; TCL_NODE_TEXT],
    /// The connections, at most 65535.
    pub connections: u32,
}

/// A source and its connections on all nodes.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_cluster_source {
    /// Address, with the prefix length if that is shorter than an address.
    pub text: [c_char; TCL_SOURCE_TEXT],
    /// Its connections here.
    pub own: u32,
    /// Its connections on the other nodes.
    pub others: u32,
    /// Its limit over all nodes; 0: no limit.
    pub limit: i32,
    /// Its rejections while it had no connection here, and those that would have happened.
    pub rejected: u32,
}

/// This node. `Prepared` is inherited by the background process, which runs it.
enum State {
    Off,
    Prepared(Box<Config>, Send),
    Running(Box<Node>, Send),
}

static STATE: Mutex<State> = Mutex::new(State::Off);

/// After a panic the state is still one of these, and the next messages correct the counts.
fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes this host a node of the cluster. To be called once after `tcl_init()`, with
/// `tcl_config.cluster`, while the process may still read the files of keys, before it forks.
/// The process that calls `tcl_cluster_tick()` then runs the node.
///
/// Returns `TCL_OK`, `TCL_EOFF` (`tcl_config.cluster` was 0), `TCL_EINIT`, or `TCL_EARG`: a
/// value is invalid, and a text with the reason and the remedy is written to `error`,
/// truncated to `error_size` bytes including the NUL.
///
/// # Safety
///
/// `config` is null or valid; its strings are null or strings, and `config.keys` points to
/// `config.key_count` of them. `config.send` stays callable until the process ends. `error`
/// is null or has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_prepare(
    config: *const tcl_cluster_config,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        if !global.limiter.has_cluster() {
            return TCL_EOFF;
        }
        // SAFETY: null or valid, as the caller promises.
        let config = unsafe { config.as_ref() };
        // SAFETY: its strings are as the caller promises.
        match unsafe { read_config(global, config) } {
            Ok((config, send)) => {
                *state() = State::Prepared(Box::new(config), send);
                TCL_OK
            }
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                unsafe { write_text(error, error_size, &reason.to_string()) };
                TCL_EARG
            }
        }
    })
}

/// Why a node cannot be made.
enum PrepareError {
    Null,
    Name(String),
    Interval(i32),
    Key(KeyError),
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrepareError::Null => f.write_str("tcl_cluster_config has a null pointer"),
            PrepareError::Name(name) => write!(
                f,
                "the name `{name}` of this node is invalid: expected 1 to {} visible ASCII \
                 characters",
                NodeName::MAX
            ),
            PrepareError::Interval(interval) => write!(
                f,
                "cluster_interval {interval}: must be {TCL_MIN_CLUSTER_INTERVAL} to \
                 {TCL_MAX_CLUSTER_INTERVAL} milliseconds"
            ),
            PrepareError::Key(error) => error.fmt(f),
        }
    }
}

/// # Safety
///
/// As for [`tcl_cluster_prepare`].
unsafe fn read_config(
    global: &Global,
    config: Option<&tcl_cluster_config>,
) -> Result<(Config, Send), PrepareError> {
    let config = config.ok_or(PrepareError::Null)?;
    let send = config.send.ok_or(PrepareError::Null)?;
    // SAFETY: null or a string, as the caller promises.
    let name = unsafe { text(config.node) }.ok_or(PrepareError::Null)?;
    let name = name.to_string_lossy();
    let node = NodeName::new(&name).ok_or_else(|| PrepareError::Name(name.into_owned()))?;
    let range = TCL_MIN_CLUSTER_INTERVAL..=TCL_MAX_CLUSTER_INTERVAL;
    if !range.contains(&config.interval_ms) {
        return Err(PrepareError::Interval(config.interval_ms));
    }
    // SAFETY: as the caller promises.
    let keys = unsafe { strings(config.keys, config.key_count) };
    let keys = keys.map_err(|_| PrepareError::Null)?;
    let keys = cluster_keys::read(&keys).map_err(PrepareError::Key)?;
    let (first, second) = keys.in_order();
    let keys = Keys::new(first, second).ok_or(PrepareError::Key(KeyError::Short))?;
    // Keyed with random numbers of the operating system.
    let random = RandomState::new();
    let hash_key = [random.hash_one(1u8), random.hash_one(2u8)];
    let limiter = &global.limiter;
    let defaults = Config::new(node, random.hash_one(3u8), hash_key, keys);
    let config = Config {
        prefixes: limiter.prefixes(),
        // In range, see above.
        interval_ms: config.interval_ms.unsigned_abs(),
        body_bytes: (config.body_bytes as usize).max(Config::MIN_BODY),
        strict: config.strict != 0,
        bans: config.bans != 0,
        max_nodes: MAX_NODES,
        max_sources: (limiter.max_connections() as usize).max(1_000),
        ..defaults
    };
    Ok((config, send))
}

/// Milliseconds of a clock that is the same in all processes of the host.
fn millis(global: &Global) -> u64 {
    global.limiter.micros() / 1_000
}

impl Global {
    /// Runs `work` with this node, which starts with the first call.
    fn with_node(&self, work: impl FnOnce(&mut Node, u64, &mut Outside<'_>)) -> i32 {
        let now = millis(self);
        let mut state = state();
        if let State::Prepared(config, send) = &*state {
            let node = Node::new(Config::clone(config), now);
            *state = State::Running(Box::new(node), *send);
        }
        let State::Running(node, send) = &mut *state else {
            return TCL_EOFF;
        };
        let send = *send;
        let mut send = |to: To<'_>, body: &str| send_body(send, to, body);
        let mut log = |notice| self.log_cluster(&notice);
        let mut outside = Outside {
            send: &mut send,
            log: &mut log,
            worker: worker(),
            seconds: self.now(),
        };
        work(node, now, &mut outside);
        TCL_OK
    }

    fn log_cluster(&self, notice: &ClusterNotice) {
        let mut line = Line::default();
        // A line that is too long is truncated.
        let (level, _) = match notice {
            ClusterNotice::Changed(changed) => {
                let level = match changed.state {
                    NodeState::Silent | NodeState::Deaf => TCL_LOG_WARN,
                    NodeState::Joining
                    | NodeState::Alive
                    | NodeState::Left
                    | NodeState::Dropped => TCL_LOG_NOTICE,
                };
                (level, write!(line, "{changed}"))
            }
            ClusterNotice::Rejected(rejected) => (TCL_LOG_WARN, write!(line, "{rejected}")),
            ClusterNotice::Limited(limited) => (TCL_LOG_WARN, write!(line, "{limited}")),
            ClusterNotice::Banned(banned) => (TCL_LOG_NOTICE, write!(line, "{banned}")),
        };
        self.log(level, &line);
    }
}

fn send_body(send: Send, to: To<'_>, body: &str) {
    let node = match to {
        To::All => None,
        // A name has no NUL.
        To::Node(name) => CString::new(name.as_str()).ok(),
    };
    let node = node
        .as_ref()
        .map_or(core::ptr::null(), |name| name.as_ptr());
    // A body is far shorter than 4 GB.
    let length = body.len() as u32;
    // SAFETY: callable until the process ends, as the caller of `tcl_cluster_prepare`
    // promised; the name and the body live until it returns.
    unsafe { send(node, body.as_ptr().cast(), length) };
}

/// Does what is due: looks at the sources, sends messages, reports states. Must be called at
/// least each 100 ms, always from the same process, which must not accept connections. It
/// calls `tcl_cluster_config.send` and `tcl_host.log`.
///
/// Returns `TCL_OK`, `TCL_EOFF` (not a node of a cluster) or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_cluster_tick() -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        global.with_node(|node, now, outside| node.tick(limiter, now, outside))
    })
}

/// Applies a message from another node. To be called by the process that calls
/// `tcl_cluster_tick()`. Whether it was accepted is counted. If it came by a connection,
/// `address` is where that comes from (network byte order, 4 or 16 bytes); else
/// `address_length` is 0. If the connections of a node are limited, one log line says so.
///
/// Returns `TCL_OK`, `TCL_EOFF` or `TCL_EINIT`.
///
/// # Safety
///
/// `body` is null or points to `length` bytes, and so are `address` and `address_length`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_receive(
    body: *const u8,
    length: u32,
    address: *const u8,
    address_length: u32,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or as many bytes, as the caller promises.
        let message = unsafe { (bytes(body, length), bytes(address, address_length)) };
        let limiter = &global.limiter;
        global.with_node(|node, now, outside| node.receive(limiter, now, message, outside))
    })
}

/// Counts a message that arrived and could not be passed on to the process that runs the
/// node. May be called from any process.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_cluster_not_passed_on() {
    guard((), |global| {
        if let Some(board) = global.limiter.cluster_board() {
            board.note_not_passed_on();
        }
    });
}

/// Sends the other nodes that this one ends, so that its connections no longer count there. To
/// be called by the process that calls `tcl_cluster_tick()`, as the last of these functions.
///
/// Returns `TCL_OK`, `TCL_EOFF` or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_cluster_bye() -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        global.with_node(|node, now, outside| node.bye(limiter, now, outside))
    })
}

/// Shuts the node with this name out, or with `dropped` 0 no longer. To be called by the
/// process that calls `tcl_cluster_tick()`.
///
/// Returns `TCL_OK`, `TCL_EARG` (this cannot be the name of a node), `TCL_EOFF` or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_drop(name: *const u8, length: u32, dropped: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        let Some(name) = str::from_utf8(name).ok().and_then(NodeName::new) else {
            return TCL_EARG;
        };
        let limiter = &global.limiter;
        global.with_node(|node, now, outside| {
            node.set_dropped(limiter, now, &name, dropped != 0, outside);
        })
    })
}

/// Writes this node and the sums over the others to `report`. May be called from any process.
///
/// Returns `TCL_OK`, `TCL_EARG`, `TCL_EOFF` (not a node of a cluster) or `TCL_EINIT`.
///
/// # Safety
///
/// `report` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster(report: *mut tcl_cluster_report) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(board) = global.limiter.cluster_board() else {
            return TCL_EOFF;
        };
        let overview = board.overview().unwrap_or_default();
        let value = global.describe_cluster(&overview, board.not_passed_on());
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(report, value) }
    })
}

/// Writes the other nodes to `nodes`, at most `room`. May be called from any process.
///
/// Returns the number of nodes written, `TCL_EARG`, `TCL_EOFF` (not a node of a cluster) or
/// `TCL_EINIT`.
///
/// # Safety
///
/// `nodes` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_nodes(nodes: *mut tcl_node, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        let Some(board) = global.limiter.cluster_board() else {
            return TCL_EOFF;
        };
        if nodes.is_null() {
            return TCL_EARG;
        }
        let views = board.nodes(millis(global)).take(room as usize);
        // SAFETY: at most `room` values, and there is room for them, as the caller promises.
        unsafe { write_all(nodes, views.map(|view| global.describe_node(&view))) }
    })
}

/// Writes the name of the reason `number` for which a message is rejected to `text`, truncated
/// to `size` bytes including the NUL.
///
/// Returns `TCL_OK`, or `TCL_EARG` if there is no such reason.
///
/// # Safety
///
/// `text` is null or has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_reason(number: u32, text: *mut c_char, size: usize) -> i32 {
    let Some(reason) = Rejected::ALL.get(number as usize) else {
        return TCL_EARG;
    };
    // SAFETY: null or `size` bytes, as the caller promises.
    unsafe { write_text(text, size, reason.name()) };
    TCL_OK
}

/// Writes the connections of a source on each other node that has any, at most `room` nodes.
/// `name` is a text as for `tcl_find()`.
///
/// Returns the number of nodes written, `TCL_EARG` (the text does not name a source, or `nodes`
/// is null), `TCL_EOFF` (not a node of a cluster) or `TCL_EINIT`.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `nodes` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_of_source(
    name: *const u8,
    length: u32,
    nodes: *mut tcl_node_count,
    room: u32,
) -> i32 {
    guard(TCL_EINIT, |global| {
        let limiter = &global.limiter;
        let Some(board) = limiter.cluster_board() else {
            return TCL_EOFF;
        };
        // SAFETY: null or `length` bytes, as the caller promises.
        let name = unsafe { bytes(name, length) };
        let Ok(Named { source, .. }) = global.read_source(name) else {
            return TCL_EARG;
        };
        if nodes.is_null() {
            return TCL_EARG;
        }
        let Some(others) = limiter.others_of(source) else {
            return 0;
        };
        let views = board.nodes(millis(global)).filter_map(|view| {
            let connections = others.of_nodes[view.index];
            (connections > 0).then(|| tcl_node_count {
                name: global.text(&view.name),
                connections: connections.into(),
            })
        });
        // SAFETY: at most `room` values, and there is room for them, as the caller promises.
        unsafe { write_all(nodes, views.take(room as usize)) }
    })
}

/// Writes the sources with the most connections on all nodes, at most `room`, highest first:
/// those of this node, and those that other nodes report. Walks through the table, and
/// allocates, so the process that accepts connections should not call it.
///
/// Returns the number of sources written, `TCL_EARG`, `TCL_EMEM`, `TCL_EOFF` (not a node of a
/// cluster) or `TCL_EINIT`.
///
/// # Safety
///
/// `sources` is null or has room for `room` of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_cluster_top(sources: *mut tcl_cluster_source, room: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if sources.is_null() {
            return TCL_EARG;
        }
        if !global.limiter.has_cluster() {
            return TCL_EOFF;
        }
        let Ok(top) = Report::of(&global.limiter).top_in_cluster(room as usize) else {
            return TCL_EMEM;
        };
        let values = top.iter().map(|report| tcl_cluster_source {
            text: global.text(report.source.display(global.limiter.prefixes())),
            own: report.own,
            others: report.sum.others,
            limit: report.sum.limit.cast_signed(),
            rejected: report.rejected,
        });
        // SAFETY: at most `room` values, and there is room for them, as the caller promises.
        unsafe { write_all(sources, values) }
    })
}

/// Sets the limit over all nodes of sources without a rule; 0: no limit. No connection is
/// closed.
///
/// Returns `TCL_OK`, `TCL_EARG` (`limit` is negative), `TCL_EOFF` (not a node of a cluster) or
/// `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_set_cluster_limit(limit: i32) -> i32 {
    guard(TCL_EINIT, |global| {
        let Ok(limit) = u32::try_from(limit) else {
            return TCL_EARG;
        };
        if !global.limiter.has_cluster() {
            return TCL_EOFF;
        }
        global.limiter.set_cluster_limit(limit);
        TCL_OK
    })
}

/// A number of ms; -1: not known.
fn ms(value: Option<u64>) -> i64 {
    value.map_or(-1, |value| i64::try_from(value).unwrap_or(i64::MAX))
}

impl Global {
    fn describe_cluster(&self, overview: &Overview, not_passed_on: u64) -> tcl_cluster_report {
        let totals = overview.totals;
        tcl_cluster_report {
            node: self.text(&overview.name),
            learning: overview.learning.into(),
            alive: overview.alive,
            limit: self.limiter.cluster_limit().cast_signed(),
            interval_ms: overview.interval_ms,
            sent: totals.sent,
            sent_bytes: totals.sent_bytes,
            sent_records: totals.sent_records,
            received: totals.received,
            received_records: totals.received_records,
            lost: totals.lost,
            not_passed_on,
            rejected: totals.rejected,
            reported_sources: totals.reported_sources,
            other_sources: totals.other_sources,
            no_room: overview.no_room,
            bans_sent: totals.bans_sent,
            bans_received: totals.bans_received,
            bans_refused: totals.bans_refused,
        }
    }

    fn describe_node(&self, view: &NodeView) -> tcl_node {
        let audit = view.audit;
        tcl_node {
            name: self.text(&view.name),
            state: self.text(view.state.name()),
            state_ms: view.state_ms,
            counts: (view.state == NodeState::Alive).into(),
            age_ms: ms(view.age_ms),
            round_trip_ms: ms(view.round_trip_ms),
            sources: view.sources,
            connections: view.connections,
            received: view.received,
            lost: view.lost,
            rejected: view.rejected,
            capped: view.capped,
            overflow: view.overflow,
            bans: view.bans,
            audit_ms: ms(audit.map(|audit| audit.age_ms)),
            differing: audit.map_or(0, |audit| audit.differing.count_ones()),
            lasting: audit.map_or(0, |audit| audit.lasting.count_ones()),
            reported: audit.map_or(0, |audit| audit.reported),
            arrived: audit.map_or(0, |audit| audit.arrived),
        }
    }
}
