//! Questions and answers about one small world, at the level of names and of messages.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use super::message::{Question, Unasked};
use super::zone::{Answer, Data, World};
use crate::services::view::Known;

fn world() -> Known {
    let known = Known::new();
    let services = [
        json!({ "metadata": { "namespace": "shop", "name": "web" }, "spec": {
            "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7", "fd00::7"],
            "ports": [{ "name": "http", "port": 80 }, { "name": "dns", "port": 53, "protocol": "UDP" }] } }),
        json!({ "metadata": { "namespace": "shop", "name": "db" }, "spec": {
            "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] } }),
        json!({ "metadata": { "namespace": "shop", "name": "all" }, "spec": {
            "clusterIP": "None", "publishNotReadyAddresses": true, "ports": [{ "name": "sql", "port": 5432 }] } }),
        json!({ "metadata": { "namespace": "shop", "name": "empty" }, "spec": {
            "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] } }),
        json!({ "metadata": { "namespace": "shop", "name": "out" }, "spec": {
            "type": "ExternalName", "externalName": "WWW.Example.org." } }),
    ];
    known.services.replace(services.into_iter().map(|it| serde_json::from_value(it).unwrap()).collect(), "1");
    let slice = |name: &str, service: &str, endpoints: Value| {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": name, "labels": { "kubernetes.io/service-name": service } },
            "addressType": "IPv4", "ports": [{ "name": "sql", "port": 5433, "protocol": "TCP" }], "endpoints": endpoints,
        }))
        .unwrap()
    };
    let endpoints = json!([
        { "addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": { "ready": true } },
        { "addresses": ["10.244.0.6"], "hostname": "db-1", "conditions": { "ready": false } },
        { "addresses": ["10.244.0.7"], "conditions": {} },
    ]);
    known.slices.replace(vec![slice("1", "db", endpoints.clone()), slice("2", "all", endpoints)], "1");
    known.nodes.replace(Vec::new(), "1");
    known
}

fn answer(name: &str, kind: RecordType) -> String {
    let known = world();
    let world = World { domain: "cluster.local", server: "10.96.0.10".parse().unwrap(), known: &known };
    let data = |it: &Data| match it {
        Data::Address(it) => it.to_string(),
        Data::Service(port, target) => format!("{port} {target}"),
        Data::Pointer(it) | Data::Text(it) | Data::Server(it) => it.clone(),
        Data::Authority => "authority".to_owned(),
    };
    match world.answer(name, kind) {
        Answer::Found(records, more) => {
            let all = records.iter().map(data).chain(more.iter().map(|(name, it)| format!("+{name} {it}")));
            all.collect::<Vec<_>>().join(", ")
        }
        Answer::Alias(it) => format!("alias {it}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn names_mean_what_the_specification_says() {
    use RecordType::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
    let check = |name: &str, kind, expected: &str| assert_eq!(answer(name, kind), expected, "{name} {kind}");
    check("web.shop.svc.cluster.local", A, "10.96.0.7");
    check("WEB.Shop.svc.Cluster.local", A, "10.96.0.7");
    check("web.shop.svc.cluster.local", AAAA, "fd00::7");
    check("web.shop.svc.cluster.local", TXT, "NoData");
    check("db.shop.svc.cluster.local", A, "10.244.0.5, 10.244.0.7");
    check("db.shop.svc.cluster.local", AAAA, "NoData");
    check("all.shop.svc.cluster.local", A, "10.244.0.5, 10.244.0.6, 10.244.0.7");
    check("empty.shop.svc.cluster.local", A, "NoData");
    check("none.shop.svc.cluster.local", A, "NoSuchName");
    check("shop.svc.cluster.local", A, "NoData");
    check("none.svc.cluster.local", A, "NoSuchName");
    check("svc.cluster.local", A, "NoData");
    check("cluster.local", A, "NoData");
    check("nothing.cluster.local", A, "NoSuchName");
    check("notcluster.local", A, "Elsewhere");
    check("example.org", A, "Elsewhere");
    check("", A, "Elsewhere");
    // Endpoints.
    check("db-0.db.shop.svc.cluster.local", A, "10.244.0.5");
    check("DB-0.db.shop.svc.cluster.local", AAAA, "NoData");
    check("db-1.db.shop.svc.cluster.local", A, "NoSuchName");
    check("db-1.all.shop.svc.cluster.local", A, "10.244.0.6");
    check("10-244-0-7.db.shop.svc.cluster.local", A, "10.244.0.7");
    check("10-244-0-5.db.shop.svc.cluster.local", A, "NoSuchName");
    check("a.db-0.db.shop.svc.cluster.local", A, "NoSuchName");
    // Ports.
    let web = "+web.shop.svc.cluster.local 10.96.0.7, +web.shop.svc.cluster.local fd00::7";
    check("_http._tcp.web.shop.svc.cluster.local", SRV, &format!("80 web.shop.svc.cluster.local, {web}"));
    check("_http._tcp.web.shop.svc.cluster.local", A, "NoData");
    check("_http._udp.web.shop.svc.cluster.local", SRV, "NoSuchName");
    check("_tcp.web.shop.svc.cluster.local", SRV, "NoData");
    check("_sctp.web.shop.svc.cluster.local", SRV, "NoSuchName");
    let both = "80 web.shop.svc.cluster.local, 53 web.shop.svc.cluster.local";
    check("web.shop.svc.cluster.local", SRV, &format!("{both}, {web}"));
    check(
        "_sql._tcp.db.shop.svc.cluster.local",
        SRV,
        "5433 10-244-0-7.db.shop.svc.cluster.local, 5433 db-0.db.shop.svc.cluster.local, \
         +10-244-0-7.db.shop.svc.cluster.local 10.244.0.7, +db-0.db.shop.svc.cluster.local 10.244.0.5",
    );
    check("_sql._tcp.empty.shop.svc.cluster.local", SRV, "NoData");
    // Pods.
    check("10-244-0-9.shop.pod.cluster.local", A, "10.244.0.9");
    check("10-244-0-9.shop.pod.cluster.local", AAAA, "NoData");
    check("fd01--9.shop.pod.cluster.local", AAAA, "fd01::9");
    check("web.shop.pod.cluster.local", A, "NoSuchName");
    check("shop.pod.cluster.local", A, "NoData");
    // Backwards.
    check("7.0.96.10.in-addr.arpa", PTR, "web.shop.svc.cluster.local");
    check("7.0.96.10.in-addr.arpa", A, "NoData");
    check("5.0.244.10.in-addr.arpa", PTR, "db-0.all.shop.svc.cluster.local, db-0.db.shop.svc.cluster.local");
    check("9.9.9.9.in-addr.arpa", PTR, "Elsewhere");
    check("9.9.in-addr.arpa", PTR, "Elsewhere");
    let digits = "7.0.0.0.".to_owned() + &"0.".repeat(24) + "0.0.d.f";
    check(&format!("{digits}.ip6.arpa"), PTR, "web.shop.svc.cluster.local");
    // The rest.
    check("out.shop.svc.cluster.local", A, "alias www.example.org");
    check("out.shop.svc.cluster.local", CNAME, "alias www.example.org");
    check("x.out.shop.svc.cluster.local", A, "NoSuchName");
    check("dns-version.cluster.local", TXT, "1.1.0");
    check("dns-version.cluster.local", A, "NoData");
    check("cluster.local", SOA, "authority");
    check("cluster.local", NS, "ns.dns.cluster.local");
    check("ns.dns.cluster.local", A, "10.96.0.10");
}

fn ask(edit: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii("Web.shop.svc.cluster.local.").unwrap(), RecordType::A));
    edit(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn messages_are_read_and_written() {
    let found = |count: u8| Answer::Found((1..=count).map(|it| Data::Address([10, 0, 0, it].into())).collect(), vec![]);
    let answered = |bytes: &[u8], tcp, answer: &Answer| {
        let question = Question::read(bytes, tcp).unwrap();
        let bytes = question.answered("cluster.local", answer, 1);
        (Message::from_vec(&bytes).unwrap(), bytes.len())
    };
    let (it, _) = answered(&ask(|_| ()), false, &found(3));
    assert!(it.metadata.authoritative && it.metadata.recursion_available && it.metadata.recursion_desired);
    assert_eq!((it.metadata.id, it.answers.len(), it.answers[0].ttl, it.edns), (77, 3, 5, None));
    assert_eq!(it.queries[0].name().to_ascii(), "Web.shop.svc.cluster.local.", "as it was asked");
    assert_eq!(it.answers[0].data.ip_addr(), Some(IpAddr::from([10, 0, 0, 2])), "in turn");
    let (it, _) = answered(&ask(|_| ()), false, &Answer::NoSuchName);
    assert_eq!(
        (it.metadata.response_code, it.authorities.len(), it.authorities[0].ttl),
        (ResponseCode::NXDomain, 1, 5)
    );
    let (it, _) = answered(&ask(|_| ()), false, &Answer::NoData);
    assert_eq!((it.metadata.response_code, it.authorities.len(), it.answers.len()), (ResponseCode::NoError, 1, 0));
    // Sizes.
    let (it, bytes) = answered(&ask(|_| ()), false, &found(100));
    assert!(it.metadata.truncation && it.answers.is_empty() && bytes <= 512);
    let (it, bytes) = answered(&ask(|_| ()), true, &found(100));
    assert!(!it.metadata.truncation && it.answers.len() == 100 && bytes > 512);
    let large = ask(|it| {
        it.set_edns(Edns::new());
        if let Some(edns) = &mut it.edns {
            edns.set_max_payload(4096);
        }
    });
    let (it, bytes) = answered(&large, false, &found(60));
    assert!(!it.metadata.truncation && it.answers.len() == 60 && it.edns.is_some() && bytes > 512);
    assert!(answered(&large, false, &found(200)).0.metadata.truncation, "more than passes everywhere");
}

#[test]
fn what_is_no_question_is_told_so_or_ignored() {
    let code = |bytes: &[u8]| match Question::read(bytes, false) {
        Ok(_) => "a question".to_owned(),
        Err(Unasked::Silence) => "silence".to_owned(),
        Err(Unasked::Answer(it)) => format!("{:?}", Message::from_vec(&it).unwrap().metadata.response_code),
    };
    assert_eq!(code(&ask(|_| ())), "a question");
    assert_eq!(code(&ask(|it| it.metadata.message_type = MessageType::Response)), "silence");
    assert_eq!(code(b"short"), "silence");
    assert_eq!(code(&ask(|it| it.metadata.op_code = OpCode::Update)), "NotImp");
    assert_eq!(code(&ask(|it| it.queries.clear())), "FormErr");
    let whole = ask(|_| ());
    assert_eq!(code(&whole[..whole.len() - 3]), "FormErr");
    for cut in 0..whole.len() {
        let _ = code(&whole[..cut]);
    }
}
