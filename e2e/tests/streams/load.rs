//! Much at once: large outputs and inputs without loss, many sessions beside each other, and sessions whose client goes away.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::Scene;
use orlop_e2e::wait;

use crate::{sleeper, with_each};

/// What goes out of a container at once.
const LARGE_BYTES: u64 = 100 << 20;

/// Clients that do not read, and what they may cost together: less than what one of them would be sent in a second.
const STALLED: usize = 8;
const STALLED_BYTES_MAX: u64 = 24 << 20;

/// Sessions beside each other.
const MANY: usize = 16;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&sleeper("target"))?;
    scene.ready("target")?;
    let here = ["-n", scene.namespace.as_str(), "exec", "target"];
    with_each(scene, |kubectl| {
        let began = Instant::now();
        let large = format!("head -c {LARGE_BYTES} /dev/zero");
        let mut child = kubectl.command(&[&here[..], &["--", "sh", "-c", &large]].concat());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut output = child.stdout.take().context("a pipe was asked for")?;
        let (mut piece, mut seen) = (vec![0; 1 << 16], 0);
        loop {
            let length = output.read(&mut piece)?;
            ensure!(piece[..length].iter().all(|it| *it == 0), "other bytes came");
            seen += length as u64;
            if length == 0 {
                break;
            }
        }
        let ended = child.wait()?;
        ensure!(ended.success() && seen == LARGE_BYTES, "{seen} bytes came, and {ended}");
        let took = began.elapsed().as_secs_f64();
        println!("{}: {:.0} MB/s", kubectl.program().display(), seen as f64 / took / 1e6);
        // A reader that is slow at the end loses nothing: what is on the way when the process has ended is not thrown away.
        let mut child = kubectl.command(&[&here[..], &["--", "sh", "-c", "head -c 3000000 /dev/zero"]].concat());
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut output = child.stdout.take().context("a pipe was asked for")?;
        std::thread::sleep(Duration::from_millis(1500));
        let mut all = Vec::new();
        output.read_to_end(&mut all)?;
        ensure!(child.wait()?.success() && all.len() == 3_000_000, "{} of 3000000 bytes came", all.len());
        Ok(())
    })?;
    // In and out again.
    let text: String = (0..1_000_000).map(|it| format!("{it}\n")).collect();
    let back = scene.kubectl.run_with(&[&here[..], &["-i", "--", "cat"]].concat(), "")?;
    ensure!(back.is_empty(), "nothing comes of nothing");
    let sum = scene.kubectl.run_with(&[&here[..], &["-i", "--", "md5sum"]].concat(), &text)?;
    let ours = scene.cluster.folder().join("numbers");
    std::fs::write(&ours, &text)?;
    let expected = orlop_e2e::tool::run(std::process::Command::new("md5sum").arg(&ours))?;
    ensure!(sum.split(' ').next() == expected.split(' ').next(), "{sum} is not {expected}");
    many(scene)?;
    stalled(scene)?;
    abandoned(scene)
}

/// Who does not read costs no more than the buffers on the way, however much is to be said.
fn stalled(scene: &Scene<'_>) -> Result<()> {
    let parts = ["agent-1", "apiserver"];
    let memory = || -> Result<Vec<u64>> { parts.iter().map(|it| resident_bytes(scene.cluster.process(it)?)).collect() };
    let before = memory()?;
    let mut clients = Vec::new();
    let outcome = (|| {
        for _ in 0..STALLED {
            let mut command = scene.kubectl.command(&["-n", &scene.namespace, "exec", "target", "--", "yes", "8888"]);
            clients.push(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        }
        // All pipes are full when the processes have written nothing for a while: then their time does not grow.
        let script = "for it in $(pidof yes); do cat /proc/$it/stat; done | cut -d ' ' -f 14,15";
        let mut last = String::new();
        wait::until("the processes are held up", Duration::from_secs(60), || {
            std::thread::sleep(Duration::from_millis(500));
            let now = scene.inside("target", "main", &["sh", "-c", script])?;
            let held = now == std::mem::replace(&mut last, now.clone()) && now.lines().count() == STALLED;
            ensure!(held, "their times are {now:?}");
            Ok(())
        })
    })();
    let after = memory();
    for mut it in clients {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(it.id() as i32), nix::sys::signal::Signal::SIGTERM)?;
        it.wait()?;
    }
    outcome?;
    for ((part, before), after) in parts.iter().zip(before).zip(after?) {
        println!("{STALLED} clients that do not read: {part} grew from {before} to {after} bytes");
        ensure!(after < before + STALLED_BYTES_MAX, "{part} grew from {before} to {after} bytes");
    }
    Ok(())
}

fn resident_bytes(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("a process has memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

fn many(scene: &Scene<'_>) -> Result<()> {
    let began = Instant::now();
    let outcomes: Vec<Result<String>> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..MANY)
            .map(|at| {
                scope.spawn(move || {
                    let number = at.to_string();
                    let all = ["exec", "target", "-i", "--", "sh", "-c", "read it; sleep 1; echo $it"];
                    let all = [&["-n", scene.namespace.as_str()], &all[..]].concat();
                    scene.kubectl.run_with(&all, &format!("{number}\n"))
                })
            })
            .collect();
        all.into_iter().map(|it| it.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))).collect()
    });
    for (at, said) in outcomes.into_iter().enumerate() {
        let said = said?;
        ensure!(said.trim() == at.to_string(), "session {at} said {said:?}");
    }
    println!("{MANY} sessions at once: {:?}", began.elapsed());
    Ok(())
}

/// A client that is killed takes its command with it, whether it reads or writes, whichever protocol it speaks.
fn abandoned(scene: &Scene<'_>) -> Result<()> {
    with_each(scene, |kubectl| {
        for script in ["sleep 7777", "while :; do echo 7777; done", "exec 0<&-; sleep 7777"] {
            let mut command =
                kubectl.command(&["-n", &scene.namespace, "exec", "-i", "target", "--", "sh", "-c", script]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
            let commands = || scene.inside("target", "main", &["ps", "-o", "args"]);
            let running = wait::until("the command runs", Duration::from_secs(20), || {
                ensure!(commands()?.contains("7777"), "it does not");
                Ok(())
            });
            // `timeout` passes a signal on to kubectl.
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGTERM)?;
            child.wait()?;
            running?;
            wait::until("the command is gone", Duration::from_secs(40), || {
                let all = commands()?;
                ensure!(!all.contains("7777"), "it runs on: {all}");
                Ok(())
            })?;
        }
        Ok(())
    })
}
