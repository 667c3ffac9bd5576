//! What pods make of names, by the resolver of their own C library ("DNS should provide DNS for the cluster", "... for services", "... for
//! ExternalName services", "... for pods for Hostname", "... for Subdomain", "DNS should resolve DNS of partial qualified names for services",
//! "DNS should provide /etc/hosts entries for the cluster", "DNS should support configurable pod DNS nameservers").

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, address, expect_words};
use orlop_e2e::wait;
use serde_json::json;

use crate::crew::{Member, PORT, addresses, cluster_ip, resolves, service};
use crate::plain::{Http, MERGE};

/// What has the resolver ask by TCP.
const TCP: &str = "use-vc";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let ports = format!("ports: [{{ name: http, port: 80, targetPort: {PORT} }}]");
    let manifest = [
        service("peers", &format!("{{ clusterIP: None, selector: {{ app: peer }}, {ports} }}")),
        service("normal", &format!("{{ selector: {{ app: peer }}, {ports} }}")),
        service("outer", "{ type: ExternalName, externalName: foo.example.com }"),
        Member { name: "named", app: "peer", spec: "  hostname: querier\n  subdomain: peers", ..Member::default() }
            .manifest(),
        Member { name: "plain", app: "peer", ..Member::default() }.manifest(),
        Member { name: "server", answers: "dns:53, tcp:8080", ..Member::default() }.manifest(),
    ];
    scene.apply(&manifest.concat())?;
    let (named, plain) = (scene.ready("named")?, scene.ready("plain")?);
    let (named, plain) = (address(&named)?, address(&plain)?);
    let own = own_nameserver(scene, address(&scene.ready("server")?)?)?;

    let normal = scene.api.get(&scene.path("services/normal"))?;
    let kubernetes = scene.api.get("/api/v1/namespaces/default/services/kubernetes")?;
    for (name, namespace, expected) in [
        ("peers", &*scene.namespace, &[named, plain][..]),
        ("normal", &scene.namespace, &[cluster_ip(&normal)?]),
        ("querier.peers", &scene.namespace, &[named]),
        ("kubernetes", "default", &[cluster_ip(&kubernetes)?]),
    ] {
        let partial = ["", ".svc", ".svc.cluster.local", ".svc.cluster.local."];
        let mut all: Vec<String> = partial.iter().map(|it| format!("{name}.{namespace}{it}")).collect();
        if namespace == scene.namespace {
            all.push(name.to_owned());
        }
        for name in all {
            resolves(scene, "plain", &name, expected)?;
            let by_tcp = addresses(scene, "plain", &name, TCP)?;
            ensure!(by_tcp.iter().map(String::as_str).eq(sorted(expected)), "{name} by TCP is {by_tcp:?}");
        }
    }
    records(scene, named, plain)?;
    aliases(scene)?;
    // Who has a name below a Service knows it himself, without asking.
    for name in ["querier", &format!("querier.peers.{}.svc.cluster.local", scene.namespace)] {
        let said = scene.inside("named", "main", &["/usr/bin/getent", "-s", "hosts:files", "hosts", name])?;
        ensure!(said.split_whitespace().next() == Some(named), "{name} is {said}");
    }
    own(scene)
}

fn sorted<'a>(addresses: &[&'a str]) -> Vec<&'a str> {
    let mut all = addresses.to_vec();
    all.sort_unstable();
    all
}

/// The ports' names, and the addresses backwards.
fn records(scene: &Scene<'_>, named: &str, plain: &str) -> Result<()> {
    let base = format!("{}.svc.cluster.local", scene.namespace);
    let ask = |kind: &str, name: &str| scene.inside("plain", "main", &["nslookup", &format!("-type={kind}"), name]);
    // Priority, weight, port and target; for a headless Service the pods' own port.
    let said = ask("srv", &format!("_http._tcp.normal.{base}"))?;
    let weightless: Vec<&str> = said.lines().filter(|it| it.contains("service = ")).collect();
    ensure!(weightless.len() == 1 && weightless[0].ends_with(&format!(" 80 normal.{base}")), "{said}");
    let said = ask("srv", &format!("_http._tcp.peers.{base}"))?;
    let dashed = plain.replace('.', "-");
    expect_words(&said, &[&format!(" {PORT} querier.peers.{base}"), &format!(" {PORT} {dashed}.peers.{base}")])?;
    resolves(scene, "plain", &format!("{dashed}.peers"), &[plain])?;
    let back = scene.inside("plain", "main", &["nslookup", named])?;
    expect_words(&back, &[&format!("name = querier.peers.{base}")])
}

/// A name for a name outside, then for another, then an address.
fn aliases(scene: &Scene<'_>) -> Result<()> {
    let name = format!("outer.{}.svc.cluster.local", scene.namespace);
    let is = |expected: &str| {
        wait::until(&format!("{name} is {expected}"), POD_LIMIT, || {
            let said = scene.inside("plain", "main", &["nslookup", "-type=cname", &name])?;
            ensure!(said.contains(&format!("canonical name = {expected}")), "{said}");
            Ok(())
        })
    };
    let change = |spec: serde_json::Value| {
        Http::of(scene).patch(&scene.path("services/outer"), MERGE, &json!({ "spec": spec }))?.is(200)
    };
    is("foo.example.com")?;
    change(json!({ "externalName": "bar.example.com" }))?;
    is("bar.example.com")?;
    let ports = json!([{ "name": "http", "port": 80 }]);
    let it = change(json!({ "type": "ClusterIP", "externalName": null, "ports": ports }))?;
    resolves(scene, "plain", "outer", &[cluster_ip(&it)?])
}

/// A pod with a name server and a search list of its own; gives what is to be seen of it when the rest is.
fn own_nameserver<'a>(scene: &Scene<'_>, server: &str) -> Result<impl FnOnce(&Scene<'_>) -> Result<()> + use<'a>> {
    let spec = format!(
        "  dnsPolicy: None\n  dnsConfig: {{ nameservers: [{server}], searches: [own.example], options: [{{ name: ndots, value: \"2\" }}] }}"
    );
    scene.apply(&Member { name: "own", spec: &spec, ..Member::default() }.manifest())?;
    let conf = format!("search own.example\nnameserver {server}\noptions ndots:2\n");
    Ok(move |scene: &Scene<'_>| {
        scene.ready("own")?;
        let said = scene.inside("own", "main", &["cat", "/etc/resolv.conf"])?;
        let lines = |text: &str| {
            let mut all: Vec<String> = text.lines().map(str::to_owned).collect();
            all.sort();
            all
        };
        ensure!(lines(&said) == lines(&conf), "{said}");
        // The one name that the server knows, by the search list; the cluster's are none.
        resolves(scene, "own", "alone", &["203.0.113.5"])?;
        let known = addresses(scene, "own", "kubernetes.default.svc.cluster.local", "");
        ensure!(known.is_err(), "{known:?}");
        Ok(())
    })
}
