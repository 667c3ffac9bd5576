//! What pods and containers do under every runtime that is a program of its own: one suite, and the words in which they differ.

use std::time::{Duration, Instant};

use futures::StreamExt;
use orlop_agent::runtime::session::{AttachSpec, ExecSpec, TerminalSize};
use orlop_agent::runtime::{
    ContainerState, LogOptions, Mount, Phase, PodRef, Resources, Runtime, RuntimeError, RuntimeEvent,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::engine::{sandbox, script};

/// What a runtime says in its own way.
pub struct Words {
    pub name: &'static str,
    /// The exit code of what could not be started.
    pub not_started: i32,
    pub absent_image: &'static str,
    pub bad_user: &'static str,
}

/// All of a log as text.
pub async fn log(runtime: &dyn Runtime, id: &str, options: LogOptions) -> String {
    let mut text = Vec::new();
    let mut chunks = runtime.logs(id, &options).await.unwrap();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk.unwrap().bytes);
    }
    String::from_utf8(text).unwrap()
}

/// A container as it is now.
pub async fn container(runtime: &dyn Runtime, pod: &PodRef, id: &str) -> ContainerState {
    let inventory = runtime.pod_inventory(&pod.uid).await.unwrap();
    inventory.containers.into_iter().find(|it| it.id == id).expect("the container is in the inventory")
}

/// Waits by the runtime's events, as the agent does, until a container has ended.
pub async fn ended(runtime: &dyn Runtime, pod: &PodRef, id: &str) -> Phase {
    let mut events = runtime.events().await.unwrap();
    loop {
        let phase = container(runtime, pod, id).await.phase;
        if matches!(phase, Phase::Exited { .. }) {
            return phase;
        }
        events.next().await.expect("the events go on");
    }
}

pub async fn a_pod_lives_and_dies(runtime: &dyn Runtime, words: &Words) {
    assert_eq!(runtime.info().await.unwrap().name, words.name);
    let mut events = runtime.events().await.unwrap();
    let mut spec = sandbox("web");
    spec.nameservers = vec!["10.96.0.10".parse().unwrap()];
    spec.searches = vec!["default.svc.cluster.local".into()];
    spec.dns_options = vec!["ndots:5".into()];
    let state = runtime.run_sandbox(&spec).await.unwrap();
    assert!(state.running && state.pid.is_some());
    assert_eq!(runtime.run_sandbox(&spec).await.unwrap().id, state.id, "running it again finds it");
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.unwrap();
    assert_eq!(event, Some(RuntimeEvent::Pod { uid: spec.pod.uid.clone() }));

    let mut web = script(
        &spec.pod,
        "web",
        "hostname; cat /etc/resolv.conf; echo $GREETING; ls /sys/class/net; cat /data/file; echo oops >&2; \
         trap 'echo stopping; exit 7' TERM; while :; do sleep 0.1; done",
    );
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("file"), "from the host\n").unwrap();
    web.env = vec![("GREETING".into(), "hello".into())];
    web.mounts = vec![Mount {
        host_path: data.path().into(),
        container_path: "/data".into(),
        read_only: true,
        ..Mount::default()
    }];
    let id = runtime.create_container(&state.id, &web).await.unwrap();
    assert_eq!(container(runtime, &spec.pod, &id).await.phase, Phase::Created);
    runtime.start_container(&id).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let running = container(runtime, &spec.pod, &id).await;
    assert!(matches!(running.phase, Phase::Running { .. }) && running.pid.is_some());
    assert_eq!((running.name.as_str(), running.attempt, &running.pod), ("web", 0, &spec.pod));

    let exec = |text: &str| ["/bin/busybox", "sh", "-c", text].map(str::to_owned);
    let limit = Duration::from_secs(20);
    let found = runtime.exec(&id, &exec("echo out; echo err >&2; exit 3"), limit, 100).await.unwrap();
    assert_eq!(found.exit_code, 3);
    let text = String::from_utf8(found.output).unwrap();
    assert!(text.contains("out\n") && text.contains("err\n"), "{text}");
    let found = runtime.exec(&id, &exec("yes | head -c 100000"), limit, 1000).await.unwrap();
    assert_eq!((found.exit_code, found.output.len()), (0, 1000));
    let found = runtime.exec(&id, &exec("exec >&- 2>&-; sleep 0.5; exit 5"), limit, 10).await.unwrap();
    assert_eq!(found.exit_code, 5, "the end of the output is not the end of the command");
    assert!(runtime.exec(&id, &exec("touch /data/x"), limit, 1000).await.unwrap().exit_code != 0);

    runtime.stop_container(&id, Duration::from_secs(10)).await.unwrap();
    runtime.stop_container(&id, Duration::from_secs(10)).await.unwrap();
    let Phase::Exited { exit_code, started, oom_killed, .. } = ended(runtime, &spec.pod, &id).await else {
        panic!("it has ended")
    };
    assert_eq!((exit_code, oom_killed, started.is_some()), (7, false, true));

    let text = log(runtime, &id, LogOptions::default()).await;
    // The order between standard output and error is the Engine's.
    let (errors, lines): (Vec<&str>, Vec<&str>) = text.lines().partition(|it| *it == "oops");
    assert_eq!(errors, ["oops"]);
    assert_eq!(lines[0], "web", "the sandbox's host name holds in its containers");
    let mut resolver = lines[1..4].to_vec();
    resolver.sort_unstable();
    assert_eq!(resolver, ["nameserver 10.96.0.10", "options ndots:5", "search default.svc.cluster.local"], "{text}");
    assert_eq!(lines[4..6], ["hello", "lo"], "no network but the agent's: {text}");
    for expected in ["from the host", "stopping"] {
        assert!(lines.contains(&expected), "{text}");
    }

    runtime.remove_container(&id).await.unwrap();
    runtime.remove_container(&id).await.unwrap();
    runtime.stop_sandbox(&state.id).await.unwrap();
    let stopped = runtime.pod_inventory(&spec.pod.uid).await.unwrap();
    assert!(!stopped.sandboxes[0].running && stopped.sandboxes[0].pid.is_none());
    runtime.remove_sandbox(&state.id).await.unwrap();
    runtime.remove_sandbox(&state.id).await.unwrap();
    runtime.stop_sandbox(&state.id).await.unwrap();
    assert!(matches!(runtime.create_container(&state.id, &web).await, Err(RuntimeError::NotFound(_))));
    assert!(matches!(runtime.logs(&id, &LogOptions::default()).await.err(), Some(RuntimeError::NotFound(_))));
}

