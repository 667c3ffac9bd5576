//! Nodes and pods: what they are told to have, and that it is theirs.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;

use crate::{Stage, strings, web};

/// Every node has a range of each family, and is known by an address of each.
pub fn nodes(stage: &Stage) -> Result<()> {
    for (at, name) in stage.names.iter().enumerate() {
        let node = stage.kubectl.json(&["node", name])?;
        let ranges = strings(&node["spec"]["podCIDRs"], "");
        ensure!(ranges.len() == 2 && node["spec"]["podCIDR"] == ranges[0].as_str(), "{ranges:?}");
        ensure!(ranges[0].ends_with(".0/24") && ranges[1].ends_with("/64"), "{ranges:?}");
        let internal: Vec<String> = strings(&node["status"]["addresses"], "address");
        let expected = [stage.local.address(at + 1)?, stage.local.address_v6(at + 1)?, name.clone()];
        ensure!(internal == expected, "{internal:?} and not {expected:?}");
    }
    Ok(())
}

/// Pods have so many addresses, and find them where Kubernetes tells pods of theirs.
pub fn addresses(stage: &Stage, count: usize) -> Result<()> {
    for pod in &stage.pods {
        let (own, host) = (strings(&pod["status"]["podIPs"], "ip"), strings(&pod["status"]["hostIPs"], "ip"));
        ensure!(own.len() == count && host.len() == count, "{own:?} on {host:?}");
        ensure!(pod["status"]["podIP"] == own[0].as_str() && pod["status"]["hostIP"] == host[0].as_str(), "{pod}");
        let hosts = web::within(&stage.local, pod, &["cat", "/etc/hosts"])?;
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        ensure!(own.iter().all(|it| hosts.contains(&format!("{it}\t{name}"))), "{hosts}");
    }
    stage.kubectl.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: told }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {TOOLS}
      env:
        - {{ name: POD_IPS, valueFrom: {{ fieldRef: {{ fieldPath: status.podIPs }} }} }}
        - {{ name: POD_IP, valueFrom: {{ fieldRef: {{ fieldPath: status.podIP }} }} }}
        - {{ name: HOST_IPS, valueFrom: {{ fieldRef: {{ fieldPath: status.hostIPs }} }} }}
      command: [sleep, "3600"]
"#
    ))?;
    let told = web::ready(&stage.kubectl, "told")?;
    let own = strings(&told["status"]["podIPs"], "ip");
    for (name, expected) in [
        ("POD_IPS", own.join(",")),
        ("POD_IP", own[0].clone()),
        ("HOST_IPS", strings(&told["status"]["hostIPs"], "ip").join(",")),
    ] {
        let said = stage.kubectl.run(&["exec", "told", "--", "sh", "-c", &format!("echo ${name}")])?;
        ensure!(said.trim() == expected, "{name} is {said} and not {expected}");
    }
    Ok(())
}

/// Every pod reaches every pod at all of its addresses, by its own of the same family, with packets as large as may be.
pub fn reach_each_other(stage: &Stage, mtu: u32) -> Result<()> {
    for client in &stage.pods {
        let link = web::from(&stage.local, client, &["ip", "-o", "link", "show", "eth0"])?;
        ensure!(link.contains(&format!(" mtu {mtu} ")), "{link}");
        let own = strings(&client["status"]["podIPs"], "ip");
        for server in &stage.pods {
            let name = server["metadata"]["name"].as_str().unwrap_or_default();
            for (own, at) in own.iter().zip(strings(&server["status"]["podIPs"], "ip")) {
                let text = stage.ask(client, &at, 8080, "cgi-bin/who")?;
                let said = text.trim().split_once(' ').map(|(pod, client)| (pod.to_owned(), web::plain(client)));
                ensure!(said == Some((name.to_owned(), own.clone())), "{own} asks {name} at {at}: {text}");
                ensure!(stage.ask(client, &at, 8080, "big")?.len() == 300_000, "{own} gets all of {at}");
            }
        }
    }
    Ok(())
}
