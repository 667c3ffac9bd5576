//! What an informer keeps of an object: a view. Any type that `kube` knows is one; components use slim ones.
//!
//! A Pod in its whole Rust type takes about 30 kB. A view is a struct with the fields that its component reads and a
//! `metadata: ObjectMeta`; [`view!`](crate::view!) makes it a [`kube::Resource`] of the named kind:
//!
//! ```
//! #[derive(Clone, Debug, Default, serde::Deserialize)]
//! struct NodeView { #[serde(default)] metadata: kube::core::ObjectMeta }
//! orlop_client::view!(NodeView: k8s_openapi::api::core::v1::Node);
//! ```

use serde::de::DeserializeOwned;

/// Where `kubectl apply` keeps a whole copy of the object.
///
/// Nobody here reads it but a pod itself, which is shown its own annotations through the downward API: pods keep it.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What an informer must know of what it keeps.
pub trait View: DeserializeOwned + Send + Sync + 'static {
    /// Empty for objects of the cluster.
    fn namespace(&self) -> &str;
    /// The object's name.
    fn name(&self) -> &str;
    /// The object's uid.
    fn uid(&self) -> &str;
    /// The object's resource version.
    fn revision(&self) -> &str;
    /// Drops what no component reads, once, when the object arrives.
    fn slim(&mut self) {}
}

impl<K: kube::Resource<DynamicType = ()> + DeserializeOwned + Send + Sync + 'static> View for K {
    fn namespace(&self) -> &str {
        self.meta().namespace.as_deref().unwrap_or_default()
    }
    fn name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }
    fn uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }
    fn revision(&self) -> &str {
        self.meta().resource_version.as_deref().unwrap_or_default()
    }
    fn slim(&mut self) {
        let meta = self.meta_mut();
        meta.managed_fields = None;
        meta.self_link = None;
        if Self::kind(&()) == "Pod" {
            return;
        }
        if let Some(annotations) = &mut meta.annotations {
            annotations.remove(LAST_APPLIED);
            if annotations.is_empty() {
                meta.annotations = None;
            }
        }
    }
}

/// Makes a slim struct with a field `metadata: ObjectMeta` a [`kube::Resource`] of the kind of a `k8s-openapi` type.
#[macro_export]
macro_rules! view {
    ($view:ty: $of:ty) => {
        impl ::kube::Resource for $view {
            type DynamicType = ();
            type Scope = <$of as ::kube::Resource>::Scope;
            fn kind(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$of as ::kube::Resource>::kind(&())
            }
            fn group(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$of as ::kube::Resource>::group(&())
            }
            fn version(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$of as ::kube::Resource>::version(&())
            }
            fn plural(_: &()) -> ::std::borrow::Cow<'_, str> {
                <$of as ::kube::Resource>::plural(&())
            }
            fn meta(&self) -> &::kube::core::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ::kube::core::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};

    use super::*;

    #[test]
    fn the_copy_that_kubectl_keeps_goes_from_all_but_pods() {
        let written = format!(
            r#"{{"metadata":{{"name":"a","annotations":{{"{LAST_APPLIED}":"{{}}"}},"managedFields":[{{"manager":"m"}}]}}}}"#
        );
        let mut pod: Pod = serde_json::from_str(&written).unwrap();
        pod.slim();
        assert_eq!(pod.metadata.managed_fields, None);
        assert!(pod.metadata.annotations.unwrap().contains_key(LAST_APPLIED));

        let mut map: ConfigMap = serde_json::from_str(&written).unwrap();
        map.slim();
        assert_eq!((map.metadata.managed_fields, map.metadata.annotations), (None, None));
    }
}
