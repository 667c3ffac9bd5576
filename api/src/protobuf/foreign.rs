//! Our messages held against a second implementation: the types of `k8s-pb`, which prost has made from Kubernetes' `.proto` files.
//!
//! Every built-in kind, with every field set that its schema has, goes through our writer and is read by theirs; each value has to stand in the
//! field of the same name. What they write of it is byte for byte what we wrote, and we read it as what it was. Fields that one side has and the
//! other has not are found, too. So are lists, and the frames of a watch.

mod filled;
mod tree;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use k8s_pb::api::core::v1::{ConfigMap, ConfigMapList};
use k8s_pb::apimachinery::pkg::apis::meta::v1::{Status, WatchEvent};
use k8s_pb::apimachinery::pkg::runtime::{TypeMeta, Unknown};
use prost::Message as _;
use serde_json::{Map, Value, json};

use super::*;
use crate::kinds::KINDS;
use crate::openapi::schema;
use crate::review::REVIEWS;
use crate::table::ListMeta;
use filled::{Filled, Leaf, Token, Truths};
use tree::Tree;

/// Of subresources, and answered for no kind of their own.
const BESIDE: &[(&str, &str)] = &[
    ("authentication.k8s.io/v1", "TokenRequest"),
    ("autoscaling/v1", "Scale"),
    ("policy/v1", "Eviction"),
    ("v1", "Binding"),
];

/// So many bits tell the truths of one message apart.
const TRUTH_BITS: u32 = 8;

/// The other halves of what is one thing or another: they have a test of their own. But for these, every field that k8s-pb has is one of ours.
const OTHER_HALVES: &[&str] = &["JsonSchemaPropsOrArray.schema", "JsonSchemaPropsOrStringArray.property"];

/// The message in the envelope of a body.
fn inside(body: &[u8]) -> Vec<u8> {
    let unknown = Unknown::decode(body.strip_prefix(MAGIC).expect("a body has the prefix")).unwrap();
    assert_eq!(unknown.content_encoding.as_deref(), Some(""));
    assert_eq!(unknown.content_type.as_deref(), Some(""));
    unknown.raw.unwrap_or_default()
}

/// The body that they would send.
fn body_of(api_version: &str, kind: &str, raw: Vec<u8>) -> Vec<u8> {
    let types = TypeMeta { api_version: Some(api_version.to_owned()), kind: Some(kind.to_owned()) };
    let unknown = Unknown { type_meta: Some(types), raw: Some(raw), ..Unknown::default() };
    [MAGIC, &unknown.encode_to_vec()].concat()
}

/// Whether all of `part` stands in `whole`, in its order.
fn is_within(part: &[String], whole: &[String]) -> bool {
    let mut rest = whole.iter();
    part.iter().all(|it| rest.any(|that| that == it))
}

/// The name of the last field in a path: neither a place in a list nor what only wraps a value.
fn last(path: &[String]) -> Option<&String> {
    const WRAPPERS: &[&str] = &["raw", "string", "intval", "strval", "seconds", "nanos", "items", "allows", "property"];
    path.iter().rev().find(|it| !WRAPPERS.contains(&it.as_str()) && it.parse::<usize>().is_err())
}

/// Says where a value that we wrote is not found, or stands in a field of another name.
fn compare(what: &str, ours: &[Leaf], theirs: &[Leaf], faults: &mut BTreeSet<String>) {
    let mut found: BTreeMap<&Token, &[String]> = theirs.iter().map(|it| (&it.token, it.path.as_slice())).collect();
    for leaf in ours.iter().filter(|it| !matches!(it.token, Token::Truth(_))) {
        match found.remove(&leaf.token) {
            None => drop(faults.insert(format!("{what}: {:?} is not found", leaf.path))),
            Some(path) if !is_within(&leaf.path, path) || last(&leaf.path) != last(path) => {
                faults.insert(format!("{what}: {:?} stands in {path:?}", leaf.path));
            }
            Some(_) => {}
        }
    }
    let truths = |of: &'_ [Leaf]| of.iter().filter(|it| it.token == Token::Truth(true)).count();
    // `allows` stands beside a schema, too.
    let allows = theirs.iter().filter(|it| it.path.last().is_some_and(|it| it == "allows")).count();
    if truths(ours) > truths(theirs) || truths(ours) + allows < truths(theirs) {
        faults.insert(format!("{what}: {} truths have become {}", truths(ours), truths(theirs)));
    }
    for leaf in ours.iter().filter(|it| it.token == Token::Truth(true)) {
        let fits = |it: &&Leaf| is_within(&leaf.path, &it.path) && last(&leaf.path) == last(&it.path);
        let nearest = theirs.iter().filter(fits).min_by_key(|it| it.path.len());
        if nearest.map(|it| &it.token) != Some(&leaf.token) {
            faults.insert(format!("{what}: the truth of {:?} is lost", leaf.path));
        }
    }
}

