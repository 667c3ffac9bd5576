//! Services: addresses by policy, what stands behind them, and the names by which they are found.

use anyhow::{Result, ensure};
use orlop_e2e::wait;
use serde_json::Value;

use crate::{Stage, strings, web};

/// The port of every node that leads to the Service `both`.
const NODE_PORT: u16 = 30081;
const DOMAIN: &str = "default.svc.cluster.local";

/// A Service for all pods. `port` is what more is to be said of the one port.
fn service(name: &str, spec: &str, port: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{ name: {name} }}
spec: {{ selector: {{ app: web }}, ports: [{{ port: 80, targetPort: 8080{port} }}], {spec} }}
"#
    )
}

/// The types of a service's slices, each once, in order.
fn slice_types(stage: &Stage, name: &str) -> Result<Vec<String>> {
    let selector = format!("kubernetes.io/service-name={name}");
    let slices = stage.kubectl.items(&["endpointslices", "-l", &selector])?;
    let mut types = strings(&Value::Array(slices), "addressType");
    types.sort();
    types.dedup();
    Ok(types)
}

/// What a pod finds out of a name.
fn lookup(stage: &Stage, name: &str) -> Result<String> {
    web::within(&stage.local, &stage.pods[0], &["nslookup", name])
}

/// A service that prefers both has an address of each, and everybody answers at each, also at the ports of all nodes.
pub fn both(stage: &Stage) -> Result<()> {
    let port = format!(", nodePort: {NODE_PORT}");
    stage.kubectl.apply(&service("both", "type: NodePort, ipFamilyPolicy: PreferDualStack", &port))?;
    let made = stage.kubectl.json(&["service", "both"])?;
    let ips = strings(&made["spec"]["clusterIPs"], "");
    ensure!(strings(&made["spec"]["ipFamilies"], "") == ["IPv4", "IPv6"], "{made}");
    ensure!(ips.len() == 2 && ips[0].starts_with("10.96.") && ips[1].starts_with("fd00:10:96::"), "{ips:?}");
    ensure!(made["spec"]["clusterIP"] == ips[0].as_str(), "{made}");
    wait::until("there are slices of both families", web::LIMIT, || {
        let types = slice_types(stage, "both")?;
        ensure!(types == ["IPv4", "IPv6"], "{types:?}");
        Ok(())
    })?;
    for pod in &stage.pods {
        for ip in &ips {
            wait::until("all pods answer at a service's address", web::LIMIT, || stage.everybody(pod, ip, 80))?;
        }
    }
    for node in 1..=stage.names.len() {
        let addresses = [stage.local.address(node)?, stage.local.address_v6(node)?];
        for address in &addresses {
            web::until_everybody(stage.pods.len(), &format!("{}:{NODE_PORT}", Stage::host(address)))?;
        }
        // From a pod of another node, and of the same.
        for pod in &stage.pods {
            stage.everybody(pod, &addresses[1], NODE_PORT)?;
        }
    }
    // By its name, in either direction.
    let found = lookup(stage, &format!("both.{DOMAIN}"))?;
    ensure!(ips.iter().all(|it| found.contains(it)), "{found}");
    for ip in &ips {
        let back = lookup(stage, ip)?;
        ensure!(back.contains(&format!("name = both.{DOMAIN}")), "{back}");
    }
    Ok(())
}

/// One without an address has the names of all its pods' addresses.
pub fn headless(stage: &Stage) -> Result<()> {
    stage.kubectl.apply(&service("each", "clusterIP: None, ipFamilyPolicy: RequireDualStack", ""))?;
    let all: Vec<String> = stage.pods.iter().flat_map(|it| strings(&it["status"]["podIPs"], "ip")).collect();
    wait::until("the pods' addresses have a name", web::LIMIT, || {
        let found = lookup(stage, &format!("each.{DOMAIN}"))?;
        ensure!(all.iter().all(|it| found.contains(it)), "{found}");
        Ok(())
    })?;
    let alone = stage.kubectl.fails(
        &["create", "-f", "-"],
        &service("wrong", "ipFamilyPolicy: SingleStack, ipFamilies: [IPv4, IPv6]", ""),
    )?;
    let why = "spec.ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or PreferDualStack when multiple 'ipFamilies' are specified";
    ensure!(alone.contains(why), "{alone}");
    Ok(())
}

