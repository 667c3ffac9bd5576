//! What the kernel has, read from what `nft -j list table` writes. Pure.
//!
//! Only what can be compared is kept: names, the comments of rules, elements. A rule without our comment counts as a wrong one, so that
//! what somebody else has put into the table goes when it is next compared.

use serde_json::Value;

use super::table::{Chain, Rule, Set, Table};

/// The table in a listing; none if the listing has none.
///
/// # Errors
/// The text is no listing.
pub fn parse(text: &[u8]) -> Result<Option<Table>, serde_json::Error> {
    let listing: Value = serde_json::from_slice(text)?;
    let mut table = Table::default();
    let mut found = false;
    for it in listing["nftables"].as_array().into_iter().flatten() {
        found |= it["table"].is_object();
        let name = |it: &Value| it["name"].as_str().unwrap_or_default().to_owned();
        if let Some(chain) = it.get("chain") {
            table
                .chains
                .insert(name(chain), Chain { hook: chain["hook"].as_str().map(str::to_owned), rules: Vec::new() });
        } else if let Some(rule) = it.get("rule") {
            let chain = rule["chain"].as_str().unwrap_or_default();
            let digest = rule["comment"].as_str().unwrap_or_default().to_owned();
            // Chains come before rules in a listing; a rule whose chain did not come is of a chain that went in between.
            if let Some(chain) = table.chains.get_mut(chain) {
                chain.rules.push(Rule { text: String::new(), digest });
            }
        } else if let Some(set) = it.get("map").or_else(|| it.get("set")) {
            let elements =
                set["elem"].as_array().into_iter().flatten().map(|it| match it.as_array().map(Vec::as_slice) {
                    Some([key, value]) => (words(key), words(value)),
                    _ => (words(it), String::new()),
                });
            table.sets.insert(name(set), Set { elements: elements.collect(), ..Set::default() });
        }
    }
    Ok(found.then_some(table))
}

/// A key or a value as it is written in a rule.
fn words(value: &Value) -> String {
    if let Some(it) = value.get("elem") {
        return words(&it["val"]);
    }
    if let Some(parts) = value.get("concat").and_then(Value::as_array) {
        return parts.iter().map(words).collect::<Vec<_>>().join(" . ");
    }
    for verdict in ["goto", "jump"] {
        if let Some(chain) = value.get(verdict).and_then(|it| it["target"].as_str()) {
            return format!("{verdict} {chain}");
        }
    }
    match value {
        Value::String(it) => it.clone(),
        Value::Object(it) => it.keys().next().cloned().unwrap_or_default(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_reads_back() {
        let text = br#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "ip", "name": "v"}},
            {"map": {"name": "services", "elem": [
                [{"concat": ["10.0.0.1", "tcp", 80]}, {"goto": {"target": "endpoints_2"}}],
                [{"concat": ["10.0.0.2", "udp", 53]}, {"drop": null}],
                [{"concat": ["10.0.0.3", "udp", 53]}, {"jump": {"target": "x"}}]]}},
            {"map": {"name": "endpoints", "elem": [[{"concat": ["10.0.0.1", "tcp", 80, 1]}, {"concat": ["10.9.0.1", 8001]}]]}},
            {"set": {"name": "refused", "elem": [{"concat": ["10.0.0.3", "tcp", 80]}]}},
            {"set": {"name": "clients", "elem": [{"elem": {"val": "10.0.0.9", "expires": 9}}]}},
            {"chain": {"name": "output", "hook": "output"}}, {"chain": {"name": "endpoints_2"}},
            {"rule": {"chain": "output", "comment": "0123abcd"}}, {"rule": {"chain": "output"}}]}"#;
        let table = parse(text).unwrap().unwrap();
        let elements = |it: &str| table.sets[it].elements.clone().into_iter().collect::<Vec<_>>();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            elements("services"),
            [
                pair("10.0.0.1 . tcp . 80", "goto endpoints_2"),
                pair("10.0.0.2 . udp . 53", "drop"),
                pair("10.0.0.3 . udp . 53", "jump x")
            ]
        );
        assert_eq!(elements("endpoints"), [pair("10.0.0.1 . tcp . 80 . 1", "10.9.0.1 . 8001")]);
        assert_eq!(elements("refused"), [pair("10.0.0.3 . tcp . 80", "")]);
        assert_eq!(elements("clients"), [pair("10.0.0.9", "")]);
        let digests = |it: &str| table.chains[it].rules.iter().map(|it| it.digest.as_str()).collect::<Vec<_>>();
        assert_eq!(digests("output"), ["0123abcd", ""]);
        assert_eq!((digests("endpoints_2"), table.chains["output"].hook.as_deref()), (vec![], Some("output")));
        assert_eq!(parse(br#"{"nftables": []}"#).unwrap(), None);
        assert!(parse(b"oops").is_err());
    }
}
