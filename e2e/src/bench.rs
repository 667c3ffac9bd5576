//! The benchmarks: what `make bench` prints.
//!
//! In: what to bench and how much. Out: tables as Markdown on standard output, progress on standard error. Every number is taken from outside, over
//! the network and from `/proc`: the API benches know nothing of whose server they ask, so that any Kubernetes API server stands
//! beside ours with `--server`. Budgets are printed beside what they are about; a missed one does not fail the run.

mod scale;

pub mod statistics;
pub mod usage;

pub mod connection;
pub mod generator;
pub mod halves;
pub mod kubernetes;
pub mod object;
pub mod subject;
pub mod target;

pub mod agent;
pub mod cluster;
pub mod crowd;
pub mod extensions;
pub mod fanout;
pub mod labels;
pub mod list;
pub mod memory;
pub mod node;
pub mod raw;
pub mod scheduler;
pub mod start;
pub mod verbs;

pub mod budget;
pub mod report;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use self::budget::References;
use self::halves::Halves;
use self::report::Table;
use self::scale::Scale;
use self::subject::{Store, Subject};
use self::target::Target;
use self::usage::Process;
use crate::etcd::Etcd;
use crate::tool;

/// What can be benched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Create, get, update, delete.
    Api,
    List,
    /// The labels of all objects.
    Labels,
    Watch,
    /// Ten thousand watches.
    Crowd,
    /// Server-side apply and custom objects.
    Extensions,
    Start,
    Memory,
    /// Pods bound per second.
    Scheduler,
    /// Bind to running on Docker.
    Agent,
    /// Bind to running on native, and what a full node takes.
    Native,
    /// Services and DNS.
    Node,
    /// A local cluster of three nodes, from nothing.
    Cluster,
}

/// The stores under our API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    Embedded,
    Etcd,
}

/// The command line of `orlop-bench`.
#[derive(Clone, Debug, Parser)]
#[command(name = "orlop-bench", version, about = "Measures Orlop, or the API of any Kubernetes cluster")]
pub struct Args {
    /// Bench only these parts.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub only: Vec<Part>,
    /// Bench our API server only on these stores.
    #[arg(long, value_delimiter = ',', value_enum)]
    pub store: Vec<Engine>,
    /// A short run with small numbers.
    #[arg(long)]
    pub quick: bool,
    /// Measure the real Kubernetes in the same run, and ours by it: the folder that scripts/kubernetes fills. Not with --server or --kubeconfig, which name
    /// another.
    #[arg(long)]
    pub kubernetes: Option<PathBuf>,
    /// Bench the Kubernetes API server at this URL instead of our own.
    #[arg(long)]
    pub server: Option<String>,
    /// How to reach it; without --server, the cluster of its current context.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// A bearer token for --server.
    #[arg(long, requires = "server", conflicts_with = "kubeconfig")]
    pub token: Option<String>,
    /// Do not check the server's certificate.
    #[arg(long)]
    pub insecure: bool,
    /// Processes on this machine that serve it, for processor time and memory: `server=PID,etcd=PID`, the API server first.
    #[arg(long, value_delimiter = ',', value_parser = process)]
    pub pid: Vec<Process>,
}

fn process(text: &str) -> Result<Process> {
    let (name, id) = text.split_once('=').context("NAME=PID is wanted")?;
    Ok(Process { name: name.to_owned(), id: id.parse()? })
}

