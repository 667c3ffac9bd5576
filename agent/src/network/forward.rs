//! Leave for a link of ours in the host's own FORWARD chain.
//!
//! Docker sets that chain's policy to DROP, and with `bridge-nf-call-iptables` even packets between two pods of one bridge pass it. A rule
//! in a table of our own cannot overrule a drop, so two rules go into the host's chain. They are told by their comment, are put
//! back when someone rewrote the chain, and are the only ones removed in the end.

use super::NetworkError;
use super::command::try_run;

/// How many copies of a rule a removal looks for. There is one; two agents of one name that started at once could have made two.
const COPIES: usize = 8;

/// Puts our rules where they are missing: what comes by `interface` and what leaves by it passes, of `v4` and of `v6`. `tag` is their comment.
///
/// # Errors
/// When a program fails.
pub async fn ensure(interface: &str, tag: &str, v4: bool, v6: bool) -> Result<(), NetworkError> {
    let families = FAMILIES.iter().zip([v4, v6]).filter(|it| it.1).map(|it| it.0);
    let mut all = Vec::new();
    for family in families {
        all.extend(family.programs().await?);
    }
    for program in all {
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
    let [v4, v6] = &FAMILIES;
    let mut all = v4.programs().await?;
    // Where nobody has rules of IPv6, a question for ours would make tables for them.
    if v6.is_used().await? {
        all.extend(v6.programs().await?);
    }
    for program in all {
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

/// What has the host's rules of one family.
struct Family {
    /// The host's own program.
    program: &'static str,
    legacy: &'static str,
    modern: &'static str,
    /// Where the kernel lists the tables of the legacy variant.
    tables: &'static str,
    /// The family in the words of `nft`.
    word: &'static str,
}

const FAMILIES: [Family; 2] = [
    Family {
        program: "iptables",
        legacy: "iptables-legacy",
        modern: "iptables-nft",
        tables: "/proc/thread-self/net/ip_tables_names",
        word: "ip",
    },
    Family {
        program: "ip6tables",
        legacy: "ip6tables-legacy",
        modern: "ip6tables-nft",
        tables: "/proc/thread-self/net/ip6_tables_names",
        word: "ip6",
    },
];

impl Family {
    /// The programs whose FORWARD chain counts here: the host's own, and the other variant's where something has filled it. An unused
    /// variant is left alone, because asking it would make its tables.
    async fn programs(&self) -> Result<Vec<&'static str>, NetworkError> {
        let mut programs = Vec::new();
        if try_run(self.program, &["--version"], "").await?.is_some_and(|it| it.status.success()) {
            programs.push(self.program);
        }
        let has = |program| async move {
            let found = try_run(program, &["--version"], "").await?;
            Ok::<bool, NetworkError>(found.is_some_and(|it| it.status.success()))
        };
        if self.has_legacy().await && has(self.legacy).await? {
            programs.push(self.legacy);
        }
        if self.has_modern().await? && has(self.modern).await? {
            programs.push(self.modern);
        }
        Ok(programs)
    }

    async fn has_legacy(&self) -> bool {
        let legacy = tokio::fs::read_to_string(self.tables).await.unwrap_or_default();
        legacy.lines().any(|it| it == "filter")
    }

    async fn has_modern(&self) -> Result<bool, NetworkError> {
        let modern = try_run("nft", &["list", "chain", self.word, "filter", "FORWARD"], "").await?;
        Ok(modern.is_some_and(|it| it.status.success()))
    }

    /// Whether there are rules of this family in either variant.
    async fn is_used(&self) -> Result<bool, NetworkError> {
        Ok(self.has_legacy().await || self.has_modern().await?)
    }
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
