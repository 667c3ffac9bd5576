//! A connection of the agent's: bytes in, requests out; answers in, bytes out. It never waits for its peer.

use std::io::{self, ErrorKind, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::protocol::{self, DESCRIPTORS_MAX, FRAME_MAX_BYTES, Request, Response};

/// How much may wait for a peer that does not read, in bytes: an exec's output and some answers. Then the connection is closed.
const SEND_MAX_BYTES: usize = 2 * FRAME_MAX_BYTES;

/// One read, in bytes: requests are small.
const READ_BYTES: usize = 4 << 10;

/// A connection.
#[derive(Debug)]
pub struct Session {
    pub stream: UnixStream,
    received: Vec<u8>,
    /// What came with the bytes, until a request takes it.
    handed: Vec<OwnedFd>,
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
        Ok(Self {
            stream,
            received: Vec::new(),
            handed: Vec::new(),
            to_send: Vec::new(),
            busy: false,
            subscribed: false,
        })
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
            match self.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&self.stream, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for it in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = it {
                self.handed.extend(descriptors);
            }
        }
        if self.handed.len() > DESCRIPTORS_MAX {
            return Err(io::Error::other("more descriptors than a request has"));
        }
        Ok(got.bytes)
    }

    /// The descriptors that came with the request.
    pub fn take_handed(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.handed)
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
    use std::io::IoSlice;
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

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
    fn descriptors_come_with_a_request_and_are_counted() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut session = Session::new(ours).unwrap();
        let mut hand = |bytes: &[u8], count: usize| {
            let rights = vec![theirs.as_raw_fd(); count];
            let message = [ControlMessage::ScmRights(&rights)];
            sendmsg::<()>(theirs.as_raw_fd(), &[IoSlice::new(bytes)], &message, MsgFlags::empty(), None).unwrap();
            session.receive().map(|()| session.next().unwrap().map(|_| session.take_handed().len()))
        };
        let request = protocol::message(&Request::Ping).unwrap();
        let (head, tail) = request.split_at(3);
        assert_eq!(hand(head, 1).unwrap(), None);
        assert_eq!(hand(tail, 2).unwrap(), Some(3));
        assert_eq!(hand(head, 2).unwrap(), None);
        assert!(hand(tail, 2).is_err(), "four are more than a request has");
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
