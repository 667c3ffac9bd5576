//! Who may go out, and where to.

use anyhow::Result;

use crate::town::Town;

pub fn play(town: &Town<'_>) -> Result<()> {
    town.expect_names("nx/a", true)?;
    town.only("nx", "{ podSelector: {}, policyTypes: [Egress] }")?;
    town.expect("no egress from all pods in a namespace", |it| it.source_ns() != "nx")?;
    town.expect_names("nx/a", false)?;
    town.expect_names("ny/a", true)?;
    town.expect_node_passes()?;

    town.only("nx", "{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [] }")?;
    town.expect("no egress from pods, by PodSelector", |it| it.from != "nx/a")?;

    town.only("nx", "{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [{ ports: [{ port: serve-80 }] }] }")?;
    town.expect("one named port", |it| it.from != "nx/a" || it.port == 80)?;
    town.expect_names("nx/a", false)?;

    let dns = "{ ports: [{ port: 53, protocol: UDP }, { port: 53, protocol: TCP }] }";
    let peer = "{ namespaceSelector: { matchLabels: { ns: ny } }, podSelector: { matchLabels: { pod: a } } }";
    let spec = format!(
        "{{ podSelector: {{ matchLabels: {{ pod: a }} }}, policyTypes: [Egress], egress: [{dns}, {{ to: [{peer}] }}] }}"
    );
    town.only("nx", &spec)?;
    town.expect("a server in a different namespace, by both selectors", |it| it.from != "nx/a" || it.to == "ny/a")?;
    town.expect_names("nx/a", true)?;

    let system = "{ namespaceSelector: { matchLabels: { kubernetes.io/metadata.name: kube-system } }, \
                  podSelector: { matchLabels: { k8s-app: kube-dns } } }";
    town.only("nx", &format!("{{ podSelector: {{}}, policyTypes: [Egress], egress: [{{ to: [{system}] }}] }}"))?;
    town.expect("the DNS by its labels, and nothing else", |it| it.source_ns() != "nx")?;
    town.expect_names("nx/a", true)?;

    town.only("nx", "{ podSelector: {}, policyTypes: [Egress] }")?;
    town.policy("nx", "open", "{ podSelector: {}, policyTypes: [Egress], egress: [{}] }")?;
    town.expect("allow-all takes precedence", |_| true)?;
    town.expect_names("nx/a", true)
}

pub fn ranges(town: &Town<'_>) -> Result<()> {
    let server = town.addresses["ny/b"].clone();
    let all = "0.0.0.0/0";
    let of_a = |block: &str| {
        format!(
            "{{ podSelector: {{ matchLabels: {{ pod: a }} }}, policyTypes: [Egress], egress: [{{ to: [{{ ipBlock: {block} }}] }}] }}"
        )
    };
    town.only("nx", &of_a(&format!("{{ cidr: {server}/32 }}")))?;
    town.expect("a server in a CIDR block", |it| it.from != "nx/a" || it.to == "ny/b")?;
    town.only("nx", &of_a(&format!("{{ cidr: {all}, except: [{server}/32] }}")))?;
    town.expect("the except clause", |it| it.from != "nx/a" || it.to != "ny/b")?;
    town.policy("nx", "overlapping", &of_a(&format!("{{ cidr: {server}/32 }}")))?;
    town.expect("an address in one block and left out of another is allowed", |_| true)?;

    let client = town.addresses["nz/a"].clone();
    let from = |block: &str| {
        format!("{{ podSelector: {{ matchLabels: {{ pod: a }} }}, ingress: [{{ from: [{{ ipBlock: {block} }}] }}] }}")
    };
    town.only("nx", &from(&format!("{{ cidr: {client}/32 }}")))?;
    town.expect("ingress from a CIDR block", |it| it.to != "nx/a" || it.from == "nz/a")?;
    town.only("nx", &from(&format!("{{ cidr: {all}, except: [{client}/32] }}")))?;
    town.expect("ingress from all but a block", |it| it.to != "nx/a" || it.from != "nz/a")
}

pub fn both(town: &Town<'_>) -> Result<()> {
    town.only("nx", "{ podSelector: {}, policyTypes: [Ingress, Egress] }")?;
    town.expect("default-deny-all", |it| it.source_ns() != "nx" && it.target_ns() != "nx")?;

    let b = "[{ podSelector: { matchLabels: { pod: b } } }]";
    let spec = format!(
        "{{ podSelector: {{ matchLabels: {{ pod: a }} }}, policyTypes: [Ingress, Egress], ingress: [{{ from: {b} }}], \
         egress: [{{ ports: [{{ port: 80 }}] }}] }}"
    );
    town.only("nx", &spec)?;
    town.expect("ingress and egress together", |it| {
        (it.to != "nx/a" || it.from == "nx/b") && (it.from != "nx/a" || it.port == 80)
    })?;

    // The client's side denies, though the server's allows.
    town.only("nx", "{ podSelector: { matchLabels: { pod: a } }, policyTypes: [Egress], egress: [] }")?;
    let from_x = "{ namespaceSelector: { matchLabels: { ns: nx } } }";
    town.policy("ny", "server", &format!("{{ podSelector: {{}}, ingress: [{{ from: [{from_x}] }}] }}"))?;
    town.expect("egress is denied where the server allows it", |it| {
        it.from != "nx/a" && (it.target_ns() != "ny" || it.source_ns() == "nx")
    })
}
