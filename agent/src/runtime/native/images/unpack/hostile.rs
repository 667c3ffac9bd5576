//! Layers that want out, or want too much.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use proptest::prelude::*;
use tar::EntryType;

use super::tests::unpacked;
use super::*;
use crate::runtime::native::images::sample::{Layer, listing};

fn refused(layer: Layer, expected: &str) {
    let (dir, outcome) = unpacked(&layer.done(), &[]);
    let error = outcome.unwrap_err().to_string();
    assert!(error.contains(expected), "{error} is not {expected}; {:?}", listing(dir.path()));
}

#[test]
fn names_that_lead_upwards_are_refused() {
    for path in ["../evil", "a/../../evil", "..", "/../evil", "./.."] {
        refused(Layer::new().file(path, "x"), "leads upwards");
        refused(Layer::new().folder(path, 0o755), "leads upwards");
        refused(Layer::new().symlink(path, "x"), "leads upwards");
        refused(Layer::new().hard_link("a", path), "leads upwards");
        refused(Layer::new().raw(path, "", EntryType::Fifo, 0o644, b""), "leads upwards");
    }
    refused(Layer::new().records(&[("path", b"../evil")]).file("a", ""), "leads upwards");
    refused(Layer::new().records(&[("path", b"a\0b")]).file("a", ""), "NUL");
    for mark in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        refused(Layer::new().file(mark, ""), "white-out of");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    refused(Layer::new().symlink("./", "x"), "root that is no folder");
    refused(Layer::new().file("a", "").file("a/b", ""), "no folder");
    refused(Layer::new().symlink("a", "b").symlink("b", "a").file("a/x", ""), "circle");
    refused(Layer::new().hard_link("a", "absent"), "not in the layer");
    refused(Layer::new().hard_link("a", "/"), "not in the layer");
    refused(Layer::new().folder("d", 0o755).hard_link("a", "d"), "is a folder");
    refused(Layer::new().symlink("a", ""), "to nothing");
    refused(Layer::new().records(&[("uid", b"4294967295")]).file("a", ""), "no user can be");
    refused(Layer::new().records(&[("gid", b"4294967296")]).file("a", ""), "no user can be");
    refused(Layer::new().records(&[("path", "d/".repeat(300).as_bytes())]).file("a", ""), "too deep");
    refused(Layer::new().records(&[("path", "long-name/".repeat(500).as_bytes())]).file("a", ""), "too long");
    let form: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"0"), ("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"1000000000000000")];
    refused(Layer::new().records(&form).file("a", ""), "more than");
}

/// Nothing of what a layer does reaches a folder beside it.
fn contained(layer: &[u8]) {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::fs::create_dir(outside.path().join("in")).unwrap();
    let before = state(outside.path());
    let root = outside.path().join("in");
    let tree = Tree::open(&root, Vec::new()).unwrap();
    // Refused or not does not matter.
    let _ = unpack(&mut &*layer, &tree);
    assert_eq!(state(outside.path()), before);
}

fn state(outside: &Path) -> Vec<(String, u64, u32)> {
    let mut found: Vec<_> = std::fs::read_dir(outside)
        .unwrap()
        .map(|it| {
            let it = it.unwrap();
            let meta = it.metadata().unwrap();
            // The mode of `in` is the layer's own to set; its name is not.
            let mode = if meta.is_dir() { 0 } else { meta.mode() };
            (it.file_name().to_string_lossy().into_owned(), meta.nlink(), mode)
        })
        .collect();
    found.sort();
    found.iter_mut().for_each(|it| it.1 = if it.0 == "in" { 0 } else { it.1 });
    found
}

#[test]
fn links_out_of_the_root_lead_back_into_it() {
    for goal in ["..", "../..", "/..", "/", "a/../..", "/proc/self/root", "/proc/self/cwd"] {
        contained(&Layer::new().symlink("out", goal).file("out/evil", "x").done());
        contained(&Layer::new().symlink("out", goal).folder("out/evil", 0o777).done());
        contained(&Layer::new().symlink("out", goal).file("out/.wh.secret", "").done());
        contained(&Layer::new().symlink("out", goal).hard_link("mine", "out/secret").done());
        contained(&Layer::new().symlink("out", goal).hard_link("out/mine", "out").folder("out", 0o777).done());
    }
    contained(&Layer::new().symlink("out", "../secret").file("out", "evil").done());
    contained(&Layer::new().symlink("out", "../secret").raw("out", "", EntryType::Directory, 0o777, b"").done());
    contained(&Layer::new().symlink("out", "../secret").hard_link("mine", "out").file("mine", "evil").done());
}

#[test]
fn a_link_to_the_hosts_files_shows_none_of_them() {
    let (dir, outcome) = unpacked(&Layer::new().symlink("out", "/").hard_link("mine", "out/etc/passwd").done(), &[]);
    assert!(outcome.unwrap_err().to_string().contains("not in the layer"));
    assert!(!dir.path().join("mine").exists());
}

/// A name of a few parts that meet each other often, and lead out as often.
fn name() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "..", ".", "", ".wh.a", ".wh..wh..opq", "secret"]);
    prop::collection::vec(part, 1..4).prop_map(|it| it.join("/"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_layer_reaches_out(entries in prop::collection::vec((0..5_u8, name(), name()), 0..12)) {
        let layer = entries.into_iter().fold(Layer::new(), |layer, (kind, path, link)| match kind {
            0 => layer.file(&path, "evil"),
            1 => layer.folder(&path, 0o777),
            2 => layer.symlink(&path, &link),
            3 => layer.hard_link(&path, &link),
            _ => layer.raw(&path, "", EntryType::Fifo, 0o666, b""),
        });
        contained(&layer.done());
    }

    #[test]
    fn no_stream_makes_it_panic(at in 0..3000_usize, byte: u8, short in 0..3000_usize) {
        let mut layer = Layer::new()
            .records(&[("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"1")])
            .file("a", "x")
            .symlink("b", "a")
            .hard_link("c", "a")
            .done();
        let at = at % layer.len();
        layer[at] ^= byte;
        layer.truncate(layer.len() - short % layer.len());
        contained(&layer);
    }
}
