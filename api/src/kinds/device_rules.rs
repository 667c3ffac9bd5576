//! What a claim on devices may ask for, and what classes and slices of devices have in common with it.
//!
//! In: specifications of `resource.k8s.io/v1`. Out: their defaults, what of them is not kept, and their mistakes. Fields of features that
//! Kubernetes 1.35 does not have by default (taints, shared counters, consumable capacity, binding conditions, extended resources) are
//! dropped, as it drops them. Source: `pkg/apis/resource/{v1/defaults,validation/validation}.go` and the strategies of `pkg/registry/resource`.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::NodeSelector;
use k8s_openapi::api::resource::v1::{
    DeviceClaim, DeviceConstraint, DeviceRequest, DeviceSelector, ExactDeviceRequest, OpaqueDeviceConfiguration,
    ResourceClaimSpec,
};
use serde_json::Value;

use crate::cel::types::Type;
use crate::cel::{Environment, Program};
use crate::field::{Errors, Path};
use crate::kinds::{disk_rules, pod_spec::scheduling};
use crate::name;

/// How many requests, constraints, configurations and names of requests a claim may list, each.
pub const ENTRIES_MAX: usize = 32;
/// How many requests one may choose from.
const ALTERNATIVES_MAX: usize = 8;
const EXPRESSION_LIMIT_BYTES: usize = 10 * 1024;
/// What an expression may be estimated to cost: `CELSelectorExpressionMaxCost`.
const EXPRESSION_COST_MAX: u64 = 1_000_000;
/// What a driver may be told, as JSON.
pub const RAW_LIMIT_BYTES: usize = 10 * 1024;
const POOL_LIMIT_BYTES: usize = 253;
const DRIVER_LIMIT_BYTES: usize = 63;
const IDENTIFIER_LIMIT_BYTES: usize = 32;
/// How many attributes and amounts a device may have together; expressions see no more.
pub const PROPERTIES_MAX: usize = 32;
/// How long the text of an attribute, or a version, may be.
pub const VALUE_LIMIT_BYTES: usize = 64;

const EXACT_COUNT: &str = "ExactCount";
const ALL: &str = "All";
const REFERENCE: &str =
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// Fills in what a claim leaves out, and drops what is not kept.
pub fn settle(spec: &mut ResourceClaimSpec) {
    let Some(devices) = &mut spec.devices else { return };
    for request in devices.requests.iter_mut().flatten() {
        if let Some(it) = &mut request.exactly {
            count(&mut it.allocation_mode, &mut it.count);
        }
        for it in request.first_available.iter_mut().flatten() {
            count(&mut it.allocation_mode, &mut it.count);
        }
    }
}

fn count(mode: &mut Option<String>, count: &mut Option<i64>) {
    let mode = mode.get_or_insert_default();
    if mode.is_empty() {
        EXACT_COUNT.clone_into(mode);
    }
    if mode == EXACT_COUNT && count.unwrap_or(0) == 0 {
        *count = Some(1);
    }
}

/// Drops the fields of a claim that belong to features which are off.
pub fn drop_disabled(spec: &mut ResourceClaimSpec) {
    let Some(devices) = &mut spec.devices else { return };
    for request in devices.requests.iter_mut().flatten() {
        if let Some(it) = &mut request.exactly {
            (it.tolerations, it.capacity) = (None, None);
        }
        for it in request.first_available.iter_mut().flatten() {
            (it.tolerations, it.capacity) = (None, None);
        }
    }
    for it in devices.constraints.iter_mut().flatten() {
        it.distinct_attribute = None;
    }
}

/// The names of a claim's requests, each with those that it may be answered by instead.
pub struct Requests<'a>(HashMap<&'a str, HashSet<&'a str>>);

