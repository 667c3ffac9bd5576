//! The form of a WebSocket's frames on the wire.
//!
//! In and out: heads and bytes. It reads no stream and keeps no state. Source: RFC 6455, section 5.2.

use bytes::{BufMut, BytesMut};

/// The most bytes that a control frame carries (section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Behind the first two bytes: a length of up to eight, and a mask of four.
pub const REST_BYTES_MAX: usize = 12;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

/// The head of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub opcode: Opcode,
    /// Whether it ends its message.
    pub last: bool,
    pub length: u64,
    pub mask: [u8; 4],
}

/// How many bytes of the head follow its first two.
pub fn rest_bytes(start: [u8; 2]) -> usize {
    let length = match start[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    length + if start[1] & 0x80 == 0 { 0 } else { 4 }
}

impl Head {
    /// Reads a head of which `rest` is what follows the first two bytes.
    ///
    /// # Errors
    /// For what a client may not send.
    pub fn parse(start: [u8; 2], rest: &[u8]) -> Result<Self, &'static str> {
        if start[0] & 0x70 != 0 {
            return Err("an extension that was not agreed on");
        }
        let opcode = match start[0] & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err("a frame of an unknown kind"),
        };
        if start[1] & 0x80 == 0 {
            return Err("a client's frame is not masked");
        }
        let (length, mask) = rest.split_last_chunk::<4>().ok_or("a head is cut")?;
        let number = length.iter().fold(0u64, |sum, it| sum << 8 | u64::from(*it));
        let length = match start[1] & 0x7f {
            short @ 0..=125 => u64::from(short),
            _ if number > i64::MAX as u64 => return Err("a frame of more than 2⁶³ bytes"),
            _ => number,
        };
        Ok(Head { opcode, last: start[0] & 0x80 != 0, length, mask: *mask })
    }
}

/// Appends one whole frame of a server's.
pub fn encode(opcode: Opcode, payload: &[u8], out: &mut BytesMut) {
    out.put_u8(0x80 | opcode as u8);
    match payload.len() {
        length @ 0..=125 => out.put_u8(length as u8),
        length @ 126..=0xffff => {
            out.put_u8(126);
            out.put_u16(length as u16);
        }
        length => {
            out.put_u8(127);
            out.put_u64(length as u64);
        }
    }
    out.put_slice(payload);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(wire: &[u8], expected: Result<(Opcode, bool, u64), &str>) {
        let start = [wire[0], wire[1]];
        assert_eq!(rest_bytes(start), wire.len() - 2);
        let head = Head::parse(start, &wire[2..]);
        assert_eq!(head.map(|it| (it.opcode, it.last, it.length)), expected);
    }

    #[test]
    fn heads_are_read() {
        check(&[0x82, 0x85, 1, 2, 3, 4], Ok((Opcode::Binary, true, 5)));
        check(&[0x01, 0xfe, 0x12, 0x34, 1, 2, 3, 4], Ok((Opcode::Text, false, 0x1234)));
        check(&[0x80, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4], Ok((Opcode::Continuation, true, 1 << 32)));
        check(&[0x88, 0x80, 1, 2, 3, 4], Ok((Opcode::Close, true, 0)));
        check(&[0x82, 0x05], Err("a client's frame is not masked"));
        check(&[0x83, 0x80, 1, 2, 3, 4], Err("a frame of an unknown kind"));
        check(&[0xc2, 0x80, 1, 2, 3, 4], Err("an extension that was not agreed on"));
        check(&[0x82, 0xff, 255, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4], Err("a frame of more than 2⁶³ bytes"));
    }

    #[test]
    fn frames_are_written() {
        let written = |length: usize| {
            let mut out = BytesMut::new();
            encode(Opcode::Binary, &vec![7; length], &mut out);
            (out[..out.len() - length].to_vec(), out.len() - length)
        };
        assert_eq!(written(0), (vec![0x82, 0], 2));
        assert_eq!(written(125), (vec![0x82, 125], 2));
        assert_eq!(written(126), (vec![0x82, 126, 0, 126], 4));
        assert_eq!(written(65_536), (vec![0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 10));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_refused(start: [u8; 2], rest: Vec<u8>) {
            let _ = Head::parse(start, &rest);
        }
    }
}
