// SPDX-License-Identifier: GPL-2.0-or-later
//! Reserve and pressure: what applies while the host is nearly full.

use core::ffi::{CStr, c_char};
use core::fmt;

use super::codes::{TCL_EARG, TCL_EINIT, TCL_OK, TCL_PRESSURE_TEXT, TCL_RESERVE_TEXT};
use super::global::{GLOBAL, Global, guard};
use super::memory::{bytes, put, text, write_text};
use crate::host::{TCL_LOG_NOTICE, TCL_LOG_REJECTED, TCL_LOG_WARN, tcl_load, tcl_pressure};
use crate::limiter::load::{Load, LoadReport};
use crate::observe::load_notices::{
    LoadChange, LoadNotice, PressureSetByCommand, ReserveSetByCommand,
};
use crate::policy::pressure::{Pressure, PressureError};
use crate::policy::reserve::{Reserve, ReserveError};

/// How many of its connections the host uses, and what follows from that.
#[repr(C)]
#[derive(Clone, Copy)]
#[allow(non_camel_case_types)]
pub struct tcl_load_report {
    /// Open connections, including those that the host opened itself.
    pub in_use: u32,
    /// The most that there may be.
    pub max: u32,
    /// The share in use, in percent, rounded down.
    pub percent: u32,
    /// The reserve as it is set, such as "100" or "5%", or "none".
    pub reserve: [c_char; TCL_RESERVE_TEXT],
    /// The reserve in connections.
    pub reserve_connections: u32,
    /// Connections of the reserve that are in use.
    pub reserve_used: u32,
    /// 1 if only connections of the reserve are left, else 0.
    pub reserved: i32,
    /// The levels of pressure, such as "80:50% 90:10", or "none".
    pub pressure: [c_char; TCL_PRESSURE_TEXT],
    /// How many levels there are.
    pub levels: u32,
    /// How many of them are reached.
    pub level: u32,
    /// The share of its limit that each source may use, in percent.
    pub limit_percent: u32,
    /// The most connections that each source may have; 0: any number.
    pub limit_connections: u32,
}

/// Writes how many of its connections the host uses, and what follows from that.
///
/// Returns `TCL_OK`, `TCL_EARG` or `TCL_EINIT`.
///
/// # Safety
///
/// `report` is null or valid for writing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_load_report(report: *mut tcl_load_report) -> i32 {
    guard(TCL_EINIT, |global| {
        let value = global.describe_load(&global.limiter.load_report());
        // SAFETY: null or valid for writing, as the caller promises.
        unsafe { put(report, value) }
    })
}

/// Changes the reserve to that of a text of `length` bytes: a number of connections below
/// `max_connections`, a share of them from 1% to 99%, or `none`. `by` says who does so, for
/// the log. No connection is closed.
///
/// Returns `TCL_OK`, `TCL_EINIT`, or `TCL_EARG`: nothing changes, and a text with the reason
/// and the remedy is written to `error`, truncated to `error_size` bytes including the NUL.
///
/// # Safety
///
/// `name` is null or points to `length` bytes; `by` is null or a string; `error` is null or
/// has room for `error_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_set_reserve(
    name: *const u8,
    length: u32,
    by: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, and null or a string, as the caller promises.
        let (name, by) = unsafe { (bytes(name, length), text(by)) };
        let limiter = &global.limiter;
        let max = Some(limiter.max_connections());
        let reserve = match Reserve::parse(&String::from_utf8_lossy(name), max) {
            Ok(reserve) if global.load.is_some() => reserve,
            Ok(_) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                return unsafe { refuse(error, error_size, &NoLoad) };
            }
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                return unsafe { refuse(error, error_size, &reason) };
            }
        };
        let was = limiter.reserve();
        limiter.set_reserve(reserve);
        if was != reserve {
            global.log_change(ReserveSetByCommand {
                now: reserve,
                was,
                by: &name_of(by),
            });
        }
        TCL_OK
    })
}

/// Changes the levels of pressure to those of a text of `length` bytes, such as
/// "80:50% 90:10", or `none`. Otherwise as `tcl_set_reserve()`.
///
/// # Safety
///
/// As for `tcl_set_reserve()`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tcl_set_pressure(
    name: *const u8,
    length: u32,
    by: *const c_char,
    error: *mut c_char,
    error_size: usize,
) -> i32 {
    guard(TCL_EINIT, |global| {
        // SAFETY: null or `length` bytes, and null or a string, as the caller promises.
        let (name, by) = unsafe { (bytes(name, length), text(by)) };
        let pressure = match Pressure::parse(&String::from_utf8_lossy(name)) {
            Ok(pressure) if global.load.is_some() => pressure,
            Ok(_) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                return unsafe { refuse(error, error_size, &NoLoad) };
            }
            Err(reason) => {
                // SAFETY: null or `error_size` bytes, as the caller promises.
                return unsafe { refuse(error, error_size, &reason) };
            }
        };
        let was = global.limiter.pressure();
        global.limiter.set_pressure(pressure);
        if was != pressure {
            global.log_change(PressureSetByCommand {
                now: pressure,
                was,
                by: &name_of(by),
            });
        }
        TCL_OK
    })
}

