//! Requests that are small for what they would cost: each with the answer that Kubernetes has for it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use orlop_e2e::expect;
use orlop_e2e::server::{Answer, Request, Server};
use serde_json::{Value, json};

/// How long one request may take: none takes a tenth of that alone on the machine.
const REQUEST_LIMIT: Duration = Duration::from_secs(45);

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const JSON_PATCH: &str = "application/json-patch+json";
const MERGE_PATCH: &str = "application/merge-patch+json";
const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
const APPLY_PATCH: &str = "application/apply-patch+yaml";

/// One request, and what has to come back: the code, and the message (or the first cause's), with `*` for anything.
struct Case {
    what: &'static str,
    method: &'static str,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
    code: u16,
    message: &'static str,
}

fn case(
    what: &'static str,
    (method, path): (&'static str, impl Into<String>),
    content_type: &'static str,
    body: impl Into<Vec<u8>>,
    (code, message): (u16, &'static str),
) -> Case {
    Case { what, method, path: path.into(), content_type, body: body.into(), code, message }
}

fn said(answer: &Answer) -> String {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let message = text(&answer.json["message"]);
    match &answer.json["details"]["causes"][0]["message"] {
        // Of patches that fail only the cause says why.
        cause if message.starts_with("the server rejected our request") => text(cause),
        _ => message,
    }
}

fn play(server: &Server, it: &Case) -> Result<Answer> {
    let begun = Instant::now();
    let request = Request { content_type: it.content_type, body: &it.body, ..Request::default() };
    let answer = server.request(it.method, &it.path, &request)?;
    let took = begun.elapsed();
    println!("{}: {} in {took:?}", it.what, answer.code);
    let shown: String = answer.text.chars().take(600).collect();
    ensure!(answer.code == it.code, "{}: {} expected, not {}: {shown}", it.what, it.code, answer.code);
    ensure!(took < REQUEST_LIMIT, "{}: it took {took:?}", it.what);
    if it.code >= 400 && !it.message.is_empty() {
        let message = said(&answer);
        ensure!(answer.json["kind"] == "Status" && answer.json["code"] == it.code, "{}: no Status: {shown}", it.what);
        // Of what goes on for megabytes the beginning tells enough.
        let start: String = message.lines().next().unwrap_or_default().chars().take(2_000).collect();
        expect::check(it.message, &start).with_context(|| it.what.to_owned())?;
    }
    Ok(answer)
}

/// Plays all; every one is played, whatever becomes of the others.
///
/// # Errors
/// What differs from what was expected.
pub fn all(server: &Server) -> Result<()> {
    let made = |path: &str, body: Value| -> Result<()> {
        let answer = server.ask("POST", path, &body.to_string())?;
        ensure!(answer.code == 201, "{path}: {answer:?}");
        Ok(())
    };
    made("/api/v1/namespaces/default/serviceaccounts", json!({"metadata": {"name": "default"}}))?;
    made(MAPS, json!({"metadata": {"name": "a"}, "data": {"k": "v"}}))?;
    made(
        PODS,
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i", "env": [{"name": "kept"}]}]}}),
    )?;
    let mut failures = Vec::new();
    for it in [patches(), objects(), texts(), selectors(), schemas()].into_iter().flatten() {
        failures.extend(play(server, &it).err().map(|it| format!("{it:#}")));
    }
    failures.extend(managers_are_capped(server).err().map(|it| format!("{it:#}")));
    failures.extend(patterns_take_linear_time(server).err().map(|it| format!("{it:#}")));
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

/// `{"a":{"a":…1…}}`
fn deep(levels: usize) -> String {
    format!("{}1{}", r#"{"a":"#.repeat(levels), "}".repeat(levels))
}

fn numbered(count: usize, make: impl Fn(usize) -> Value) -> Vec<Value> {
    (0..count).map(make).collect()
}

fn patches() -> Vec<Case> {
    let a = || ("PATCH", format!("{MAPS}/a"));
    let applied = || ("PATCH", format!("{MAPS}/a?fieldManager=hostile"));
    let add = json!({"op": "add", "path": "/data/x", "value": "1"});
    let mut doubling = vec![json!({"op": "add", "path": "/data/x", "value": "y".repeat(1_000)})];
    doubling.extend(numbered(60, |it| json!({"op": "copy", "from": "/data", "path": format!("/data/x{it}")})));
    let long = json!([{"op": "add", "path": "/a".repeat(50_000), "value": 1}]);
    let labels: Value =
        (0..30_000).map(|it| (format!("-k{it}"), Value::from("v v"))).collect::<serde_json::Map<_, _>>().into();
    let annotations: Value =
        (0..100_000).map(|it| (format!("k{it}"), Value::from("v"))).collect::<serde_json::Map<_, _>>().into();
    let variables = numbered(40_000, |it| json!({"name": format!("e{it}")}));
    let ordered = json!({"spec": {"containers": [{"name": "c", "$setElementOrder/env": variables, "env": variables}]}});
    let deleted = numbered(40_000, |it| json!({"name": format!("e{it}"), "$patch": "delete"}));
    let deleted = json!({"spec": {"containers": [{"name": "c", "env": deleted}]}});
    let pod = || ("PATCH", format!("{PODS}/p?dryRun=All"));
    let too_deep = (400, "error decoding patch: *");
    vec![
        case(
            "10,001 operations",
            a(),
            JSON_PATCH,
            json!(vec![add.clone(); 10_001]).to_string(),
            (413, "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"),
        ),
        case("10,000 operations", a(), JSON_PATCH, json!(vec![add; 10_000]).to_string(), (200, "")),
        case(
            "copies that double",
            a(),
            JSON_PATCH,
            json!(doubling).to_string(),
            (
                422,
                "Unable to complete the copy, the accumulated size increase of copy is *, exceeding the limit 3145728",
            ),
        ),
        case("a path of 50,000 steps", a(), JSON_PATCH, long.to_string(), (422, "*")),
        case(
            "a deep value",
            a(),
            JSON_PATCH,
            format!(r#"[{{"op":"add","path":"/data/x","value":{}}}]"#, deep(20_000)),
            too_deep,
        ),
        case("a deep merge", a(), MERGE_PATCH, deep(20_000), too_deep),
        case("a deep strategic merge", a(), STRATEGIC_PATCH, deep(20_000), too_deep),
        case("a deep apply", applied(), APPLY_PATCH, deep(20_000), (400, "error converting YAML to JSON: *")),
        case(
            "30,000 labels, all wrong",
            a(),
            MERGE_PATCH,
            json!({"metadata": {"labels": labels}}).to_string(),
            (422, "ConfigMap \"a\" is invalid: [metadata.labels: Invalid value: \"-k*"),
        ),
        case(
            "annotations without end",
            a(),
            MERGE_PATCH,
            json!({"metadata": {"annotations": annotations}}).to_string(),
            (422, "ConfigMap \"a\" is invalid: metadata.annotations: Too long: may not be more than 262144 bytes"),
        ),
        case(
            "40,000 variables in order",
            pod(),
            STRATEGIC_PATCH,
            ordered.to_string(),
            (422, "Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields other than *"),
        ),
        case("40,000 deletions", pod(), STRATEGIC_PATCH, deleted.to_string(), (200, "")),
        case(
            "an alias bomb that is applied",
            applied(),
            APPLY_PATCH,
            aliases(),
            (400, "error converting YAML to JSON: *"),
        ),
    ]
}

fn objects() -> Vec<Case> {
    let dry = |path: &str| ("POST", format!("{path}?dryRun=All"));
    let pod = |container: Value| json!({"metadata": {"name": "x"}, "spec": {"containers": [container]}}).to_string();
    let variables = json!({"name": "c", "image": "i", "env": numbered(40_000, |it| json!({"name": format!("e{it}")}))});
    let ports = numbered(10_000, |it| json!({"containerPort": 80, "name": format!("p{it}")}));
    let ports = json!({"name": "c", "image": "i", "ports": ports});
    let same =
        json!({"metadata": {"name": "x"}, "spec": {"containers": vec![json!({"name": "c", "image": "i"}); 20_000]}});
    let owners = numbered(
        15_000,
        |it| json!({"apiVersion": "v1", "kind": "A", "name": format!("n{it}"), "uid": format!("u{it}")}),
    );
    let lease = |bytes: usize| {
        json!({"metadata": {"name": format!("l{bytes}")}, "spec": {"holderIdentity": "x".repeat(bytes)}}).to_string()
    };
    let leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    let spaces = vec![b' '; 1 << 20];
    for _ in 0..100 {
        // Writing to memory does not fail.
        let _ = gzip.write_all(&spaces);
    }
    vec![
        case("40,000 variables", dry(PODS), JSON, pod(variables), (201, "")),
        case("10,000 ports that are one", dry(PODS), JSON, pod(ports), (201, "")),
        case(
            "20,000 containers of one name",
            dry(PODS),
            JSON,
            same.to_string(),
            (422, "Pod \"x\" is invalid: *spec.containers[1].name: Duplicate value: \"c\"*"),
        ),
        case(
            "15,000 owners",
            dry(MAPS),
            JSON,
            json!({"metadata": {"name": "x", "ownerReferences": owners}}).to_string(),
            (201, ""),
        ),
        case("an object as large as etcd takes", ("POST", leases), JSON, lease(1_500_000), (201, "")),
        case("an object larger than that", dry(leases), JSON, lease(1_600_000), (201, "")),
        case(
            "a larger one that is stored",
            ("POST", leases),
            JSON,
            lease(1_600_000),
            (413, "etcdserver: request is too large"),
        ),
        case(
            "a gzip bomb",
            ("POST", MAPS),
            JSON,
            gzip.finish().unwrap_or_default(),
            (400, "the object provided is unrecognized (must be of type ConfigMap): *"),
        ),
    ]
}

/// Twelve levels, each nine times the one before.
fn aliases() -> String {
    let mut text = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (before, this) in ('a'..'m').zip('b'..) {
        let _ = writeln!(text, "{this}: &{this} [{}]", vec![format!("*{before}"); 9].join(","));
    }
    text
}

/// A number as protobuf writes it.
fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A body whose object has these bytes, or claims to have so many.
fn message(object: &[u8], claimed: Option<u64>) -> Vec<u8> {
    let mut out = b"k8s\0\x12".to_vec();
    varint(claimed.unwrap_or(object.len() as u64), &mut out);
    out.extend_from_slice(object);
    out
}

fn texts() -> Vec<Case> {
    let post = || ("POST", MAPS);
    let block: String = (1..1_000).fold("metadata: {name: y}\ndata:\n".to_owned(), |mut text, it| {
        let _ = writeln!(text, "{}a:", " ".repeat(it));
        text
    });
    let yaml = |message| (400, message);
    let converting = "error converting YAML to JSON: *";
    let recursive = |field: u8| {
        let mut inner = Vec::new();
        for _ in 0..10_000 {
            let mut outer = vec![field << 3 | 2];
            varint(inner.len() as u64, &mut outer);
            outer.append(&mut inner);
            inner = outer;
        }
        inner
    };
    let unrecognized = (400, "the object provided is unrecognized (must be of type *): *");
    vec![
        case("an alias bomb", post(), YAML, aliases(), yaml(converting)),
        case(
            "deep lists in YAML",
            post(),
            YAML,
            format!("data: {}{}", "[".repeat(50_000), "]".repeat(50_000)),
            yaml(converting),
        ),
        case("deep blocks in YAML", post(), YAML, block, yaml(converting)),
        case("dashes without end", post(), YAML, "- ".repeat(100_000), yaml(converting)),
        case("50,000 documents", post(), YAML, "---\n{}\n".repeat(50_000), yaml(converting)),
        case(
            "deep JSON",
            post(),
            JSON,
            format!(r#"{{"metadata":{{"name":"x"}},"data":{}}}"#, deep(500_000)),
            yaml("*"),
        ),
        case("a length of 2^62", post(), PROTOBUF, message(b"aaaa", Some(1 << 62)), unrecognized),
        case("a number without end", post(), PROTOBUF, [&b"k8s\0\x12"[..], &[0xff; 20]].concat(), unrecognized),
        case("groups", post(), PROTOBUF, message(&[0x0b; 100_000], None), unrecognized),
        case("messages in messages", post(), PROTOBUF, message(&recursive(1), None), unrecognized),
    ]
}

fn selectors() -> Vec<Case> {
    let get = |query: &str| ("GET", format!("{MAPS}?{query}"));
    let inside = |count: usize| {
        let values: Vec<String> = (0..count).map(|it| it.to_string()).collect();
        format!("labelSelector=a%20notin%20({})", values.join(","))
    };
    let many = |term: &str, count: usize| vec![term; count].join(",");
    vec![
        case("ten thousand terms", get(&format!("labelSelector={}", many("a!=b", 10_000))), JSON, "", (200, "")),
        case("ten thousand values", get(&inside(10_000)), JSON, "", (200, "")),
        case(
            "one more",
            get(&inside(10_001)),
            JSON,
            "",
            (400, "unable to parse requirement: the selector must have at most 10000 terms"),
        ),
        case(
            "terms on fields",
            get(&format!("fieldSelector={}", many("metadata.name!=b", 3_700))),
            JSON,
            "",
            (200, ""),
        ),
        case(
            "brackets without end",
            get(&format!("labelSelector=a%20in%20{}", "(".repeat(50_000))),
            JSON,
            "",
            (400, "unable to parse requirement: *"),
        ),
        case(
            "a deletion of what ten thousand values select",
            ("DELETE", format!("{MAPS}?dryRun=All&{}", inside(10_000))),
            JSON,
            "",
            (200, ""),
        ),
    ]
}

/// A definition of the kind of that plural name, with this schema.
fn definition(plural: &str, schema: &str) -> String {
    let kind = plural[..1].to_uppercase() + &plural[1..];
    format!(
        r#"{{"metadata":{{"name":"{plural}.hostile.test"}},"spec":{{"group":"hostile.test","scope":"Namespaced",
        "names":{{"plural":"{plural}","kind":"{kind}"}},"versions":[{{"name":"v1","served":true,"storage":true,"schema":{{"openAPIV3Schema":{schema}}}}}]}}}}"#
    )
}

fn schemas() -> Vec<Case> {
    let post = || ("POST", DEFINITIONS);
    let nested = |levels: usize| {
        format!(
            r#"{}{{"type":"string"}}{}"#,
            r#"{"type":"object","properties":{"a":"#.repeat(levels),
            "}}".repeat(levels)
        )
    };
    let ruled = |rule: &str| {
        json!({"type": "object", "properties": {"a": {"type": "integer"}}, "x-kubernetes-validations": [{"rule": rule}]}).to_string()
    };
    let strings =
        json!({"type": "array", "items": {"type": "array", "items": {"type": "array", "items": {"type": "string"}}}});
    let unbounded = json!({"type": "object", "properties": {"a": strings}, "x-kubernetes-validations": [
        {"rule": "self.a.all(x, x.all(y, y.all(z, z.contains('a'))))"}]});
    let unstructured =
        json!({"type": "object", "properties": {"a": {"properties": {"b": {}}}, "c": {"anyOf": [{"type": "string"}]}}});
    let huge = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "((((a{100}){100}){100}){100}){100}"}}});
    let properties: serde_json::Map<_, _> = (0..20_000).map(|it| (format!("p{it}"), json!({}))).collect();
    let invalid = (422, "CustomResourceDefinition.apiextensions.k8s.io *: Invalid value: *");
    vec![
        case("a schema of 3,000 levels", post(), JSON, definition("deeps", &nested(3_000)), (400, "*")),
        case("as deep as JSON may be", post(), JSON, definition("lesses", &nested(58)), (201, "")),
        case(
            "a schema that is not structural",
            post(),
            JSON,
            definition("loose", &unstructured.to_string()),
            (422, "*properties[a].type: Required value: must not be empty for specified object fields*"),
        ),
        case(
            "20,000 properties without a type",
            post(),
            JSON,
            definition("types", &json!({"type": "object", "properties": properties}).to_string()),
            (422, "*: Required value: must not be empty for specified object fields*"),
        ),
        case(
            "a pattern that would be huge",
            post(),
            JSON,
            definition("huges", &huge.to_string()),
            (422, "*must be a valid regular expression, but isn't: *"),
        ),
        case(
            "a rule without a bound",
            post(),
            JSON,
            definition("rules", &unbounded.to_string()),
            (
                422,
                "*x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x *",
            ),
        ),
        case(
            "a rule of 5,000 brackets",
            post(),
            JSON,
            definition("brackets", &ruled(&format!("{}1{} == 1", "(".repeat(5_000), ")".repeat(5_000)))),
            invalid,
        ),
        case(
            "a rule of 20,000 lists",
            post(),
            JSON,
            definition("lists", &ruled(&format!("{}{} == []", "[".repeat(20_000), "]".repeat(20_000)))),
            invalid,
        ),
        case(
            "a sum of 20,000",
            post(),
            JSON,
            definition("sums", &ruled(&format!("{} == 1", vec!["1"; 20_000].join("+")))),
            invalid,
        ),
    ]
}

