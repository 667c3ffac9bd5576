//! `NodePorts`: a port of the host can be had once.

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::Node;

pub(super) struct HostPorts;

impl Filter for HostPorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        !pod.host_ports.is_empty()
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        !pod.host_ports.iter().any(|wanted| node.host_ports.iter().any(|taken| wanted.conflicts(taken)))
    }

    fn explain(&self, _: &Pod, _: &Node) -> Vec<String> {
        vec!["node(s) didn't have free ports for the requested pod ports".into()]
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::PodLeft | Happening::NodeRoom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Cluster;

    #[test]
    fn gives_a_port_once() {
        let view =
            r#"{"metadata":{"uid":"1"},"spec":{"containers":[{"ports":[{"containerPort":80,"hostPort":8080}]}]}}"#;
        let pod = Pod::new(&serde_json::from_str(view).unwrap());
        let mut cluster = Cluster::default();
        cluster.set_node(&serde_json::from_str(r#"{"metadata":{"name":"n"}}"#).unwrap());
        assert!(HostPorts.check(&pod, &cluster.nodes()[0]));
        cluster.place(&pod, "n", false);
        let second = Pod { uid: "2".into(), ..pod.clone() };
        assert!(!HostPorts.check(&second, &cluster.nodes()[0]));
        cluster.remove_pod("1");
        assert!(HostPorts.check(&second, &cluster.nodes()[0]));
    }
}