pub async fn what_cannot_start_says_why(runtime: &dyn Runtime, words: &Words) {
    let spec = sandbox("wrong");
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let mut it = script(&spec.pod, "absent-command", "");
    it.command = vec!["no-such-program".into()];
    let id = runtime.create_container(&state.id, &it).await.unwrap();
    let error = runtime.start_container(&id).await.unwrap_err();
    let text = "exec: \"no-such-program\": executable file not found in $PATH";
    assert!(matches!(&error, RuntimeError::StartContainer(it) if it.contains(text)), "{error:?}");
    let phase = container(runtime, &spec.pod, &id).await.phase;
    assert!(
        matches!(&phase, Phase::Exited { exit_code, message, started: None, .. } if *exit_code == words.not_started && message.contains(text)),
        "{phase:?}"
    );
    // The same attempt again, as after a death of the agent: it is made anew.
    let again = runtime.create_container(&state.id, &it).await.unwrap();
    assert_ne!(again, id);

    let mut it = script(&spec.pod, "absent-mount", "");
    it.mounts = vec![Mount { host_path: "/nonexistent/it".into(), container_path: "/it".into(), ..Mount::default() }];
    let error = runtime.create_container(&state.id, &it).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::CreateContainer(it) if it.contains("/nonexistent/it")), "{error:?}");

    let mut it = script(&spec.pod, "absent-image", "");
    it.image = "orlop.test/absent:1".into();
    let error = runtime.create_container(&state.id, &it).await.unwrap_err();
    assert!(matches!(&error, RuntimeError::CreateContainer(it) if it.contains(words.absent_image)), "{error:?}");

    let mut it = script(&spec.pod, "bad-user", "");
    it.user = Some("nobody-here".into());
    // It is looked up when the container is made, or when it starts.
    let error = match runtime.create_container(&state.id, &it).await {
        Ok(id) => runtime.start_container(&id).await.unwrap_err(),
        Err(error) => error,
    };
    let told = match &error {
        RuntimeError::CreateContainer(it) | RuntimeError::StartContainer(it) => it.as_str(),
        _ => "",
    };
    assert!(told.contains(words.bad_user), "{error:?}");
    assert!(matches!(runtime.start_container("absent").await, Err(RuntimeError::NotFound(_))));
}

