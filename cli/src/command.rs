//! The list of commands. A new one is a file below `commands/` and a line here.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands::{
    annotate, api_resources, apiserver, apply, cluster, completion, config, controllers, create, delete, describe,
    down, get, image, label, logs, node, rollout, scale, scheduler, token, up, version,
};
use crate::session::{Globals, Session};

/// What stands on the command line.
#[derive(Debug, Parser)]
#[command(name = "orlop", version, about = "Orlop: a container orchestrator that speaks the Kubernetes API")]
pub struct Arguments {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a cluster on this machine, in the foreground.
    Up(up::Args),
    /// Stop what `orlop up` runs and remove the pods it left.
    Down(down::Args),
    /// Make and handle local clusters of several nodes.
    Cluster(cluster::Args),

    /// Show objects.
    Get(get::Args),
    /// Show objects in detail, with their events.
    Describe(describe::Args),
    /// Make the cluster hold what manifests say.
    Apply(apply::Args),
    /// Create objects from manifests, or simple ones from flags.
    Create(create::Args),
    /// Delete objects.
    Delete(delete::Args),
    /// Set the number of replicas.
    Scale(scale::Args),
    /// Follow, undo, pause or restart a rollout.
    Rollout(rollout::Args),
    /// Print what containers have written.
    Logs(logs::Args),
    /// Set or remove labels.
    Label(label::Args),
    /// Set or remove annotations.
    Annotate(annotate::Args),
    /// List the kinds the server has.
    ApiResources(api_resources::Args),
    /// Show or change the kubeconfig.
    Config(config::Args),
    /// Print the versions of this command and of the server.
    Version(version::Args),
    /// Print the completion script for a shell.
    Completion(completion::Args),

    /// Load and list the images of this machine's nodes.
    Image(image::Args),
    /// Join and leave clusters, drain and revoke nodes.
    Node(node::Args),
    /// Handle the tokens by which machines join.
    Token(token::Args),
    /// Run the API server alone.
    Apiserver(apiserver::Args),
    /// Run the scheduler alone.
    Scheduler(scheduler::Args),
    /// Run the controllers alone.
    Controllers(controllers::Args),
    /// Run the node agent alone.
    Agent(Box<crate::commands::agent::Args>),
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// What the command could not do.
    pub async fn run(self) -> Result<()> {
        let globals = self.globals;
        let session = || Session::open(&globals);
        match self.command {
            Command::Up(it) => up::run(it, &globals).await,
            Command::Down(it) => down::run(it).await,
            Command::Cluster(it) => cluster::run(it, &globals).await,
            Command::Get(it) => get::run(it, &session().await?).await,
            Command::Describe(it) => describe::run(it, &session().await?).await,
            Command::Apply(it) => apply::run(it, &session().await?).await,
            Command::Create(it) => create::run(it, &session().await?).await,
            Command::Delete(it) => delete::run(it, &session().await?).await,
            Command::Scale(it) => scale::run(it, &session().await?).await,
            Command::Rollout(it) => rollout::run(it, &session().await?).await,
            Command::Logs(it) => logs::run(it, &session().await?).await,
            Command::Label(it) => label::run(it, &session().await?).await,
            Command::Annotate(it) => annotate::run(it, &session().await?).await,
            Command::ApiResources(it) => api_resources::run(it, &session().await?).await,
            Command::Config(it) => config::run(it, &globals),
            Command::Version(it) => version::run(it, &globals).await,
            Command::Completion(it) => completion::run(it),
            Command::Image(it) => image::run(it).await,
            Command::Node(it) => Box::pin(node::run(it, &globals)).await,
            Command::Token(it) => token::run(it, &session().await?).await,
            Command::Apiserver(it) => apiserver::run(it).await,
            Command::Scheduler(it) => scheduler::run(it, &globals).await,
            Command::Controllers(it) => controllers::run(it, &globals).await,
            Command::Agent(it) => crate::commands::agent::run(*it, &globals).await,
        }
    }
}
