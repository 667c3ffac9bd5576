//! Images: whether a container's is here, and pulling it where its policy says so.
//!
//! Pulls of one image at one time are one pull; only a few run beside each other; failures back off per pod and image as the kubelet's
//! do. It tells Events as it goes. It does not know when an image is needed: the pod machine does.

pub mod collect;
pub mod credentials;
pub mod ledger;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::images::ledger::Ledger;
use crate::machine::Failure;
use crate::machine::back_off::later;
use crate::references::Snapshot;
use crate::runtime::{Image, PullProgress, RegistryAuth, Runtime, RuntimeError};
use crate::telling::Teller;

/// Pulls beside each other: the network is the bottleneck, and each holds a few connections.
const PULLS: usize = 4;
/// The longest a pull may take, waiting included: a few GB over a slow line.
const PULL_WITHIN: Duration = Duration::from_secs(3600);
/// The back-off of failed pulls: 10 s, doubling to 5 min.
const FIRST_BACK_OFF: Duration = Duration::from_secs(10);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
/// How often a pull that takes long tells how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// Pulls that are remembered so that a waiter can share their result: more than can run.
const LINES: usize = 256;

/// When to pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The container's policy; without one, an image whose tag is `latest` (or that has none) is always pulled.
    pub fn of(container: &Container) -> Self {
        match container.image_pull_policy.as_deref() {
            Some("Always") => PullPolicy::Always,
            Some("Never") => PullPolicy::Never,
            Some("IfNotPresent") => PullPolicy::IfNotPresent,
            _ => match tag(container.image.as_deref().unwrap_or_default()) {
                None | Some("latest") => PullPolicy::Always,
                Some(_) => PullPolicy::IfNotPresent,
            },
        }
    }
}

/// The tag (or digest) of an image's name. The colon of a registry's port is not one.
fn tag(image: &str) -> Option<&str> {
    let name = image.rsplit('/').next()?;
    name.split_once('@').or_else(|| name.split_once(':')).map(|(_, tag)| tag)
}

/// The pull of one image that is under way or was the last: whoever waits behind it takes its result.
#[derive(Default)]
struct Line {
    last: Option<(Instant, Image)>,
}

/// By image and the credentials it is pulled with: a pull must not lend its rights to a pod without them.
type Lines = BTreeMap<(String, Vec<Login>), Arc<tokio::sync::Mutex<Line>>>;
/// Credentials as a key.
type Login = (String, String);

/// The images of this machine.
pub struct Images {
    runtime: Arc<dyn Runtime>,
    permits: Semaphore,
    lines: Mutex<Lines>,
    teller: Teller,
    ledger: Ledger,
}

impl Images {
    /// Which of the images were pulled by this agent.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Images of `runtime`.
    pub fn new(runtime: Arc<dyn Runtime>, teller: Teller, ledger: Ledger) -> Self {
        Images { runtime, permits: Semaphore::new(PULLS), lines: Mutex::default(), teller, ledger }
    }

    /// Makes sure that the container's image is here. `before` is the last failure of this pod with it.
    ///
    /// # Errors
    /// A failure with the kubelet's reason, and when to try again.
    pub async fn ensure(
        &self,
        pod: &Pod,
        container: &Container,
        found: &Snapshot,
        before: Option<&Failure>,
    ) -> Result<Image, Failure> {
        let image = container.image.as_deref().unwrap_or_default();
        let name = Some(container.name.as_str());
        let policy = PullPolicy::of(container);
        let here = match self.runtime.image(image).await {
            Ok(it) => it,
            Err(RuntimeError::InvalidImageName(..)) => {
                let message = format!(
                    "Failed to apply default image tag {image:?}: couldn't parse image name {image:?}: invalid reference format"
                );
                self.teller.warning(pod, name, "InspectFailed", &message);
                self.teller.warning(pod, name, "Failed", "Error: InvalidImageName");
                return Err(failure(before, "InvalidImageName", message));
            }
            Err(error) => {
                let message = format!("Failed to inspect image {image:?}: {error}");
                self.teller.warning(pod, name, "InspectFailed", &message);
                return Err(failure(before, "ImageInspectError", message));
            }
        };
        let before_id = here.as_ref().map(|it| it.id.clone());
        let note = |pulled: &Image| {
            // What was here already may be somebody else's.
            if before_id.as_ref() != Some(&pulled.id) {
                self.ledger.pulled(&pulled.id, orlop_client::clock::now());
            }
        };
        match (policy, here) {
            (PullPolicy::IfNotPresent | PullPolicy::Never, Some(here)) => {
                self.teller.normal(
                    pod,
                    name,
                    "Pulled",
                    format!("Container image {image:?} already present on machine"),
                );
                Ok(here)
            }
            (PullPolicy::Never, None) => {
                let message = format!("Container image {image:?} is not present with pull policy of Never");
                self.teller.warning(pod, name, "ErrImageNeverPull", &message);
                self.teller.warning(pod, name, "Failed", "Error: ErrImageNeverPull");
                Err(failure(before, "ErrImageNeverPull", message))
            }
            _ => self.pull(pod, container, image, found).await.inspect(note).map_err(|error| {
                let reason = match error {
                    RuntimeError::InvalidImageName(..) => "InvalidImageName",
                    _ => "ErrImagePull",
                };
                self.teller.warning(pod, name, "Failed", format!("Failed to pull image {image:?}: {error}"));
                self.teller.warning(pod, name, "Failed", format!("Error: {reason}"));
                failure(before, reason, error.to_string())
            }),
        }
    }

