//! The labels and names by which our containers are found again. Pure.

use std::collections::HashMap;

use crate::runtime::PodRef;

/// The node whose agent made it.
pub const NODE: &str = "dev.orlop.node";
/// `sandbox` or `container`.
pub const KIND: &str = "dev.orlop.kind";
/// The uid of the pod whose it is.
pub const POD_UID: &str = "dev.orlop.pod-uid";
const POD_NAME: &str = "dev.orlop.pod-name";
const POD_NAMESPACE: &str = "dev.orlop.pod-namespace";
/// The container's name in its pod.
pub const CONTAINER: &str = "dev.orlop.container";
/// How many of it there were before.
pub const ATTEMPT: &str = "dev.orlop.attempt";
/// The sandbox that a container joined.
pub const SANDBOX: &str = "dev.orlop.sandbox";

/// The kubelet's name for a sandbox where a container's name would stand.
const SANDBOX_NAME: &str = "POD";

/// What a labelled container is to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labelled {
    pub pod: PodRef,
    pub attempt: u32,
    /// The container's name in the pod and its sandbox's id; none for a sandbox.
    pub container: Option<(String, String)>,
}

impl Labelled {
    /// The labels to give.
    pub fn write(&self, node: &str) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (NODE.to_owned(), node.to_owned()),
            (KIND.to_owned(), self.kind().to_owned()),
            (POD_UID.to_owned(), self.pod.uid.clone()),
            (POD_NAME.to_owned(), self.pod.name.clone()),
            (POD_NAMESPACE.to_owned(), self.pod.namespace.clone()),
            (ATTEMPT.to_owned(), self.attempt.to_string()),
        ]);
        if let Some((name, sandbox)) = &self.container {
            labels.insert(CONTAINER.to_owned(), name.clone());
            labels.insert(SANDBOX.to_owned(), sandbox.clone());
        }
        labels
    }

    /// Reads them back; none if they are not ours or not whole.
    pub fn read(labels: &HashMap<String, String>) -> Option<Self> {
        let get = |name: &str| labels.get(name).cloned();
        let container = match labels.get(KIND)?.as_str() {
            "sandbox" => None,
            "container" => Some((get(CONTAINER)?, get(SANDBOX)?)),
            _ => return None,
        };
        Some(Self {
            pod: PodRef { namespace: get(POD_NAMESPACE)?, name: get(POD_NAME)?, uid: get(POD_UID)? },
            attempt: labels.get(ATTEMPT)?.parse().ok()?,
            container,
        })
    }

    /// The name of the container, as the kubelet forms it.
    pub fn name(&self) -> String {
        let container = self.container.as_ref().map_or(SANDBOX_NAME, |it| it.0.as_str());
        let PodRef { namespace, name, uid } = &self.pod;
        format!("k8s_{container}_{name}_{namespace}_{uid}_{}", self.attempt)
    }

    fn kind(&self) -> &'static str {
        if self.container.is_some() { "container" } else { "sandbox" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_read_back() {
        let check = |container: Option<(&str, &str)>, name: &str| {
            let pod = PodRef { namespace: "default".into(), name: "web-1".into(), uid: "1b2c".into() };
            let container = container.map(|(name, sandbox)| (name.to_owned(), sandbox.to_owned()));
            let labelled = Labelled { pod, attempt: 4, container };
            assert_eq!(labelled.name(), name);
            assert_eq!(Labelled::read(&labelled.write("node-1")), Some(labelled));
        };
        check(None, "k8s_POD_web-1_default_1b2c_4");
        check(Some(("nginx", "abc")), "k8s_nginx_web-1_default_1b2c_4");
        assert_eq!(Labelled::read(&HashMap::from([(KIND.to_owned(), "sandbox".to_owned())])), None);
        assert_eq!(Labelled::read(&HashMap::new()), None);
    }
}
