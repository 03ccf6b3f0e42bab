// SPDX-License-Identifier: GPL-2.0-or-later
//! [`Load`]: how many of its connections the host uses, and `Scarcity`: what follows from
//! that for all sources, by the reserve and by pressure.
//!
//! The host counts its connections itself, including those that it opened, because its own
//! maximum is compared with that number. Reading it takes the same time however many there
//! are. It is read only while a reserve or a level of pressure is set.
//!
//! # Levels
//!
//! The number of reached levels lies in shared memory, because a level that is reached stays
//! in effect until the use is well below it ([`HYSTERESIS`]). Each check and each tick of the
//! background process works it out again. Connections are accepted only after a check, so
//! no level is missed as the use rises. The word also counts its changes:
//!
//! ```text
//!   bits 0–7 reached levels │ 8–31 changes
//! ```
//!
//! A process first reads the word, then the load, and then replaces the word by
//! compare-exchange. Because of the changes it succeeds only if no other process changed
//! the word meanwhile. So a process that was stopped in between never replaces a level by
//! one that follows from an older load. A process that is killed in between has changed
//! nothing, or this one word.
//!
//! Several acceptors that check at the same moment see the same load, so there may be one
//! more connection than the reserve allows for each of them but one.
//!
//! [`HYSTERESIS`]: crate::policy::pressure::HYSTERESIS

#![forbid(unsafe_code)]

use super::Limiter;
use super::gates::Rejection;
use crate::policy::pressure::{Cap, Pressure};
use crate::policy::reserve::Reserve;
use crate::policy::settings::Mode;
use crate::shared::layout;
use crate::shared::sync::Ordering;
use crate::source::Source;

/// How many of its connections the host uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Open connections, accepted or opened by the host.
    pub in_use: u32,
    /// The most that there may be.
    pub max: u32,
}

/// What applies to all sources while the host is nearly full. It fits a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scarcity {
    /// Only connections of the reserve are left.
    pub(crate) reserved: bool,
    /// See [`Cap`].
    percent: u8,
    connections: u32,
}

impl Scarcity {
    /// There are connections for all.
    pub(crate) const NONE: Scarcity = Scarcity::new(false, Cap::NONE);

    const fn new(reserved: bool, cap: Cap) -> Scarcity {
        Scarcity {
            reserved,
            percent: cap.percent,
            connections: cap.connections,
        }
    }

    /// What the reached levels of pressure allow.
    #[inline]
    pub(crate) fn cap(self) -> Cap {
        Cap {
            percent: self.percent,
            connections: self.connections,
        }
    }
}

/// The load, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// The load.
    pub load: Load,
    /// The reserve.
    pub reserve: Reserve,
    /// Connections of the reserve that are in use.
    pub reserve_used: u32,
    /// All levels of pressure.
    pub pressure: Pressure,
    /// How many of them are reached.
    pub reached: usize,
}

impl LoadReport {
    /// Only connections of the reserve are left.
    pub fn is_reserved(&self) -> bool {
        is_reserved(self.load, self.reserve)
    }

    /// What the reached levels allow.
    pub fn cap(&self) -> Cap {
        self.pressure.cap(self.reached)
    }

    /// The share of the host's connections that are in use, in percent, rounded down.
    pub fn percent(&self) -> u32 {
        let Load { in_use, max } = self.load;
        let percent = u64::from(in_use) * 100 / u64::from(max.max(1));
        u32::try_from(percent).unwrap_or(u32::MAX)
    }
}

#[inline]
fn is_reserved(load: Load, reserve: Reserve) -> bool {
    let free = load.max.saturating_sub(load.in_use);
    reserve != Reserve::None && free <= reserve.of(load.max)
}

/// The reached levels in the word.
const REACHED: u32 = 0xff;
/// One change in the word.
const CHANGE: u32 = 0x100;

impl Limiter {
    /// The same limiter, for a host whose load `read` returns. Without it, no connection is
    /// in use. `read` must return at once, because checks call it.
    pub fn with_load(self, read: fn() -> Load) -> Limiter {
        Limiter {
            load: Some(read),
            ..self
        }
    }

    /// Whether the host says how many of its connections it uses.
    pub fn has_load(&self) -> bool {
        self.load.is_some()
    }

