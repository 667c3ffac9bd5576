//! Clusters that cannot be made: the command says why, and leaves nothing.

use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};
use orlop_e2e::nodes::Nodes;
use orlop_e2e::tool;
use serde_json::json;

pub fn play() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-failures-").tempdir()?;
    let cluster = Nodes::new(&folder.path().join("clusters"), "bad");
    let refused = |words: &[&str], why: &str| -> Result<()> {
        let said = cluster.run(words).err().map(|it| format!("{it:#}")).unwrap_or_default();
        ensure!(said.contains(why), "{words:?}: {said:?}");
        ensure!(!cluster.folder().exists(), "{words:?} leaves a folder");
        Ok(())
    };
    // What makes no sense is told before anything is made.
    for name in ["Bad", "bad_name", "bad-", "..", &"b".repeat(51)] {
        refused(&["create", name], "a cluster's name consists of lower case letters")?;
    }
    refused(&["create", "bad", "--nodes", "0"], "0 is not in 1..=250")?;
    for (count, why) in
        [("0", "give 1, 3 or 5"), ("2", "the loss of none"), ("4", "the loss of one"), ("7", "too many")]
    {
        refused(&["create", "bad", "--control-planes", count], why)?;
    }
    refused(&["create", "bad", "--nodes", "2", "--control-planes", "3"], "and there are 2")?;
    let mut without = cluster.command(&["create", "bad", "--control-planes", "3"])?;
    let said = tool::run(without.env("PATH", "/nowhere")).err().map(|it| format!("{it:#}")).unwrap_or_default();
    ensure!(said.contains("install it (Debian's package etcd-server)") && !cluster.folder().exists(), "{said}");
    refused(&["create", "bad", "--overlay", "pigeons"], "pigeons")?;
    refused(&["create", "bad", "--fence-after", "8"], "8 is not in 4..=7")?;
    refused(&["create", "bad", "--port", "80"], "is not HOST-PORT:NODE-PORT")?;
    refused(&["create", "bad", "--load-images", "/nowhere"], "/nowhere")?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = taken.local_addr()?.port();
    refused(&["create", "bad", "--port", &format!("{port}:30080")], "it is taken")?;
    for what in ["start", "stop", "delete"] {
        refused(&[what, "bad"], "there is no cluster \"bad\"")?;
    }
    refused(&["snapshot", "bad", "/dev/null"], "there is no cluster \"bad\"")?;
    refused(&["restore", "bad", "/nowhere"], "cannot open /nowhere")?;
    let nonsense = folder.path().join("nonsense");
    std::fs::write(&nonsense, "nonsense")?;
    refused(&["restore", "bad", &nonsense.display().to_string()], "is no snapshot of a cluster")?;
    let clusters = folder.path().join("clusters");
    let left: Vec<_> = std::fs::read_dir(&clusters)?.flatten().map(|it| it.file_name()).collect();
    ensure!(left.is_empty(), "{left:?}");

    // A member of etcd that does not run, beside others.
    let programs = folder.path().join("programs");
    std::fs::create_dir(&programs)?;
    let etcd = programs.join("etcd");
    std::fs::write(&etcd, "#!/bin/sh\necho this is none >&2\nexit 1\n")?;
    std::fs::set_permissions(&etcd, std::fs::Permissions::from_mode(0o755))?;
    let path = format!("{}:{}", programs.display(), std::env::var("PATH")?);
    let mut command = cluster.command(&["create", "bad", "--control-planes", "3"])?;
    let said = tool::run(command.env("PATH", path)).err().map(|it| format!("{it:#}")).unwrap_or_default();
    ensure!(said.contains("cluster \"bad\" was not created") && said.contains("this is none"), "{said}");
    nothing(&cluster, &said)?;

    // An agent that cannot run: its shim is not beside the program. By then the control plane and all networks are there.
    let alone = folder.path().join("orlop");
    std::fs::copy(tool::ours("orlop")?, &alone)?;
    std::fs::set_permissions(&alone, std::fs::Permissions::from_mode(0o755))?;
    let mut command = std::process::Command::new(&alone);
    command.args(["cluster", "create", "bad", "--nodes", "2", "--clusters-dir"]).arg(&clusters);
    command.arg("--kubeconfig").arg(cluster.users_kubeconfig());
    let said = tool::run(&mut command).err().map(|it| format!("{it:#}")).unwrap_or_default();
    ensure!(said.contains("cluster \"bad\" was not created") && said.contains("orlop-shim is not beside"), "{said}");
    nothing(&cluster, &said)
}

/// Nothing is left of a cluster that was not made.
fn nothing(cluster: &Nodes, said: &str) -> Result<()> {
    // Which network it had is not known any more: none of its links may be there.
    ensure!(!cluster.folder().exists(), "{said}");
    let left = cluster.traces(&json!({}))?;
    let left: Vec<&String> = left.iter().filter(|it| !it.contains("oclu")).collect();
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}
