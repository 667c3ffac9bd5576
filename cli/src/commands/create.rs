//! `orlop create`: objects from manifests, or simple ones from flags.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::Engine;
use http::Method;
use serde_json::{Value, json};

use crate::commands::apply::{DryRun, field_validation};
use crate::fail::{self, SomeFailed};
use crate::manifest::{Files, namespace_of};
use crate::output::say;
use crate::output::{Format, done, print_value};
use crate::session::{JSON, Session, Url};

/// The flags.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    how: How,
    /// What becomes of unknown fields: strict, warn or ignore.
    #[arg(long, default_value = "strict")]
    validate: String,
}

/// How objects are created, or only shown.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t, global = true)]
    dry_run: DryRun,
    /// Print the object instead of what was done.
    #[arg(short, long, value_enum, global = true)]
    output: Option<Format>,
}

/// Objects that flags can describe.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// A namespace.
    #[command(alias = "ns")]
    Namespace { name: String },
    /// A deployment of one image.
    #[command(alias = "deploy")]
    Deployment {
        name: String,
        /// The image; several make several containers.
        #[arg(long, required = true)]
        image: Vec<String>,
        #[arg(long, default_value_t = 1)]
        replicas: u32,
        /// A port that the containers listen on.
        #[arg(long)]
        port: Option<u16>,
        /// The command, after --.
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// A config map.
    #[command(alias = "cm")]
    Configmap {
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// A secret of type Opaque.
    Secret {
        /// `generic`, as kubectl names the kind of secret.
        #[arg(value_parser = ["generic"])]
        kind: String,
        name: String,
        #[command(flatten)]
        data: Data,
    },
    /// A service account.
    #[command(alias = "sa")]
    Serviceaccount { name: String },
    /// A token for a service account.
    Token {
        name: String,
        /// How long it is valid, in seconds or like 10m, 24h.
        #[arg(long)]
        duration: Option<String>,
        /// For whom it is meant.
        #[arg(long)]
        audience: Vec<String>,
    },
}

/// Keys and values from the command line or from files.
#[derive(Debug, clap::Args)]
pub struct Data {
    /// KEY=VALUE.
    #[arg(long)]
    from_literal: Vec<String>,
    /// [KEY=]FILE.
    #[arg(long)]
    from_file: Vec<String>,
}

impl Data {
    fn read(&self) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut out = BTreeMap::new();
        for literal in &self.from_literal {
            let Some((key, value)) = literal.split_once('=') else {
                bail!("invalid literal source {literal}, expected key=value");
            };
            out.insert(key.to_owned(), value.as_bytes().to_vec());
        }
        for source in &self.from_file {
            let (key, file) = match source.split_once('=') {
                Some((key, file)) => (key.to_owned(), file),
                None => {
                    let name = Path::new(source).file_name().with_context(|| format!("{source} names no file"))?;
                    (name.to_string_lossy().into_owned(), source.as_str())
                }
            };
            out.insert(key, std::fs::read(file).with_context(|| format!("cannot read {file}"))?);
        }
        Ok(out)
    }
}

/// Runs it.
///
/// # Errors
/// When an object cannot be created.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(what) = args.what else {
        if args.files.files.is_empty() {
            bail!("must specify one of -f, or what to create");
        }
        let validation = field_validation(&args.validate)?;
        let mut failed = 0;
        for document in args.files.read().await? {
            if let Err(error) = create(&args.how, session, document.value, validation).await {
                failed += 1;
                eprintln!("{}", fail::words(&error.context(format!("{}:{}", document.source, document.line))));
            }
        }
        return if failed > 0 { Err(SomeFailed(failed).into()) } else { Ok(()) };
    };
    if let What::Token { name, duration, audience } = what {
        return token(session, &name, duration.as_deref(), &audience).await;
    }
    create(&args.how, session, object(what)?, "Strict").await
}

fn object(what: What) -> Result<Value> {
    let encoded = |data: BTreeMap<String, Vec<u8>>| -> BTreeMap<String, String> {
        data.into_iter().map(|(key, value)| (key, base64::engine::general_purpose::STANDARD.encode(value))).collect()
    };
    Ok(match what {
        What::Namespace { name } => json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}),
        What::Serviceaccount { name } => {
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
        }
        What::Deployment { name, image, replicas, port, command } => {
            let containers: Vec<Value> = image
                .iter()
                .map(|image| {
                    // As kubectl: the image's last part without tag or digest.
                    let base = image.rsplit('/').next().unwrap_or(image);
                    let base = base.split(['@', ':']).next().unwrap_or(base);
                    let mut it = json!({"name": base, "image": image});
                    if !command.is_empty() {
                        it["command"] = json!(command);
                    }
                    if let Some(port) = port {
                        it["ports"] = json!([{"containerPort": port}]);
                    }
                    it
                })
                .collect();
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": name}},
                "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": containers}}},
            })
        }
        What::Configmap { name, data } => {
            let (mut text, mut binary) = (BTreeMap::new(), BTreeMap::new());
            for (key, value) in data.read()? {
                match String::from_utf8(value) {
                    Ok(value) => _ = text.insert(key, value),
                    Err(error) => _ = binary.insert(key, error.into_bytes()),
                }
            }
            let mut it = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
            if !text.is_empty() {
                it["data"] = json!(text);
            }
            if !binary.is_empty() {
                it["binaryData"] = json!(encoded(binary));
            }
            it
        }
        What::Secret { name, data, .. } => json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": encoded(data.read()?),
        }),
        What::Token { .. } => bail!("a token is no object"),
    })
}

async fn create(how: &How, session: &Session, mut object: Value, validation: &str) -> Result<()> {
    let resource = session.resources().await?.of_object(&object)?.clone();
    let namespace = namespace_of(&object).unwrap_or(&session.namespace).to_owned();
    if resource.namespaced {
        object["metadata"]["namespace"] = namespace.clone().into();
    }
    let url = Url::of(&resource, Some(&namespace))
        .with("fieldManager", "orlop-create")
        .with("fieldValidation", validation)
        .with("dryRun", how.dry_run.query());
    let made = session.send(Method::POST, &url, JSON, &object).await?;
    match how.output {
        Some(Format::Name) => done(&resource, &made, "")?,
        Some(format) => print_value(&mut std::io::stdout().lock(), &made, format)?,
        None => done(&resource, &made, &format!("created{}", how.dry_run.suffix()))?,
    }
    Ok(())
}

async fn token(session: &Session, name: &str, duration: Option<&str>, audiences: &[String]) -> Result<()> {
    let mut spec = json!({"audiences": audiences});
    if let Some(text) = duration {
        spec["expirationSeconds"] = crate::commands::logs::seconds(text)?.into();
    }
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    let url = Url::path(format!("/api/v1/namespaces/{}/serviceaccounts", session.namespace)).child(name).child("token");
    let answer = session.send(Method::POST, &url, JSON, &body).await?;
    say!("{}", answer["status"]["token"].as_str().context("the server gave no token")?);
    Ok(())
}
