//! `orlop token`: the bootstrap tokens by which machines join, as `kubeadm token` handles them.
//!
//! A token is a Secret `bootstrap-token-<id>` in `kube-system`. What is printed for a machine to join with holds no more than the token, the
//! server's address and the digest of its CA's key.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use orlop_agent::join::pin::Pin;
use orlop_client::{clock, random};

use super::logs;
use crate::output::{Table, say};
use crate::session::Session;

const NAMESPACE: &str = "kube-system";
const TYPE: &str = "bootstrap.kubernetes.io/token";
const PREFIX: &str = "bootstrap-token-";
const ID_LENGTH: usize = 6;
const SECRET_LENGTH: usize = 16;
/// How the uses of a token stand in its Secret.
const USAGE: &str = "usage-bootstrap-";
const USAGES: [&str; 2] = ["signing", "authentication"];
/// The group that kubeadm gives, so that its bindings hold for our tokens.
const DEFAULT_GROUP: &str = "system:bootstrappers:kubeadm:default-node-token";
const GROUP_PREFIX: &str = "system:bootstrappers:";

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Make a token, and print it.
    Create(Create),
    /// List the tokens.
    #[command(visible_alias = "ls")]
    List,
    /// Delete tokens, by their ids or whole.
    Delete {
        #[arg(required = true, value_name = "ID")]
        tokens: Vec<String>,
    },
}

/// The flags of `token create`.
#[derive(Debug, clap::Args)]
pub struct Create {
    /// The token, ID.SECRET; made at random if not given.
    #[arg(value_name = "TOKEN")]
    token: Option<String>,
    /// How long it is good: 90m, 24h; 0 for ever.
    #[arg(long, default_value = "24h")]
    ttl: String,
    /// What it is for, for people.
    #[arg(long)]
    description: Option<String>,
    /// The groups of those who show it, each below system:bootstrappers:.
    #[arg(long, value_delimiter = ',', default_value = DEFAULT_GROUP)]
    groups: Vec<String>,
    /// What it is good for.
    #[arg(long, value_delimiter = ',', default_values = USAGES, value_parser = USAGES)]
    usages: Vec<String>,
    /// Print the whole command with which a machine joins.
    #[arg(long)]
    print_join_command: bool,
    /// The address of the API server in that command; the kubeconfig's if not given.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "print_join_command")]
    server: Option<String>,
}

/// Runs it.
///
/// # Errors
/// When a token has another form, or the server refuses.
pub async fn run(args: Args, session: &Session) -> Result<()> {
    let api = Api::<Secret>::namespaced(session.client().clone(), NAMESPACE);
    match args.what {
        What::Create(it) => create(&it, session, &api).await,
        What::List => list(&api).await,
        What::Delete { tokens } => delete(&tokens, &api).await,
    }
}

async fn create(args: &Create, session: &Session, api: &Api<Secret>) -> Result<()> {
    // Before the token is made: who cannot be told how to join needs none.
    let way = if args.print_join_command { Some(way(args, session)?) } else { None };
    let token = args.token.clone().unwrap_or_else(|| format!("{}.{}", random(ID_LENGTH), random(SECRET_LENGTH)));
    let (id, secret) = parts(&token).with_context(|| wrong_form(&token))?;
    let ttl_seconds = logs::seconds(&args.ttl).with_context(|| format!("--ttl {}", args.ttl))?;
    api.create(&PostParams::default(), &object(args, id, secret, ttl_seconds, clock::now())?).await?;
    match way {
        Some((server, hashes)) => say!("orlop node join {server} --token {token} {hashes}"),
        None => say!("{token}"),
    }
    Ok(())
}

/// The server's address and the digests of its CAs, as `orlop node join` takes them.
fn way(args: &Create, session: &Session) -> Result<(String, String)> {
    let server = args.server.clone().unwrap_or_else(|| {
        let authority = session.config().cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default().to_owned()
    });
    let pins = session.config().root_cert.iter().flatten().filter_map(|it| Pin::of_certificate(it));
    let hashes: Vec<String> = pins.map(|it| format!("--ca-hash {it}")).collect();
    if hashes.is_empty() {
        bail!("the kubeconfig names no certificate authority by which a machine could recognize the cluster");
    }
    Ok((server, hashes.join(" ")))
}

