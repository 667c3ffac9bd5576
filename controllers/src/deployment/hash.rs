//! The hash of a pod template: a stable name for it. Only equality of the text matters, as replica sets are found by
//! their template, not by the hash; after a collision the deployment counts one up and hashes again.

use serde_json::Value;

/// Characters that spell no words, as `rand.SafeEncodeString` uses them.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Ten safe characters at the most for `template`, and for how often that collided.
pub fn of(template: &Value, collisions: Option<i32>) -> String {
    let mut text = canonical(template);
    if let Some(collisions) = collisions {
        text.push_str(&collisions.to_string());
    }
    // FNV-1a of 32 bits, as in Kubernetes; its decimal digits become safe characters.
    let sum = text.bytes().fold(0x811c_9dc5_u32, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    sum.to_string().bytes().map(|it| ALPHABET[usize::from(it) % ALPHABET.len()] as char).collect()
}

/// JSON with sorted keys and without nulls: equal for templates that mean the same.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(key, _)| *key);
            let fields: Vec<_> = fields
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_hash_is_stable() {
        let template = json!({ "spec": { "containers": [{ "name": "a", "image": "b" }] } });
        let reordered = json!({ "metadata": null, "spec": { "containers": [{ "image": "b", "name": "a" }] } });
        assert_eq!(of(&template, None), of(&reordered, None));
        assert_ne!(of(&template, None), of(&template, Some(1)));
        assert!(of(&template, None).len() <= 10);
    }
}
