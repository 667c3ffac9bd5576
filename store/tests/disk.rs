//! Disks that are full or fail, as the kernel has them: no acknowledged write is lost, and what the store says is true.
//!
//! Each test runs this same test binary again in a mount namespace of its own, where a small file system is mounted that is
//! gone with it. That takes root, `unshare` and `mount`, and for the failing disk a loop device and `mkfs.ext4`.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use orlop_store::embedded::Embedded;
use orlop_store::{Commit, Expect, Revision, Store, StoreError};
use tokio::time::{Instant, sleep};

/// Set for the child: the directory it may mount on.
const CHILD_DIR: &str = "ORLOP_DISK_CHILD_DIR";

/// How long a store may take to notice that there is room again; it looks every two seconds at least.
const PATIENCE: Duration = Duration::from_secs(10);

/// More than any of the disks here takes.
const COMMITS_MAX: usize = 2_000;

/// Runs the test `name` of this binary in a mount namespace of its own; it must succeed.
fn in_a_namespace(name: &str) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private"])
        .arg(std::env::current_exe().expect("this binary"))
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir.path())
        .output()
        .expect("unshare of util-linux is installed");
    let told = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{name} in a mount namespace (which takes root): {told}");
}

/// Where the child may mount, if this is a child.
fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is UTF-8")
}

fn mount_tmpfs(size: &str, on: &Path) {
    std::fs::create_dir_all(on).expect("a directory");
    run("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs", text(on)]);
}

/// What was acknowledged: keys and their revisions.
type Held = Vec<(String, Revision)>;

async fn create(store: &Embedded, key: String, held: &mut Held) -> Result<(), StoreError> {
    let value = Some(Bytes::from(vec![b'x'; 20_000]));
    let revision = store.commit(Commit { key: key.as_str().into(), expect: Expect::Absent, value }).await?;
    held.push((key, revision));
    Ok(())
}

/// Creates until the disk refuses; its error.
async fn create_until_refused(store: &Embedded, held: &mut Held) -> StoreError {
    for n in 0..COMMITS_MAX {
        if let Err(error) = create(store, format!("/until/{n}"), held).await {
            return error;
        }
    }
    panic!("the disk took {COMMITS_MAX} commits and was never full")
}

async fn check_held(store: &Embedded, held: &Held) {
    for (key, revision) in held {
        let (entry, _) = store.get(key).await.expect("reads go on");
        assert_eq!(entry.map(|entry| entry.modified), Some(*revision), "{key}");
    }
}

#[test]
fn a_full_file_system() {
    in_a_namespace("full_child");
}

/// Not a test of its own: what [`a_full_file_system`] runs. Without its directory in the environment it has nothing to do.
#[tokio::test]
async fn full_child() {
    let Some(dir) = child_dir() else { return };
    mount_tmpfs("16m", &dir);
    let filler_path = dir.join("filler");
    let mut filler = File::create(&filler_path).expect("a file");
    filler.write_all(&vec![0; 8 << 20]).expect("there is room for it");
    let store_dir = dir.join("store");
    let store = Embedded::open(&store_dir).expect("the store opens");
    let mut held = Held::new();
    let refusal = create_until_refused(&store, &mut held).await;
    assert!(!held.is_empty());
    assert!(refusal.to_string().contains("no room on the disk"), "{refusal}");
    // Nothing is left, so that the store cannot even be tidied up.
    while filler.write_all(&[0; 4096]).is_ok() {}
    for n in 0..3 {
        let again = create(&store, format!("/again/{n}"), &mut held).await;
        assert!(matches!(again, Ok(()) | Err(StoreError::Unavailable { .. })), "{again:?}");
    }
    check_held(&store, &held).await;

    std::fs::remove_file(&filler_path).expect("the filler goes");
    drop(filler);
    let until = Instant::now() + PATIENCE;
    while let Err(error) = create(&store, "/room".to_owned(), &mut held).await {
        assert!(Instant::now() < until, "there is room, and it still says: {error}");
        sleep(Duration::from_millis(20)).await;
    }
    check_held(&store, &held).await;
    drop(store);
    check_held(&Embedded::open(&store_dir).expect("the store opens again"), &held).await;
}

#[test]
fn a_disk_that_fails() {
    in_a_namespace("failing_child");
}

/// Not a test of its own: what [`a_disk_that_fails`] runs. The disk is one that promises more than it has: an ext4 of 64 MiB
/// in a file of a tmpfs of 24 MiB. The file system takes the writes, and the device fails when they are synced.
#[tokio::test]
async fn failing_child() {
    let Some(dir) = child_dir() else { return };
    let (below, disk) = (dir.join("below"), dir.join("disk"));
    mount_tmpfs("24m", &below);
    std::fs::create_dir(&disk).expect("a directory");
    let image = below.join("image");
    File::create(&image).and_then(|file| file.set_len(64 << 20)).expect("a sparse file");
    run("mkfs.ext4", &["-q", "-F", "-O", "^has_journal", text(&image)]);
    run("mount", &["-o", "loop", text(&image), text(&disk)]);

    let store_dir = disk.join("store");
    let store = Embedded::open(&store_dir).expect("the store opens");
    let mut held = Held::new();
    let failure = create_until_refused(&store, &mut held).await;
    assert!(!held.is_empty());
    assert!(failure.to_string().contains("the disk fails: "), "{failure}");
    assert!(matches!(failure, StoreError::Unavailable { unknown: true, .. }), "{failure}");
    // A failed sync is final: even with room below, what the page cache says of the disk is not to be believed.
    run("mount", &["-o", "remount,size=80m", text(&below)]);
    let again = create(&store, "/again".to_owned(), &mut held).await.expect_err("a failed disk takes nothing");
    assert!(matches!(&again, StoreError::Unavailable { unknown: false, .. }), "{again}");
    check_held(&store, &held).await;
    drop(store);

    // Mounted anew, so that the disk is read and not the page cache.
    run("umount", &[text(&disk)]);
    run("mount", &["-o", "loop", text(&image), text(&disk)]);
    let store = Embedded::open(&store_dir).expect("the store opens again");
    check_held(&store, &held).await;
    create(&store, "/on".to_owned(), &mut held).await.expect("it goes on");
    drop(store);
    run("umount", &[text(&disk)]);
}
