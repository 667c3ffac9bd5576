//! What does not join, and what it is told.

use anyhow::{Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::{tool, wait};

use super::machine::{Machine, id_of, invitation, is_ready};
use super::{LIMIT, alone};

const TOKEN: &str = "the API server does not take the token: it is wrong, has expired, or was deleted";

#[test]
fn who_is_not_invited_is_told_why() -> Result<()> {
    Cluster::with(alone(), |cluster| {
        let (orlop, kubectl) = (cluster.orlop()?, cluster.kubectl()?);
        let printed = invitation(cluster, &[])?;
        let stranger = Machine::new(cluster, "stranger");
        let told = |printed: &str, why: &str| -> Result<()> {
            let said = stranger.fails(cluster, printed)?;
            ensure!(said.contains(why), "{printed} is told {said}");
            Ok(())
        };
        let (before, hash) = printed.rsplit_once("sha256:").unwrap_or_default();
        let other = if hash.starts_with('0') { "1" } else { "0" };
        let wrong_hash = format!("{before}sha256:{other}{}", &hash[1..]);
        told(&wrong_hash, "the server shows no certificate authority with the given hash: asked for sha256:")?;
        told(&wrong_hash, &format!("shown sha256:{hash}"))?;
        let id = id_of(&printed);
        told(&printed.replace(&format!("--token {id}."), &format!("--token {id}0.")), TOKEN)?;
        told(&printed.replace(&format!("--token {id}."), "--token zzzzzz."), TOKEN)?;
        let away = format!("127.0.0.1:{}", tool::free_port()?);
        let address = cluster.url().trim_start_matches("https://").to_owned();
        let elsewhere = format!("{} --join-timeout 2", printed.replace(&address, &away));
        told(
            &elsewhere,
            &format!("the API server could not be asked within 2 s: connect to {away}: Connection refused"),
        )?;
        let plain = format!("orlop node join {}", cluster.url());
        told(&plain, "this machine has not joined yet: give --token and --ca-hash")?;
        told(&format!("{plain} --token {id}.0123456789abcdef"), "--token needs --ca-hash")?;

        // Expired, and for nothing but signing.
        let short = invitation(cluster, &["--ttl", "1s"])?;
        wait::until("the token has expired", LIMIT, || {
            let listed = orlop.run(&["token", "list"])?;
            ensure!(!listed.contains(id_of(&short)) || listed.contains("<expired>"), "{listed}");
            Ok(())
        })?;
        told(&short, TOKEN)?;
        told(&invitation(cluster, &["--usages", "signing"])?, TOKEN)?;
        orlop.run(&["token", "delete", id])?;
        told(&printed, TOKEN)?;
        ensure!(!stranger.folder().join("kubeconfig").exists(), "none of them left credentials");
        ensure!(kubectl.items(&["csr"])?.is_empty(), "none of them got as far as asking for a certificate");

        // A request that somebody denies: nobody approves it, as the approver's right is taken away.
        let fresh = invitation(cluster, &[])?;
        let binding = "clusterrolebinding/orlop:node-autoapprove-bootstrap";
        kubectl.run(&["delete", binding])?;
        let mut waiting = Machine::join(cluster, "waiting", &fresh)?;
        let request = wait::until("the request is there", LIMIT, || {
            let names = kubectl.run(&["get", "csr", "-o", "name"])?;
            ensure!(!names.is_empty(), "{}", waiting.tail());
            Ok(names.trim().trim_start_matches("certificatesigningrequest.certificates.k8s.io/").to_owned())
        })?;
        // Stopped while it waits, it goes on waiting for the same request.
        waiting.stop()?;
        waiting.start(cluster, &fresh)?;
        waiting.says("asking for the node's certificate")?;
        kubectl.run(&["certificate", "deny", &request])?;
        waiting.says(&format!("the request {request} was denied: KubectlDeny"))?;
        ensure!(kubectl.items(&["csr"])?.len() == 1, "it asked once");
        // And by hand it works, under a new key.
        waiting.start(cluster, &fresh)?;
        wait::until("another request is there, and approved by hand", LIMIT, || {
            let requests = kubectl.items(&["csr"])?;
            let open = requests.iter().find(|it| it["status"]["conditions"].is_null());
            let name = open.and_then(|it| it["metadata"]["name"].as_str()).unwrap_or_default();
            ensure!(!name.is_empty(), "{}", waiting.tail());
            kubectl.run(&["certificate", "approve", name])
        })?;
        is_ready(cluster, "waiting", &mut waiting)?;

        // The name of a node that lives is taken, whoever asks.
        let mut impostor = Machine::with(cluster, "waiting", &["--runtime", "hollow", "--port", "0"]);
        impostor.move_to(cluster.folder().join("machine-impostor"));
        let said = impostor.fails(cluster, &fresh)?;
        ensure!(said.contains("a Node with name \"waiting\" and status \"Ready\" already exists"), "{said}");
        Ok(())
    })
}
