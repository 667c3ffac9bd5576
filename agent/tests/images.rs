//! The image store against registries: a real one, and one that misbehaves.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/distribution.rs"]
mod distribution;
#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "support/layers.rs"]
mod layers;
#[path = "support/push.rs"]
mod push;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use orlop_agent::runtime::native::images::ImageStore;
use orlop_agent::runtime::{Image, PullProgress, RegistryAuth, RuntimeError};
use tokio::sync::mpsc;

use distribution::{Distribution, PASSWORD};
use fake_registry::{FakeRegistry, Manners};
use layers::{Made, digest, image, layer, noise};
use push::push;

/// A store below a folder of its own.
struct Scene {
    dir: tempfile::TempDir,
    images: ImageStore,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = ImageStore::open(&dir.path().join("store")).unwrap();
        Scene { dir, images }
    }

    /// As after the end of the process.
    fn again(self) -> Self {
        let Scene { dir, images } = self;
        drop(images);
        let images = ImageStore::open(&dir.path().join("store")).unwrap();
        Scene { dir, images }
    }

    async fn pull(&self, reference: &str) -> Result<Image, RuntimeError> {
        self.images.pull(reference, None, mpsc::channel(1).0).await
    }

    /// How many layers, blobs and temporary files there are.
    fn parts(&self) -> [usize; 3] {
        parts(&self.dir.path().join("store"))
    }
}

fn parts(store: &Path) -> [usize; 3] {
    ["layers", "blobs/sha256", "tmp"].map(|it| std::fs::read_dir(store.join(it)).unwrap().count())
}

fn auth(username: &str, password: &str) -> RegistryAuth {
    RegistryAuth { username: username.into(), password: password.into() }
}

/// Two images that share their lowest layer, which is large enough to break off in the middle.
fn pair() -> [Made; 2] {
    let base = layer(&[("etc/base", b"base"), ("big", &noise(200_000, 1))]);
    let other = |name: &str| image(&[base.clone(), layer(&[("name", name.as_bytes())])]);
    [other("one"), other("two")]
}

#[tokio::test]
async fn an_image_of_a_real_registry_is_pulled_and_mounted() {
    let registry = Distribution::start(None).await;
    let [one, two] = pair();
    let name = push(&registry, "team/app", "1", &one).await;
    let scene = Scene::new();
    let (sender, mut receiver) = mpsc::channel(1000);
    let pulled = scene.images.pull(&name, None, sender).await.unwrap();
    let mut last = PullProgress::default();
    while let Ok(it) = receiver.try_recv() {
        last = it;
    }
    assert_eq!((last.layers_done, last.layers), (2, 2));
    assert_eq!(last.bytes, one.blobs.iter().map(|it| it.len() as u64).sum::<u64>());
    assert_eq!(pulled.tags, std::slice::from_ref(&name));
    assert_eq!(pulled.digests, [format!("{}/team/app@{}", registry.address, digest(&one.manifest))]);
    assert_eq!((pulled.id.as_str(), pulled.user.as_deref()), (digest(&one.blobs[0]).as_str(), Some("web")));
    assert!(pulled.size_bytes > 200_000);
    assert_eq!(scene.images.image(&name).await.unwrap(), Some(pulled.clone()));
    // Layers, unpacked; of blobs the configuration is left.
    assert_eq!(scene.parts(), [2, 1, 0]);
    // By its digest, and through an index, it is the same image.
    assert_eq!(scene.pull(&pulled.digests[0]).await.unwrap(), pulled);
    let by_index = scene.pull(&format!("{name}-index")).await.unwrap();
    assert_eq!((by_index.id.as_str(), by_index.tags.len(), by_index.digests.len()), (pulled.id.as_str(), 2, 2));

    let at = scene.dir.path().join("root");
    scene.images.mount(&pulled.id, "c", &at).await.unwrap();
    let read = |name: &str| std::fs::read_to_string(at.join(name));
    let found = (read("etc/base").unwrap(), read("name").unwrap());
    scene.images.unmount("c", &at).await.unwrap();
    assert_eq!(found, ("base".into(), "one".into()));

    // Another image under the same tag.
    push(&registry, "team/app", "1", &two).await;
    let moved = scene.pull(&name).await.unwrap();
    assert_eq!((moved.tags.as_slice(), scene.parts()), (std::slice::from_ref(&name), [3, 2, 0]));
    scene.images.remove(&pulled.id).await.unwrap();
    assert_eq!(scene.parts(), [2, 1, 0]);
    scene.images.remove(&moved.id).await.unwrap();
    assert_eq!(scene.parts(), [0; 3]);
}

