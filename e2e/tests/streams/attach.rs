//! `kubectl attach` and `kubectl run -i`: to the process that the container is.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{Scene, container, expect_words};

use crate::{pod, with_each};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let script = "echo begun; while read it; do echo got $it; done; echo ended; exit 4";
    with_each(scene, |kubectl| {
        let version = kubectl.program().extension().and_then(|it| it.to_str()).unwrap_or("newest").to_owned();
        let name = format!("reads-{version}");
        scene.apply(&pod(&name, "Never", "stdin: true, stdinOnce: true,", script))?;
        scene.ready(&name)?;
        // The end of this input is the end of the process's, since it is given once.
        let said = kubectl.output(&["-n", &scene.namespace, "attach", "-i", &name], "one\ntwo\n")?;
        let all = said.stdout.contains("got one\ngot two\n") && said.stdout.contains("ended\n");
        let log = || scene.logs(&name, &[]).unwrap_or_else(|it| it.to_string());
        ensure!(all, "what the process answers is not all there: {said:?}; its log: {:?}", log());
        let ended = scene.until(&name, "has failed", |it| it["status"]["phase"] == "Failed")?;
        ensure!(container(&ended, "main")["state"]["terminated"]["exitCode"] == 4, "{}", ended["status"]);
        let image = orlop_e2e::image::TOOLS;
        let quick = format!("quick-{version}");
        let all = ["run", &quick, "-i", "--rm", "--restart=Never", "--image", image, "--", "sh", "-c", "sleep 2; cat"];
        let said = kubectl.output(&[&["-n", scene.namespace.as_str()], &all[..]].concat(), "through\n")?;
        ensure!(said.code == 0, "{said:?}");
        ensure!(said.stdout.contains("through\n"), "{said:?}");
        Ok(())
    })?;
    // Who only listens hears what is written from then on, until the container's end.
    scene.apply(&pod("speaks", "Never", "", "for it in 1 2 3 4 5 6 7 8; do echo line $it; sleep 0.5; done"))?;
    scene.ready("speaks")?;
    let heard = scene.run(&["attach", "speaks"])?;
    expect_words(&heard, &["line 8\n"])
}