/// Runs what is asked for and prints it.
///
/// # Errors
/// When something cannot be measured; the rest is printed nevertheless.
pub fn run(args: &Args) -> Result<()> {
    let scale = if args.quick { Scale::quick() } else { Scale::full() };
    let foreign = foreign(args)?;
    let now = orlop_client::clock::now().strftime("%Y-%m-%d %H:%M UTC").to_string();
    println!("{}", report::header(&now, raw::fsync().ok(), raw::pace().ok(), &versions()));
    let wanted = |part: Part| args.only.is_empty() || args.only.contains(&part);
    let mut failed = Vec::new();
    let mut attempt = |what: &str, outcome: Result<()>| {
        if let Err(error) = outcome {
            eprintln!("{what} failed: {error:#}");
            println!("\n{what} could not be measured: {error:#}");
            failed.push(what.to_owned());
        }
    };
    if let Some(target) = foreign {
        let subject = Subject::foreign(target, args.pid.clone());
        let mut memories = memory::table();
        let references = References::default();
        attempt("the server's API", api(&subject, &scale, &wanted, &mut memories, None, &references).map(drop));
        if !memories.rows.is_empty() {
            show(&memories);
        }
    } else {
        // First: it makes forty files a pod, and ext4 without a journal looks past each that was removed in the last minutes, by what ran before.
        if wanted(Part::Native) {
            progress("the agent on native");
            attempt("the agent on native", agent::native::run(&scale).map(|it| it.iter().for_each(show)));
        }
        let mut memories = memory::table();
        let mut references = References::default();
        if wanted(Part::Start) {
            progress("starts");
            attempt("the start", start::run(&scale).map(|it| show(&it)));
        }
        if wanted(Part::Memory) {
            progress("idle memory");
            if let Some(programs) = &args.kubernetes {
                let measured = memory::kubernetes(programs, &scale, &mut memories, &mut references);
                attempt("the idle memory of Kubernetes", measured);
            }
            attempt("the idle memory", memory::idle(&scale, &mut memories, &references));
            attempt("the memory of definitions", extensions::definitions(&scale, &mut memories));
        }
        if let Some(programs) = &args.kubernetes {
            let measured = kubernetes(programs, &scale, &wanted, &mut memories, &mut references);
            attempt("the API of Kubernetes", measured);
        }
        let api_parts = [Part::Api, Part::List, Part::Labels, Part::Watch, Part::Crowd, Part::Extensions];
        let api_wanted = api_parts.into_iter().any(wanted);
        for engine in [Engine::Embedded, Engine::Etcd] {
            if api_wanted && (args.store.is_empty() || args.store.contains(&engine)) {
                attempt(&format!("the API on {engine:?}"), own(engine, &scale, &wanted, &mut memories, &references));
                if engine == Engine::Etcd && wanted(Part::Api) {
                    progress("etcd with processors of its own");
                    attempt("etcd with processors of its own", halves(&scale, &references));
                }
            }
        }
        if !memories.rows.is_empty() {
            show(&memories);
        }
        if wanted(Part::Scheduler) {
            progress("the scheduler");
            attempt("the scheduler", scheduler::run(&scale, args.kubernetes.as_deref()).map(|it| show(&it)));
        }
        if wanted(Part::Agent) {
            progress("the agent on Docker");
            attempt("the agent", agent::docker::run(&scale).map(|it| show(&it)));
        }
        if wanted(Part::Node) {
            progress("Services and DNS");
            attempt("Services and DNS", node::run(&scale).map(|it| it.iter().for_each(show)));
        }
        if wanted(Part::Cluster) {
            progress("a local cluster");
            attempt("the local cluster", cluster::run(&scale).map(|it| show(&it)));
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not everything could be measured: {}", failed.join(", ")) }
}

fn foreign(args: &Args) -> Result<Option<Target>> {
    Ok(match (&args.server, &args.kubeconfig, &args.token) {
        (Some(server), None, Some(token)) => Some(Target::from_token(server, token, args.insecure)?),
        (server, Some(path), _) => Some(Target::from_kubeconfig(path, server.as_deref(), args.insecure)?),
        (Some(_), None, None) => bail!("--server needs --kubeconfig or --token"),
        (None, None, _) => None,
    })
}

/// The API benches on Kubernetes' own server; what ours is measured by in this run becomes what it has done.
fn kubernetes(
    programs: &Path,
    scale: &Scale,
    wanted: &dyn Fn(Part) -> bool,
    memories: &mut Table,
    references: &mut References,
) -> Result<()> {
    let parts = [Part::Api, Part::Watch, Part::List];
    if !parts.into_iter().any(wanted) {
        return Ok(());
    }
    let subject = Subject::kubernetes(programs)?;
    let wanted = |part: Part| wanted(part) && (parts.contains(&part) || part == Part::Memory);
    let measured = api(&subject, scale, &wanted, memories, None, &References::default())?;
    let rate = |verb, clients| measured.rates.get(&(verb, clients)).copied();
    for (reference, measured) in [
        (&mut references.create_16, rate("create", 16)),
        (&mut references.create_64, rate("create", 64)),
        (&mut references.get_64, rate("get", 64)),
        (&mut references.fan_out, measured.fan_out),
    ] {
        reference.value = measured.unwrap_or(reference.value);
    }
    Ok(())
}

/// The API benches on a server of ours.
fn own(
    engine: Engine,
    scale: &Scale,
    wanted: &dyn Fn(Part) -> bool,
    memories: &mut Table,
    references: &References,
) -> Result<()> {
    let (subject, rates) = match engine {
        Engine::Embedded => (Subject::embedded()?, None),
        Engine::Etcd => {
            let mut taken = None;
            if wanted(Part::Api) {
                progress("etcd itself");
                let (rates, table) = raw::etcd(scale, "", &Etcd::start)?;
                show(&table);
                taken = Some(verbs::Etcd { rates, judged: false });
            }
            (Subject::etcd(Etcd::start()?)?, taken)
        }
    };
    let measured = api(&subject, scale, wanted, memories, rates, references);
    measured.map(drop).map_err(|error| error.context(subject.log()))
}

/// What comes of etcd's rate through the API server where etcd need not share its processors with it and with the clients, which is what the budget is about.
fn halves(scale: &Scale, references: &References) -> Result<()> {
    let halves = Halves::new()?;
    let (first, second) = halves.each();
    let scale = Scale { clients: vec![budget::ETCD_CLIENTS], ..scale.clone() };
    let start = || halves.first(Etcd::start);
    halves.second(|| {
        let (rates, table) = raw::etcd(&scale, &format!(", on {first} of {} processors", first + second), &start)?;
        show(&table);
        let mut subject = Subject::etcd(start()?)?;
        subject.name = format!("{}, which has {first} of {} processors for itself", subject.name, first + second);
        let (table, _) = verbs::run(&subject, &scale, &verbs::Etcd { rates, judged: true }, references)?;
        show(&table);
        Ok(())
    })
}

/// What the API benches have shown that others are measured by.
#[derive(Default)]
struct Measured {
    rates: verbs::Rates,
    /// Events per second of the server's processor time.
    fan_out: Option<f64>,
}

/// All API benches on one server, one after the other in one process: what it is after them is its memory after the load.
fn api(
    subject: &Subject,
    scale: &Scale,
    wanted: &dyn Fn(Part) -> bool,
    memories: &mut Table,
    etcd: Option<verbs::Etcd>,
    references: &References,
) -> Result<Measured> {
    let mut measured = Measured::default();
    if wanted(Part::Api) {
        progress(&format!("requests: {}", subject.name));
        let (table, rates) = verbs::run(subject, scale, &etcd.unwrap_or_default(), references)?;
        show(&table);
        measured.rates = rates;
    }
    if wanted(Part::Watch) {
        progress(&format!("watch fan-out: {}", subject.name));
        let (table, per_second) = fanout::run(subject, scale, &references.fan_out)?;
        show(&table);
        measured.fan_out = per_second;
    }
    if wanted(Part::List) {
        progress(&format!("list: {}", subject.name));
        show(&list::run(subject, scale)?);
        if wanted(Part::Memory) {
            memory::loaded(subject, &format!("after the load, with {} pods of 3 kB", scale.pods), memories)?;
        }
        list::clean(subject)?;
    }
    // After the memory was taken, for these are no part of that load.
    if wanted(Part::Extensions) {
        progress(&format!("applies and custom objects: {}", subject.name));
        show(&extensions::run(subject, scale)?);
    }
    if wanted(Part::Labels) && subject.store != Store::Foreign {
        progress(&format!("labels: {}", subject.name));
        show(&labels::run(subject, scale)?);
    }
    if wanted(Part::Crowd) {
        progress(&format!("{} watches: {}", scale.many_watchers, subject.name));
        show(&crowd::run(subject, scale)?);
    }
    Ok(measured)
}

/// The versions of what is beside us.
fn versions() -> Vec<String> {
    let first = |program: &str, package: &str, arguments: &[&str]| {
        let path = tool::machine(program, package).ok()?;
        let text = tool::run(Command::new(path).args(arguments)).ok()?;
        Some(format!("{program}: {}", text.lines().next()?.trim()))
    };
    let etcd = first("etcd", "etcd-server", &["--version"]);
    let docker = first("docker", "docker.io", &["version", "--format", "{{.Server.Version}}"]);
    let profile = if cfg!(debug_assertions) { "debug (numbers mean nothing)" } else { "release" };
    [Some(format!("Orlop {}, {profile} build", env!("CARGO_PKG_VERSION"))), etcd, docker]
        .into_iter()
        .flatten()
        .collect()
}

/// Prints a table as soon as it is known.
fn show(table: &Table) {
    println!("{table}");
}

fn progress(what: &str) {
    eprintln!("measuring {what}");
}
