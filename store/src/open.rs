//! From what a user writes behind `--store` to an engine.

use std::path::Path;
use std::sync::Arc;

use crate::embedded::Embedded;
use crate::etcd::{Etcd, Tls};
use crate::memory::Memory;
use crate::{Store, StoreError};

/// Where in the data directory the embedded engine keeps its files.
const EMBEDDED_DIR: &str = "store";

/// Why no store was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The words behind `--store` name no engine.
    #[error("invalid store {spec:?}: {problem}; expected embedded, memory or etcd=URL[,URL]")]
    Spec { spec: String, problem: String },
    /// The engine did not start.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An engine as named by a user.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Spec {
    Memory,
    Embedded,
    Etcd(Vec<String>),
}

/// Whether several servers may have the store that `spec` names: it is outside of them.
pub fn is_shared(spec: &str) -> bool {
    matches!(parse(spec), Ok(Spec::Etcd(_)))
}

/// Opens the store that `spec` names: `embedded` (in `data_dir`), `memory`, or `etcd=URL[,URL]`, with these certificates.
pub async fn open(spec: &str, data_dir: &Path, tls: &Tls) -> Result<Arc<dyn Store>, OpenError> {
    match parse(spec)? {
        Spec::Memory => Ok(Arc::new(Memory::new())),
        Spec::Embedded => {
            let dir = data_dir.join(EMBEDDED_DIR);
            let opening = tokio::task::spawn_blocking(move || Embedded::open(&dir));
            let opened = opening.await.map_err(|error| StoreError::Damaged(format!("opening it panicked: {error}")))?;
            Ok(Arc::new(opened?))
        }
        Spec::Etcd(urls) => Ok(Arc::new(Etcd::connect_with(&urls, tls).await?)),
    }
}

fn parse(spec: &str) -> Result<Spec, OpenError> {
    let invalid = |problem: &str| OpenError::Spec { spec: spec.to_owned(), problem: problem.to_owned() };
    match spec.split_once('=') {
        None if spec == "memory" => Ok(Spec::Memory),
        None if spec == "embedded" => Ok(Spec::Embedded),
        None if spec == "etcd" => Err(invalid("etcd needs at least one URL")),
        Some(("etcd", urls)) => {
            let urls: Vec<String> = urls.split(',').map(|url| url.trim().to_owned()).collect();
            for url in &urls {
                let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
                let host = rest.ok_or_else(|| invalid(&format!("{url:?} does not begin with http:// or https://")))?;
                if host.trim_end_matches('/').is_empty() {
                    return Err(invalid(&format!("{url:?} names no host")));
                }
            }
            Ok(Spec::Etcd(urls))
        }
        _ => Err(invalid("no such engine")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(spec: &str, expected: Result<Spec, &str>) {
        match (parse(spec), expected) {
            (Ok(parsed), Ok(expected)) => assert_eq!(parsed, expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (parsed, expected) => panic!("{spec}: {parsed:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn specs_name_engines() {
        check("memory", Ok(Spec::Memory));
        check("embedded", Ok(Spec::Embedded));
        check("etcd=http://a:2379", Ok(Spec::Etcd(vec!["http://a:2379".to_owned()])));
        check(
            "etcd=http://a:2379, https://b:2379",
            Ok(Spec::Etcd(vec!["http://a:2379".to_owned(), "https://b:2379".to_owned()])),
        );
        check("etcd", Err("needs at least one URL"));
        check("etcd=", Err("does not begin with http:// or https://"));
        check("etcd=a:2379", Err("\"a:2379\" does not begin with"));
        check("etcd=http://", Err("names no host"));
        check("sqlite", Err("invalid store \"sqlite\": no such engine; expected embedded, memory or etcd=URL[,URL]"));
        check("memory=1", Err("no such engine"));
        assert!(is_shared("etcd=http://a:2379") && !is_shared("embedded") && !is_shared("etcd"));
    }
}
