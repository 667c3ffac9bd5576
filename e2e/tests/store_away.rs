//! The store is away: etcd dies under the API server, which says so within bounds, and goes on by itself when etcd is back.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::etcd::Etcd;
use orlop_e2e::expect;
use orlop_e2e::server::Server;
use orlop_e2e::wait;

const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
/// No request may take longer than this while the store is away.
const ANSWER_LIMIT: Duration = Duration::from_secs(62);

#[test]
fn what_is_forgotten_has_expired() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-away-").tempdir()?;
    let etcd = Etcd::start()?;
    let mut server = Server::start(&folder.path().join("data"), &etcd.store())?;
    for name in ["a", "b"] {
        let created = server.ask("POST", CONFIG_MAPS, &format!(r#"{{"metadata":{{"name":"{name}"}}}}"#))?;
        ensure!(created.code == 201, "{created:?}");
    }
    let page = server.ask("GET", &format!("{CONFIG_MAPS}?limit=1"), "")?;
    let token = page.json["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let revision = page.json["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
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
    let watch =
        server.ask("GET", &format!("{CONFIG_MAPS}?watch=true&timeoutSeconds=2&resourceVersion={revision}"), "")?;
    ensure!(watch.text.contains("too old resource version"), "an expired watch: {watch:?}");
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
