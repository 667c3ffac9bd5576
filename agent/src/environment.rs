//! A container's environment: its variables with `$(VAR)` expanded, from values, ConfigMaps, Secrets, the pod's fields and its resources.
//!
//! Pure: what ConfigMaps and Secrets hold comes in as a [`Snapshot`]. The messages are the kubelet's, they show under
//! `CreateContainerConfigError`.

pub mod links;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod, ResourceFieldSelector};
use orlop_api::quantity::Quantity;

use crate::machine::ending::find;
use crate::network::ips::Ips;
use crate::references::{Kind, Snapshot};
use crate::resources::{Amount, amount};

/// What a pod may ask about where it runs.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub node_name: String,
    pub host_ips: Option<Ips>,
    pub pod_ips: Option<Ips>,
    /// What stands in for a limit that was not set.
    pub allocatable: BTreeMap<String, Quantity>,
}

/// Why there is no environment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EnvironmentError(pub String);

/// The variables in order; a later one of the same name replaces the earlier. `links` are those of services, which any other replaces.
///
/// # Errors
/// An object, key or field that is not optional is not there.
pub fn build(
    pod: &Pod,
    container: &Container,
    found: &Snapshot,
    place: &Place,
    links: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, EnvironmentError> {
    let mut variables = Variables(links);
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&source.config_map_ref, &source.secret_ref) {
            (Some(it), _) => (Kind::ConfigMap, &it.name, it.optional),
            (_, Some(it)) => (Kind::Secret, &it.name, it.optional),
            _ => continue,
        };
        match found.get(kind, name) {
            None if optional == Some(true) => {}
            None => return Err(missing(kind, name)),
            Some(data) => {
                for (key, value) in &data.entries {
                    variables.set(format!("{prefix}{key}"), text(value));
                }
            }
        }
    }
    for variable in container.env.iter().flatten() {
        if let Some(value) = value(pod, container, variable, found, place, &variables)? {
            variables.set(variable.name.clone(), value);
        }
    }
    Ok(variables.0)
}

/// Expands `$(VAR)` in a command or its arguments.
pub fn expand_all(words: Option<&Vec<String>>, environment: &[(String, String)]) -> Vec<String> {
    words
        .into_iter()
        .flatten()
        .map(|it| expand(it, |name| environment.iter().find(|it| it.0 == name).map(|it| it.1.clone())))
        .collect()
}

struct Variables(Vec<(String, String)>);

impl Variables {
    fn set(&mut self, name: String, value: String) {
        match self.0.iter_mut().find(|it| it.0 == name) {
            Some(it) => it.1 = value,
            None => self.0.push((name, value)),
        }
    }
}

fn value(
    pod: &Pod,
    container: &Container,
    variable: &EnvVar,
    found: &Snapshot,
    place: &Place,
    before: &Variables,
) -> Result<Option<String>, EnvironmentError> {
    let Some(from) = &variable.value_from else {
        let raw = variable.value.as_deref().unwrap_or_default();
        let lookup = |name: &str| before.0.iter().find(|it| it.0 == name).map(|it| it.1.clone());
        return Ok(Some(expand(raw, lookup)));
    };
    from_source(pod, container, from, found, place)
}

fn from_source(
    pod: &Pod,
    container: &Container,
    from: &EnvVarSource,
    found: &Snapshot,
    place: &Place,
) -> Result<Option<String>, EnvironmentError> {
    if let Some(it) = &from.field_ref {
        return field(pod, &it.field_path, place).map(Some);
    }
    if let Some(it) = &from.resource_field_ref {
        return resource(pod, container, it, place).map(Some);
    }
    let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
        (Some(it), _) => (Kind::ConfigMap, &it.name, &it.key, it.optional),
        (_, Some(it)) => (Kind::Secret, &it.name, &it.key, it.optional),
        _ => return Ok(None),
    };
    let optional = optional == Some(true);
    let Some(data) = found.get(kind, name) else {
        return if optional { Ok(None) } else { Err(missing(kind, name)) };
    };
    match data.entries.get(key) {
        Some(it) => Ok(Some(text(it))),
        None if optional => Ok(None),
        None => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            Err(EnvironmentError(format!("couldn't find key {key} in {} {namespace}/{name}", kind.name())))
        }
    }
}

