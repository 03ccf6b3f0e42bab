// SPDX-License-Identifier: GPL-2.0-or-later
//! The wording of the log lines about reserve and pressure, as in
//! [`notices`](crate::observe::notices).

#![forbid(unsafe_code)]

use core::fmt;

use crate::limiter::load::{Load, LoadReport};
use crate::policy::pressure::Pressure;
use crate::policy::reserve::Reserve;

/// What changed while the host is nearly full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadNotice {
    /// The load, and what follows from it.
    pub report: LoadReport,
    /// What changed.
    pub change: LoadChange,
    /// Nothing is rejected because of it, in monitor mode.
    pub would: bool,
}

/// A change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadChange {
    /// The number of reached levels of pressure; before, it was this.
    Pressure(usize),
    /// Only connections of the reserve are left.
    Reserved,
    /// Connections were rejected to keep the reserve, in an interval.
    Kept {
        /// Their number, including those that would have been rejected.
        rejected: u64,
        /// The length of the interval in seconds.
        seconds: u32,
    },
    /// For this many seconds there were connections outside the reserve.
    Free(u32),
}

/// `955 of 1000 connections in use (95 %)`
struct Use<'a>(&'a LoadReport);

impl fmt::Display for Use<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Load { in_use, max } = self.0.load;
        let percent = self.0.percent();
        write!(f, "{in_use} of {max} connections in use ({percent} %)")
    }
}

impl fmt::Display for LoadNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadNotice {
            report,
            change,
            would,
        } = self;
        let (in_use, reserve) = (Use(report), report.reserve);
        match change {
            LoadChange::Pressure(was) => {
                let (now, levels, cap) = (report.reached, report.pressure.len(), report.cap());
                match levels {
                    0 => write!(f, "pressure is switched off (level was {was})")?,
                    _ => write!(f, "pressure level {now} of {levels}, was {was}")?,
                }
                write!(f, ": {in_use}: {cap}")?;
            }
            LoadChange::Reserved => write!(
                f,
                "only the reserve of {reserve} is left: {in_use}: new connections only for \
                 sources of rules with the word trusted; close greedy connections, or raise \
                 tcp_max_connections"
            )?,
            LoadChange::Kept { rejected, seconds } => {
                let verb = if *would { "would reject" } else { "rejected" };
                let plural = if *rejected == 1 { "" } else { "s" };
                return write!(
                    f,
                    "{verb} {rejected} connection{plural} in {seconds} s to keep the reserve of \
                     {reserve}: {in_use}"
                );
            }
            LoadChange::Free(seconds) => {
                return match reserve {
                    Reserve::None => write!(f, "the reserve is switched off: {in_use}"),
                    _ => write!(
                        f,
                        "the reserve of {reserve} has not been needed for {seconds} s: {in_use}"
                    ),
                };
            }
        }
        let applies = report.reached > 0 || *change == LoadChange::Reserved;
        match *would && applies {
            true => f.write_str("; mode monitor rejects nothing"),
            false => Ok(()),
        }
    }
}

/// A command changed the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReserveSetByCommand<'a> {
    /// The reserve now.
    pub now: Reserve,
    /// The reserve before.
    pub was: Reserve,
    /// Who gave the command.
    pub by: &'a str,
}

impl fmt::Display for ReserveSetByCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ReserveSetByCommand { now, was, by } = self;
        write!(f, "reserve changed from {was} to {now} by {by}")
    }
}

/// A command changed the levels of pressure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PressureSetByCommand<'a> {
    /// The levels now.
    pub now: Pressure,
    /// The levels before.
    pub was: Pressure,
    /// Who gave the command.
    pub by: &'a str,
}

impl fmt::Display for PressureSetByCommand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PressureSetByCommand { now, was, by } = self;
        write!(f, "pressure changed from {was} to {now} by {by}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(in_use: u32, reached: usize, change: LoadChange, would: bool) -> String {
        let report = LoadReport {
            load: Load { in_use, max: 1000 },
            reserve: Reserve::Connections(50),
            reserve_used: 0,
            pressure: Pressure::parse("80:50% 90:10").unwrap(),
            reached,
        };
        let notice = LoadNotice {
            report,
            change,
            would,
        };
        notice.to_string()
    }

    #[test]
    fn level_is_logged_with_what_it_allows() {
        assert_eq!(
            line(805, 1, LoadChange::Pressure(0), false),
            "pressure level 1 of 2, was 0: 805 of 1000 connections in use (80 %): 50 % of its \
             limit for each source"
        );
        assert_eq!(
            line(900, 2, LoadChange::Pressure(1), true),
            "pressure level 2 of 2, was 1: 900 of 1000 connections in use (90 %): 50 % of its \
             limit and at most 10 for each source; mode monitor rejects nothing"
        );
        assert_eq!(
            line(749, 0, LoadChange::Pressure(1), true),
            "pressure level 0 of 2, was 1: 749 of 1000 connections in use (74 %): the limits \
             apply in full"
        );
    }

    #[test]
    fn reserve_is_logged_with_the_use() {
        assert_eq!(
            line(950, 0, LoadChange::Reserved, true),
            "only the reserve of 50 is left: 950 of 1000 connections in use (95 %): new \
             connections only for sources of rules with the word trusted; close greedy \
             connections, or raise tcp_max_connections; mode monitor rejects nothing"
        );
        let kept = |rejected| LoadChange::Kept {
            rejected,
            seconds: 60,
        };
        assert_eq!(
            line(951, 0, kept(1), false),
            "rejected 1 connection in 60 s to keep the reserve of 50: 951 of 1000 connections \
             in use (95 %)"
        );
        assert_eq!(
            line(951, 0, kept(5120), true),
            "would reject 5120 connections in 60 s to keep the reserve of 50: 951 of 1000 \
             connections in use (95 %)"
        );
        assert_eq!(
            line(1, 0, LoadChange::Free(61), false),
            "the reserve of 50 has not been needed for 61 s: 1 of 1000 connections in use (0 %)"
        );
    }

    #[test]
    fn switching_off_is_logged() {
        let report = LoadReport {
            load: Load { in_use: 9, max: 10 },
            reserve: Reserve::None,
            reserve_used: 0,
            pressure: Pressure::NONE,
            reached: 0,
        };
        let line = |change| {
            let would = false;
            LoadNotice {
                report,
                change,
                would,
            }
            .to_string()
        };
        assert_eq!(
            line(LoadChange::Pressure(2)),
            "pressure is switched off (level was 2): 9 of 10 connections in use (90 %): the \
             limits apply in full"
        );
        assert_eq!(
            line(LoadChange::Free(3)),
            "the reserve is switched off: 9 of 10 connections in use (90 %)"
        );
    }

    #[test]
    fn commands_are_logged_with_what_was() {
        let reserve = ReserveSetByCommand {
            now: Reserve::Percent(5),
            was: Reserve::None,
            by: "RPC",
        };
        assert_eq!(
            reserve.to_string(),
            "reserve changed from none to 5% by RPC"
        );
        let pressure = PressureSetByCommand {
            now: Pressure::NONE,
            was: Pressure::parse("80:50% 90:10").unwrap(),
            by: "RPC",
        };
        assert_eq!(
            pressure.to_string(),
            "pressure changed from 80:50% 90:10 to none by RPC"
        );
    }
}
