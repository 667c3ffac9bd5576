//! Sessions that are played: a process of a few lines on the one end, a client of SPDY's or a WebSocket's on the other.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, DuplexStream};
use tokio::time::timeout;

use super::outcome::Asked;
use super::*;

/// A process that copies its input to its output, says `bye` on its error when the input ends, and ends with this code.
fn echo(code: i32) -> (Session, Arc<Mutex<Vec<TerminalSize>>>) {
    let (stdin, mut process_stdin) = tokio::io::duplex(1 << 10);
    let (mut process_stdout, stdout) = tokio::io::duplex(1 << 10);
    let (mut process_stderr, stderr) = tokio::io::duplex(1 << 10);
    let (resize, mut sizes) = mpsc::channel(4);
    let seen = Arc::<Mutex<Vec<TerminalSize>>>::default();
    let keeping = seen.clone();
    tokio::spawn(async move {
        while let Some(it) = sizes.recv().await {
            keeping.lock().push(it);
        }
    });
    let exit = tokio::spawn(async move {
        tokio::io::copy(&mut process_stdin, &mut process_stdout).await.unwrap();
        process_stderr.write_all(b"bye").await.unwrap();
        code
    });
    let session = Session {
        stdin: Some(Box::new(stdin)),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        resize: Some(resize),
        exit: exit.map(|it| Ok(it.unwrap())).boxed(),
    };
    (session, seen)
}

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, tty: false };

/// What a client has heard, by channel; none is its close.
async fn heard(client: &mut DuplexStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    client.read_exact(&mut head).await.unwrap();
    assert!(head[1] < 126, "a short message");
    let mut payload = vec![0; usize::from(head[1])];
    client.read_exact(&mut payload).await.unwrap();
    if head[0] == 0x88 {
        return None;
    }
    Some((payload[0], payload.split_off(1)))
}

async fn say(client: &mut DuplexStream, payload: &[u8]) {
    // With a mask of zeros.
    let frame = [&[0x82, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat();
    client.write_all(&frame).await.unwrap();
}

#[tokio::test]
async fn a_websocket_carries_all_streams_and_the_end_of_the_input() {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let wanted = Wanted { tty: true, ..ALL };
    let (session, sizes) = echo(3);
    let begin = async move { Ok(session) }.boxed();
    let running = tokio::spawn(websocket::run(server, "v5.channel.k8s.io", Asked::Exec, wanted, begin));
    assert_eq!(heard(&mut client).await, Some((1, Vec::new())));
    say(&mut client, b"\x04{\"Width\":80,\"Height\":24}").await;
    say(&mut client, b"\0hello").await;
    assert_eq!(heard(&mut client).await, Some((1, b"hello".to_vec())));
    say(&mut client, b"\xff\0").await;
    assert_eq!(heard(&mut client).await, Some((2, b"bye".to_vec())));
    let mut status = Vec::new();
    let mut head = [0; 4];
    client.read_exact(&mut head).await.unwrap();
    assert_eq!(head[..2], [0x82, 126]);
    status.resize(usize::from(u16::from_be_bytes([head[2], head[3]])), 0);
    client.read_exact(&mut status).await.unwrap();
    assert_eq!(status[0], 3);
    let status: serde_json::Value = serde_json::from_slice(&status[1..]).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    assert_eq!(heard(&mut client).await, None);
    assert_eq!(*sizes.lock(), [TerminalSize { width: 80, height: 24 }]);
    drop(client);
    timeout(Duration::from_secs(5), running).await.expect("it ends with the client").unwrap();
}

#[tokio::test]
async fn a_client_that_goes_abandons_its_session() {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    struct Told(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().map(|it| it.send(()));
        }
    }
    let (sender, abandoned) = tokio::sync::oneshot::channel();
    let guard = Told(Some(sender));
    let exit = async move {
        let _guard = guard;
        std::future::pending().await
    };
    let session = Session { stdin: None, stdout: None, stderr: None, resize: None, exit: exit.boxed() };
    let begin = async move { Ok(session) }.boxed();
    tokio::spawn(websocket::run(server, "v4.channel.k8s.io", Asked::Exec, ALL, begin));
    assert_eq!(heard(&mut client).await, Some((1, Vec::new())));
    drop(client);
    timeout(Duration::from_secs(5), abandoned).await.expect("the session is dropped").unwrap();
}

#[tokio::test(start_paused = true)]
async fn streams_that_do_not_come_are_not_waited_for_long() {
    let (_client, server) = tokio::io::duplex(1 << 16);
    let begin = async { panic!("nothing is begun") }.boxed();
    let running = spdy::run(server, "v4.channel.k8s.io", Asked::Exec, ALL, begin);
    timeout(Duration::from_secs(31), running).await.expect("30 s are enough");
}

#[tokio::test]
async fn sizes_come_one_behind_the_other() {
    let pieces = [r#"{"Width":80,"#, r#""Height":24}{"Width":0,"Height":0}x}"#, r#"{"Width":100,"Height":50}"#];
    let from = futures::stream::iter(pieces.map(Bytes::from)).boxed();
    let (sender, mut receiver) = mpsc::channel(8);
    take_sizes(Some(from), Some(sender)).await;
    let mut seen = Vec::new();
    while let Some(it) = receiver.recv().await {
        seen.push((it.width, it.height));
    }
    assert_eq!(seen, [(80, 24), (100, 50)]);
}
