// SPDX-License-Identifier: GPL-2.0-or-later
//! The watch: rules that end, and connections that are not trusted in time.

use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use tcp_conn_limit::ffi::{
    TCL_EARG, TCL_FACT_MOVED, TCL_FACT_TRUSTED, TCL_MODE_ENFORCE, TCL_MODE_MONITOR, TCL_MODE_OFF,
    TCL_NEVER, TCL_OK, tcl_expired, tcl_is_expired, tcl_set_trust_timeout, tcl_watch,
};
use tcp_conn_limit_fuzz::engine::{self, CLOCK, Counters};
use tcp_conn_limit_fuzz::naive::Net;

use super::{Ledger, Live, Rejections, add};

/// The clock and the mode when the watch last ran. Inputs do not reset them.
static SECONDS: AtomicU32 = AtomicU32::new(0);
static MODE: AtomicI32 = AtomicI32::new(TCL_MODE_OFF);

/// Connections are closed this many seconds late, because clocks are not exact.
const LATE: i32 = 3;

/// The expected settings and counters.
#[derive(Default)]
pub(crate) struct Timeouts {
    /// Seconds in which a connection must be trusted; 0: any time.
    seconds: i32,
    pub(crate) counted: Rejections,
}

/// When a connection opens now, as far as reports know.
pub(crate) fn opening_time() -> u32 {
    SECONDS.load(Ordering::Relaxed)
}

/// Seconds since a connection opened.
fn age(live: &Live) -> i32 {
    let now = CLOCK.load(Ordering::Relaxed);
    (now.wrapping_sub(live.opened_at) as i32).max(0)
}

impl Ledger {
    pub(crate) fn set_trust_timeout(&mut self, seconds: i32) {
        assert_eq!(tcl_set_trust_timeout(seconds), TCL_OK);
        assert_eq!(tcl_set_trust_timeout(-1), TCL_EARG);
        assert_eq!(tcl_set_trust_timeout(86_401), TCL_EARG);
        self.timeouts.seconds = seconds;
    }

    /// Runs the watch after this time, with this number of seconds between two summaries.
    pub(crate) fn watch(&mut self, passed: u32, interval: u32) {
        CLOCK.fetch_add(passed, Ordering::Relaxed);
        let code = if interval == 0 { TCL_EARG } else { TCL_OK };
        assert_eq!(tcl_watch(interval), code);
        if code != TCL_OK {
            return;
        }
        let now = CLOCK.load(Ordering::Relaxed);
        SECONDS.store(now, Ordering::Relaxed);
        self.rules.end(now);
        let before = MODE.swap(self.mode, Ordering::Relaxed);
        // What monitor mode has found is not closed yet.
        let again = self.mode == TCL_MODE_ENFORCE && before == TCL_MODE_MONITOR;
        let is_on = self.mode != TCL_MODE_OFF && self.timeouts.seconds > 0;
        let mut to_close = 0;
        for at in 0..self.live.len() {
            let live = &self.live[at];
            if !is_on || live.trusted {
                continue;
            }
            let is_excepted = self.terms(self.rule_of(live.net).0).trusted;
            let is_late = age(live) >= self.timeouts.seconds + LATE && !is_excepted;
            let was_late = core::mem::replace(&mut self.live[at].is_late, is_late);
            if is_late && (!was_late || again) {
                let monitor = self.monitors();
                add(&mut self.timeouts.counted, monitor);
            }
            to_close += u32::from(is_late && self.mode == TCL_MODE_ENFORCE);
        }
        assert_eq!(tcl_expired(), to_close);
        self.compare_late();
    }

    /// Compares which connections the host must close.
    fn compare_late(&self) {
        for live in &self.live {
            let must_close = live.is_late && !live.trusted && self.mode == TCL_MODE_ENFORCE;
            let found = tcl_is_expired(engine::descriptor(live.token));
            assert_eq!(found, i32::from(must_close));
        }
    }

    /// Compares the connections of a source. It reads the record of each descriptor.
    pub(crate) fn list_connections(&self, net: Net, room: usize) {
        let name = net.to_string();
        let mut all: Vec<&Live> = self.live.iter().filter(|live| live.net == net).collect();
        let (code, oldest) = engine::oldest(name.as_bytes());
        let ages = all.iter().map(|live| age(live) as u32);
        assert_eq!((code, oldest), (TCL_OK, ages.max().unwrap_or(TCL_NEVER)));
        let (found, total) = engine::connections(name.as_bytes(), room).expect("connections");
        assert_eq!(total, all.len() as u64);
        // The oldest first, and of those the lowest descriptor.
        all.sort_by_key(|live| (-age(live), engine::descriptor(live.token)));
        all.truncate(room);
        assert_eq!(found.len(), all.len());
        for (found, live) in found.iter().zip(all) {
            assert_eq!(found.descriptor, engine::descriptor(live.token));
            assert_eq!(found.age, age(live) as u32);
            let has = |fact| found.facts & fact != 0;
            assert_eq!(has(TCL_FACT_TRUSTED), live.trusted);
            assert_eq!(has(TCL_FACT_MOVED), live.is_moved);
        }
        self.compare_late();
    }

    pub(crate) fn compare_timeouts(&self, now: &Counters) {
        assert_eq!(
            (now.trust_timeouts, now.would_trust_timeout),
            self.timeouts.counted
        );
        assert_eq!(now.trust_timeout, self.timeouts.seconds as u64);
        assert_eq!(now.untrusted_limit, self.scopes.untrusted_limit as u64);
    }
}