fn missing(kind: Kind, name: &str) -> EnvironmentError {
    EnvironmentError(format!("{} {name:?} not found", kind.word()))
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

/// A field of the pod as text, by its path in the API.
///
/// # Errors
/// The path names no field that may be asked for.
pub fn field(pod: &Pod, path: &str, place: &Place) -> Result<String, EnvironmentError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    let own = |it: &Option<String>| it.clone().unwrap_or_default();
    let first = |it: Option<Ips>| it.map(|it| it.primary().to_string()).unwrap_or_default();
    // As the kubelet writes them: with commas between.
    let all = |it: Option<Ips>| it.map(|it| it.to_string()).unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return Err(unsupported(path)),
        };
        return Ok(map.and_then(|it| it.get(key)).cloned().unwrap_or_default());
    }
    Ok(match path {
        "metadata.name" => own(&meta.name),
        "metadata.namespace" => own(&meta.namespace),
        "metadata.uid" => own(&meta.uid),
        "metadata.labels" => listing(meta.labels.as_ref()),
        "metadata.annotations" => listing(meta.annotations.as_ref()),
        "spec.nodeName" => place.node_name.clone(),
        "spec.serviceAccountName" => spec.map(|it| own(&it.service_account_name)).unwrap_or_default(),
        "status.hostIP" => first(place.host_ips),
        "status.hostIPs" => all(place.host_ips),
        "status.podIP" => first(place.pod_ips),
        "status.podIPs" => all(place.pod_ips),
        _ => return Err(unsupported(path)),
    })
}

fn unsupported(path: &str) -> EnvironmentError {
    EnvironmentError(format!("unsupported fieldPath: {path}"))
}

/// `metadata.labels['key']` apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// Labels or annotations as the downward API writes them: `key="value"` lines in order.
fn listing(map: Option<&BTreeMap<String, String>>) -> String {
    map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect::<Vec<_>>().join("\n")
}

/// A text as Go quotes it (`%q`). What is printable is the same there and here.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0b' => out.push_str("\\v"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '"' | '\\' => out.extend(['\\', letter]),
            '\'' | '\u{20}' => out.push(letter),
            // A mark that goes with the letter before it is printable only there.
            it if format!("a{it}").escape_debug().count() == 2 => out.push(it),
            it if it.is_ascii() => out.push_str(&format!("\\x{:02x}", u32::from(it))),
            it if u32::from(it) <= 0xffff => out.push_str(&format!("\\u{:04x}", u32::from(it))),
            it => out.push_str(&format!("\\U{:08x}", u32::from(it))),
        }
    }
    out.push('"');
    out
}

/// A container's resource as a whole number of the divisor, rounded up.
///
/// # Errors
/// The selector names no resource or container.
pub fn resource(
    pod: &Pod,
    own: &Container,
    from: &ResourceFieldSelector,
    place: &Place,
) -> Result<String, EnvironmentError> {
    let container = match from.container_name.as_deref().filter(|it| !it.is_empty()) {
        None => own,
        Some(name) => find(pod, name).ok_or_else(|| EnvironmentError(format!("container {name} not found")))?,
    };
    let (which, resource) = match from.resource.split_once('.') {
        Some(("limits", it)) => (Amount::Limit, it),
        Some(("requests", it)) => (Amount::Request, it),
        _ => return Err(EnvironmentError(format!("unsupported container resource : {}", from.resource))),
    };
    let amount = amount(container, which, resource).or_else(|| {
        // A container without a limit may use all that the node hands out.
        place.allocatable.get(resource).filter(|_| which == Amount::Limit).cloned()
    });
    let divisor = from.divisor.as_ref().and_then(|it| Quantity::parse(&it.0).ok());
    let in_units = |it: &Quantity| if resource == "cpu" { it.milli_value_ceil() } else { it.value_ceil() };
    let unit = if resource == "cpu" { 1000 } else { 1 };
    let divisor = divisor.as_ref().map(in_units).filter(|it| *it > 0).unwrap_or(unit);
    let amount = amount.as_ref().map_or(0, in_units);
    Ok((amount.saturating_add(divisor - 1) / divisor).to_string())
}

