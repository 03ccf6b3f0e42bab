// SPDX-License-Identifier: GPL-2.0-or-later
//! Offences and bans.
//!
//! An offence costs a source some time. The times of its offences add up, and pass as time
//! does; from a minimum on they are a ban, which ends when they have passed, at most the
//! maximum later. This is the model of OpenSSH's `PerSourcePenalties`. A connection that is
//! rejected because of a ban is not an offence. Sources with an exempt rule commit none, and
//! no ban applies to them.
//!
//! In monitor mode all is computed as in the mode enforce, but a ban rejects no connection.

#![forbid(unsafe_code)]

use core::fmt;

use crate::limiter::{Facts, Limiter, Token, Worker};
use crate::policy::penalties::Cause;
use crate::policy::settings::Mode;
use crate::shared::layout::{ACCEPTOR_ROW, Tally};
use crate::shared::sync::{Ordering, Statistic64};
use crate::source::Source;
use crate::table::SlotRef;
use crate::table::details::Owner;
use crate::table::restraints::Outcome;
use crate::table::tagged::Sentence;

/// The longest ban, in seconds: 30 days.
pub const MAX_BAN_SECONDS: u32 = 30 * 24 * 3600;

/// Attempts to ban a source that loses its slot to others.
const ATTEMPTS: u32 = 16;

/// Why a source was not banned, or an offence not charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BanError {
    /// Its rule exempts it.
    Exempt,
    /// The table has no slot for it.
    NoSlot,
}

impl fmt::Display for BanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BanError::Exempt => {
                "its rule exempts it from bans; change the rule, or set another one for it"
            }
            BanError::NoSlot => {
                "the table has no slot for it, because all are in use by sources with \
                 connections; raise tcp_max_connections"
            }
        })
    }
}

impl std::error::Error for BanError {}

impl Limiter {
    /// Charges the offence of a connection that closes, if there is one. To be called before
    /// [`closed`](Self::closed), with the same token. `facts` is all that is known of the
    /// connection.
    #[inline]
    pub fn offence_of_close(&self, worker: Worker, token: Token, facts: Facts) {
        if !facts.include(Facts::SPOKE) {
            self.offence_of_silence(worker, token, facts);
        }
    }

    /// Charges the offence of a connection that carried no message.
    #[inline(never)]
    fn offence_of_silence(&self, worker: Worker, token: Token, facts: Facts) {
        let offence = match facts.include(Facts::TLS) {
            true => Cause::Tls,
            false => Cause::Silent,
        };
        if self.settings().penalty(offence) == 0 {
            return;
        }
        let Some((slot, _, epoch)) = token.parts() else {
            return;
        };
        if !self.table().in_use_since(slot, epoch) {
            return;
        }
        // The connection is still counted, so its source keeps the slot.
        if let Some((source, at)) = self.table().source_at(slot) {
            let owner = Owner::of(self.table(), source, at);
            let (_, terms) = self.terms_of_source(source, owner);
            if !terms.exempt {
                self.offend(worker, owner, at, offence);
            }
        }
    }

    /// Charges an offence that the server's script found. Returns whether the source is
    /// banned now.
    ///
    /// # Errors
    ///
    /// If the source is exempt, or has no slot and cannot get one.
    pub fn offence(&self, worker: Worker, source: Source) -> Result<bool, BanError> {
        if self.settings().penalty(Cause::Script) == 0 {
            return Ok(self.is_banned(source));
        }
        let charged = self.sentence_with(worker, source, |owner, at| {
            self.offend(worker, owner, at, Cause::Script)
        });
        Ok(charged? != Outcome::Free)
    }

