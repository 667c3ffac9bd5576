//! Conversations with what runs in a container of the runtime `native`.
//!
//! In: a container and the wanted streams. Out: a [`Session`]. The pipes are the agent's, their other ends go to the container by way of the shim,
//! and the bytes go straight through the kernel. A terminal comes back from the container's side, where its name is one. The exit holds the
//! connection to the shim: dropping it kills the command.

use std::fs::File;
use std::io::{self, ErrorKind, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use orlop_shim::protocol::{Request, Response};
use orlop_shim::record::{Container as Config, SHIM};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType};
use tokio::io::AsyncWrite;
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio_util::task::AbortOnDropHandle;

use super::line::{Line, refused};
use super::terminal::Terminal;
use super::{Node, container, record};
use crate::runtime::RuntimeError;
use crate::runtime::session::{AttachSpec, ExecSpec, Input, Output, Session};

/// How long a command may take to start; a start is some hundredths of a second, or as long as a machine under load takes.
const START: Duration = Duration::from_secs(60);

/// Runs a command in a container.
///
/// # Errors
/// As [`crate::runtime::Runtime::exec_session`].
pub async fn exec(node: &Node, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError> {
    let name = container::find(node, id)?;
    let folder = name.sandbox.folder(&node.pods);
    let mut ends = Ends::open(spec).map_err(piped)?;
    let request = Request::Session { container: name.key(), command: spec.command.clone(), tty: spec.tty };
    let late = || format!("the command {:?} did not start", spec.command.join(" "));
    let held = Held::begin(folder, &request, std::mem::take(&mut ends.theirs), late).await?;
    ends.session(spec).map_err(piped).map(|it| held.until_the_end(it))
}

/// Joins a container's own process.
///
/// # Errors
/// As [`crate::runtime::Runtime::attach_session`].
pub async fn attach(node: &Node, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError> {
    let name = container::find(node, id)?;
    let config: Option<Config> = record::read(&name.folder(&node.pods), SHIM);
    let config = config.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    // Input that the process was not given would never be read; errors go through the terminal where there is one.
    let (stdin, stderr) = (spec.stdin && config.stdin, spec.stderr && !config.tty);
    let (console, theirs) = socket_pair().map_err(piped)?;
    let mut handed = vec![theirs];
    let mut output = |wanted: bool| -> io::Result<Option<Output>> {
        if !wanted {
            return Ok(None);
        }
        let (reading, writing) = pipe2(OFlag::O_CLOEXEC)?;
        handed.push(writing);
        Ok(Some(Box::new(Receiver::from_owned_fd(reading)?)))
    };
    let (stdout, stderr) = (output(spec.stdout).map_err(piped)?, output(stderr).map_err(piped)?);
    let (out, err) = (stdout.is_some(), stderr.is_some());
    let request = Request::Attach { container: name.key(), stdin, stdout: out, stderr: err };
    let late = || "the shim does not attach".to_owned();
    let held = Held::begin(name.sandbox.folder(&node.pods), &request, handed, late).await?;
    let input = take_handed(&console).map_err(piped)?;
    let never = futures::future::pending().boxed();
    let mut session = Session { stdin: None, stdout, stderr, resize: None, exit: never };
    match input {
        Some(master) if config.tty => {
            let terminal = Terminal::new(master).map_err(piped)?;
            session.stdin = stdin.then(|| Box::new(terminal.clone()) as Input);
            session.resize = Some(terminal.sizes());
            // It takes sizes for as long as the session goes on.
            session.exit = async move {
                let _terminal = terminal;
                std::future::pending().await
            }
            .boxed();
        }
        Some(it) => {
            let pipe = Sender::from_owned_fd(it).map_err(piped)?;
            session.stdin = Some(Box::new(Closing(Some(pipe))));
        }
        None => {}
    }
    Ok(held.until_the_end(session))
}

fn piped(error: io::Error) -> RuntimeError {
    RuntimeError::Other(format!("a session's streams: {error}"))
}

/// A connection on which the shim holds a session, and tells of its end.
struct Held {
    folder: PathBuf,
    line: Line,
}

impl Held {
    /// Asks for a session, which the answer says has begun; `late` says what did not come in time.
    async fn begin(
        folder: PathBuf,
        request: &Request,
        handed: Vec<OwnedFd>,
        late: impl Fn() -> String,
    ) -> Result<Held, RuntimeError> {
        let started = async {
            let mut line = Line::open(&folder).await?;
            line.hand(request, handed).await?;
            let answer = line.receive().await?;
            io::Result::Ok((line, answer))
        };
        let gone = |error: io::Error| RuntimeError::Unavailable(format!("the shim in {}: {error}", folder.display()));
        let started = tokio::time::timeout(START, started).await;
        let (line, answer) = started.map_err(|_| RuntimeError::Timeout(late()))?.map_err(gone)?;
        match answer {
            Response::Done => Ok(Held { folder, line }),
            Response::Failed { why, message } => Err(refused(why, message)),
            other => Err(RuntimeError::Other(format!("the shim answers {other:?}"))),
        }
    }

    /// The session with the end of which the shim tells.
    fn until_the_end(mut self, mut session: Session) -> Session {
        let before = std::mem::replace(&mut session.exit, futures::future::pending().boxed());
        session.exit = async move {
            // It never comes: what it holds is held until the end.
            let _held = before;
            let shim = &self.folder;
            let lost = |error: io::Error| RuntimeError::Unavailable(format!("the shim in {}: {error}", shim.display()));
            match self.line.receive().await.map_err(lost)? {
                Response::Executed { exit_code } => Ok(exit_code),
                Response::Failed { why, message } => Err(refused(why, message)),
                other => Err(RuntimeError::Other(format!("the shim answers {other:?}"))),
            }
        }
        .boxed();
        session
    }
}

fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((UnixStream::from(ours), theirs))
}

/// Both ends of a command's streams.
struct Ends {
    /// What goes to the shim.
    theirs: Vec<OwnedFd>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// Where a terminal will come from.
    console: Option<UnixStream>,
}

impl Ends {
    fn open(spec: &ExecSpec) -> io::Result<Self> {
        let mut ends = Self { theirs: Vec::new(), stdin: None, stdout: None, stderr: None, console: None };
        if spec.tty {
            let (ours, theirs) = socket_pair()?;
            ends.theirs.push(theirs);
            ends.console = Some(ours);
            return Ok(ends);
        }
        let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        let pipe = || pipe2(OFlag::O_CLOEXEC).map_err(io::Error::from);
        let (reading, writing) = if spec.stdin { pipe().map(|it| (it.0, Some(it.1)))? } else { (null()?, None) };
        ends.stdin = writing;
        ends.theirs.push(reading);
        for (wanted, ours) in [(spec.stdout, &mut ends.stdout), (spec.stderr, &mut ends.stderr)] {
            let (reading, writing) = if wanted { pipe().map(|it| (Some(it.0), it.1))? } else { (None, null()?) };
            *ours = reading;
            ends.theirs.push(writing);
        }
        Ok(ends)
    }

    /// The session of a command that has started; its exit never comes, and holds what is to stay until then.
    fn session(self, spec: &ExecSpec) -> io::Result<Session> {
        let never = || futures::future::pending().boxed();
        let Some(console) = self.console else {
            let output = |it: Option<OwnedFd>| -> io::Result<Option<Output>> {
                it.map(|it| Ok(Box::new(Receiver::from_owned_fd(it)?) as Output)).transpose()
            };
            let stdin = self.stdin.map(Sender::from_owned_fd).transpose()?;
            let stdin = stdin.map(|it| Box::new(Closing(Some(it))) as Input);
            let (stdout, stderr) = (output(self.stdout)?, output(self.stderr)?);
            return Ok(Session { stdin, stdout, stderr, resize: None, exit: never() });
        };
        let terminal = take_handed(&console)?.ok_or_else(|| io::Error::other("no terminal came"))?;
        let terminal = Terminal::new(terminal)?;
        let stdin = spec.stdin.then(|| Box::new(terminal.clone()) as Input);
        let resize = Some(terminal.sizes());
        if spec.stdout {
            return Ok(Session { stdin, stdout: Some(Box::new(terminal)), stderr: None, resize, exit: never() });
        }
        // Nobody wants to see it, and the command is not to stand still for that.
        let mut unseen = terminal;
        let copying = async move { tokio::io::copy(&mut unseen, &mut tokio::io::sink()).await };
        let copying = AbortOnDropHandle::new(tokio::spawn(copying));
        let exit = async move {
            let _ = copying.await;
            std::future::pending().await
        };
        Ok(Session { stdin, stdout: None, stderr: None, resize, exit: exit.boxed() })
    }
}

/// What was sent before the start was told of: a terminal by the helper, an input by the shim; none if nothing was.
fn take_handed(console: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    match rustix::net::recvmsg(console.as_fd(), &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        other => other?,
    };
    let mut descriptors = ancillary.drain().filter_map(|it| match it {
        RecvAncillaryMessage::ScmRights(mut it) => it.next(),
        _ => None,
    });
    Ok(descriptors.next())
}

/// The writing end of a pipe, which is closed when it is shut down.
struct Closing(Option<Sender>);

impl Closing {
    fn with<T>(
        &mut self,
        act: impl FnOnce(Pin<&mut Sender>) -> Poll<io::Result<T>>,
        closed: impl FnOnce() -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Some(it) => act(Pin::new(it)),
            None => Poll::Ready(closed()),
        }
    }
}

impl AsyncWrite for Closing {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.with(|it| it.poll_write(context, bytes), || Err(ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with(|it| it.poll_flush(context), || Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn an_input_that_is_shut_down_has_ended() {
        let spec = ExecSpec { stdin: true, ..ExecSpec::default() };
        let mut ends = Ends::open(&spec).unwrap();
        let theirs = ends.theirs.remove(0);
        let mut input = ends.session(&spec).unwrap().stdin.unwrap();
        input.write_all(b"all").await.unwrap();
        input.shutdown().await.unwrap();
        assert_eq!(input.write_all(b"more").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
        let mut text = String::new();
        // The input is kept: it is not its drop that ended it.
        Receiver::from_owned_fd(theirs).unwrap().read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "all");
        drop(input);
    }
}
