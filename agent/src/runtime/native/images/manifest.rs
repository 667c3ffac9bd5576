//! What an image is made of, read from its manifest and its configuration, in OCI's form and Docker's, which are the same in what matters. Pure.

use oci_spec::image::{Arch, Descriptor, ImageConfiguration, ImageIndex, ImageManifest, Os};
use serde_json::Value;

use super::digest::{Digest, chain};
use super::fault::Fault;

/// The most layers of an image. Docker builds at most 127; 200 of the kernel's names for open folders (`/proc/self/fd/123:`, 18 bytes) fit into the
/// page that mount options may take where there is no newer way to name them.
pub const MAX_LAYERS: usize = 200;
/// The largest configuration in bytes.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// A blob that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub digest: Digest,
    pub size_bytes: u64,
}

impl Blob {
    fn of(it: &Descriptor) -> Result<Self, Fault> {
        Ok(Blob { digest: Digest::parse(it.digest().as_ref())?, size_bytes: it.size() })
    }
}

/// What a registry has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    Image {
        config: Blob,
        layers: Vec<Blob>,
    },
    /// Images for several platforms; the manifest of the one for this machine.
    Index(Digest),
}

impl Manifest {
    /// Reads a manifest or an index.
    ///
    /// # Errors
    /// When it is neither, is of a form that nobody makes any more, or has nothing for this machine.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let unreadable = |it: serde_json::Error| Fault::bad(format!("the manifest cannot be read: {it}"));
        let value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
        if value.get("manifests").is_some() {
            let index: ImageIndex = serde_json::from_value(value).map_err(unreadable)?;
            return choose(index.manifests()).map(Manifest::Index);
        }
        if value.get("schemaVersion").and_then(Value::as_u64) != Some(2) || value.get("layers").is_none() {
            return Err(Fault::bad("the manifest is of a form that is not supported"));
        }
        let manifest: ImageManifest = serde_json::from_value(value).map_err(unreadable)?;
        let config = Blob::of(manifest.config())?;
        if config.size_bytes > MAX_CONFIG_BYTES {
            let text = format!("the configuration has {} bytes, more than {MAX_CONFIG_BYTES}", config.size_bytes);
            return Err(Fault::bad(text));
        }
        let layers = manifest.layers().iter().map(Blob::of).collect::<Result<_, _>>()?;
        Ok(Manifest::Image { config, layers })
    }
}

/// The manifest for this machine: its operating system and architecture, and the plainest of the variants it can run.
fn choose(manifests: &[Descriptor]) -> Result<Digest, Fault> {
    let fitting = manifests.iter().filter_map(|it| {
        let platform = it.platform().as_ref()?;
        let fits = *platform.os() == Os::Linux && *platform.architecture() == Arch::default();
        let rank = match platform.variant().as_deref() {
            None | Some("v8") => 0,
            Some("v1" | "v7") => 1,
            // Of newer ones nobody knows whether this machine has what they use.
            Some(_) => 2,
        };
        fits.then_some((rank, it))
    });
    match fitting.min_by_key(|(rank, _)| *rank) {
        Some((_, it)) => Digest::parse(it.digest().as_ref()),
        None => {
            Err(Fault::bad(format!("no matching manifest for linux/{} in the manifest list entries", Arch::default())))
        }
    }
}

/// What an image's configuration says, as far as the store needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// The digests of its layers as they are unpacked, the lowest first.
    pub diff_ids: Vec<Digest>,
    /// The same of each layer with all below it.
    pub chain_ids: Vec<Digest>,
    /// The user it names, if any.
    pub user: Option<String>,
}

impl Described {
    /// Reads a configuration of an image with so many layers.
    ///
    /// # Errors
    /// When it cannot be read, or has other layers.
    pub fn parse(bytes: &[u8], layers: usize) -> Result<Self, Fault> {
        let config = configuration(bytes)?;
        let diff_ids = config.rootfs().diff_ids();
        if diff_ids.len() != layers {
            let text = format!("the configuration has {} layers, the manifest {layers}", diff_ids.len());
            return Err(Fault::bad(text));
        }
        if layers > MAX_LAYERS {
            return Err(Fault::bad(format!("the image has {layers} layers, more than {MAX_LAYERS}")));
        }
        let diff_ids = diff_ids.iter().map(|it| Digest::parse(it)).collect::<Result<Vec<_>, _>>()?;
        let user = config.config().as_ref().and_then(|it| it.user().clone()).filter(|it| !it.is_empty());
        Ok(Described { chain_ids: chain(&diff_ids), diff_ids, user })
    }
}

