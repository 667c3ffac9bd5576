//! What every cluster begins with: namespaces, the bootstrap policy, and the `kubernetes` Service with this server's address.
//!
//! In: a client of this server, bound in process, and where the server is reached. Out: the objects are there. One list a kind tells what is
//! missing; what is missing is created at once and together, so that the store commits it as a group. At later starts a role or
//! binding that has lost rules or subjects of the policy gets them back, unless its annotation
//! `rbac.authorization.kubernetes.io/autoupdate` says `false`. Everything goes through the same door as a user's request, so each kind's
//! defaults and rules hold. What to do is decided by plain functions of what stands ([`mended`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::{Method, Request};
use orlop_api::ranges::Ranges;
use orlop_client::clock;
use orlop_manifests::builtin;
use serde_json::{Value, json};

/// How many writes are under way at once: enough that the embedded store commits them in a few groups, few enough that the rest of the
/// start gets its turn.
const AT_ONCE: usize = 64;

/// After how long a server that shares its store looks again, each time. Another writes what it has begun within milliseconds.
const AGAIN_AFTER: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(3)];

/// Says that a start may mend the object.
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

/// Where the address of the cluster's DNS is in the services' range.
const DNS_OFFSET: u32 = 10;

/// The port of the `kubernetes` Service.
const SERVICE_PORT: u16 = 443;

/// Why the cluster's first objects are not there.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("a built-in manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    #[error("{method} {path}: {source}")]
    Write {
        method: Method,
        path: String,
        #[source]
        source: kube::Error,
    },
}

/// Where the cluster reaches this server.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    /// The `kubernetes` Service's address.
    pub service: IpAddr,
    /// What services get their addresses out of.
    pub services: Ranges,
    /// The server's own address and port, if it listens where others can reach it.
    pub endpoint: Option<(IpAddr, u16)>,
    /// Whether other servers stand behind the Service, too: then all of them together say who does ([`stand`]).
    pub shared: bool,
}

impl Reach {
    /// The endpoint of a server that listens on `address`: the advertised address, or the one it listens on, or, if it listens on all, the
    /// one from which this machine reaches others. An address of this machine only is no endpoint.
    pub fn endpoint(address: std::net::SocketAddr, advertised: Option<IpAddr>) -> Option<(IpAddr, u16)> {
        let ip = match advertised {
            Some(ip) => ip,
            None if address.ip().is_unspecified() => outgoing_address(address.is_ipv6())?,
            None => address.ip(),
        };
        (!ip.is_loopback() && !ip.is_unspecified()).then_some((ip, address.port()))
    }
}

/// The address this machine would send from; `v6` prefers one of IPv6. Connecting a datagram socket chooses a route and sends nothing; 192.0.2.1 and
/// 2001:db8::1 are nobody's (RFC 5737, RFC 3849).
fn outgoing_address(v6: bool) -> Option<IpAddr> {
    let towards = |own: IpAddr, other: IpAddr| {
        let socket = UdpSocket::bind((own, 0)).ok()?;
        socket.connect((other, 9)).ok()?;
        socket.local_addr().ok().map(|it| it.ip()).filter(|it| !it.is_unspecified())
    };
    let newer = || towards(Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into());
    let older = || towards(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into());
    if v6 { newer().or_else(older) } else { older() }
}

/// Makes what is missing, and mends what has lost something. Servers that share a store may do so at the same moment: where one meets what another has half
/// done, an address that is claimed for a Service that is not there yet, it begins anew.
///
/// # Errors
/// [`BootstrapError`] at the first write that fails; what was done stays, and a second call does the rest.
pub async fn run(client: &kube::Client, reach: &Reach) -> Result<(), BootstrapError> {
    for pause in AGAIN_AFTER.iter().filter(|_| reach.shared) {
        match once(client, reach, false).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::info!(%error, "the cluster's first objects are not all there; looking again"),
        }
        tokio::time::sleep(*pause).await;
    }
    once(client, reach, true).await
}

