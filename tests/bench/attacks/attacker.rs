// SPDX-License-Identifier: GPL-2.0-or-later

//! Who attacks: connections from given sources, one after the other at a steady
//! rate, or all at once to stay. It goes on until it is told to stop, so that
//! honest sources are measured under it to the last.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, recv};
use serde::{Deserialize, Serialize};

use crate::socket::{connecting, to_be_reset};

/// The option by which the benchmark starts this process.
pub(crate) const OPTION: &str = "attacker";

/// A step of the schedule that is missed by more is left out: after a standstill
/// of this process there is no burst, which would be another attack.
const LATEST: Duration = Duration::from_millis(20);

/// Connections that are opened at once, to stay: well below the server's backlog
/// of 1,024.
const BATCH: usize = 200;

/// Connections that are closed at once. Each end is handed to one of Kamailio's
/// workers; what TCP main cannot hand over within two seconds
/// (`SEND_FD_QUEUE_TIMEOUT`) it closes, also if it is not of an attacker.
const LEAVE_AT_ONCE: usize = 80;

/// A server says whether it admits a connection within this time.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection that stays says something, which is a byte.
const WORD: Duration = Duration::from_secs(10);

/// What those say, byte by byte, and go on with its last one for ever.
const SLOW_REQUEST: &[u8] = b"OPTIONS sip:anybody@localhost SIP/2.0\r\nSubject: a";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attack {
    pub(crate) to: SocketAddr,
    /// By turns.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manner {
    /// Open connections at a steady rate, whatever the server does, and close each
    /// after the same time.
    Pass { per_second: u32, life: Duration },
    /// Each source opens so many and keeps what it gets, with a byte now and then.
    Sit { each: usize },
}

/// Answered when the attack goes on: [`Begun`]; and when it has stopped:
/// [`Outcome`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Begin(Attack),
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begun;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Connections opened, or at least begun to be opened.
    pub(crate) opened: usize,
    /// Those that the server had closed when the attacker was about to.
    pub(crate) closed_by_server: usize,
}

/// Obey the orders on standard input until it ends.
pub(crate) fn run() -> io::Result<()> {
    let mut orders = io::stdin().lock();
    while let Some(order) = next(&mut orders)? {
        let Order::Begin(attack) = order else {
            return Err(io::Error::other("nothing to stop"));
        };
        let outcome = match attack.manner {
            Manner::Pass { per_second, life } => pass(&attack, per_second, life)?,
            Manner::Sit { each } => sit(&attack, each)?,
        };
        // That which has ended the attack.
        next(&mut orders)?;
        answer(&outcome)?;
    }
    Ok(())
}

fn next(orders: &mut impl BufRead) -> io::Result<Option<Order>> {
    let mut line = String::new();
    if orders.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}

fn answer(answer: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(answer)?)?;
    out.flush()
}

/// Until there is an order, or `wake` is reached; whether there is one. None is
/// in the buffer of standard input: each is given only when the one before is
/// answered.
fn ordered_before(wake: Instant) -> io::Result<bool> {
    let stdin = io::stdin();
    let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let timeout = wake.saturating_duration_since(Instant::now());
    Ok(ppoll(&mut ready, Some(timeout.into()), None)? > 0)
}

fn pass(attack: &Attack, per_second: u32, life: Duration) -> io::Result<Outcome> {
    let period = Duration::from_secs(1) / per_second;
    let mut outcome = Outcome::default();
    let mut open: VecDeque<(OwnedFd, Instant)> = VecDeque::new();
    answer(&Begun)?;
    let mut due = Instant::now();
    let mut goes_on = true;
    while goes_on || !open.is_empty() {
        if goes_on {
            goes_on = !ordered_before(due)?;
        } else {
            sleep(LATEST);
        }
        let now = Instant::now();
        due = due.max(now - LATEST);
        let over = open.partition_point(|(_, since)| *since + life <= now);
        for (socket, _) in open.drain(..over) {
            outcome.closed_by_server += usize::from(is_closed(&socket)?);
        }
        if goes_on && due <= now {
            let from = attack.sources[outcome.opened % attack.sources.len()];
            let socket = connecting(from, attack.to)?;
            to_be_reset(&socket)?;
            open.push_back((socket, now));
            outcome.opened += 1;
            due += period;
        }
    }
    Ok(outcome)
}

/// Whether the server has closed it, that never says anything to who attacks by
/// passing.
fn is_closed(socket: &OwnedFd) -> io::Result<bool> {
    match recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) {
        Ok(0) | Err(Errno::ECONNRESET) => Ok(true),
        // Or it is not even connected yet.
        Err(Errno::EAGAIN | Errno::ENOTCONN) => Ok(false),
        Ok(_) => Err(io::Error::other("the server said something")),
        Err(error) => Err(error.into()),
    }
}

fn sit(attack: &Attack, each: usize) -> io::Result<Outcome> {
    let sources = &attack.sources;
    let mut seats: Vec<TcpStream> = Vec::new();
    let mut outcome = Outcome::default();
    while outcome.opened < each * sources.len() {
        let count = BATCH.min(each * sources.len() - outcome.opened);
        let batch = (outcome.opened..outcome.opened + count)
            .map(|nth| connecting(sources[nth % sources.len()], attack.to))
            .collect::<io::Result<Vec<OwnedFd>>>()?;
        outcome.opened += count;
        for socket in batch {
            match admitted(socket)? {
                Some(seat) => seats.push(seat),
                None => outcome.closed_by_server += 1,
            }
        }
    }
    answer(&Begun)?;

    let period = WORD.checked_div(seats.len() as u32).unwrap_or(WORD);
    let mut due = Instant::now();
    let mut said = 0;
    while !ordered_before(due)? {
        due = (due + period).max(Instant::now() - LATEST);
        if seats.is_empty() {
            continue;
        }
        let byte = SLOW_REQUEST[(said / seats.len()).min(SLOW_REQUEST.len() - 1)];
        let mut seat = &seats[said % seats.len()];
        seat.write_all(&[byte])
            .map_err(|error| io::Error::other(format!("the server has closed a seat: {error}")))?;
        said += 1;
    }
    while !seats.is_empty() {
        seats.truncate(seats.len().saturating_sub(LEAVE_AT_ONCE));
        sleep(LATEST);
    }
    Ok(outcome)
}

/// Wait whether the server admits a connection: it answers a keep-alive (RFC 5626,
/// 3.5.1), or closes.
fn admitted(socket: OwnedFd) -> io::Result<Option<TcpStream>> {
    let mut stream = TcpStream::from(socket);
    let mut connected = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    if ppoll(&mut connected, Some(MAX_PATIENCE.into()), None)? == 0 {
        return Err(io::Error::other("the server does not accept"));
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(MAX_PATIENCE))?;
    let mut pong = [0; 2];
    let said = stream
        .write_all(b"\r\n\r\n")
        .and_then(|()| stream.read_exact(&mut pong));
    match said {
        Ok(()) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Ok(None),
            _ => Err(error),
        },
    }
}
