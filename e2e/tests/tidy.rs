//! The invariants of the architecture, held by looking at the sources.
//!
//! Each test collects every violation and tells them all, with their places. An exception stands in a list beside its reason; one that is not
//! needed any more is a violation, too.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use orlop_api::kinds::KINDS;
use orlop_e2e::source::{self, Source, has_word};
use orlop_e2e::tool;

/// Which of our crates a crate may build on: the drawing in docs/ARCHITECTURE.md. The command embeds the components for `orlop up`; no
/// component knows another, and none but the API server knows the store.
const LAYERS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("store", &["api"]),
    ("client", &["api"]),
    ("manifests", &["api"]),
    ("apiserver", &["api", "store", "client", "manifests"]),
    ("scheduler", &["api", "client"]),
    ("controllers", &["api", "client", "manifests"]),
    ("shim", &[]),
    ("agent", &["api", "client", "manifests", "shim"]),
    ("cli", &["api", "client", "manifests", "apiserver", "scheduler", "controllers", "agent"]),
    ("e2e", &["api", "store", "client", "manifests", "apiserver", "scheduler", "controllers", "agent", "cli"]),
];

/// Modules that decide. A path without `.rs` is a folder and the file beside it.
const PURE: &[&str] = &[
    "api/src",
    "scheduler/src/view.rs",
    "scheduler/src/pod.rs",
    "scheduler/src/resources.rs",
    "scheduler/src/snapshot.rs",
    "scheduler/src/storage",
    "scheduler/src/affinity.rs",
    "scheduler/src/taint.rs",
    "scheduler/src/filters",
    "scheduler/src/scores",
    "scheduler/src/decide.rs",
    "scheduler/src/queue.rs",
    "agent/src/machine",
    "agent/src/admission.rs",
    "agent/src/environment",
    "agent/src/resolver.rs",
    "agent/src/network/ips.rs",
    "agent/src/network/addresses.rs",
    "agent/src/network/overlay/peers.rs",
    "agent/src/services/backends.rs",
    "agent/src/services/fragment.rs",
    "agent/src/services/table.rs",
    "agent/src/services/stale.rs",
    "agent/src/rules/table.rs",
    "agent/src/rules/fragment.rs",
    "agent/src/rules/wanted.rs",
    "agent/src/rules/changes.rs",
    "agent/src/rules/listing.rs",
    "agent/src/policy/spec.rs",
    "agent/src/policy/chain.rs",
    "agent/src/policy/selection.rs",
    "agent/src/policy/state.rs",
    "agent/src/policy/table.rs",
    "agent/src/dns/zone.rs",
    "agent/src/dns/message.rs",
    "agent/src/dns/resolv_conf.rs",
    "agent/src/resources.rs",
    "agent/src/usage/summary.rs",
    "agent/src/usage/exposition.rs",
    "agent/src/images/collect.rs",
    "agent/src/pressure/signals.rs",
    "agent/src/pressure/settings.rs",
    "agent/src/pressure/decide.rs",
    "agent/src/pressure/rank.rs",
    "agent/src/pressure/limits.rs",
    "agent/src/power_off/periods.rs",
    "agent/src/runtime/resolver.rs",
    "agent/src/runtime/native/names.rs",
    "agent/src/runtime/native/spec",
    "shim/src/protocol.rs",
    "controllers/src/plan.rs",
    "controllers/src/deployment",
    "controllers/src/replica_set",
    "controllers/src/replication_controller.rs",
    "client/src/storage",
    "controllers/src/finalizer.rs",
    "controllers/src/ephemeral_volumes.rs",
    "controllers/src/volume_binder",
    "controllers/src/volume_expansion.rs",
    "controllers/src/local_provisioner.rs",
    "controllers/src/claim_protection.rs",
    "controllers/src/volume_protection.rs",
    "controllers/src/attributes_class_protection.rs",
    "controllers/src/service_cidr.rs",
    "controllers/src/token_cleaner.rs",
    "controllers/src/legacy_token_cleaner.rs",
    "controllers/src/bootstrap_signer.rs",
    "controllers/src/endpoint_slice",
    "controllers/src/endpoints.rs",
    "controllers/src/load_balancer.rs",
    "controllers/src/event_expiry.rs",
    "controllers/src/garbage_collector",
    "controllers/src/namespace.rs",
    "controllers/src/node_ipam.rs",
    "controllers/src/node_leaving.rs",
    "controllers/src/serving_names.rs",
    "controllers/src/node_lifecycle",
    "controllers/src/pod_gc.rs",
    "controllers/src/service_account.rs",
    "controllers/src/service_account_token.rs",
    "apiserver/src/service_addresses/families.rs",
    "apiserver/src/authorize/rbac.rs",
    "apiserver/src/authorize/node.rs",
    "apiserver/src/usage/points.rs",
    "apiserver/src/usage/history.rs",
    "cli/src/cluster/family.rs",
];