fn object(args: &Create, id: &str, secret: &str, ttl_seconds: u64, now: Timestamp) -> Result<Secret> {
    let mut data =
        BTreeMap::from([("token-id".to_owned(), id.to_owned()), ("token-secret".to_owned(), secret.to_owned())]);
    if let Some(it) = &args.description {
        data.insert("description".into(), it.clone());
    }
    if ttl_seconds > 0 {
        let until = i64::try_from(ttl_seconds).ok().and_then(|it| now.checked_add(SignedDuration::from_secs(it)).ok());
        let until = until.context("--ttl is longer than time can tell")?;
        data.insert("expiration".into(), until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    }
    for usage in &args.usages {
        data.insert(format!("{USAGE}{usage}"), "true".into());
    }
    let groups: Vec<&str> = args.groups.iter().map(|it| it.trim()).filter(|it| !it.is_empty()).collect();
    if let Some(wrong) = groups.iter().find(|it| !it.starts_with(GROUP_PREFIX) || it.len() == GROUP_PREFIX.len()) {
        bail!("the group \"{wrong}\" is none that tokens may have: it has to begin with {GROUP_PREFIX}");
    }
    if !groups.is_empty() && args.usages.iter().any(|it| it == "authentication") {
        data.insert("auth-extra-groups".into(), groups.join(","));
    }
    Ok(Secret {
        metadata: ObjectMeta { name: Some(format!("{PREFIX}{id}")), ..ObjectMeta::default() },
        type_: Some(TYPE.to_owned()),
        data: Some(data.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect()),
        ..Secret::default()
    })
}

async fn list(api: &Api<Secret>) -> Result<()> {
    let found = api.list(&ListParams::default().fields(&format!("type={TYPE}"))).await?;
    let mut table = Table::new(&["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"]);
    for it in &found.items {
        table.push(row(it, clock::now()));
    }
    if table.is_empty() {
        return Ok(());
    }
    table.print(&mut std::io::stdout().lock(), true)
}

fn row(it: &Secret, now: Timestamp) -> Vec<String> {
    let data = |key: &str| {
        let found = it.data.as_ref().and_then(|it| it.get(key));
        found.map(|it| String::from_utf8_lossy(&it.0).into_owned()).unwrap_or_default()
    };
    let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
    let expires = data("expiration");
    let ttl = match expires.parse::<Timestamp>() {
        _ if expires.is_empty() => "<forever>".to_owned(),
        Err(_) => "<invalid>".to_owned(),
        Ok(until) if until <= now => "<expired>".to_owned(),
        Ok(until) => orlop_api::duration::short(until.duration_since(now).as_secs()),
    };
    let usages: Vec<&str> = USAGES.into_iter().rev().filter(|it| data(&format!("{USAGE}{it}")) == "true").collect();
    vec![
        format!("{}.{}", data("token-id"), data("token-secret")),
        ttl,
        or(expires, "<never>"),
        or(usages.join(","), "<none>"),
        or(data("description"), "<none>"),
        or(data("auth-extra-groups"), "<none>"),
    ]
}

async fn delete(tokens: &[String], api: &Api<Secret>) -> Result<()> {
    for token in tokens {
        let id = parts(token).map_or(token.as_str(), |it| it.0);
        if !fits(id, ID_LENGTH) {
            bail!("{}", wrong_form(token));
        }
        api.delete(&format!("{PREFIX}{id}"), &DeleteParams::default())
            .await
            .with_context(|| format!("failed to delete bootstrap token \"{id}\""))?;
        say!("bootstrap token \"{id}\" deleted");
    }
    Ok(())
}

fn wrong_form(token: &str) -> String {
    // Not the whole of what may be a secret with one letter too many.
    let shown = token.split('.').next().unwrap_or_default();
    format!(
        "the bootstrap token \"{shown}…\" was not of the form \"[a-z0-9]{{6}}.[a-z0-9]{{16}}\", or its id not \"[a-z0-9]{{6}}\""
    )
}

fn parts(token: &str) -> Option<(&str, &str)> {
    let (id, secret) = token.split_once('.')?;
    (fits(id, ID_LENGTH) && fits(secret, SECRET_LENGTH)).then_some((id, secret))
}

fn fits(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit())
}

/// Letters and digits; the generator behind it is one for secrets, seeded by the operating system.
fn random(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |_| char::from(LETTERS[usize::try_from(random::below(LETTERS.len() as u64)).unwrap_or(0)]);
    (0..length).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(line: &str) -> Result<Vec<String>> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            create: Create,
        }
        let line: Line = clap::Parser::try_parse_from(std::iter::once("x").chain(line.split_whitespace()))?;
        let token = line.create.token.clone().unwrap_or_default();
        let (id, secret) = parts(&token).context("no token")?;
        let now = "2026-01-01T00:00:00Z".parse()?;
        let it = object(&line.create, id, secret, logs::seconds(&line.create.ttl)?, now)?;
        assert_eq!(it.metadata.name, Some(format!("bootstrap-token-{id}")));
        Ok(row(&it, now))
    }

    #[test]
    fn a_secret_is_made_as_kubeadm_makes_it() {
        let check = |line: &str, expected: [&str; 6]| assert_eq!(made(line).unwrap(), expected, "{line}");
        let (token, group) = ("abcdef.0123456789abcdef", DEFAULT_GROUP);
        check(token, [token, "1d", "2026-01-02T00:00:00Z", "authentication,signing", "<none>", group]);
        check(
            &format!("{token} --ttl 90m --usages signing --description mine"),
            [token, "1h", "2026-01-01T01:30:00Z", "signing", "mine", "<none>"],
        );
        check(
            &format!("{token} --ttl 0 --groups system:bootstrappers:a,system:bootstrappers:b"),
            [
                token,
                "<forever>",
                "<never>",
                "authentication,signing",
                "<none>",
                "system:bootstrappers:a,system:bootstrappers:b",
            ],
        );
        for wrong in [
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            &format!("{token} --usages other"),
            &format!("{token} --groups system:masters"),
            &format!("{token} --ttl soon"),
        ] {
            assert!(made(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tokens_are_random() {
        let (a, b) = (random(SECRET_LENGTH), random(SECRET_LENGTH));
        assert!(fits(&a, SECRET_LENGTH) && fits(&b, SECRET_LENGTH) && a != b);
    }
}
