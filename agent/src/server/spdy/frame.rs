//! The form of SPDY/3.1's frames on the wire.
//!
//! In and out: bytes and [`Frame`]s, with header blocks still compressed. It reads no stream and keeps no state. Source: "SPDY Protocol - Draft
//! 3.1", section 2.2 and 2.6.

use bytes::{BufMut, Bytes, BytesMut};

/// The longest control frame that is taken: headers of a stream have some hundred bytes.
pub const CONTROL_BYTES_MAX: usize = 64 << 10;

/// The setting that says what may be sent on a new stream.
pub const INITIAL_WINDOW_SIZE: u32 = 7;

const VERSION: u16 = 3;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a frame is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed SPDY: {0}")]
pub struct Malformed(pub &'static str);

/// Why a stream is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RstStatus {
    ProtocolError = 1,
    RefusedStream = 3,
    Cancel = 5,
}

/// The first eight bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    Control { kind: u16, flags: u8, length: usize },
    Data { id: u32, fin: bool, length: usize },
}

impl Head {
    /// Reads a head.
    ///
    /// # Errors
    /// For another version of SPDY.
    pub fn parse(head: [u8; 8]) -> Result<Self, Malformed> {
        let [a, b, c, d, flags, x, y, z] = head;
        let length = u32::from_be_bytes([0, x, y, z]) as usize;
        if a & 0x80 == 0 {
            return Ok(Head::Data { id: u32::from_be_bytes([a, b, c, d]), fin: flags & FIN != 0, length });
        }
        if u16::from_be_bytes([a & 0x7f, b]) != VERSION {
            return Err(Malformed("not version 3"));
        }
        Ok(Head::Control { kind: u16::from_be_bytes([c, d]), flags, length })
    }
}

/// A frame. Header blocks are as they come; those that go are made by the writer, whose compression has the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    SynStream { id: u32, fin: bool, block: Bytes },
    SynReply { id: u32, fin: bool, block: Bytes },
    RstStream { id: u32, status: u32 },
    Settings { entries: Vec<(u32, u32)> },
    Ping { id: u32 },
    GoAway { last: u32, status: u32 },
    Headers { id: u32, fin: bool, block: Bytes },
    WindowUpdate { id: u32, delta: u32 },
    Data { id: u32, fin: bool, bytes: Bytes },
}

impl Frame {
    /// The end of a stream.
    pub fn rst(id: u32, status: RstStatus) -> Self {
        Frame::RstStream { id, status: status as u32 }
    }

    /// Reads the body of a control frame; none for a kind that is not known.
    ///
    /// # Errors
    /// Where the body is not what its kind says.
    pub fn parse(kind: u16, flags: u8, body: &[u8]) -> Result<Option<Self>, Malformed> {
        let short = Malformed("a control frame is too short");
        let number = |at: usize| -> Result<u32, Malformed> {
            let bytes = body.get(at..at + 4).and_then(|it| <[u8; 4]>::try_from(it).ok());
            bytes.map(u32::from_be_bytes).ok_or(short)
        };
        let stream = || number(0).map(|it| it & 0x7fff_ffff);
        let block = |from: usize| body.get(from..).map(Bytes::copy_from_slice).ok_or(short);
        let fin = flags & FIN != 0;
        Ok(Some(match kind {
            // Behind the stream's number: the one it belongs to, its priority, a credential.
            SYN_STREAM => Frame::SynStream { id: stream()?, fin, block: block(10)? },
            SYN_REPLY => Frame::SynReply { id: stream()?, fin, block: block(4)? },
            RST_STREAM => Frame::RstStream { id: stream()?, status: number(4)? },
            SETTINGS => {
                let count = number(0)? as usize;
                if body.len() != 4 + count.saturating_mul(8) {
                    return Err(Malformed("settings of another number than they say"));
                }
                let entry = |at: usize| Ok((number(4 + at * 8)? & 0x00ff_ffff, number(8 + at * 8)?));
                Frame::Settings { entries: (0..count).map(entry).collect::<Result<_, _>>()? }
            }
            PING => Frame::Ping { id: number(0)? },
            GOAWAY => Frame::GoAway { last: stream()?, status: number(4)? },
            HEADERS => Frame::Headers { id: stream()?, fin, block: block(4)? },
            WINDOW_UPDATE => Frame::WindowUpdate { id: stream()?, delta: number(4)? & 0x7fff_ffff },
            _ => return Ok(None),
        }))
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Frame::SynStream { id, fin, block } => {
                control(out, SYN_STREAM, *fin, 10 + block.len());
                out.put_u32(*id);
                out.put_slice(&[0; 6]);
                out.put_slice(block);
            }
            Frame::SynReply { id, fin, block } => {
                control(out, SYN_REPLY, *fin, 4 + block.len());
                out.put_u32(*id);
                out.put_slice(block);
            }
            Frame::RstStream { id, status } => pair(out, RST_STREAM, *id, *status),
            Frame::Settings { entries } => {
                control(out, SETTINGS, false, 4 + 8 * entries.len());
                out.put_u32(entries.len() as u32);
                for (id, value) in entries {
                    out.put_u32(*id);
                    out.put_u32(*value);
                }
            }
            Frame::Ping { id } => {
                control(out, PING, false, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last, status } => pair(out, GOAWAY, *last, *status),
            Frame::Headers { id, fin, block } => {
                control(out, HEADERS, *fin, 4 + block.len());
                out.put_u32(*id);
                out.put_slice(block);
            }
            Frame::WindowUpdate { id, delta } => pair(out, WINDOW_UPDATE, *id, *delta),
            Frame::Data { id, fin, bytes } => {
                out.put_u32(*id);
                head(out, *fin, bytes.len());
                out.put_slice(bytes);
            }
        }
    }
}

