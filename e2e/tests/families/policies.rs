//! Network policies for addresses of IPv6.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::wait;

use crate::{Stage, strings, web};

/// Only pods by IPv6 are let in, and one of them is not; who is where is found out nevertheless.
pub fn play(stage: &Stage) -> Result<()> {
    let of = |pod: usize| strings(&stage.pods[pod]["status"]["podIPs"], "ip");
    let (server, refused) = (of(0), of(1));
    let ask = |client: usize, family: usize| stage.ask(&stage.pods[client], &server[family], 8080, "cgi-bin/who");
    for client in 0..3 {
        ensure!(ask(client, 0).is_ok() && ask(client, 1).is_ok(), "everybody is let in at first");
    }
    stage.kubectl.apply(&format!(
        r#"
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{ name: newer }}
spec:
  podSelector: {{ matchLabels: {{ app: web }} }}
  policyTypes: [Ingress]
  ingress:
    - from: [{{ ipBlock: {{ cidr: "fd00:10:244::/56", except: ["{}/128"] }} }}]
      ports: [{{ port: 8080 }}]
"#,
        refused[1]
    ))?;
    wait::until("the rules are there", web::LIMIT, || {
        ensure!(ask(2, 0).is_err(), "the older family is let in");
        ensure!(ask(1, 1).is_err(), "who is left out is let in");
        Ok(())
    })?;
    ask(2, 1)?;
    // The node forgets where its pods are, and has to ask.
    stage.local.on(&stage.names[0], &["ip", "-6", "neigh", "flush", "all"])?;
    ask(2, 1)?;
    // So has a pod of the same node that has never met the other: what they say to find each other is no port of anybody.
    stage.kubectl.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: near, labels: {{ app: web }} }}
spec:
  nodeName: {}
  terminationGracePeriodSeconds: 1
  containers: [{{ name: main, image: {TOOLS}, command: [sleep, "3600"] }}]
"#,
        stage.names[0]
    ))?;
    let near = web::ready(&stage.kubectl, "near")?;
    stage.ask(&near, &server[1], 8080, "cgi-bin/who")?;
    ensure!(stage.ask(&near, &server[0], 8080, "cgi-bin/who").is_err(), "the older family is let in");
    stage.kubectl.run(&["delete", "networkpolicy", "newer"])?;
    wait::until("everybody is let in again", web::LIMIT, || ask(1, 1).and(ask(2, 0)).map(drop))
}
