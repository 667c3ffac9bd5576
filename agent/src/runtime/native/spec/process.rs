//! The program of a container: its words, environment, folder, user, rights and limits. Pure.

use serde_json::{Value, json};

use super::{Place, Program, capabilities};
use crate::runtime::ContainerSpec;
use crate::runtime::native::identity::Identity;

/// Where programs are looked for if the image does not say, as Docker has it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The most open files a container may have, as Docker's default; a machine that allows less gives what it has.
const OPEN_FILES: u64 = 1_048_576;

/// The OCI's `process`.
///
/// # Errors
/// There is nothing to run, or a capability is none.
pub fn process(spec: &ContainerSpec, program: &Program, who: &Identity, place: &Place) -> Result<Value, String> {
    let (add, drop) = (&spec.capabilities_add, &spec.capabilities_drop);
    let granted = capabilities::granted(spec.privileged, add, drop, &place.capabilities)?;
    let open_files = OPEN_FILES.min(place.open_files);
    let folder = spec.working_dir.as_ref().or(program.working_dir.as_ref()).filter(|it| it.starts_with('/'));
    Ok(json!({
        "terminal": spec.tty,
        "user": {"uid": who.uid, "gid": who.gid, "additionalGids": who.groups},
        "args": words(spec, program)?,
        "env": environment(spec, program, who, place),
        "cwd": folder.map_or("/", String::as_str),
        // None are inherited or ambient: a program of another user than root has none, as with every other runtime.
        "capabilities": {"bounding": granted, "effective": granted, "permitted": granted, "inheritable": [], "ambient": []},
        // libcontainer 0.7 takes a `false` for a `true` where it decides when to load the filter: absent is the only no.
        "noNewPrivileges": spec.no_new_privileges.then_some(true),
        "oomScoreAdj": place.oom_score_adj,
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": open_files, "hard": open_files}],
    }))
}

/// The command line: a pod's command replaces the image's entry point and its command, a pod's arguments the image's command.
fn words(spec: &ContainerSpec, program: &Program) -> Result<Vec<String>, String> {
    let (first, rest) = match (spec.command.is_empty(), spec.args.is_empty()) {
        (false, _) => (&spec.command, &spec.args),
        (true, false) => (&program.entrypoint, &spec.args),
        (true, true) => (&program.entrypoint, &program.command),
    };
    let words: Vec<String> = first.iter().chain(rest).cloned().collect();
    if words.first().is_none_or(String::is_empty) {
        return Err("no command specified".to_owned());
    }
    Ok(words)
}

/// The image's variables, replaced by the pod's of the same name.
fn environment(spec: &ContainerSpec, program: &Program, who: &Identity, place: &Place) -> Vec<String> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match all.iter_mut().find(|it| it.0 == name) {
        Some(it) => it.1 = value.to_owned(),
        None => all.push((name.to_owned(), value.to_owned())),
    };
    for it in std::iter::once(PATH).chain(program.env.iter().map(String::as_str)) {
        if let Some((name, value)) = it.split_once('=') {
            set(name, value);
        }
    }
    set("HOSTNAME", &place.hostname);
    if spec.tty {
        set("TERM", "xterm");
    }
    for (name, value) in &spec.env {
        set(name, value);
    }
    if !all.iter().any(|it| it.0 == "HOME") {
        all.push(("HOME".to_owned(), who.home.clone()));
    }
    // A zero would end the text early in the kernel's hands: such a variable cannot be had.
    all.retain(|(name, value)| !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0'));
    all.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::native::spec::tests::plain;

    fn owned(it: &[&str]) -> Vec<String> {
        it.iter().map(|it| it.to_string()).collect()
    }

    #[test]
    fn commands_replace_what_the_image_runs() {
        let check =
            |command: &[&str], args: &[&str], entrypoint: &[&str], cmd: &[&str], expected: Result<&[&str], &str>| {
                let spec = ContainerSpec { command: owned(command), args: owned(args), ..plain() };
                let program = Program { entrypoint: owned(entrypoint), command: owned(cmd), ..Program::default() };
                assert_eq!(words(&spec, &program), expected.map(owned).map_err(str::to_owned));
            };
        check(&[], &[], &["e"], &["c"], Ok(&["e", "c"]));
        check(&[], &["a"], &["e"], &["c"], Ok(&["e", "a"]));
        check(&["x"], &[], &["e"], &["c"], Ok(&["x"]));
        check(&["x"], &["a"], &["e"], &["c"], Ok(&["x", "a"]));
        check(&[], &[], &[], &["c"], Ok(&["c"]));
        check(&[], &[], &[], &[], Err("no command specified"));
        check(&[], &["a"], &[], &["c"], Ok(&["a"]));
    }

    #[test]
    fn variables_of_the_pod_win() {
        let spec =
            ContainerSpec { env: vec![("A".into(), "pod".into()), ("B".into(), "\0".into())], tty: true, ..plain() };
        let program = Program { env: owned(&["A=image", "C=image", "PATH=/x"]), ..Program::default() };
        let who = Identity { uid: 0, gid: 0, groups: Vec::new(), home: "/root".into() };
        let place = Place { hostname: "h".into(), ..Place::default() };
        let expected = ["PATH=/x", "A=pod", "C=image", "HOSTNAME=h", "TERM=xterm", "HOME=/root"];
        assert_eq!(environment(&spec, &program, &who, &place), expected);
    }

    #[test]
    fn a_process_is_as_the_oci_has_it() {
        let spec = ContainerSpec { command: owned(&["x"]), no_new_privileges: true, ..plain() };
        let program = Program { working_dir: Some("/w".into()), ..Program::default() };
        let who = Identity { uid: 5, gid: 6, groups: vec![7], home: "/".into() };
        let place = Place { open_files: 99, oom_score_adj: 1000, capabilities: vec!["CHOWN"], ..Place::default() };
        let it = process(&spec, &program, &who, &place).unwrap();
        let it: oci_spec::runtime::Process = serde_json::from_value(it).unwrap();
        assert_eq!((it.user().uid(), it.user().gid(), it.user().additional_gids().clone()), (5, 6, Some(vec![7])));
        assert_eq!(
            (it.cwd().to_str(), it.no_new_privileges(), it.oom_score_adj()),
            (Some("/w"), Some(true), Some(1000))
        );
        let capabilities = it.capabilities().as_ref().unwrap();
        assert_eq!(capabilities.bounding().as_ref().map_or(0, |it| it.len()), 1);
        assert!(capabilities.ambient().as_ref().is_none_or(|it| it.is_empty()));
        assert_eq!(it.rlimits().as_ref().unwrap()[0].hard(), 99);
    }
}
