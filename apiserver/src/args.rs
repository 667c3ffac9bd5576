//! The command line of `orlop-apiserver`.
//!
//! In: words and the environment. Out: a [`Config`], or what to do beside serving.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use orlop_api::ranges::Ranges;
use orlop_store::etcd::Tls;

use crate::Config;
use crate::admission::default_toleration_seconds::Patience;
use crate::pki::{Names, Pki, PkiError, files as pki_files};

/// Serves the Kubernetes API.
#[derive(Debug, Parser)]
#[command(name = "orlop-apiserver", version, about, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(flatten)]
    pub serve: Serve,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the server is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Serve {
    /// Where keys, certificates, kubeconfigs and the embedded store live
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop")]
    pub data_dir: PathBuf,
    /// Where to listen; port 0 takes a free port
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:6443")]
    pub listen: SocketAddr,
    /// Where objects live: `embedded`, `memory` or `etcd=URL[,URL]`
    #[arg(long, default_value = "embedded")]
    pub store: String,
    /// The CA of etcd's certificates
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate that is shown to etcd
    #[arg(long, value_name = "FILE", requires = "etcd_keyfile")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "etcd_certfile")]
    pub etcd_keyfile: Option<PathBuf>,
    /// The addresses of services: a range, or one of each family, the primary first
    #[arg(long, alias = "service-cluster-ip-range", value_name = "CIDR[,CIDR]", default_value = "10.96.0.0/16")]
    pub service_cidr: Ranges,
    /// The addresses of pods: a range, or one of each family
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "10.244.0.0/16")]
    pub cluster_cidr: Ranges,
    /// The address at which nodes reach this server; found out if it listens on all
    #[arg(long, value_name = "IP")]
    pub advertise_address: Option<IpAddr>,
    /// The server that the kubeconfigs in the data directory name, if not this one: a load balancer of several
    #[arg(long, value_name = "URL")]
    pub kubeconfig_server: Option<String>,
    /// A further name or address of the serving certificate; may be given several times
    #[arg(long, value_name = "NAME")]
    pub tls_san: Vec<String>,
    /// A file of static tokens: lines of `token,user,uid,"group1,group2"`
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// What is encrypted at rest, as an EncryptionConfiguration; Secrets, with a key in the data directory, if not given
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// Admission plugins to leave out, by name
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// How long pods stay on a node that is not ready, if they do not say
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub default_not_ready_toleration_seconds: i64,
    /// How long pods stay on a node that is not reachable, if they do not say
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub default_unreachable_toleration_seconds: i64,
    /// Whether a pod's token lives a year instead of the hour that it asks for, for programs that read it only once
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub service_account_extend_token_expiration: bool,
    /// How long to serve on after a signal to stop, while `/readyz` says that this server is about to go: time for load balancers to turn
    /// to another
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub shutdown_delay: u64,
}

/// What the binary does beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a node's kubeconfig, signed by the CA in the data directory
    NodeCredentials(NodeCredentials),
}