impl<'a> Requests<'a> {
    /// The requests of a claim.
    pub fn of(spec: &'a ResourceClaimSpec) -> Self {
        let requests = spec.devices.iter().flat_map(|it| it.requests.iter().flatten());
        let of = |it: &'a DeviceRequest| {
            let others = it.first_available.iter().flatten().map(|it| it.name.as_str());
            (it.name.as_str(), others.collect())
        };
        Requests(requests.map(of).collect())
    }

    fn has(&self, reference: &str) -> bool {
        match reference.split_once('/') {
            None => self.0.contains_key(reference),
            Some((request, other)) => self.0.get(request).is_some_and(|it| it.contains(other)),
        }
    }

    /// Notes what is wrong with a list of references to requests.
    pub fn validate_all(&self, references: Option<&[String]>, path: &Path, errors: &mut Errors) {
        let references = references.unwrap_or_default();
        if !at_most(references.len(), ENTRIES_MAX, path, errors) {
            return;
        }
        for (at, it) in references.iter().enumerate() {
            self.validate(it, &path.index(at), errors);
        }
        duplicates(references.iter().map(String::as_str), path, errors);
    }

    /// Notes what is wrong with a reference to a request.
    pub fn validate(&self, reference: &str, path: &Path, errors: &mut Errors) {
        if reference.split('/').count() > 2 {
            return errors.invalid(path.clone(), reference, REFERENCE);
        }
        for part in reference.split('/') {
            label(part, path, errors);
        }
        if !self.has(reference) {
            errors.invalid(path.clone(), reference, REFERENCE);
        }
    }
}

/// Notes that there are too many of something; what there is is not looked at then.
pub fn at_most(count: usize, limit: usize, path: &Path, errors: &mut Errors) -> bool {
    if count > limit {
        errors.too_many(path.clone(), count, limit);
    }
    count <= limit
}

/// Notes texts that stand twice in a list.
pub fn duplicates<'a>(all: impl Iterator<Item = &'a str>, path: &Path, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for (at, it) in all.enumerate() {
        if !seen.insert(it) {
            errors.duplicate(path.index(at), it);
        }
    }
}

fn label(text: &str, path: &Path, errors: &mut Errors) {
    for complaint in name::dns1123_label(text) {
        errors.invalid(path.clone(), text, complaint);
    }
}

/// Notes what is wrong with the name of a device.
pub fn validate_device_name(text: &str, path: &Path, errors: &mut Errors) {
    label(text, path, errors);
}

/// Notes what is wrong with the name of a driver.
pub fn validate_driver(text: &str, path: &Path, errors: &mut Errors) {
    disk_rules::validate_driver(text, || path.clone(), errors);
}

/// Notes what is wrong with the name of a pool.
pub fn validate_pool(text: &str, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path.clone(), "");
    }
    if text.len() > POOL_LIMIT_BYTES {
        errors.too_long(path.clone(), POOL_LIMIT_BYTES);
    }
    for part in text.split('/') {
        for complaint in name::dns1123_subdomain(part) {
            errors.invalid(path.clone(), part, complaint);
        }
    }
}

/// Notes what is wrong with the name of an attribute or an amount: an identifier, behind a domain or not.
pub fn validate_property(text: &str, path: &Path, errors: &mut Errors) {
    let identifier = |text: &str, errors: &mut Errors| {
        if text.len() > IDENTIFIER_LIMIT_BYTES {
            errors.too_long(path.clone(), IDENTIFIER_LIMIT_BYTES);
        }
        for complaint in name::c_identifier(text) {
            errors.invalid(path.clone(), text, complaint);
        }
    };
    match text.split('/').collect::<Vec<_>>()[..] {
        [name] => identifier(name, errors),
        [domain, name] => {
            match domain {
                "" => errors.invalid(path.clone(), "", "the domain must not be empty"),
                domain => validate_driver(domain, path, errors),
            }
            match name {
                "" => errors.invalid(path.clone(), "", "the name must not be empty"),
                name => identifier(name, errors),
            }
        }
        _ => errors.invalid(path.clone(), text, "must not contain more than one slash"),
    }
}

