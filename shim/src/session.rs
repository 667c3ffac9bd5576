//! A connection of the agent's: bytes in, requests out; answers in, bytes out. It never waits for its peer.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use crate::protocol::{self, FRAME_MAX_BYTES, Request, Response};

/// How much may wait for a peer that does not read, in bytes: an exec's output and some answers. Then the connection is closed.
const SEND_MAX_BYTES: usize = 2 * FRAME_MAX_BYTES;

/// One read, in bytes: requests are small.
const READ_BYTES: usize = 4 << 10;

/// A connection.
#[derive(Debug)]
pub struct Session {
    pub stream: UnixStream,
    received: Vec<u8>,
    to_send: Vec<u8>,
    /// A request is under way; the next one waits until it is answered.
    busy: bool,
    /// Told of changes from now on.
    pub subscribed: bool,
}

impl Session {
    /// Over a fresh connection.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), to_send: Vec::new(), busy: false, subscribed: false })
    }

    /// Whether something waits to be sent.
    pub fn is_sending(&self) -> bool {
        !self.to_send.is_empty()
    }

    /// Takes in what has come.
    ///
    /// # Errors
    /// The peer is gone or not to be listened to.
    pub fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        loop {
            if self.received.len() > FRAME_MAX_BYTES + 4 {
                return Err(io::Error::other("requests without waiting for answers"));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next request, if it is whole and its turn.
    ///
    /// # Errors
    /// What came is no request.
    pub fn next(&mut self) -> io::Result<Option<Request>> {
        if self.busy {
            return Ok(None);
        }
        let Some(frame) = protocol::take_frame(&mut self.received).map_err(io::Error::other)? else { return Ok(None) };
        let request = serde_json::from_slice(&frame)?;
        self.busy = true;
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Ok(Some(request))
    }

    /// Answers the request that is under way.
    ///
    /// # Errors
    /// The peer is gone or does not read.
    pub fn answer(&mut self, response: &Response, output: Option<&[u8]>) -> io::Result<()> {
        self.busy = false;
        self.to_send.extend(protocol::message(response).map_err(io::Error::other)?);
        if let Some(it) = output {
            self.to_send.extend(protocol::frame(it).map_err(io::Error::other)?);
        }
        self.send()
    }

    /// Tells a subscriber of a change.
    ///
    /// # Errors
    /// The peer is gone or does not read.
    pub fn tell(&mut self, event: &Response) -> io::Result<()> {
        self.to_send.extend(protocol::message(event).map_err(io::Error::other)?);
        self.send()
    }

    /// Sends what waits, as far as the peer takes it.
    ///
    /// # Errors
    /// The peer is gone or does not read.
    pub fn send(&mut self) -> io::Result<()> {
        while !self.to_send.is_empty() {
            match self.stream.write(&self.to_send) {
                Ok(count) => drop(self.to_send.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.to_send.len() > SEND_MAX_BYTES {
            return Err(io::Error::other("the peer does not read"));
        }
        if self.to_send.is_empty() {
            self.to_send = Vec::new();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_take_turns_and_a_deaf_peer_is_left() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut session = Session::new(ours).unwrap();
        for _ in 0..2 {
            theirs.write_all(&protocol::message(&Request::Ping).unwrap()).unwrap();
        }
        session.receive().unwrap();
        assert_eq!(session.next().unwrap(), Some(Request::Ping));
        assert_eq!(session.next().unwrap(), None);
        session.answer(&Response::Done, None).unwrap();
        assert_eq!(session.next().unwrap(), Some(Request::Ping));
        let much = vec![0; FRAME_MAX_BYTES];
        let told = (0..4).map(|_| session.answer(&Response::Executed { exit_code: 0 }, Some(&much)));
        assert!(told.filter(Result::is_err).count() > 0);
        drop(theirs);
        assert!(session.receive().is_err());
    }

    #[test]
    fn nonsense_ends_a_session() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut session = Session::new(ours).unwrap();
        theirs.write_all(&protocol::frame(b"{\"do\":\"dance\"}").unwrap()).unwrap();
        session.receive().unwrap();
        assert!(session.next().is_err());
    }
}