/// A service of IPv6 alone keeps a client with one pod, if it is to.
pub fn sticky(stage: &Stage) -> Result<()> {
    stage.kubectl.apply(&service("sticky", "ipFamilies: [IPv6], sessionAffinity: ClientIP", ""))?;
    let made = stage.kubectl.json(&["service", "sticky"])?;
    let ips = strings(&made["spec"]["clusterIPs"], "");
    ensure!(ips.len() == 1 && ips[0].starts_with("fd00:10:96::"), "{made}");
    let ask = || stage.ask(&stage.pods[0], &ips[0], 80, "cgi-bin/who");
    let first = wait::until("it answers", web::LIMIT, ask)?;
    for _ in 0..10 {
        let next = ask()?;
        ensure!(next == first, "{first} and then {next}");
    }
    Ok(())
}

/// A service goes down to one family and up again when it says so.
pub fn up_and_down(stage: &Stage) -> Result<()> {
    let patch = |policy: &str| {
        let patch = format!("{{\"spec\":{{\"ipFamilyPolicy\":\"{policy}\"}}}}");
        stage.kubectl.run(&["patch", "service", "both", "--type=merge", "-p", &patch])?;
        let it = stage.kubectl.json(&["service", "both"])?;
        Ok::<_, anyhow::Error>((strings(&it["spec"]["clusterIPs"], ""), strings(&it["spec"]["ipFamilies"], "")))
    };
    let before = strings(&stage.kubectl.json(&["service", "both"])?["spec"]["clusterIPs"], "");
    let (ips, families) = patch("SingleStack")?;
    ensure!(ips == before[..1] && families == ["IPv4"], "{ips:?} {families:?}");
    wait::until("what it gave up answers no more", web::LIMIT, || {
        ensure!(stage.ask(&stage.pods[0], &before[1], 80, "cgi-bin/who").is_err(), "it does");
        ensure!(slice_types(stage, "both")? == ["IPv4"], "there is a slice of it");
        Ok(())
    })?;
    stage.everybody(&stage.pods[0], &ips[0], 80)?;
    let (ips, families) = patch("RequireDualStack")?;
    ensure!(ips.len() == 2 && ips[0] == before[0] && families == ["IPv4", "IPv6"], "{ips:?} {families:?}");
    wait::until("the new address answers", web::LIMIT, || stage.everybody(&stage.pods[2], &ips[1], 80))
}

/// In a cluster of IPv6 alone a service has an address of it, and cannot have both.
pub fn only_v6(stage: &Stage) -> Result<()> {
    let made = stage.kubectl.json(&["service", "web"])?;
    let ips = strings(&made["spec"]["clusterIPs"], "");
    ensure!(ips.len() == 1 && ips[0].starts_with("fd00:10:96::"), "{made}");
    ensure!(strings(&made["spec"]["ipFamilies"], "") == ["IPv6"], "{made}");
    ensure!(slice_types(stage, "web")? == ["IPv6"], "slices of IPv6");
    for pod in &stage.pods {
        wait::until("all pods answer at a service's address", web::LIMIT, || stage.everybody(pod, &ips[0], 80))?;
    }
    for node in 1..=stage.names.len() {
        let address = stage.local.address_v6(node)?;
        web::until_everybody(stage.pods.len(), &format!("[{address}]:{}", web::NODE_PORT))?;
    }
    let found = lookup(stage, &format!("web.{DOMAIN}"))?;
    ensure!(found.contains(&ips[0]), "{found}");
    let refused =
        stage.kubectl.fails(&["create", "-f", "-"], &service("wrong", "ipFamilyPolicy: RequireDualStack", ""))?;
    let why = "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services";
    ensure!(refused.contains(why), "{refused}");
    // What is preferred is not demanded.
    stage.kubectl.apply(&service("modest", "ipFamilyPolicy: PreferDualStack", ""))?;
    let modest = stage.kubectl.json(&["service", "modest"])?;
    ensure!(strings(&modest["spec"]["ipFamilies"], "") == ["IPv6"], "{modest}");
    Ok(())
}
