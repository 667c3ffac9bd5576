//! Whole connections: a client of a few lines on the one end, [`Connection`] on the other.

use bytes::BytesMut;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::timeout;

use super::headers::Deflater;
use super::*;

/// The other side.
struct Client {
    io: DuplexStream,
    deflater: Deflater,
}

impl Client {
    fn connected() -> (Client, Connection) {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        (Client { io: ours, deflater: Deflater::default() }, Connection::start(theirs))
    }

    async fn send(&mut self, frame: Frame) {
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        self.io.write_all(&out).await.unwrap();
    }

    async fn open(&mut self, id: u32, stream_type: &str) {
        let block = self.deflater.block(&Headers(vec![("streamtype".to_owned(), stream_type.to_owned())]));
        self.send(Frame::SynStream { id, fin: false, block }).await;
    }

    async fn data(&mut self, id: u32, bytes: &'static [u8], fin: bool) {
        self.send(Frame::Data { id, fin, bytes: Bytes::from_static(bytes) }).await;
    }

    async fn hear(&mut self) -> Frame {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await.unwrap();
        match Head::parse(head).unwrap() {
            Head::Data { id, fin, length } => {
                let mut bytes = vec![0; length];
                self.io.read_exact(&mut bytes).await.unwrap();
                Frame::Data { id, fin, bytes: bytes.into() }
            }
            Head::Control { kind, flags, length } => {
                let mut body = vec![0; length];
                self.io.read_exact(&mut body).await.unwrap();
                Frame::parse(kind, flags, &body).unwrap().unwrap()
            }
        }
    }
}

#[tokio::test]
async fn a_stream_has_two_directions_that_end_apart() {
    let (mut client, mut connection) = Client::connected();
    client.open(1, "data").await;
    client.data(1, b"hello", true).await;
    let mut stream = connection.next().await.unwrap();
    assert_eq!((stream.id, stream.headers.get("streamType")), (1, "data"));
    assert!(matches!(client.hear().await, Frame::SynReply { id: 1, fin: false, .. }));
    assert_eq!(stream.input.next().await.unwrap(), "hello");
    assert_eq!(stream.input.next().await, None);
    stream.output.write(Bytes::from_static(b"back")).await.unwrap();
    assert_eq!(client.hear().await, Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"back") });
    stream.output.close().await;
    assert_eq!(client.hear().await, Frame::Data { id: 1, fin: true, bytes: Bytes::new() });
    assert!(connection.shared.streams.lock().is_empty(), "an ended stream is forgotten");
    // Its number is not used again, and what comes late is nobody's.
    client.data(1, b"late", false).await;
    client.open(1, "data").await;
    assert_eq!(client.hear().await, Frame::rst(1, RstStatus::ProtocolError));
    client.send(Frame::Ping { id: 7 }).await;
    assert_eq!(client.hear().await, Frame::Ping { id: 7 });
    let ended = connection.ended();
    drop(client);
    ended.cancelled().await;
    assert!(connection.next().await.is_none());
}

#[tokio::test]
async fn an_abandoned_stream_is_reset_and_the_others_go_on() {
    let (mut client, mut connection) = Client::connected();
    for id in [1, 3] {
        client.open(id, "data").await;
    }
    let (first, mut second) = (connection.next().await.unwrap(), connection.next().await.unwrap());
    for id in [1, 3] {
        assert!(matches!(client.hear().await, Frame::SynReply { id: it, .. } if it == id));
    }
    drop(first);
    assert_eq!(client.hear().await, Frame::rst(1, RstStatus::Cancel));
    client.data(1, b"for nobody", false).await;
    client.data(3, b"here", false).await;
    assert_eq!(second.input.next().await.unwrap(), "here");
    client.send(Frame::rst(3, RstStatus::Cancel)).await;
    assert_eq!(second.input.next().await, None);
    assert!(second.output.write(Bytes::from_static(b"x")).await.is_err());
}

#[tokio::test]
async fn more_streams_than_the_limit_are_refused() {
    let (mut client, mut connection) = Client::connected();
    let mut held = Vec::new();
    for at in 0..STREAMS_MAX as u32 {
        client.open(1 + 2 * at, "data").await;
        assert!(matches!(client.hear().await, Frame::SynReply { .. }));
        held.push(connection.next().await.unwrap());
    }
    let id = 1 + 2 * STREAMS_MAX as u32;
    client.open(id, "data").await;
    assert_eq!(client.hear().await, Frame::rst(id, RstStatus::RefusedStream));
    held.pop();
    client.open(id + 2, "data").await;
    assert!(connection.next().await.is_some());
}