/// Replaces each `$(NAME)` that is known; `$$` stands for a dollar sign; what is not known stays as written.
pub fn expand(raw: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|it| it.split_once(')')) {
            match lookup(name) {
                Some(value) => out.push_str(&value),
                None => out.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            out.push('$');
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::references::Data;

    #[test]
    fn expansion_is_kubernetes_own() {
        let check = |raw: &str, expected: &str| {
            assert_eq!(expand(raw, |name| (name == "A").then(|| "x".to_owned())), expected, "{raw}");
        };
        check("$(A)", "x");
        check("$$(A)", "$(A)");
        check("$$$(A)", "$x");
        check("$(B)-$(A)", "$(B)-x");
        check("$(A", "$(A");
        check("$A $", "$A $");
    }

    #[test]
    fn labels_and_annotations_are_quoted_as_go_quotes() {
        let check = |value: &str, expected: &str| {
            let map = BTreeMap::from([("k".to_owned(), value.to_owned())]);
            assert_eq!(listing(Some(&map)), format!("k={expected}"));
        };
        check("a 'b' \"c\" \\", r#""a 'b' \"c\" \\""#);
        check("1\n2\r3\t4", r#""1\n2\r3\t4""#);
        check("\x07\x08\x0b\x0c", r#""\a\b\v\f""#);
        check("\0\x1b\x7f", r#""\x00\x1b\x7f""#);
        check("é e\u{301} 漢 🦀", "\"é e\u{301} 漢 🦀\"");
        check("\u{a0}\u{200b}\u{e0001}", r#""\u00a0\u200b\U000e0001""#);
        assert_eq!(listing(None), "");
    }

    fn check(container: serde_json::Value, expected: Result<&[(&str, &str)], &str>) {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": "b"}},
            "spec": {"containers": [container]}
        }))
        .unwrap();
        let mut found = Snapshot::default();
        let data =
            Data { entries: BTreeMap::from([("k".into(), b"v".to_vec()), ("l".into(), b"w".to_vec())]), kind: None };
        found.0.insert((Kind::ConfigMap, "here".into()), Some(Arc::new(data)));
        found.0.insert((Kind::Secret, "gone".into()), None);
        let place = Place { node_name: "node".into(), ..Place::default() };
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let built = build(&pod, container, &found, &place, Vec::new());
        let expected = expected
            .map(|it| it.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>())
            .map_err(|it| EnvironmentError(it.to_owned()));
        assert_eq!(built, expected);
    }

    #[test]
    fn variables_come_from_every_source() {
        check(
            serde_json::json!({"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "1Mi"}},
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "here"}}, {"secretRef": {"name": "gone", "optional": true}}],
            "env": [
                {"name": "A", "value": "$(P_k)!"},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "here", "key": "l"}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Ki"}}},
                {"name": "F", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k", "optional": true}}},
                {"name": "G", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}
            ]}),
            Ok(&[
                ("P_k", "v"),
                ("P_l", "w"),
                ("A", "v!"),
                ("B", "w"),
                ("C", "b"),
                ("D", "2"),
                ("E", "1024"),
                ("G", "node"),
            ]),
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let from = |it: serde_json::Value| serde_json::json!({"name": "c", "env": [{"name": "A", "valueFrom": it}]});
        check(
            from(serde_json::json!({"secretKeyRef": {"name": "gone", "key": "k"}})),
            Err("secret \"gone\" not found"),
        );
        check(
            from(serde_json::json!({"configMapKeyRef": {"name": "here", "key": "z"}})),
            Err("couldn't find key z in ConfigMap n/here"),
        );
    }
}
