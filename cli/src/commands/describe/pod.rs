//! The page of a pod.

use serde_json::Value;

use super::{Page, plain};

/// Describes a pod.
pub fn describe(page: &mut Page, pod: &Value) {
    let (spec, status) = (&pod["spec"], &pod["status"]);
    page.identity(pod);
    page.field(0, "Priority", spec["priority"].as_i64().unwrap_or(0).to_string());
    page.field(0, "Service Account", plain(&spec["serviceAccountName"]));
    let node = plain(&spec["nodeName"]);
    let host = status["hostIP"].as_str().map(|it| format!("{node}/{it}"));
    page.field(0, "Node", host.unwrap_or(node));
    page.field(0, "Start Time", plain(&status["startTime"]));
    page.labels(pod);
    let phase = if pod["metadata"]["deletionTimestamp"].is_string() {
        format!("Terminating (grace period {}s)", pod["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0))
    } else {
        plain(&status["phase"])
    };
    page.field(0, "Status", phase);
    for (title, field) in [("Reason", "reason"), ("Message", "message")] {
        if status[field].is_string() {
            page.field(0, title, plain(&status[field]));
        }
    }
    page.field(0, "IP", status["podIP"].as_str().unwrap_or_default());
    for owner in
        pod["metadata"]["ownerReferences"].as_array().into_iter().flatten().filter(|it| it["controller"] == true)
    {
        page.field(0, "Controlled By", format!("{}/{}", plain(&owner["kind"]), plain(&owner["name"])));
    }
    for (title, field, statuses) in [
        ("Init Containers", "initContainers", "initContainerStatuses"),
        ("Containers", "containers", "containerStatuses"),
    ] {
        let containers = spec[field].as_array().map_or(&[][..], Vec::as_slice);
        if containers.is_empty() {
            continue;
        }
        page.line(0, format!("{title}:"));
        for it in containers {
            let seen = status[statuses].as_array().into_iter().flatten().find(|seen| seen["name"] == it["name"]);
            container(page, it, seen.unwrap_or(&Value::Null));
        }
    }
    page.conditions(pod, &[("Type", "type"), ("Status", "status"), ("Reason", "reason"), ("Message", "message")]);
    volumes(page, spec);
    page.field(0, "QoS Class", plain(&status["qosClass"]));
    page.map(0, "Node-Selectors", &spec["nodeSelector"], "=");
    let tolerations = spec["tolerations"].as_array().into_iter().flatten().map(toleration);
    let tolerations: Vec<String> = tolerations.collect();
    page.field(0, "Tolerations", if tolerations.is_empty() { "<none>".into() } else { tolerations.join(", ") });
}

fn container(page: &mut Page, spec: &Value, seen: &Value) {
    page.line(1, format!("{}:", plain(&spec["name"])));
    page.field(2, "Container ID", seen["containerID"].as_str().unwrap_or_default());
    page.field(2, "Image", plain(&spec["image"]));
    page.field(2, "Image ID", seen["imageID"].as_str().unwrap_or_default());
    let ports = spec["ports"].as_array().into_iter().flatten().map(|it| {
        let host = it["hostPort"].as_i64().map(|it| format!(" (host {it})")).unwrap_or_default();
        format!("{}/{}{host}", plain(&it["containerPort"]), it["protocol"].as_str().unwrap_or("TCP"))
    });
    let ports: Vec<String> = ports.collect();
    page.field(2, "Ports", if ports.is_empty() { "<none>".into() } else { ports.join(", ") });
    for (title, field) in [("Command", "command"), ("Args", "args")] {
        if let Some(words) = spec[field].as_array() {
            page.field(2, title, words.iter().map(plain).collect::<Vec<_>>().join(" "));
        }
    }
    state(page, "State", &seen["state"]);
    if seen["lastState"].as_object().is_some_and(|it| !it.is_empty()) {
        state(page, "Last State", &seen["lastState"]);
    }
    page.field(2, "Ready", if seen["ready"] == true { "True" } else { "False" });
    page.field(2, "Restart Count", seen["restartCount"].as_i64().unwrap_or(0).to_string());
    for (title, field) in [("Limits", "limits"), ("Requests", "requests")] {
        if spec["resources"][field].is_object() {
            page.map(2, title, &spec["resources"][field], ": ");
        }
    }
    for (title, field) in [("Liveness", "livenessProbe"), ("Readiness", "readinessProbe"), ("Startup", "startupProbe")]
    {
        if spec[field].is_object() {
            page.field(2, title, probe(&spec[field]));
        }
    }
    let environment = spec["env"].as_array().into_iter().flatten().map(|it| {
        let from =
            it["valueFrom"].as_object().and_then(|from| from.iter().next()).map(|(kind, source)| match kind.as_str() {
                "fieldRef" => format!("({}:{})", plain(&source["apiVersion"]), plain(&source["fieldPath"])),
                "resourceFieldRef" => format!("({})", plain(&source["resource"])),
                _ => format!("<set to the key '{}' of '{}'>", plain(&source["key"]), plain(&source["name"])),
            });
        (plain(&it["name"]), from.unwrap_or_else(|| it["value"].as_str().unwrap_or_default().to_owned()))
    });
    let environment: Vec<(String, String)> = environment.collect();
    if environment.is_empty() {
        page.field(2, "Environment", "<none>");
    } else {
        page.line(2, "Environment:");
        environment.into_iter().for_each(|(name, value)| page.field(3, &name, value));
    }
    let mounts = spec["volumeMounts"].as_array().map_or(&[][..], Vec::as_slice);
    if mounts.is_empty() {
        page.field(2, "Mounts", "<none>");
    } else {
        page.line(2, "Mounts:");
        for it in mounts {
            let mode = if it["readOnly"] == true { "ro" } else { "rw" };
            page.line(3, format!("{} from {} ({mode})", plain(&it["mountPath"]), plain(&it["name"])));
        }
    }
}

fn state(page: &mut Page, title: &str, state: &Value) {
    let Some((kind, it)) = state.as_object().and_then(|it| it.iter().next()) else {
        page.field(2, title, "Waiting");
        return;
    };
    page.field(2, title, super::title(kind));
    for (title, field) in [
        ("Reason", "reason"),
        ("Message", "message"),
        ("Exit Code", "exitCode"),
        ("Signal", "signal"),
        ("Started", "startedAt"),
        ("Finished", "finishedAt"),
    ] {
        if !it[field].is_null() {
            page.field(3, title, plain(&it[field]));
        }
    }
}

fn probe(it: &Value) -> String {
    let how = if let Some(http) = it.get("httpGet") {
        format!(
            "http-get {}://{}:{}{}",
            http["scheme"].as_str().unwrap_or("HTTP").to_lowercase(),
            http["host"].as_str().unwrap_or_default(),
            plain(&http["port"]),
            http["path"].as_str().unwrap_or("/")
        )
    } else if let Some(exec) = it.get("exec") {
        let words = exec["command"].as_array().into_iter().flatten().map(plain);
        format!("exec [{}]", words.collect::<Vec<_>>().join(" "))
    } else if let Some(tcp) = it.get("tcpSocket") {
        format!("tcp-socket {}:{}", tcp["host"].as_str().unwrap_or_default(), plain(&tcp["port"]))
    } else {
        "unknown".into()
    };
    let number = |field: &str| it[field].as_i64().unwrap_or(0);
    format!(
        "{how} delay={}s timeout={}s period={}s #success={} #failure={}",
        number("initialDelaySeconds"),
        number("timeoutSeconds"),
        number("periodSeconds"),
        number("successThreshold"),
        number("failureThreshold")
    )
}

fn volumes(page: &mut Page, spec: &Value) {
    let volumes = spec["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    if volumes.is_empty() {
        page.field(0, "Volumes", "<none>");
        return;
    }
    page.line(0, "Volumes:");
    for volume in volumes {
        page.line(1, format!("{}:", plain(&volume["name"])));
        for (kind, source) in volume.as_object().into_iter().flatten().filter(|(kind, _)| *kind != "name") {
            page.field(2, "Type", super::title(kind));
            for (name, value) in
                source.as_object().into_iter().flatten().filter(|(_, value)| !value.is_object() && !value.is_array())
            {
                page.field(2, &super::title(name), plain(value));
            }
        }
    }
}

fn toleration(it: &Value) -> String {
    let mut text = it["key"].as_str().unwrap_or_default().to_owned();
    if let Some(value) = it["value"].as_str() {
        text.push_str(&format!("={value}"));
    }
    if let Some(effect) = it["effect"].as_str() {
        text.push_str(&format!(":{effect}"));
    }
    if it["operator"] == "Exists" {
        text.push_str(" op=Exists");
    }
    if let Some(seconds) = it["tolerationSeconds"].as_i64() {
        text.push_str(&format!(" for {seconds}s"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_a_pod_fares() {
        let pod = serde_json::json!({
            "metadata": {"name": "web", "namespace": "d", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "nginx", "image": "nginx:1",
                "readinessProbe": {"httpGet": {"path": "/ok", "port": 80}, "periodSeconds": 2},
                "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]}]},
            "status": {"phase": "Pending", "hostIP": "10.0.0.1", "containerStatuses": [
                {"name": "nginx", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}}}]}
        });
        let mut page = Page { now: jiff::Timestamp::UNIX_EPOCH, lines: Vec::new() };
        describe(&mut page, &pod);
        insta::assert_snapshot!(page.text());
    }
}
