//! A conversation with what runs in a container: a command of its own (exec) or the container's main process (attach).
//!
//! In: which streams are wanted. Out: a [`Session`], whose parts are used apart from each other: input that can be closed while output goes on,
//! outputs, the terminal's size, and the end. It knows no protocol of a client's. Source: CRI `Exec` and `Attach`
//! (`k8s.io/cri-api/pkg/apis/runtime/v1`).

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

use super::RuntimeError;

/// Sizes that may wait for the runtime; of more, only the last would count.
pub const SIZES: usize = 4;

/// Bytes of one output that may wait for the client before the process is held up.
pub const OUTPUT_BYTES: usize = 64 << 10;

/// A command to run beside a container's process, and the streams that are wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub command: Vec<String>,
    /// With a terminal there is no standard error of its own.
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The streams that are wanted of a container's own process. Whether they go through a terminal was said when it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttachSpec {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}

/// A process's standard input; shutting it down is the end of the input and of nothing else.
pub type Input = Box<dyn AsyncWrite + Send + Unpin>;

/// A process's output; it ends when nobody holds its other end any more.
pub type Output = Box<dyn AsyncRead + Send + Unpin>;

/// A conversation under way.
pub struct Session {
    pub stdin: Option<Input>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
    /// Takes sizes where there is a terminal.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// The exit code, once the process has ended and its outputs were read; of an attached process always 0. Whoever drops it before that has
    /// abandoned the session: a command that was run for it is killed, an attached process runs on.
    pub exit: BoxFuture<'static, Result<i32, RuntimeError>>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let streams = (self.stdin.is_some(), self.stdout.is_some(), self.stderr.is_some(), self.resize.is_some());
        out.debug_tuple("Session").field(&streams).finish()
    }
}