/// The host does not say how many connections it uses.
pub(super) struct NoLoad;

impl fmt::Display for NoLoad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("reserve and pressure need the function load of tcl_host, which is null")
    }
}

/// # Safety
///
/// `error` is null or has room for `error_size` bytes.
unsafe fn refuse(error: *mut c_char, error_size: usize, reason: &dyn fmt::Display) -> i32 {
    // SAFETY: as the caller promises.
    unsafe { write_text(error, error_size, &reason.to_string()) };
    TCL_EARG
}

fn name_of(by: Option<&CStr>) -> String {
    by.map_or_else(|| "the host".to_owned(), |by| by.to_string_lossy().into())
}

/// Reads the reserve and the levels of a configuration with `max` connections; `None`: none.
pub(super) fn read(
    reserve: Option<&CStr>,
    pressure: Option<&CStr>,
    max: u32,
) -> Result<(Reserve, Pressure), LoadTextError> {
    let reserve = reserve.map(|text| Reserve::parse(&text.to_string_lossy(), Some(max)));
    let reserve = reserve.transpose().map_err(LoadTextError::Reserve)?;
    let pressure = pressure.map(|text| Pressure::parse(&text.to_string_lossy()));
    let pressure = pressure.transpose().map_err(LoadTextError::Pressure)?;
    Ok((reserve.unwrap_or_default(), pressure.unwrap_or_default()))
}

/// Why reserve or pressure of a configuration are invalid.
pub(super) enum LoadTextError {
    Reserve(ReserveError),
    Pressure(PressureError),
}

impl fmt::Display for LoadTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadTextError::Reserve(error) => error.fmt(f),
            LoadTextError::Pressure(error) => error.fmt(f),
        }
    }
}

/// The load that the host says.
pub(super) fn of_host() -> Load {
    let mut load = tcl_load { in_use: 0, max: 1 };
    if let Some(read) = GLOBAL.get().and_then(|global| global.load) {
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised;
        // `load` is valid for writing.
        unsafe { read(&mut load) };
    }
    Load {
        in_use: load.in_use,
        max: load.max,
    }
}

impl Global {
    fn describe_load(&self, report: &LoadReport) -> tcl_load_report {
        let cap = report.cap();
        tcl_load_report {
            in_use: report.load.in_use,
            max: report.load.max,
            percent: report.percent(),
            reserve: self.text(report.reserve),
            reserve_connections: report.reserve.of(report.load.max),
            reserve_used: report.reserve_used,
            reserved: report.is_reserved().into(),
            pressure: self.text(report.pressure),
            // At most PRESSURE_LEVELS, here and below.
            levels: report.pressure.len() as u32,
            level: report.reached as u32,
            limit_percent: cap.percent.into(),
            limit_connections: match cap.connections {
                u32::MAX => 0,
                connections => connections,
            },
        }
    }

    /// Reports a change of the level of pressure to the host.
    pub(super) fn report_pressure(&self, notice: &LoadNotice) {
        let (Some(call), LoadChange::Pressure(was)) = (self.pressure, notice.change) else {
            return;
        };
        let report = &notice.report;
        let levels: [c_char; TCL_PRESSURE_TEXT] = self.text(report.pressure);
        let event = tcl_pressure {
            level: report.reached as u32,
            was: was as u32,
            pressure: levels.as_ptr(),
            in_use: report.load.in_use,
            max: report.load.max,
            would: notice.would.into(),
        };
        // SAFETY: callable until the process ends, as the caller of `tcl_init` promised;
        // the event and its text live until it returns.
        unsafe { call(&event) };
    }
}

/// The severity of the line.
pub(super) fn severity(notice: &LoadNotice) -> u32 {
    match notice.change {
        LoadChange::Pressure(was) if notice.report.reached > was => TCL_LOG_WARN,
        LoadChange::Reserved => TCL_LOG_WARN,
        LoadChange::Kept { .. } => TCL_LOG_REJECTED,
        LoadChange::Pressure(_) | LoadChange::Free(_) => TCL_LOG_NOTICE,
    }
}
