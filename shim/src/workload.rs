//! How a container's own program takes the place of the process that libcontainer has prepared.
//!
//! As its default executor does, but with the signals as a program expects to find them: Rust's runtime ignores SIGPIPE, which whoever is executed
//! inherits, so that `yes | head` would never end. [`Command`] sets that right before it executes.

use std::os::unix::process::CommandExt;
use std::process::Command;

use libcontainer::workload::default::DefaultExecutor;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use oci_spec::runtime::Spec;

/// Executes what the bundle names.
#[derive(Clone, Copy, Debug)]
pub struct Workload;

impl Executor for Workload {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let arguments = spec.process().as_ref().and_then(|it| it.args().as_deref()).unwrap_or_default();
        let (program, rest) = arguments.split_first().ok_or(ExecutorError::InvalidArg)?;
        // Comes back only when it could not.
        let error = Command::new(program).args(rest).exec();
        tracing::error!("exec: {program:?}: {error}");
        Err(ExecutorError::Execution(error.into()))
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        DefaultExecutor {}.validate(spec)
    }
}
