//! Images given to a registry over HTTP, without a container engine.

use crate::distribution::{Distribution, PASSWORD};
use crate::layers::{INDEX, MANIFEST, Made, digest, index};

/// Puts an image into it, under a tag the manifest and under another with `-index` the index; gives the reference of the first.
pub async fn push(registry: &Distribution, name: &str, tag: &str, image: &Made) -> String {
    // The store installs the provider, and a test may push before there is a store.
    let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client");
    let send = async |request: reqwest::RequestBuilder| {
        let request = match &registry.user {
            Some(user) => request.basic_auth(user, Some(PASSWORD)),
            None => request,
        };
        request.send().await.and_then(|it| it.error_for_status()).expect("the registry takes it")
    };
    let base = format!("http://{}/v2/{name}", registry.address);
    for blob in &image.blobs {
        let begun = send(client.post(format!("{base}/blobs/uploads/"))).await;
        let mut place = reqwest::Url::parse(begun.headers()["location"].to_str().expect("text")).expect("a URL");
        place.query_pairs_mut().append_pair("digest", &digest(blob));
        let request = client.put(place).header("content-type", "application/octet-stream");
        send(request.body(blob.clone())).await;
    }
    let index = index(image);
    for (tag, kind, bytes) in [(tag.to_owned(), MANIFEST, &image.manifest), (format!("{tag}-index"), INDEX, &index)] {
        let request = client.put(format!("{base}/manifests/{tag}")).header("content-type", kind);
        send(request.body(bytes.clone())).await;
    }
    format!("{}/{name}:{tag}", registry.address)
}
