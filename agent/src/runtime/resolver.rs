//! The text of a pod's `/etc/resolv.conf`. Pure.

use std::fmt::Write;

use super::SandboxSpec;

/// The text of `resolv.conf`; none leaves the host's.
pub fn resolv_conf(spec: &SandboxSpec) -> Option<String> {
    if spec.nameservers.is_empty() && spec.searches.is_empty() && spec.dns_options.is_empty() {
        return None;
    }
    let mut text = String::new();
    let mut line = |words: &str, values: &str| writeln!(text, "{words} {values}").expect("writing to a string");
    for server in &spec.nameservers {
        line("nameserver", &server.to_string());
    }
    if !spec.searches.is_empty() {
        line("search", &spec.searches.join(" "));
    }
    if !spec.dns_options.is_empty() {
        line("options", &spec.dns_options.join(" "));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::PodRef;

    fn spec() -> SandboxSpec {
        SandboxSpec {
            pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u".into() },
            hostname: "web".into(),
            attempt: 0,
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_processes: false,
            fenced: false,
            handler: String::new(),
            host_ports: Vec::new(),
            nameservers: Vec::new(),
            searches: Vec::new(),
            dns_options: Vec::new(),
            sysctls: Default::default(),
        }
    }

    #[test]
    fn resolv_conf_is_as_the_kubelet_writes_it() {
        let check = |servers: &[&str], searches: &[&str], options: &[&str], expected: Option<&str>| {
            let owned = |it: &[&str]| it.iter().map(|it| it.to_string()).collect::<Vec<_>>();
            let nameservers = servers.iter().map(|it| it.parse().unwrap()).collect();
            let spec = SandboxSpec { nameservers, searches: owned(searches), dns_options: owned(options), ..spec() };
            assert_eq!(resolv_conf(&spec).as_deref(), expected);
        };
        check(&[], &[], &[], None);
        check(
            &["10.96.0.10"],
            &["default.svc.cluster.local", "cluster.local"],
            &["ndots:5"],
            Some("nameserver 10.96.0.10\nsearch default.svc.cluster.local cluster.local\noptions ndots:5\n"),
        );
        check(&["1.1.1.1", "::1"], &[], &[], Some("nameserver 1.1.1.1\nnameserver ::1\n"));
    }
}