/// Notes every mistake in a selector of nodes.
pub fn validate_nodes(selector: &NodeSelector, path: &Path, errors: &mut Errors) {
    scheduling::validate_node_selector(selector, path, errors);
}

/// Notes every mistake in a claim's specification, which stands at `path`.
pub fn validate_claim(spec: &ResourceClaimSpec, path: &Path, errors: &mut Errors) {
    let Some(devices) = &spec.devices else { return };
    let (path, names) = (path.child("devices"), Requests::of(spec));
    validate_requests(devices, &path.child("requests"), errors);
    let constraints = devices.constraints.as_deref().unwrap_or_default();
    let at = path.child("constraints");
    if at_most(constraints.len(), ENTRIES_MAX, &at, errors) {
        for (index, it) in constraints.iter().enumerate() {
            validate_constraint(it, &names, &at.index(index), errors);
        }
    }
    let configurations = devices.config.as_deref().unwrap_or_default();
    let at = path.child("config");
    if at_most(configurations.len(), ENTRIES_MAX, &at, errors) {
        for (index, it) in configurations.iter().enumerate() {
            names.validate_all(it.requests.as_deref(), &at.index(index).child("requests"), errors);
            validate_configuration(it.opaque.as_ref(), false, &at.index(index), errors);
        }
    }
}

fn validate_requests(devices: &DeviceClaim, path: &Path, errors: &mut Errors) {
    let requests = devices.requests.as_deref().unwrap_or_default();
    if !at_most(requests.len(), ENTRIES_MAX, path, errors) {
        return;
    }
    for (at, it) in requests.iter().enumerate() {
        validate_request(it, &path.index(at), errors);
    }
    duplicates(requests.iter().map(|it| it.name.as_str()), path, errors);
}

fn validate_request(it: &DeviceRequest, path: &Path, errors: &mut Errors) {
    label(&it.name, &path.child("name"), errors);
    let others = it.first_available.as_deref().unwrap_or_default();
    match (&it.exactly, others) {
        (None, []) => errors.required(path.clone(), "exactly one of `exactly` or `firstAvailable` is required"),
        (Some(_), [_, ..]) => errors.invalid(
            path.clone(),
            Value::Null,
            "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
        ),
        (Some(it), []) => validate_exact(it, &path.child("exactly"), errors),
        (None, others) => {
            let path = path.child("firstAvailable");
            if !at_most(others.len(), ALTERNATIVES_MAX, &path, errors) {
                return;
            }
            for (at, it) in others.iter().enumerate() {
                let path = path.index(at);
                label(&it.name, &path.child("name"), errors);
                validate_class(&it.device_class_name, &path.child("deviceClassName"), errors);
                validate_selectors(it.selectors.as_deref(), false, &path.child("selectors"), errors);
                validate_mode(it.allocation_mode.as_deref(), it.count, &path, errors);
            }
            duplicates(others.iter().map(|it| it.name.as_str()), &path, errors);
        }
    }
}

fn validate_exact(it: &ExactDeviceRequest, path: &Path, errors: &mut Errors) {
    validate_class(&it.device_class_name, &path.child("deviceClassName"), errors);
    validate_selectors(it.selectors.as_deref(), false, &path.child("selectors"), errors);
    validate_mode(it.allocation_mode.as_deref(), it.count, path, errors);
}

fn validate_class(text: &str, path: &Path, errors: &mut Errors) {
    if text.is_empty() {
        return errors.required(path.clone(), "");
    }
    for complaint in name::dns1123_subdomain(text) {
        errors.invalid(path.clone(), text, complaint);
    }
}

fn validate_mode(mode: Option<&str>, count: Option<i64>, path: &Path, errors: &mut Errors) {
    let count = count.unwrap_or(0);
    match mode.unwrap_or_default() {
        ALL if count != 0 => {
            errors.invalid(path.child("count"), count, "must not be specified when allocationMode is 'All'");
        }
        EXACT_COUNT if count <= 0 => errors.invalid(path.child("count"), count, "must be greater than zero"),
        ALL | EXACT_COUNT => {}
        other => errors.not_supported(path.child("allocationMode"), other, &[ALL, EXACT_COUNT]),
    }
}

