// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Listeners`]: the listening sockets of the server, and which of them active rules name,
//! in shared memory.
//!
//! The host names all its sockets once, before it forks. A name in a rule gets a number the
//! first time that such a rule is published, and keeps it until the server stops. The scope
//! of a socket has the lowest number of a name that names it. A name that no socket has also
//! gets a number, which is the scope of no socket: its rules apply to no connection.
//!
//! Only the writer of rules changes the words here. A check reads one word for each scope,
//! which says whether the rules that are active name the listener.

#![forbid(unsafe_code)]

use core::ffi::c_int;

use crate::policy::listener::ListenerName;
use crate::policy::settings::Settings;
use crate::shared::layout::{Listener, MAX_SCOPES, MAX_SOCKETS};
use crate::shared::region::Region;
use crate::shared::sync::Ordering;
use crate::source::Scope;

/// In [`ListenerTable::by_scope`](crate::shared::layout::ListenerTable::by_scope): active
/// rules name the listener. Its descriptor plus 1 is in the upper half.
const ACTIVE: u64 = 1;

/// There would be more names than numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyNames;

/// A view of the listeners.
#[derive(Clone, Copy)]
pub(crate) struct Listeners<'a> {
    region: &'a Region,
}

impl Listener {
    fn name(&self) -> Option<ListenerName> {
        // Relaxed: the words are stored before the count that says how many there are
        // (Release, Acquire) and never change then.
        ListenerName::from_words([
            self.first.load(Ordering::Relaxed),
            self.upper.load(Ordering::Relaxed),
            self.lower.load(Ordering::Relaxed),
        ])
    }

    fn store(&self, name: ListenerName) {
        let [first, upper, lower] = name.to_words();
        self.first.store(first, Ordering::Relaxed);
        self.upper.store(upper, Ordering::Relaxed);
        self.lower.store(lower, Ordering::Relaxed);
    }
}

