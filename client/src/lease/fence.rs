//! The fence of a leader: a header on each of its writes, by which the API server refuses those of a deposed one.

use http::{HeaderName, HeaderValue, Method, Request};
use kube::client::Body;
use tower::BoxError;

/// `<namespace>/<name>/<holder>/<transitions>`: the write holds only while the Lease says the same.
pub const FENCE_HEADER: HeaderName = HeaderName::from_static("orlop-fence");

/// One term of one leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    lease: String,
    header: String,
}

impl Fence {
    /// The term that `holder` began as the lease's transition number `transitions`.
    pub fn new(namespace: &str, name: &str, holder: &str, transitions: i32) -> Fence {
        let lease = format!("{namespace}/{name}");
        Fence { header: format!("{lease}/{holder}/{transitions}"), lease }
    }

    /// The lease, as `namespace/name`.
    pub fn lease(&self) -> &str {
        &self.lease
    }

    /// The header's value.
    pub fn header(&self) -> &str {
        &self.header
    }

    /// A client like `client` whose every write carries this fence. Reads go through as they are.
    ///
    /// # Errors
    /// When the holder's identity cannot stand in a header.
    pub fn client(&self, client: &kube::Client) -> Result<kube::Client, http::header::InvalidHeaderValue> {
        let value = HeaderValue::from_str(&self.header)?;
        let inner = client.clone();
        let namespace = client.default_namespace().to_owned();
        let service = tower::service_fn(move |mut request: Request<Body>| {
            if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
                request.headers_mut().insert(FENCE_HEADER, value.clone());
            }
            let inner = inner.clone();
            // The error keeps its type, so that the outer client gives it back as it was.
            async move { inner.send(request).await.map_err(BoxError::from) }
        });
        Ok(kube::Client::new(service, namespace))
    }
}

/// A service without a server, for tests: answers with the fence it saw.
#[cfg(test)]
async fn echo(request: Request<Body>) -> Result<http::Response<Body>, std::convert::Infallible> {
    let fence = request.headers().get(FENCE_HEADER).map_or("none", |it| it.to_str().unwrap_or_default());
    Ok(http::Response::new(Body::from(fence.as_bytes().to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn writes_carry_the_fence_and_reads_do_not() {
        let plain = kube::Client::new(tower::service_fn(echo), "default");
        let fenced = Fence::new("kube-system", "orlop-controllers", "me", 4).client(&plain).unwrap();
        let ask = |method: Method| {
            let fenced = fenced.clone();
            async move {
                let request = Request::builder().method(method).uri("/api/v1/pods").body(Vec::new()).unwrap();
                fenced.request_text(request).await.unwrap()
            }
        };
        assert_eq!(ask(Method::POST).await, "kube-system/orlop-controllers/me/4");
        assert_eq!(ask(Method::DELETE).await, "kube-system/orlop-controllers/me/4");
        assert_eq!(ask(Method::GET).await, "none");
    }
}