fn validate_constraint(it: &DeviceConstraint, names: &Requests<'_>, path: &Path, errors: &mut Errors) {
    names.validate_all(it.requests.as_deref(), &path.child("requests"), errors);
    let path = path.child("matchAttribute");
    let Some(attribute) = &it.match_attribute else { return errors.required(path, "") };
    validate_property(attribute, &path, errors);
    if !attribute.contains('/') {
        let why = "a fully qualified name must be a domain and a name separated by a slash";
        errors.invalid(path, attribute, why);
    }
}

/// Notes every mistake in what drivers are told. What is stored already may be longer than is allowed now.
pub fn validate_configuration(
    opaque: Option<&OpaqueDeviceConfiguration>,
    stored: bool,
    path: &Path,
    errors: &mut Errors,
) {
    let path = path.child("opaque");
    let Some(it) = opaque else { return errors.required(path, "") };
    validate_driver(&it.driver, &path.child("driver"), errors);
    validate_raw(&it.parameters.0, stored, &path.child("parameters"), errors);
}

/// Notes what is wrong with a value of any form.
pub fn validate_raw(value: &Value, stored: bool, path: &Path, errors: &mut Errors) {
    match value {
        Value::Null => errors.required(path.clone(), ""),
        it if !stored && it.to_string().len() > RAW_LIMIT_BYTES => errors.too_long(path.clone(), RAW_LIMIT_BYTES),
        Value::Object(_) => {}
        _ => errors.invalid(path.clone(), "<value omitted>", "must be a valid JSON object"),
    }
}

/// What an expression sees of a device.
fn environment() -> &'static Environment {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let most = PROPERTIES_MAX as u64;
        let domain = Type::String(DRIVER_LIMIT_BYTES as u64);
        let identifier = Type::String(IDENTIFIER_LIMIT_BYTES as u64);
        let by_domain = |of: Type| {
            let inner = Type::Map(Arc::new((identifier.clone(), of)), most);
            Type::Map(Arc::new((domain.clone(), inner)), most)
        };
        let device = Type::object(
            "DRADevice",
            &[
                ("driver", domain.clone()),
                ("attributes", by_domain(Type::Dyn)),
                ("capacity", by_domain(Type::Opaque("kubernetes.Quantity"))),
            ],
        );
        Environment::new().with("device", device)
    })
}

/// Notes every mistake in selectors of devices. Expressions that are stored already were right when they came.
pub fn validate_selectors(selectors: Option<&[DeviceSelector]>, stored: bool, path: &Path, errors: &mut Errors) {
    let selectors = selectors.unwrap_or_default();
    if !at_most(selectors.len(), ENTRIES_MAX, path, errors) {
        return;
    }
    for (at, it) in selectors.iter().enumerate() {
        let path = path.index(at).child("cel");
        match &it.cel {
            None => errors.required(path, ""),
            Some(_) if stored => {}
            Some(it) => validate_expression(&it.expression, &path.child("expression"), errors),
        }
    }
}

fn validate_expression(text: &str, path: &Path, errors: &mut Errors) {
    if text.len() > EXPRESSION_LIMIT_BYTES {
        return errors.too_long(path.clone(), EXPRESSION_LIMIT_BYTES);
    }
    match Program::compile(text, environment(), &[]) {
        Err(error) => errors.invalid(path.clone(), text, error.text),
        Ok(program) => match program.result() {
            Type::Bool | Type::Dyn if program.estimated_cost() > EXPRESSION_COST_MAX => {
                errors.forbidden(path.clone(), "too complex, exceeds cost limit");
            }
            Type::Bool | Type::Dyn => {}
            other => {
                let why = format!("must evaluate to bool or the unknown type, not {other}");
                errors.invalid(path.clone(), text, why);
            }
        },
    }
}
