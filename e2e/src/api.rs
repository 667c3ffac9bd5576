//! The API without kubectl: quick enough to be asked twenty times a second while a test waits.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::wait;

/// No request of a test may take longer.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// A client with the administrator's rights, for tests that are not async themselves.
pub struct Api {
    runtime: Runtime,
    client: kube::Client,
}

impl Api {
    /// A client of the cluster that a kubeconfig names.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read.
    pub fn new(kubeconfig: &Path) -> Result<Api> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(orlop_client::connect::client(Some(kubeconfig)))?;
        Ok(Api { runtime, client })
    }

    /// Reads an object or a list: `/api/v1/namespaces/default/pods/web`.
    ///
    /// # Errors
    /// When there is no answer in time, or one that says why not.
    pub fn get(&self, path: &str) -> Result<Value> {
        let request = http::Request::get(path).body(Vec::new())?;
        let asking = self.client.request::<Value>(request);
        let answer = self.runtime.block_on(async { tokio::time::timeout(REQUEST_LIMIT, asking).await });
        answer.with_context(|| format!("{path}: no answer within {REQUEST_LIMIT:?}"))?.with_context(|| path.to_owned())
    }

    /// The items of a list.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn items(&self, path: &str) -> Result<Vec<Value>> {
        match self.get(path)?["items"].take() {
            Value::Array(items) => Ok(items),
            other => bail!("{path}: no list but {other}"),
        }
    }

    /// Waits until an object (or list) satisfies `check`.
    ///
    /// # Errors
    /// When it does not within `limit`; the last one seen is in the error.
    pub fn until(&self, path: &str, what: &str, limit: Duration, check: impl Fn(&Value) -> bool) -> Result<Value> {
        wait::until(&format!("{path} {what}"), limit, || {
            let it = self.get(path)?;
            if check(&it) { Ok(it) } else { bail!("it is {}", brief(&it)) }
        })
    }

    /// Waits until something is gone.
    ///
    /// # Errors
    /// When it is still there after `limit`.
    pub fn gone(&self, path: &str, limit: Duration) -> Result<()> {
        wait::until(&format!("{path} goes"), limit, || match self.get(path) {
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
            Ok(it) => bail!("it is {}", brief(&it)),
        })
    }

    /// The client itself, and where it runs.
    pub fn parts(&self) -> (&Runtime, &kube::Client) {
        (&self.runtime, &self.client)
    }
}

/// Whether the API says that there is no such object.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(it)) if it.code == 404)
}

/// An object for an error message: what it became of, without what it was asked to be.
fn brief(object: &Value) -> String {
    let Some(items) = object["items"].as_array() else {
        return if object["status"].is_null() { object.to_string() } else { object["status"].to_string() };
    };
    let each = items.iter().map(|it| format!("{}: {}", it["metadata"]["name"], it["status"]));
    each.collect::<Vec<_>>().join("\n")
}