/// `last` says that an address which somebody else has is let go.
async fn once(client: &kube::Client, reach: &Reach, last: bool) -> Result<(), BootstrapError> {
    let (namespaces, rest): (Vec<Value>, Vec<Value>) =
        builtin::objects()?.into_iter().partition(|it| it["kind"] == "Namespace");
    // Namespaces first: what lives in them is refused before they are there.
    ensure(client, namespaces).await?;
    ensure(client, rest.into_iter().chain(endpoints(reach)).chain([range(reach), tracking()]).collect()).await?;
    match ensure(client, dns(reach).into_iter().collect()).await {
        // In a cluster that is older than this Service something else may have its address: it stays with who has it.
        Err(BootstrapError::Write { source: kube::Error::Api(status), .. }) if status.code == 422 && last => {
            tracing::warn!(status.message, "there is no Service for the cluster's DNS");
            Ok(())
        }
        outcome => outcome,
    }
}

/// Puts these servers behind the `kubernetes` Service; all listen on this one's port.
///
/// # Errors
/// [`BootstrapError`] where it cannot be written; another server may have been faster, and then nothing is.
pub async fn stand(client: &kube::Client, reach: &Reach, addresses: &BTreeSet<IpAddr>) -> Result<(), BootstrapError> {
    let Some((_, port)) = reach.endpoint else { return Ok(()) };
    ensure(client, standing(addresses, port)).await
}

/// The `kubernetes` Service, and this server behind it if it is the only one.
fn endpoints(reach: &Reach) -> Vec<Value> {
    let port = reach.endpoint.map_or(6443, |it| it.1);
    let service = json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": reach.service, "clusterIPs": [reach.service], "sessionAffinity": "None",
            "ports": [{"name": "https", "port": SERVICE_PORT, "protocol": "TCP", "targetPort": port}],
        },
    });
    let alone = reach.endpoint.filter(|_| !reach.shared);
    [service]
        .into_iter()
        .chain(alone.into_iter().flat_map(|(ip, port)| standing(&BTreeSet::from([ip]), port)))
        .collect()
}

/// What stands behind the Service.
fn standing(addresses: &BTreeSet<IpAddr>, port: u16) -> Vec<Value> {
    let in_subset: Vec<Value> = addresses.iter().map(|ip| json!({"ip": ip})).collect();
    let in_slice: Vec<Value> =
        addresses.iter().map(|ip| json!({"addresses": [ip], "conditions": {"ready": true}})).collect();
    let family = if addresses.iter().all(IpAddr::is_ipv4) { "IPv4" } else { "IPv6" };
    let endpoints = json!({
        "apiVersion": "v1", "kind": "Endpoints",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": in_subset, "ports": [{"name": "https", "port": port, "protocol": "TCP"}]}],
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
        "addressType": family,
        "endpoints": in_slice,
        "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
    });
    vec![endpoints, slice]
}

/// The Service by whose address pods know the cluster's DNS, as installers of Kubernetes make it: the tenth of the range. The nodes answer
/// there themselves; the selector lets another server, brought as a Deployment, stand behind it.
fn dns(reach: &Reach) -> Option<Value> {
    let address = reach.services.nth(DNS_OFFSET);
    // A range that small has no tenth address for it.
    if !reach.services.primary().contains(&address) || reach.services.primary().broadcast() == address {
        return None;
    }
    let port = |name: &str, protocol: &str| json!({"name": name, "port": 53, "targetPort": 53, "protocol": protocol});
    Some(json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {
            "k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
        "spec": {
            "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "sessionAffinity": "None",
            "selector": {"k8s-app": "kube-dns"}, "ports": [port("dns", "UDP"), port("dns-tcp", "TCP")],
        },
    }))
}

/// The ServiceCIDR `kubernetes`, ready. Source: `pkg/controlplane/controller/defaultservicecidr`.
fn range(reach: &Reach) -> Value {
    let ready = json!({
        "type": "Ready", "status": "True", "reason": "", "message": "Kubernetes default Service CIDR is ready",
        "lastTransitionTime": clock::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
    });
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": reach.services.iter().map(|it| it.to_string()).collect::<Vec<_>>()}, "status": {"conditions": [ready]},
    })
}

/// Since when the labels of Secrets tell which tokens were used. Source: `pkg/controlplane/controller/legacytokentracking`.
fn tracking() -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {"since": clock::now().strftime("%Y-%m-%d").to_string()},
    })
}

