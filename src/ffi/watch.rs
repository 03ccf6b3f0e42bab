// SPDX-License-Identifier: GPL-2.0-or-later
//! The watch of the background process: its log lines and events.

use core::ffi::c_char;
use core::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use once_cell::sync::Lazy;

use super::codes::{
    TCL_EARG, TCL_EINIT, TCL_LISTENER_TEXT, TCL_OK, TCL_RATE_TEXT, TCL_REASON_TEXT, TCL_SOURCE_TEXT,
};
use super::global::{Global, guard};
use super::line::Line;
use super::load::{self};
use super::reports::scope_name;
use crate::host::{TCL_LOG_NOTICE, TCL_LOG_REJECTED, TCL_LOG_WARN, tcl_event};
use crate::limiter::RejectedFor;
use crate::observe::notices::{Notice, RateAsText, Why};
use crate::observe::report::{PenaltyReport, Report, RuleName, SourceReport};
use crate::observe::watch::Watch;
use crate::source::Source;

/// What the background process has reported so far. Only one process uses it; the lock
/// protects against a host that calls `tcl_watch()` from several threads.
static WATCH: Lazy<Mutex<Watch>> = Lazy::new(Mutex::default);

pub(super) fn watch() -> MutexGuard<'static, Watch> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The connections that the host must close, as the last tick of this process found.
pub(super) fn to_close() -> u32 {
    watch().to_close()
}

/// Removes the rules that ended, samples the sources, and reports the rejections since the
/// last call to the host: the first one of each source in `log_interval` seconds in its own
/// log line and through `rejected()`, all others in one log line at the end of the
/// interval. At most 100 sources have a line in an interval: 80 at once, and at its end
/// those with the most rejections. A source that had one has another line, and is reported
/// through `released()`, when it is back under its limit or its rate. Bans that begin and end
/// have a line each, unless a command has logged it, and are reported through `banned()` and
/// `unbanned()`, at most 100 of each in an interval. What sources have paid off is forgotten.
/// Connections that were not trusted in time have a line for each source and are reported
/// through `timed_out()`, at most 100 in an interval; the host then closes them, see
/// `tcl_expired()`. If the kernel shield is active, its list in the kernel is brought up to
/// date.
///
/// Must be called once a second, always from the same process, which must not accept
/// connections.
///
/// Returns `TCL_OK`, `TCL_EARG` if `log_interval` is 0, or `TCL_EINIT`.
#[unsafe(no_mangle)]
pub extern "C" fn tcl_watch(log_interval: u32) -> i32 {
    guard(TCL_EINIT, |global| {
        if log_interval == 0 {
            return TCL_EARG;
        }
        // A panic in a function of the host at worst leaves some notices unreported.
        let mut watch = watch();
        let now = global.now();
        watch.tick(&global.limiter, now, log_interval, &mut |notice| {
            global.report_notice(&notice);
        });
        super::shield::update(global, &watch, now, log_interval);
        TCL_OK
    })
}

impl Global {
    fn report_notice(&self, notice: &Notice) {
        if !matches!(
            notice,
            Notice::Unbanned {
                is_logged: true,
                ..
            }
        ) {
            self.log_notice(notice);
        }
        if let Some(event) = Event::of(self, notice) {
            event.send(self);
        }
    }

    fn log_notice(&self, notice: &Notice) {
        let first_untracked = self.limiter.first_untracked();
        let mut line = Line::default();
        // A line that is too long is truncated.
        let text = notice.line(self.limiter.prefixes(), first_untracked);
        let _ = write!(line, "{text}");
        let level = match notice {
            Notice::First { .. }
            | Notice::Summary(_)
            | Notice::Released { .. }
            | Notice::Banned { .. }
            | Notice::Unbanned { .. }
            | Notice::TrustedEnough { .. }
            | Notice::FewerInCluster { .. }
            | Notice::TimedOut(_)
            | Notice::MoreTimedOut(_)
            | Notice::MoreBanned { .. }
            | Notice::Flood { .. } => TCL_LOG_REJECTED,
            Notice::RuleEnded(_) => TCL_LOG_NOTICE,
            Notice::Full { .. }
            | Notice::Untracked { .. }
            | Notice::Stale { .. }
            | Notice::NeverTrusted(_) => TCL_LOG_WARN,
            Notice::Load(notice) => load::severity(notice),
        };
        self.log(level, &line);
        if let Notice::Load(notice) = notice {
            self.report_pressure(notice);
        }
    }
}

/// What a function of the host gets to know.
struct Event {
    call: unsafe extern "C" fn(*const tcl_event),
    source: Source,
    connections: u32,
    /// Its rejections, including those of monitor mode.
    rejected: u32,
    would: bool,
    reason: RejectedFor,
    ban: Option<PenaltyReport>,
    /// Seconds left of the ban, or those in which it should have been trusted.
    seconds: u32,
}

