//! Sessions with commands in the runtime `native`'s containers. Needs root and Debian's busybox-static.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/pod.rs"]
mod pod;

use std::time::{Duration, Instant};

use orlop_agent::runtime::native::NativeRuntime;
use orlop_agent::runtime::session::{AttachSpec, ExecSpec, Session, TerminalSize};
use orlop_agent::runtime::{ContainerSpec, Runtime, RuntimeError};
use pod::{WITHIN, sandbox, script, with_node};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What goes through at once: far more than all buffers on the way.
const LARGE_BYTES: usize = 100 << 20;

fn words(it: &[&str]) -> Vec<String> {
    it.iter().map(|it| it.to_string()).collect()
}

/// A command with all streams.
fn with_streams(command: &[&str]) -> ExecSpec {
    ExecSpec { command: words(command), tty: false, stdin: true, stdout: true, stderr: true }
}

/// All that a session says, and its exit code.
async fn heard(session: Session) -> (String, String, i32) {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let all = async |output: Option<orlop_agent::runtime::session::Output>| {
        let mut text = Vec::new();
        if let Some(mut it) = output {
            it.read_to_end(&mut text).await.unwrap();
        }
        String::from_utf8(text).unwrap()
    };
    let (out, err, code) =
        tokio::time::timeout(WITHIN, async { tokio::join!(all(stdout), all(stderr), exit) }).await.unwrap();
    drop((stdin, resize));
    (out, err, code.unwrap())
}

/// All streams of a container's own process.
const WHOLE: AttachSpec = AttachSpec { stdin: true, stdout: true, stderr: true };

/// Runs a test with a container that runs a script and is made as `with` says.
async fn running(text: &str, with: impl FnOnce(&mut ContainerSpec), test: impl AsyncFnOnce(&NativeRuntime, &str)) {
    with_node(async |node| {
        let runtime = node.open().await;
        let spec = sandbox("joined");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let mut target = script(&spec.pod, "main", text);
        with(&mut target);
        let id = runtime.create_container(&state.id, &target).await.unwrap();
        let early = runtime.attach_session(&id, &WHOLE).await;
        assert!(matches!(early, Err(RuntimeError::NotFound(_))), "{early:?}");
        runtime.start_container(&id).await.unwrap();
        test(&runtime, &id).await;
    })
    .await;
}

