//! What a process in a container gives up before it is the container's program: capabilities, and system calls.
//!
//! libcontainer would do both, but compiles the filter for each container anew ([`crate::filter`]), which has to be loaded while the process still has CAP_SYS_ADMIN. So it
//! is given a bundle that asks for neither, and the process that it has prepared does the rest here; a command that enters a container later does the same.

use std::path::Path;

use libcontainer::capabilities::{drop_privileges, reset_effective};
use libcontainer::seccomp::initialize_seccomp;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{LinuxCapabilities, LinuxSeccomp, Spec};

use crate::filter::{self, Filter};

/// What is given up.
#[derive(Clone, Debug)]
pub struct Confinement {
    capabilities: Option<LinuxCapabilities>,
    filter: Option<Filter>,
    /// A filter that asks somebody, as libcontainer loads it: for commands alone, whose questions nobody answers.
    asking: Option<LinuxSeccomp>,
    no_new_privileges: bool,
}

impl Confinement {
    /// What a bundle says of it. `filters` is where compiled filters are kept.
    ///
    /// # Errors
    /// In words: a filter that cannot be compiled.
    pub fn of(bundle: &Spec, filters: Option<&Path>) -> Result<Self, String> {
        let process = bundle.process().as_ref().ok_or("the bundle has no process")?;
        let profile = bundle.linux().as_ref().and_then(|it| it.seccomp().as_ref());
        let (asking, own): (Option<_>, Option<_>) = match profile {
            Some(it) if filter::asks(it) => (Some(filter::for_libcontainer(it)?), None),
            it => (None, it),
        };
        Ok(Self {
            capabilities: process.capabilities().clone(),
            filter: own.map(|it| filter::of(it, filters)).transpose().map_err(|it| format!("seccomp: {it}"))?,
            asking,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
        })
    }

    /// Gives it up. The user is the container's by now, with all capabilities permitted still; where no privileges can be gained any more, that is set already.
    /// The filter comes as late as it can: after the capabilities, where loading it needs none.
    ///
    /// # Errors
    /// In words, the kernel's. The process must not go on then.
    pub fn take_on(&self) -> Result<(), String> {
        let syscall = SyscallType::Linux.create_syscall();
        reset_effective(syscall.as_ref()).map_err(|it| format!("capabilities: {it}"))?;
        if !self.no_new_privileges {
            self.load()?;
        }
        if let Some(it) = &self.capabilities {
            drop_privileges(it, syscall.as_ref()).map_err(|it| format!("capabilities: {it}"))?;
        }
        if self.no_new_privileges { self.load() } else { Ok(()) }
    }

    fn load(&self) -> Result<(), String> {
        if let Some(it) = &self.filter {
            it.load().map_err(|it| format!("seccomp: {it}"))?;
        }
        if let Some(it) = &self.asking {
            initialize_seccomp(it).map_err(|it| format!("seccomp: {it}"))?;
        }
        Ok(())
    }

    /// As it is for the first process of a container: a filter that asks somebody is libcontainer's to load.
    pub fn of_first(mut self) -> Self {
        self.asking = None;
        self
    }
}

/// The bundle in `folder` without what [`Confinement`] does, for libcontainer.
///
/// # Errors
/// In words: a filter that cannot be told.
pub fn remainder(mut bundle: Spec, folder: &Path) -> Result<Spec, String> {
    let mut process = bundle.process().clone();
    if let Some(it) = &mut process {
        it.set_capabilities(None);
    }
    let mut linux = bundle.linux().clone();
    if let Some(it) = &mut linux {
        let asking = it.seccomp().as_ref().filter(|it| filter::asks(it)).map(filter::for_libcontainer);
        it.set_seccomp(asking.transpose()?);
    }
    // Its path is from the folder that it was in.
    let mut root = bundle.root().clone();
    if let Some(it) = &mut root {
        it.set_path(folder.join(it.path()));
    }
    bundle.set_process(process).set_linux(linux).set_root(root);
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libcontainer_is_told_the_rest() {
        let check = |action: &str, own: bool, asking: bool| {
            let text = format!(
                r#"{{"ociVersion": "1.0.2", "root": {{"path": "rootfs"}}, "hostname": "h",
                "process": {{"user": {{"uid": 1, "gid": 2}}, "cwd": "/", "args": ["x"], "noNewPrivileges": true, "capabilities": {{"bounding": ["CAP_KILL"]}}}},
                "linux": {{"cgroupsPath": "/c", "seccomp": {{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": ["mount"], "action": "{action}"}}]}}}}}}"#
            );
            let bundle: Spec = serde_json::from_str(&text).unwrap();
            let it = Confinement::of(&bundle, None).unwrap();
            assert!(it.capabilities.is_some() && it.no_new_privileges);
            assert_eq!((it.filter.is_some(), it.asking.is_some()), (own, asking));
            assert_eq!(it.of_first().asking, None);

            let rest = remainder(bundle, Path::new("/pod")).unwrap();
            let process = rest.process().as_ref().unwrap();
            assert_eq!((process.capabilities(), process.no_new_privileges()), (&None, Some(true)));
            assert_eq!(process.user().uid(), 1);
            let linux = rest.linux().as_ref().unwrap();
            assert_eq!((linux.seccomp().is_some(), linux.cgroups_path().as_deref()), (asking, Some(Path::new("/c"))));
            assert_eq!(rest.root().as_ref().unwrap().path(), Path::new("/pod/rootfs"));
            assert_eq!(rest.hostname().as_deref(), Some("h"));
        };
        check("SCMP_ACT_ERRNO", true, false);
        check("SCMP_ACT_NOTIFY", false, true);
    }
}
