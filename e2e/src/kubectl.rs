//! The real kubectl, bound to one cluster.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{tool, wait};

/// The oldest minor version that is asked for.
const OLDEST_MINOR: u32 = 27;

/// What a run of kubectl left.
#[derive(Clone, Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub code: i32,
}

/// A kubectl-like program with a kubeconfig. `orlop` is one, too.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    /// kubectl's discovery cache: one a cluster, since ports are used again.
    cache: PathBuf,
}

/// No call may take longer, whatever it waits for.
const CALL_LIMIT: &str = "180s";

impl Kubectl {
    /// The kubectl on the path.
    ///
    /// # Errors
    /// When there is none.
    pub fn new(kubeconfig: &Path) -> Result<Kubectl> {
        Self::with_program(tool::machine("kubectl", "kubernetes-client")?, kubeconfig)
    }

    /// Another program with the same commands.
    ///
    /// # Errors
    /// When the kubeconfig has no folder.
    pub fn with_program(program: PathBuf, kubeconfig: &Path) -> Result<Kubectl> {
        let cache = kubeconfig.parent().context("a kubeconfig has a folder")?.join("kubectl-cache");
        Ok(Kubectl { program, kubeconfig: kubeconfig.to_owned(), cache })
    }

    /// Every kubectl at hand: the one on the path, and the versions that lie beside the file it links to.
    ///
    /// # Errors
    /// When there is none.
    pub fn all(kubeconfig: &Path) -> Result<Vec<Kubectl>> {
        let first = tool::machine("kubectl", "kubernetes-client")?;
        let mut programs = vec![first.clone()];
        if let Some(folder) = first.canonicalize()?.parent() {
            let beside = std::fs::read_dir(folder)?.filter_map(|it| Some(it.ok()?.path()));
            programs.extend(
                beside.filter(|it| {
                    it.file_name().and_then(|it| it.to_str()).is_some_and(|it| it.starts_with("kubectl.1."))
                }),
            );
        }
        programs.sort();
        programs.dedup();
        programs.into_iter().map(|it| Self::with_program(it, kubeconfig)).collect()
    }

    /// Whether it is older than 1.27, the oldest that is asked for: Debian's, whose flags and pages differ.
    ///
    /// # Errors
    /// When it does not say.
    pub fn is_old(&self) -> Result<bool> {
        let version: Value = serde_json::from_str(&self.run(&["version", "--client", "-o", "json"])?)?;
        let minor = version["clientVersion"]["minor"].as_str().unwrap_or_default();
        let minor: u32 =
            minor.trim_end_matches('+').parse().with_context(|| format!("kubectl's version is {version}"))?;
        Ok(minor < OLDEST_MINOR)
    }

    /// The program's path.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// A command to be run by the caller.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.arg(CALL_LIMIT).arg(&self.program).args(arguments);
        command.env("KUBECONFIG", &self.kubeconfig).env("KUBECACHEDIR", &self.cache).env("HOME", &self.cache);
        command
    }

    /// Runs it, whatever the outcome.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        if let Some(mut stdin) = child.stdin.take() {
            // It may end without reading.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        Ok(Output {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        })
    }

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.run_with(arguments, "")
    }

    /// Runs it with this standard input (`-f -`).
    ///
    /// # Errors
    /// When it fails.
    pub fn run_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        if output.code != 0 {
            bail!("kubectl {} failed with {}: {}{}", arguments.join(" "), output.code, output.stdout, output.stderr);
        }
        Ok(output.stdout)
    }

    /// Runs it and gives what it said on standard error, expecting it to fail.
    ///
    /// # Errors
    /// When it succeeds.
    pub fn fails(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.output(arguments, input)?;
        if output.code == 0 {
            bail!("kubectl {} should fail, and said {}", arguments.join(" "), output.stdout);
        }
        Ok(output.stderr)
    }

    /// `kubectl apply -f -`.
    ///
    /// # Errors
    /// When it fails.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.run_with(&["apply", "-f", "-"], manifest)
    }

    /// `kubectl get … -o json`.
    ///
    /// # Errors
    /// When it fails.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let mut all = vec!["get", "-o", "json"];
        all.extend(arguments);
        Ok(serde_json::from_str(&self.run(&all)?)?)
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When it fails.
    pub fn items(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        match self.json(arguments)?["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("no list but {other}"),
        }
    }

    /// Waits until `kubectl get … -o json` satisfies `check`.
    ///
    /// # Errors
    /// When it does not within `limit`; the last object is in the error.
    pub fn until(&self, arguments: &[&str], limit: Duration, check: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(&arguments.join(" "), limit, || {
            let it = self.json(arguments)?;
            if check(&it) { Ok(it) } else { bail!("it is {it}") }
        })
    }

    /// Waits until a Deployment is rolled out.
    ///
    /// # Errors
    /// When it is not within three minutes.
    pub fn rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        let name = format!("deployment/{deployment}");
        self.run(&["-n", namespace, "rollout", "status", &name, "--timeout=170s"]).map(drop)
    }
}
