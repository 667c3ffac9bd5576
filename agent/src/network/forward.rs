//! Leave for a link of ours in the host's own FORWARD chain.
//!
//! Docker sets that chain's policy to DROP, and with `bridge-nf-call-iptables` even packets between two pods of one bridge pass it. A rule
//! in a table of our own cannot overrule a drop, so two rules go into the host's chain. They are told by their comment, are put
//! back when someone rewrote the chain, and are the only ones removed in the end.

use super::NetworkError;
use super::command::try_run;

/// How many copies of a rule a removal looks for. There is one; two agents of one name that started at once could have made two.
const COPIES: usize = 8;

/// Puts our rules where they are missing: what comes by `interface` and what leaves by it passes. `tag` is their comment.
///
/// # Errors
/// When a program fails.
pub async fn ensure(interface: &str, tag: &str) -> Result<(), NetworkError> {
    for program in programs().await? {
        for direction in ["-i", "-o"] {
            if !call(program, "-C", interface, tag, direction).await?.0 {
                let (inserted, reason) = call(program, "-I", interface, tag, direction).await?;
                if !inserted {
                    return Err(NetworkError::Command { program: program.to_owned(), reason });
                }
            }
        }
    }
    Ok(())
}

/// Removes our rules.
///
/// # Errors
/// When a program cannot be run.
pub async fn remove(interface: &str, tag: &str) -> Result<(), NetworkError> {
    for program in programs().await? {
        for direction in ["-i", "-o"] {
            for _ in 0..COPIES {
                if !call(program, "-D", interface, tag, direction).await?.0 {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The programs whose FORWARD chain counts here: the host's own, and the other variant's where something has filled it. An unused
/// variant is left alone, because asking it would make its tables.
async fn programs() -> Result<Vec<&'static str>, NetworkError> {
    let mut programs = Vec::new();
    if try_run("iptables", &["--version"], "").await?.is_some_and(|it| it.status.success()) {
        programs.push("iptables");
    }
    let legacy = tokio::fs::read_to_string("/proc/thread-self/net/ip_tables_names").await.unwrap_or_default();
    let has = |program| async move {
        let found = try_run(program, &["--version"], "").await?;
        Ok::<bool, NetworkError>(found.is_some_and(|it| it.status.success()))
    };
    if legacy.lines().any(|it| it == "filter") && has("iptables-legacy").await? {
        programs.push("iptables-legacy");
    }
    let modern = try_run("nft", &["list", "chain", "ip", "filter", "FORWARD"], "").await?;
    if modern.is_some_and(|it| it.status.success()) && has("iptables-nft").await? {
        programs.push("iptables-nft");
    }
    Ok(programs)
}

/// Runs one of `-C`, `-I`, `-D` on a rule; tells whether it succeeded and what it said.
async fn call(
    program: &'static str,
    verb: &str,
    interface: &str,
    tag: &str,
    direction: &str,
) -> Result<(bool, String), NetworkError> {
    // `-w`: wait for other users of the tables, for 5 seconds at most.
    let args = ["-w", "5", verb, "FORWARD", direction, interface, "-m", "comment", "--comment", tag, "-j", "ACCEPT"];
    let output = try_run(program, &args, "").await?;
    Ok(output.map_or((false, String::new()), |it| {
        (it.status.success(), String::from_utf8_lossy(&it.stderr).trim().to_owned())
    }))
}
