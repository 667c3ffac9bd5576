//! `kubectl logs`, in all the ways it can be asked for.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, container, expect_words};
use orlop_e2e::wait;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;

    // Followed from its beginning to its end, which ends kubectl as well.
    scene.until("counting", "runs", |it| it["status"]["phase"] != "Pending")?;
    let began = Instant::now();
    let orlop = scene.cluster.orlop()?;
    let (text, ours) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| orlop.run(&["-n", &scene.namespace, "logs", "counting", "-f"]));
        (scene.logs("counting", &["-f"]), ours.join())
    });
    let (text, ours) = (text?, ours.map_err(|_| anyhow::anyhow!("a thread panicked"))??);
    ensure!(ours == text, "orlop followed otherwise: {ours:?}");
    ensure!(text == "line 1\nline 2\nline 3\nline 4\nline 5\nline 6\n", "followed: {text:?}");
    ensure!(began.elapsed() < Duration::from_secs(30), "following went on for {:?}", began.elapsed());

    // Parts of it, also when the container has ended.
    scene.succeeded("counting")?;
    let tail = scene.logs("counting", &["--tail=2"])?;
    ensure!(tail == "line 5\nline 6\n", "the tail is {tail:?}");
    let none = scene.logs("counting", &["--tail=0"])?;
    ensure!(none.is_empty(), "an empty tail is {none:?}");
    let bytes = scene.logs("counting", &["--limit-bytes=10"])?;
    ensure!(bytes == "line 1\nlin", "ten bytes are {bytes:?}");
    let stamped = scene.logs("counting", &["--timestamps", "--tail=1"])?;
    let (stamp, line) = stamped.split_once(' ').unwrap_or_default();
    ensure!(line == "line 6\n" && stamp.contains('T') && stamp.ends_with('Z'), "with its time: {stamped:?}");
    // kubectl sends whole seconds: the line before may be of the same one, the third is not.
    let since = scene.logs("counting", &[&format!("--since-time={stamp}")])?;
    ensure!(since.ends_with("line 6\n") && !since.contains("line 3"), "since {stamp}: {since:?}");

    // Several containers: each by its name, all together, and the first where none is named.
    scene.ready("two")?;
    let both = scene.logs("two", &["--all-containers", "--prefix"])?;
    expect_words(&both, &["[pod/two/left] this is left", "[pod/two/right] this is right"])?;
    ensure!(scene.logs("two", &["-c", "right"])? == "this is right\n", "the container asked for");
    let output = scene.kubectl.output(&["-n", &scene.namespace, "logs", "two"], "")?;
    if scene.kubectl.is_old()? {
        expect_words(&output.stderr, &["a container name must be specified for pod two"])?;
    } else {
        ensure!(output.stdout == "this is left\n", "without a name: {output:?}");
        expect_words(&output.stderr, &["Defaulted container \"left\" out of: left, right"])?;
    }
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "logs", "two", "-c", "middle"], "")?;
    expect_words(&refused, &["container middle is not valid for pod two"])?;

    // The run before this one.
    scene.until("again", "runs for the second time", |it| {
        let it = container(it, "main");
        it["restartCount"] == 1 && it["state"]["running"].is_object()
    })?;
    wait::until("the second run says so", POD_LIMIT, || {
        let now = scene.logs("again", &[])?;
        ensure!(now == "run 2\n", "it says {now:?}");
        Ok(())
    })?;
    let before = scene.logs("again", &["--previous"])?;
    ensure!(before == "run 1\n", "the run before said {before:?}");
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "logs", "two", "-c", "left", "--previous"], "")?;
    expect_words(&refused, &["previous terminated container \"left\" in pod \"two\" not found"])?;

    // What is young enough.
    wait::until("the late line is there", POD_LIMIT, || {
        let all = scene.logs("late", &[])?;
        ensure!(all == "early\nlate\n", "it says {all:?}");
        Ok(())
    })?;
    // Whatever this machine is busy with, the early line is 8 s older than the late one.
    let young = scene.logs("late", &["--since=8s"])?;
    ensure!(!young.contains("early"), "the last seconds said {young:?}");

    // Our own command reads the same.
    for line in [
        "counting",
        "counting --tail=2",
        "counting --tail=0",
        "counting --limit-bytes=10",
        "counting --timestamps",
        "counting -c main",
        "two -c right",
        "two right",
        "two --all-containers --prefix",
        "again --previous",
        "again -p -c main",
        "late --since=1h",
        "late --since-time=2020-01-01T00:00:00Z",
    ] {
        let words: Vec<&str> = ["-n", &scene.namespace, "logs"].into_iter().chain(line.split(' ')).collect();
        // kubectl reads several containers at once: whose lines come first is chance.
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if line.contains("--all-containers") {
                lines.sort();
            }
            lines
        };
        let (expected, found) = (sorted(scene.kubectl.run(&words)?), sorted(orlop.run(&words)?));
        ensure!(found == expected, "logs {line}: kubectl {expected:?}, orlop {found:?}");
    }
    let young = orlop.run(&["-n", &scene.namespace, "logs", "late", "--since=1s"])?;
    ensure!(!young.contains("early"), "orlop, the last second: {young:?}");
    for (line, words) in [
        ("two -c middle", "container middle is not valid for pod two"),
        ("two -c left --previous", "previous terminated container \"left\" in pod \"two\" not found"),
        ("waiting", "container \"main\" in pod \"waiting\" is waiting to start"),
        ("absent", "Error from server (NotFound): pods \"absent\" not found"),
        ("counting --since=soon", "error: invalid duration \"soon\""),
    ] {
        let all: Vec<&str> = ["-n", &scene.namespace, "logs"].into_iter().chain(line.split(' ')).collect();
        let output = orlop.output(&all, "")?;
        ensure!(output.code == 1 && output.stdout.is_empty(), "logs {line}: {output:?}");
        expect_words(&output.stderr, &[words])?;
    }

    // Nothing to read: told as Kubernetes tells it.
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "logs", "waiting"], "")?;
    expect_words(&refused, &["container \"main\" in pod \"waiting\" is waiting to start"])?;
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "logs", "absent"], "")?;
    expect_words(&refused, &["(NotFound): pods \"absent\" not found"])
}

fn manifest() -> String {
    let pod = |name: &str, policy: &str, containers: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  restartPolicy: {policy}\n  \
             terminationGracePeriodSeconds: 1\n  volumes: [{{ name: shared, emptyDir: {{}} }}]\n  containers:\n{containers}\n"
        )
    };
    let container = |name: &str, image: &str, command: &str| {
        format!(
            "    - {{ name: {name}, image: {image:?}, command: [sh, -c, {command:?}], volumeMounts: [{{ name: shared, mountPath: /shared }}] }}\n"
        )
    };
    // Both of a container's outputs are in its log.
    let of = |it: &str, to: &str| container(it, TOOLS, &format!("echo this is {it} {to}; sleep 600"));
    let two = [of("left", ""), of("right", ">&2")].concat();
    let count = "for it in 1 2 3 4 5 6; do echo line $it; sleep 0.5; done";
    let again =
        "echo x >> /shared/runs; echo run $(wc -l < /shared/runs); [ $(wc -l < /shared/runs) = 1 ] || sleep 600";
    [
        pod("counting", "Never", &container("main", TOOLS, count)),
        pod("two", "Always", &two),
        pod("again", "Always", &container("main", TOOLS, again)),
        pod("late", "Always", &container("main", TOOLS, "echo early; sleep 8; echo late; sleep 600")),
        pod("waiting", "Always", &container("main", "127.0.0.1:1/absent:1", "true")),
    ]
    .concat()
}