pub async fn what_the_kernel_cannot_execute_says_why_in_its_log(runtime: &dyn Runtime) {
    let spec = sandbox("no-program");
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let files = tempfile::tempdir().unwrap();
    for (name, text, why) in [
        ("no-interpreter", "#!/no/such\n", "exec /it: no such file or directory\n"),
        ("no-format", "no program", "exec /it: exec format error\n"),
    ] {
        let file = files.path().join(name);
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut it = script(&spec.pod, name, "");
        it.command = vec!["/it".into()];
        it.mounts = vec![Mount { host_path: file, container_path: "/it".into(), ..Mount::default() }];
        let id = runtime.create_container(&state.id, &it).await.unwrap();
        // It has started by then: runc says 1, and later versions of it 255.
        runtime.start_container(&id).await.unwrap();
        let phase = ended(runtime, &spec.pod, &id).await;
        assert!(
            matches!(phase, Phase::Exited { exit_code: 1 | 255, started: Some(_), oom_killed: false, .. }),
            "{phase:?}"
        );
        assert_eq!(log(runtime, &id, LogOptions::default()).await, why);
    }
}

pub async fn limits_hold(runtime: &dyn Runtime) {
    let spec = sandbox("limits");
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let mut it = script(&spec.pod, "hungry", "tail /dev/zero");
    it.resources = Resources {
        cpu_shares: 256,
        cpu_quota_us: Some(50_000),
        memory_limit_bytes: Some(16 << 20),
        oom_score_adj: 990,
        ..Resources::default()
    };
    let id = runtime.create_container(&state.id, &it).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let phase = ended(runtime, &spec.pod, &id).await;
    assert!(matches!(phase, Phase::Exited { exit_code: 137, oom_killed: true, .. }), "{phase:?}");

    let mut it = script(
        &spec.pod,
        "small",
        "cat /proc/self/oom_score_adj; id -u; id -G; touch /x 2>/dev/null || echo read-only",
    );
    it.resources.oom_score_adj = 990;
    it.user = Some("1000:3000".into());
    it.supplementary_groups = vec![4000];
    it.read_only_root = true;
    it.no_new_privileges = true;
    let id = runtime.create_container(&state.id, &it).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    ended(runtime, &spec.pod, &id).await;
    let text = log(runtime, &id, LogOptions::default()).await;
    assert!(text.starts_with("990\n1000\n3000 4000\n") && text.ends_with("\nread-only\n"), "{text}");
}

pub async fn logs_are_read_as_asked(runtime: &dyn Runtime) {
    let spec = sandbox("logs");
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let text = "for i in 1 2 3; do echo line $i; done; sleep 1.5; echo line 4; sleep 0.2; echo end";
    let id = runtime.create_container(&state.id, &script(&spec.pod, "log", text)).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let follow = LogOptions { follow: true, ..LogOptions::default() };
    let all = tokio::time::timeout(Duration::from_secs(20), log(runtime, &id, follow)).await.unwrap();
    assert_eq!(all, "line 1\nline 2\nline 3\nline 4\nend\n", "a follower sees all and ends with the container");
    let tail = LogOptions { tail_lines: Some(2), ..LogOptions::default() };
    assert_eq!(log(runtime, &id, tail).await, "line 4\nend\n");
    let chunks: Vec<_> = runtime.logs(&id, &LogOptions::default()).await.unwrap().collect().await;
    let fourth = chunks.into_iter().map(Result::unwrap).find(|it| it.bytes.starts_with(b"line 4")).unwrap();
    let since = LogOptions { since: Some(fourth.time), ..LogOptions::default() };
    assert_eq!(log(runtime, &id, since).await, "line 4\nend\n", "to the nanosecond");
}

pub async fn a_command_that_takes_too_long_is_killed(runtime: &dyn Runtime) {
    let spec = sandbox("exec");
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let id = runtime.create_container(&state.id, &script(&spec.pod, "it", "sleep 60")).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let exec = |text: &str| ["/bin/busybox", "sh", "-c", text].map(str::to_owned);
    let before = Instant::now();
    let error = runtime.exec(&id, &exec("exec sleep 47"), Duration::from_millis(300), 100).await.unwrap_err();
    assert!(matches!(error, RuntimeError::Timeout(_)), "{error:?}");
    assert!(before.elapsed() < Duration::from_secs(10));
    let found = runtime.exec(&id, &exec("ps | grep -c '[s]leep 47'"), Duration::from_secs(20), 100).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&found.output), "0\n");
    runtime.stop_container(&id, Duration::ZERO).await.unwrap();
    assert!(runtime.exec(&id, &exec("true"), Duration::from_secs(5), 10).await.is_err());
}

