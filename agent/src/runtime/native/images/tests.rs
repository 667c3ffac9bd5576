//! The store as a whole: archives in, roots out, and what is left behind.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::sample::{self, Layer, gzip, layout, listing, saved};
use super::*;

/// A store and a place for files.
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

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn load(&self, archive: &[u8]) -> Result<Vec<Image>, RuntimeError> {
        let path = self.path("archive");
        std::fs::write(&path, archive).unwrap();
        self.images.load(&path).await
    }

    /// Loads what cannot be loaded, and shows that nothing of it stays.
    async fn refused(&self, archive: &[u8], expected: &str) {
        let before = self.parts();
        let error = self.load(archive).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} is not {expected}");
        assert_eq!(self.parts(), before);
    }

    /// How many layers, blobs, containers and temporary files there are.
    fn parts(&self) -> [usize; 4] {
        ["layers", "blobs/sha256", "containers", "tmp"]
            .map(|it| std::fs::read_dir(self.path("store").join(it)).unwrap().count())
    }
}

/// Unmounts when the test ends, however it ends.
struct Unmounted<'a>(&'a str, PathBuf);

impl Drop for Unmounted<'_> {
    fn drop(&mut self) {
        overlay::unmount(self.0, &self.1).unwrap();
    }
}

fn base() -> Vec<u8> {
    Layer::new()
        .folder("./", 0o711)
        .folder("etc", 0o755)
        .file("etc/a", "a")
        .file("etc/b", "b")
        .file("old/x", "x")
        .done()
}

fn upper() -> Vec<u8> {
    Layer::new().file("etc/.wh.a", "").folder("old", 0o755).file("old/.wh..wh..opq", "").file("old/y", "y").done()
}