impl<'a> Listeners<'a> {
    #[inline]
    pub(crate) fn of(region: &'a Region) -> Listeners<'a> {
        Listeners { region }
    }

    /// Takes the sockets of the host, at most [`MAX_SOCKETS`], instead of those before.
    pub(crate) fn register(self, sockets: &[(c_int, ListenerName)]) {
        let table = self.region.listeners();
        for (entry, (descriptor, name)) in table.sockets.iter().zip(sockets) {
            entry.store(*name);
            entry.descriptor.store(*descriptor, Ordering::Relaxed);
        }
        let count = sockets.len().min(MAX_SOCKETS) as u32;
        // Release: with the words above.
        table.sockets_count.store(count, Ordering::Release);
    }

    fn sockets(self) -> impl Iterator<Item = (&'a Listener, ListenerName)> {
        let table = self.region.listeners();
        // Acquire: see `register`.
        let count = table.sockets_count.load(Ordering::Acquire) as usize;
        let entries = table.sockets.iter().take(count);
        entries.filter_map(|entry| Some((entry, entry.name()?)))
    }

    fn names(self) -> impl Iterator<Item = (u8, ListenerName)> {
        let table = self.region.listeners();
        // Acquire: see `number`.
        let count = table.names_count.load(Ordering::Acquire) as usize;
        let entries = table.names.iter().take(count);
        (1..)
            .zip(entries)
            .filter_map(|(number, entry)| Some((number, entry.name()?)))
    }

    /// How many names have a number.
    pub(crate) fn count(self) -> u8 {
        // Acquire: see `number`. There are fewer than 256.
        self.region.listeners().names_count.load(Ordering::Acquire) as u8
    }

    /// Whether the host has named its sockets.
    pub(crate) fn are_known(self) -> bool {
        self.sockets().next().is_some()
    }

    /// Whether the host has a socket with this name.
    pub(crate) fn has(self, name: ListenerName) -> bool {
        self.sockets().any(|(_, socket)| name.names(socket))
    }

    /// The name with this number.
    pub(crate) fn name(self, number: u8) -> Option<ListenerName> {
        let mut names = self.names();
        names.find(|(n, _)| *n == number).map(|(_, name)| name)
    }

    /// The number of a name, which gets one if it has none. The caller is the writer of
    /// rules.
    pub(crate) fn number(self, name: ListenerName) -> Result<u8, TooManyNames> {
        if let Some((number, _)) = self.names().find(|(_, known)| *known == name) {
            return Ok(number);
        }
        let table = self.region.listeners();
        // Relaxed: only writers change it.
        let count = table.names_count.load(Ordering::Relaxed);
        let entry = table.names.get(count as usize).ok_or(TooManyNames)?;
        entry.store(name);
        // Release: with the words of the name.
        table.names_count.store(count + 1, Ordering::Release);
        // There are fewer than 256.
        Ok(count as u8 + 1)
    }

    /// The number of the scope of the rules with this name, whose number is `own`.
    pub(crate) fn scope_of(self, name: ListenerName, own: u8) -> u8 {
        let socket = self.sockets().find(|(_, socket)| name.names(*socket));
        let scope = socket.and_then(|(_, socket)| self.scope_of_socket(socket));
        scope.unwrap_or(own)
    }

    /// As [`scope_of`](Self::scope_of), for a name that may have no number. `None`: no rule has
    /// named the listener yet.
    pub(crate) fn known_scope(self, name: ListenerName) -> Option<u8> {
        let own = self.names().find(|(_, known)| *known == name);
        let socket = self.sockets().find(|(_, socket)| name.names(*socket));
        let scope = socket.and_then(|(_, socket)| self.scope_of_socket(socket));
        scope.or(own.map(|(number, _)| number))
    }

    fn scope_of_socket(self, socket: ListenerName) -> Option<u8> {
        let mut names = self.names();
        names
            .find(|(_, name)| name.names(socket))
            .map(|(number, _)| number)
    }

    /// From now on, connections of the sockets whose scopes are in `scopes` (bit 0 for the
    /// first one) are counted in them. The caller is the writer of rules.
    pub(crate) fn activate(self, scopes: u64) {
        let table = self.region.listeners();
        let mut any = false;
        for (socket, name) in self.sockets() {
            let Some(scope) = self.scope_of_socket(name) else {
                continue;
            };
            let index = usize::from(scope) - 1;
            let is_active = scopes >> index & 1 != 0;
            any |= is_active;
            // Relaxed: no descriptor is negative.
            let descriptor = socket.descriptor.load(Ordering::Relaxed).unsigned_abs();
            let active = if is_active { ACTIVE } else { 0 };
            let word = (u64::from(descriptor) + 1) << 32 | active;
            // Relaxed: a check during a change uses the old word or the new one. Each stands
            // alone.
            table.by_scope[index].store(word, Ordering::Relaxed);
        }
        Settings::of(self.region).set_listener_rules(any);
    }

    /// The scope of connections that are accepted on `descriptor`; `None`: they are counted
    /// without one. Called only if active rules name listeners.
    pub(crate) fn scope_of_descriptor(self, descriptor: c_int) -> Option<Scope> {
        let wanted = (u64::from(u32::try_from(descriptor).ok()?) + 1) << 32 | ACTIVE;
        let table = self.region.listeners();
        let count = table.names_count.load(Ordering::Acquire) as usize;
        // Relaxed: see `activate`.
        let mut words = table.by_scope.iter().take(count);
        let index = words.position(|word| word.load(Ordering::Relaxed) == wanted)?;
        // There are at most `MAX_SCOPES`.
        Scope::of_listener(index as u8 + 1)
    }

    /// The socket with this scope, or the name of rules that no socket has.
    pub(crate) fn of_scope(self, scope: Scope) -> Option<ListenerName> {
        let number = scope.listener()?;
        let socket = self.sockets().map(|(_, socket)| socket);
        let mut socket = socket.filter(|socket| self.scope_of_socket(*socket) == Some(number));
        socket.next().or_else(|| self.name(number))
    }
}

const _: () = assert!(MAX_SCOPES <= Scope::MAX_LISTENERS as usize);
