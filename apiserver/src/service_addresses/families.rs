//! Which families of addresses a service has. Pure.
//!
//! In: a service on its way into the store, as it stood before, and the families of the cluster. Out: `ipFamilyPolicy` and `ipFamilies` as they
//! are to be, and room for an address of each. What is malformed is left as it is: the kind's validation says what is wrong with it.
//! Source: `pkg/registry/core/service/storage/alloc.go` (`initIPFamilyFields`), KEP-563.

use std::net::IpAddr;

use orlop_api::field::Errors;
use orlop_api::ranges::Ranges;
use serde_json::{Map, Value, json};

use super::HEADLESS;

const V4: &str = "IPv4";
const V6: &str = "IPv6";
const SINGLE: &str = "SingleStack";
const PREFER: &str = "PreferDualStack";
const REQUIRE: &str = "RequireDualStack";

/// The family that is not this one.
fn other(family: &str) -> &'static str {
    if family == V4 { V6 } else { V4 }
}

/// The name of an address's family.
pub fn family_of(address: IpAddr) -> &'static str {
    if address.is_ipv4() { V4 } else { V6 }
}

/// What of a service's spec is about families. An empty policy is none.
#[derive(Clone, Debug, Default, PartialEq)]
struct Stack {
    policy: String,
    families: Vec<String>,
    ips: Vec<String>,
}

impl Stack {
    /// None where something is of a wrong type, or the two fields for addresses do not agree.
    fn of(spec: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| match spec.get(name) {
            None | Some(Value::Null) => Some(String::new()),
            Some(it) => it.as_str().map(str::to_owned),
        };
        let list = |name: &str| match spec.get(name) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(it) => it.as_array()?.iter().map(|it| it.as_str().map(str::to_owned)).collect(),
        };
        let mut ips: Vec<String> = list("clusterIPs")?;
        let first = text("clusterIP")?;
        match ips.first() {
            Some(it) if *it != first => return None,
            None if !first.is_empty() => ips.push(first),
            _ => {}
        }
        Some(Stack { policy: text("ipFamilyPolicy")?, families: list("ipFamilies")?, ips })
    }

    fn is_headless(&self) -> bool {
        self.ips.first().is_some_and(|it| it == HEADLESS)
    }

    /// Whether all that was given can be meant.
    fn is_sound(&self) -> bool {
        let policy = ["", SINGLE, PREFER, REQUIRE].contains(&self.policy.as_str());
        let families = match self.families.as_slice() {
            [one, another] => one != another,
            it => it.len() < 2,
        } && self.families.iter().all(|it| it == V4 || it == V6);
        let parsed: Option<Vec<IpAddr>> = self.ips.iter().map(|it| it.parse().ok()).collect();
        let ips = match parsed.as_deref() {
            Some([one, another]) => one.is_ipv4() != another.is_ipv4(),
            Some(it) => it.len() < 2,
            None => self.ips.len() == 1 && self.is_headless(),
        };
        let fits = parsed.iter().flatten().zip(&self.families).all(|(ip, family)| family_of(*ip) == family);
        policy && families && ips && fits
    }
}

