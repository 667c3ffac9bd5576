//! Values go down encrypted and come up plain; what is forged, foreign or old is told apart.

use bytes::Bytes;
use futures::StreamExt;
use orlop_store::memory::Memory;
use orlop_store::{Commit, Expect, Revision, Store, StoreError};
use std::sync::Arc;

use super::Sealed;
use super::configuration::Configuration;

const KEY: &str = "/registry/secrets/d/a";
const PLAIN: &[u8] = br#"{"data":{"password":"aHVudGVyMg=="}}"#;

/// A provider with keys that are made of their names.
fn provider(name: &str, keys: &[&str]) -> String {
    use base64::Engine as _;
    let keys: Vec<String> = keys
        .iter()
        .map(|it| {
            let secret = base64::engine::general_purpose::STANDARD.encode(it.repeat(32).as_bytes());
            format!("{{name: {it}, secret: {secret}}}")
        })
        .collect();
    format!("{{{name}: {{keys: [{}]}}}}", keys.join(", "))
}

fn sealed(inner: &Arc<Memory>, providers: &[String]) -> Sealed {
    let text = format!(
        "{{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{{resources: [secrets], providers: [{}]}}]}}",
        providers.join(", ")
    );
    Sealed::new(inner.clone(), Configuration::parse(&text).unwrap())
}

async fn put(store: &dyn Store, key: &str, expect: Expect) -> Revision {
    store.commit(Commit { key: key.into(), expect, value: Some(Bytes::from_static(PLAIN)) }).await.unwrap()
}

async fn value(store: &dyn Store, key: &str) -> Result<Bytes, String> {
    store.get(key).await.map(|(entry, _)| entry.unwrap().value).map_err(|it| it.to_string())
}

#[tokio::test]
async fn every_cipher_hides_the_value_and_gives_it_back() {
    for name in ["aesgcmhkdf", "aesgcm", "aescbc"] {
        let inner = Arc::new(Memory::new());
        let store = sealed(&inner, &[provider(name, &["k"])]);
        let first = put(&store, KEY, Expect::Absent).await;
        let below = value(&*inner, KEY).await.unwrap();
        assert!(below.starts_with(format!("k8s:enc:{name}:v1:k:").as_bytes()), "{below:?}");
        assert!(!below.windows(8).any(|it| it == b"password"));
        assert_eq!(value(&store, KEY).await.unwrap(), PLAIN);
        // The same value is another ciphertext each time.
        put(&store, KEY, Expect::At(first)).await;
        assert_ne!(value(&*inner, KEY).await.unwrap(), below);

        assert_eq!(store.range("/registry/", None, 0, None).await.unwrap().entries[0].value, PLAIN);
        let mut watch = store.watch("/registry/", first).await.unwrap();
        let batch = watch.next().await.unwrap().unwrap();
        assert_eq!(batch.events[0].value.as_deref(), Some(PLAIN));
        let taken = store.commit(Commit { key: KEY.into(), expect: Expect::Absent, value: None }).await;
        match taken {
            Err(StoreError::Mismatch { current: Some(entry) }) => assert_eq!(entry.value, PLAIN),
            other => assert!(other.is_ok(), "{other:?}"),
        }
        assert!(!store.is_stale(KEY, first));
    }
}

#[tokio::test]
async fn a_value_opens_only_where_it_was_written_and_as_it_was() {
    let inner = Arc::new(Memory::new());
    let store = sealed(&inner, &[provider("aesgcmhkdf", &["k"])]);
    put(&store, KEY, Expect::Absent).await;
    let below = value(&*inner, KEY).await.unwrap();
    let mut forged = below.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for (name, bytes) in [("moved", below.to_vec()), ("forged", forged), ("cut", below[..30].to_vec())] {
        let key = format!("/registry/secrets/d/{name}");
        inner
            .commit(Commit { key: key.as_str().into(), expect: Expect::Absent, value: Some(bytes.into()) })
            .await
            .unwrap();
        let why = value(&store, &key).await.unwrap_err();
        assert!(why.starts_with(&format!("unable to transform key {key:?}: ")), "{why}");
    }
    // One that cannot be opened does not hide the others.
    let page = store.range("/registry/", None, 0, None).await.unwrap();
    assert_eq!(page.entries.iter().filter(|it| it.value == PLAIN).count(), 1);
    assert_eq!(page.entries.len(), 4);
}

#[tokio::test]
async fn keys_are_changed_one_after_the_other() {
    let inner = Arc::new(Memory::new());
    let written = put(&*inner, KEY, Expect::Absent).await;
    let identity = "{identity: {}}".to_owned();
    let old = sealed(&inner, &[provider("aesgcm", &["a"]), identity.clone()]);
    assert_eq!(value(&old, KEY).await.unwrap(), PLAIN);
    assert!(old.is_stale(KEY, written), "what is plain is to be written anew");
    let written = put(&old, KEY, Expect::At(written)).await;
    assert_eq!(value(&old, KEY).await.unwrap(), PLAIN);
    assert!(!old.is_stale(KEY, written));

    let both = sealed(&inner, &[provider("aesgcm", &["b", "a"]), identity.clone()]);
    assert_eq!(value(&both, KEY).await.unwrap(), PLAIN);
    assert!(both.is_stale(KEY, written));
    put(&both, KEY, Expect::At(written)).await;

    let new = sealed(&inner, &[provider("aesgcm", &["b"]), identity.clone()]);
    assert_eq!(value(&new, KEY).await.unwrap(), PLAIN);
    let why = value(&old, KEY).await.unwrap_err();
    assert!(why.ends_with("no matching key was found for the provided AES transformer"), "{why}");
    let none = sealed(&inner, &[identity]);
    assert!(value(&none, KEY).await.unwrap_err().ends_with("no matching prefix found"));
}
