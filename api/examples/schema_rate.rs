//! How long it takes to prune, default and judge a custom object: `cargo run --release -p orlop-api --example schema_rate`.
//!
//! The schema has 100 fields with limits, the object takes about 3 kB; once without and once with rules in CEL, as a new object and as a change.

use std::hint::black_box;
use std::time::Instant;

use orlop_api::field::{Errors, Path};
use orlop_api::structural::Schema;
use serde_json::{Map, Value, json};

const ROUNDS: u32 = 20_000;

/// A schema of 100 fields, ten of which are objects of nine.
fn schema(rules: bool) -> Value {
    let section = |at: usize| {
        let mut fields = Map::new();
        for it in 0..9 {
            let field = match it % 4 {
                0 => json!({"type": "string", "maxLength": 64, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"}),
                1 => json!({"type": "integer", "minimum": 0, "maximum": 65535, "default": 80}),
                2 => json!({"type": "string", "enum": ["Always", "Never", "IfNotPresent"], "default": "Always"}),
                _ => json!({"type": "array", "maxItems": 16, "items": {"type": "string", "maxLength": 128}}),
            };
            fields.insert(format!("field{it}"), field);
        }
        let mut section = json!({"type": "object", "properties": fields, "required": ["field0"]});
        if rules {
            let rule = json!({"rule": "self.field1 > 0 && self.field3.all(it, it.size() < 128)", "message": format!("section {at} is odd")});
            section["x-kubernetes-validations"] = json!([rule]);
        }
        section
    };
    let sections: Map<String, Value> = (0..10).map(|it| (format!("section{it}"), section(it))).collect();
    json!({"type": "object", "properties": {"spec": {"type": "object", "properties": sections}}})
}

fn object() -> Value {
    let section = json!({
        "field0": "some-name", "field1": 8080, "field3": ["first value of a list", "second value of a list", "third"],
        "field4": "another-name", "field7": ["--verbose", "--listen=0.0.0.0:8080"], "field8": "a-third-name",
    });
    let sections: Map<String, Value> = (0..10).map(|it| (format!("section{it}"), section.clone())).collect();
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": sections})
}

// An example measures wall-clock time; the crate itself never looks at a clock.
#[allow(clippy::disallowed_methods)]
fn main() {
    let given = object();
    println!("object of {} bytes", given.to_string().len());
    for rules in [false, true] {
        let schema = Schema::parse(&schema(rules), &Path::new("schema"), false).expect("the schema is structural");
        let mut old = given.clone();
        schema.prune(&mut old);
        schema.default(&mut old);
        for before in [None, Some(&old)] {
            let mut spent = [0u128; 3];
            for _ in 0..ROUNDS {
                let mut object = black_box(given.clone());
                let begun = Instant::now();
                black_box(schema.prune(&mut object));
                let pruned = Instant::now();
                schema.default(&mut object);
                let defaulted = Instant::now();
                let mut errors = Errors::default();
                schema.validate(&object, before, &mut errors);
                assert!(errors.is_empty(), "{errors:?}");
                let ended = Instant::now();
                spent[0] += (pruned - begun).as_nanos();
                spent[1] += (defaulted - pruned).as_nanos();
                spent[2] += (ended - defaulted).as_nanos();
            }
            let [prune, default, judge] = spent.map(|it| it as f64 / f64::from(ROUNDS) / 1000.0);
            let how = match (rules, before.is_some()) {
                (false, false) => "new",
                (false, true) => "changed",
                (true, false) => "new, with rules",
                (true, true) => "changed, with rules",
            };
            println!(
                "{how}: prune {prune:.1} us, default {default:.1} us, validate {judge:.1} us, {} bytes of schema",
                schema.size_bytes()
            );
        }
    }
}
