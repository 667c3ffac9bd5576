//! The store is away: etcd dies under the API server, which says so within bounds, and goes on by itself when etcd is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use orlop_client::Informer;
use orlop_client::informer::Source;
use orlop_e2e::etcd::Etcd;
use orlop_e2e::expect;
use orlop_e2e::server::{Answer, Server};
use orlop_e2e::wait;
use tokio_util::sync::CancellationToken;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// No request may take longer than this while the store is away.
const ANSWER_LIMIT: Duration = Duration::from_secs(62);

/// The names on a page.
fn page_names(page: &Answer) -> Vec<String> {
    let items = page.json["items"].as_array();
    items.into_iter().flatten().map(|it| it["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn what_is_forgotten_has_expired() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-away-").tempdir()?;
    let etcd = Etcd::start()?;
    let mut server = Server::start(&folder.path().join("data"), &etcd.store())?;
    for name in ["a", "b"] {
        let created = server.ask("POST", CONFIG_MAPS, &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#))?;
        ensure!(created.code == 201, "{created:?}");
    }
    let first = server.ask("GET", &format!("{CONFIG_MAPS}?limit=1"), "")?;
    let token = first.json["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let revision = first.json["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let changed = server.ask("POST", CONFIG_MAPS, r#"{"metadata":{"name":"c"}}"#)?;
    ensure!(changed.code == 201, "{changed:?}");
    etcd.compact()?;
    // Another server, as it were: what this one still held in memory is gone, too.
    server.kill_and_restart()?;
    let page = server.ask("GET", &format!("{CONFIG_MAPS}?limit=1&continue={token}"), "")?;
    ensure!(page.code == 410 && page.json["reason"] == "Expired", "an expired token: {page:?}");
    expect::check(
        "The provided continue parameter is too old to display a consistent list result. *",
        page.json["message"].as_str().unwrap_or_default(),
    )?;
    // The answer brings a token with which a client can go on, if it does not mind.
    let more = page.json["metadata"]["continue"].as_str().unwrap_or_default();
    let rest = server.ask("GET", &format!("{CONFIG_MAPS}?continue={more}"), "")?;
    ensure!(!more.is_empty() && rest.code == 200 && rest.text.contains("\"c\""), "the rest: {page:?} {rest:?}");
    // Its pages are of a later version than the first, all of the same, and begin behind what the first showed.
    let mut found = vec![page_names(&first)];
    let (mut token, mut later) = (more.to_owned(), String::new());
    while !token.is_empty() {
        let page = server.ask("GET", &format!("{CONFIG_MAPS}?limit=1&continue={token}"), "")?;
        ensure!(page.code == 200, "a page of later: {page:?}");
        let of = page.json["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        ensure!(of != revision && (later.is_empty() || of == later), "one later version: {page:?}");
        later = of;
        found.push(page_names(&page));
        page.json["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut token);
    }
    ensure!(found.concat() == ["a", "b", "c"], "nothing twice and nothing lost: {found:?}");
    let watch =
        server.ask("GET", &format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=2&resourceVersion={revision}"), "")?;
    ensure!(watch.text.contains("too old resource version"), "an expired watch: {watch:?}");
    Ok(())
}

/// Watchers that were away for longer than history is kept list anew: kube-rs' reflector, and the informer of our own parts.
#[tokio::test(flavor = "multi_thread")]
async fn watchers_of_a_forgotten_revision_list_anew() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-away-").tempdir()?;
    let etcd = Etcd::start()?;
    let start = |name: &str| Server::start(&folder.path().join(name).join("data"), &etcd.store());
    for name in ["one", "two"] {
        std::fs::create_dir_all(folder.path().join(name))?;
    }
    let (mut server, other) = tokio::task::block_in_place(|| anyhow::Ok((start("one")?, start("two")?)))?;
    let create = |server: &Server, name: &str| {
        let created = server.ask("POST", CONFIG_MAPS, &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#))?;
        ensure!(created.code == 201, "{created:?}");
        Ok(())
    };
    create(&server, "before")?;

    let client = orlop_client::connect::client(Some(&server.kubeconfig())).await?;
    let api: kube::Api<ConfigMap> = kube::Api::namespaced(client.clone(), "default");
    let (reflected, writer) = reflector::store();
    let expired = Arc::new(AtomicUsize::new(0));
    let seen = expired.clone();
    let stream = watcher(api, watcher::Config::default()).inspect_err(move |error| {
        // The code stands in the stream's own error event, or in the answer to the request.
        let text = format!("{error:?}");
        if text.contains("410") {
            seen.fetch_add(1, Relaxed);
        }
    });
    let reflecting = tokio::spawn(reflector(writer, stream.default_backoff()).for_each(|_| async {}));
    let informer = Informer::of(client, Source::namespaced::<ConfigMap>("default"));
    let (stats, shutdown) = (informer.stats(), CancellationToken::new());
    let informed = informer.start(shutdown.clone());
    let agree = async |name: &str, limit: Duration| {
        let deadline = Instant::now() + limit;
        loop {
            let has = |it: &ConfigMap| it.metadata.name.as_deref() == Some(name);
            let (a, b) = (reflected.state().iter().any(|it| has(it)), informed.list().iter().any(|it| has(it)));
            if a && b {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{name}: the reflector has it: {a}; the informer: {b}; {stats:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    agree("before", Duration::from_secs(20)).await?;
    ensure!(stats.relists.load(Relaxed) == 0, "nothing was forgotten yet: {stats:?}");

    // While the server that they watch is away, the world goes on and its history is forgotten.
    tokio::task::block_in_place(|| {
        server.child().kill();
        create(&other, "meanwhile")?;
        let gone = other.ask("DELETE", &format!("{CONFIG_MAPS}/before"), "")?;
        ensure!(gone.code == 200, "{gone:?}");
        etcd.compact()?;
        server.restart()
    })?;
    agree("meanwhile", Duration::from_secs(60)).await?;
    let left = |it: &ConfigMap| it.metadata.name.as_deref() == Some("before");
    ensure!(!reflected.state().iter().any(|it| left(it)), "the reflector holds what is gone");
    ensure!(!informed.list().iter().any(|it| left(it)), "the informer holds what is gone");
    ensure!(stats.relists.load(Relaxed) == 1, "the informer listed anew, once: {stats:?}");
    ensure!(expired.load(Relaxed) == 1, "kube-rs was told 410 once, not {} times", expired.load(Relaxed));
    // And both go on from there.
    tokio::task::block_in_place(|| create(&other, "after"))?;
    agree("after", Duration::from_secs(20)).await?;
    shutdown.cancel();
    reflecting.abort();
    Ok(())
}

#[test]
fn the_server_outlives_its_store() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-away-").tempdir()?;
    let mut etcd = Etcd::start()?;
    let mut server = Server::start(&folder.path().join("data"), &etcd.store())?;
    let body = |name: &str| format!(r#"{{"metadata":{{"name":"{name}"}},"data":{{"k":"v"}}}}"#);
    let created = server.ask("POST", CONFIG_MAPS, &body("before"))?;
    ensure!(created.code == 201, "{created:?}");
    for round in 0..2 {
        etcd.kill();
        wait::until("readyz says no", Duration::from_secs(20), || {
            let answer = server.ask("GET", "/readyz", "")?;
            ensure!(answer.code == 500 || answer.code == 503, "{answer:?}");
            Ok(())
        })?;
        ensure!(server.ask("GET", "/livez", "")?.code == 200, "the process itself lives: a restart would not help");
        let started = Instant::now();
        let answer = server.ask("POST", CONFIG_MAPS, &body("during"))?;
        ensure!((500..600).contains(&answer.code) && answer.json["kind"] == "Status", "a write says {answer:?}");
        ensure!(started.elapsed() < ANSWER_LIMIT, "a write took {:?}", started.elapsed());
        // What the cache holds is served to those who do not ask for the newest.
        let answer = server.ask("GET", &format!("{CONFIG_MAPS}/before?resourceVersion=0"), "")?;
        ensure!(answer.code == 200, "a read from the cache says {answer:?}");
        etcd.restart()?;
        server.wait_ready()?;
        wait::until("writes go on", Duration::from_secs(30), || {
            let answer = server.ask("POST", CONFIG_MAPS, &body(&format!("after-{round}")))?;
            ensure!(answer.code == 201 || answer.code == 409, "{answer:?}");
            Ok(())
        })?;
        let answer = server.ask("GET", &format!("{CONFIG_MAPS}/before"), "")?;
        ensure!(answer.code == 200 && answer.json["data"]["k"] == "v", "{answer:?}");
        ensure!(server.child().runs(), "{}", server.child().tail());
    }
    Ok(())
}
