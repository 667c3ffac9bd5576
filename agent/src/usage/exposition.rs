//! The kubelet's `/metrics/resource`, in Prometheus' text form. Source: `pkg/kubelet/metrics/collectors/resource_metrics.go`.

use std::fmt::Write;

use jiff::Timestamp;

use super::sample::{Cpu, Memory, Sample};

/// One line of a metric.
struct Line {
    labels: String,
    value: f64,
    /// None where the value is of no moment.
    at: Option<Timestamp>,
}

/// The text of a sample, or of none, where looking failed.
pub fn of(sample: Option<&Sample>) -> String {
    let mut out = String::new();
    let pods = || sample.into_iter().flat_map(|it| &it.pods);
    let containers = || pods().flat_map(|pod| pod.containers.iter().map(move |it| (pod, it)));
    let labels = |namespace: &str, pod: &str| format!("namespace={namespace:?},pod={pod:?}");
    let cpu =
        |labels: String, it: Option<Cpu>| it.map(|it| Line { labels, value: seconds(it.total_ns), at: Some(it.at) });
    let memory = |labels: String, it: Option<Memory>| {
        it.map(|it| Line { labels, value: it.working_set_bytes as f64, at: Some(it.at) })
    };
    let full = |pod: &super::sample::PodSample, name: &str| {
        format!("container={name:?},{}", labels(&pod.pod.namespace, &pod.pod.name))
    };
    metric(
        &mut out,
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        containers().filter_map(|(pod, it)| cpu(full(pod, &it.name), it.cpu)),
    );
    metric(
        &mut out,
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        "gauge",
        containers().filter_map(|(pod, it)| memory(full(pod, &it.name), it.memory)),
    );
    metric(
        &mut out,
        "container_start_time_seconds",
        "[STABLE] Start time of the container since unix epoch in seconds",
        "gauge",
        containers().map(|(pod, it)| Line {
            labels: full(pod, &it.name),
            value: it.started.as_nanosecond() as f64 / 1e9,
            at: None,
        }),
    );
    metric(
        &mut out,
        "node_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        "counter",
        sample.and_then(|it| cpu(String::new(), it.cpu)).into_iter(),
    );
    metric(
        &mut out,
        "node_memory_working_set_bytes",
        "[STABLE] Current working set of the node in bytes",
        "gauge",
        sample.and_then(|it| memory(String::new(), it.memory)).into_iter(),
    );
    metric(
        &mut out,
        "pod_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
        pods().filter_map(|it| cpu(labels(&it.pod.namespace, &it.pod.name), it.cpu())),
    );
    metric(
        &mut out,
        "pod_memory_working_set_bytes",
        "[STABLE] Current working set of the pod in bytes",
        "gauge",
        pods().filter_map(|it| memory(labels(&it.pod.namespace, &it.pod.name), it.memory())),
    );
    let error = Line { labels: String::new(), value: f64::from(u8::from(sample.is_none())), at: None };
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    metric(&mut out, "resource_scrape_error", help, "gauge", std::iter::once(error));
    out
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// Writes a metric; one without lines is left out, as Prometheus' own library does.
fn metric(out: &mut String, name: &str, help: &str, kind: &str, lines: impl Iterator<Item = Line>) {
    let mut lines = lines.peekable();
    if lines.peek().is_none() {
        return;
    }
    // Writing to a string cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for Line { labels, value, at } in lines {
        let labels = if labels.is_empty() { labels } else { format!("{{{labels}}}") };
        let at = at.map(|it| format!(" {}", it.as_millisecond())).unwrap_or_default();
        let _ = writeln!(out, "{name}{labels} {value}{at}");
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{ContainerSample, PodSample};
    use super::*;
    use crate::runtime::PodRef;

    #[test]
    fn a_sample_reads_as_the_kubelets() {
        let at = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
        let cpu = Some(Cpu { at, total_ns: 1_500_000_000, nanocores: None });
        let memory = Some(Memory {
            at,
            usage_bytes: 9000,
            working_set_bytes: 8192,
            rss_bytes: 1,
            available_bytes: None,
            page_faults: 0,
            major_page_faults: 0,
        });
        let container = ContainerSample {
            id: "i".into(),
            name: "web".into(),
            started: Timestamp::from_millisecond(1_700_000_000_500).unwrap(),
            cpu,
            memory,
            processes: 1,
        };
        let pod = PodSample {
            pod: PodRef { namespace: "default".into(), name: "p".into(), uid: "u".into() },
            started: at,
            containers: vec![container],
            network: None,
        };
        let sample = Sample { at, cpu, memory, network: Vec::new(), pods: vec![pod] };
        let text = of(Some(&sample));
        let lines: Vec<&str> = text.lines().filter(|it| !it.starts_with('#')).collect();
        let expected = [
            r#"container_cpu_usage_seconds_total{container="web",namespace="default",pod="p"} 1.5 1700000000123"#,
            r#"container_memory_working_set_bytes{container="web",namespace="default",pod="p"} 8192 1700000000123"#,
            r#"container_start_time_seconds{container="web",namespace="default",pod="p"} 1700000000.5"#,
            "node_cpu_usage_seconds_total 1.5 1700000000123",
            "node_memory_working_set_bytes 8192 1700000000123",
            r#"pod_cpu_usage_seconds_total{namespace="default",pod="p"} 1.5 1700000000123"#,
            r#"pod_memory_working_set_bytes{namespace="default",pod="p"} 8192 1700000000123"#,
            "resource_scrape_error 0",
        ];
        assert_eq!(lines, expected);
        assert!(text.contains("# TYPE node_cpu_usage_seconds_total counter\n"));
        assert!(of(None).ends_with("\nresource_scrape_error 1\n"));
    }
}
