// SPDX-License-Identifier: GPL-2.0-or-later

//! The engine as Kamailio sees it: the functions of its shared library.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::ptr::{null, null_mut};

use nix::libc;
use tcp_conn_limit::ffi::{
    self, TCL_FACT_SPOKE, TCL_MODE_ENFORCE, TCL_OK, TCL_ON_FULL_ADMIT, tcl_config, tcl_event,
    tcl_host, tcl_listener, tcl_load, tcl_pressure, tcl_source, tcl_version,
};
use tcp_conn_limit::observe::counters::{COUNTERS, Counters};

use crate::operations::Subject;
use crate::sources::address;
use crate::{Result, descriptors, shared};

type SetWorker = extern "C" fn(u32);
type Check = unsafe extern "C" fn(*const u8, u32, c_int, c_int) -> c_int;
type Opened = unsafe extern "C" fn(*const u8, u32, c_int, c_int, u32) -> u64;
type Closed = extern "C" fn(u64, u32) -> i32;
type Get = unsafe extern "C" fn(*const u8, u32, c_int, *mut tcl_source) -> i32;
type Stats = unsafe extern "C" fn(*mut u64, u32) -> i32;
type HugePages = extern "C" fn() -> u64;
type Ban = unsafe extern "C" fn(*const u8, u32, u32) -> i32;
type CountFor =
    unsafe extern "C" fn(u64, *const u8, u32, *const u8, u32, *mut c_char, usize) -> i32;
type Init = unsafe extern "C" fn(*const tcl_config, *const tcl_host, *mut c_char, usize) -> i32;

type Register = unsafe extern "C" fn(*const tcl_listener, u32, *mut c_char, usize) -> i32;

type LoadRules =
    unsafe extern "C" fn(*const *const c_char, u32, *const c_char, *mut c_char, usize) -> i32;

/// Returns the version of the library.
pub(crate) fn version() -> String {
    // SAFETY: the function returns a static string that ends with a NUL.
    let version = unsafe { CStr::from_ptr(tcl_version()) };
    version.to_string_lossy().into_owned()
}

pub(crate) struct Engine {
    init: Init,
    set_worker: SetWorker,
    check: Check,
    opened: Opened,
    closed: Closed,
    get: Get,
    stats: Stats,
    load_rules: LoadRules,
    register: Register,
    huge_pages: HugePages,
    ban: Ban,
    count_for: CountFor,
    /// The descriptor on which connections are accepted, or -1.
    listener: c_int,
}

impl Engine {
    /// Loads the library that cargo built next to this program.
    pub(crate) fn load() -> Result<Engine> {
        let path = std::env::current_exe()?.with_file_name("libtcp_conn_limit.so");
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: `name` is a valid string. The library's only initialisers are those
        // of Rust's standard library.
        let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if library.is_null() {
            return Err(dl_error());
        }
        // Each cast fails to compile if the function has another type. The process uses the
        // functions of the library, not those that are linked into this program.
        Ok(Engine {
            init: symbol(library, c"tcl_init", ffi::tcl_init as Init)?,
            set_worker: symbol(library, c"tcl_set_worker", ffi::tcl_set_worker as SetWorker)?,
            check: symbol(library, c"tcl_check", ffi::tcl_check as Check)?,
            opened: symbol(library, c"tcl_opened", ffi::tcl_opened as Opened)?,
            closed: symbol(library, c"tcl_closed", ffi::tcl_closed as Closed)?,
            get: symbol(library, c"tcl_get", ffi::tcl_get as Get)?,
            stats: symbol(library, c"tcl_stats", ffi::tcl_stats as Stats)?,
            load_rules: symbol(library, c"tcl_rules_load", ffi::tcl_rules_load as LoadRules)?,
            huge_pages: symbol(library, c"tcl_huge_pages", ffi::tcl_huge_pages as HugePages)?,
            ban: symbol(library, c"tcl_ban_address", ffi::tcl_ban_address as Ban)?,
            register: symbol(library, c"tcl_listeners", ffi::tcl_listeners as Register)?,
            count_for: symbol(library, c"tcl_count_for", ffi::tcl_count_for as CountFor)?,
            listener: -1,
        })
    }