/// Where objects of a kind are listed and created.
fn collection(object: &Value) -> String {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let base = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let plural = match object["kind"].as_str().unwrap_or_default() {
        "Endpoints" => "endpoints".to_owned(),
        "StorageClass" => "storageclasses".to_owned(),
        kind => format!("{}s", kind.to_lowercase()),
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{base}/namespaces/{namespace}/{plural}"),
        None => format!("{base}/{plural}"),
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    method: Method,
    path: String,
    body: Value,
}

/// Writes that follow each other.
type Steps = Vec<Step>;

async fn ensure(client: &kube::Client, wanted: Vec<Value>) -> Result<(), BootstrapError> {
    let mut by_collection: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for object in wanted {
        by_collection.entry(collection(&object)).or_default().push(object);
    }
    let steps: Vec<Vec<Steps>> = stream::iter(by_collection)
        .map(|(path, wanted)| async move {
            let list = send(client, &Step { method: Method::GET, path: path.clone(), body: Value::Null }).await?;
            Ok::<_, BootstrapError>(steps(&path, wanted, &list))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    stream::iter(steps.into_iter().flatten().map(Ok))
        .try_for_each_concurrent(AT_ONCE, |steps| async move {
            for step in steps {
                match send(client, &step).await {
                    // Another server was faster with the same.
                    Err(BootstrapError::Write { source: kube::Error::Api(status), .. })
                        if (status.code == 409 && step.method != Method::DELETE)
                            || (status.code == 404 && step.method == Method::DELETE) => {}
                    outcome => drop(outcome?),
                }
            }
            Ok(())
        })
        .await
}

async fn send(client: &kube::Client, step: &Step) -> Result<Value, BootstrapError> {
    let failed =
        |source: kube::Error| BootstrapError::Write { method: step.method.clone(), path: step.path.clone(), source };
    let body = if step.body.is_null() { Vec::new() } else { step.body.to_string().into_bytes() };
    let request = Request::builder().method(step.method.clone()).uri(&step.path);
    let request = request.header(http::header::CONTENT_TYPE, "application/json").body(body);
    let request = request.map_err(|error| failed(kube::Error::HttpError(error)))?;
    client.request::<Value>(request).await.map_err(failed)
}

/// What must be written so that the wanted objects of one collection are there.
fn steps(path: &str, wanted: Vec<Value>, list: &Value) -> Vec<Steps> {
    let items = list["items"].as_array();
    let standing: HashMap<&str, &Value> = items.into_iter().flatten().map(|it| (name(it), it)).collect();
    let step = |method, path: String, body| Step { method, path, body };
    wanted
        .into_iter()
        .filter_map(|wanted| match standing.get(name(&wanted)) {
            None => Some(vec![step(Method::POST, path.to_owned(), wanted)]),
            // The role of a binding cannot change: it is made anew.
            Some(stands)
                if wanted["roleRef"].is_object()
                    && !is_left_alone(stands)
                    && stands["roleRef"] != wanted["roleRef"] =>
            {
                let this = json!({"preconditions": {"uid": stands["metadata"]["uid"]}});
                let deletion = step(Method::DELETE, format!("{path}/{}", name(&wanted)), this);
                Some(vec![deletion, step(Method::POST, path.to_owned(), wanted)])
            }
            Some(stands) => {
                mended(stands, &wanted).map(|it| vec![step(Method::PUT, format!("{path}/{}", name(&wanted)), it)])
            }
        })
        .collect()
}

/// Whether an object says that no start may mend it.
fn is_left_alone(stands: &Value) -> bool {
    stands["metadata"]["annotations"][AUTO_UPDATE] == "false"
}

/// What stands, with what it has lost of the wanted; none if nothing is to be done. What was added to it is left alone.
pub fn mended(stands: &Value, wanted: &Value) -> Option<Value> {
    let mut out = stands.clone();
    // The items of a list have no kind of their own.
    for field in ["apiVersion", "kind"] {
        out[field] = wanted[field].clone();
    }
    let before = out.clone();
    match wanted["kind"].as_str()? {
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => {
            if is_left_alone(stands) {
                return None;
            }
            for field in ["labels", "annotations"] {
                for (key, value) in wanted["metadata"][field].as_object().into_iter().flatten() {
                    out["metadata"][field][key] = value.clone();
                }
            }
            for field in ["rules", "subjects"] {
                // What an aggregated role holds is for its controller to say.
                if field == "rules" && wanted["aggregationRule"].is_object() {
                    continue;
                }
                let missing: Vec<Value> = wanted[field]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|it| !stands[field].as_array().is_some_and(|them| them.iter().any(|that| same(that, it))))
                    .cloned()
                    .collect();
                if !missing.is_empty() {
                    let mut all = stands[field].as_array().cloned().unwrap_or_default();
                    all.extend(missing);
                    out[field] = all.into();
                }
            }
        }
        "Endpoints" => out["subsets"] = wanted["subsets"].clone(),
        "EndpointSlice" => {
            out["endpoints"] = wanted["endpoints"].clone();
            out["ports"] = wanted["ports"].clone();
        }
        "Service" if name(wanted) == "kubernetes" => {
            let port = wanted["spec"]["ports"][0]["targetPort"].clone();
            if let Some(ports) = out["spec"]["ports"].as_array_mut()
                && let Some(first) = ports.first_mut()
            {
                first["targetPort"] = port;
            }
        }
        "ConfigMap" => {
            let since = stands["data"]["since"].as_str().unwrap_or_default();
            if since.parse::<jiff::civil::Date>().is_err() {
                out["data"] = wanted["data"].clone();
            }
        }
        // The cluster got a second family.
        "ServiceCIDR" if is_first_of(&stands["spec"]["cidrs"], &wanted["spec"]["cidrs"]) => {
            out["spec"] = wanted["spec"].clone();
        }
        // Whoever called it otherwise, or lets it go, has reasons that this server does not know.
        "ServiceCIDR" if stands["spec"] == wanted["spec"] && stands["metadata"]["deletionTimestamp"].is_null() => {
            let known =
                stands["status"]["conditions"].as_array().is_some_and(|it| it.iter().any(|it| it["type"] == "Ready"));
            if !known {
                out["status"] = wanted["status"].clone();
            }
        }
        _ => return None,
    }
    (out != before).then_some(out)
}

/// Whether one list has one element, and the other that one and a second.
fn is_first_of(one: &Value, two: &Value) -> bool {
    let (one, two) = (one.as_array().map(Vec::as_slice), two.as_array().map(Vec::as_slice));
    matches!((one, two), (Some([it]), Some([first, _])) if it == first)
}

/// Whether a rule or subject says all that is wanted; defaults may have been filled in.
fn same(stands: &Value, wanted: &Value) -> bool {
    wanted.as_object().is_some_and(|wanted| wanted.iter().all(|(field, value)| stands[field] == *value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn creates_what_is_missing_and_mends_what_has_lost_rules() {
        let role = |rules: Value, auto: &str| {
            json!({"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole",
                "metadata":{"name":"view","annotations":{AUTO_UPDATE: auto}},"rules":rules})
        };
        let (pods, nodes) =
            (json!({"resources":["pods"],"verbs":["get"]}), json!({"resources":["nodes"],"verbs":["get"]}));
        let wanted = role(json!([pods, nodes]), "true");
        let check = |standing: Value, expected: Option<(Method, Value)>| {
            let list = json!({ "items": standing });
            let got = steps("/x", vec![wanted.clone()], &list);
            let got = got.first().map(|it| (it[0].method.clone(), it[0].body["rules"].clone()));
            assert_eq!(got, expected);
        };
        check(json!([]), Some((Method::POST, json!([pods, nodes]))));
        check(json!([wanted]), None);
        let added = json!({"resources":["jobs"],"verbs":["get"]});
        check(json!([role(json!([added, nodes]), "true")]), Some((Method::PUT, json!([added, nodes, pods]))));
        check(json!([role(json!([]), "false")]), None);
    }

    #[test]
    fn a_binding_to_another_role_is_made_anew() {
        let binding = |role: &str, auto: &str| {
            json!({"kind": "ClusterRoleBinding", "metadata": {"name": "a", "uid": "u", "annotations": {AUTO_UPDATE: auto}},
                "roleRef": {"kind": "ClusterRole", "name": role}})
        };
        let check = |stands: Value, expected: &[Method]| {
            let got = steps("/x", vec![binding("view", "true")], &json!({ "items": [stands] }));
            assert_eq!(got.concat().into_iter().map(|it| it.method).collect::<Vec<_>>(), expected);
        };
        check(binding("view", "true"), &[]);
        check(binding("edit", "true"), &[Method::DELETE, Method::POST]);
        check(binding("edit", "false"), &[]);
    }

    #[test]
    fn every_built_in_object_has_its_place() {
        let reach = Reach { endpoint: Some(("192.0.2.1".parse().unwrap(), 6443)), ..reach(6443) };
        for object in builtin::objects()
            .unwrap()
            .iter()
            .chain(&endpoints(&reach))
            .chain(&dns(&reach))
            .chain([&range(&reach), &tracking()])
        {
            let path = collection(object);
            let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            let (group, version) = if parts[0] == "api" { ("", parts[1]) } else { (parts[1], parts[2]) };
            let kind =
                crate::registry::find(group, version, parts[parts.len() - 1]).unwrap_or_else(|| panic!("{path}"));
            assert_eq!(kind.kind, object["kind"]);
            assert_eq!(kind.namespaced(), object["metadata"]["namespace"].is_string(), "{path}");
        }
    }

    fn reach(port: u16) -> Reach {
        let endpoint = Some(("192.0.2.5".parse().unwrap(), port));
        Reach {
            service: Ipv4Addr::new(10, 96, 0, 1).into(),
            services: "10.96.0.0/12".parse().unwrap(),
            endpoint,
            shared: false,
        }
    }

    #[test]
    fn the_range_of_services_is_told_once() {
        let wanted = range(&reach(6443));
        assert_eq!(wanted["spec"]["cidrs"], json!(["10.96.0.0/12"]));
        let mut stands = wanted.clone();
        assert_eq!(mended(&stands, &wanted), None);
        stands["status"] = json!({});
        assert_eq!(mended(&stands, &wanted).unwrap()["status"]["conditions"][0]["status"], "True");
        stands["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(mended(&stands, &wanted), None);
        stands = wanted.clone();
        stands["spec"]["cidrs"] = json!(["10.0.0.0/8"]);
        stands["status"] = json!({});
        assert_eq!(mended(&stands, &wanted), None, "another range is not this server's to call ready");
        let dual = range(&Reach { services: "10.96.0.0/12,fd00:10:96::/112".parse().unwrap(), ..reach(6443) });
        assert_eq!(mended(&wanted, &dual).unwrap()["spec"]["cidrs"], json!(["10.96.0.0/12", "fd00:10:96::/112"]));
        assert_eq!(mended(&dual, &wanted), None, "a family is not taken away");

        let mut stands = tracking();
        stands["data"]["since"] = "2020-02-02".into();
        assert_eq!(mended(&stands, &tracking()), None);
        stands["data"]["since"] = "long ago".into();
        assert_eq!(mended(&stands, &tracking()).unwrap()["data"], tracking()["data"]);
    }

    #[test]
    fn endpoints_follow_the_address() {
        let at = |address: &str| Reach::endpoint(address.parse().unwrap(), None);
        assert_eq!(at("127.0.0.1:6443"), None);
        assert_eq!(at("192.0.2.9:7443"), Some(("192.0.2.9".parse().unwrap(), 7443)));
        let advertised = "192.0.2.5".parse().unwrap();
        assert_eq!(Reach::endpoint("0.0.0.0:6443".parse().unwrap(), Some(advertised)), Some((advertised, 6443)));
        let (old, new) = (endpoints(&reach(6443)), endpoints(&reach(7443)));
        for (old, new) in old.iter().zip(&new) {
            assert!(mended(old, new).is_some() && mended(new, new).is_none());
        }
    }

    #[test]
    fn several_servers_stand_behind_the_service_together() {
        let alone = reach(6443);
        assert_eq!(endpoints(&alone).len(), 3);
        assert_eq!(endpoints(&Reach { shared: true, ..alone }).len(), 1, "who stands there is for all of them to say");
        let both = BTreeSet::from(["192.0.2.5".parse().unwrap(), "192.0.2.4".parse().unwrap()]);
        let [endpoints, slice] = &standing(&both, 6443)[..] else { panic!("there are two objects") };
        assert_eq!(endpoints["subsets"][0]["addresses"], json!([{"ip": "192.0.2.4"}, {"ip": "192.0.2.5"}]));
        assert_eq!(slice["endpoints"][1]["addresses"], json!(["192.0.2.5"]));
    }
}
