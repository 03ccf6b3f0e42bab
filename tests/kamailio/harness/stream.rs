// SPDX-License-Identifier: GPL-2.0-or-later

//! A socket with a deadline.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;

use super::wait::DEADLINE;

/// A socket that waits for the deadline at most.
///
/// A call on a socket with a timeout fails with EINTR when the process is
/// stopped and continued, even without a signal handler (signal(7)), as happens
/// to one whose machine sleeps for a moment: such a call is begun again.
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

/// The result of a call that no signal has interrupted.
fn uninterrupted<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
