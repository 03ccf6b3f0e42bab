// SPDX-License-Identifier: GPL-2.0-or-later

//! Fetches a server's metrics once a second as Prometheus does: over HTTP, through one
//! connection that stays open. A worker process answers; TCP main accepts the connection
//! once.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Result;
use crate::record::Scrapes;
use crate::stats::Spread;

const PERIOD: Duration = Duration::from_secs(1);

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The metric that each answer must contain.
const METRIC: &str = "\nkamailio_tcp_conn_limit_admitted ";

pub(crate) struct Scraper {
    /// Dropping it ends the thread.
    stop: Sender<()>,
    thread: JoinHandle<io::Result<Scrapes>>,
}

impl Scraper {
    /// Connects, makes the first scrape and starts the thread.
    pub(crate) fn start(server: SocketAddr) -> Result<Scraper> {
        let mut connection = TcpStream::connect(server)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_nodelay(true)?;
        scrape(&mut connection)?;
        let (stop, stopped) = channel();
        Ok(Scraper {
            stop,
            thread: thread::spawn(move || run(connection, &stopped)),
        })
    }

    /// Ends the thread. Returns its results, or the error of a scrape.
    pub(crate) fn finish(self) -> Result<Scrapes> {
        drop(self.stop);
        match self.thread.join() {
            Ok(scrapes) => Ok(scrapes.map_err(|error| format!("a scrape failed: {error}"))?),
            Err(_) => Err("the scraper panicked".into()),
        }
    }
}

fn run(mut connection: TcpStream, stopped: &Receiver<()>) -> io::Result<Scrapes> {
    let start = Instant::now();
    let mut times = Vec::new();
    let mut last = 0;
    let mut bytes = 0;
    loop {
        let due = start + PERIOD * (times.len() as u32 + 1);
        let left = due.saturating_duration_since(Instant::now());
        match stopped.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => {}
            _ if times.is_empty() => {
                return Err(io::Error::other("the run ended before the first"));
            }
            _ => break,
        }
        let asked = Instant::now();
        bytes = scrape(&mut connection)?;
        times.push(asked.elapsed().as_secs_f64() * 1_000.0);
        last = start.elapsed().as_millis();
    }
    Ok(Scrapes {
        count: times.len(),
        seconds: last as f64 / 1_000.0,
        bytes,
        milliseconds: Spread::of(&times),
    })
}

/// Makes one request. Returns the size of the answer's body.
fn scrape(connection: &mut TcpStream) -> io::Result<usize> {
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = connection.read(&mut buffer)?;
        if read == 0 {
            return Err(io::Error::other("the server closed the connection"));
        }
        answer += &String::from_utf8_lossy(&buffer[..read]);
        let Some((head, body)) = answer.split_once("\r\n\r\n") else {
            continue;
        };
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok())
            .ok_or_else(|| io::Error::other(format!("no Content-Length in {head}")))?;
        if body.len() >= length {
            return if body.contains(METRIC) {
                Ok(length)
            } else {
                Err(io::Error::other(format!("no {METRIC:?} in {answer}")))
            };
        }
    }
}
