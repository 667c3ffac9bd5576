//! What the collector keeps of an object: a few dozen bytes where it has no owners and no finalizers.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use orlop_client::{Key, View};
use serde::Deserialize;

use super::{FOREGROUND, ORPHAN};

/// The links of an object to others, and its identity.
#[derive(Clone, Debug)]
pub struct Dependent {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) revision: Box<str>,
    links: Option<Box<Links>>,
}

#[derive(Clone, Debug, PartialEq)]
struct Links {
    owners: Vec<OwnerReference>,
    finalizers: Vec<String>,
    deleting: bool,
}

impl<'de> Deserialize<'de> for Dependent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Partial {
            metadata: ObjectMeta,
        }
        Partial::deserialize(deserializer).map(|it| Dependent::of(&it.metadata))
    }
}

impl View for Dependent {
    fn namespace(&self) -> &str {
        &self.namespace
    }
    fn name(&self) -> &str {
        &self.name
    }
    fn uid(&self) -> &str {
        &self.uid
    }
    fn revision(&self) -> &str {
        &self.revision
    }
}

impl Dependent {
    /// What is kept of an object with this metadata.
    pub fn of(meta: &ObjectMeta) -> Dependent {
        let links = Links {
            owners: meta.owner_references.clone().unwrap_or_default(),
            finalizers: meta.finalizers.clone().unwrap_or_default(),
            deleting: meta.deletion_timestamp.is_some(),
        };
        let plain = links.owners.is_empty() && links.finalizers.is_empty() && !links.deleting;
        let text = |it: &Option<String>| it.as_deref().unwrap_or_default().into();
        Dependent {
            namespace: text(&meta.namespace),
            name: text(&meta.name),
            uid: text(&meta.uid),
            revision: text(&meta.resource_version),
            links: (!plain).then(|| Box::new(links)),
        }
    }

    /// Its owners.
    pub fn owners(&self) -> &[OwnerReference] {
        self.links.as_ref().map_or(&[], |it| &it.owners)
    }

    /// Its finalizers.
    pub fn finalizers(&self) -> &[String] {
        self.links.as_ref().map_or(&[], |it| &it.finalizers)
    }

    pub(super) fn has_finalizer(&self, name: &str) -> bool {
        self.links.as_ref().is_some_and(|it| it.finalizers.iter().any(|it| it == name))
    }

    pub(super) fn is_deleting(&self) -> bool {
        self.links.as_ref().is_some_and(|it| it.deleting)
    }

    /// Whether it goes once its dependents have gone.
    pub(super) fn waits_for_dependents(&self) -> bool {
        self.is_deleting() && self.has_finalizer(FOREGROUND) && !self.has_finalizer(ORPHAN)
    }

    /// Whether anything that the collector decides on is another than in `old`.
    pub(super) fn is_linked_otherwise(&self, old: &Dependent) -> bool {
        self.links != old.links
    }

    /// Whether `owner` has to wait for it.
    pub(super) fn blocks(&self, owner: &str) -> bool {
        self.owners().iter().any(|it| it.uid == owner && it.block_owner_deletion == Some(true))
    }

    /// Its place in the API.
    pub(super) fn place(&self) -> Key {
        Key::new(&self.namespace, &self.name)
    }

    /// A uid names an object of whatever kind; the key of the work queue carries it as its name.
    pub(super) fn key(uid: &str) -> Key {
        Key::new("", uid)
    }
}