fn control(out: &mut BytesMut, kind: u16, fin: bool, length: usize) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    head(out, fin, length);
}

fn head(out: &mut BytesMut, fin: bool, length: usize) {
    out.put_u8(u8::from(fin));
    out.put_uint(length as u64, 3);
}

fn pair(out: &mut BytesMut, kind: u16, one: u32, other: u32) {
    control(out, kind, false, 8);
    out.put_u32(one);
    out.put_u32(other);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The frame has these bytes, and these bytes are the frame.
    #[track_caller]
    fn check(frame: Frame, wire: &[u8]) {
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        assert_eq!(&out[..], wire, "{frame:?}");
        let head: [u8; 8] = wire[..8].try_into().unwrap();
        match Head::parse(head).unwrap() {
            Head::Control { kind, flags, length } => {
                assert_eq!(length, wire.len() - 8);
                assert_eq!(Frame::parse(kind, flags, &wire[8..]).unwrap(), Some(frame));
            }
            Head::Data { id, fin, length } => {
                assert_eq!(length, wire.len() - 8);
                assert_eq!(Frame::Data { id, fin, bytes: Bytes::copy_from_slice(&wire[8..]) }, frame);
            }
        }
    }

    #[test]
    fn frames_have_their_bytes() {
        let block = Bytes::from_static(b"zz");
        check(
            Frame::SynStream { id: 1, fin: true, block: block.clone() },
            b"\x80\x03\0\x01\x01\0\0\x0c\0\0\0\x01\0\0\0\0\0\0zz",
        );
        check(Frame::SynReply { id: 3, fin: false, block: block.clone() }, b"\x80\x03\0\x02\0\0\0\x06\0\0\0\x03zz");
        check(Frame::rst(5, RstStatus::Cancel), b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x05\0\0\0\x05");
        check(
            Frame::Settings { entries: vec![(INITIAL_WINDOW_SIZE, 65536)] },
            b"\x80\x03\0\x04\0\0\0\x0c\0\0\0\x01\0\0\0\x07\0\x01\0\0",
        );
        check(Frame::Ping { id: 7 }, b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x07");
        check(Frame::GoAway { last: 9, status: 0 }, b"\x80\x03\0\x07\0\0\0\x08\0\0\0\x09\0\0\0\0");
        check(Frame::Headers { id: 1, fin: true, block }, b"\x80\x03\0\x08\x01\0\0\x06\0\0\0\x01zz");
        check(Frame::WindowUpdate { id: 1, delta: 258 }, b"\x80\x03\0\x09\0\0\0\x08\0\0\0\x01\0\0\x01\x02");
        check(Frame::Data { id: 1, fin: true, bytes: Bytes::from_static(b"hi") }, b"\0\0\0\x01\x01\0\0\x02hi");
    }

    #[test]
    fn what_is_cut_or_of_another_version_is_refused() {
        assert!(Head::parse([0x80, 2, 0, 1, 0, 0, 0, 0]).is_err());
        for (kind, least) in [
            (SYN_STREAM, 10),
            (SYN_REPLY, 4),
            (RST_STREAM, 8),
            (SETTINGS, 4),
            (PING, 4),
            (GOAWAY, 8),
            (HEADERS, 4),
            (WINDOW_UPDATE, 8),
        ] {
            assert!(Frame::parse(kind, 0, &vec![0; least - 1]).is_err(), "{kind}");
            assert!(Frame::parse(kind, 0, &vec![0; least]).unwrap().is_some(), "{kind}");
        }
        assert!(Frame::parse(SETTINGS, 0, &[255; 12]).is_err());
        assert_eq!(Frame::parse(77, 0, b"x"), Ok(None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_refused(head: [u8; 8], kind in 0u16..12, flags: u8, body: Vec<u8>) {
            let _ = Head::parse(head);
            if let Ok(Some(frame)) = Frame::parse(kind, flags, &body) {
                let mut out = BytesMut::new();
                frame.encode(&mut out);
                prop_assert!(out.len() >= 8);
            }
        }
    }
}
