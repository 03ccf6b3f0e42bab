// SPDX-License-Identifier: GPL-2.0-or-later

//! A connection of a client.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use support::raw::connect_from;

use crate::common::sip;

/// How long a client waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// Connects. A later close is a reset, so that no port waits.
pub(crate) fn open(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let stream = connect_from(from.into(), to, PATIENCE)?;
    let at_once = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&stream, sockopt::Linger, &at_once)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a keep-alive. Returns whether it was answered; otherwise the server has closed the
/// connection.
pub(crate) fn keep_alive(stream: &mut TcpStream) -> io::Result<bool> {
    let sent = stream.write_all(b"\r\n\r\n");
    answered(sent.and_then(|()| stream.read_exact(&mut [0; 2])))
}

/// Sends a request. Returns whether it was answered with success; otherwise the server has
/// answered with an error, or closed the connection.
pub(crate) fn ask(stream: &mut TcpStream) -> io::Result<bool> {
    let mut answer = Vec::new();
    let mut exchange = || {
        stream.write_all(sip::REQUEST)?;
        let mut part = [0; 1024];
        while !answer.ends_with(sip::END) {
            match stream.read(&mut part)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                length => answer.extend_from_slice(&part[..length]),
            }
        }
        Ok(())
    };
    let answered = answered(exchange())?;
    Ok(answered && answer.starts_with(sip::SUCCESS))
}

/// Whether the server has not closed the connection.
pub(crate) fn is_up(stream: &TcpStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let found = stream.peek(&mut [0]);
    stream.set_nonblocking(false)?;
    match found {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        other => answered(other.map(|_| ())).map(|_| false),
    }
}

fn answered(exchange: io::Result<()>) -> io::Result<bool> {
    match exchange {
        Ok(()) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Ok(false)
            }
            _ => Err(error),
        },
    }
}