#[tokio::test]
async fn saved_images_are_loaded_and_mounted() {
    let scene = Scene::new();
    let (base, upper) = (base(), upper());
    let archive = saved("orlop.local/web:1", &[&base, &upper]);
    for form in [archive.clone(), gzip(&archive), zstd::encode_all(archive.as_slice(), 1).unwrap()] {
        let images = scene.load(&form).await.unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(
            (images[0].tags.as_slice(), images[0].user.as_deref()),
            (&["orlop.local/web:1".to_owned()][..], Some("web"))
        );
        assert_eq!(scene.images.image("orlop.local/web:1").await.unwrap().as_ref(), Some(&images[0]));
        assert_eq!(scene.images.image(&images[0].id).await.unwrap().as_ref(), Some(&images[0]));
    }
    assert_eq!(scene.parts(), [2, 1, 0, 0]);
    assert_eq!(scene.images.images().await.unwrap().len(), 1);
    let id = scene.images.images().await.unwrap()[0].id.clone();
    let config = scene.images.config(&id).await.unwrap();
    assert_eq!(config.config().as_ref().unwrap().cmd().as_deref(), Some(&["/it".to_owned()][..]));

    let at = scene.path("root");
    let _unmounted = Unmounted("c1", at.clone());
    // Asked for at one time or again, it is mounted once.
    let mounts = tokio::join!(scene.images.mount(&id, "c1", &at), scene.images.mount(&id, "c1", &at));
    mounts.0.and(mounts.1).unwrap();
    scene.images.mount(&id, "c1", &at).await.unwrap();
    insta::assert_snapshot!(listing(&at).join("\n"), @r#"
    etc 755 folder
    etc/b 644 "b"
    old 755 folder
    old/y 644 "y"
    "#);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&at.metadata().unwrap()) & 0o7777, 0o711);
    std::fs::write(at.join("etc/b"), "changed").unwrap();

    // In use: it stays, also after the agent has started again; and the root is the same.
    let scene = scene.again();
    let error = scene.images.remove(&id).await.unwrap_err().to_string();
    assert!(error.contains("in use by container c1"), "{error}");
    scene.images.mount(&id, "c1", &at).await.unwrap();
    assert_eq!(std::fs::read_to_string(at.join("etc/b")).unwrap(), "changed");
    // As after a reboot: mounts are gone, files are not.
    overlay::unmount("c1", &at).unwrap();
    assert_eq!(listing(&at), [""; 0]);
    scene.images.mount(&id, "c1", &at).await.unwrap();
    assert_eq!(std::fs::read_to_string(at.join("etc/b")).unwrap(), "changed");

    for _ in 0..2 {
        scene.images.unmount("c1", &at).await.unwrap();
        assert_eq!((listing(&at), scene.parts()), (Vec::new(), [2, 1, 0, 0]));
    }
    for _ in 0..2 {
        scene.images.remove("orlop.local/web:1").await.unwrap();
        assert_eq!(scene.parts(), [0; 4]);
    }
    assert!(matches!(scene.images.mount(&id, "c2", &at).await, Err(RuntimeError::NotFound(_))));
    assert!(matches!(scene.images.config(&id).await, Err(RuntimeError::NotFound(_))));
}

#[tokio::test]
async fn layouts_are_loaded_and_layers_shared() {
    let scene = Scene::new();
    let (base, upper) = (base(), upper());
    let first = scene.load(&layout("nginx:1", &[&base], |_| {})).await.unwrap().remove(0);
    assert_eq!(first.tags, ["docker.io/library/nginx:1"]);
    assert!(first.digests[0].starts_with("docker.io/library/nginx@sha256:"), "{first:?}");
    let second = scene.load(&gzip(&layout("localhost/web:1", &[&base, &upper], |_| {}))).await.unwrap().remove(0);
    assert_eq!(scene.parts(), [2, 2, 0, 0]);
    assert_eq!(scene.images.image(&second.digests[0]).await.unwrap(), Some(second.clone()));
    scene.images.remove(&second.id).await.unwrap();
    assert_eq!(scene.parts(), [1, 1, 0, 0]);
    // The name goes to another image; the first keeps its digest.
    let third = scene.load(&layout("nginx:1", &[&upper], |_| {})).await.unwrap().remove(0);
    assert_eq!(scene.images.image("nginx:1").await.unwrap(), Some(third));
    let scene = scene.again();
    let first = scene.images.image(&first.id).await.unwrap().unwrap();
    assert_eq!((first.tags.len(), first.digests.len()), (0, 1));
}

#[tokio::test]
async fn bad_archives_are_refused_and_leave_nothing() {
    let scene = Scene::new();
    let layer = base();
    let good = saved("localhost/x:1", &[&layer]);
    scene.refused(b"", "neither what docker save writes").await;
    scene.refused(b"some text", "cut off").await;
    scene.refused(&good[..good.len() / 2], "cut off").await;
    scene.refused(&gzip(&good)[..500], "unpack the archive").await;
    scene.refused(&sample::archive(&[("manifest.json".into(), b"[]".to_vec())]), "no image").await;
    scene.refused(&saved("Not A Name", &[&layer]), "invalid reference format").await;
    let other = sample::archive(&[
        ("c".into(), sample::config(&[b"other"])),
        ("l".into(), layer.clone()),
        ("manifest.json".into(), br#"[{"Config":"c","RepoTags":null,"Layers":["l"]}]"#.to_vec()),
    ]);
    scene.refused(&other, "where the image's configuration says").await;
    let escaping = Layer::new().file("../evil", "x").done();
    scene.refused(&saved("localhost/x:1", &[&escaping]), "leads upwards").await;
    let wrong = |change: fn(&mut Value)| layout("localhost/x:1", &[&base()], change);
    let digest = |it: &mut Value| it["layers"][0]["digest"] = Digest::of(b"other").to_string().into();
    scene.refused(&wrong(digest), "has no file").await;
    scene.refused(&wrong(|it| it["layers"][0]["size"] = 1.into()), "bytes, not 1").await;
    scene.refused(&wrong(|it| it["layers"] = Value::Array(Vec::new())), "the manifest 0").await;
    let many: Vec<&[u8]> = vec![b""; manifest::MAX_LAYERS + 1];
    scene.refused(&saved("localhost/x:1", &many), "more than 200").await;
    // And after all that a good one.
    assert_eq!(scene.load(&good).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_bomb_is_stopped_early() {
    let scene = Scene::new();
    // 300 MB of zeros, of which a layer this small may make 256 MiB.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    let mut header = ::tar::Header::new_gnu();
    header.set_size(300_000_000);
    header.set_path("zeros").unwrap();
    header.set_mode(0o644);
    header.set_cksum();
    encoder.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1_000_000];
    (0..300).for_each(|_| encoder.write_all(&zeros).unwrap());
    let bomb = encoder.finish().unwrap();
    let archive = sample::archive(&[
        ("c".into(), sample::config(&[b"whatever"])),
        ("l".into(), bomb),
        ("manifest.json".into(), br#"[{"Config":"c","RepoTags":null,"Layers":["l"]}]"#.to_vec()),
    ]);
    scene.refused(&archive, "unpacks to more than 268435456 bytes").await;
}

#[tokio::test]
async fn what_a_crash_left_is_never_taken_for_whole() {
    let scene = Scene::new();
    let layer = base();
    let image = scene.load(&saved("localhost/x:1", &[&layer])).await.unwrap().remove(0);
    let store = scene.path("store");
    // Half a download, half a layer, and a layer whose description never came.
    std::fs::create_dir_all(store.join("tmp/7/fs/deep")).unwrap();
    std::fs::write(store.join("tmp/8"), "half").unwrap();
    let chain = Digest::of(&layer);
    std::fs::remove_file(store.join("layers").join(chain.hex()).join("layer.json")).unwrap();
    let scene = scene.again();
    assert_eq!(scene.parts()[3], 0);
    assert_eq!(scene.images.image(&image.id).await.unwrap(), None);
    assert_eq!(scene.load(&saved("localhost/x:1", &[&layer])).await.unwrap().remove(0), image);
    // An index that a broken disk spoiled.
    std::fs::write(store.join("index.json"), "{\"images\":").unwrap();
    let scene = scene.again();
    assert_eq!(scene.images.images().await.unwrap(), []);
    assert_eq!(scene.load(&saved("localhost/x:1", &[&layer])).await.unwrap().remove(0), image);
}

#[tokio::test]
async fn mounting_checks_what_is_there() {
    let scene = Scene::new();
    let one = scene.load(&saved("localhost/one:1", &[&base()])).await.unwrap().remove(0);
    let two = scene.load(&saved("localhost/two:1", &[])).await.unwrap().remove(0);
    let at = scene.path("root");
    let _unmounted = (Unmounted("c1", at.clone()), Unmounted("c2", at.clone()));
    let check = |error: Result<(), RuntimeError>, expected: &str| {
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error} is not {expected}");
    };
    scene.images.mount(&one.id, "c1", &at).await.unwrap();
    check(scene.images.mount(&two.id, "c1", &at).await, "has a root of image");
    check(scene.images.mount(&two.id, "c2", &at).await, "has something of type overlay mounted");
    check(scene.images.mount(&one.id, "../c", &at).await, "cannot name a container");
    check(scene.images.mount(&one.id, "c3", Path::new("relative")).await, "no place");
    // What is not ours is not unmounted.
    scene.images.unmount("c2", &at).await.unwrap();
    assert!(at.join("etc").is_dir());
    scene.images.unmount("c1", &at).await.unwrap();
    // An image without layers has an empty root.
    scene.images.mount(&two.id, "c2", &at).await.unwrap();
    std::fs::write(at.join("x"), "x").unwrap();
    scene.images.unmount("c2", &at).await.unwrap();
    assert_eq!(scene.parts()[2..], [0, 0]);
}

/// A small file system.
struct Tmpfs(PathBuf);

impl Tmpfs {
    fn new(at: &Path, megabytes: u32) -> Self {
        std::fs::create_dir(at).unwrap();
        let options = std::ffi::CString::new(format!("size={megabytes}m")).unwrap();
        rustix::mount::mount("test", at, "tmpfs", rustix::mount::MountFlags::empty(), Some(options.as_c_str()))
            .unwrap();
        Tmpfs(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

#[tokio::test]
async fn a_full_disk_is_told_and_emptied() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Tmpfs::new(&dir.path().join("disk"), 8);
    let images = ImageStore::open(&disk.0.join("store")).unwrap();
    let file = |megabytes: usize| {
        Layer::new().raw("big", "", ::tar::EntryType::Regular, 0o644, &vec![7; megabytes << 20]).done()
    };
    let archive = dir.path().join("archive");
    std::fs::write(&archive, saved("localhost/x:1", &[&file(3), &file(9)])).unwrap();
    let error = images.load(&archive).await.unwrap_err().to_string();
    assert!(error.starts_with("no space left on device"), "{error}");
    for folder in ["layers", "tmp", "blobs/sha256"] {
        assert_eq!(std::fs::read_dir(disk.0.join("store").join(folder)).unwrap().count(), 0, "{folder}");
    }
    std::fs::write(&archive, saved("localhost/x:1", &[&file(7)])).unwrap();
    assert_eq!(images.load(&archive).await.unwrap().len(), 1);
}
