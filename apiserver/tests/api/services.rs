//! Addresses and ports that services give up are free at once, as are those of changes that come to nothing.

use serde_json::{Value, json};

use crate::support::Cluster;

const SERVICES: &str = "/api/v1/namespaces/default/services";

fn service(name: &str, spec: &Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": spec })
}

/// A cluster with a Service of type NodePort, and that.
async fn with_one() -> (Cluster, Value) {
    let cluster = Cluster::start().await;
    let ports =
        json!([{ "name": "a", "port": 80, "nodePort": 30_080 }, { "name": "b", "port": 81, "nodePort": 30_081 }]);
    let made = cluster.post(SERVICES, &service("a", &json!({ "type": "NodePort", "ports": ports }))).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.json);
    (cluster, made.json)
}

/// The code that another service with this address and port is answered.
async fn taken_by_another(cluster: &Cluster, address: Option<&str>, port: u16) -> u16 {
    let ports = json!([{ "port": 80, "nodePort": port }]);
    let spec = json!({ "type": "NodePort", "clusterIP": address, "ports": ports });
    let made = cluster.post(SERVICES, &service("heir", &spec)).await;
    if made.code.is_success() {
        cluster.delete(&format!("{SERVICES}/heir"), None).await;
    }
    made.code.as_u16()
}

#[tokio::test]
async fn what_a_service_gives_up_is_free_at_once() {
    let (cluster, mut it) = with_one().await;
    let address = it["spec"]["clusterIP"].as_str().unwrap().to_owned();
    let path = format!("{SERVICES}/a");
    assert_eq!(taken_by_another(&cluster, None, 30_081).await, 422, "it is not, while the service has it");
    it["spec"]["ports"].as_array_mut().unwrap().pop();
    let mut it = cluster.put(&path, &it).await.json;
    assert_eq!(taken_by_another(&cluster, None, 30_081).await, 201, "a port less");
    assert_eq!(taken_by_another(&cluster, None, 30_080).await, 422, "the other is kept");
    it["spec"]["ports"][0]["nodePort"] = json!(30_082);
    let mut it = cluster.put(&path, &it).await.json;
    assert_eq!(taken_by_another(&cluster, None, 30_080).await, 201, "another port");
    assert_eq!(taken_by_another(&cluster, Some(&address), 30_083).await, 422, "the address is kept");
    it["spec"]["type"] = json!("ExternalName");
    it["spec"]["externalName"] = json!("elsewhere.example");
    let it = cluster.put(&path, &it).await;
    assert_eq!((it.code.as_u16(), &it.json["spec"]["clusterIP"]), (200, &Value::Null), "{}", it.json);
    assert_eq!(taken_by_another(&cluster, Some(&address), 30_082).await, 201, "a name has neither");
}

#[tokio::test]
async fn a_change_that_is_refused_takes_nothing() {
    let (cluster, mut it) = with_one().await;
    it["spec"]["ports"][0]["nodePort"] = json!(30_090);
    it["spec"]["sessionAffinity"] = json!("Nobody");
    let refused = cluster.put(&format!("{SERVICES}/a"), &it).await;
    assert_eq!(refused.code.as_u16(), 422, "{}", refused.json);
    it["spec"]["sessionAffinity"] = json!("None");
    it["metadata"]["resourceVersion"] = json!("1");
    let refused = cluster.put(&format!("{SERVICES}/a"), &it).await;
    assert_eq!(refused.code.as_u16(), 409, "{}", refused.json);
    assert_eq!(taken_by_another(&cluster, None, 30_090).await, 201, "nobody has it");
    assert_eq!(taken_by_another(&cluster, None, 30_080).await, 422, "what it had is its own");
}
