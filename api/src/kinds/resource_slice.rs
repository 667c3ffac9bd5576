//! `ResourceSlice`: some of the devices that a driver has, and the nodes from which they can be reached.

use k8s_openapi::api::resource::v1::{Device, DeviceAttribute, ResourceSlice, ResourceSliceSpec};

use super::device_rules as rules;
use crate::cel::semver::Semver;
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Selectable, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::name;
use crate::table::Column;

const DEVICES_MAX: usize = 128;
const ONE_OF: &str = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";

impl Strategy for ResourceSlice {
    const NAMES: Names = Names { plural: "resourceslices", singular: "resourceslice", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "spec.driver", absent: "", from: &[] },
        Selectable { path: "spec.nodeName", absent: "", from: &[] },
    ];
    const COLUMNS: &'static [Column] = &[
        cells::text("Node", |it| cells::cell(&it["spec"]["nodeName"])).doc("NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and PerDeviceNodeSelection must be set. This field is immutable."),
        cells::text("Driver", |it| cells::cell(&it["spec"]["driver"])).doc("Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain owned by the vendor of the driver. It should use only lower case characters. This field is immutable."),
        cells::text("Pool", |it| cells::cell(&it["spec"]["pool"]["name"])).doc("Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required.\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by slashes. This field is immutable."),
        AGE,
    ];

    fn prepare(&mut self, _part: Part, _old: Option<&Self>) {
        drop_disabled(&mut self.spec);
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let (spec, path) = (&self.spec, Path::new("spec"));
        rules::validate_driver(&spec.driver, &path.child("driver"), errors);
        let pool = path.child("pool");
        rules::validate_pool(&spec.pool.name, &pool.child("name"), errors);
        if spec.pool.resource_slice_count <= 0 {
            let count = spec.pool.resource_slice_count;
            errors.invalid(pool.child("resourceSliceCount"), count, "must be greater than zero");
        }
        if spec.pool.generation < 0 {
            let why = "must be greater than or equal to zero";
            errors.invalid(pool.child("generation"), spec.pool.generation, why);
        }
        if let Some(old) = old.map(|it| &it.spec) {
            checks::immutable(&spec.pool.name, &old.pool.name, pool.child("name"), errors);
            checks::immutable(&spec.driver, &old.driver, path.child("driver"), errors);
            checks::immutable(&spec.node_name, &old.node_name, path.child("nodeName"), errors);
        }
        validate_reach(spec, &path, errors);
        let (devices, path) = (spec.devices.as_deref().unwrap_or_default(), path.child("devices"));
        if rules::at_most(devices.len(), DEVICES_MAX, &path, errors) {
            for (at, it) in devices.iter().enumerate() {
                validate_device(it, &path.index(at), errors);
            }
            rules::duplicates(devices.iter().map(|it| it.name.as_str()), &path, errors);
        }
    }
}

/// Drops the fields of features that are off.
fn drop_disabled(spec: &mut ResourceSliceSpec) {
    (spec.shared_counters, spec.per_device_node_selection) = (None, None);
    for it in spec.devices.iter_mut().flatten() {
        (it.taints, it.consumes_counters, it.allow_multiple_allocations) = (None, None, None);
        (it.node_name, it.node_selector, it.all_nodes) = (None, None, None);
        (it.binds_to_node, it.binding_conditions, it.binding_failure_conditions) = (None, None, None);
        for amount in it.capacity.iter_mut().flat_map(|it| it.values_mut()) {
            amount.request_policy = None;
        }
    }
}

/// From which nodes the devices can be reached: exactly one way of saying it.
fn validate_reach(spec: &ResourceSliceSpec, path: &Path, errors: &mut Errors) {
    let mut set = Vec::new();
    match spec.node_name.as_deref() {
        None => {}
        Some("") => {
            errors.invalid(path.child("nodeName"), "", "must be either unset or set to a non-empty string");
        }
        Some(node) => {
            set.push("`nodeName`");
            for complaint in name::dns1123_subdomain(node) {
                errors.invalid(path.child("nodeName"), node, complaint);
            }
        }
    }
    if let Some(selector) = &spec.node_selector {
        set.push("`nodeSelector`");
        let path = path.child("nodeSelector");
        rules::validate_nodes(selector, &path, errors);
        let terms = &selector.node_selector_terms;
        if terms.len() != 1 {
            errors.invalid(path.child("nodeSelectorTerms"), terms, "must have exactly one node selector term");
        }
    }
    match spec.all_nodes {
        None => {}
        Some(true) => set.push("`allNodes`"),
        Some(false) => errors.invalid(path.child("allNodes"), false, "must be either unset or set to true"),
    }
    match set[..] {
        [] => errors.required(path.clone(), ONE_OF),
        [_] => {}
        _ => {
            let shown = format!("{{{}}}", set.join(", "));
            errors.invalid(path.clone(), shown, format!("{ONE_OF}, but multiple fields are set"));
        }
    }
}

fn validate_device(it: &Device, path: &Path, errors: &mut Errors) {
    rules::validate_device_name(&it.name, &path.child("name"), errors);
    let count = it.attributes.as_ref().map_or(0, |it| it.len()) + it.capacity.as_ref().map_or(0, |it| it.len());
    if count > rules::PROPERTIES_MAX {
        let limit = rules::PROPERTIES_MAX;
        let why = format!("the total number of attributes and capacities must not exceed {limit}");
        errors.invalid(path.clone(), count, why);
    }
    let at = path.child("attributes");
    for (name, attribute) in it.attributes.iter().flatten() {
        rules::validate_property(name, &at, errors);
        validate_attribute(attribute, &at.key(name), errors);
    }
    for name in it.capacity.iter().flat_map(|it| it.keys()) {
        rules::validate_property(name, &path.child("capacity"), errors);
    }
}

fn validate_attribute(it: &DeviceAttribute, path: &Path, errors: &mut Errors) {
    let too_long = |text: &String| text.len() > rules::VALUE_LIMIT_BYTES;
    if it.string.as_ref().is_some_and(too_long) {
        errors.too_long(path.child("string"), rules::VALUE_LIMIT_BYTES);
    }
    if let Some(text) = &it.version {
        let path = path.child("version");
        if Semver::parse(text, false).is_none() {
            errors.invalid(path.clone(), text, "must be a string compatible with semver.org spec 2.0.0");
        }
        if too_long(text) {
            errors.too_long(path, rules::VALUE_LIMIT_BYTES);
        }
    }
    let set = [it.bool.is_some(), it.int.is_some(), it.string.is_some(), it.version.is_some()];
    match set.iter().filter(|it| **it).count() {
        0 => errors.invalid(path.clone(), "", "exactly one value must be specified"),
        1 => {}
        _ => errors.invalid(path.clone(), it, "exactly one value must be specified"),
    }
}