impl Event {
    /// `None` if no function gets to know of the notice.
    fn of(global: &Global, notice: &Notice) -> Option<Event> {
        let all = |report: &SourceReport| report.rejected.saturating_add(report.would_reject);
        Some(match notice {
            Notice::First {
                report, why, would, ..
            } => {
                let (reason, ban) = match why {
                    Why::Limit => (RejectedFor::Limit, None),
                    Why::Rate(_) => (RejectedFor::Rate, None),
                    Why::Ban(ban) => (RejectedFor::Ban, *ban),
                    Why::Untrusted(_) => (RejectedFor::Untrusted, None),
                    Why::Reserve => (RejectedFor::Reserve, None),
                    Why::Pressure => (RejectedFor::Pressure, None),
                    Why::Cluster(_) => (RejectedFor::Cluster, None),
                };
                Event {
                    call: global.rejected,
                    source: report.source,
                    connections: report.rejected_at,
                    rejected: all(report),
                    would: *would,
                    reason,
                    ban,
                    seconds: ban.map_or(0, |ban| ban.seconds_left()),
                }
            }
            Notice::Released {
                report,
                rate,
                would,
                ..
            } => Event {
                call: global.released?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: match rate {
                    Some(_) => RejectedFor::Rate,
                    None => RejectedFor::Limit,
                },
                ban: None,
                seconds: 0,
            },
            Notice::TrustedEnough { report, would, .. } => Event {
                call: global.released?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: RejectedFor::Untrusted,
                ban: None,
                seconds: 0,
            },
            Notice::FewerInCluster { report, would, .. } => Event {
                call: global.released?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: RejectedFor::Cluster,
                ban: None,
                seconds: 0,
            },
            Notice::Banned { report, ban, would } => Event {
                call: global.banned?,
                source: report.source,
                connections: report.connections,
                rejected: all(report),
                would: *would,
                reason: RejectedFor::Ban,
                ban: Some(*ban),
                seconds: ban.seconds_left(),
            },
            Notice::TimedOut(timed_out) => Event {
                call: global.timed_out?,
                source: timed_out.source,
                connections: timed_out.connections,
                rejected: 0,
                would: timed_out.would,
                reason: RejectedFor::Untrusted,
                ban: None,
                seconds: timed_out.timeout,
            },
            Notice::Unbanned {
                report, ban, would, ..
            } => Event {
                call: global.unbanned?,
                source: report.source,
                connections: report.connections,
                rejected: ban.rejected,
                would: *would,
                reason: RejectedFor::Ban,
                ban: Some(*ban),
                seconds: 0,
            },
            Notice::Summary(_)
            | Notice::MoreBanned { .. }
            | Notice::MoreTimedOut(_)
            | Notice::NeverTrusted(_)
            | Notice::Flood { .. }
            | Notice::RuleEnded(_)
            | Notice::Load(_)
            | Notice::Full { .. }
            | Notice::Untracked { .. }
            | Notice::Stale { .. } => return None,
        })
    }

    fn send(&self, global: &Global) {
        let limiter = &global.limiter;
        let report = Report::of(limiter);
        let key = self.source;
        let (rule, limit) = report.rule_of(key);
        let limit = match self.reason {
            RejectedFor::Pressure => report.effective(key),
            RejectedFor::Cluster => report.sum_of(key).limit.cast_signed(),
            _ => limit,
        };
        let source: [c_char; TCL_SOURCE_TEXT] = global.address_text(key);
        let rule: [c_char; TCL_SOURCE_TEXT] = global.text(RuleName(rule));
        let rate: [c_char; TCL_RATE_TEXT] = global.text(RateAsText(report.rate_of(key)));
        let reason: [c_char; TCL_REASON_TEXT] = global.text(self.reason.name());
        let ban: [c_char; TCL_REASON_TEXT] =
            global.text(self.ban.map_or("", |ban| ban.cause.name()));
        let listener = limiter.listener_of(key).map(|name| name.to_string());
        let listener: [c_char; TCL_LISTENER_TEXT] = global.text(listener.unwrap_or_default());
        let event = tcl_event {
            source: source.as_ptr(),
            rule: rule.as_ptr(),
            connections: self.connections,
            limit: limit.max(0),
            rejected: self.rejected,
            would: self.would.into(),
            reason: reason.as_ptr(),
            ban: ban.as_ptr(),
            rate: rate.as_ptr(),
            seconds: self.seconds,
            listener: listener.as_ptr(),
            scope: scope_name(key).as_ptr(),
        };
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised;
        // the event and its texts live until it returns.
        unsafe { (self.call)(&event) };
    }
}
