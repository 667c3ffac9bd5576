//! A real image registry on loopback, and images pushed to it.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::child::Child;
use crate::{tool, wait};

/// Who may use a registry that asks for it.
pub const USER: &str = "orlop";
/// The user's password.
pub const PASSWORD: &str = "open sesame";
/// The password as `htpasswd -B` writes it.
const PASSWORD_HASH: &str = "$2b$05$PHWaDVVwDf9S7FysD6.YR.6c.lXVn9o5up47guGyXI3voGtbE/Uz6";

/// A registry with nothing in it but what was pushed.
pub struct Registry {
    child: Child,
    folder: TempDir,
    port: u16,
    login: bool,
    /// Names that were given to local images for pushing, to be taken away again.
    names: Vec<String>,
}

impl Registry {
    /// Starts a registry and waits until it answers.
    ///
    /// # Errors
    /// When docker-registry is not installed or does not answer.
    pub fn start() -> Result<Registry> {
        Self::start_as(false)
    }

    /// Starts a registry that lets nobody in but [`USER`] with [`PASSWORD`].
    ///
    /// # Errors
    /// As [`Registry::start`].
    pub fn start_with_login() -> Result<Registry> {
        Self::start_as(true)
    }

    fn start_as(login: bool) -> Result<Registry> {
        let folder = tempfile::Builder::new().prefix("orlop-registry-").tempdir()?;
        let port = tool::free_port()?;
        let config = folder.path().join("config.yml");
        let users = folder.path().join("users");
        std::fs::write(&users, format!("{USER}:{PASSWORD_HASH}\n"))?;
        let auth = match login {
            true => format!("auth: {{htpasswd: {{realm: orlop, path: {}}}}}\n", users.display()),
            false => String::new(),
        };
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}",
                folder.path().join("data").display()
            ),
        )?;
        let mut command = Command::new(tool::machine("docker-registry", "docker-registry")?);
        command.arg("serve").arg(&config);
        let mut child = Child::start("registry", folder.path(), &mut command)?;
        let address = format!("127.0.0.1:{port}");
        wait::until("the registry answers", Duration::from_secs(20), || {
            if !child.runs() {
                bail!("the registry ended: {}", child.tail());
            }
            crate::load::get(&address, "/v2/", Duration::from_secs(1)).map(drop)
        })?;
        Ok(Registry { child, folder, port, login, names: Vec::new() })
    }

    /// Its host and port.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes the local image `local` (`orlop.local/web:1`) and gives the name to pull it by. The local name for it is removed, so that
    /// a pod has to pull.
    ///
    /// # Errors
    /// When the Engine or the registry refuse.
    pub fn push(&mut self, local: &str) -> Result<String> {
        let short = local.rsplit('/').next().unwrap_or(local);
        let name = format!("127.0.0.1:{}/{short}", self.port);
        docker(&["tag", local, &name])?;
        self.names.push(name.clone());
        // A configuration of its own: whom this test is must not stay behind in the user's.
        let config = self.folder.path().join("docker").display().to_string();
        if self.login {
            docker(&["--config", &config, "login", "--username", USER, "--password", PASSWORD, &self.address()])?;
        }
        docker(&["--config", &config, "push", "--quiet", &name])?;
        docker(&["rmi", "--no-prune", &name])?;
        Ok(name)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A name under which the registry has nothing.
    pub fn missing(&self) -> String {
        format!("127.0.0.1:{}/no-such-image:1", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        for name in &self.names {
            // Pulled by pods; gone already if none did.
            let _ = docker(&["rmi", "--no-prune", name]);
        }
    }
}

/// Runs the Docker client against the local Engine.
///
/// # Errors
/// When it fails; its output is in the error.
pub fn docker(arguments: &[&str]) -> Result<String> {
    tool::run(Command::new(tool::machine("docker", "docker.io")?).args(arguments))
}
