//! The last two looks at each node, and what was used between them. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use orlop_api::computed::usage::{Usage, Window};

use super::points::{Point, Points};

/// How long a container has to run until its use since its start is told, in milliseconds: metrics-server's `freshContainerMinMetricsResolution`.
const FRESH_MS: i64 = 10_000;

/// Two looks, the second the later one.
#[derive(Clone, Debug, Default)]
struct Pair {
    before: Points,
    last: Points,
}

/// By node.
#[derive(Clone, Debug, Default)]
pub struct History {
    nodes: BTreeMap<String, Pair>,
}

impl History {
    /// Takes in a look at all nodes. Those that did not answer are forgotten: what they told is of no window that ends now.
    pub fn add(&mut self, looks: BTreeMap<String, Points>) {
        let mut old = std::mem::take(&mut self.nodes);
        for (node, last) in looks {
            let before = old.remove(&node).map(|it| it.last).unwrap_or_default();
            self.nodes.insert(node, Pair { before, last });
        }
    }

    /// What a node used.
    pub fn node(&self, name: &str) -> Option<(Window, Usage)> {
        let pair = self.nodes.get(name)?;
        between(&pair.before.node?, &pair.last.node?)
    }

    /// What the containers of a pod used on its node; none unless it is known of each of them. The window is that which ends first.
    pub fn pod<'a>(&'a self, node: &str, namespace: &str, name: &str) -> Option<(Window, Vec<(&'a str, Usage)>)> {
        let pair = self.nodes.get(node)?;
        let key = (namespace.to_owned(), name.to_owned());
        let before = pair.before.pods.get(&key);
        let mut window: Option<Window> = None;
        let mut containers = Vec::new();
        for (container, last) in pair.last.pods.get(&key)? {
            let old = before.and_then(|it| it.get(container));
            let (own, usage) = between(&start(old, last)?, last)?;
            window = Some(window.filter(|it| it.at <= own.at).unwrap_or(own));
            containers.push((container.as_str(), usage));
        }
        Some((window?, containers))
    }
}

/// The point from which a container's use counts: the look before, or its start, where it has started since and some time ago.
fn start(before: Option<&Point>, last: &Point) -> Option<Point> {
    match (before, last.started) {
        (Some(before), started) if started.is_none_or(|it| it < before.at) => Some(*before),
        (_, Some(started)) if ms(started, last.at) >= FRESH_MS => {
            Some(Point { at: started, cpu_seconds: 0.0, ..*last })
        }
        _ => None,
    }
}

fn ms(from: Timestamp, to: Timestamp) -> i64 {
    to.as_millisecond() - from.as_millisecond()
}

/// The use between two points; none where they are no two.
fn between(before: &Point, last: &Point) -> Option<(Window, Usage)> {
    let length_ms = u64::try_from(ms(before.at, last.at)).ok().filter(|it| *it > 0)?;
    let spent = last.cpu_seconds - before.cpu_seconds;
    // A counter that went backwards began anew in between.
    let cores = (spent >= 0.0).then(|| spent / (length_ms as f64 / 1000.0))?;
    let usage = Usage { cpu_nanocores: (cores * 1e9).round() as u64, memory_bytes: last.memory_bytes };
    Some((Window { at: last.at, length_ms }, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: i64, cpu_seconds: f64, started: Option<i64>) -> Point {
        let at = |it| Timestamp::from_second(it).unwrap();
        Point { at: at(second), cpu_seconds, memory_bytes: 4096, started: started.map(at) }
    }

    fn look(node: Point, containers: &[(&str, Point)]) -> BTreeMap<String, Points> {
        let containers = containers.iter().map(|(name, it)| ((*name).to_owned(), *it)).collect();
        let pods = BTreeMap::from([(("n".to_owned(), "p".to_owned()), containers)]);
        BTreeMap::from([("n1".to_owned(), Points { node: Some(node), pods })])
    }

    /// The nanocores of each container after two looks.
    fn check(first: &[(&str, Point)], second: &[(&str, Point)], expected: Option<&[u64]>) {
        let mut history = History::default();
        history.add(look(point(100, 50.0, None), first));
        history.add(look(point(115, 65.0, None), second));
        let found = history.pod("n1", "n", "p").map(|it| it.1.iter().map(|it| it.1.cpu_nanocores).collect::<Vec<_>>());
        assert_eq!(found.as_deref(), expected);
        assert_eq!(history.pod("n2", "n", "p"), None, "another node's word does not count");
    }

    #[test]
    fn use_is_told_between_two_looks() {
        let old = point(100, 1.0, Some(10));
        check(&[("a", old)], &[("a", point(115, 4.0, Some(10)))], Some(&[200_000_000]));
        check(&[], &[("a", point(115, 4.0, Some(10)))], Some(&[38_095_238]));
        check(&[], &[("a", point(115, 2.0, Some(105)))], Some(&[200_000_000]));
        check(&[], &[("a", point(115, 2.0, Some(110)))], None);
        check(&[("a", old)], &[("a", point(115, 0.5, Some(101)))], Some(&[35_714_286]));
        check(&[("a", old)], &[("a", point(115, 0.5, Some(112)))], None);
        check(&[("a", old)], &[("a", point(115, 1.0, Some(10))), ("b", point(115, 1.0, Some(114)))], None);
        check(&[("a", old)], &[("a", old)], None);
        check(&[("a", old)], &[], None);
    }

    #[test]
    fn a_node_that_does_not_answer_is_forgotten() {
        let mut history = History::default();
        history.add(look(point(100, 50.0, None), &[]));
        assert_eq!(history.node("n1"), None);
        history.add(look(point(115, 65.0, None), &[]));
        let (window, usage) = history.node("n1").unwrap();
        assert_eq!((window.length_ms, usage.cpu_nanocores, usage.memory_bytes), (15_000, 1_000_000_000, 4096));
        history.add(BTreeMap::new());
        assert_eq!(history.node("n1"), None);
    }
}
