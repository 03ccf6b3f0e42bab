// SPDX-License-Identifier: GPL-2.0-or-later

//! Clients: sockets bound to a source address of the test's choice.

use std::io::{ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect, recv, setsockopt,
    socket, sockopt,
};
use openssl::ssl::SslStream;

use super::stream::Stream;
use super::tls;

/// The transport of a client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Via {
    Tcp,
    Tls,
}

/// One of the 16 million source addresses that every machine has.
pub fn source(a: u8, b: u8, c: u8) -> IpAddr {
    Ipv4Addr::new(127, a, b, c).into()
}

/// A connected socket.
pub struct Client(Layer);

enum Layer {
    Tcp(Stream),
    Tls(SslStream<Stream>),
}

impl Client {
    /// Connects. The answer to a keep-alive shows later whether the server admits it.
    #[track_caller]
    pub fn connect(from: IpAddr, to: SocketAddr) -> Self {
        let stream = connected(from, to);
        Self(Layer::Tcp(stream.unwrap_or_else(|error| {
            panic!("no connection from {from} to {to}: {error}")
        })))
    }

    /// Connects, unless no process listens there.
    pub fn try_connect(from: IpAddr, to: SocketAddr) -> Option<Self> {
        let stream = connected(from, to).ok()?;
        Some(Self(Layer::Tcp(stream)))
    }

    /// Does the TLS handshake. `None` if the server closed the connection instead.
    pub fn secure(self) -> Option<Self> {
        let Layer::Tcp(stream) = self.0 else {
            panic!("TLS within TLS");
        };
        Some(Self(Layer::Tls(tls::handshake(stream)?)))
    }

    /// Whether the server holds this connection: it either answers a keep-alive or has
    /// closed the connection.
    pub fn is_admitted(&mut self) -> bool {
        let sent = self.keep_alive();
        is_kept_alive(sent.and_then(|()| self.receive(2)))
    }

    /// Sends a keep-alive, whose answer shows whether the server holds this connection.
    pub fn keep_alive(&mut self) -> Result<()> {
        // RFC 5626, 3.5.1: the answer to a double CRLF is a single CRLF.
        self.send(b"\r\n\r\n")
    }

    /// Waits for the answer to [`keep_alive`](Self::keep_alive).
    pub fn is_answered(&mut self) -> bool {
        is_kept_alive(self.receive(2))
    }

    /// Whether there is something to read, or the end of the stream. Does not wait.
    pub fn has_news(&self) -> bool {
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
        recv(self.tcp().as_raw_fd(), &mut [0], flags) != Err(Errno::EAGAIN)
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.0 {
            Layer::Tcp(stream) => stream.write_all(bytes),
            Layer::Tls(stream) => stream.write_all(bytes),
        }
    }

    fn receive(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut answer = vec![0; length];
        match &mut self.0 {
            Layer::Tcp(stream) => stream.read_exact(&mut answer)?,
            Layer::Tls(stream) => stream.read_exact(&mut answer)?,
        }
        Ok(answer)
    }

    /// Sends a SIP request, whose answer must be a 200. Returns the reason phrase.
    #[track_caller]
    pub fn ask(&mut self, user: &str) -> String {
        self.ask_as(user, "test")
    }

    /// The same with this name of the client's software.
    #[track_caller]
    pub fn ask_as(&mut self, user: &str, agent: &str) -> String {
        let request = format!(
            "OPTIONS sip:{user}@localhost SIP/2.0\r\n\
             User-Agent: {agent}\r\n\
             Via: SIP/2.0/TCP localhost;branch=z9hG4bK-1\r\n\
             From: <sip:test@localhost>;tag=1\r\n\
             To: <sip:{user}@localhost>\r\n\
             Call-ID: 1@localhost\r\n\
             CSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let answer = self.exchange(&request);
        let reason = answer.lines().next().unwrap_or_default();
        let reason = reason.strip_prefix("SIP/2.0 200 ");
        reason.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Sends a SIP request. Returns the answer, which must have no body.
    #[track_caller]
    pub fn exchange(&mut self, request: &str) -> String {
        self.send(request.as_bytes())
            .expect("an admitted connection can be written to");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.extend(self.receive(1).expect("the server answers a request"));
        }
        String::from_utf8(answer).expect("SIP is text")
    }

    /// The same as [`ask`](Self::ask) in a frame of the WebSocket that this connection has become.
    #[track_caller]
    pub fn ask_in_frame(&mut self, user: &str) -> String {
        let request = format!(
            "OPTIONS sip:{user}@localhost SIP/2.0\r\n\
             Via: SIP/2.0/WS test.invalid;branch=z9hG4bK-1\r\n\
             From: <sip:test@localhost>;tag=1\r\n\
             To: <sip:{user}@localhost>\r\n\
             Call-ID: 1@localhost\r\n\
             CSeq: 1 OPTIONS\r\n\
             Content-Length: 0\r\n\r\n"
        );
        // RFC 6455, 5.2: a final frame of text, masked, with a length of two bytes.
        let mask = [0x12, 0x34, 0x56, 0x78];
        let length = u16::try_from(request.len()).expect("a short request");
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend(mask);
        let bytes = request.bytes().zip(mask.iter().cycle());
        frame.extend(bytes.map(|(byte, mask)| byte ^ mask));
        self.send(&frame)
            .expect("an admitted connection can be written to");
        let mut receive = |length| self.receive(length).expect("the server answers a request");
        let head = receive(2);
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes([receive(1)[0], receive(1)[0]])),
            short => short.into(),
        };
        let answer = String::from_utf8(receive(length)).expect("SIP is text");
        let reason = answer.lines().next().unwrap_or_default();
        let reason = reason.strip_prefix("SIP/2.0 200 ");
        reason.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// Reads everything that the server sent until it closed the connection.
    #[track_caller]
    pub fn read_until_closed(mut self) -> Vec<u8> {
        let mut answer = Vec::new();
        let end = match &mut self.0 {
            Layer::Tcp(stream) => stream.read_to_end(&mut answer),
            Layer::Tls(stream) => stream.read_to_end(&mut answer),
        };
        match end {
            Ok(_) => answer,
            Err(error) if is_closed(error.kind()) => answer,
            Err(error) => panic!("the server did not close the connection: {error}"),
        }
    }

    /// Closes with a RST instead of a FIN.
    pub fn reset(self) {
        let at_once = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(self.tcp(), sockopt::Linger, &at_once).expect("SO_LINGER can be set");
    }

    fn tcp(&self) -> &TcpStream {
        match &self.0 {
            Layer::Tcp(stream) => stream.socket(),
            Layer::Tls(stream) => stream.get_ref().socket(),
        }
    }
}

fn connected(from: IpAddr, to: SocketAddr) -> Result<Stream> {
    let family = match from {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // The port is chosen at connect(), when the destination is known. So one source can
    // have more connections than there are ports.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    let (socket_fd, from) = (
        socket.as_raw_fd(),
        SockaddrStorage::from(SocketAddr::new(from, 0)),
    );
    bind(socket_fd, &from)?;
    connect(socket_fd, &SockaddrStorage::from(to))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Stream::with_deadline(stream)
}

fn is_kept_alive(answer: Result<Vec<u8>>) -> bool {
    match answer {
        Ok(answer) if answer == b"\r\n" => true,
        Ok(answer) => panic!("a strange answer to a keep-alive: {answer:?}"),
        Err(error) if is_closed(error.kind()) => false,
        Err(error) => panic!("neither answered nor closed: {error}"),
    }
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
    )
}
