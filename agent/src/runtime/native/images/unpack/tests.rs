//! What a layer says comes out as it says.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tar::EntryType;

use super::*;
use crate::runtime::native::images::sample::{self, listing};
use crate::runtime::native::images::tree::OPAQUE_XATTR;

/// Unpacks a layer over others into a new folder.
pub fn unpacked(layer: &[u8], below: &[&Path]) -> (tempfile::TempDir, Result<u64, Fault>) {
    let dir = tempfile::tempdir().unwrap();
    let tree = Tree::open(dir.path(), below.iter().map(|it| PathBuf::from(*it)).collect()).unwrap();
    let outcome = unpack(&mut &*layer, &tree);
    (dir, outcome)
}

fn good(layer: sample::Layer) -> tempfile::TempDir {
    let (dir, outcome) = unpacked(&layer.done(), &[]);
    outcome.unwrap();
    dir
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let size = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(size);
    Some(value)
}

#[test]
fn every_kind_of_file_is_made() {
    let layer = sample::Layer::new()
        .folder("./", 0o755)
        .folder("bin/", 0o2750)
        .raw("bin/su", "", EntryType::Regular, 0o4755, b"su")
        .hard_link("bin/sudo", "bin/su")
        .symlink("sbin", "bin")
        .hard_link("sbin2", "sbin")
        .device("null", EntryType::Char, 1, 3)
        .device("disk", EntryType::Block, 8, 1)
        .raw("pipe", "", EntryType::Fifo, 0o600, b"")
        .file("implied/file", "x")
        .raw("passed-over", "", EntryType::new(b'V'), 0o600, b"label");
    let dir = good(layer);
    insta::assert_snapshot!(listing(dir.path()).join("\n"), @r#"
    bin 2750 folder
    bin/su 4755 "su"
    bin/sudo 4755 "su"
    disk 640 block 2049
    implied 755 folder
    implied/file 644 "x"
    null 640 char 259
    pipe 600 fifo
    sbin 777 -> bin
    sbin2 777 -> bin
    "#);
    let meta = |name: &str| dir.path().join(name).symlink_metadata().unwrap();
    assert_eq!(meta("bin/su").ino(), meta("bin/sudo").ino());
    for name in ["bin", "bin/su", "sbin", "null", "pipe"] {
        let it = meta(name);
        assert_eq!((it.uid(), it.gid(), it.mtime()), (7, 8, 1_000_000_000), "{name}");
    }
    assert_eq!(meta("implied").uid(), 0);
}

#[test]
fn white_outs_are_the_kernels() {
    let layer = sample::Layer::new()
        .file("gone/.wh.file", "")
        .file("gone/.wh..wh.plnk", "")
        .file("whole/kept", "x")
        .file("whole/.wh..wh..opq", "")
        // Hidden, and there anew.
        .file(".wh.again", "")
        .folder("again", 0o700)
        .file(".wh.implied", "")
        .file("implied/x", "x")
        .folder("before", 0o700)
        .file(".wh.before", "")
        .file("replaced", "x")
        .file(".wh.replaced", "");
    let dir = good(layer);
    insta::assert_snapshot!(listing(dir.path()).join("\n"), @r#"
    again 700 folder
    before 700 folder
    gone 755 folder
    gone/file 0 char 0
    implied 755 folder
    implied/x 644 "x"
    replaced 644 "x"
    whole 755 folder
    whole/kept 644 "x"
    "#);
    for name in ["whole", "again", "implied", "before"] {
        assert_eq!(xattr(&dir.path().join(name), OPAQUE_XATTR).as_deref(), Some(&b"y"[..]), "{name}");
    }
    assert_eq!(xattr(&dir.path().join("gone"), OPAQUE_XATTR), None);
}

#[test]
fn attributes_are_set_but_for_the_overlays_own() {
    // A revision 2 capability set with cap_net_bind_service; a newline in it is no end.
    let capability = b"\x01\0\0\x02\x0a\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let layer = sample::Layer::new()
        .records(&[
            ("SCHILY.xattr.security.capability", capability),
            ("SCHILY.xattr.user.note", b"a\nb"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("mtime", b"5.5"),
        ])
        .file("it", "x");
    let dir = good(layer);
    let path = dir.path().join("it");
    assert_eq!(xattr(&path, "security.capability").as_deref(), Some(&capability[..]));
    assert_eq!(xattr(&path, "user.note").as_deref(), Some(&b"a\nb"[..]));
    assert_eq!((xattr(&path, "user.overlay.opaque"), xattr(&path, "trusted.overlay.redirect")), (None, None));
    let meta = path.metadata().unwrap();
    assert_eq!((meta.mtime(), meta.mtime_nsec()), (5, 500_000_000));
}

#[test]
fn implied_folders_are_as_below() {
    let below = good(sample::Layer::new().folder("./", 0o711).folder("var", 0o750).folder("var/data", 0o1777));
    let (dir, outcome) = unpacked(&sample::Layer::new().file("var/data/new/x", "").done(), &[below.path()]);
    outcome.unwrap();
    insta::assert_snapshot!(listing(dir.path()).join("\n"), @r#"
    var 750 folder
    var/data 1777 folder
    var/data/new 755 folder
    var/data/new/x 644 ""
    "#);
    let root = dir.path().metadata().unwrap();
    assert_eq!((root.mode() & 0o7777, root.uid()), (0o711, 7));
}

#[test]
fn links_within_the_layer_are_followed() {
    let layer = sample::Layer::new()
        .folder("usr/lib", 0o755)
        .symlink("lib", "usr/lib")
        .file("lib/a", "x")
        .symlink("run", "/absent/deep")
        .file("run/b", "x")
        .symlink("usr/up", "../../../etc")
        .file("usr/up/c", "x");
    insta::assert_snapshot!(listing(good(layer).path()).join("\n"), @r#"
    absent 755 folder
    absent/deep 755 folder
    absent/deep/b 644 "x"
    etc 755 folder
    etc/c 644 "x"
    lib 777 -> usr/lib
    run 777 -> /absent/deep
    usr 755 folder
    usr/lib 755 folder
    usr/lib/a 644 "x"
    usr/up 777 -> ../../../etc
    "#);
}

#[test]
fn later_entries_replace_earlier_ones() {
    let layer = sample::Layer::new()
        .file("a", "old")
        .file("a", "new")
        .file("folder/x", "")
        .file("folder", "a file now")
        .symlink("link", "/etc/passwd")
        .file("link", "a file now")
        .symlink("d", "folder2")
        .folder("folder2", 0o755)
        .folder("d", 0o700);
    insta::assert_snapshot!(listing(good(layer).path()).join("\n"), @r#"
    a 644 "new"
    d 700 folder
    folder 644 "a file now"
    folder2 755 folder
    link 644 "a file now"
    "#);
}

#[test]
fn sparse_files_keep_their_holes() {
    let from = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(from.path().join("sparse")).unwrap();
    // More pieces than the header of the old form has room for, so that blocks of its map follow.
    for at in 0..40_u64 {
        std::os::unix::fs::FileExt::write_all_at(&file, &[b'a' + (at % 26) as u8; 4096], at * 262_144).unwrap();
    }
    file.set_len(64 << 20).unwrap();
    let expected = sample::hash(&from.path().join("sparse"));
    for form in [
        "--format=gnu",
        "--format=pax --sparse-version=1.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax --sparse-version=0.0",
    ] {
        let output = Command::new("tar")
            .args(["-c", "--sparse", "-C"])
            .arg(from.path())
            .args(form.split(' '))
            .args(["sparse"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{form}: {}", String::from_utf8_lossy(&output.stderr));
        let (dir, outcome) = unpacked(&output.stdout, &[]);
        assert_eq!(outcome.unwrap(), 40 * 4096, "{form}");
        let made = dir.path().join("sparse");
        assert_eq!(sample::hash(&made), expected, "{form}");
        assert!(made.metadata().unwrap().blocks() * 512 < 1 << 20, "{form} fills its holes");
    }
}
