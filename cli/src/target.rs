//! What a command is about: `pods`, `pod web db`, `pod/web svc/web`, `pods,services`, with selectors or all namespaces.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::manifest::{self, Files};
use crate::resource::Resource;
use crate::session::{JSON, Session, Url};

/// The flags of commands that handle objects.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Target {
    /// TYPE, TYPE NAME..., TYPE/NAME..., or TYPE,TYPE.
    #[arg(value_name = "TYPE[/NAME]")]
    pub words: Vec<String>,
    /// Only objects whose labels match.
    #[arg(short = 'l', long, default_value = "")]
    pub selector: String,
    /// Only objects whose fields match.
    #[arg(long, default_value = "")]
    pub field_selector: String,
    /// In all namespaces.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    #[command(flatten)]
    pub files: Files,
}

/// Some objects of one kind: one by name, or all that match.
#[derive(Clone, Debug)]
pub struct Selection {
    pub resource: Resource,
    pub namespace: Option<String>,
    pub name: Option<String>,
}

impl Selection {
    /// Where to ask for it.
    pub fn url(&self) -> Url {
        let url = Url::of(&self.resource, self.namespace.as_deref());
        match &self.name {
            Some(name) => url.child(name),
            None => url,
        }
    }
}

impl Target {
    /// Reads the words against the kinds of the server.
    ///
    /// # Errors
    /// When a kind is unknown or the words make no sense.
    pub async fn selections(&self, session: &Session) -> Result<Vec<Selection>> {
        let resources = session.resources().await?;
        let mut out = Vec::new();
        for document in self.files.read().await? {
            let resource = resources.of_object(&document.value)?;
            let name = manifest::name_of(&document.value);
            let namespace = manifest::namespace_of(&document.value).unwrap_or(&session.namespace);
            out.push(Selection {
                resource: resource.clone(),
                namespace: resource.namespaced.then(|| namespace.to_owned()),
                name: Some(name.to_owned()),
            });
        }
        let namespace =
            |resource: &Resource| (resource.namespaced && !self.all_namespaces).then(|| session.namespace.clone());
        let Some(first) = self.words.first() else {
            if out.is_empty() {
                bail!("you must specify the type of resource, or a file with -f");
            }
            return Ok(out);
        };
        if first.contains('/') {
            for word in &self.words {
                let Some((kind, name)) = word.split_once('/') else {
                    bail!(
                        "there is no need to specify a resource type as a separate argument when passing arguments in resource/name form (e.g. 'get resource/<resource_name>' instead of 'get resource resource/<resource_name>'"
                    );
                };
                for resource in resources.named(kind)? {
                    let namespace = namespace(resource);
                    out.push(Selection { resource: resource.clone(), namespace, name: Some(name.to_owned()) });
                }
            }
        } else {
            for kind in first.split(',') {
                for resource in resources.named(kind)? {
                    let selection = |name: Option<&String>| Selection {
                        resource: resource.clone(),
                        namespace: namespace(resource),
                        name: name.cloned(),
                    };
                    if self.words.len() == 1 {
                        out.push(selection(None));
                    }
                    out.extend(self.words[1..].iter().map(|name| selection(Some(name))));
                }
            }
        }
        let named = out.iter().any(|it| it.name.is_some());
        if named && !(self.selector.is_empty() && self.field_selector.is_empty()) {
            bail!("name cannot be provided when a selector is specified");
        }
        if named && self.all_namespaces && out.iter().any(|it| it.resource.namespaced) {
            bail!("a resource cannot be retrieved by name across all namespaces");
        }
        Ok(out)
    }

    /// The objects themselves, as JSON.
    ///
    /// # Errors
    /// When one is not there.
    pub async fn objects(&self, session: &Session) -> Result<Vec<(Resource, Value)>> {
        let mut out = Vec::new();
        for selection in self.selections(session).await? {
            let url = selection.url().with("labelSelector", &self.selector).with("fieldSelector", &self.field_selector);
            let mut answer = session.get(&url, JSON).await?;
            if selection.name.is_some() {
                out.push((selection.resource, answer));
                continue;
            }
            let items = answer["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
            out.extend(items.into_iter().map(|mut item| {
                // Items of a list do not repeat what they are.
                item["apiVersion"] = selection.resource.api_version().into();
                item["kind"] = selection.resource.kind.clone().into();
                (selection.resource.clone(), item)
            }));
        }
        Ok(out)
    }
}
