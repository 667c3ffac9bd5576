//! How a container's own program takes the place of the process that libcontainer has prepared.
//!
//! As its default executor does, but with the signals as a program expects to find them: Rust's runtime ignores SIGPIPE, which whoever is executed
//! inherits, so that `yes | head` would never end. [`Command`] sets that right before it executes.
//!
//! Whether there is such a program has been looked at before the start, which fails then. What only the kernel finds (an interpreter that
//! is missing) comes too late for that, as with runc: the container has started, says why in its log, and ends with 255. A file of no format that the kernel
//! knows is given to the container's shell, as execvp(3) does and runc does not.

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;
use oci_spec::runtime::Spec;

use crate::confinement::Confinement;

/// Executes what the bundle names, confined.
#[derive(Clone, Debug)]
pub struct Workload {
    pub confinement: Confinement,
}

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let arguments = spec.process().as_ref().and_then(|it| it.args().as_deref()).unwrap_or_default();
        let (program, rest) = arguments.split_first().ok_or(ExecutorError::InvalidArg)?;
        // Comes back only when it could not.
        let error = Command::new(program).args(rest).exec();
        // Nobody else hears of it any more. Where the container has closed its errors there is nobody at all.
        let _ = writeln!(io::stderr(), "exec {program}: {}", reason(&error));
        Err(ExecutorError::Execution(error.into()))
    }

    /// The last that libcontainer asks before it tells that the container is ready, and the first after it has the container's user: the process gives up here
    /// what the program must not have.
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        self.confinement.take_on().map_err(|error| {
            tracing::error!("{error}");
            ExecutorValidationError::ArgValidationError(error)
        })?;
        DefaultExecutor {}.validate(spec)
    }
}

/// Why, in the kernel's words as Go writes them.
fn reason(error: &io::Error) -> String {
    let text = error.raw_os_error().map_or_else(|| error.to_string(), |it| Errno::from_raw(it).desc().to_owned());
    let mut letters = text.chars();
    letters.next().map(|it| it.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_written_as_go_writes_them() {
        let check = |error: io::Error, expected: &str| assert_eq!(reason(&error), expected);
        check(io::Error::from_raw_os_error(libc::ENOENT), "no such file or directory");
        check(io::Error::from_raw_os_error(libc::ENOEXEC), "exec format error");
        check(io::Error::other("Strange"), "strange");
    }
}