    /// Creates the limiter. A process can have only one.
    pub(crate) fn init(&self, config: &tcl_config) -> Result<()> {
        let mut error = [0; 256];
        // SAFETY: the pointers are valid and the size is that of `error`. HOST is a
        // static, so its functions exist until the process ends.
        let code = unsafe { (self.init)(config, &HOST, error.as_mut_ptr(), error.len()) };
        if code == TCL_OK {
            descriptors::start(config.max_connections);
            return Ok(());
        }
        // SAFETY: tcl_init() has written a NUL-terminated string.
        let sentence = unsafe { CStr::from_ptr(error.as_ptr()) };
        Err(format!("tcl_init: {}", sentence.to_string_lossy()).into())
    }

    /// Starts a limiter for `max_connections` connections, as the accepting process.
    pub(crate) fn start(max_connections: u32, limit: i32) -> Result<Engine> {
        Engine::start_with(&config(max_connections, limit)?)
    }

    pub(crate) fn start_with(config: &tcl_config) -> Result<Engine> {
        let engine = Engine::load()?;
        engine.init(config)?;
        engine.set_worker(0);
        Ok(engine)
    }

    /// Starts a limiter with the highest rate, its largest burst, and each penalty.
    pub(crate) fn start_with_controls(max_connections: u32, limit: i32) -> Result<Engine> {
        let penalties = [c"silent=1", c"tls=1", c"rejected=1", c"rate=1", c"script=1"];
        let penalties = penalties.map(CStr::as_ptr);
        Engine::start_with(&tcl_config {
            rate: c"10000/s".as_ptr(),
            burst: 1_000_000,
            penalties: penalties.as_ptr(),
            penalty_count: penalties.len() as u32,
            ..config(max_connections, limit)?
        })
    }

    /// Starts the limiter of a node of a cluster, with the same limit over all nodes. No other
    /// node has a connection.
    pub(crate) fn start_in_cluster(max_connections: u32, limit: i32) -> Result<Engine> {
        Engine::start_with(&tcl_config {
            cluster: 1,
            cluster_limit: limit,
            ..config(max_connections, limit)?
        })
    }

    /// Bans `count` sources that no measurement uses.
    pub(crate) fn ban_others(&self, count: u32) -> Result<()> {
        const DAY: u32 = 24 * 3_600;
        for index in (1 << 31)..(1 << 31) + count {
            // SAFETY: the pointer is valid for 4 bytes.
            let code = unsafe { (self.ban)(address(index).as_ptr(), 4, DAY) };
            if code != TCL_OK {
                return Err(format!("tcl_ban_address: {code}").into());
            }
        }
        Ok(())
    }

