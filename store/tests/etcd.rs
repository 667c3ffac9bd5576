//! What only a server can do to the etcd engine: be killed and come back, be away, be shared.

#[path = "servers/etcd_server.rs"]
mod etcd_server;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use orlop_store::etcd::Etcd;
use orlop_store::{Commit, Expect, Revision, Store, StoreError};
use tokio::time::timeout;

use etcd_server::EtcdServer;

/// How long any one wait may take.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(server: &EtcdServer) -> Arc<Etcd> {
    Arc::new(Etcd::connect(&[server.url()]).await.expect("etcd answers"))
}

fn commit(key: &str, expect: Expect, value: &str) -> Commit {
    Commit { key: key.into(), expect, value: Some(Bytes::from(value.to_owned())) }
}

/// A client and its watch live through a restart of etcd: no event is lost or told twice, and what was committed while
/// etcd came and went is either known or said to be unknown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_etcd_is_lived_through() {
    let mut server = EtcdServer::start();
    let store = connect(&server).await;
    let began = store.revision().await.expect("the revision");
    let mut watch = store.watch("/r/", began).await.expect("a watch");
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            let (mut acknowledged, mut unknown) = (Vec::new(), 0);
            let mut n = 0;
            // Fifty before and during the restart, fifty after it.
            while acknowledged.len() < 100 {
                n += 1;
                match store.commit(commit(&format!("/r/{n}"), Expect::Absent, "v")).await {
                    Ok(revision) => acknowledged.push((revision, n)),
                    Err(StoreError::Unavailable { unknown: doubt, .. }) => {
                        unknown += usize::from(doubt);
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    Err(error) => panic!("commit: {error}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (acknowledged, unknown)
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.kill();
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.start_again();
    let (acknowledged, unknown) = timeout(PATIENCE, writer).await.expect("the writer goes on").expect("it ends well");

    let last = acknowledged.last().expect("commits").0;
    let mut told = Vec::new();
    let mut at = began;
    while at < last {
        let batch = timeout(PATIENCE, watch.next()).await.expect("the watch goes on").expect("it does not end");
        let batch = batch.expect("it does not fail");
        assert!(batch.revision > at);
        told.extend(batch.events.into_iter().map(|event| (event.revision, event.key)));
        at = batch.revision;
    }
    assert!(told.is_sorted_by(|a, b| a.0 < b.0), "events come in order and once");
    for (revision, n) in &acknowledged {
        let expected = (*revision, format!("/r/{n}").into());
        assert!(told.contains(&expected), "{expected:?} was acknowledged and not told");
    }
    assert!(told.len() - acknowledged.len() <= unknown, "what was said not to have taken effect did not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_is_away_is_said_to_be() {
    let mut server = EtcdServer::start();
    let store = connect(&server).await;
    let revision = store.commit(commit("/a", Expect::Absent, "1")).await.expect("a commit");
    server.kill();
    // Those that find the broken connection may be in doubt; soon nobody listens, and there is no doubt.
    timeout(PATIENCE, async {
        loop {
            match store.commit(commit("/b", Expect::Absent, "1")).await {
                Err(StoreError::Unavailable { unknown: false, .. }) => return,
                Err(StoreError::Unavailable { unknown: true, .. }) => tokio::task::yield_now().await,
                other => panic!("a commit to nobody: {other:?}"),
            }
        }
    })
    .await
    .expect("nobody listens");
    let (read, revised) = tokio::join!(store.get("/a"), store.revision());
    assert!(matches!(read, Err(StoreError::Unavailable { unknown: false, .. })), "{read:?}");
    assert!(matches!(revised, Err(StoreError::Unavailable { unknown: false, .. })), "{revised:?}");
    server.start_again();
    // A read that begins while etcd comes back is answered.
    let (entry, _) = timeout(PATIENCE, async {
        loop {
            if let Ok(found) = store.get("/a").await {
                return found;
            }
        }
    })
    .await
    .expect("etcd is found again");
    assert_eq!(entry.expect("the key stands").modified, revision);
}

/// Two API servers over one etcd: each hears the other's writes and compare-and-set holds between them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clients_share_one_etcd() {
    let server = EtcdServer::start();
    let (one, two) = (connect(&server).await, connect(&server).await);
    let began = two.revision().await.expect("the revision");
    let mut watch = two.watch("/s/", began).await.expect("a watch");
    let first = one.commit(commit("/s/a", Expect::Absent, "1")).await.expect("a commit");
    assert!(two.revision().await.expect("the revision") >= first, "a read sees what another client committed");
    match two.commit(commit("/s/a", Expect::Absent, "2")).await {
        Err(StoreError::Mismatch { current: Some(entry) }) => assert_eq!(entry.modified, first),
        other => panic!("a commit over another's: {other:?}"),
    }
    two.commit(commit("/s/a", Expect::At(first), "2")).await.expect("a commit");
    let mut revisions: Vec<Revision> = Vec::new();
    while revisions.len() < 2 {
        let batch = timeout(PATIENCE, watch.next()).await.expect("in time").expect("goes on").expect("does not fail");
        revisions.extend(batch.events.iter().map(|event| event.revision));
    }
    assert_eq!(revisions[0], first);
    // Many who ask at once are answered by few reads, all of them late enough.
    let third = one.commit(commit("/s/b", Expect::Absent, "1")).await.expect("a commit");
    let asked = futures::future::join_all((0..500).map(|_| two.revision())).await;
    assert!(asked.into_iter().all(|revision| revision.is_ok_and(|revision| revision >= third)));
}