#[test]
fn another_implementation_reads_and_writes_the_same() {
    let kinds: Vec<_> = KINDS.iter().collect();
    let reviews: Vec<_> = REVIEWS.iter().collect();
    let schemas: Map<String, Value> = schema::schemas(&kinds, &reviews, schema::Form::V2).into_iter().collect();
    let mut all: Vec<(String, &str)> = KINDS.iter().map(|it| (it.api_version(), it.kind)).collect();
    all.extend(REVIEWS.iter().map(|it| (it.api_version(), it.kind)));
    all.extend(BESIDE.iter().map(|(version, kind)| ((*version).to_owned(), *kind)));
    let (mut faults, mut fields) = (BTreeSet::new(), BTreeMap::new());
    for (api_version, kind) in &all {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let gvk = json!({"group": group, "version": version, "kind": kind});
        let of = schemas.values().find(|it| it["x-kubernetes-group-version-kind"][0] == gvk);
        let of = of.unwrap_or_else(|| panic!("no schema of {kind} in {api_version}"));
        let read = types::reader(api_version, kind).unwrap_or_else(|| panic!("no type for {kind} in {api_version}"));
        for bit in 0..=TRUTH_BITS {
            let truths = if bit == 0 { Truths::All } else { Truths::Bit(bit - 1) };
            let Filled { mut object, leaves, .. } = Filled::of(&schemas, of, truths);
            object["apiVersion"] = api_version.as_str().into();
            object["kind"] = (*kind).into();
            let body = answer::of_value(&object).unwrap_or_else(|| panic!("no message of {kind} in {api_version}"));
            let (text, written) = read(&inside(&body)).unwrap_or_else(|why| panic!("{kind} in {api_version}: {why}"));
            let tree = Tree::parse(&text);
            compare(&format!("{api_version} {kind}"), &leaves, &tree.leaves(), &mut faults);
            if bit == 0 {
                assert!(written == inside(&body), "{kind} in {api_version} is written otherwise");
                let back = decode(&body_of(api_version, kind, written), "", "").unwrap();
                assert!(back == object, "{kind} in {api_version} came back otherwise");
                tree.note_fields(&mut fields);
            }
        }
    }
    assert!(faults.is_empty(), "{} faults: {faults:#?}", faults.len());
    let unset: Vec<&String> = fields.iter().filter(|(_, is_set)| !**is_set).map(|(name, _)| name).collect();
    assert_eq!(unset, OTHER_HALVES, "fields that they have and we do not");
    assert!(fields.len() > 900, "{}", fields.len());
}