#[tokio::test]
async fn who_is_attached_hears_and_speaks() {
    let text = "while read it; do echo got $it; echo and $it >&2; done; echo ended";
    let once = |it: &mut ContainerSpec| (it.stdin, it.stdin_once) = (true, true);
    running(text, once, async |runtime, id| {
        let listener = runtime.attach_session(id, &AttachSpec { stdout: true, ..AttachSpec::default() }).await.unwrap();
        assert!(listener.stdin.is_none() && listener.stderr.is_none() && listener.resize.is_none());
        let mut first = runtime.attach_session(id, &WHOLE).await.unwrap();
        // The input is given once.
        let second = runtime.attach_session(id, &WHOLE).await.unwrap();
        assert!(second.stdin.is_none());
        drop(second);
        let mut stdin = first.stdin.take().unwrap();
        stdin.write_all(b"one\n").await.unwrap();
        stdin.shutdown().await.unwrap();
        let (out, err, code) = heard(first).await;
        assert_eq!((out.as_str(), err.as_str(), code), ("got one\nended\n", "and one\n", 0));
        assert_eq!(heard(listener).await.0, "got one\nended\n");
    })
    .await;
    // Without that, the input outlives its clients.
    let kept = |it: &mut ContainerSpec| it.stdin = true;
    running(text, kept, async |runtime, id| {
        for word in ["one", "two"] {
            let mut session = runtime.attach_session(id, &WHOLE).await.unwrap();
            session.stdin.take().unwrap().write_all(format!("{word}\n").as_bytes()).await.unwrap();
            let mut answer = vec![0; "got one\n".len()];
            let output = session.stdout.as_mut().unwrap();
            tokio::time::timeout(WITHIN, output.read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(answer, format!("got {word}\n").as_bytes());
        }
    })
    .await;
    // What is not open cannot be written into.
    running(
        "sleep 2; echo heard",
        |_| (),
        async |runtime, id| {
            let session = runtime.attach_session(id, &WHOLE).await.unwrap();
            assert!(session.stdin.is_none());
            assert_eq!(heard(session).await.0, "heard\n");
        },
    )
    .await;
}

#[tokio::test]
async fn a_terminal_can_be_joined() {
    let with = |it: &mut ContainerSpec| (it.stdin, it.tty) = (true, true);
    running("read it; busybox stty size; echo got $it", with, async |runtime, id| {
        let mut session = runtime.attach_session(id, &WHOLE).await.unwrap();
        assert!(session.stderr.is_none());
        let sizes = session.resize.take().unwrap();
        sizes.send(TerminalSize { width: 77, height: 11 }).await.unwrap();
        tokio::time::timeout(WITHIN, async {
            while sizes.capacity() != sizes.max_capacity() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        session.stdin.as_mut().unwrap().write_all(b"typed\n").await.unwrap();
        assert_eq!(heard(session).await.0, "typed\r\n11 77\r\ngot typed\r\n");
    })
    .await;
}

/// Runs a test with a container that sleeps, as a user that is not root where one is named.
async fn inside(user: Option<&'static str>, test: impl AsyncFnOnce(&NativeRuntime, &str)) {
    with_node(async |node| {
        let runtime = node.open().await;
        let spec = sandbox("target");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let mut target = script(&spec.pod, "main", "while :; do sleep 1; done");
        target.user = user.map(str::to_owned);
        let id = runtime.create_container(&state.id, &target).await.unwrap();
        let early = runtime.exec_session(&id, &with_streams(&["true"])).await;
        assert!(matches!(early, Err(RuntimeError::NotFound(_))), "{early:?}");
        runtime.start_container(&id).await.unwrap();
        test(&runtime, &id).await;
    })
    .await;
}

/// What processes the container has, by their command lines.
async fn processes(runtime: &NativeRuntime, id: &str) -> String {
    let command = words(&["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
    String::from_utf8(runtime.exec(id, &command, WITHIN, 4096).await.unwrap().output).unwrap()
}

#[tokio::test]
async fn commands_are_talked_to() {
    inside(Some("web"), async |runtime, id| {
        let open = async |command: &[&str]| runtime.exec_session(id, &with_streams(command)).await.unwrap();
        let said = heard(open(&["sh", "-c", "id -un; echo oops >/dev/stderr; echo again >/dev/stdout; exit 7"]).await);
        assert_eq!(said.await, ("web\nagain\n".into(), "oops\n".into(), 7));
        let killed = heard(open(&["sh", "-c", "kill -KILL $$"]).await).await;
        assert_eq!(killed.2, 137);

        // The end of the input is heard, and output goes on behind it.
        let mut session = open(&["sh", "-c", "cat; echo end"]).await;
        let mut stdin = session.stdin.take().unwrap();
        stdin.write_all(b"text").await.unwrap();
        stdin.shutdown().await.unwrap();
        assert_eq!(heard(session).await, ("textend\n".into(), String::new(), 0));
        drop(stdin);

        // Streams that nobody wants are nothing to read and nowhere to write.
        let bare = ExecSpec { command: words(&["sh", "-c", "cat; echo x; exit 2"]), ..ExecSpec::default() };
        let session = runtime.exec_session(id, &bare).await.unwrap();
        assert!(session.stdin.is_none() && session.stdout.is_none() && session.stderr.is_none());
        assert_eq!(heard(session).await.2, 2);

        let missing = runtime.exec_session(id, &with_streams(&["no-such-program"])).await;
        let expected = "exec: \"no-such-program\": executable file not found in $PATH";
        assert!(matches!(&missing, Err(RuntimeError::Other(it)) if it == expected), "{missing:?}");
        let forbidden = runtime.exec_session(id, &with_streams(&["/etc/passwd"])).await;
        assert!(
            matches!(&forbidden, Err(RuntimeError::Other(it)) if it.contains("Permission denied")),
            "{forbidden:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn a_terminal_has_a_name_and_a_size() {
    inside(Some("web"), async |runtime, id| {
        let text = "busybox tty; echo ready; read x; busybox stty size; echo got $x; \
                    echo to the terminal >/dev/tty; exit 4";
        let spec = ExecSpec { tty: true, ..with_streams(&["sh", "-c", text]) };
        let mut session = runtime.exec_session(id, &spec).await.unwrap();
        assert!(session.stderr.is_none());
        let output = session.stdout.as_mut().unwrap();
        let mut first = String::new();
        while !first.contains("ready\r\n") {
            let mut piece = [0; 256];
            let count = tokio::time::timeout(WITHIN, output.read(&mut piece)).await.unwrap().unwrap();
            assert_ne!(count, 0, "{first}");
            first.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        assert_eq!(first, "/dev/pts/0\r\nready\r\n");
        // The size is there before what is typed after it.
        let sizes = session.resize.take().unwrap();
        sizes.send(TerminalSize { width: 101, height: 33 }).await.unwrap();
        tokio::time::timeout(WITHIN, async {
            while sizes.capacity() != sizes.max_capacity() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
        session.stdin.as_mut().unwrap().write_all(b"typed\n").await.unwrap();
        let (rest, _, code) = heard(session).await;
        assert_eq!((rest.as_str(), code), ("typed\r\n33 101\r\ngot typed\r\nto the terminal\r\n", 4));

        // What is shown to nobody holds nobody up.
        let many = words(&["sh", "-c", "busybox yes | busybox head -n 100000"]);
        let unseen = ExecSpec { command: many, tty: true, ..ExecSpec::default() };
        assert_eq!(heard(runtime.exec_session(id, &unseen).await.unwrap()).await.2, 0);
    })
    .await;
}

#[tokio::test]
async fn much_goes_through_whole() {
    inside(None, async |runtime, id| {
        let began = Instant::now();
        let mut session = runtime.exec_session(id, &with_streams(&["cat"])).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        let byte = |at: usize| u8::try_from(at % 251).unwrap();
        let giving = async move {
            let piece: Vec<u8> = (0..251 * 256).map(byte).collect();
            let mut left = LARGE_BYTES;
            while left > 0 {
                let count = left.min(piece.len());
                stdin.write_all(&piece[..count]).await.unwrap();
                left -= count;
            }
            stdin.shutdown().await.unwrap();
        };
        let mut output = session.stdout.take().unwrap();
        let taking = async move {
            let (mut piece, mut seen) = (vec![0; 64 << 10], 0);
            loop {
                let count = output.read(&mut piece).await.unwrap();
                assert!(piece[..count].iter().enumerate().all(|(at, it)| *it == byte(seen + at)), "after {seen} bytes");
                seen += count;
                if count == 0 {
                    return seen;
                }
            }
        };
        let both = async { tokio::join!(giving, taking, session.exit) };
        let ((), seen, code) = tokio::time::timeout(WITHIN * 2, both).await.unwrap();
        assert_eq!((seen, code.unwrap()), (LARGE_BYTES, 0));
        println!("{:.0} MB/s there and back", LARGE_BYTES as f64 / began.elapsed().as_secs_f64() / 1e6);
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_command_is_gone() {
    inside(None, async |runtime, id| {
        for tty in [false, true] {
            let spec = ExecSpec { tty, ..with_streams(&["sh", "-c", "sleep 1234; true"]) };
            let session = runtime.exec_session(id, &spec).await.unwrap();
            assert!(processes(runtime, id).await.contains("sleep 1234"));
            drop(session);
            let gone = async {
                while processes(runtime, id).await.contains("sleep 1234") {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            tokio::time::timeout(WITHIN, gone).await.expect("the command is killed with its children");
        }
        // More sessions than a pod may have are refused, and leave commands of probes their room.
        let mut held = Vec::new();
        let refused = loop {
            match runtime.exec_session(id, &with_streams(&["sleep", "1234"])).await {
                Ok(it) => held.push(it),
                Err(error) => break error,
            }
        };
        assert_eq!(held.len(), 32, "{refused}");
        assert!(refused.to_string().contains("too many sessions"), "{refused}");
        assert!(processes(runtime, id).await.contains("sleep 1234"));
    })
    .await;
}
