//! The types that expressions see of a kind's objects: those of its published schema.
//!
//! In: a kind, built in or custom. Out: its type, to be looked at when an expression is checked and not when it runs. What the schema leaves open
//! (quantities, numbers or texts, preserved fields, a type within itself) is open here, too. Source: `SchemaDeclType` in
//! `k8s.io/apiserver/pkg/cel/common/schemas.go`, over the schemas of `/openapi/v3`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::schema::{self, Form};
use crate::cel::declare::escaped;
use crate::cel::types::{Field, ObjectType, Type, UNBOUNDED};
use crate::kind::Kind;

/// The type of a kind's objects.
pub fn type_of(kind: &Kind) -> Type {
    let schemas = schema::schemas(&[kind], &[], Form::V3);
    let mut reader = Reader { schemas: &schemas, known: HashMap::new(), open: Vec::new() };
    reader.named(&schema::name_of(kind))
}

struct Reader<'s> {
    schemas: &'s BTreeMap<String, Value>,
    known: HashMap<String, Type>,
    /// The types around the one at hand.
    open: Vec<String>,
}

impl Reader<'_> {
    fn named(&mut self, name: &str) -> Type {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let Some(schema) = self.schemas.get(name) else { return Type::Dyn };
        if self.open.iter().any(|it| it == name) {
            return Type::Dyn;
        }
        self.open.push(name.to_owned());
        let of = self.of(schema, name);
        self.open.pop();
        self.known.insert(name.to_owned(), of.clone());
        of
    }

    fn of(&mut self, schema: &Value, name: &str) -> Type {
        if let Some(to) = reference(schema) {
            return self.named(to);
        }
        let is = |mark: &str| schema[mark] == true;
        if is("x-kubernetes-preserve-unknown-fields") || is("x-kubernetes-int-or-string") {
            return Type::Dyn;
        }
        let format = schema["format"].as_str().unwrap_or_default();
        match schema["type"].as_str().unwrap_or_default() {
            "boolean" => Type::Bool,
            "integer" => Type::Int,
            "number" => Type::Double,
            "string" => match format {
                "byte" => Type::Bytes(UNBOUNDED),
                "date" | "date-time" => Type::Timestamp,
                "duration" => Type::Duration,
                _ => Type::TEXT,
            },
            "array" => Type::list(self.of(&schema["items"], "object")),
            "object" => match (&schema["additionalProperties"], schema["properties"].as_object()) {
                (values @ Value::Object(_), _) => Type::map(self.of(values, "object")),
                (_, Some(properties)) => {
                    let mut fields = Vec::with_capacity(properties.len());
                    for (key, of) in properties {
                        let Some(named) = escaped(key) else { continue };
                        fields.push(Field { name: named.into(), key: key.as_str().into(), of: self.of(of, "object") });
                    }
                    Type::Object(Arc::new(ObjectType::new(name, fields)))
                }
                _ => Type::Dyn,
            },
            _ => Type::Dyn,
        }
    }
}

/// The name of the type that a schema refers to, alone or beside a description.
fn reference(schema: &Value) -> Option<&str> {
    let direct = schema["$ref"].as_str().or_else(|| schema["allOf"][0]["$ref"].as_str());
    direct?.rsplit('/').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cel::{Environment, Program};
    use crate::kinds::KINDS;

    fn check(kind: &str, expression: &str, expected: Result<&str, &str>) {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let environment = Environment::new().with("object", type_of(kind));
        let made = Program::compile(expression, &environment, &[]);
        match (made, expected) {
            (Ok(it), Ok(of)) => assert_eq!(it.result().to_string(), of, "{expression}"),
            (Err(it), Err(words)) => assert!(it.text.contains(words), "{expression}: {}", it.text),
            (made, _) => panic!("{expression}: {made:?}"),
        }
    }

    #[test]
    fn built_in_kinds_have_the_types_of_their_schemas() {
        check("Deployment", "object.spec.replicas", Ok("int"));
        check("Deployment", "object.metadata.labels['app']", Ok("string"));
        check("Deployment", "object.metadata.creationTimestamp", Ok("google.protobuf.Timestamp"));
        check("Deployment", "object.spec.template.spec.containers.all(c, c.image.startsWith('a'))", Ok("bool"));
        // A number or a text, and a quantity: open.
        check("Deployment", "object.spec.strategy.rollingUpdate.maxSurge", Ok("dyn"));
        check("Pod", "object.spec.containers[0].resources.limits['cpu']", Ok("dyn"));
        check("Secret", "object.data['a']", Ok("bytes"));
        check(
            "Deployment",
            "object.spec.replicas > '1'",
            Err("no matching overload for '_>_' applied to '(int, string)'"),
        );
        check("Deployment", "object.spec.maxRetries", Err("undefined field 'maxRetries'"));
        // A type within itself ends somewhere.
        check("CustomResourceDefinition", "object.spec.versions[0].schema.openAPIV3Schema.type", Ok("string"));
    }
}
