//! `orlop apply`: makes the cluster hold what manifests say, by server-side apply (KEP-555).
//!
//! The server merges and keeps who owns which field; this command names itself as the manager `orlop`. A conflict with another manager
//! is an error, unless `--force-conflicts` takes the fields over.

use anyhow::{Result, bail};
use http::Method;
use orlop_manifests::document::Document;
use serde_json::Value;

use crate::fail::{self, SomeFailed};
use crate::manifest::{Files, name_of, namespace_of};
use crate::output::done;
use crate::session::{APPLY_PATCH, JSON, Session, Url, is_not_found};

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    files: Files,
    /// Who owns the applied fields.
    #[arg(long, default_value = "orlop")]
    field_manager: String,
    /// Take over fields that others own.
    #[arg(long)]
    force_conflicts: bool,
    /// Only say what would be done.
    #[arg(long, value_enum, default_value_t)]
    dry_run: DryRun,
    /// Accepted for kubectl's sake: apply is always server-side.
    #[arg(long, hide = true)]
    server_side: bool,
    /// What becomes of unknown fields: strict, warn or ignore.
    #[arg(long, default_value = "strict")]
    validate: String,
}

/// Whether anything is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DryRun {
    /// It is.
    #[default]
    None,
    /// The server does all but keep it.
    Server,
}

impl DryRun {
    /// The query parameter.
    pub fn query(self) -> &'static str {
        if self == DryRun::Server { "All" } else { "" }
    }

    /// What is put behind the line that says what was done.
    pub fn suffix(self) -> &'static str {
        if self == DryRun::Server { " (server dry run)" } else { "" }
    }
}

/// The query parameter for `--validate`.
///
/// # Errors
/// For words that kubectl does not know either.
pub fn field_validation(validate: &str) -> Result<&'static str> {
    Ok(match validate {
        "strict" | "true" => "Strict",
        "warn" => "Warn",
        "ignore" | "false" => "Ignore",
        other => {
            bail!("invalid - validate option \"{other}\"; must be one of: strict (or true), warn, ignore (or false)")
        }
    })
}

/// Runs it. Every object is tried; the failures are told one by one.
///
/// # Errors
/// When a manifest cannot be read, or any object failed.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    if args.files.files.is_empty() {
        bail!("must specify one of -f (a file, a folder, or - for standard input)");
    }
    let documents = args.files.read().await?;
    if documents.is_empty() {
        bail!("no objects passed to apply");
    }
    let mut failed = 0;
    for document in &documents {
        if let Err(error) = apply(&args, session, document).await {
            failed += 1;
            eprintln!("{}", fail::words(&error.context(format!("{}:{}", document.source, document.line))));
        }
    }
    if failed > 0 { Err(SomeFailed(failed).into()) } else { Ok(()) }
}

async fn apply(args: &Args, session: &Session, document: &Document) -> Result<()> {
    let mut object = document.value.clone();
    let resource = session.resources().await?.of_object(&object)?.clone();
    let name = name_of(&object).to_owned();
    if name.is_empty() {
        bail!("apply needs metadata.name (generateName cannot be applied twice)");
    }
    let namespace = namespace_of(&object).unwrap_or(&session.namespace).to_owned();
    if resource.namespaced {
        object["metadata"]["namespace"] = namespace.clone().into();
    }
    let url = Url::of(&resource, Some(&namespace)).child(&name);
    let before = match session.get(&url, JSON).await {
        Ok(it) => Some(it),
        Err(error) if is_not_found(&error) => None,
        Err(error) => return Err(error),
    };
    let url = url
        .with("fieldManager", &args.field_manager)
        .with("force", if args.force_conflicts { "true" } else { "" })
        .with("dryRun", args.dry_run.query())
        .with("fieldValidation", field_validation(&args.validate)?);
    let after = session.send(Method::PATCH, &url, APPLY_PATCH, &object).await?;
    let revision = |it: &Value| it["metadata"]["resourceVersion"].as_str().map(str::to_owned);
    let what = match before {
        None => "created",
        Some(before) if args.dry_run == DryRun::None && revision(&before) == revision(&after) => "unchanged",
        Some(_) => "configured",
    };
    done(&resource, &after, &format!("{what}{}", args.dry_run.suffix()))?;
    Ok(())
}