    /// Bans `source` for `seconds`, at most [`MAX_BAN_SECONDS`]. A ban by the script does not
    /// shorten another one, and one by another node of the cluster only one by another node; any
    /// other does.
    ///
    /// # Errors
    ///
    /// If the source is exempt, or has no slot and cannot get one.
    pub fn ban(
        &self,
        worker: Worker,
        source: Source,
        seconds: u32,
        cause: Cause,
    ) -> Result<(), BanError> {
        self.settings().expect_memory();
        let ban = Sentence {
            left: u64::from(seconds.min(MAX_BAN_SECONDS)) * 1_000,
            banned: true,
            reason: cause as u8,
        };
        let outcome = self.sentence_with(worker, source, |owner, at| {
            let restraints = self.restraints(owner, at);
            restraints.set_ban(self.millis(), ban, |before| {
                let by_node = cause == Cause::Cluster && before != Cause::Cluster as u8;
                cause == Cause::Script || by_node
            })
        });
        self.count_ban(worker, outcome?);
        Ok(())
    }

    /// Ends the ban of `source` and forgives its offences. Returns whether there was either.
    /// The caller logs it if the cause is [`Cause::Rpc`]; otherwise the
    /// [watch](crate::observe::watch) does.
    pub fn unban(&self, source: Source, cause: Cause) -> bool {
        let Some(at) = self.table().find(source) else {
            return false;
        };
        let owner = Owner::of(self.table(), source, at);
        let forgiven = self
            .restraints(owner, at)
            .forgive(self.millis(), cause == Cause::Rpc);
        forgiven.is_some()
    }

    /// Ends the bans of all sources for which `wanted` is true, and forgives their offences,
    /// as [`unban`](Self::unban) does. Returns how many had either. Walks through the table.
    pub fn unban_sources(&self, cause: Cause, wanted: impl Fn(Source) -> bool) -> u32 {
        let table = self.table();
        let forgiven = (0..table.slots()).filter(|&slot| table.remembers(slot));
        let forgiven = forgiven.filter(|&slot| {
            let found = table.source_at(slot);
            found.is_some_and(|(source, _)| wanted(source) && self.unban(source, cause))
        });
        // A table has fewer than 2³² slots.
        forgiven.count() as u32
    }

    /// Whether the last ban of `source` was ended by a command, which logged that.
    pub(crate) fn end_is_logged(&self, source: Source) -> bool {
        self.table().find(source).is_some_and(|at| {
            let owner = Owner::of(self.table(), source, at);
            self.restraints(owner, at).end_is_logged()
        })
    }

    fn is_banned(&self, source: Source) -> bool {
        self.table().find(source).is_some_and(|at| {
            let owner = Owner::of(self.table(), source, at);
            let ban = self.restraints(owner, at).ban(self.millis());
            ban.is_some() && !self.terms_of_source(source, owner).1.exempt
        })
    }

    /// Milliseconds of the clock of penalties and bans.
    pub(crate) fn millis(&self) -> u64 {
        self.micros() / 1_000
    }

