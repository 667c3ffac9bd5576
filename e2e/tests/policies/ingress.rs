//! Who may come in.

use anyhow::Result;

use crate::town::Town;

pub fn play(town: &Town<'_>) -> Result<()> {
    town.only("nx", "{ podSelector: {}, policyTypes: [Ingress] }")?;
    town.expect("default-deny-ingress", |it| it.target_ns() != "nx")?;
    town.expect_node_passes()?;

    town.only("nx", "{ podSelector: {}, policyTypes: [Ingress], ingress: [{}] }")?;
    town.expect("allow-all", |_| true)?;

    town.only("nx", "{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ podSelector: { matchLabels: { pod: b } } }] }] }")?;
    town.expect("from pods of the server's namespace, by PodSelector", |it| it.to != "nx/a" || it.from == "nx/b")?;

    town.only("nx", "{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ namespaceSelector: {} }] }] }")?;
    town.expect("from pods in all namespaces", |_| true)?;

    town.only("nx", "{ podSelector: { matchLabels: { pod: a } }, ingress: [{ from: [{ namespaceSelector: { matchLabels: { ns: ny } } }] }] }")?;
    town.expect("only from a different namespace, by NamespaceSelector", |it| {
        it.to != "nx/a" || it.source_ns() == "ny"
    })?;

    let default_label = "{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: ny } } }";
    town.only("nx", &format!("{{ podSelector: {{}}, ingress: [{{ from: [{default_label}] }}] }}"))?;
    town.expect("by the namespace's default label", |it| it.target_ns() != "nx" || it.source_ns() == "ny")?;

    let pods = "{ podSelector: { matchExpressions: [{ key: pod, operator: In, values: [b, c] }] } }";
    town.only("nx", &format!("{{ podSelector: {{ matchLabels: {{ pod: a }} }}, ingress: [{{ from: [{pods}] }}] }}"))?;
    town.expect("PodSelector with MatchExpressions", |it| {
        it.to != "nx/a" || ["nx/b", "nx/c"].contains(&it.from.as_str())
    })?;

    let not_x = "namespaceSelector: { matchExpressions: [{ key: ns, operator: NotIn, values: [nx] }] }";
    let b = "podSelector: { matchLabels: { pod: b } }";
    let of_a =
        |from: &str| format!("{{ podSelector: {{ matchLabels: {{ pod: a }} }}, ingress: [{{ from: [{from}] }}] }}");
    town.only("nx", &of_a(&format!("{{ {not_x} }}")))?;
    town.expect("NamespaceSelector with MatchExpressions", |it| it.to != "nx/a" || it.source_ns() != "nx")?;
    town.only("nx", &of_a(&format!("{{ {not_x} }}, {{ {b} }}")))?;
    town.expect("PodSelector or NamespaceSelector", |it| {
        it.to != "nx/a" || it.source_ns() != "nx" || it.from == "nx/b"
    })?;
    town.only("nx", &of_a(&format!("{{ {not_x}, {b} }}")))?;
    town.expect("PodSelector and NamespaceSelector", |it| it.to != "nx/a" || it.from == "ny/b")?;

    town.only(
        "nx",
        &of_a("{ podSelector: { matchLabels: { pod: b } } }, { podSelector: { matchLabels: { pod: c } } }"),
    )?;
    town.expect("any PodSelectors", |it| it.to != "nx/a" || ["nx/b", "nx/c"].contains(&it.from.as_str()))?;

    town.only("nx", "{ podSelector: { matchLabels: { pod: a } } }")?;
    town.policy("nx", "second", &of_a("{ podSelector: { matchLabels: { pod: b } } }"))?;
    town.expect("a second policy adds to the first", |it| it.to != "nx/a" || it.from == "nx/b")?;
    town.policy("nx", "third", "{ podSelector: {}, ingress: [{}] }")?;
    town.expect("allow-all takes precedence", |_| true)
}

pub fn ports(town: &Town<'_>) -> Result<()> {
    let from_y = "from: [{ namespaceSelector: { matchLabels: { ns: ny } } }]";
    let of_a = |rule: &str| format!("{{ podSelector: {{ matchLabels: {{ pod: a }} }}, ingress: [{{ {rule} }}] }}");
    town.only("nx", &of_a(&format!("{from_y}, ports: [{{ port: 81 }}]")))?;
    town.expect("based on ports", |it| it.to != "nx/a" || (it.source_ns() == "ny" && it.port == 81))?;

    town.policy("nx", "stacked", &of_a(&format!("{from_y}, ports: [{{ port: 80, protocol: TCP }}]")))?;
    town.expect("stacked policies with overlapping podSelectors", |it| it.to != "nx/a" || it.source_ns() == "ny")?;

    town.only("nx", &of_a("ports: [{ port: serve-81 }]"))?;
    town.expect("one named port", |it| it.to != "nx/a" || it.port == 81)?;
    town.only("nx", &of_a(&format!("{from_y}, ports: [{{ port: serve-80 }}]")))?;
    town.expect("a namespace at one named port", |it| it.to != "nx/a" || (it.source_ns() == "ny" && it.port == 80))?;

    town.only("nx", &of_a("ports: [{ port: 81, endPort: 90 }]"))?;
    town.expect("a range of ports", |it| it.to != "nx/a" || it.port == 81)?;
    town.only("nx", &of_a("ports: [{ protocol: TCP }]"))?;
    town.expect("any port of a protocol", |_| true)?;
    town.only("nx", &of_a("ports: [{ port: 81, protocol: UDP }]"))?;
    town.expect("no TCP where a policy specifies only UDP", |it| it.to != "nx/a")?;
    town.only("nx", &of_a("ports: [{ port: 80, protocol: SCTP }]"))?;
    town.expect("SCTP is not TCP, and isolates", |it| it.to != "nx/a")?;
    town.policy("nx", "policy", &of_a("ports: [{ port: 80, protocol: SCTP }, { port: 80 }]"))?;
    town.expect("SCTP and TCP", |it| it.to != "nx/a" || it.port == 80)
}