/// Entries of many managers are read in linear time, and no more are kept of those that update than Kubernetes keeps.
fn managers_are_capped(server: &Server) -> Result<()> {
    let entry = |it: usize, operation: &str| {
        json!({"manager": format!("m{it}"), "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {format!("f:k{it}"): {}}}})
    };
    let object = |name: &str, entries: Vec<Value>| {
        json!({"metadata": {"name": name, "managedFields": entries}, "data": {"k": "v"}}).to_string()
    };
    let bad = json!({"metadata": {"name": "bad", "managedFields": vec![json!({"operation": "Apply"}); 100_000]}});
    play(server, &case("100,000 managers that are none", ("POST", MAPS), JSON, bad.to_string(), (201, "")))?;
    let updates = object("updates", numbered(15_000, |it| entry(it, "Update")));
    let answer = play(server, &case("15,000 managers that update", ("POST", MAPS), JSON, updates, (201, "")))?;
    let kept = answer.json["metadata"]["managedFields"].as_array().map_or(0, Vec::len);
    ensure!((1..=10).contains(&kept), "{kept} managers are kept");
    let applies = object("applies", numbered(7_000, |it| entry(it, "Apply")));
    play(server, &case("7,000 managers that apply", ("POST", MAPS), JSON, applies, (201, "")))?;
    let applied = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applies"}, "data": {"k": "w", "k1": "x"}});
    let path = format!("{MAPS}/applies?fieldManager=other");
    let conflict = (409, "Apply failed with *conflict*");
    play(server, &case("one more that applies", ("PATCH", path), APPLY_PATCH, applied.to_string(), conflict))?;
    Ok(())
}

/// What takes other engines of regular expressions as many steps as there are ways to fail.
fn patterns_take_linear_time(server: &Server) -> Result<()> {
    let schema = json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}});
    let made = case(
        "a pattern that backtracks",
        ("POST", DEFINITIONS),
        JSON,
        definition("pats", &schema.to_string()),
        (201, ""),
    );
    play(server, &made)?;
    let object = json!({"apiVersion": "hostile.test/v1", "kind": "Pats", "metadata": {"name": "x"}, "a": "a".repeat(200_000) + "b"});
    let path = "/apis/hostile.test/v1/namespaces/default/pats";
    orlop_e2e::wait::until("the kind is served", REQUEST_LIMIT, || {
        let answer = server.ask("GET", path, "")?;
        ensure!(answer.code == 200, "{answer:?}");
        Ok(())
    })?;
    let refused = (422, "Pats.hostile.test \"x\" is invalid: a: Invalid value: \"aaaaaaa*");
    play(server, &case("a text that does not fit it", ("POST", path), JSON, object.to_string(), refused))?;
    Ok(())
}
