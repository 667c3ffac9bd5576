//! The conformance suite, for every engine.

#[path = "servers/etcd_server.rs"]
mod etcd_server;

use std::sync::Arc;

use orlop_store::Store;
use orlop_store::conformance::{self, Subject};
use orlop_store::embedded::Embedded;
use orlop_store::etcd::Etcd;
use orlop_store::memory::Memory;
use parking_lot::Mutex;

use etcd_server::EtcdServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory() {
    conformance::run(|| async { Subject { store: Arc::new(Memory::new()), reopen: None, keep: Box::new(()) } }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    conformance::run(|| async {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().to_owned();
        let open = move || Arc::new(Embedded::open(&path).expect("the store opens")) as Arc<dyn Store>;
        Subject {
            store: open(),
            reopen: Some(Box::new(move || {
                let store = open();
                Box::pin(async move { store })
            })),
            keep: Box::new(dir),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd() {
    let server = Arc::new(Mutex::new(EtcdServer::start()));
    conformance::run(|| async {
        let urls = [server.lock().url()];
        let store: Arc<dyn Store> = Arc::new(Etcd::connect(&urls).await.expect("etcd answers"));
        let server = server.clone();
        Subject {
            store,
            reopen: Some(Box::new(move || {
                server.lock().kill();
                server.lock().start_again();
                let urls = urls.clone();
                Box::pin(
                    async move { Arc::new(Etcd::connect(&urls).await.expect("etcd answers again")) as Arc<dyn Store> },
                )
            })),
            keep: Box::new(()),
        }
    })
    .await;
}