/// Whose credentials are written where.
#[derive(Debug, clap::Args)]
pub struct NodeCredentials {
    /// The node's name
    pub node: String,
    /// The server's URL
    #[arg(long, value_name = "URL")]
    pub server: String,
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop")]
    pub data_dir: PathBuf,
    /// An address of the node, for its certificate; may be given several times
    #[arg(long, value_name = "IP")]
    pub address: Vec<IpAddr>,
    /// Where to write the kubeconfig; `<data-dir>/agent-<node>.kubeconfig` if not given
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

impl From<Serve> for Config {
    fn from(it: Serve) -> Self {
        let mut config = Config::new(it.store, it.data_dir);
        config.limits.shutdown_delay = Duration::from_secs(it.shutdown_delay);
        Config {
            listen: Some(it.listen),
            extra_sans: it.tls_san,
            service_cidr: it.service_cidr,
            cluster_cidr: it.cluster_cidr,
            etcd: Tls { ca: it.etcd_cafile, certificate: it.etcd_certfile, key: it.etcd_keyfile },
            advertise_address: it.advertise_address,
            kubeconfig_server: it.kubeconfig_server,
            token_auth_file: it.token_auth_file,
            encryption_provider_config: it.encryption_provider_config,
            admission: crate::admission::Options {
                disabled: it.disable_admission_plugins,
                patience: Patience {
                    not_ready_seconds: it.default_not_ready_toleration_seconds,
                    unreachable_seconds: it.default_unreachable_toleration_seconds,
                },
            },
            extend_token_expiration: it.service_account_extend_token_expiration,
            ..config
        }
    }
}

impl NodeCredentials {
    /// Writes the files.
    ///
    /// # Errors
    /// Where the data directory has no CA, or a file cannot be written.
    pub fn write(&self) -> Result<(), PkiError> {
        let pki = Pki::existing(&self.data_dir, orlop_client::clock::now())?;
        let files = pki.write_node(&self.node, &self.address, &self.server, orlop_client::clock::now())?;
        if let Some(output) = &self.output {
            let text = pki_files::read(&files.kubeconfig)?.unwrap_or_default();
            pki_files::write_if_changed(output, &text)?;
        }
        Ok(())
    }
}

/// The names of the serving certificate that a configuration asks for.
pub fn names(config: &Config) -> Names {
    let addresses = config.listen.map(|it| it.ip()).into_iter().chain(config.advertise_address).collect();
    Names { addresses, extra: config.extra_sans.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_config() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let args =
            parse("x --data-dir /d --listen 127.0.0.1:0 --store memory --tls-san a --tls-san b --shutdown-delay 3")
                .unwrap();
        let config = Config::from(args.serve);
        assert_eq!((config.store.as_str(), config.extra_sans.len()), ("memory", 2));
        assert_eq!(config.limits.shutdown_delay, Duration::from_secs(3));
        assert_eq!(names(&config).addresses.len(), 1);
        assert!(parse("x --listen nowhere").is_err());
        let args = parse("x --service-cluster-ip-range fd00:10:96::/112,10.96.0.0/16").unwrap();
        assert_eq!(Config::from(args.serve).kubernetes_service_address().to_string(), "fd00:10:96::1");
        assert!(parse("x --service-cidr 10.0.0.0/16,10.1.0.0/16").is_err());
        assert!(parse("x --etcd-certfile /c").is_err());
        let args =
            parse("x --etcd-cafile /a --etcd-certfile /c --etcd-keyfile /k --kubeconfig-server https://b:1").unwrap();
        let config = Config::from(args.serve);
        assert_eq!(config.etcd.key, Some("/k".into()));
        assert_eq!(config.kubeconfig_server.as_deref(), Some("https://b:1"));
        let args = parse("x node-credentials n1 --server https://127.0.0.1:6443 --data-dir /d --output /o").unwrap();
        assert!(matches!(args.command, Some(Command::NodeCredentials(it)) if it.node == "n1"));
    }

    #[test]
    fn a_node_gets_its_credentials() {
        let dir = tempfile::tempdir().unwrap();
        let asked = NodeCredentials {
            node: "n1".to_owned(),
            server: "https://127.0.0.1:6443".to_owned(),
            data_dir: dir.path().to_owned(),
            address: Vec::new(),
            output: Some(dir.path().join("n1.kubeconfig")),
        };
        assert!(asked.write().unwrap_err().to_string().contains("start the API server"));
        let service = "10.96.0.1".parse().unwrap();
        Pki::open(dir.path(), &Names::default(), service, orlop_client::clock::now()).unwrap();
        asked.write().unwrap();
        let config = kube::config::Kubeconfig::read_from(dir.path().join("n1.kubeconfig")).unwrap();
        assert_eq!(config.auth_infos[0].name, "system:node:n1");
    }
}
