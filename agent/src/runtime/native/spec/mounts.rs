//! The mounts of a container: the kernel's file systems, the pod's own files, its volumes. Pure.

use serde_json::{Value, json};

use super::Place;
use crate::runtime::{ContainerSpec, Propagation, Recursive};

/// Where a container sees its own cgroups.
pub const CGROUPS: &str = "/sys/fs/cgroup";

/// The OCI's `mounts`, in the order in which they are made. A pod's mount takes the place of one of ours at the same path.
pub fn mounts(spec: &ContainerSpec, place: &Place) -> Vec<Value> {
    let mount = |at: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": at, "type": kind, "source": source, "options": options});
    // What the kernel tells of the machine is written by privileged containers alone.
    let write = if spec.privileged { "rw" } else { "ro" };
    let own = if spec.read_only_root { "ro" } else { "rw" };
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            // Group 5 is tty's everywhere.
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", write]),
        mount("/dev/shm", "bind", &place.shm.display().to_string(), &["rbind", "rprivate", "rw"]),
    ];
    if place.unified {
        all.push(mount(CGROUPS, "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", write]));
    } else {
        // libcontainer 0.7 mounts version 1 writable whatever is asked, devices.allow among it: so each is mounted here.
        all.push(mount(CGROUPS, "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755", "size=64k"]));
        for it in &place.cgroups {
            let source = it.join(place.cgroups_path.trim_start_matches('/')).display().to_string();
            let name = it.file_name().unwrap_or_default().to_string_lossy();
            let options = ["bind", "rprivate", "nosuid", "noexec", "nodev", write];
            all.push(mount(&format!("{CGROUPS}/{name}"), "bind", &source, &options));
        }
    }
    for (name, path) in &place.etc {
        all.push(mount(&format!("/etc/{name}"), "bind", &path.display().to_string(), &["rbind", "rprivate", own]));
    }
    let plain = |it: &str| format!("/{}", it.trim_matches('/'));
    all.retain(|ours| {
        let at = ours["destination"].as_str().unwrap_or_default();
        !spec.mounts.iter().any(|it| plain(&it.container_path) == at)
    });
    let mut volumes: Vec<_> = spec.mounts.iter().collect();
    // One below another comes after it.
    volumes.sort_by_key(|it| plain(&it.container_path).matches('/').count());
    for it in volumes {
        let mut options = vec!["rbind", propagation(it.propagation), if it.read_only { "ro" } else { "rw" }];
        if it.recursive != Recursive::No {
            options.push("rro");
        }
        let source = it.host_path.display().to_string();
        all.push(mount(&plain(&it.container_path), "bind", &source, &options));
    }
    all
}

fn propagation(it: Propagation) -> &'static str {
    match it {
        Propagation::None => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    }
}

/// How the container's root hands mounts on. Of the image's file system nothing is to be seen outside, and nothing of the machine's that is
/// mounted later inside, unless a volume asks for it: what is bound from a root that only follows cannot be shared.
pub fn of_root(spec: &ContainerSpec) -> &'static str {
    let shared = spec.mounts.iter().any(|it| it.propagation == Propagation::Bidirectional);
    if shared { "shared" } else { "slave" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Mount;
    use crate::runtime::native::spec::tests::plain;

    fn check(spec: &ContainerSpec, expected: &[(&str, &str, &str)]) {
        let place = Place {
            shm: "/pod/shm".into(),
            etc: vec![("hosts".into(), "/pod/hosts".into())],
            cgroups: vec!["/sys/fs/cgroup/memory".into()],
            cgroups_path: "/kubepods/c".into(),
            ..Place::default()
        };
        let all = mounts(spec, &place);
        for (at, source, write) in expected {
            let found: Vec<_> = all.iter().filter(|it| it["destination"] == *at).collect();
            assert_eq!(found.len(), 1, "{at}");
            assert_eq!(found[0]["source"], *source, "{at}");
            assert!(found[0]["options"].as_array().unwrap().iter().any(|it| it == write), "{at} {write}");
        }
        let _: Vec<oci_spec::runtime::Mount> = serde_json::from_value(json!(all)).unwrap();
    }

    #[test]
    fn everything_is_mounted_once() {
        check(
            &plain(),
            &[
                ("/sys", "sysfs", "ro"),
                ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/kubepods/c", "ro"),
                ("/dev/shm", "/pod/shm", "rw"),
                ("/etc/hosts", "/pod/hosts", "rw"),
            ],
        );
        check(
            &ContainerSpec { privileged: true, ..plain() },
            &[("/sys", "sysfs", "rw"), ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/kubepods/c", "rw")],
        );
        check(&ContainerSpec { read_only_root: true, ..plain() }, &[("/etc/hosts", "/pod/hosts", "ro")]);
    }

    #[test]
    fn mounts_are_handed_on_as_asked_for() {
        let mount = |at: &str, propagation, read_only| Mount {
            host_path: "/d".into(),
            container_path: at.into(),
            read_only,
            recursive: if read_only { Recursive::IfPossible } else { Recursive::No },
            propagation,
        };
        let mut spec = ContainerSpec { mounts: vec![mount("/a", Propagation::None, true)], ..plain() };
        check(&spec, &[("/a", "/d", "rprivate"), ("/a", "/d", "ro"), ("/a", "/d", "rro")]);
        spec.mounts.push(mount("/b", Propagation::HostToContainer, false));
        check(&spec, &[("/b", "/d", "rslave")]);
        assert_eq!(of_root(&spec), "slave");
        spec.mounts.push(mount("/c", Propagation::Bidirectional, false));
        check(&spec, &[("/c", "/d", "rshared")]);
        assert_eq!(of_root(&spec), "shared");
    }

    #[test]
    fn a_pods_mounts_take_the_place_of_ours_and_stand_in_order() {
        let mount = |host: &str, at: &str, read_only| Mount {
            host_path: host.into(),
            container_path: at.into(),
            read_only,
            ..Mount::default()
        };
        let all = vec![mount("/b", "/a/b", false), mount("/a", "a/", true), mount("/m", "/dev/shm", false)];
        let spec = ContainerSpec { mounts: all, ..plain() };
        check(&spec, &[("/a/b", "/b", "rw"), ("/a", "/a", "ro"), ("/dev/shm", "/m", "rw")]);
        let order: Vec<_> =
            mounts(&spec, &Place::default()).iter().rev().take(3).rev().map(|it| it["destination"].clone()).collect();
        assert_eq!(order, ["/a", "/a/b", "/dev/shm"]);
    }
}