pub async fn a_session_has_streams_that_end_apart_and_an_end_of_its_own(runtime: &dyn Runtime) {
    let spec = sandbox("spoken-to");
    let pod = spec.pod.clone();
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let mut it = script(&pod, "main", "while read it; do echo got $it; done; exit 6");
    (it.stdin, it.stdin_once) = (true, true);
    let id = runtime.create_container(&state.id, &it).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    let exec = |text: &str| ExecSpec {
        command: ["/bin/busybox", "sh", "-c", text].map(str::to_owned).to_vec(),
        stdin: true,
        stdout: true,
        stderr: true,
        tty: false,
    };

    // The input ends, and the output comes after it, each stream by itself.
    let mut session = runtime.exec_session(&id, &exec("cat; echo err >&2; exit 3")).await.unwrap();
    let (mut stdin, mut stdout, mut stderr) =
        (session.stdin.take().unwrap(), session.stdout.take().unwrap(), session.stderr.take().unwrap());
    stdin.write_all(b"hello").await.unwrap();
    stdin.shutdown().await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).await.unwrap();
    stderr.read_to_string(&mut err).await.unwrap();
    assert_eq!((out.as_str(), err.as_str(), session.exit.await.unwrap()), ("hello", "err\n", 3));

    // A terminal has a size, and what goes through it is no frame.
    let spec = ExecSpec {
        tty: true,
        ..exec("while [ \"$(stty size 2>/dev/null)\" != \"7 9\" ]; do sleep 0.1; done; printf '\\001\\000'")
    };
    let mut session = runtime.exec_session(&id, &spec).await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 9, height: 7 }).await.unwrap();
    let mut out = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut out).await.unwrap();
    assert_eq!((out.as_slice(), session.exit.await.unwrap()), (&b"\x01\0"[..], 0));

    // Who drops a session takes its command along, and what that has started.
    let session = runtime.exec_session(&id, &exec("sleep 4747 & wait")).await.unwrap();
    let count = ["/bin/busybox", "sh", "-c", "ps | grep -c '[s]leep 4747'"].map(str::to_owned);
    let running = async |expected: &str| {
        for _ in 0..100 {
            let found = runtime.exec(&id, &count, Duration::from_secs(20), 100).await.unwrap();
            if String::from_utf8_lossy(&found.output).trim() == expected {
                return;
            }
        }
        panic!("there are never {expected} commands");
    };
    running("2").await;
    drop(session);
    running("0").await;

    // The container's own process; its input is given once.
    let attach = AttachSpec { stdin: true, stdout: true, stderr: true };
    let mut session = runtime.attach_session(&id, &attach).await.unwrap();
    let (mut stdin, mut stdout) = (session.stdin.take().unwrap(), session.stdout.take().unwrap());
    stdin.write_all(b"one\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    let mut out = String::new();
    stdout.read_to_string(&mut out).await.unwrap();
    assert_eq!((out.as_str(), session.exit.await.unwrap()), ("got one\n", 0));
    assert!(matches!(ended(runtime, &pod, &id).await, Phase::Exited { exit_code: 6, .. }));
    assert!(runtime.exec_session(&id, &exec("true")).await.is_err(), "it has ended");
}

pub async fn the_hosts_namespaces_are_joined_when_asked_for(runtime: &dyn Runtime) {
    let mut spec = sandbox("host");
    (spec.host_network, spec.host_pid, spec.host_ipc) = (true, true, true);
    let state = runtime.run_sandbox(&spec).await.unwrap();
    let text = "readlink /proc/self/ns/net; readlink /proc/self/ns/pid; readlink /proc/self/ns/ipc; hostname";
    let id = runtime.create_container(&state.id, &script(&spec.pod, "it", text)).await.unwrap();
    runtime.start_container(&id).await.unwrap();
    ended(runtime, &spec.pod, &id).await;
    let own = |it: &str| std::fs::read_link(format!("/proc/self/ns/{it}")).unwrap().display().to_string();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let expected = format!("{}\n{}\n{}\n{host}", own("net"), own("pid"), own("ipc"));
    assert_eq!(log(runtime, &id, LogOptions::default()).await, expected);
}
