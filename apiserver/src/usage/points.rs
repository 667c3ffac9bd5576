//! What a node's `/metrics/resource` says, as points in time. Pure.
//!
//! Prometheus' text form, of which only what is wanted is read; a line that cannot be read is passed over, as one of a metric that is not known.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// What has been used up to a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub at: Timestamp,
    /// CPU time since the start.
    pub cpu_seconds: f64,
    pub memory_bytes: u64,
    /// When a container started; none of a node.
    pub started: Option<Timestamp>,
}

/// A pod's namespace and name.
pub type PodName = (String, String);

/// What one node told at one look.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    pub node: Option<Point>,
    /// The containers of each pod by their names.
    pub pods: BTreeMap<PodName, BTreeMap<String, Point>>,
}

/// A point of which not everything has been read yet.
#[derive(Clone, Copy, Debug, Default)]
struct Half {
    cpu: Option<(f64, Timestamp)>,
    memory: Option<f64>,
    started: Option<f64>,
}

impl Half {
    /// CPU and memory, or nothing: the one without the other is a container that has just gone or come. One without memory runs nothing.
    fn whole(self) -> Option<Point> {
        let ((cpu_seconds, at), memory) = self.cpu.zip(self.memory)?;
        if !(1.0..9e18).contains(&memory) || cpu_seconds < 0.0 {
            return None;
        }
        let started = self.started.and_then(|it| Timestamp::from_millisecond((it * 1000.0) as i64).ok());
        Some(Point { at, cpu_seconds, memory_bytes: memory as u64, started })
    }
}

/// Reads a text; `now` stands for times that it does not tell.
pub fn parse(text: &str, now: Timestamp) -> Points {
    let mut node = Half::default();
    let mut containers: BTreeMap<(PodName, String), Half> = BTreeMap::new();
    for line in text.lines().filter(|it| !it.starts_with('#')) {
        let Some((name, labels, value, at)) = read(line) else { continue };
        let at = at.unwrap_or(now);
        let half = match name {
            "node_cpu_usage_seconds_total" | "node_memory_working_set_bytes" => &mut node,
            "container_cpu_usage_seconds_total"
            | "container_memory_working_set_bytes"
            | "container_start_time_seconds" => {
                let of = |key: &str| labels.iter().find(|it| it.0 == key).map(|it| it.1.clone());
                let (Some(namespace), Some(pod), Some(container)) = (of("namespace"), of("pod"), of("container"))
                else {
                    continue;
                };
                containers.entry(((namespace, pod), container)).or_default()
            }
            _ => continue,
        };
        match name {
            "node_cpu_usage_seconds_total" | "container_cpu_usage_seconds_total" => half.cpu = Some((value, at)),
            "container_start_time_seconds" => half.started = Some(value),
            _ => half.memory = Some(value),
        }
    }
    let mut points = Points { node: node.whole(), pods: BTreeMap::new() };
    // A pod of which one container is not known is not known.
    let mut lacking = Vec::new();
    for ((pod, container), half) in containers {
        match half.whole() {
            Some(it) => _ = points.pods.entry(pod).or_default().insert(container, it),
            None => lacking.push(pod),
        }
    }
    for pod in lacking {
        points.pods.remove(&pod);
    }
    points
}

type Line<'a> = (&'a str, Vec<(&'a str, String)>, f64, Option<Timestamp>);

/// `name{key="value",...} value time`, the labels and the time (in milliseconds) may be absent.
fn read(line: &str) -> Option<Line<'_>> {
    let name_end = line.find(|it: char| it == '{' || it.is_whitespace())?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (key, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.push((key.trim(), value));
            rest = after;
        }
    }
    let mut words = rest.split_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let at = words.next().and_then(|it| it.parse().ok()).and_then(|it| Timestamp::from_millisecond(it).ok());
    value.is_finite().then_some((name, labels, value, at))
}

/// A text up to its closing quote, and what comes after that.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, it) in text.char_indices() {
        match (escaped, it) {
            (true, 'n') => value.push('\n'),
            (true, it) => value.push(it),
            (false, '"') => return Some((value, &text[at + 1..])),
            (false, '\\') => {
                escaped = true;
                continue;
            }
            (false, it) => value.push(it),
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_from_the_kubelets_text() {
        let text = "# HELP node_cpu_usage_seconds_total x
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total 12.5 1700000000123
node_memory_working_set_bytes 1.048576e+06 1700000000123
container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 0.25 1700000001000
container_memory_working_set_bytes{container=\"a\",namespace=\"n\",pod=\"p\"} 4096 1700000001000
container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 1.6999999995e+09
container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"half\"} 0.25 1700000001000
container_cpu_usage_seconds_total{container=\"b\",namespace=\"n\",pod=\"half\"} 1 1700000001000
container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"half\"} 4096 1700000001000
container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"none\"} NaN
something_else{x=\"a\\\"}\"} 1
broken{x=
";
        let points = parse(text, Timestamp::UNIX_EPOCH);
        let at = |it| Timestamp::from_millisecond(it).unwrap();
        let node = Point { at: at(1_700_000_000_123), cpu_seconds: 12.5, memory_bytes: 1 << 20, started: None };
        assert_eq!(points.node, Some(node));
        let container = Point {
            at: at(1_700_000_001_000),
            cpu_seconds: 0.25,
            memory_bytes: 4096,
            started: Some(at(1_699_999_999_500)),
        };
        let expected = BTreeMap::from([("a".to_owned(), container)]);
        assert_eq!(points.pods, BTreeMap::from([(("n".to_owned(), "p".to_owned()), expected)]));
        assert_eq!(parse("", Timestamp::UNIX_EPOCH), Points::default());
    }

    #[test]
    fn labels_may_hold_anything() {
        let (name, labels, value, at) = read(r#"m{a="x\"},y\\",b="\n"} 3"#).unwrap();
        assert_eq!((name, value, at), ("m", 3.0, None));
        assert_eq!(labels, [("a", "x\"},y\\".to_owned()), ("b", "\n".to_owned())]);
        assert!(read(r#"m{a="x} 3"#).is_none() && read("m").is_none() && read("m x").is_none());
    }
}