    async fn pull(
        &self,
        pod: &Pod,
        container: &Container,
        image: &str,
        found: &Snapshot,
    ) -> Result<Image, RuntimeError> {
        self.teller.normal(pod, Some(&container.name), "Pulling", format!("Pulling image {image:?}"));
        let asked = Instant::now();
        let candidates = credentials::for_image(pod, image, found);
        let line = self.line(image, &candidates);
        let pulling = async {
            let mut line = line.lock().await;
            if let Some((finished, image)) = &line.last
                && *finished >= asked
            {
                return Ok((image.clone(), Duration::ZERO));
            }
            let _permit =
                self.permits.acquire().await.map_err(|_| RuntimeError::Unavailable("the agent stops".into()))?;
            let began = Instant::now();
            let pulled = self.pull_with_any(pod, container, image, &candidates).await?;
            line.last = Some((Instant::now(), pulled.clone()));
            Ok((pulled, began.elapsed()))
        };
        let done = tokio::time::timeout(PULL_WITHIN, pulling).await;
        let (pulled, took) = done.unwrap_or_else(|_| Err(RuntimeError::Timeout(format!("pulling image {image:?}"))))?;
        let message = format!(
            "Successfully pulled image {image:?} in {} ({} including waiting). Image size: {} bytes.",
            go_seconds(took),
            go_seconds(asked.elapsed()),
            pulled.size_bytes
        );
        self.teller.normal(pod, Some(&container.name), "Pulled", message);
        Ok(pulled)
    }

    /// Tries each of the credentials that fit, and none if there are none.
    async fn pull_with_any(
        &self,
        pod: &Pod,
        container: &Container,
        image: &str,
        candidates: &[RegistryAuth],
    ) -> Result<Image, RuntimeError> {
        let (sender, receiver) = mpsc::channel(1);
        let telling = self.tell_progress(pod, container, image, receiver);
        let pulling = async {
            let mut last = None;
            for it in candidates.iter().map(Some).chain(candidates.is_empty().then_some(None)) {
                match self.runtime.pull(image, it, sender.clone()).await {
                    Ok(it) => return Ok(it),
                    Err(error) => last = Some(error),
                }
            }
            Err(last.unwrap_or_else(|| RuntimeError::ImagePull(format!("no way to pull {image}"))))
        };
        tokio::select! {
            pulled = pulling => pulled,
            never = telling => match never {},
        }
    }

    async fn tell_progress(
        &self,
        pod: &Pod,
        container: &Container,
        image: &str,
        mut progress: mpsc::Receiver<PullProgress>,
    ) -> std::convert::Infallible {
        let mut told = Instant::now();
        while let Some(it) = progress.recv().await {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                let message = format!(
                    "Pulling image {image:?}: {} of {} layers, {} MB",
                    it.layers_done,
                    it.layers,
                    it.bytes / 1_000_000
                );
                self.teller.normal(pod, Some(&container.name), "Pulling", message);
            }
        }
        std::future::pending().await
    }

    fn line(&self, image: &str, candidates: &[RegistryAuth]) -> Arc<tokio::sync::Mutex<Line>> {
        let key = candidates.iter().map(|it| (it.username.clone(), it.password.clone())).collect();
        let mut lines = self.lines.lock();
        if lines.len() > LINES {
            lines.retain(|_, it| Arc::strong_count(it) > 1);
        }
        Arc::clone(lines.entry((image.to_owned(), key)).or_default())
    }
}

/// A failure that backs off from 10 s to 5 min.
fn failure(before: Option<&Failure>, reason: &'static str, message: String) -> Failure {
    let now = orlop_client::clock::now();
    let mut it = Failure::after(before, reason, message, now);
    let wait = FIRST_BACK_OFF.saturating_mul(1 << (it.count - 1).min(5)).min(LONGEST_BACK_OFF);
    it.retry_at = later(now, wait);
    it
}

/// A duration as Go prints it, to the millisecond: `1.234s`, `56ms`.
fn go_seconds(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".into(),
        1..1000 => format!("{millis}ms"),
        1000..60_000 => format!("{}s", millis as f64 / 1000.0),
        _ => format!("{}m{}s", millis / 60_000, (millis % 60_000) as f64 / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_follows_the_tag() {
        let check = |image: &str, expected: PullPolicy| {
            let container = Container { image: Some(image.into()), ..Container::default() };
            assert_eq!(PullPolicy::of(&container), expected, "{image}");
        };
        check("nginx", PullPolicy::Always);
        check("nginx:latest", PullPolicy::Always);
        check("localhost:5000/nginx", PullPolicy::Always);
        check("localhost:5000/nginx:1.27", PullPolicy::IfNotPresent);
        check("nginx@sha256:abc", PullPolicy::IfNotPresent);
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        let told: Vec<_> = [0, 56, 1234, 61_500].map(|it| go_seconds(Duration::from_millis(it))).into();
        assert_eq!(told, ["0s", "56ms", "1.234s", "1m1.5s"]);
    }
}
