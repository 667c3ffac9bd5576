//! ConfigMaps and Secrets as files: modes, mappings, for root and for others, twice in a pod, binary ones, and a namesake elsewhere.
//!
//! Stands for "ConfigMap", "Secrets", "Projected configMap" and "Projected secret should be consumable from pods in volume" with all that these
//! tests add, "in multiple volumes", "ConfigMap binary data should be reflected in volume" and "Secrets should be able to mount in a volume
//! regardless of a different secret existing with same name in different namespace".

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::shown::{File, Shown, check, pod};
use super::ways::{WAYS, Way, manifest, objects};

/// The object that all volumes are made of.
const OBJECT: &str = "data";
/// Nobody in particular.
const USER: u32 = 1000;
const GROUP: u32 = 1001;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    // A namesake that no pod here may be given.
    let beside = format!("{}-beside", scene.namespace);
    scene.kubectl.apply(&format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{ name: {beside} }}\n---\napiVersion: v1\nkind: Secret\n\
         metadata: {{ name: {OBJECT}, namespace: {beside} }}\nstringData: {{ data-1: another's, data-2: another's }}\n"
    ))?;
    let (everything, as_user, of_group) = (everything(), as_user(), of_group());
    let mut all = objects(OBJECT, &[("data-1", "value-1"), ("data-2", "value-2")]).to_vec();
    all.push(pod("root", &json!({}), &everything));
    all.push(pod("user", &json!({ "runAsUser": USER }), &as_user));
    all.push(pod("group", &json!({ "runAsUser": USER, "fsGroup": GROUP }), &of_group));
    scene.apply(&manifest(&all))?;
    scene.apply(&binary())?;
    check(scene, "root", 0, &everything)?;
    check(scene, "user", USER, &as_user)?;
    check(scene, "group", USER, &of_group)?;
    scene.succeeded("binary")?;
    let shown = scene.logs("binary", &[])?;
    ensure!(shown == "text\n de ca fe 00 ba d0 fe ff 0a\n", "the files hold {shown:?}");
    Ok(())
}

/// A volume by one way, with the file that it should show.
fn volume(way: Way, what: &str, mode: Option<u32>, more: Value, path: &'static str, rights: &'static str) -> Shown {
    let text = way.value(if path.ends_with('2') { "value-2" } else { "value-1" });
    Shown {
        name: format!("{}-{what}", way.name),
        source: way.source(OBJECT, mode, &more),
        files: vec![File { path, rights, text }],
    }
}

fn plain(way: Way, what: &str) -> Shown {
    volume(way, what, None, json!({}), "data-1", "644 0")
}

fn mapped(way: Way) -> Shown {
    let items = json!({ "items": [{ "key": "data-2", "path": "path/to/data-2" }] });
    volume(way, "mapped", None, items, "path/to/data-2", "644 0")
}

fn strict(way: Way) -> Shown {
    volume(way, "strict", Some(0o400), json!({}), "data-1", "400 0")
}

fn everything() -> Vec<Shown> {
    let of_way = |way: Way| {
        let items = json!({ "items": [{ "key": "data-2", "path": "path/to/data-2", "mode": 0o400 }] });
        let item = volume(way, "item", None, items, "path/to/data-2", "400 0");
        [plain(way, "plain"), plain(way, "again"), strict(way), mapped(way), item]
    };
    WAYS.into_iter().flat_map(of_way).collect()
}

/// What is root's alone does not open for others, which shows that the rest is not read as root.
fn as_user() -> Vec<Shown> {
    let of_way = |way: Way| {
        let mut closed = strict(way);
        closed.files[0].text = format!("cat: can't open '/{}/data-1': Permission denied", closed.name);
        [plain(way, "plain"), mapped(way), closed]
    };
    WAYS.into_iter().flat_map(of_way).collect()
}

fn of_group() -> Vec<Shown> {
    WAYS.into_iter().map(|way| volume(way, "plain", Some(0o440), json!({}), "data-1", "440 1001")).collect()
}

fn binary() -> String {
    format!(
        r#"
apiVersion: v1
kind: ConfigMap
metadata: {{ name: binary }}
data: {{ text: "text\n" }}
binaryData: {{ dump: 3sr+ALrQ/v8K }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: binary }}
spec:
  restartPolicy: Never
  volumes: [{{ name: binary, configMap: {{ name: binary }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, cat /binary/text; od -v -An -tx1 /binary/dump]
      volumeMounts: [{{ name: binary, mountPath: /binary }}]
"#
    )
}
