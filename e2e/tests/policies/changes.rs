//! Policies, labels and pods that change while traffic is asked for.

use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::scene::address;

use crate::town::{Town, pod_manifest};

pub fn play(town: &Town<'_>) -> Result<()> {
    let x = town.scene("nx")?;
    town.only("nx", "{ podSelector: {}, policyTypes: [Ingress], ingress: [{}] }")?;
    town.expect("open at first", |_| true)?;
    town.policy("nx", "policy", "{ podSelector: {}, policyTypes: [Ingress], ingress: [] }")?;
    town.expect("an updated policy is enforced", |it| it.target_ns() != "nx")?;
    x.run(&["delete", "networkpolicy", "policy"])?;
    town.expect("a deleted policy is enforced no more", |_| true)?;

    let blue = "[{ namespaceSelector: { matchLabels: { colour: blue } } }]";
    town.only("nx", &format!("{{ podSelector: {{ matchLabels: {{ pod: a }} }}, ingress: [{{ from: {blue} }}] }}"))?;
    town.expect("no namespace has the label", |it| it.to != "nx/a")?;
    x.kubectl.run(&["label", "namespace", "ny", "colour=blue"])?;
    town.expect("the updated namespace comes in", |it| it.to != "nx/a" || it.source_ns() == "ny")?;
    x.kubectl.run(&["label", "namespace", "ny", "colour-"])?;
    town.expect("and no more", |it| it.to != "nx/a")?;

    let friend = "[{ podSelector: { matchLabels: { friend: 'yes' } } }]";
    town.only("nx", &format!("{{ podSelector: {{ matchLabels: {{ pod: a }} }}, ingress: [{{ from: {friend} }}] }}"))?;
    x.run(&["label", "pod", "b", "friend=yes"])?;
    town.expect("the updated pod comes in", |it| it.to != "nx/a" || it.from == "nx/b")?;
    x.run(&["label", "pod", "b", "friend-"])?;
    town.expect("and no more", |it| it.to != "nx/a")?;

    town.only("nx", "{ podSelector: { matchLabels: { target: isolated } } }")?;
    town.expect("nobody is selected", |_| true)?;
    x.run(&["label", "pod", "a", "target=isolated"])?;
    town.expect("the updated pod is isolated", |it| it.to != "nx/a")?;
    x.run(&["label", "pod", "a", "target-"])?;
    town.expect("and no more", |_| true)?;
    newcomers(town)
}

/// Pods that come where a policy waits for them: isolated from the first packet, peers from when they are known.
fn newcomers(town: &Town<'_>) -> Result<()> {
    let x = town.scene("nx")?;
    town.only("nx", "{ podSelector: { matchLabels: { pod: d } }, policyTypes: [Ingress, Egress] }")?;
    town.policy("nx", "peer", "{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ podSelector: { matchLabels: { pod: e } } }] }] }")?;
    // What it asks for when it has hardly begun.
    let at = &town.addresses["nz/a"];
    let hasty =
        pod_manifest("d").replace("sh, -c, \"", &format!("sh, -c, \"nc -w 3 {at} 80 </dev/null && touch /out; "));
    x.apply(&hasty)?;
    x.apply(&pod_manifest("e"))?;
    let (d, e) = (x.ready("d")?, x.ready("e")?);
    ensure!(town.exec("nx/d", &["ls", "/out"]).is_err(), "the new pod came out before it was isolated");
    let ask = |from: &str, to: &str| town.exec(from, &["nc", "-w", "2", to, "80"]).is_ok();
    ensure!(!ask("nz/a", address(&d)?), "the new pod is open");
    ensure!(ask("nz/a", address(&e)?), "the other new pod is not");
    orlop_e2e::wait::until("the new pod is a peer", Duration::from_secs(20), || {
        ensure!(ask("nx/e", &town.addresses["nx/a"]), "it is not");
        Ok(())
    })?;
    ensure!(!ask("nx/d", &town.addresses["nx/a"]), "the isolated one comes out");
    x.run(&["delete", "pod", "d", "e", "--now"])?;
    Ok(())
}