    /// Starts a limiter that counts networks, with this rate and burst of each source and
    /// network. With `trust`, the untrusted connections of a source have a limit. The
    /// addresses are spread over all of IPv4, so a network is a /12: a million of them then
    /// has 244 addresses in each, as a full /24 has.
    pub(crate) fn start_with_networks(
        max_connections: u32,
        limit: i32,
        rate: Option<(&'static CStr, i32)>,
        trust: bool,
    ) -> Result<Engine> {
        let (rate, burst) = match rate {
            Some((rate, burst)) => (rate.as_ptr(), burst),
            None => (null(), 0),
        };
        let engine = Engine::start_with(&tcl_config {
            networks: 1,
            network_limit: i32::MAX,
            ipv4_network: 12,
            rate,
            burst,
            network_rate: rate,
            network_burst: burst,
            trust: trust.into(),
            untrusted_limit: if trust { 1_000_000 } else { 0 },
            ..config(max_connections, limit)?
        })?;
        // As the module does. What a source has is cached only for rules that were loaded.
        engine.publish(&[])?;
        Ok(engine)
    }

    /// Starts a limiter of a host that has reached the first level of pressure, see [`HOST`].
    pub(crate) fn start_under_pressure(max_connections: u32, limit: i32) -> Result<Engine> {
        let engine = Engine::start_with(&tcl_config {
            pressure: c"80:50% 90:10".as_ptr(),
            ..config(max_connections, limit)?
        })?;
        engine.publish(&[])?;
        Ok(engine)
    }

    /// Starts a limiter that moves connections of [`PROXY`] to its clients.
    pub(crate) fn start_with_moves(max_connections: u32, limit: i32) -> Result<Engine> {
        let engine = Engine::start_with(&tcl_config {
            moves: 1,
            ..config(max_connections, limit)?
        })?;
        engine.publish(&[c"192.0.2.1 = unlimited proxy"])?;
        Ok(engine)
    }

    fn publish(&self, rules: &[&CStr]) -> Result<()> {
        let rules: Vec<_> = rules.iter().map(|rule| rule.as_ptr()).collect();
        // SAFETY: the rules are strings, and there is no file and no room for an error.
        let code =
            unsafe { (self.load_rules)(rules.as_ptr(), rules.len() as u32, null(), null_mut(), 0) };
        match code {
            TCL_OK => Ok(()),
            code => Err(format!("tcl_rules_load: {code}").into()),
        }
    }

    /// Starts a limiter with 10,000 rules for single addresses, 100 of which name one of two
    /// listeners. Connections are accepted on one of these.
    pub(crate) fn start_with_listeners(max_connections: u32, limit: i32) -> Result<Engine> {
        const RULES: usize = 10_000;
        const ONE_IN: usize = 100;
        let sockets = [(5060, 0), (5061, 1)].map(|(port, tls)| tcl_listener {
            address: std::array::from_fn(|i| [192, 0, 2, 1].get(i).copied().unwrap_or(0)),
            length: 4,
            port,
            tls,
            // Connections have other numbers of their own.
            descriptor: port as c_int,
        });
        let texts = (0..RULES).map(|n| {
            let word = match (n % ONE_IN, n / ONE_IN % 2) {
                (0, 0) => " listener=tcp:192.0.2.1:5060",
                (0, _) => " listener=tls:192.0.2.1:5061",
                _ => "",
            };
            CString::new(format!("198.18.{}.{} = 5{word}", n / 256, n % 256))
        });
        let texts: Vec<CString> = texts.collect::<std::result::Result<_, _>>()?;
        let pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        let mut engine = Engine::start(max_connections, limit)?;
        // SAFETY: the sockets are valid for reads, and there is no room for an error.
        let code = unsafe { (engine.register)(sockets.as_ptr(), 2, null_mut(), 0) };
        if code != TCL_OK {
            return Err(format!("tcl_listeners: {code}").into());
        }
        // SAFETY: the pointers are strings, there is no file, and no room for an error.
        let code = unsafe {
            let count = pointers.len() as u32;
            (engine.load_rules)(pointers.as_ptr(), count, null(), null_mut(), 0)
        };
        if code != TCL_OK {
            return Err(format!("tcl_rules_load: {code}").into());
        }
        engine.listener = sockets[0].descriptor;
        Ok(engine)
    }

    /// Counts a connection of [`PROXY`] for source number `index`. Writes the text of its address
    /// first, as a server does.
    #[inline]
    pub(crate) fn count_for(&self, token: u64, index: u32) -> bool {
        let mut text = [0; 16];
        let mut left = &mut text[..];
        let written = write!(left, "{}", Ipv4Addr::from(address(index)));
        let length = 16 - left.len();
        // SAFETY: both pointers are valid for their numbers of bytes, and there is no room for an
        // error.
        let code = unsafe {
            let (peer, client) = (PROXY.as_ptr(), text.as_ptr());
            (self.count_for)(token, peer, 4, client, length as u32, null_mut(), 0)
        };
        written.is_ok() && code == TCL_OK
    }

    /// Starts a limiter whose buckets are in huge pages.
    pub(crate) fn start_in_huge_pages(max_connections: u32, limit: i32) -> Result<Engine> {
        shared::allow_huge_pages()?;
        let engine = Engine::start(max_connections, limit)?;
        match engine.huge_pages() {
            0 => Err("the system gave no huge pages".into()),
            _ => Ok(engine),
        }
    }

    /// The number of bytes of the table that are in huge pages.
    pub(crate) fn huge_pages(&self) -> u64 {
        (self.huge_pages)()
    }

    /// Returns whether a connection from `address` (network byte order, 4 or 16 bytes)
    /// is rejected.
    #[inline]
    pub(crate) fn rejects(&self, address: &[u8]) -> bool {
        // SAFETY: the pointer is valid for that number of bytes.
        unsafe { (self.check)(address.as_ptr(), address.len() as u32, 0, self.listener) != 0 }
    }

    /// Counts a connection from `address` and returns its token, 0 if it was not counted.
    #[inline]
    pub(crate) fn opened_from(&self, address: &[u8]) -> u64 {
        let descriptor = descriptors::open();
        // SAFETY: the pointer is valid for that number of bytes.
        let token = unsafe {
            (self.opened)(
                address.as_ptr(),
                address.len() as u32,
                descriptor,
                self.listener,
                0,
            )
        };
        if token == 0 {
            descriptors::close(descriptor);
        }
        token
    }

    /// Says that another process has closed the connection of this token.
    pub(crate) fn closed_elsewhere(&self, token: u64) {
        descriptors::close(token as c_int);
    }

    pub(crate) fn set_worker(&self, worker: u32) {
        (self.set_worker)(worker);
    }

    /// The number of connections of source number `index`.
    pub(crate) fn connections_of(&self, index: u32) -> Result<u32> {
        // SAFETY: it is a struct of integers, for which zeros are valid.
        let mut source: tcl_source = unsafe { std::mem::zeroed() };
        // SAFETY: the address has four bytes, and `source` is valid for writes.
        match unsafe { (self.get)(address(index).as_ptr(), 4, -1, &mut source) } {
            TCL_OK => Ok(source.connections),
            code => Err(format!("tcl_get: {code}").into()),
        }
    }

    pub(crate) fn stats(&self) -> Result<Counters> {
        let mut stats = Counters::default();
        let count = COUNTERS.len();
        // SAFETY: the struct consists of `count` numbers in this order, valid for writes.
        let written = unsafe { (self.stats)((&raw mut stats).cast(), count as u32) };
        if written == count as i32 {
            Ok(stats)
        } else {
            Err(format!("tcl_stats: {written}").into())
        }
    }
}

impl Subject for Engine {
    #[inline]
    fn check(&self, index: u32) -> bool {
        self.rejects(&address(index))
    }

