//! What an informer watches: a path of the API, selectors, and whether whole objects or their metadata are wanted.
//! Also the decoding of a page of a list, object by object, so that one broken object does not hide the others.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kube::core::Request;
use kube::core::params::{ListParams, WatchParams};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::view::View;

/// A collection of the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// For instance `/api/v1/pods`.
    pub path: String,
    /// Whether to ask for `PartialObjectMetadata` only.
    pub metadata_only: bool,
    /// A label selector.
    pub labels: Option<String>,
    /// A field selector.
    pub fields: Option<String>,
}

impl Source {
    /// All objects of the kind of `V`, in all namespaces.
    pub fn all<V: kube::Resource<DynamicType = ()>>() -> Source {
        Source::path(V::url_path(&(), None))
    }

    /// All objects of the kind of `V` in `namespace`.
    pub fn namespaced<V: kube::Resource<DynamicType = ()>>(namespace: &str) -> Source {
        Source::path(V::url_path(&(), Some(namespace)))
    }

    /// All objects under `path`.
    pub fn path(path: impl Into<String>) -> Source {
        Source { path: path.into(), metadata_only: false, labels: None, fields: None }
    }

    /// The same, metadata only.
    pub fn metadata(mut self) -> Source {
        self.metadata_only = true;
        self
    }

    pub(super) fn list(&self, params: &ListParams) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let request = Request::new(self.path.as_str());
        let built = if self.metadata_only { request.list_metadata(params) } else { request.list(params) };
        built.map_err(kube::Error::BuildRequest)
    }

    pub(super) fn watch(&self, params: &WatchParams, revision: &str) -> Result<http::Request<Vec<u8>>, kube::Error> {
        let request = Request::new(self.path.as_str());
        let built =
            if self.metadata_only { request.watch_metadata(params, revision) } else { request.watch(params, revision) };
        built.map_err(kube::Error::BuildRequest)
    }
}

/// One page of a list.
pub(super) struct Page<V> {
    pub objects: Vec<V>,
    pub revision: String,
    pub token: Option<String>,
}

#[derive(Deserialize)]
struct RawPage<'a> {
    #[serde(default)]
    metadata: RawMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Default, Deserialize)]
struct RawMeta {
    #[serde(default, rename = "resourceVersion")]
    revision: String,
    #[serde(default, rename = "continue")]
    token: Option<String>,
}

impl<V: View> Page<V> {
    pub fn parse(text: &str, undecodable: &AtomicU64) -> serde_json::Result<Page<V>> {
        let raw: RawPage<'_> = serde_json::from_str(text)?;
        let items = raw.items.unwrap_or_default();
        let mut objects = Vec::with_capacity(items.len());
        for item in items {
            match serde_json::from_str(item.get()) {
                Ok(object) => objects.push(object),
                Err(error) => {
                    undecodable.fetch_add(1, Relaxed);
                    let head: String = item.get().chars().take(200).collect();
                    tracing::error!(%error, head, "an object cannot be decoded and is left out");
                }
            }
        }
        let token = raw.metadata.token.filter(|it| !it.is_empty());
        Ok(Page { objects, revision: raw.metadata.revision, token })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Node};

    #[test]
    fn paths() {
        assert_eq!(Source::all::<Node>().path, "/api/v1/nodes");
        assert_eq!(Source::namespaced::<ConfigMap>("a").path, "/api/v1/namespaces/a/configmaps");
        let list = Source::all::<Node>().metadata().list(&ListParams::default()).unwrap();
        assert!(list.headers()["accept"].to_str().unwrap().contains("as=PartialObjectMetadataList"));
    }

    #[test]
    fn a_broken_object_does_not_hide_the_others() {
        let bad = AtomicU64::new(0);
        let text = r#"{"kind":"NodeList","metadata":{"resourceVersion":"7","continue":""},
            "items":[{"metadata":{"name":"a"}},{"metadata":3},{"metadata":{"name":"b"}}]}"#;
        let page = Page::<Node>::parse(text, &bad).unwrap();
        assert_eq!(page.objects.iter().map(View::name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((page.revision.as_str(), page.token, bad.into_inner()), ("7", None, 1));
    }
}