/// Settles the families of a service. `old` is its spec as it stands.
///
/// # Errors
/// The mistakes, in Kubernetes' words, where the cluster does not have what is asked for.
pub fn settle(spec: &mut Map<String, Value>, old: Option<&Value>, ranges: &Ranges) -> Result<(), Errors> {
    let kind = |it: Option<&Value>| it.and_then(Value::as_str).unwrap_or("ClusterIP").to_owned();
    let is_same_type = old.is_some_and(|it| kind(it.get("type")) == kind(spec.get("type")));
    if kind(spec.get("type")) == "ExternalName" {
        return Ok(());
    }
    let Some(mut stack) = Stack::of(spec) else { return Ok(()) };
    let old = old.and_then(Value::as_object).and_then(Stack::of);
    if let Some(old) = &old {
        if trim(&mut stack, old) {
            spec.insert("clusterIPs".to_owned(), json!(stack.ips));
        }
        // A service that took what it got keeps it when the cluster becomes another: only who asks for a change gets one.
        let unchanged = is_same_type && stack.policy == PREFER && stack == *old && !old.families.is_empty();
        if unchanged {
            return Ok(());
        }
    }
    let has_selector = spec.get("selector").and_then(Value::as_object).is_some_and(|it| !it.is_empty());
    let free = stack.is_headless() && !has_selector;
    if stack.policy.is_empty() {
        let before = old.as_ref().map(|it| it.policy.clone()).filter(|it| !it.is_empty());
        stack.policy = before.unwrap_or_else(|| if free { REQUIRE } else { SINGLE }.to_owned());
    }
    if !stack.is_sound() || old.is_some_and(|it| gives_up(&stack, &it)) {
        return Ok(());
    }
    let mut errors = Errors::default();
    choose(&mut stack, free, ranges, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    spec.insert("ipFamilyPolicy".to_owned(), json!(stack.policy));
    spec.insert("ipFamilies".to_owned(), json!(stack.families));
    Ok(())
}

/// Who goes down to one family need not say which address he gives up: the second. Tells whether one is given up.
fn trim(stack: &mut Stack, old: &Stack) -> bool {
    if stack.policy != SINGLE || ![PREFER, REQUIRE].contains(&old.policy.as_str()) {
        return false;
    }
    if stack.families == old.families {
        stack.families.truncate(1);
    }
    let gives_up = stack.ips == old.ips && stack.ips.len() > 1;
    if gives_up {
        stack.ips.truncate(1);
    }
    gives_up
}

/// Whether a service that keeps both families leaves one out: nothing is put in its place, and validation asks for a policy that says so.
fn gives_up(stack: &Stack, old: &Stack) -> bool {
    let fewer = |now: &[String], before: &[String]| now.len() == 1 && before.len() == 2;
    stack.policy != SINGLE && (fewer(&stack.ips, &old.ips) || fewer(&stack.families, &old.families))
}

/// Chooses families for a sound stack with a policy. One that is `free` has no addresses of its own and no backends that we choose.
fn choose(stack: &mut Stack, free: bool, ranges: &Ranges, errors: &mut Errors) {
    let configured: Vec<&str> = ranges.iter().map(|it| family_of(it.addr())).collect();
    if stack.policy == SINGLE {
        for (field, count) in [("clusterIPs", stack.ips.len()), ("ipFamilies", stack.families.len())] {
            if count == 2 {
                let why = format!("must be RequireDualStack or PreferDualStack when multiple '{field}' are specified");
                errors.invalid("spec.ipFamilyPolicy", &stack.policy, why);
            }
        }
    }
    let given: Vec<IpAddr> = stack.ips.iter().filter_map(|it| it.parse().ok()).collect();
    for (at, ip) in given.iter().enumerate().skip(stack.families.len()) {
        let family = family_of(*ip);
        if configured.contains(&family) {
            stack.families.push(family.to_owned());
        } else {
            let why = format!("{family} is not configured on this cluster");
            errors.invalid(format!("spec.clusterIPs[{at}]").as_str(), &stack.ips, why);
        }
    }
    if !errors.is_empty() {
        return;
    }
    if !free {
        if stack.policy == REQUIRE && configured.len() < 2 {
            let why = "this cluster is not configured for dual-stack services";
            errors.invalid("spec.ipFamilyPolicy", &stack.policy, why);
        }
        for (at, family) in stack.families.iter().enumerate().filter(|it| !configured.contains(&it.1.as_str())) {
            errors.invalid(format!("spec.ipFamilies[{at}]").as_str(), family, "not configured on this cluster");
        }
    }
    if !errors.is_empty() {
        return;
    }
    if stack.families.is_empty() {
        stack.families.extend(configured.first().map(|it| (*it).to_owned()));
    }
    // Whoever writes a free service's endpoints may write addresses of both families, whatever the cluster has.
    if stack.policy != SINGLE && stack.families.len() == 1 && (free || configured.len() == 2) {
        stack.families.push(other(&stack.families[0]).to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_api::status::Status;

    const DUAL: &str = "10.96.0.0/16,fd00:10:96::/112";
    const ONLY_V4: &str = "10.96.0.0/16";
    const ONLY_V6: &str = "fd00:10:96::/112";

    /// `policy families ips` or the complaints.
    fn settled(spec: Value, old: Option<Value>, ranges: &str) -> String {
        let mut spec = spec.as_object().unwrap().clone();
        if let Err(it) = settle(&mut spec, old.as_ref(), &ranges.parse().unwrap()) {
            return Status::invalid("", "Thing", "web", &it).message;
        }
        let list = |name: &str| {
            let all = spec.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
        };
        let policy = spec.get("ipFamilyPolicy").and_then(Value::as_str).unwrap_or_default().to_owned();
        let ips = match list("clusterIPs").as_str() {
            "" => spec.get("clusterIP").and_then(Value::as_str).unwrap_or_default().to_owned(),
            several => several.to_owned(),
        };
        format!("{policy} {} {ips}", list("ipFamilies"))
    }

    fn check(spec: Value, ranges: &str, expected: &str) {
        assert_eq!(settled(spec.clone(), None, ranges), expected, "{spec}");
    }

    #[test]
    fn a_new_service_gets_what_the_cluster_has() {
        check(json!({}), ONLY_V4, "SingleStack IPv4 ");
        check(json!({}), ONLY_V6, "SingleStack IPv6 ");
        check(json!({}), DUAL, "SingleStack IPv4 ");
        check(json!({}), "fd00:10:96::/112,10.96.0.0/16", "SingleStack IPv6 ");
        check(json!({ "ipFamilyPolicy": PREFER }), DUAL, "PreferDualStack IPv4,IPv6 ");
        check(json!({ "ipFamilyPolicy": PREFER }), ONLY_V4, "PreferDualStack IPv4 ");
        check(json!({ "ipFamilyPolicy": PREFER, "ipFamilies": [V6] }), DUAL, "PreferDualStack IPv6,IPv4 ");
        check(json!({ "ipFamilyPolicy": REQUIRE }), DUAL, "RequireDualStack IPv4,IPv6 ");
        check(json!({ "ipFamilies": [V6] }), DUAL, "SingleStack IPv6 ");
        check(json!({ "clusterIP": "fd00:10:96::7" }), DUAL, "SingleStack IPv6 fd00:10:96::7");
        check(
            json!({ "clusterIP": "fd00:10:96::7", "ipFamilyPolicy": REQUIRE }),
            DUAL,
            "RequireDualStack IPv6,IPv4 fd00:10:96::7",
        );
        check(json!({ "type": "ExternalName" }), DUAL, "  ");
    }

    #[test]
    fn headless_services_have_families_without_addresses() {
        let chosen = json!({ "a": "b" });
        check(json!({ "clusterIP": "None", "selector": chosen }), DUAL, "SingleStack IPv4 None");
        check(
            json!({ "clusterIP": "None", "selector": chosen, "ipFamilyPolicy": PREFER }),
            DUAL,
            "PreferDualStack IPv4,IPv6 None",
        );
        check(json!({ "clusterIP": "None" }), ONLY_V4, "RequireDualStack IPv4,IPv6 None");
        check(json!({ "clusterIP": "None" }), ONLY_V6, "RequireDualStack IPv6,IPv4 None");
        check(json!({ "clusterIP": "None", "ipFamilyPolicy": SINGLE }), DUAL, "SingleStack IPv4 None");
    }

    #[test]
    fn what_the_cluster_has_not_is_refused() {
        let says = |spec: Value, ranges: &str, expected: &str| {
            let found = settled(spec.clone(), None, ranges);
            assert_eq!(found, format!("Thing \"web\" is invalid: spec.{expected}"), "{spec}");
        };
        says(
            json!({ "ipFamilyPolicy": REQUIRE }),
            ONLY_V4,
            "ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
        );
        says(
            json!({ "ipFamilies": [V6] }),
            ONLY_V4,
            "ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
        );
        says(
            json!({ "clusterIP": "fd00::7" }),
            ONLY_V4,
            "clusterIPs[0]: Invalid value: [\"fd00::7\"]: IPv6 is not configured on this cluster",
        );
        says(
            json!({ "ipFamilyPolicy": SINGLE, "ipFamilies": [V4, V6] }),
            DUAL,
            "ipFamilyPolicy: Invalid value: \"SingleStack\": must be RequireDualStack or PreferDualStack when multiple \
             'ipFamilies' are specified",
        );
    }

    #[test]
    fn what_is_malformed_is_left_to_validation() {
        for spec in [
            json!({ "ipFamilyPolicy": "Both" }),
            json!({ "ipFamilies": [V4, V4], "ipFamilyPolicy": PREFER }),
            json!({ "ipFamilies": [1] }),
            json!({ "ipFamilies": ["IPv5"] }),
            json!({ "clusterIP": "x", "clusterIPs": ["x"] }),
            json!({ "clusterIP": "10.0.0.1", "ipFamilies": [V6] }),
            json!({ "clusterIPs": ["10.0.0.1"] }),
            json!({ "clusterIP": "10.0.0.2", "clusterIPs": ["10.0.0.1"] }),
            json!({ "clusterIP": "None", "clusterIPs": ["None", "10.0.0.1"] }),
        ] {
            let mut map = spec.as_object().unwrap().clone();
            settle(&mut map, None, &DUAL.parse().unwrap()).unwrap();
            assert_eq!(Value::Object(map), spec);
        }
    }

    #[test]
    fn updates_go_up_and_down() {
        let one = json!({ "ipFamilyPolicy": SINGLE, "ipFamilies": [V4], "clusterIP": "10.96.0.7", "clusterIPs": ["10.96.0.7"] });
        let two = json!({ "ipFamilyPolicy": PREFER, "ipFamilies": [V4, V6], "clusterIP": "10.96.0.7",
            "clusterIPs": ["10.96.0.7", "fd00:10:96::7"] });
        let with = |base: &Value, policy: &str| {
            let mut it = base.clone();
            it["ipFamilyPolicy"] = policy.into();
            it
        };
        let check = |new: Value, old: &Value, ranges: &str, expected: &str| {
            assert_eq!(settled(new.clone(), Some(old.clone()), ranges), expected, "{new} after {old}");
        };
        check(with(&one, PREFER), &one, DUAL, "PreferDualStack IPv4,IPv6 10.96.0.7");
        check(with(&one, REQUIRE), &one, DUAL, "RequireDualStack IPv4,IPv6 10.96.0.7");
        check(with(&two, SINGLE), &two, DUAL, "SingleStack IPv4 10.96.0.7");
        check(with(&two, REQUIRE), &two, DUAL, "RequireDualStack IPv4,IPv6 10.96.0.7,fd00:10:96::7");
        // The policy stays if nothing is said of it.
        check(with(&two, ""), &two, DUAL, "PreferDualStack IPv4,IPv6 10.96.0.7,fd00:10:96::7");
        // One is left out without a word: validation refuses that.
        let mut fewer = with(&two, REQUIRE);
        fewer["ipFamilies"] = json!([V4]);
        check(fewer, &two, DUAL, "RequireDualStack IPv4 10.96.0.7,fd00:10:96::7");
        // The cluster went up or down, and this update is about something else.
        check(two.clone(), &two, ONLY_V4, "PreferDualStack IPv4,IPv6 10.96.0.7,fd00:10:96::7");
        check(with(&one, PREFER), &with(&one, PREFER), DUAL, "PreferDualStack IPv4 10.96.0.7");
    }
}