    #[inline]
    fn opened(&self, index: u32) -> u64 {
        self.opened_from(&address(index))
    }

    #[inline]
    fn closed(&self, token: u64) -> bool {
        let is_closed = (self.closed)(token, TCL_FACT_SPOKE) == TCL_OK;
        if is_closed && token != 0 {
            // The lower half is the descriptor.
            descriptors::close(token as c_int);
        }
        is_closed
    }

    fn connections(&self) -> Result<u64> {
        let stats = self.stats()?;
        match stats.errors - stats.table_full {
            0 => Ok(stats.connections),
            errors => Err(format!("the engine counted {errors} errors").into()),
        }
    }
}

/// The default settings, for `max_connections` connections.
pub(crate) fn config(max_connections: u32, limit: i32) -> Result<tcl_config> {
    Ok(tcl_config {
        max_connections: max_connections.try_into()?,
        limit,
        ipv4_prefix: 32,
        ipv6_prefix: 64,
        mode: TCL_MODE_ENFORCE,
        on_full: TCL_ON_FULL_ADMIT,
        ..tcl_config::default()
    })
}

/// The address of a proxy, which no source has.
pub(crate) const PROXY: [u8; 4] = [192, 0, 2, 1];

static HOST: tcl_host = tcl_host {
    log: Some(ignore),
    now: Some(noon),
    rejected: Some(ignore_rejection),
    released: Some(ignore_rejection),
    banned: Some(ignore_rejection),
    unbanned: Some(ignore_rejection),
    timed_out: Some(ignore_rejection),
    load: Some(load),
    pressure: Some(ignore_pressure),
};

/// Only a limiter with pressure reads it: 85 % of the connections are in use.
unsafe extern "C" fn load(load: *mut tcl_load) {
    let now = tcl_load {
        in_use: 85,
        max: 100,
    };
    // SAFETY: `load` is valid for writing, as tcl_host.h says.
    unsafe { load.write(now) };
}

unsafe extern "C" fn ignore_pressure(_event: *const tcl_pressure) {}

unsafe extern "C" fn ignore(_level: i32, _line: *const c_char) {}

unsafe extern "C" fn noon() -> u32 {
    12 * 3_600
}

unsafe extern "C" fn ignore_rejection(_event: *const tcl_event) {}

/// Looks up the function of the library that has this name and the type of `same`.
fn symbol<F: Copy>(library: *mut c_void, name: &CStr, _same: F) -> Result<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: the library is never closed, and `name` is a valid string.
    let address = unsafe { libc::dlsym(library, name.as_ptr()) };
    if address.is_null() {
        return Err(dl_error());
    }
    // SAFETY: F has the size of a pointer, by the assertion above. The library is built from
    // the same sources as this program, so its function has the type of the one of the same
    // name that the caller gave.
    Ok(unsafe { std::mem::transmute_copy(&address) })
}

/// The error of the last call to the dynamic linker.
fn dl_error() -> Box<dyn std::error::Error> {
    // SAFETY: dlerror() takes no arguments. It returns null or a string that is valid
    // until its next call, and this process has one thread.
    let text = unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            c"unknown error of the dynamic linker"
        } else {
            CStr::from_ptr(text)
        }
    };
    text.to_string_lossy().into()
}
