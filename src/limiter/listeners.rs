// SPDX-License-Identifier: GPL-2.0-or-later
//! Connections of listeners that rules name: they are counted apart, each address as another
//! source for each of these listeners (its [`Scope`](crate::source::Scope)).
//!
//! Limit, rate and counts belong to the source of the listener. Offences and bans belong to
//! the address, which is the source without a scope: an offence on any listener counts
//! for it, and while it is banned it gets no connection on any listener, except where the
//! rule of the listener exempts it. So a check of such a connection looks for both sources
//! once something may be remembered.

#![forbid(unsafe_code)]

use core::ffi::c_int;
use std::collections::TryReserveError;

use super::gates::{Reason, Rejected, Rejection};
use super::{Limiter, RejectedFor, Token, Worker};
use crate::policy::ChangeError;
use crate::policy::listener::{ListenerName, NoListener};
use crate::policy::listeners::Listeners;
use crate::policy::penalties::Cause;
use crate::shared::layout::MAX_SOCKETS;
use crate::source::{Scope, Source};
use crate::table::SlotRef;
use crate::table::details::Owner;
use crate::table::restraints::Outcome;

impl Limiter {
    /// The host can name at most this many listening sockets.
    pub const MAX_SOCKETS: usize = MAX_SOCKETS;

    /// Takes the listening sockets of the host, each with its descriptor in the process that
    /// accepts and its protocol, at most [`MAX_SOCKETS`](Self::MAX_SOCKETS). Must be called
    /// once, before that process is forked. Publishes the active rules again.
    ///
    /// # Errors
    ///
    /// As [`set_rules`](Self::set_rules).
    pub fn register_listeners(&self, sockets: &[(c_int, ListenerName)]) -> Result<(), ChangeError> {
        self.listeners().register(sockets);
        self.rulebook().publish_again(&self.rules_gate)
    }

    /// The listeners that active rules name but the host does not have, each once. Empty if
    /// the host has not [named](Self::register_listeners) its own.
    ///
    /// # Errors
    ///
    /// If there is no memory.
    pub fn unknown_listeners(&self) -> Result<Vec<ListenerName>, TryReserveError> {
        self.rulebook().unknown_listeners()
    }

    /// Whether a rule for this listener can have an effect.
    ///
    /// # Errors
    ///
    /// Why it cannot.
    pub fn check_listener(&self, name: ListenerName) -> Result<(), NoListener> {
        if !self.prefixes.leave_room_for_scopes() {
            return Err(NoListener::LongSources);
        }
        match self.lacks_listener(name) {
            true => Err(NoListener::Unknown(name)),
            false => Ok(()),
        }
    }

    /// The scope of the rules for this listener; `None`: no rule names it, or no listener is
    /// given.
    pub(crate) fn scope_of_listener(&self, listener: Option<ListenerName>) -> Option<Scope> {
        Scope::of_listener(self.rulebook().scope_of(listener)?)
    }

    /// Whether the host has named its listeners, and this is not one of them.
    pub fn lacks_listener(&self, name: ListenerName) -> bool {
        self.listeners().are_known() && !self.listeners().has(name)
    }

    /// Whether an active rule names a listener of the host. Otherwise each connection
    /// belongs to a source without a scope.
    #[inline(always)]
    pub fn has_listener_rules(&self) -> bool {
        self.settings().switches().has_listener_rules()
    }

    /// The source of a connection of the address `source` that was accepted on the
    /// listening socket `listener`.
    pub fn on_listener(&self, source: Source, listener: c_int) -> Source {
        if !self.has_listener_rules() {
            return source;
        }
        let scope = self.listeners().scope_of_descriptor(listener);
        scope.map_or(source, |scope| source.in_scope(scope))
    }

    /// As [`check_from`](Self::check_from), for a source that may have a scope. The bans of
    /// the address apply.
    ///
    /// # Errors
    ///
    /// As for [`check`](Self::check).
    #[inline(never)]
    pub fn check_on_listener(&self, source: Source, address: &[u8]) -> Result<(), Rejection> {
        if source.scope().is_some() {
            let switches = self.settings().switches();
            if !switches.is_off() && switches.may_remember() {
                self.check_ban_of_address(source, address)?;
            }
        }
        self.check_from(source, address)
    }

    /// The gate for bans of the address, for its source in a scope.
    pub(super) fn check_ban_of_address(
        &self,
        source: Source,
        address: &[u8],
    ) -> Result<(), Rejection> {
        let plain = source.without_scope();
        let table = self.table();
        let Some(at) = table.find(plain).filter(|at| at.control.remembers()) else {
            return Ok(());
        };
        let owner = Owner::of(table, plain, at);
        let ban = self.restraints(owner, at).ban(self.millis());
        if ban.is_none() || self.terms_of_source(plain, owner).1.exempt {
            return Ok(());
        }
        let (rule, terms) = self
            .terms_of_host(address, source.scope())
            .unwrap_or_else(|| self.rulebook().resolve(source));
        // If another source took the slot meanwhile, the words that were read may still
        // be those of the address, because of their tag.
        if terms.exempt || table.held(at).is_none() {
            return Ok(());
        }
        let connections = table.connections(at);
        Err(Rejection(Reason::Source(Rejected {
            reason: RejectedFor::Ban,
            at,
            owner,
            connections,
            number: connections.unsigned_abs(),
            rule,
            exempt: false,
        })))
    }

    /// Charges an offence of the source at `at`, which has a scope, to its address. `None` if
    /// the source lost the slot, or its address is exempt or gets no slot.
    #[cold]
    pub(super) fn offend_address(
        &self,
        worker: Worker,
        at: SlotRef,
        offence: Cause,
    ) -> Option<Outcome> {
        let (source, now) = self.table().source_at(at.slot)?;
        if now.control.epoch() != at.control.epoch() {
            return None;
        }
        let address = source.without_scope();
        let charged = self.sentence_with(worker, address, |owner, at| {
            self.offend(worker, owner, at, offence)
        });
        charged.ok()
    }

    /// The listener of a source with a scope, by its socket.
    pub fn listener_of(&self, source: Source) -> Option<ListenerName> {
        self.listeners().of_scope(source.scope()?)
    }

    /// The scope in which the connection of `descriptor` is counted.
    pub fn scope_of_connection(&self, descriptor: c_int) -> Option<Scope> {
        let cell = self.look_at(descriptor)?.cell;
        let (slot, _, epoch) = Token::from_bits(cell)?.parts()?;
        let (source, at) = self.table().source_at(slot)?;
        source.scope().filter(|_| at.control.epoch() == epoch)
    }

    fn listeners(&self) -> Listeners<'_> {
        Listeners::of(&self.region)
    }
}
