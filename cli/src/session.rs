//! One user's connection to one cluster: client, namespace, and the kinds the server has.

use std::path::PathBuf;

use anyhow::{Context, Result};
use http::{Method, Request, header};
use orlop_client::agent;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::resource::{Resource, Resources};

/// The flags that every command has.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Globals {
    /// The kubeconfig file; else $KUBECONFIG, else ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig to use.
    #[arg(long, global = true)]
    pub context: Option<String>,
    /// The namespace; else that of the context.
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
}

/// A connection. Nothing is asked of the server before it is needed.
pub struct Session {
    client: kube::Client,
    /// The namespace that applies where an object names none.
    pub namespace: String,
    config: kube::Config,
    resources: OnceCell<Resources>,
}

/// The path of a collection or object, with its query.
#[derive(Clone, Debug)]
pub struct Url {
    path: String,
    query: Vec<(String, String)>,
}

impl Url {
    /// The collection of a kind in a namespace, or in all with none.
    pub fn of(resource: &Resource, namespace: Option<&str>) -> Url {
        let root = if resource.group.is_empty() {
            format!("/api/{}", resource.version)
        } else {
            format!("/apis/{}/{}", resource.group, resource.version)
        };
        let path = match namespace.filter(|_| resource.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{}", resource.plural),
            None => format!("{root}/{}", resource.plural),
        };
        Url { path, query: Vec::new() }
    }

    /// A path of the server's own.
    pub fn path(path: impl Into<String>) -> Url {
        Url { path: path.into(), query: Vec::new() }
    }

    /// A segment below.
    pub fn child(mut self, segment: &str) -> Url {
        self.path.push('/');
        self.path.extend(form_urlencoded::byte_serialize(segment.as_bytes()));
        self
    }

    /// With a query parameter; empty values are left out.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Url {
        let value = value.into();
        if !value.is_empty() {
            self.query.push((name.to_owned(), value));
        }
        self
    }

    /// As the request line writes it.
    pub fn text(&self) -> String {
        if self.query.is_empty() {
            return self.path.clone();
        }
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        format!("{}?{}", self.path, query.finish())
    }
}

impl Session {
    /// Reads the kubeconfig.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub async fn open(globals: &Globals) -> Result<Session> {
        let options = kube::config::KubeConfigOptions { context: globals.context.clone(), ..Default::default() };
        let config = match &globals.kubeconfig {
            Some(file) => {
                let file = kube::config::Kubeconfig::read_from(file)
                    .with_context(|| format!("cannot read the kubeconfig {}", file.display()))?;
                kube::Config::from_custom_kubeconfig(file, &options).await?
            }
            None => kube::Config::from_kubeconfig(&options)
                .await
                .context("no usable kubeconfig: start a cluster with `orlop up`, or give --kubeconfig")?,
        };
        let namespace = globals.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let mut config = config;
        // Watches and logs are silent for long; the server ends what has no end.
        config.read_timeout = None;
        config.headers.push((http::header::USER_AGENT, agent::user_agent(agent::COMMAND)));
        let client = kube::Client::try_from(config.clone())?;
        Ok(Session { client, namespace, config, resources: OnceCell::new() })
    }

    /// What the kubeconfig says of the cluster and of who asks.
    pub fn config(&self) -> &kube::Config {
        &self.config
    }

    /// The client.
    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// The kinds that the server has; asked once.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn resources(&self) -> Result<&Resources> {
        self.resources.get_or_try_init(|| Resources::discover(self)).await
    }

    /// Asks for JSON.
    ///
    /// # Errors
    /// `kube::Error::Api` with the server's Status.
    pub async fn get(&self, url: &Url, accept: &str) -> Result<Value> {
        let request = Request::get(url.text()).header(header::ACCEPT, accept).body(Vec::new())?;
        Ok(self.client.request::<Value>(request).await?)
    }

    /// Sends a body and gives the answer.
    ///
    /// # Errors
    /// `kube::Error::Api` with the server's Status.
    pub async fn send(&self, method: Method, url: &Url, content: &str, body: &Value) -> Result<Value> {
        let request = Request::builder()
            .method(method)
            .uri(url.text())
            .header(header::CONTENT_TYPE, content)
            .header(header::ACCEPT, "application/json")
            .body(serde_json::to_vec(body)?)?;
        Ok(self.client.request::<Value>(request).await?)
    }
}

/// Plain JSON, as the header says it.
pub const JSON: &str = "application/json";
/// A merge patch (RFC 7386).
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// Kubernetes' strategic merge patch.
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// Server-side apply. JSON is YAML.
pub const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// Whether the server says that there is no such object.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404)
}