    /// Charges an offence to `owner`, which has the slot `at` and is not exempt, or to its
    /// address if it has a scope. `None` if it lost the slot.
    pub(super) fn offend(
        &self,
        worker: Worker,
        owner: Owner,
        at: SlotRef,
        offence: Cause,
    ) -> Option<Outcome> {
        let settings = self.settings();
        let weight = settings.penalty(offence);
        if weight == 0 || settings.mode() == Mode::Off {
            return Some(Outcome::Free);
        }
        if at.control.is_scoped() {
            return self.offend_address(worker, at, offence);
        }
        if let Some(counter) = counter(self.tally(worker), offence) {
            // Relaxed (statistics).
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let bounds = settings.ban_bounds();
        let outcome = self.restraints(owner, at).offend(
            self.millis(),
            weight.into(),
            offence as u8,
            (bounds.min.into(), bounds.max.into()),
        );
        if let Some(outcome) = outcome {
            self.count_ban(worker, outcome);
        }
        outcome
    }

    fn count_ban(&self, worker: Worker, outcome: Outcome) {
        if outcome == Outcome::Begins {
            let tally = self.tally(worker);
            let bans = match self.mode() {
                Mode::Monitor => &tally.would_ban,
                Mode::Enforce | Mode::Off => &tally.bans,
            };
            // Relaxed (statistics).
            bans.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Runs `pass` on the slot of `source`, which gets one if it has none, until `pass`
    /// returns an outcome.
    pub(super) fn sentence_with(
        &self,
        worker: Worker,
        source: Source,
        pass: impl Fn(Owner, SlotRef) -> Option<Outcome>,
    ) -> Result<Outcome, BanError> {
        for _ in 0..ATTEMPTS {
            let at = match self.table().find(source) {
                Some(at) => at,
                None => {
                    let event = |event| self.note_event(worker, source, event);
                    // The row only says where the source may have connections.
                    let claimed = self.table().find_or_claim(source, ACCEPTOR_ROW, &event);
                    claimed.map_err(|_| BanError::NoSlot)?
                }
            };
            let owner = Owner::of(self.table(), source, at);
            let (_, terms) = self.terms_of_source(source, owner);
            if terms.exempt {
                return Err(BanError::Exempt);
            }
            if let Some(outcome) = pass(owner, at) {
                return Ok(outcome);
            }
        }
        Err(BanError::NoSlot)
    }
}

/// The counter of an offence.
fn counter(tally: &Tally, offence: Cause) -> Option<&Statistic64> {
    match offence {
        Cause::Silent => Some(&tally.penalty_silent),
        Cause::Tls => Some(&tally.penalty_tls),
        Cause::Rejected => Some(&tally.penalty_rejected),
        Cause::Rate => Some(&tally.penalty_rate),
        Cause::Script => Some(&tally.penalty_script),
        Cause::Rpc | Cause::Cluster => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::terms::Rate;
    use crate::source::PrefixLengths;

    fn source(n: u32) -> Source {
        Source::new(&n.to_be_bytes(), PrefixLengths::DEFAULT).unwrap()
    }

    /// A limiter whose eight slots all are of use to all sources, with one slot free.
    fn limiter() -> Limiter {
        let limiter = Limiter::new(1, 0, PrefixLengths::DEFAULT).unwrap();
        let limiter = limiter.with_clock(|| 5_000_000).with_weak_hash(1);
        limiter.set_rate(Rate {
            interval_us: 1_000_000,
            burst: 2,
        });
        for n in 0..7 {
            limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        }
        limiter
    }

    fn visit(limiter: &Limiter, n: u32) -> SlotRef {
        let token = limiter.opened(Worker::ACCEPTOR, source(n), 0).unwrap();
        let at = limiter.table().find(source(n)).unwrap();
        limiter.closed(Worker::ACCEPTOR, token).unwrap();
        at
    }

    /// A process is stopped before it charges a source, and goes on when another source has
    /// the slot. The other source is neither banned nor charged.
    #[test]
    fn late_writer_never_bans_another_source() {
        let limiter = limiter();
        let ban = Sentence {
            left: 60_000,
            banned: true,
            reason: Cause::Silent as u8,
        };
        for n in 100..5_000 {
            let at = visit(&limiter, n);
            let late = limiter.restraints(Owner::of(limiter.table(), source(n), at), at);
            let now = visit(&limiter, n + 1);
            assert_eq!(now.slot, at.slot, "the one slot");
            assert!(late.charge(5_000_000, 1_000_000, 2_000_000));
            assert_eq!(
                late.set_ban(5_000, ban, |_| false),
                None,
                "it lost the slot"
            );
            assert!(limiter.check(source(n + 1)).is_ok());
            assert!(!limiter.is_banned(source(n + 1)));
        }
        // Each source owed something when the next one took its slot, except where the late
        // writer had replaced the word.
        assert!(limiter.totals().forgotten >= 4_899);
        assert_eq!(limiter.totals().bans, 0);
    }

    /// A source that loses its slot and gets it again owes nothing.
    #[test]
    fn source_that_lost_its_slot_owes_nothing() {
        let limiter = limiter();
        for _ in 0..3 {
            limiter
                .ban(Worker::ACCEPTOR, source(100), 60, Cause::Rpc)
                .unwrap();
            assert!(limiter.is_banned(source(100)));
            visit(&limiter, 200);
            assert!(!limiter.is_banned(source(100)) && !limiter.is_banned(source(200)));
            assert!(limiter.check(source(200)).is_ok());
        }
        assert!(limiter.totals().forgotten >= 3);
        assert_eq!(limiter.totals().bans, 3);
    }
}
