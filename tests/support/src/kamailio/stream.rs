// SPDX-License-Identifier: GPL-2.0-or-later

//! A socket with a deadline.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;

use crate::wait::DEADLINE;

/// A socket that waits until the deadline at most.
///
/// A call on a socket with a timeout fails with EINTR when the process is
/// stopped and continued, even without a signal handler (signal(7)). This also happens
/// when the machine is suspended for a moment. Such a call is repeated.
#[derive(Debug)]
pub(super) struct Stream(TcpStream);

impl Stream {
    pub(super) fn with_deadline(socket: TcpStream) -> Result<Self> {
        socket.set_read_timeout(Some(DEADLINE))?;
        socket.set_write_timeout(Some(DEADLINE))?;
        Ok(Self(socket))
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.0
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        uninterrupted(|| self.0.read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> Result<usize> {
        uninterrupted(|| self.0.write(buffer))
    }

    fn flush(&mut self) -> Result<()> {
        self.0.flush()
    }
}

/// Repeats a call while it is interrupted, and returns its result.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
