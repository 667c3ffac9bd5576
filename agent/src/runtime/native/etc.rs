//! The pod's own files in `/etc`: `hosts`, `hostname`, `resolv.conf`, one of each for all its containers, as the kubelet writes them.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::record::{Sandbox, failed};
use crate::hosts;
use crate::runtime::resolver::resolv_conf;
use crate::runtime::{RuntimeError, SandboxSpec};

const RESOLV_CONF: &str = "resolv.conf";
const HOSTNAME: &str = "hostname";
const HOSTS_NAME: &str = "hosts";

/// Writes what is known when the sandbox is made.
///
/// # Errors
/// The disk's.
pub fn write(folder: &Path, spec: &SandboxSpec) -> Result<(), RuntimeError> {
    let resolver = resolv_conf(spec).unwrap_or_else(|| fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    put(folder, RESOLV_CONF, &resolver)?;
    let hostname = if spec.host_network {
        fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default()
    } else {
        format!("{}\n", spec.hostname)
    };
    put(folder, HOSTNAME, &hostname)
}

/// Writes the names of the pod's addresses, once they are known, and not again: what a container adds to its file stays.
///
/// # Errors
/// The disk's.
pub fn write_hosts(folder: &Path, sandbox: &Sandbox, addresses: &[IpAddr]) -> Result<(), RuntimeError> {
    let stale = match fs::read_to_string(folder.join(HOSTS_NAME)) {
        Ok(text) => !addresses.is_empty() && text == hosts(&sandbox.hostname, &[]),
        Err(_) => true,
    };
    if !stale {
        return Ok(());
    }
    let text = match sandbox.host_network {
        true => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        false => hosts(&sandbox.hostname, addresses),
    };
    put(folder, HOSTS_NAME, &text)
}

/// The files to mount.
pub fn files(folder: &Path) -> Vec<(String, PathBuf)> {
    [HOSTS_NAME, HOSTNAME, RESOLV_CONF].iter().map(|it| ((*it).to_owned(), folder.join(it))).collect()
}

fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    hosts::managed(hostname, None, addresses.iter().copied())
}

/// Whoever runs in the container reads them.
fn put(folder: &Path, name: &str, text: &str) -> Result<(), RuntimeError> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(name);
    let written = fs::write(&path, text).and_then(|()| fs::set_permissions(&path, PermissionsExt::from_mode(0o644)));
    written.map_err(|it| failed(&path, it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_name_the_pod() {
        let text = hosts("web", &["10.244.0.5".parse().unwrap(), "fd00::5".parse().unwrap()]);
        assert!(text.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n"));
        assert!(text.ends_with("ip6-allrouters\n10.244.0.5\tweb\nfd00::5\tweb\n"), "{text}");
    }
}
