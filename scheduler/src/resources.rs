//! Amounts of resources as plain integers: what pods ask for and nodes offer.
//!
//! Milli-CPU and bytes in `i64` and one slot each for the three resources every node has; everything else (extended resources,
//! huge pages) stands in a small sorted list that is empty for nearly all pods. Source of the pod's sum: KEP-753 and
//! `k8s.io/component-helpers/resource`.

use orlop_api::quantity::Quantity;

use crate::view::{ContainerView, PodSpecView, Quantities};

/// An amount of every resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub ephemeral_bytes: i64,
    /// Extended resources by name, sorted; zero amounts are left out.
    pub other: Vec<(Box<str>, i64)>,
}

/// What least-allocated scoring takes a container without a CPU request for, in thousandths of a core.
const UNSAID_CPU_MILLI: i64 = 100;
/// What least-allocated scoring takes a container without a memory request for: 200 MB.
const UNSAID_MEMORY_BYTES: i64 = 200 * 1024 * 1024;

impl Amounts {
    /// Reads quantities; what cannot be read counts as zero (the API server has refused it long before).
    pub fn read(quantities: &Quantities) -> Self {
        let mut out = Amounts::default();
        for (name, quantity) in quantities {
            let Ok(amount) = Quantity::parse(&quantity.0) else { continue };
            match name.as_str() {
                "cpu" => out.cpu_milli = amount.milli_value_ceil(),
                "memory" => out.memory_bytes = amount.value_ceil(),
                "ephemeral-storage" => out.ephemeral_bytes = amount.value_ceil(),
                "pods" => {}
                other => {
                    let value = amount.value_ceil();
                    if value != 0 {
                        out.other.push((other.into(), value));
                    }
                }
            }
        }
        out.other.sort();
        out
    }

    /// The amount of an extended resource.
    pub fn of(&self, name: &str) -> i64 {
        self.other.binary_search_by(|(it, _)| (**it).cmp(name)).map_or(0, |at| self.other[at].1)
    }

    fn merge(&mut self, with: &Self, combine: impl Fn(i64, i64) -> i64) {
        self.cpu_milli = combine(self.cpu_milli, with.cpu_milli);
        self.memory_bytes = combine(self.memory_bytes, with.memory_bytes);
        self.ephemeral_bytes = combine(self.ephemeral_bytes, with.ephemeral_bytes);
        for (name, amount) in &with.other {
            match self.other.binary_search_by(|(it, _)| it.cmp(name)) {
                Ok(at) => self.other[at].1 = combine(self.other[at].1, *amount),
                Err(at) => self.other.insert(at, (name.clone(), combine(0, *amount))),
            }
        }
        self.other.retain(|(_, amount)| *amount != 0);
    }

    /// Takes these amounts in the place of its own of the same names.
    fn replace(&mut self, with: &Quantities) {
        let new = Amounts::read(with);
        if with.contains_key("cpu") {
            self.cpu_milli = new.cpu_milli;
        }
        if with.contains_key("memory") {
            self.memory_bytes = new.memory_bytes;
        }
        self.other.retain(|(name, _)| !with.contains_key(&**name));
        self.other.extend(new.other);
        self.other.sort();
    }

    /// Adds what `with` holds.
    pub fn add(&mut self, with: &Self) {
        self.merge(with, i64::saturating_add);
    }

    /// Takes away what `with` holds.
    pub fn subtract(&mut self, with: &Self) {
        self.merge(with, i64::saturating_sub);
    }

    /// Raises each amount to that of `with`.
    pub fn raise(&mut self, with: &Self) {
        self.merge(with, i64::max);
    }
}

/// What a pod asks for: as the fit filter counts it, and as least-allocated scoring does, where a container that says nothing still counts.
pub fn requests(spec: &PodSpecView) -> (Amounts, Amounts) {
    let exact = sum(spec, |container| container.resources.requests.as_ref().map(Amounts::read).unwrap_or_default());
    let assumed = sum(spec, |container| {
        let mut amounts = container.resources.requests.as_ref().map(Amounts::read).unwrap_or_default();
        let says = |name: &str| container.resources.requests.as_ref().is_some_and(|it| it.contains_key(name));
        if !says("cpu") {
            amounts.cpu_milli = UNSAID_CPU_MILLI;
        }
        if !says("memory") {
            amounts.memory_bytes = UNSAID_MEMORY_BYTES;
        }
        amounts
    });
    (exact, assumed)
}

/// The containers' sum, or the largest moment of the start if that is more: init containers run one after the other, beside the
/// sidecars (restartable init containers) that were started before them.
fn sum(spec: &PodSpecView, of: impl Fn(&ContainerView) -> Amounts) -> Amounts {
    let mut total = Amounts::default();
    for container in &spec.containers {
        total.add(&of(container));
    }
    let (mut sidecars, mut start) = (Amounts::default(), Amounts::default());
    for container in &spec.init_containers {
        let mut moment = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars.add(&moment);
            start.raise(&sidecars);
        } else {
            moment.add(&sidecars);
            start.raise(&moment);
        }
    }
    total.add(&sidecars);
    total.raise(&start);
    // What the pod as a whole asks for stands for what its containers ask for.
    if let Some(whole) = &spec.resources.requests {
        total.replace(whole);
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Amounts::read(overhead));
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, cpu_milli: i64, memory_bytes: i64) {
        let spec: PodSpecView = serde_json::from_str(spec).unwrap();
        let (exact, _) = requests(&spec);
        assert_eq!((exact.cpu_milli, exact.memory_bytes), (cpu_milli, memory_bytes));
    }

    #[test]
    fn a_pod_as_a_whole_asks_for_its_containers() {
        let containers = r#""containers":[{"resources":{"requests":{"cpu":"250m","memory":"1Ki"}}}]"#;
        check(
            &format!(r#"{{{containers},"resources":{{"requests":{{"cpu":"2"}}}},"overhead":{{"cpu":"100m"}}}}"#),
            2100,
            1024,
        );
        check(&format!(r#"{{{containers},"resources":{{"requests":{{"memory":"4Ki"}}}}}}"#), 250, 4096);
    }

    #[test]
    fn sums_containers_and_the_start() {
        check(
            r#"{"containers":[{"resources":{"requests":{"cpu":"250m","memory":"1Ki"}}},{"resources":{"requests":{"cpu":"1"}}}]}"#,
            1250,
            1024,
        );
        check(
            r#"{"containers":[{"resources":{"requests":{"cpu":"1"}}}],"initContainers":[{"resources":{"requests":{"cpu":"3"}}}]}"#,
            3000,
            0,
        );
        check(
            r#"{"containers":[{"resources":{"requests":{"cpu":"1"}}}],"initContainers":[{"restartPolicy":"Always","resources":{"requests":{"cpu":"1"}}},{"resources":{"requests":{"cpu":"2"}}}]}"#,
            3000,
            0,
        );
        check(r#"{"containers":[{}],"overhead":{"cpu":"10m"}}"#, 10, 0);
    }
}