#[tokio::test]
async fn who_knows_flow_control_is_sent_no_more_than_allowed() {
    let (mut client, mut connection) = Client::connected();
    client.send(Frame::Settings { entries: vec![(frame::INITIAL_WINDOW_SIZE, 4)] }).await;
    client.open(1, "data").await;
    let stream = connection.next().await.unwrap();
    assert!(matches!(client.hear().await, Frame::SynReply { .. }));
    let writing =
        tokio::spawn(async move { stream.output.write(Bytes::from_static(b"123456789")).await.map(|()| stream) });
    assert_eq!(client.hear().await, Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"1234") });
    client.send(Frame::WindowUpdate { id: 1, delta: 2 }).await;
    assert_eq!(client.hear().await, Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"56") });
    client.send(Frame::WindowUpdate { id: 1, delta: 100 }).await;
    assert_eq!(client.hear().await, Frame::Data { id: 1, fin: false, bytes: Bytes::from_static(b"789") });
    assert!(writing.await.unwrap().is_ok());
}

#[tokio::test]
async fn what_is_read_is_given_back_as_credit() {
    let (mut client, mut connection) = Client::connected();
    client.open(1, "data").await;
    let mut stream = connection.next().await.unwrap();
    assert!(matches!(client.hear().await, Frame::SynReply { .. }));
    client.send(Frame::Data { id: 1, fin: false, bytes: vec![0; 2 * PIECE_BYTES].into() }).await;
    for _ in 0..2 {
        assert_eq!(stream.input.next().await.unwrap().len(), PIECE_BYTES);
    }
    let mut given = BTreeMap::new();
    while given.values().sum::<u32>() < 4 * PIECE_BYTES as u32 {
        let Frame::WindowUpdate { id, delta } = client.hear().await else { panic!("no credit") };
        *given.entry(id).or_default() += delta;
    }
    assert_eq!(given, BTreeMap::from([(0, 2 * PIECE_BYTES as u32), (1, 2 * PIECE_BYTES as u32)]));
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_up_the_other_side() {
    let (ours, theirs) = tokio::io::duplex(PIECE_BYTES);
    let mut client = Client { io: ours, deflater: Deflater::default() };
    let mut connection = Connection::start(theirs);
    client.open(1, "data").await;
    let _stream = connection.next().await.unwrap();
    let flood = async {
        for _ in 0..1000 {
            client.send(Frame::Data { id: 1, fin: false, bytes: vec![0; PIECE_BYTES].into() }).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_millis(200), flood).await.is_err());
}

#[tokio::test]
async fn nonsense_ends_the_connection() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x80\x03\0\x01\0\0\0\x0e\0\0\0\x01\0\0\0\0\0\0nope",
        b"\x80\x03\0\x01\0\xff\xff\xff",
    ] {
        let (mut client, mut connection) = Client::connected();
        client.io.write_all(bytes).await.unwrap();
        if bytes[0] == b'G' {
            // A frame of data for a stream that is not there, which announces more than comes.
            client.io.shutdown().await.unwrap();
        }
        let ended = tokio::time::timeout(Duration::from_secs(5), connection.next()).await;
        assert!(ended.expect("it ends").is_none());
    }
}

/// A control frame of any kind with any body, or data for any stream, or bytes that are no frame.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let control = (0u16..12, any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(kind, flags, body)| {
        let length = (body.len() as u32).to_be_bytes();
        let head = [&[0x80, 3], &kind.to_be_bytes()[..], &[flags], &length[1..]].concat();
        [head, body].concat()
    });
    let data = (0u32..8, any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(id, fin, body)| {
        let mut out = BytesMut::new();
        Frame::Data { id, fin, bytes: body.into() }.encode(&mut out);
        out.to_vec()
    });
    prop_oneof![4 => control, 4 => data, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a client sends, before and after it has opened a stream, the connection goes on or ends, and its end is the end of all.
    #[test]
    fn any_client_is_survived(frames in prop::collection::vec(anything(), 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut client, mut connection) = Client::connected();
            client.open(1, "data").await;
            let mut stream = connection.next().await.unwrap();
            for it in &frames {
                // It may have ended already.
                if client.io.write_all(it).await.is_err() {
                    break;
                }
            }
            let _ = client.io.shutdown().await;
            let ending = async {
                while stream.input.next().await.is_some() {}
                while connection.next().await.is_some() {}
                connection.ended().cancelled().await;
            };
            timeout(Duration::from_secs(20), ending).await.expect("it ends with its client");
            assert!(stream.output.write(Bytes::from_static(b"x")).await.is_err());
        });
    }
}
