// SPDX-License-Identifier: GPL-2.0-or-later

//! HTTP as far as the server supports it: one request and one answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::stream::Stream;

/// The text that a Prometheus server would get.
#[track_caller]
pub(super) fn get(server: SocketAddr, path: &str) -> String {
    request(server, &format!("GET {path}"), "")
}

/// The answer to a call by POST.
#[track_caller]
pub(super) fn post(server: SocketAddr, path: &str, body: &str) -> String {
    request(server, &format!("POST {path}"), body)
}

/// Sends one request and returns the body of the answer.
#[track_caller]
fn request(server: SocketAddr, what: &str, body: &str) -> String {
    let socket = TcpStream::connect(server).expect("a connection to the server");
    let mut http = Stream::with_deadline(socket).expect("a time to wait can be set");
    let length = body.len();
    let request = format!(
        "{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    http.write_all(request.as_bytes())
        .expect("a request can be sent");
    read_answer(&mut http)
}

#[track_caller]
fn read_answer(http: &mut Stream) -> String {
    let mut answer = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let end_of_head = loop {
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        if let Some(end) = end {
            break end;
        }
        read_more(http, &mut buffer, &mut answer);
    };
    let head = String::from_utf8_lossy(&answer[..end_of_head]).into_owned();
    let length: usize = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|length| length.parse().ok())
        .expect("the answer has a length");
    let start = end_of_head + 4;
    while answer.len() < start + length {
        read_more(http, &mut buffer, &mut answer);
    }
    String::from_utf8_lossy(&answer[start..]).into_owned()
}

#[track_caller]
fn read_more(http: &mut Stream, buffer: &mut [u8], answer: &mut Vec<u8>) {
    let length = http.read(buffer).expect("the server answers");
    assert!(length > 0, "the answer is cut off");
    answer.extend(&buffer[..length]);
}