#[tokio::test]
async fn a_registry_lets_in_whom_it_knows() {
    let registry = Distribution::start(Some("user")).await;
    let name = push(&registry, "app", "1", &pair()[0]).await;
    let scene = Scene::new();
    let pull = async |auth: Option<RegistryAuth>| scene.images.pull(&name, auth.as_ref(), mpsc::channel(1).0).await;
    for (login, expected) in
        [(None, "no basic auth credentials"), (Some(auth("user", "wrong")), "unauthorized: authentication required")]
    {
        match pull(login).await {
            Err(RuntimeError::ImagePull(text)) => assert!(text.contains(expected), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(scene.parts(), [0; 3]);
    }
    pull(Some(auth("user", PASSWORD))).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_pulled_says_why() {
    let registry = Distribution::start(None).await;
    let scene = Scene::new();
    let check = async |name: &str, expected: &str| match scene.pull(name).await {
        Err(RuntimeError::ImagePull(text)) => assert!(text.contains(expected), "{text} is not {expected}"),
        other => panic!("{name}: {other:?}"),
    };
    check(&format!("{}/absent:1", registry.address), "not found: manifest unknown").await;
    check("127.0.0.1:1/absent:1", "connection refused").await;
    match scene.pull("Not/A:Name:at all").await {
        Err(RuntimeError::InvalidImageName(name, _)) => assert_eq!(name, "Not/A:Name:at all"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(scene.images.image("not:a:name").await, Err(RuntimeError::InvalidImageName(..))));
}

#[tokio::test]
async fn tokens_are_fetched_with_the_login() {
    let [one, two] = pair();
    let manners = Manners { login: Some(("me".into(), "pass:word".into())), ..Manners::default() };
    let registry = FakeRegistry::start([&one, &two], manners).await;
    let scene = Scene::new();
    let name = registry.reference("1");
    let pull = async |auth: Option<RegistryAuth>| scene.images.pull(&name, auth.as_ref(), mpsc::channel(1).0).await;
    for login in [None, Some(auth("me", "wrong"))] {
        let error = pull(login).await.unwrap_err().to_string();
        assert!(error.contains("pull access denied") && error.contains("unauthorized: incorrect"), "{error}");
    }
    pull(Some(auth("me", "pass:word"))).await.unwrap();
}

#[tokio::test]
async fn what_several_pulls_need_comes_once() {
    let [one, two] = pair();
    let registry = FakeRegistry::start([&one, &two], Manners::default()).await;
    let scene = Scene::new();
    let (first, second, third) = (registry.reference("1"), registry.reference("2"), registry.reference("1"));
    let pulls = tokio::join!(scene.pull(&first), scene.pull(&second), scene.pull(&third));
    assert_eq!(pulls.0.unwrap(), pulls.2.unwrap());
    pulls.1.unwrap();
    let asked = registry.asked();
    for blob in one.blobs.iter().chain(&two.blobs) {
        assert_eq!(asked.iter().filter(|it| **it == digest(blob)).count(), 1, "{asked:?}");
    }
    assert_eq!(scene.parts(), [3, 2, 0]);
    // Here already: no blob is asked for.
    scene.pull(&first).await.unwrap();
    assert_eq!(registry.asked(), ["1"]);
}

#[tokio::test]
async fn a_download_that_breaks_off_goes_on() {
    let [one, two] = pair();
    for ranges in [true, false] {
        let registry = FakeRegistry::start([&one, &two], Manners { breaks: 2, ranges, ..Manners::default() }).await;
        let scene = Scene::new();
        scene.pull(&registry.reference("1")).await.unwrap();
        let big = digest(&one.blobs[1]);
        let asked: Vec<_> = registry.asked().into_iter().filter(|it| it.starts_with(&big)).collect();
        assert_eq!(asked.len(), 3, "{asked:?}");
        assert!(asked[1].contains("bytes="), "{asked:?}");
        assert_eq!(scene.parts(), [2, 1, 0]);
    }
    // Not for ever; what came whole stays for the next pull, what did not is gone.
    let registry = FakeRegistry::start([&one, &two], Manners { breaks: usize::MAX, ..Manners::default() }).await;
    let scene = Scene::new();
    let error = scene.pull(&registry.reference("1")).await.unwrap_err().to_string();
    assert!(error.contains("failed to do request") || error.contains("ended after"), "{error}");
    assert_eq!(scene.parts(), [0, 2, 0]);
    registry.behave(Manners::default());
    registry.asked();
    let scene = scene.again();
    scene.pull(&registry.reference("1")).await.unwrap();
    assert_eq!(registry.asked(), ["1".to_owned(), digest(&one.blobs[1])]);
}

#[tokio::test]
async fn what_is_not_what_its_digest_says_is_refused() {
    let [one, two] = pair();
    let big = &one.blobs[1];
    let mut flipped = big.clone();
    flipped[1000] ^= 1;
    let longer = [big.as_slice(), b"more"].concat();
    let manifest = digest(&one.manifest);
    let cases: [(&str, Vec<u8>, &str); 5] = [
        (&digest(big), flipped, "the registry gave sha256:"),
        (&digest(big), longer, "more than the"),
        (&digest(&one.blobs[0]), vec![b' '; one.blobs[0].len()], "the registry gave sha256:"),
        (&manifest, two.manifest.clone(), "has the digest"),
        ("1", vec![b' '; 5 << 20], "more than 4194304 bytes"),
    ];
    for (what, bytes, expected) in cases {
        let instead = HashMap::from([(what.to_owned(), bytes)]);
        let registry = FakeRegistry::start([&one, &two], Manners { instead, ..Manners::default() }).await;
        let scene = Scene::new();
        let name = registry.reference("1");
        let by_digest = name.replace(":1", &format!("@{manifest}"));
        let asked = if what == manifest { by_digest } else { name };
        let error = scene.pull(&asked).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} is not {expected}");
        assert_eq!(scene.images.images().await.unwrap(), []);
        assert_eq!((scene.parts()[0], scene.parts()[2]), (0, 0));
        // And then the registry is mended.
        registry.behave(Manners::default());
        scene.pull(&asked).await.unwrap();
    }
}

#[tokio::test]
async fn a_pull_that_is_given_up_leaves_nothing_half_done() {
    let [one, two] = pair();
    let registry = FakeRegistry::start([&one, &two], Manners { stalls: true, ..Manners::default() }).await;
    let scene = Scene::new();
    let name = registry.reference("1");
    let given_up = tokio::time::timeout(Duration::from_millis(500), scene.pull(&name)).await;
    assert!(given_up.is_err());
    // Tasks that were aborted end at their next turn.
    for _ in 0..100 {
        if scene.parts()[2] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((scene.parts()[0], scene.parts()[2]), (0, 0));
    registry.behave(Manners::default());
    scene.pull(&name).await.unwrap();
}

/// Tells the process that is to be killed where its store is and what to pull.
const TO_BE_KILLED: &str = "ORLOP_TEST_STORE_AND_IMAGE";

#[tokio::test]
async fn a_process_that_is_killed_while_pulling_leaves_a_store_that_works() {
    if let Ok(it) = std::env::var(TO_BE_KILLED) {
        let (store, name) = it.split_once('|').unwrap();
        let images = ImageStore::open(Path::new(store)).unwrap();
        let pulled = images.pull(name, None, mpsc::channel(1).0).await;
        unreachable!("the registry says nothing more, and yet: {pulled:?}");
    }
    let [one, two] = pair();
    let registry = FakeRegistry::start([&one, &two], Manners { stalls: true, ..Manners::default() }).await;
    let (dir, name) = (tempfile::tempdir().unwrap(), registry.reference("1"));
    let store = dir.path().join("store");
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_is_killed_while_pulling_leaves_a_store_that_works"])
        .env(TO_BE_KILLED, format!("{}|{name}", store.display()))
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let there = async || {
        // The small blobs are whole, the big one has come by half.
        while !store.join("tmp").is_dir() || parts(&store) != [0, 2, 1] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), there()).await.unwrap();
    let error = ImageStore::open(&store).unwrap_err().to_string();
    assert!(error.contains("used by another process"), "{error}");
    child.kill().await.unwrap();
    let images = ImageStore::open(&store).unwrap();
    assert_eq!(parts(&store), [0, 2, 0]);
    registry.behave(Manners::default());
    registry.asked();
    images.pull(&name, None, mpsc::channel(1).0).await.unwrap();
    assert_eq!(registry.asked(), ["1".to_owned(), digest(&one.blobs[1])]);
}

/// A small file system, gone with the test.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(at: PathBuf, bytes: &std::ffi::CStr) -> Self {
        std::fs::create_dir(&at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("test", &at, "tmpfs", flags, Some(bytes)).unwrap();
        Tmpfs(at)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_while_pulling_is_told_and_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Tmpfs::new(dir.path().join("disk"), c"size=8m");
    let store = disk.0.join("store");
    let images = ImageStore::open(&store).unwrap();
    let small = image(&[layer(&[("big", &noise(2 << 20, 1))])]);
    // It can be downloaded, or unpacked, but not both.
    for megabytes in [9, 5] {
        let large = image(&[layer(&[("small", b"x")]), layer(&[("big", &noise(megabytes << 20, 2))])]);
        let registry = FakeRegistry::start([&large, &small], Manners::default()).await;
        match images.pull(&registry.reference("1"), None, mpsc::channel(1).0).await {
            Err(RuntimeError::ImagePull(text)) => assert!(text.starts_with("no space left on device"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(parts(&store), [0; 3]);
        let pulled = images.pull(&registry.reference("2"), None, mpsc::channel(1).0).await.unwrap();
        images.remove(&pulled.id).await.unwrap();
    }
}
