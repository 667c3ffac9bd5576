//! The members of etcd, where a cluster has several control planes: the machine's program `etcd`, one beside each API server.
//!
//! A member is reached by the node's fixed address ([`Record::member_address`]): what members know of each other stands in their data, and the
//! nodes' other addresses change with the network that a start or a copy is given. They show each other, and API servers, certificates of
//! a CA that is for nothing else ([`EtcdFiles`]).

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use orlop_apiserver::pki::etcd::EtcdFiles;

use super::folder::Folder;
use super::record::Record;

/// The ports of a member, as everybody knows them: for clients, and for the other members.
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
/// A leader says so often that it is there, and is missed after so long, both in milliseconds. etcd's own 100 and 1000 are for machines of their own: here
/// all members share one machine's processors and disk. Nodes may be silent for 8 s, which leaves time for an election.
const HEARTBEAT_MS: u32 = 150;
const ELECTION_MS: u32 = 1500;
/// After so many writes a member writes a snapshot and forgets its log: as kubeadm sets it, to need less memory.
const SNAPSHOT_COUNT: u32 = 10_000;
/// How the variables begin that etcd takes for flags; with the flag they make it end.
const VARIABLES: &str = "ETCD_";
/// The one that is no flag: it lets old releases run on processors that they do not know.
const ARCHITECTURE: &str = "ETCD_UNSUPPORTED_ARCH";

/// The program.
///
/// # Errors
/// It is not on the PATH.
pub fn program() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match find(&path) {
        Some(it) => Ok(it),
        None => bail!(
            "several control planes need the program etcd, 3.4 or later, which is not on the PATH: install it (Debian's package etcd-server), or \
             make a cluster with one control plane, which needs none"
        ),
    }
}

fn find(path: &OsStr) -> Option<PathBuf> {
    let runs =
        |it: &PathBuf| std::fs::metadata(it).is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path).map(|it| it.join("etcd")).find(runs)
}

/// What the API server beside a member is told.
pub fn store(record: &Record, at: usize) -> String {
    format!("etcd={}", url(record, at, CLIENT_PORT))
}

/// The command of a member.
///
/// # Errors
/// [`program`]'s.
pub fn command(folder: &Folder, record: &Record, at: usize) -> Result<Command> {
    let mut it = Command::new(program()?);
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(VARIABLES.as_bytes()) && name != ARCHITECTURE {
            it.env_remove(name);
        }
    }
    it.args(arguments(&folder.control_plane(at), record, at));
    Ok(it)
}

fn arguments(data: &Path, record: &Record, at: usize) -> Vec<String> {
    let files = EtcdFiles::of(data);
    let file = |it: &Path| it.display().to_string();
    let (client, peer) = (url(record, at, CLIENT_PORT), url(record, at, PEER_PORT));
    let member = |at: usize| format!("{}={}", record.nodes[at], url(record, at, PEER_PORT));
    let members: Vec<String> = (0..record.planes()).map(member).collect();
    [
        ("name", record.nodes[at].clone()),
        ("data-dir", file(&data.join("etcd"))),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer),
        // Of these a member takes notice only while it has no data.
        ("initial-cluster", members.join(",")),
        ("initial-cluster-token", record.name.clone()),
        ("client-cert-auth", "true".to_owned()),
        ("trusted-ca-file", file(&files.ca)),
        ("cert-file", file(&files.member)),
        ("key-file", file(&files.member_key)),
        ("peer-client-cert-auth", "true".to_owned()),
        ("peer-trusted-ca-file", file(&files.ca)),
        ("peer-cert-file", file(&files.member)),
        ("peer-key-file", file(&files.member_key)),
        ("heartbeat-interval", HEARTBEAT_MS.to_string()),
        ("election-timeout", ELECTION_MS.to_string()),
        // A member that was cut off does not depose the leader when it is back.
        ("pre-vote", "true".to_owned()),
        ("snapshot-count", SNAPSHOT_COUNT.to_string()),
        ("logger", "zap".to_owned()),
        ("log-outputs", "stderr".to_owned()),
    ]
    .into_iter()
    .map(|(flag, value)| format!("--{flag}={value}"))
    .collect()
}

fn url(record: &Record, at: usize, port: u16) -> String {
    format!("https://{}:{port}", record.member_address(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn the_program_is_found_where_it_may_be_run() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let path = std::env::join_paths(dirs.iter().map(tempfile::TempDir::path)).unwrap();
        assert_eq!(find(&path), None);
        let files = dirs.each_ref().map(|it| it.path().join("etcd"));
        files.iter().for_each(|it| std::fs::write(it, "").unwrap());
        std::fs::set_permissions(&files[1], std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(&path), Some(files[1].clone()));
    }

    #[test]
    fn members_know_each_other_by_addresses_that_stay() {
        let lines = |subnet: &str| {
            let nodes = ["a-1", "a-2", "a-3", "a-4"].map(str::to_owned).to_vec();
            let mut record = Record::new("a".into(), nodes, subnet.parse().unwrap(), Timestamp::UNIX_EPOCH);
            record.control_planes = 3;
            arguments(Path::new("/c/a/control-plane-2"), &record, 1)
        };
        assert_eq!(lines("172.30.4.0/24"), lines("172.30.5.0/24"));
        insta::assert_snapshot!(lines("172.30.4.0/24").join("\n"));
    }
}