#[test]
fn another_implementation_reads_lists_and_watches() {
    let object = |name: &str| {
        let map = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"k": name}});
        answer::message_of("ConfigMap", "v1", map.to_string().as_bytes()).unwrap()
    };
    let messages = [object("a"), object("b")];
    let meta = ListMeta { resource_version: "7", continue_token: "on", remaining: Some(3) };
    let mut body = Vec::new();
    answer::begin_list(&mut body, "v1", "ConfigMapList", &meta, messages.iter().map(Vec::len));
    messages.iter().for_each(|it| answer::item(&mut body, it));
    body.extend_from_slice(answer::END);
    let list = ConfigMapList::decode(inside(&body).as_slice()).unwrap();
    let head = list.metadata.unwrap();
    assert_eq!((head.resource_version.as_deref(), head.r#continue.as_deref()), (Some("7"), Some("on")));
    assert_eq!(head.remaining_item_count, Some(3));
    let names: Vec<_> = list.items.iter().map(|it| it.metadata.as_ref().unwrap().name.clone().unwrap()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(list.items[1].data["k"], "b");

    // Frames as client-go cuts them (`k8s.io/apimachinery/pkg/runtime/serializer/protobuf`, `LengthDelimitedFramer`): four bytes of length, and a
    // WatchEvent, whose object is a body of its own.
    let mut stream = Vec::new();
    answer::frame(&mut stream, "ADDED", "v1", "ConfigMap", &messages[0]);
    let failure = crate::status::Status::expired("too old").to_json();
    let failure = answer::message_of("Status", "v1", failure.to_string().as_bytes()).unwrap();
    answer::frame(&mut stream, "ERROR", "v1", "Status", &failure);
    let mut rest = stream.as_slice();
    let mut next = || {
        let (length, behind) = rest.split_first_chunk().unwrap();
        let (frame, behind) = behind.split_at(u32::from_be_bytes(*length) as usize);
        rest = behind;
        let event = WatchEvent::decode(frame).unwrap();
        let body = event.object.unwrap().raw.unwrap();
        let kind = Unknown::decode(&body[MAGIC.len()..]).unwrap().type_meta.unwrap().kind.unwrap();
        (event.r#type.unwrap(), kind, inside(&body))
    };
    let (event, kind, object) = next();
    assert_eq!((event.as_str(), kind.as_str()), ("ADDED", "ConfigMap"));
    assert_eq!(ConfigMap::decode(object.as_slice()).unwrap().data["k"], "a");
    let (event, kind, object) = next();
    assert_eq!((event.as_str(), kind.as_str()), ("ERROR", "Status"));
    let status = Status::decode(object.as_slice()).unwrap();
    assert_eq!((status.code, status.reason.as_deref()), (Some(410), Some("Expired")));
    assert!(rest.is_empty());
}

#[test]
fn schemas_of_either_form_are_read_by_another_implementation() {
    use k8s_pb::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
    let schema = json!({
        "type": "object", "maximum": 1.5, "minimum": -3,
        "default": {"a": [1, null]}, "enum": [null, "x", 2],
        "properties": {
            "list": {"type": "array", "items": {"type": "string"}},
            "tuple": {"items": [{"type": "string"}, {"type": "integer"}]},
            "free": {"additionalProperties": true}, "closed": {"additionalProperties": false},
            "map": {"additionalProperties": {"type": "string", "x-kubernetes-preserve-unknown-fields": false}},
            "needs": {"dependencies": {"a": ["b", "c"], "d": {"type": "object"}}},
        },
    });
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a"},
        "spec": {"group": "x.io", "names": {"plural": "as", "kind": "A"}, "scope": "Cluster", "versions": [version]},
    });
    let raw = inside(&answer::of_value(&object).unwrap());
    let theirs = CustomResourceDefinition::decode(raw.as_slice()).unwrap();
    let version = &theirs.spec.as_ref().unwrap().versions[0];
    let schema = version.schema.as_ref().unwrap().open_apiv3_schema.as_ref().unwrap();
    assert_eq!((schema.maximum, schema.minimum), (Some(1.5), Some(-3.0)));
    assert_eq!(schema.r#enum[0].raw.as_deref(), Some(&b"null"[..]));
    let field = |name: &str| &schema.properties[name];
    let items = |name: &str| field(name).items.as_ref().unwrap();
    assert_eq!(items("list").schema.as_ref().unwrap().r#type.as_deref(), Some("string"));
    assert_eq!(items("tuple").j_son_schemas.len(), 2);
    let rest = |name: &str| field(name).additional_properties.as_ref().unwrap();
    assert_eq!((rest("free").allows, rest("closed").allows, rest("map").allows), (Some(true), Some(false), Some(true)));
    assert!(rest("free").schema.is_none() && rest("map").schema.is_some());
    assert_eq!(field("needs").dependencies["a"].property, ["b", "c"]);
    let body = body_of("apiextensions.k8s.io/v1", "CustomResourceDefinition", theirs.encode_to_vec());
    assert_eq!(decode(&body, "", "").unwrap(), object);
}