    /// How many of its connections the host uses.
    #[inline]
    pub fn load(&self) -> Load {
        let none = || Load {
            in_use: 0,
            max: self.max_connections,
        };
        self.load.map_or_else(none, |read| read())
    }

    /// The reserve.
    pub fn reserve(&self) -> Reserve {
        // Relaxed, here and below: each of these words stands alone.
        Reserve::from_word(self.load_words().reserve.load(Ordering::Relaxed))
    }

    /// Changes the reserve. No connection is closed.
    pub fn set_reserve(&self, reserve: Reserve) {
        let word = &self.load_words().reserve;
        word.store(reserve.to_word(), Ordering::Relaxed);
        self.settings().set_reserved(reserve != Reserve::None);
    }

    /// The levels of pressure.
    pub fn pressure(&self) -> Pressure {
        let words = self.load_words().levels.each_ref();
        Pressure::from_words(words.map(|word| word.load(Ordering::Relaxed)))
    }

    /// Changes the levels of pressure. No connection is closed. A check at the same moment
    /// may use some of the levels before and some of the new ones.
    pub fn set_pressure(&self, pressure: Pressure) {
        let words = &self.load_words().levels;
        for (word, level) in words.iter().zip(pressure.to_words()) {
            word.store(level, Ordering::Relaxed);
        }
        // The levels that were reached were others.
        let none = |word: u32| Some((word & !REACHED).wrapping_add(CHANGE));
        // Cannot fail: the closure always returns a word. Relaxed: see `pressed`.
        let _ = self
            .load_words()
            .reached
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, none);
        self.settings().set_pressed(!pressure.is_empty());
    }

    /// The load, and what follows from it.
    pub fn load_report(&self) -> LoadReport {
        let switches = self.settings().switches();
        let (load, reached) = match switches.has_pressure() && switches.mode() != Mode::Off {
            true => self.pressed(),
            false => (self.load(), 0),
        };
        let reserve = self.reserve();
        let kept = reserve.of(load.max);
        let used = load.in_use.saturating_sub(load.max.saturating_sub(kept));
        LoadReport {
            load,
            reserve,
            reserve_used: used.min(kept),
            pressure: self.pressure(),
            reached,
        }
    }

    /// What follows from the load now.
    pub(crate) fn scarcity(&self) -> Scarcity {
        let switches = self.settings().switches();
        if switches.is_off() || !switches.watches_load() {
            return Scarcity::NONE;
        }
        let (load, cap) = match switches.has_pressure() {
            true => {
                let (load, reached) = self.pressed();
                (load, self.pressure().cap(reached))
            }
            false => (self.load(), Cap::NONE),
        };
        Scarcity::new(is_reserved(load, self.reserve()), cap)
    }

    /// The load, and how many levels of pressure are reached with it.
    fn pressed(&self) -> (Load, usize) {
        let word = &self.load_words().reached;
        loop {
            // Acquire: the load is read after this word, see above.
            let before = word.load(Ordering::Acquire);
            let load = self.load();
            let pressure = self.pressure();
            let reached = pressure.reached((before & REACHED) as usize, load.in_use, load.max);
            // At most PRESSURE_LEVELS.
            let levels = reached as u32;
            if levels == before & REACHED {
                return (load, reached);
            }
            let next = (before & !REACHED).wrapping_add(CHANGE) | levels;
            // Relaxed: the word publishes nothing else. If this fails, another process has
            // changed the word, so one of the two goes on.
            let changed = word.compare_exchange(before, next, Ordering::Relaxed, Ordering::Relaxed);
            if changed.is_ok() {
                return (load, reached);
            }
        }
    }

    /// The check while the mode is off, while the load matters, or in a cluster.
    #[cold]
    #[inline(never)]
    pub(super) fn check_with_load(&self, source: Source, address: &[u8]) -> Result<(), Rejection> {
        let switches = self.settings().switches();
        if switches.is_off() {
            return Ok(());
        }
        let scarcity = self.scarcity();
        match switches.has_cluster() {
            true => self.check_in_cluster(source, address, switches, scarcity),
            false => self.check_under(source, address, switches, scarcity),
        }
    }

    fn load_words(&self) -> &layout::Load {
        &self.region.header().load
    }
}
