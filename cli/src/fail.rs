//! What a failed command says, and with which exit code it ends.
//!
//! 1 for what the server refused or could not be done, as kubectl; clap ends with 2 for a command line that it cannot read.

use std::process::ExitCode;

/// Several objects were handled and some failed; each failure has been printed already.
#[derive(Debug, thiserror::Error)]
#[error("{0} of the objects failed")]
pub struct SomeFailed(pub usize);

/// A failure whose text stands alone, with a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Exit {
    pub code: u8,
    pub text: String,
}

/// Words an error as kubectl does: `Error from server (NotFound): pods "web" not found`.
pub fn words(error: &anyhow::Error) -> String {
    if let Some(kube::Error::Api(status)) = error.downcast_ref::<kube::Error>() {
        let context = error.chain().next().filter(|it| it.downcast_ref::<kube::Error>().is_none());
        let message = match context {
            Some(context) if context.to_string() != status.to_string() => format!("{context}: {}", status.message),
            _ => status.message.clone(),
        };
        return match status.reason.as_str() {
            "" => format!("Error from server: {message}"),
            "Invalid" => format!("The {message}"),
            reason => format!("Error from server ({reason}): {message}"),
        };
    }
    format!("error: {error:#}")
}

/// Prints the error to standard error and gives the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if error.downcast_ref::<SomeFailed>().is_some() {
        return ExitCode::FAILURE;
    }
    if let Some(exit) = error.downcast_ref::<Exit>() {
        if !exit.text.is_empty() {
            eprintln!("{}", exit.text);
        }
        return ExitCode::from(exit.code);
    }
    // A reader that has gone away (`orlop get … | head`) is no failure of ours.
    let broken_pipe = error
        .chain()
        .any(|it| it.downcast_ref::<std::io::Error>().is_some_and(|it| it.kind() == std::io::ErrorKind::BrokenPipe));
    if broken_pipe {
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", words(error));
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reason: &str, message: &str, expected: &str) {
        let status = kube::core::Status { reason: reason.into(), message: message.into(), ..Default::default() };
        let error = anyhow::Error::from(kube::Error::Api(Box::new(status)));
        assert_eq!(words(&error), expected);
    }

    #[test]
    fn words_errors_as_kubectl_does() {
        check("NotFound", "pods \"a\" not found", "Error from server (NotFound): pods \"a\" not found");
        check(
            "Invalid",
            "Pod \"a\" is invalid: spec: Required value",
            "The Pod \"a\" is invalid: spec: Required value",
        );
        check("", "gone", "Error from server: gone");
        assert_eq!(words(&anyhow::anyhow!("no such file")), "error: no such file");
    }
}
