//! `orlop config`: shows and changes the kubeconfig.

use anyhow::{Context, Result, bail};
use kube::config::{Kubeconfig, NamedContext};

use crate::kubeconfig;
use crate::output::Table;
use crate::output::say;
use crate::session::Globals;

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

/// What to do with the kubeconfig.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Print it; keys and tokens only with --raw.
    View {
        #[arg(long)]
        raw: bool,
    },
    /// List the contexts.
    GetContexts,
    /// Print the name of the current context.
    CurrentContext,
    /// Make another context the current one.
    UseContext { name: String },
    /// Change the current context.
    SetContext {
        /// The context; the current one with --current.
        name: Option<String>,
        #[arg(long)]
        current: bool,
    },
}

/// Runs it.
///
/// # Errors
/// When there is no kubeconfig, or it has no such context.
pub fn run(args: Args, globals: &Globals) -> Result<()> {
    let path = kubeconfig::path(globals.kubeconfig.as_deref())?;
    let mut config = Kubeconfig::read_from(&path).with_context(|| format!("cannot read {}", path.display()))?;
    match args.what {
        What::View { raw } => {
            if !raw {
                redact(&mut config);
            }
            std::io::Write::write_all(&mut std::io::stdout().lock(), serde_saphyr::to_string(&config)?.as_bytes())?;
        }
        What::GetContexts => {
            let mut table = Table::new(&["CURRENT", "NAME", "CLUSTER", "AUTHINFO", "NAMESPACE"]);
            for it in &config.contexts {
                let mark = if config.current_context.as_ref() == Some(&it.name) { "*" } else { "" };
                let context = it.context.clone().unwrap_or_default();
                let user = context.user.unwrap_or_default();
                table.push(vec![
                    mark.into(),
                    it.name.clone(),
                    context.cluster,
                    user,
                    context.namespace.unwrap_or_default(),
                ]);
            }
            table.print(&mut std::io::stdout().lock(), true)?;
        }
        What::CurrentContext => say!("{}", config.current_context.context("current-context is not set")?),
        What::UseContext { name } => {
            context(&mut config, &name)?;
            config.current_context = Some(name.clone());
            kubeconfig::write(&path, &config)?;
            say!("Switched to context \"{name}\".");
        }
        What::SetContext { name, current } => {
            let name = match (name, current) {
                (Some(name), false) => name,
                (None, true) => config.current_context.clone().context("current-context is not set")?,
                _ => bail!("give either the name of a context, or --current"),
            };
            let namespace = globals.namespace.clone().context("nothing to set: give --namespace")?;
            context(&mut config, &name)?.context.get_or_insert_default().namespace = Some(namespace);
            kubeconfig::write(&path, &config)?;
            say!("Context \"{name}\" modified.");
        }
    }
    Ok(())
}

fn context<'a>(config: &'a mut Kubeconfig, name: &str) -> Result<&'a mut NamedContext> {
    let found = config.contexts.iter_mut().find(|it| it.name == name);
    found.with_context(|| format!("no context exists with the name: \"{name}\""))
}

fn redact(config: &mut Kubeconfig) {
    for user in config.auth_infos.iter_mut().filter_map(|it| it.auth_info.as_mut()) {
        for secret in [&mut user.client_key_data, &mut user.token, &mut user.password].into_iter().flatten() {
            *secret = "REDACTED".to_owned().into();
        }
        if let Some(data) = &mut user.client_certificate_data {
            *data = "DATA+OMITTED".into();
        }
    }
    for cluster in config.clusters.iter_mut().filter_map(|it| it.cluster.as_mut()) {
        if let Some(data) = &mut cluster.certificate_authority_data {
            *data = "DATA+OMITTED".into();
        }
    }
}
