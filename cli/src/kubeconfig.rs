//! The user's kubeconfig: where it is, and how a cluster's context comes into it and out again.
//!
//! A change reads the file, and puts a new one in its place under a lock, so that two commands at once do not undo each other's.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use kube::config::Kubeconfig;

/// The kubeconfig that is meant when none is given: $KUBECONFIG's first file, or ~/.kube/config.
///
/// # Errors
/// When there is no home directory.
pub fn path(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(first) =
        std::env::var("KUBECONFIG").ok().as_deref().and_then(|it| it.split(':').find(|it| !it.is_empty()))
    {
        return Ok(PathBuf::from(first));
    }
    let home = std::env::var_os("HOME").context("HOME is not set: give --kubeconfig")?;
    Ok(PathBuf::from(home).join(".kube/config"))
}

/// A cluster's own kubeconfig with everything in it called after the context.
pub fn renamed(mut own: Kubeconfig, context: &str) -> Kubeconfig {
    own.clusters.iter_mut().for_each(|it| it.name = context.into());
    own.auth_infos.iter_mut().for_each(|it| it.name = context.into());
    for it in &mut own.contexts {
        it.name = context.into();
        let inner = it.context.get_or_insert_default();
        inner.cluster = context.into();
        inner.user = Some(context.into());
    }
    own.current_context = Some(context.into());
    own
}

/// Puts a cluster into a kubeconfig, under the name of `context` and as the current one; what was there under that name is replaced.
///
/// # Errors
/// When a file cannot be read or written.
pub fn offer(own: &Path, into: &Path, context: &str) -> Result<()> {
    let ours = renamed(Kubeconfig::read_from(own)?, context);
    let _alone = lock(into)?;
    let mut all = if into.exists() { Kubeconfig::read_from(into)? } else { Kubeconfig::default() };
    forget(&mut all, context);
    all.clusters.extend(ours.clusters);
    all.auth_infos.extend(ours.auth_infos);
    all.contexts.extend(ours.contexts);
    all.current_context = Some(context.into());
    write(into, &all)
}

/// Takes a cluster out of a kubeconfig. One that is not there is out already, and another of the same name (told by its CA) stays.
///
/// # Errors
/// When a file cannot be read or written.
pub fn withdraw(own: &Path, from: &Path, context: &str) -> Result<()> {
    if !from.exists() || !own.exists() {
        return Ok(());
    }
    let ours = authority(&Kubeconfig::read_from(own)?, context);
    let _alone = lock(from)?;
    let mut all = Kubeconfig::read_from(from)?;
    if authority(&all, context) != ours || !forget(&mut all, context) {
        return Ok(());
    }
    all.current_context = all.current_context.filter(|it| it != context);
    write(from, &all)
}

/// The CA of a cluster.
fn authority(all: &Kubeconfig, name: &str) -> Option<String> {
    all.clusters.iter().find(|it| it.name == name)?.cluster.as_ref()?.certificate_authority_data.clone()
}

/// Removes what is called so; whether there was something.
fn forget(all: &mut Kubeconfig, context: &str) -> bool {
    let count = |it: &Kubeconfig| it.clusters.len() + it.contexts.len() + it.auth_infos.len();
    let before = count(all);
    all.clusters.retain(|it| it.name != context);
    all.contexts.retain(|it| it.name != context);
    all.auth_infos.retain(|it| it.name != context);
    count(all) != before
}

/// Held while a kubeconfig is changed: a lock on its folder, which leaves nothing.
fn lock(path: &Path) -> Result<File> {
    let folder = folder(path);
    std::fs::create_dir_all(folder)?;
    let file = File::open(folder)?;
    file.lock()?;
    Ok(file)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes a kubeconfig so that no reader sees half of it, readable by its owner only.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, config: &Kubeconfig) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let folder = folder(path);
    std::fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".kubeconfig-{}", std::process::id()));
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(serde_saphyr::to_string(config)?.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, path).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> (Vec<String>, Option<String>) {
        let all = Kubeconfig::read_from(path).unwrap();
        (all.contexts.into_iter().map(|it| it.name).collect(), all.current_context)
    }

    #[test]
    fn clusters_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let (own, all) = (dir.path().join("own"), dir.path().join("kube/config"));
        let text = |authority: &str| {
            format!(
                "apiVersion: v1\nkind: Config\nclusters: [{{ name: orlop-a, cluster: {{ certificate-authority-data: {authority} }} }}]\n\
                 users: [{{ name: u, user: {{ token: t }} }}]\n\
                 contexts: [{{ name: x, context: {{ cluster: orlop-a, user: u, namespace: n }} }}]\n"
            )
        };
        std::fs::write(&own, text("QQ==")).unwrap();
        let withdraw = |context: &str| {
            let own = renamed(Kubeconfig::read_from(&own).unwrap(), context);
            let path = dir.path().join("renamed");
            write(&path, &own).unwrap();
            super::withdraw(&path, &all, context).unwrap();
        };
        withdraw("orlop-a");
        for context in ["orlop-a", "orlop-b", "orlop-a"] {
            offer(&own, &all, context).unwrap();
        }
        assert_eq!(names(&all), (vec!["orlop-b".into(), "orlop-a".into()], Some("orlop-a".into())));
        let kept = Kubeconfig::read_from(&all).unwrap().contexts.remove(0).context.unwrap();
        assert_eq!((kept.cluster.as_str(), kept.namespace.as_deref()), ("orlop-b", Some("n")));
        withdraw("orlop-b");
        assert_eq!(names(&all), (vec!["orlop-a".into()], Some("orlop-a".into())));
        std::fs::write(&own, text("Qg==")).unwrap();
        withdraw("orlop-a");
        assert_eq!(names(&all).0, ["orlop-a"], "another cluster's stays");
        std::fs::write(&own, text("QQ==")).unwrap();
        withdraw("orlop-a");
        withdraw("orlop-a");
        assert_eq!(names(&all), (vec![], None));
        assert_eq!(std::fs::read_dir(dir.path().join("kube")).unwrap().count(), 1);
    }
}