/// What a decision does not touch: runtimes, clocks, randomness, files, sockets, threads.
const IMPURE: &[&str] = &[
    "tokio",
    "async",
    "await",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "clock::now",
    "random",
    "rand",
    "std::fs",
    "std::net::Tcp",
    "std::thread",
    "std::env",
    "std::process",
    "reqwest",
    "hyper",
];

/// An exception: where, what, and why.
type Exception = (&'static str, &'static str, &'static str);

const CLOCK_EXCEPTIONS: &[Exception] = &[
    ("client/src/clock.rs", "Timestamp::now", "the one place that reads the wall clock"),
    ("shim/src/clock.rs", "SystemTime::now", "the shim's one place that reads the wall clock: it has no async runtime"),
    ("shim/src/clock.rs", "Instant::now", "the shim is one thread around poll, without tokio's clock"),
    (
        "store/src/embedded/writer.rs",
        "Instant::now",
        "the writer is a thread of its own that waits on a channel, without a runtime",
    ),
];

const IMPURE_EXCEPTIONS: &[Exception] = &[(
    "agent/src/runtime/native/spec/seccomp.rs",
    "std::env",
    "the architecture that the program is compiled for is a constant there",
)];

/// `unsafe` is forbidden but in a few small, commented places.
const UNSAFE_EXCEPTIONS: &[Exception] = &[
    (
        "agent/src/pause/pause.rs",
        "unsafe",
        "it is compiled without any crate, and one call of the C library reaps for it",
    ),
    ("agent/src/main.rs", "unsafe", "the allocator looks for its settings under a name of the linker's (decision 029)"),
    ("client/src/resident.rs", "unsafe", "the kernel is told of memory that Rust did not allocate (decision 029)"),
    (
        "shim/src/filter.rs",
        "unsafe",
        "no crate loads a compiled filter without changing what a pod may do (decision 030)",
    ),
];

/// Where the API server names a kind because the kind is the subject.
const KIND_EXCEPTIONS: &[(&str, &str)] = &[
    ("apiserver/src/request/path.rs", "a namespace is a part of every path"),
    ("apiserver/src/verbs.rs", "a namespace is addressed below itself"),
    ("apiserver/src/proxy/target.rs", "pods, services and nodes are what is proxied to"),
    ("apiserver/src/proxy/streams.rs", "sessions are a pod's, and led to its node"),
    ("apiserver/src/aside.rs", "pods, services and nodes are what one connects to"),
    ("apiserver/src/verbs/binding.rs", "pods are what is bound"),
    ("apiserver/src/verbs/eviction.rs", "pods are what is evicted, and budgets what holds them"),
    ("apiserver/src/impersonate.rs", "accounts are whom one may act as"),
    ("apiserver/src/authorize.rs", "the node authorizer's graph is made of pods"),
    ("apiserver/src/authorize/node.rs", "what a node may touch is said by kind"),
    ("apiserver/src/authorize/rbac.rs", "roles, bindings and accounts are RBAC's own kinds"),
    ("apiserver/src/connect/log_proxy.rs", "logs are a pod's, and lie on its node"),
    ("apiserver/src/connect/token.rs", "tokens are an account's, and bound to pods, secrets and nodes"),
    ("apiserver/src/authenticate/service_account.rs", "a token lives as long as the objects it is bound to"),
    ("apiserver/src/authenticate/bootstrap_token.rs", "bootstrap tokens are secrets"),
    ("apiserver/src/authenticate/revocation.rs", "a config map says whose certificates are refused"),
    ("apiserver/src/admission/node_revocation.rs", "that config map is what is guarded"),
    ("apiserver/src/admission/node_restriction.rs", "nodes, pods and leases are what a node may write"),
    ("apiserver/src/admission/service_account.rs", "pods get their namespace's account"),
    ("apiserver/src/admission/namespace_lifecycle.rs", "namespaces are what lives"),
    ("apiserver/src/admission/escalation.rs", "roles and bindings are what escalates"),
    ("apiserver/src/admission/admin_access.rs", "claims on devices, and the labels of their namespaces"),
    ("apiserver/src/admission/certificates.rs", "certificate requests are what is approved and signed"),
    ("apiserver/src/admission/claim_resize.rs", "claims grow if their class lets them"),
    ("apiserver/src/admission/default_ingress_class.rs", "ingresses get a class"),
    ("apiserver/src/admission/default_storage_class.rs", "claims get a class"),
    ("apiserver/src/admission/default_toleration_seconds.rs", "pods tolerate"),
    ("apiserver/src/admission/expressions.rs", "a namespace has no other around it"),
    ("apiserver/src/admission/limit_ranger.rs", "ranges limit pods and claims"),
    ("apiserver/src/admission/pod_security.rs", "pods, what makes them and their namespaces"),
    ("apiserver/src/admission/policies.rs", "policies and their bindings"),
    ("apiserver/src/admission/priority.rs", "pods have the priority of a class"),
    ("apiserver/src/admission/resource_quota.rs", "quotas are what is charged"),
    ("apiserver/src/admission/runtime_class.rs", "pods run by a class"),
    ("apiserver/src/admission/selection.rs", "a namespace is selected by its own labels"),
    ("apiserver/src/admission/storage_object_in_use_protection.rs", "claims, volumes and their classes are held"),
    ("apiserver/src/admission/taint_nodes_by_condition.rs", "nodes are what is tainted"),
    ("apiserver/src/admission/webhooks.rs", "the configurations of webhooks"),
    ("apiserver/src/policy_types.rs", "policies are what is checked"),
    ("apiserver/src/quota.rs", "what quotas count differs by kind"),
    ("apiserver/src/callout.rs", "a webhook may be a service"),
    ("apiserver/src/components.rs", "leases tell who lives"),
    ("apiserver/src/usage.rs", "nodes and pods are what uses something"),
    ("apiserver/src/registry.rs", "definitions make kinds"),
    ("apiserver/src/bootstrap.rs", "the first objects are made by kind"),
    ("apiserver/src/service_addresses.rs", "services are what gets addresses"),
    ("apiserver/src/verbs/fence.rs", "a fence is a lease"),
];

/// A list in which every file of a folder stands once.
struct Listing {
    /// The folder; files that hold nothing to list are passed over.
    folder: &'static str,
    /// What a file that belongs there contains.
    mark: &'static str,
    /// The file and the words with which the list begins; it ends with `end`.
    list: (&'static str, &'static str, &'static str),
}

const LISTINGS: &[Listing] = &[
    Listing {
        folder: "scheduler/src/filters/",
        mark: "impl Filter for",
        list: ("scheduler/src/filters.rs", "static FILTERS", "];"),
    },
    Listing {
        folder: "scheduler/src/scores/",
        mark: "impl Score for",
        list: ("scheduler/src/scores.rs", "static SCORES", "];"),
    },
    Listing {
        folder: "apiserver/src/admission/",
        mark: "impl Plugin for",
        list: ("apiserver/src/admission.rs", "fn plugins", "\n}"),
    },
    Listing {
        folder: "controllers/src/",
        mark: "impl Controller for",
        list: ("controllers/src/lib.rs", "fn all", "\n}"),
    },
    Listing { folder: "cli/src/commands/", mark: "struct Args", list: ("cli/src/command.rs", "enum Command", "\n}") },
];

/// Lines a file may have: more is two nouns.
const LINES_MAX: usize = 700;

fn sources() -> Result<Vec<Source>> {
    source::all()
}

fn none(what: &str, violations: Vec<String>) -> Result<()> {
    ensure!(violations.is_empty(), "{what}:\n  {}", violations.join("\n  "));
    Ok(())
}

/// Whether a file is one of these or lies below one.
fn within(path: &str, places: &[&str]) -> bool {
    places.iter().any(|it| path == *it || path == format!("{it}.rs") || path.starts_with(&format!("{it}/")))
}

/// The violations that no exception covers, and the exceptions that cover none.
fn judge(found: Vec<(String, &str)>, exceptions: &[Exception]) -> Vec<String> {
    let mut used = BTreeSet::new();
    let mut violations = Vec::new();
    for (place, word) in found {
        let path = place.rsplit_once(':').map_or(place.as_str(), |it| it.0);
        match exceptions.iter().position(|(at, what, _)| *at == path && *what == word) {
            Some(at) => _ = used.insert(at),
            None => violations.push(format!("{place}: {word}")),
        }
    }
    let unused = exceptions.iter().enumerate().filter(|(at, _)| !used.contains(at));
    violations.extend(unused.map(|(_, (path, word, _))| format!("{path}: the exception for {word} is not needed")));
    violations
}

#[test]
fn crates_build_on_what_the_drawing_allows() -> Result<()> {
    let root = tool::repository();
    let workspace = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let members =
        workspace.lines().find_map(|it| it.strip_prefix("members = [")).context("the workspace has members")?;
    let members: BTreeSet<&str> =
        members.trim_end_matches(']').split(',').map(|it| it.trim().trim_matches('"')).collect();
    let drawn: BTreeSet<&str> = LAYERS.iter().map(|(name, _)| *name).collect();
    ensure!(members == drawn, "the workspace has {members:?}, the drawing {drawn:?}");
    let mut violations = Vec::new();
    for (name, allowed) in LAYERS {
        let manifest = std::fs::read_to_string(root.join(name).join("Cargo.toml"))?;
        let mut section = "";
        for line in manifest.lines() {
            if let Some(it) = line.strip_prefix('[') {
                section = it.trim_end_matches(']');
            } else if section == "dependencies"
                && let Some(it) = line.strip_prefix("orlop-")
            {
                let it = it.split(['.', ' ', '=']).next().unwrap_or_default();
                if !allowed.contains(&it) {
                    violations.push(format!("{name} builds on {it}"));
                }
            }
        }
    }
    none("layers", violations)
}

#[test]
fn pure_modules_are_pure() -> Result<()> {
    let sources = sources()?;
    let gone = PURE.iter().filter(|it| !sources.iter().any(|source| within(&source.path, &[it])));
    let mut violations: Vec<String> = gone.map(|it| format!("{it} is listed and does not exist")).collect();
    let mut found = Vec::new();
    for source in sources.iter().filter(|it| within(&it.path, PURE)) {
        for word in IMPURE {
            found.extend(source.lines_with(word).into_iter().map(|it| (it, *word)));
        }
    }
    violations.extend(judge(found, IMPURE_EXCEPTIONS));
    none("impure", violations)
}

#[test]
fn one_place_reads_the_wall_clock() -> Result<()> {
    let mut found = Vec::new();
    for source in sources()?.iter().filter(|it| it.folder() != "e2e") {
        for word in ["SystemTime::now", "Timestamp::now", "Zoned::now", "Utc::now"] {
            found.extend(source.lines_with(word).into_iter().map(|it| (it, word)));
        }
        // tokio's Instant is the one that a simulation can own.
        let from_std = source.production.lines().any(|it| it.contains("use std::time") && has_word(it, "Instant"));
        if from_std {
            found.extend(source.lines_with("Instant::now").into_iter().map(|it| (it, "Instant::now")));
        }
    }
    none("clocks", judge(found, CLOCK_EXCEPTIONS))
}

#[test]
fn one_place_makes_random_numbers() -> Result<()> {
    let mut violations = Vec::new();
    // The store's engine and the key material have randomness of their own kind: the first for back-off below the client crate, the second
    // from the crypto provider.
    for source in sources()?.iter().filter(|it| !within(&it.path, &["e2e", "client/src/random", "store"])) {
        for word in ["rand::rng", "rand::random", "thread_rng", "Uuid::new_v4", "from_os_rng", "OsRng"] {
            violations.extend(source.lines_with(word));
        }
    }
    none("randomness", violations)
}

#[test]
fn nothing_is_left_to_do_or_left_out() -> Result<()> {
    let mut violations = Vec::new();
    for source in sources()? {
        for (at, line) in source.code.lines().enumerate() {
            let place = format!("{}:{}", source.path, at + 1);
            for word in ["todo!", "unimplemented!", "dbg!"] {
                if has_word(line, word) {
                    violations.push(format!("{place}: {word}"));
                }
            }
            if line.contains("#[ignore") {
                violations.push(format!("{place}: an ignored test"));
            }
        }
        let sleeps = source.lines_with("thread::sleep");
        violations
            .extend(sleeps.into_iter().filter(|_| source.folder() != "e2e").map(|it| format!("{it}: a thread sleeps")));
    }
    none("left", violations)
}

#[test]
fn unsafe_code_is_in_one_place() -> Result<()> {
    let sources = sources()?;
    let found = sources.iter().flat_map(|it| it.lines_with("unsafe")).map(|it| (it, "unsafe")).collect();
    none("unsafe", judge(found, UNSAFE_EXCEPTIONS))
}

#[test]
fn files_are_named_for_nouns_and_begin_with_what_they_are() -> Result<()> {
    let mut violations = Vec::new();
    for source in sources()? {
        let name = source.path.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        if ["mod", "util", "utils", "helper", "helpers", "common", "misc", "manager"].contains(&name)
            || name.ends_with("_manager")
        {
            violations.push(format!("{}: a file is named for what it holds", source.path));
        }
        if !source.text.starts_with("//! ") {
            violations.push(format!("{}: begins without //!", source.path));
        }
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            violations.push(format!("{}: {lines} lines", source.path));
        }
    }
    none("files", violations)
}

#[test]
fn public_items_are_documented() -> Result<()> {
    const ITEMS: &[&str] = &["fn", "async", "const", "unsafe", "struct", "enum", "trait", "type", "static", "union"];
    let mut violations = Vec::new();
    for source in sources()?.iter().filter(|it| !it.is_test()) {
        let text: Vec<&str> = source.text.lines().collect();
        for (at, line) in source.production.lines().enumerate() {
            // Only items of a module stand at the line's beginning; modules are documented in their files.
            let Some(item) = line.strip_prefix("pub ") else { continue };
            if ITEMS.contains(&item.split(' ').next().unwrap_or_default()) && !documented(&text, at) {
                violations.push(format!("{}:{}: {}", source.path, at + 1, line.trim_end()));
            }
        }
    }
    none("without a docstring", violations)
}

/// Whether a doc comment stands above an item and its attributes.
fn documented(text: &[&str], item: usize) -> bool {
    let mut inside = false;
    for line in text[..item].iter().rev().map(|it| it.trim_end()) {
        match line {
            _ if line.starts_with("///") || line.starts_with("#[doc") => return true,
            _ if line.starts_with("#[") => inside = false,
            _ if inside || line.ends_with(")]") => inside = true,
            _ => return false,
        }
    }
    false
}

#[test]
fn everything_is_listed_once() -> Result<()> {
    let sources = sources()?;
    let by_path: BTreeMap<&str, &Source> = sources.iter().map(|it| (it.path.as_str(), it)).collect();
    let mut violations = Vec::new();
    for listing in LISTINGS {
        let (file, begin, end) = listing.list;
        let text = &by_path.get(file).with_context(|| format!("{file} is missing"))?.production;
        let from = text.find(begin).with_context(|| format!("{file} has no {begin}"))?;
        let list = &text[from..];
        let list = &list[..list.find(end).unwrap_or(list.len())];
        let mut members = 0;
        for source in sources.iter().filter(|it| it.production.contains(listing.mark)) {
            let Some(module) = source.path.strip_prefix(listing.folder).and_then(|it| it.strip_suffix(".rs")) else {
                continue;
            };
            if module.contains('/') {
                continue;
            }
            members += 1;
            let times = list.lines().map(|it| usize::from(has_word(it, &format!("{module}::")))).sum::<usize>();
            if times != 1 {
                violations.push(format!("{} is listed {times} times in {file}", source.path));
            }
        }
        if members == 0 {
            violations.push(format!("{} holds nothing with {}", listing.folder, listing.mark));
        }
    }
    let strategies = sources.iter().filter(|it| it.path.starts_with("api/src/kinds/"));
    let strategies = strategies.map(|it| it.lines_with("impl Strategy for").len()).sum::<usize>();
    if strategies != KINDS.len() {
        violations.push(format!("{strategies} kinds have a Strategy, {} are in KINDS", KINDS.len()));
    }
    none("lists", violations)
}

#[test]
fn no_kind_is_matched_outside_its_file() -> Result<()> {
    let names: BTreeSet<&str> = KINDS.iter().flat_map(|it| [it.kind, it.names.plural]).collect();
    let mut violations = Vec::new();
    let mut used = BTreeSet::new();
    for source in sources()?.iter().filter(|it| it.path.starts_with("apiserver/src/")) {
        for (line, literal) in &source.literals {
            if !names.contains(literal.as_str()) {
                continue;
            }
            match KIND_EXCEPTIONS.iter().find(|(path, _)| *path == source.path) {
                Some((path, _)) => _ = used.insert(*path),
                None => violations.push(format!("{}:{line}: {literal:?}", source.path)),
            }
        }
    }
    let unused = KIND_EXCEPTIONS.iter().filter(|(path, _)| !used.contains(path));
    violations.extend(unused.map(|(path, _)| format!("{path}: the exception is not needed")));
    none("kinds named", violations)
}