/// Reads a configuration. Docker writes `null` for much of what OCI leaves out.
///
/// # Errors
/// When it is none.
pub fn configuration(bytes: &[u8]) -> Result<ImageConfiguration, Fault> {
    let unreadable = |it: serde_json::Error| Fault::bad(format!("the image's configuration cannot be read: {it}"));
    let mut value: Value = serde_json::from_slice(bytes).map_err(unreadable)?;
    without_nulls(&mut value);
    serde_json::from_value(value).map_err(unreadable)
}

/// serde_json itself bounds how deep a value is.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, it| !it.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn digest(name: &str) -> String {
        Digest::of(name.as_bytes()).to_string()
    }

    fn descriptor(name: &str, platform: Option<(&str, &str, Option<&str>)>) -> Value {
        let mut it = json!({ "mediaType": "application/vnd.docker.distribution.manifest.v2+json", "size": 5, "digest": digest(name) });
        if let Some((os, architecture, variant)) = platform {
            it["platform"] = json!({ "os": os, "architecture": architecture });
            if let Some(variant) = variant {
                it["platform"]["variant"] = variant.into();
            }
        }
        it
    }

    #[test]
    fn the_image_for_this_machine_is_chosen() {
        let here = Arch::default().to_string();
        let check = |manifests: &[Value], expected: Result<&str, &str>| {
            let text = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
            match (Manifest::parse(text.as_bytes()), expected) {
                (Ok(Manifest::Index(found)), Ok(name)) => assert_eq!(found.to_string(), digest(name)),
                (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
                (found, expected) => panic!("{found:?}, not {expected:?}"),
            }
        };
        let other = descriptor("other", Some(("linux", "s390x", None)));
        let windows = descriptor("windows", Some(("windows", &here, None)));
        let attested = descriptor("attested", Some(("unknown", "unknown", None)));
        let plain = descriptor("plain", Some(("linux", &here, None)));
        let newer = descriptor("newer", Some(("linux", &here, Some("v3"))));
        check(&[other.clone(), windows.clone(), attested, newer.clone(), plain], Ok("plain"));
        check(&[newer], Ok("newer"));
        check(&[other, windows, descriptor("bare", None)], Err("no matching manifest"));
        check(&[], Err("no matching manifest"));
    }

    #[test]
    fn manifests_are_judged() {
        let image = |config: Value, layers: Value| json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let check = |text: Value, expected: &str| {
            let error = Manifest::parse(text.to_string().as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} is not {expected}");
        };
        let good = image(descriptor("config", None), json!([descriptor("layer", None)]));
        assert!(
            matches!(Manifest::parse(good.to_string().as_bytes()), Ok(Manifest::Image { layers, .. }) if layers.len() == 1)
        );
        check(json!({ "schemaVersion": 1, "fsLayers": [] }), "not supported");
        check(json!([]), "not supported");
        let mut huge = descriptor("config", None);
        huge["size"] = (MAX_CONFIG_BYTES + 1).into();
        check(image(huge, json!([])), "more than");
        let mut other = descriptor("config", None);
        other["digest"] = format!("sha512:{}", "a".repeat(128)).into();
        check(image(other, json!([])), "unsupported algorithm");
    }

    #[test]
    fn configurations_of_docker_are_read() {
        let text = json!({
            "architecture": "amd64", "os": "linux", "history": null,
            "config": { "User": "web", "Env": null, "Volumes": null, "ExposedPorts": { "80/tcp": {} }, "OnBuild": null },
            "rootfs": { "type": "layers", "diff_ids": [digest("a"), digest("b")] },
        });
        let text = text.to_string();
        let found = Described::parse(text.as_bytes(), 2).unwrap();
        assert_eq!((found.user.as_deref(), found.diff_ids.len(), found.chain_ids.len()), (Some("web"), 2, 2));
        assert!(Described::parse(text.as_bytes(), 1).is_err());
        assert!(Described::parse(b"{}", 0).is_err());
    }
}
