//! What Kubernetes' conformance tests ask of API machinery, by plain HTTP against one cluster of separate binaries and hollow nodes: the life of
//! objects from the first write to the last finalizer.
//!
//! One boot, a scenario a behaviour, each in a namespace of its own. Each file's header names the tests that it stands for
//! (`test/conformance/testdata/conformance.yaml`).

#[path = "machinery/bootstrap.rs"]
mod bootstrap;
#[path = "machinery/core_kinds.rs"]
mod core_kinds;
#[path = "machinery/custom_owners.rs"]
mod custom_owners;
#[path = "machinery/devices.rs"]
mod devices;
#[path = "machinery/discovery.rs"]
mod discovery;
#[path = "machinery/disks.rs"]
mod disks;
#[path = "machinery/events.rs"]
mod events;
#[path = "machinery/fields.rs"]
mod fields;
#[path = "machinery/flow_control.rs"]
mod flow_control;
#[path = "machinery/garbage.rs"]
mod garbage;
#[path = "machinery/limits.rs"]
mod limits;
#[path = "machinery/namespaces.rs"]
mod namespaces;
#[path = "machinery/networks.rs"]
mod networks;
#[path = "machinery/operations.rs"]
mod operations;
#[path = "machinery/plain.rs"]
mod plain;
#[path = "machinery/protection.rs"]
mod protection;
#[path = "machinery/quotas.rs"]
mod quotas;
#[path = "machinery/scopes.rs"]
mod scopes;
#[path = "machinery/watches.rs"]
mod watches;

use anyhow::Result;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::scene::{self, Scenario};

/// How many play beside each other: two cores, and most of them wait.
const BESIDE: usize = 4;

/// Those that wait longest first.
const SCENARIOS: &[Scenario] = &[
    ("watches", watches::watches),
    ("operations-ranges", networks::service_ranges),
    ("service-ranges", bootstrap::service_ranges),
    ("garbage-controllers", garbage::controllers),
    ("garbage-foreground", garbage::foreground),
    ("garbage-two-owners", garbage::two_owners),
    ("garbage-circle", garbage::a_circle),
    ("garbage-deployments", garbage::deployments),
    ("garbage-absent", garbage::owners_that_are_none),
    ("garbage-custom", custom_owners::custom_objects),
    ("quota-lives", quotas::lives),
    ("quota-pods", quotas::pods),
    ("quota-objects", quotas::itself),
    ("quota-crowd", quotas::crowd),
    ("quota-scopes", scopes::scopes),
    ("fields-typed", fields::typed),
    ("limits", limits::limits),
    ("namespace-writes", namespaces::writes),
    ("namespace-order", namespaces::order),
    ("namespace-refused", namespaces::refused),
    ("chunks", watches::chunks),
    ("discovery", discovery::discovery),
    ("flow-control", flow_control::flow_control),
    ("events", events::events),
    ("protection", protection::protection),
    ("bootstrap", bootstrap::bootstrap),
    ("operations-core", core_kinds::operations),
    ("operations-network", networks::operations),
    ("operations-storage", disks::operations),
    ("operations-devices", devices::operations),
    ("inline-drivers", disks::inline_drivers),
    ("empty-keys", core_kinds::empty_keys),
    ("empty-values", core_kinds::empty_values),
];

#[test]
fn objects_live_as_in_kubernetes() -> Result<()> {
    Cluster::with(Options { hollow_nodes: 3, ..Options::default() }, |cluster| scene::play(cluster, SCENARIOS, BESIDE))
}
