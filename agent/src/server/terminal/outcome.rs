//! How an exec or attach ended, in the words of the protocol that the client speaks.
//!
//! From the fourth version on it is a `Status`; before, nothing for success and a text for failure. Source:
//! `k8s.io/kubelet/pkg/cri/streaming/remotecommand` (v4WriteStatusFunc, v1WriteStatusFunc), `k8s.io/apimachinery/pkg/util/remotecommand`.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::runtime::RuntimeError;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Exec,
    Attach,
}

/// The text for the error stream; none where the version says nothing.
pub fn text(asked: Asked, ended: &Result<i32, RuntimeError>, protocol: &str) -> Option<Bytes> {
    let status = status(asked, ended);
    let is_old = !(protocol.starts_with("v4.") || protocol.starts_with("v5."));
    if !is_old {
        return Some(status.to_string().into());
    }
    status["message"].as_str().map(|it| it.to_owned().into())
}

fn status(asked: Asked, ended: &Result<i32, RuntimeError>) -> Value {
    match ended {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": format!("command terminated with non-zero exit code: command terminated with exit code {code}"),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => {
            let what = match asked {
                Asked::Exec => format!("error executing command in container: {error}"),
                Asked::Attach => format!("error attaching to container: {error}"),
            };
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {what}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": what}]},
                "code": 500,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ended: Result<i32, &str>, protocol: &str, expected: Option<&str>) {
        let ended = ended.map_err(|it| RuntimeError::Other(it.to_owned()));
        let text = text(Asked::Exec, &ended, protocol);
        assert_eq!(text.as_deref().map(|it| std::str::from_utf8(it).unwrap()), expected);
    }

    #[test]
    fn each_version_has_its_words() {
        check(Ok(0), "v4.channel.k8s.io", Some(r#"{"metadata":{},"status":"Success"}"#));
        check(
            Ok(3),
            "v5.channel.k8s.io",
            Some(
                r#"{"details":{"causes":[{"message":"3","reason":"ExitCode"}]},"message":"command terminated with non-zero exit code: command terminated with exit code 3","metadata":{},"reason":"NonZeroExitCode","status":"Failure"}"#,
            ),
        );
        check(Ok(0), "channel.k8s.io", None);
        check(
            Ok(3),
            "v2.channel.k8s.io",
            Some("command terminated with non-zero exit code: command terminated with exit code 3"),
        );
        check(
            Err("gone"),
            "channel.k8s.io",
            Some("Internal error occurred: error executing command in container: gone"),
        );
    }
}
