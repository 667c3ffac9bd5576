//! The runtime `native` with real containers. Needs root and Debian's busybox-static.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/pod.rs"]
mod pod;

use std::time::{Duration, Instant};

use futures::StreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_agent::runtime::native::NativeRuntime;
use orlop_agent::runtime::{
    ContainerSpec, LogOptions, Mount, Phase, Resources, Runtime, RuntimeError, RuntimeEvent, SandboxSpec,
};
use pod::{WITHIN, cgroups_of, container, ended, log, processes_in, run, sandbox, script, with_node};

fn owned(it: &[&str]) -> Vec<String> {
    it.iter().map(|it| it.to_string()).collect()
}

#[tokio::test]
async fn a_pod_lives_and_dies() {
    with_node(|node| async move {
        let runtime = node.open().await;
        assert_eq!(runtime.info().await.unwrap().name, "native");
        let mut events = runtime.events().await.unwrap();
        let mut spec = sandbox("web");
        spec.nameservers = vec!["10.96.0.10".parse().unwrap()];
        spec.searches = vec!["default.svc.cluster.local".into()];
        spec.dns_options = vec!["ndots:5".into()];
        spec.sysctls.insert("net.ipv4.ip_unprivileged_port_start".into(), "42".into());
        let state = runtime.run_sandbox(&spec).await.unwrap();
        assert!(state.running && state.pid.is_some());
        assert_eq!(runtime.run_sandbox(&spec).await.unwrap().id, state.id, "running it again finds it");
        let event = tokio::time::timeout(WITHIN, events.next()).await.unwrap();
        assert_eq!(event, Some(RuntimeEvent::Pod { uid: spec.pod.uid.clone() }));

        let mut web = script(
            &spec.pod,
            "web",
            "hostname; cat /etc/hostname /etc/resolv.conf; tail -n 1 /etc/hosts; echo $GREETING $FROM $HOME; \
             cat /proc/sys/net/ipv4/ip_unprivileged_port_start; pwd; cat /data/file; touch /data/x || echo refused; echo oops >&2; \
             trap 'echo stopping; exit 7' USR1; echo ready; while :; do sleep 0.05; done",
        );
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("file"), "from the host\n").unwrap();
        web.env = vec![("GREETING".into(), "hello".into())];
        web.working_dir = Some("/made/here".into());
        web.mounts = vec![Mount { host_path: data.path().into(), container_path: "/data".into(), read_only: true, ..Mount::default() }];
        let id = runtime.create_container(&state.id, &web).await.unwrap();
        assert_eq!(container(&runtime, &spec.pod, &id).await.phase, Phase::Created);
        runtime.start_container(&id).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        let running = container(&runtime, &spec.pod, &id).await;
        assert!(matches!(running.phase, Phase::Running { .. }) && running.pid.is_some());
        assert!(!cgroups_of(&spec.pod.uid).is_empty());

        // The log while it runs, up to the line that says that the signal is awaited.
        let mut lines = runtime.logs(&id, &LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
        let (mut text, mut errors) = (String::new(), String::new());
        while !text.ends_with("ready\n") || !errors.ends_with("oops\n") {
            let line = tokio::time::timeout(WITHIN, lines.next()).await.unwrap().expect("the log goes on").unwrap();
            match line.stderr {
                // Two pipes keep no order between them.
                true => errors.push_str(std::str::from_utf8(&line.bytes).unwrap()),
                false => text.push_str(std::str::from_utf8(&line.bytes).unwrap()),
            }
        }
        for it in [
            "web\nweb\nnameserver 10.96.0.10\nsearch default.svc.cluster.local\noptions ndots:5\n",
            "hello image /root\n42\n/made/here\nfrom the host\n",
            "refused\n",
        ] {
            assert!(text.contains(it), "{text}");
        }
        // The image's stop signal; the follower is told of the end.
        runtime.stop_container(&id, WITHIN).await.unwrap();
        runtime.stop_container(&id, WITHIN).await.unwrap();
        let Phase::Exited { exit_code, signal, oom_killed, started, finished, .. } = ended(&runtime, &spec.pod, &id).await
        else {
            unreachable!()
        };
        assert_eq!((exit_code, signal, oom_killed), (7, None, false));
        assert!(started.unwrap() <= finished);
        let rest = tokio::time::timeout(WITHIN, lines.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(rest.into_iter().next_back().unwrap().unwrap().bytes, "stopping\n");

        runtime.remove_container(&id).await.unwrap();
        runtime.remove_container(&id).await.unwrap();
        assert!(runtime.pod_inventory(&spec.pod.uid).await.unwrap().containers.is_empty());
        runtime.stop_sandbox(&state.id).await.unwrap();
        runtime.stop_sandbox(&state.id).await.unwrap();
        assert!(!runtime.pod_inventory(&spec.pod.uid).await.unwrap().sandboxes[0].running);
        runtime.remove_sandbox(&state.id).await.unwrap();
        runtime.remove_sandbox(&state.id).await.unwrap();
        assert!(runtime.inventory().await.unwrap().sandboxes.is_empty());
        assert_eq!(cgroups_of(&spec.pod.uid), Vec::<std::path::PathBuf>::new());
    })
    .await;
}

#[tokio::test]
async fn ends_are_told_as_they_are() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("ends");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let check = async |name: &str, text: &str, grace: Option<Duration>, expected: (i32, Option<i32>, bool)| {
            let mut it = script(&spec.pod, name, text);
            it.resources.memory_limit_bytes = Some(24 << 20);
            let id = runtime.create_container(&state.id, &it).await.unwrap();
            runtime.start_container(&id).await.unwrap();
            if let Some(grace) = grace {
                runtime.stop_container(&id, grace).await.unwrap();
            }
            let phase = ended(&runtime, &spec.pod, &id).await;
            let Phase::Exited { exit_code, signal, oom_killed, .. } = phase else { unreachable!() };
            assert_eq!((exit_code, signal, oom_killed), expected, "{name}");
        };
        check("well", "exit 0", None, (0, None, false)).await;
        check("badly", "exit 3", None, (3, None, false)).await;
        check("suicide", "kill -KILL -1; sleep 0.1; kill -SEGV $$; exit 4", None, (4, None, false)).await;
        // The first process of a PID namespace gets no signal that it does not expect, SIGKILL from outside excepted.
        check("deaf", "while :; do sleep 1; done", Some(Duration::from_millis(50)), (137, Some(9), false)).await;
        check("greedy", "x=a; while :; do x=$x$x$x; done", None, (137, Some(9), true)).await;
    })
    .await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("wrong");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let mut missing = script(&spec.pod, "missing", "");
        missing.command = owned(&["/no/such/program"]);
        let id = runtime.create_container(&state.id, &missing).await.unwrap();
        let error = runtime.start_container(&id).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::StartContainer(it) if it.contains("/no/such/program")), "{error:?}");
        let Phase::Exited { exit_code, started, message, .. } = container(&runtime, &spec.pod, &id).await.phase else {
            panic!("a start that failed is an end")
        };
        assert_eq!((exit_code, started), (128, None));
        assert!(message.contains("/no/such/program"), "{message}");

        let refused = async |change: &dyn Fn(&mut ContainerSpec), expected: &str| {
            let mut it = script(&spec.pod, "refused", "");
            change(&mut it);
            let error = runtime.create_container(&state.id, &it).await.unwrap_err();
            assert!(matches!(&error, RuntimeError::CreateContainer(it) if it.contains(expected)), "{error:?}");
        };
        refused(&|it| it.user = Some("nobody".into()), "unable to find user nobody").await;
        refused(&|it| it.capabilities_add = owned(&["FLY"]), "unknown capability").await;
        refused(&|it| it.name = "../x".into(), "cannot be used in a path").await;
        let not_found = runtime.create_container("elsewhere_0", &script(&spec.pod, "a", "")).await;
        assert!(matches!(not_found, Err(RuntimeError::NotFound(_))));
        let bad_sysctl = SandboxSpec { sysctls: [("net.no.such".into(), "1".into())].into(), ..sandbox("sysctl") };
        let error = runtime.run_sandbox(&bad_sysctl).await.unwrap_err();
        assert!(error.to_string().contains("net.no.such"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn users_and_rights_are_what_the_pod_asks_for() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("rights");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let seen = async |name: &str, change: &dyn Fn(&mut ContainerSpec)| {
            let mut it = script(
                &spec.pod,
                name,
                "id; grep -E 'Cap|NoNew|Seccomp' /proc/self/status; touch /new && echo written",
            );
            change(&mut it);
            run(&runtime, &state.id, &it).await.1
        };
        // The 14 capabilities of the CRI's default set, as the mask that Docker and containerd show.
        let text = seen("plain", &|_| ()).await;
        for it in [
            "uid=0(root)",
            "CapEff:\t00000000a80425fb",
            "CapBnd:\t00000000a80425fb",
            "NoNewPrivs:\t0",
            "Seccomp:\t2",
            "Seccomp_filters:\t1",
            "written",
        ] {
            assert!(text.contains(it), "{it}: {text}");
        }
        let text = seen("user", &|it| {
            it.user = Some("web".into());
            it.supplementary_groups = vec![2000];
            it.no_new_privileges = true;
        });
        let text = text.await;
        let zero = "0000000000000000";
        for it in [
            "uid=101(web) gid=102(web) groups=50(extra),102(web),2000",
            &format!("CapEff:\t{zero}"),
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(
                text.contains(it) || it.starts_with("uid") && text.contains("uid=101(web)") && text.contains("2000"),
                "{it}: {text}"
            );
        }
        assert!(!text.contains("written"), "{text}");
        // The filter is loaded although privileges may be gained, and what could have loaded it is gone.
        let text = seen("gaining", &|it| it.user = Some("web".into())).await;
        for it in [
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapBnd:\t00000000a80425fb",
            "NoNewPrivs:\t0",
            "Seccomp:\t2",
        ] {
            assert!(text.contains(it), "{it}: {text}");
        }
        let text = seen("dropped", &|it| {
            it.capabilities_drop = owned(&["ALL"]);
            it.capabilities_add = owned(&["NET_BIND_SERVICE"]);
            it.read_only_root = true;
        });
        let text = text.await;
        assert!(text.contains("CapBnd:\t0000000000000400") && text.contains("CapPrm:\t0000000000000400"), "{text}");
        assert!(!text.contains("written"), "{text}");
        let own = std::fs::read_to_string("/proc/self/status").unwrap();
        let bound = own.lines().find(|it| it.starts_with("CapBnd")).unwrap();
        let text = seen("privileged", &|it| it.privileged = true).await;
        assert!(text.contains(bound) && text.contains("Seccomp:\t0"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn a_container_is_fenced_in() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("fenced");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let tries = "unshare -m true; echo 1 > /proc/sys/kernel/hostname; cat /proc/kcore | head -c 1 | wc -c; mount -t tmpfs x /tmp; \
                     (mkdir /sys/fs/cgroup/memory/x || echo 1 > /sys/fs/cgroup/memory/cgroup.procs) 2>&1; (echo a > /sys/fs/cgroup/x) 2>&1; (echo 1 > /sys/fs/cgroup/devices/devices.allow) 2>&1; mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda; ps | grep -c .; \
                     ls /sys/class/net; df /dev/shm | tail -n 1 | tr -s ' '; (true) && echo forked; ulimit -n";
        let (code, text) = run(&runtime, &state.id, &script(&spec.pod, "tries", &format!("cd /bin; busybox --install -s /bin; {tries}"))).await;
        assert_eq!(code, 0, "{text}");
        for it in [
            "unshare: ", "Operation not permitted", "can't create /proc/sys/kernel/hostname", "\n0\n", "mount: ",
            "mkdir: can't create directory '/sys/fs/cgroup/memory/x'", "head: /tmp/sda", "\nlo\n", "65536", "forked",
            "can't create /sys/fs/cgroup/x", "can't create /sys/fs/cgroup/devices/devices.allow",
        ] {
            assert!(text.contains(it), "{it}: {text}");
        }
        let mut privileged = script(&spec.pod, "privileged", "mount -t tmpfs x /tmp && echo mounted; test -c /dev/null && echo null");
        privileged.command = owned(&["/bin/busybox", "sh", "-c"]);
        privileged.args[0] = privileged.args[0].replace("mount", "busybox mount");
        privileged.args[0] = privileged.args[0].replace("echo busybox mounted", "echo mounted");
        privileged.privileged = true;
        let (_, text) = run(&runtime, &state.id, &privileged).await;
        assert!(text.contains("mounted\nnull\n"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn containers_of_a_pod_share_what_they_should() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("shared");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let links = "for it in net ipc uts pid mnt; do readlink /proc/self/ns/$it; done; ls /dev/shm; echo $$ >> /dev/shm/pids";
        let of = async |name: &str| {
            let mut it = script(&spec.pod, name, &links.replace("readlink", "busybox readlink").replace("ls", "busybox ls"));
            it.command = owned(&["/bin/busybox", "sh", "-c"]);
            run(&runtime, &state.id, &it).await.1.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (one, other) = (of("one").await, of("other").await);
        assert_eq!(one[..3], other[..3]);
        assert_eq!((one.len(), other[5].as_str()), (5, "pids"), "{one:?} {other:?}");
        let shim = state.pid.unwrap();
        let own = |it: &str| std::fs::read_link(format!("/proc/self/ns/{it}")).unwrap().display().to_string();
        let held = |it: &str| std::fs::read_link(format!("/proc/{shim}/ns/{it}")).unwrap().display().to_string();
        assert_eq!(one[0], held("net"));
        for (at, it) in ["net", "ipc", "uts", "pid", "mnt"].into_iter().enumerate() {
            assert_ne!(one[at], own(it));
        }

        let on_host = SandboxSpec { host_network: true, host_pid: true, host_ipc: true, ..sandbox("host") };
        let host = runtime.run_sandbox(&on_host).await.unwrap();
        let mut it = script(&on_host.pod, "host", "for it in net ipc uts pid; do /bin/busybox readlink /proc/self/ns/$it; done; sleep 1000 & sleep 1000 & exit 0");
        it.command = owned(&["/bin/busybox", "sh", "-c"]);
        let (_, text) = run(&runtime, &host.id, &it).await;
        let expected: String = ["net", "ipc", "uts", "pid"].iter().map(|it| own(it) + "\n").collect();
        assert_eq!(text, expected);
    })
    .await;
}

#[tokio::test]
async fn commands_run_in_containers() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("exec");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let mut web = script(&spec.pod, "web", "while :; do sleep 1; done");
        web.user = Some("web".into());
        web.env = vec![("A".into(), "b".into())];
        web.working_dir = Some("/tmp".into());
        let id = runtime.create_container(&state.id, &web).await.unwrap();
        let early = runtime.exec(&id, &owned(&["true"]), WITHIN, 10).await;
        assert!(matches!(early, Err(RuntimeError::NotFound(_))), "{early:?}");
        runtime.start_container(&id).await.unwrap();
        let exec = async |text: &str, timeout: Duration, limit: usize| {
            runtime.exec(&id, &owned(&["sh", "-c", text]), timeout, limit).await
        };
        let done = exec(
            "id; echo $A; pwd; echo err >&2; grep -E 'Cap(Eff|Bnd)|Seccomp:' /proc/self/status; exit 5",
            WITHIN,
            4096,
        );
        let done = done.await.unwrap();
        let text = String::from_utf8(done.output).unwrap();
        assert_eq!(done.exit_code, 5);
        for it in [
            "uid=101(web) gid=102(web)",
            "\nb\n/tmp\nerr\n",
            "CapEff:\t0000000000000000",
            "CapBnd:\t00000000a80425fb",
            "Seccomp:\t2",
        ] {
            assert!(text.contains(it), "{it}: {text}");
        }
        let cut = exec("while :; do echo 0123456789; done | head -n 100000", WITHIN, 100).await.unwrap();
        assert_eq!(cut.output.len(), 100);
        let began = Instant::now();
        let late = exec("sleep 100", Duration::from_millis(200), 100).await;
        assert!(matches!(late, Err(RuntimeError::Timeout(_))), "{late:?}");
        assert!(began.elapsed() < Duration::from_secs(5));
        let missing = runtime.exec(&id, &owned(&["no-such-program"]), WITHIN, 10).await;
        assert!(matches!(&missing, Err(RuntimeError::Other(it)) if it.contains("not found")), "{missing:?}");
        // One that nobody waits for any more is killed: only the container's own two processes and the question are left.
        let abandoned = tokio::time::timeout(Duration::from_millis(300), exec("sleep 1234", WITHIN, 100)).await;
        assert!(abandoned.is_err());
        let mut left = String::new();
        for _ in 0..50 {
            left =
                String::from_utf8(exec("cat /proc/[0-9]*/cmdline | tr '\\0' ' '", WITHIN, 4096).await.unwrap().output)
                    .unwrap();
            if !left.contains("sleep 1234") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!left.contains("sleep 1234") && !left.contains("sleep 100 "), "{left}");
        let many = futures::future::join_all((0..20).map(|it| {
            let runtime = &runtime;
            let id = &id;
            async move {
                runtime.exec(id, &owned(&["sh", "-c", &format!("exit {it}")]), WITHIN, 10).await.unwrap().exit_code
            }
        }));
        assert_eq!(many.await, (0..20).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn logs_are_bounded_and_read_through_their_files() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("logs");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let text = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; printf end";
        let id = runtime.create_container(&state.id, &script(&spec.pod, "talks", text)).await.unwrap();
        let following = runtime.logs(&id, &LogOptions { follow: true, ..LogOptions::default() }).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        let followed = tokio::time::timeout(WITHIN, following.collect::<Vec<_>>()).await.unwrap();
        assert_eq!(followed.last().unwrap().as_ref().unwrap().bytes, "end");
        let folder = node.folder.join("native/pods").join(&state.id).join("containers/talks_0");
        let sizes: Vec<u64> =
            ["log", "log.1", "log.2"].iter().map(|it| folder.join(it).metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|it| *it <= 10_000) && !folder.join("log.3").exists(), "{sizes:?}");
        let tail = log(&runtime, &id, LogOptions { tail_lines: Some(300), ..LogOptions::default() }).await;
        assert_eq!((tail.lines().count(), tail.ends_with("line 1999\nend")), (300, true));
        let kept = log(&runtime, &id, LogOptions::default()).await;
        assert!(kept.lines().count() > 400 && kept.ends_with("line 1998\nline 1999\nend"));
        let now = orlop_client::clock::now();
        assert_eq!(log(&runtime, &id, LogOptions { since: Some(now), ..LogOptions::default() }).await, "");

        let mut tty = script(&spec.pod, "tty", "[ -t 1 ] && echo terminal; [ -t 0 ] && echo input; echo err >&2");
        tty.tty = true;
        let (code, text) = run(&runtime, &state.id, &tty).await;
        assert_eq!((code, text.as_str()), (0, "terminal\r\ninput\r\nerr\r\n"));
        let mut open = script(&spec.pod, "stdin", "timeout 0.3 cat; echo $?");
        open.args = owned(&["/bin/busybox timeout 0.3 cat 2>/dev/null; echo $?"]);
        assert_eq!(run(&runtime, &state.id, &open).await.1, "0\n", "without input there is an end at once");
        open.stdin = true;
        open.attempt = 1;
        assert!(run(&runtime, &state.id, &open).await.1.ends_with("143\n"), "with input it stays open");
    })
    .await;
}

#[tokio::test]
async fn pods_outlive_the_agent() {
    with_node(|node| async move {
        let spec = sandbox("outlives");
        let runtime = node.open().await;
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let stays = script(&spec.pod, "stays", "while :; do sleep 1; done");
        let stays = runtime.create_container(&state.id, &stays).await.unwrap();
        let goes = script(&spec.pod, "goes", "while [ ! -e /dev/shm/go ]; do sleep 0.05; done; exit 9");
        let goes = runtime.create_container(&state.id, &goes).await.unwrap();
        runtime.start_container(&stays).await.unwrap();
        runtime.start_container(&goes).await.unwrap();
        drop(runtime);
        // What ends while nobody listens is found in the files.
        std::fs::write(node.folder.join("native/pods").join(&state.id).join("shm/go"), "").unwrap();
        let exit = node.folder.join("native/pods").join(&state.id).join("containers/goes_0/exit.json");
        for _ in 0..200 {
            if exit.exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let runtime = node.open().await;
        let again = runtime.pod_inventory(&spec.pod.uid).await.unwrap();
        assert_eq!(again.sandboxes[0].pid, state.pid);
        assert!(again.sandboxes[0].running);
        assert!(matches!(container(&runtime, &spec.pod, &stays).await.phase, Phase::Running { .. }));
        assert!(matches!(container(&runtime, &spec.pod, &goes).await.phase, Phase::Exited { exit_code: 9, .. }));
        assert_eq!(runtime.exec(&stays, &owned(&["true"]), WITHIN, 10).await.unwrap().exit_code, 0);
        let mut events = runtime.events().await.unwrap();
        runtime.stop_container(&stays, Duration::ZERO).await.unwrap();
        let event = tokio::time::timeout(WITHIN, events.next()).await.unwrap();
        assert_eq!(event, Some(RuntimeEvent::Pod { uid: spec.pod.uid.clone() }));
    })
    .await;
}

#[tokio::test]
async fn a_killed_shim_takes_its_containers_along() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let dies =
            async |runtime: &orlop_agent::runtime::native::NativeRuntime, spec: &SandboxSpec, while_open: bool| {
                let state = runtime.run_sandbox(spec).await.unwrap();
                let it = script(&spec.pod, "it", "sleep 1000 & while :; do sleep 1; done");
                let id = runtime.create_container(&state.id, &it).await.unwrap();
                runtime.start_container(&id).await.unwrap();
                let process = container(runtime, &spec.pod, &id).await.pid.unwrap();
                if while_open {
                    kill(Pid::from_raw(state.pid.unwrap().cast_signed()), Signal::SIGKILL).unwrap();
                }
                (state, id, process)
            };
        let seen = async |runtime: &orlop_agent::runtime::native::NativeRuntime,
                          spec: &SandboxSpec,
                          id: &str,
                          process: u32| {
            let phase = ended(runtime, &spec.pod, id).await;
            assert!(matches!(phase, Phase::Exited { exit_code: 137, signal: Some(9), .. }), "{phase:?}");
            // It has left its cgroup, and may be on its last steps; a zombie is its new parent's.
            for tries in 0.. {
                let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
                if stat.is_empty() || stat.contains(") Z ") {
                    break;
                }
                assert!(tries < 500, "{stat}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let left = runtime.pod_inventory(&spec.pod.uid).await.unwrap();
            assert!(!left.sandboxes[0].running && left.sandboxes[0].pid.is_none());
        };
        let spec = sandbox("dies");
        let (_, id, process) = dies(&runtime, &spec, true).await;
        seen(&runtime, &spec, &id, process).await;

        // The shim dies while there is no agent.
        let spec = sandbox("dies-alone");
        let (state, id, process) = dies(&runtime, &spec, false).await;
        drop(runtime);
        kill(Pid::from_raw(state.pid.unwrap().cast_signed()), Signal::SIGKILL).unwrap();
        let runtime = node.open().await;
        seen(&runtime, &spec, &id, process).await;
        // A pod whose sandbox has died gets another under the same name.
        let again = runtime.run_sandbox(&spec).await.unwrap();
        assert!(again.running && again.pid != state.pid);
        assert!(runtime.pod_inventory(&spec.pod.uid).await.unwrap().containers.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_shim_is_small_and_a_start_quick() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("quick");
        let began = Instant::now();
        let state = runtime.run_sandbox(&spec).await.unwrap();
        eprintln!("sandbox in {:?}", began.elapsed());
        let mut times = Vec::new();
        for attempt in 0..20 {
            let mut it = script(&spec.pod, "quick", "exec sleep 1000");
            it.attempt = attempt;
            let began = Instant::now();
            let id = runtime.create_container(&state.id, &it).await.unwrap();
            let created = began.elapsed();
            runtime.start_container(&id).await.unwrap();
            times.push((began.elapsed(), created));
        }
        times.sort();
        let status = std::fs::read_to_string(format!("/proc/{}/status", state.pid.unwrap())).unwrap();
        let kib = |name: &str| -> u64 {
            let line = status.lines().find(|it| it.starts_with(name)).unwrap_or_default();
            line.split_whitespace().nth(1).and_then(|it| it.parse().ok()).unwrap_or_default()
        };
        eprintln!(
            "create and start (create): median {:?}; shim with 20 containers: {} KiB resident, {} KiB its own",
            times[10],
            kib("VmRSS:"),
            kib("RssAnon:")
        );
        // Its program's pages, all shims have in common; a debug build's are many.
        assert!(kib("RssAnon:") <= 3 << 10, "{status}");
        assert_eq!(processes_in(&node.folder).count(), 1, "no helper stays");
        assert!(times[10].0 < Duration::from_secs(2), "{:?}", times[10]);
        assert_eq!(runtime.inventory().await.unwrap().containers.len(), 20);
        let _ = Resources::default();
    })
    .await;
}

#[tokio::test]
async fn what_the_kernel_cannot_execute_says_why_in_its_log() {
    with_node(|node| async move {
        let runtime = node.open().await;
        let spec = sandbox("no-program");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("no-interpreter");
        std::fs::write(&file, "#!/no/such\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut it = script(&spec.pod, "no-interpreter", "");
        it.command = owned(&["/it"]);
        it.args = Vec::new();
        it.mounts = vec![Mount { host_path: file, container_path: "/it".into(), ..Mount::default() }];
        let expected = (255, "exec /it: no such file or directory\n".to_owned());
        assert_eq!(run(&runtime, &state.id, &it).await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_pod_ends_by_itself_when_its_agent_is_dead_and_the_node_is_cut_off() {
    with_node(|node| async move {
        let after = Duration::from_secs(3);
        let runtime = node.open_fenced(Some(after)).await;
        runtime.had_contact(Duration::ZERO);
        // One that may be started elsewhere, and one that nobody else would start.
        let (fenced, fixed) = (SandboxSpec { fenced: true, ..sandbox("fenced") }, sandbox("fixed"));
        let mut ids = Vec::new();
        for spec in [&fenced, &fixed] {
            let state = runtime.run_sandbox(spec).await.unwrap();
            let script = script(&spec.pod, "it", "trap '' TERM; while :; do sleep 0.1; done");
            let id = runtime.create_container(&state.id, &script).await.unwrap();
            runtime.start_container(&id).await.unwrap();
            ids.push(id);
        }
        let runs = async |runtime: &NativeRuntime, spec: &SandboxSpec, id: &str| {
            matches!(container(runtime, &spec.pod, id).await.phase, Phase::Running { .. })
        };
        // With contact it goes on, however long.
        for _ in 0..5 {
            tokio::time::sleep(after / 3).await;
            runtime.had_contact(Duration::ZERO);
        }
        assert!(runs(&runtime, &fenced, &ids[0]).await);

        // The agent dies, and the next one reaches nobody: neither gains the pod any time.
        let cut_off = Instant::now();
        drop(runtime);
        tokio::time::sleep(after / 2).await;
        let runtime = node.open_fenced(Some(after)).await;
        assert!(runs(&runtime, &fenced, &ids[0]).await, "before its time");
        let Phase::Exited { exit_code, message, .. } = ended(&runtime, &fenced.pod, &ids[0]).await else {
            unreachable!()
        };
        let took = cut_off.elapsed();
        assert!(took < after + Duration::from_secs(2), "{took:?}");
        assert_eq!(exit_code, 137);
        assert!(message.contains("no contact with the API server"), "{message}");
        assert!(runs(&runtime, &fixed, &ids[1]).await, "it is nobody else's");
        // It runs again in a sandbox of its own when there is contact.
        runtime.had_contact(Duration::ZERO);
        let spec = SandboxSpec { attempt: 1, ..fenced.clone() };
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let again = ContainerSpec { attempt: 1, ..script(&spec.pod, "it", "sleep 1000") };
        let id = runtime.create_container(&state.id, &again).await.unwrap();
        runtime.start_container(&id).await.unwrap();

        // An agent without a fence leaves its pods to themselves.
        drop(runtime);
        let runtime = node.open().await;
        tokio::time::sleep(after + Duration::from_secs(1)).await;
        assert!(runs(&runtime, &spec, &id).await);
    })
    .await;
}
