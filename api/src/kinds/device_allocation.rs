//! The rules for the devices that a claim was given, and for what their drivers report of them: the status of a `ResourceClaim`.
//!
//! Source: `validateResourceClaimStatusUpdate` of `pkg/apis/resource/validation/validation.go`, and `dropDeallocatedStatusDevices` of
//! `pkg/registry/resource/resourceclaim/strategy.go`.

use std::collections::HashSet;

use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, NetworkDeviceData, ResourceClaimConsumerReference, ResourceClaimStatus,
};

use super::device_rules::{self as rules, Requests};
use crate::field::{Errors, Path};
use crate::kinds::{checks, conditions};

/// How many devices a claim may be given.
const RESULTS_MAX: usize = 32;
/// How many may use a claim at a time.
const CONSUMERS_MAX: usize = 256;
const CONDITIONS_MAX: usize = 8;
const INTERFACE_LIMIT_BYTES: usize = 256;
const HARDWARE_LIMIT_BYTES: usize = 128;
const ADDRESSES_MAX: usize = 16;
const SOURCES: &[&str] = &["FromClaim", "FromClass"];

/// A device, by its driver, pool and name.
type Device<'a> = [&'a str; 3];

fn given(allocation: Option<&AllocationResult>) -> HashSet<Device<'_>> {
    let results = allocation.and_then(|it| it.devices.as_ref()).and_then(|it| it.results.as_deref());
    results.unwrap_or_default().iter().map(|it| [it.driver.as_str(), &it.pool, &it.device]).collect()
}

fn device(it: &AllocatedDeviceStatus) -> Device<'_> {
    [&it.driver, &it.pool, &it.device]
}

/// Drops the fields of features that are off, and what drivers reported of devices that are given back.
pub fn settle(status: &mut ResourceClaimStatus, old: &ResourceClaimStatus) {
    if let Some(allocation) = &mut status.allocation {
        allocation.allocation_timestamp = None;
        for it in allocation.devices.iter_mut().flat_map(|it| it.results.iter_mut().flatten()) {
            (it.tolerations, it.share_id, it.consumed_capacity) = (None, None, None);
            (it.binding_conditions, it.binding_failure_conditions) = (None, None);
        }
    }
    let (before, now) = (given(old.allocation.as_ref()), given(status.allocation.as_ref()));
    let back: HashSet<Device<'_>> = before.difference(&now).copied().collect();
    if let Some(devices) = &mut status.devices {
        devices.iter_mut().for_each(|it| it.share_id = None);
        devices.retain(|it| !back.contains(&device(it)));
    }
    status.devices.take_if(|it| it.is_empty());
}

/// Notes every mistake in a status that replaces `old`. `deleted`: the claim is going away.
pub fn validate(
    status: &ResourceClaimStatus,
    old: &ResourceClaimStatus,
    deleted: bool,
    requests: &Requests<'_>,
    errors: &mut Errors,
) {
    let path = Path::new("status");
    let consumers = status.reserved_for.as_deref().unwrap_or_default();
    let at = path.child("reservedFor");
    if rules::at_most(consumers.len(), CONSUMERS_MAX, &at, errors) {
        for (index, it) in consumers.iter().enumerate() {
            validate_consumer(it, &at.index(index), errors);
        }
        rules::duplicates(consumers.iter().map(|it| it.uid.as_str()), &at, errors);
    }
    let at = path.child("devices");
    let known = given(status.allocation.as_ref());
    let mut seen = HashSet::new();
    let mut twice = Vec::new();
    for (index, it) in status.devices.iter().flatten().enumerate() {
        validate_device(it, &known, &at.index(index), errors);
        if !seen.insert(device(it)) {
            twice.push((index, it));
        }
    }
    for (index, it) in twice {
        errors.duplicate_text(at.index(index), device(it).join("/"), "");
    }
    if !consumers.is_empty() && status.allocation.is_none() {
        errors.forbidden(path.child("reservedFor"), "may not be specified when `allocated` is not set");
    } else if deleted {
        let before = old.reserved_for.as_deref().unwrap_or_default();
        if consumers.iter().any(|it| !before.contains(it)) {
            let why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set";
            errors.forbidden(path.child("reservedFor"), why);
        }
    }
    match (&status.allocation, &old.allocation) {
        (Some(new), Some(old)) => checks::immutable(new, old, path.child("allocation"), errors),
        (Some(new), None) => validate_allocation(new, requests, &path.child("allocation"), errors),
        (None, _) => {}
    }
}

fn validate_consumer(it: &ResourceClaimConsumerReference, path: &Path, errors: &mut Errors) {
    for (field, text) in [("resource", &it.resource), ("name", &it.name), ("uid", &it.uid)] {
        if text.is_empty() {
            errors.required(path.child(field), "");
        }
    }
}

fn validate_allocation(it: &AllocationResult, requests: &Requests<'_>, path: &Path, errors: &mut Errors) {
    if let Some(devices) = &it.devices {
        let results = devices.results.as_deref().unwrap_or_default();
        let at = path.child("devices").child("results");
        if rules::at_most(results.len(), RESULTS_MAX, &at, errors) {
            for (index, it) in results.iter().enumerate() {
                let at = at.index(index);
                requests.validate(&it.request, &at.child("request"), errors);
                rules::validate_driver(&it.driver, &at.child("driver"), errors);
                rules::validate_pool(&it.pool, &at.child("pool"), errors);
                rules::validate_device_name(&it.device, &at.child("device"), errors);
            }
        }
        let configurations = devices.config.as_deref().unwrap_or_default();
        let at = path.child("devices").child("config");
        // Those of the class, and those of the claim.
        if rules::at_most(configurations.len(), 2 * rules::ENTRIES_MAX, &at, errors) {
            for (index, it) in configurations.iter().enumerate() {
                let at = at.index(index);
                checks::one_of(Some(&it.source), SOURCES, || at.child("source"), errors);
                requests.validate_all(it.requests.as_deref(), &at.child("requests"), errors);
                rules::validate_configuration(it.opaque.as_ref(), false, &at, errors);
            }
        }
    }
    if let Some(selector) = &it.node_selector {
        rules::validate_nodes(selector, &path.child("nodeSelector"), errors);
    }
}

fn validate_device(it: &AllocatedDeviceStatus, known: &HashSet<Device<'_>>, path: &Path, errors: &mut Errors) {
    rules::validate_driver(&it.driver, &path.child("driver"), errors);
    rules::validate_pool(&it.pool, &path.child("pool"), errors);
    rules::validate_device_name(&it.device, &path.child("device"), errors);
    if !known.contains(&device(it)) {
        errors.invalid_text(path.clone(), device(it).join("/"), "must be an allocated device in the claim");
    }
    let list = it.conditions.as_deref();
    let _ = rules::at_most(list.map_or(0, <[_]>::len), CONDITIONS_MAX, &path.child("conditions"), errors);
    conditions::validate(list, || path.child("conditions"), errors);
    if let Some(data) = &it.data {
        rules::validate_raw(&data.0, false, &path.child("data"), errors);
    }
    if let Some(it) = &it.network_data {
        validate_network(it, &path.child("networkData"), errors);
    }
}

fn validate_network(it: &NetworkDeviceData, path: &Path, errors: &mut Errors) {
    for (field, text, limit_bytes) in [
        ("interfaceName", &it.interface_name, INTERFACE_LIMIT_BYTES),
        ("hardwareAddress", &it.hardware_address, HARDWARE_LIMIT_BYTES),
    ] {
        if text.as_ref().is_some_and(|it| it.len() > limit_bytes) {
            errors.too_long(path.child(field), limit_bytes);
        }
    }
    let addresses = it.ips.as_deref().unwrap_or_default();
    let path = path.child("ips");
    if !rules::at_most(addresses.len(), ADDRESSES_MAX, &path, errors) {
        return;
    }
    for (index, it) in addresses.iter().enumerate() {
        validate_address(it, &path.index(index), errors);
    }
    rules::duplicates(addresses.iter().map(String::as_str), &path, errors);
}

/// An address with the size of its network, in the one form in which both are written.
fn validate_address(text: &str, path: &Path, errors: &mut Errors) {
    match text.parse::<ipnet::IpNet>() {
        Err(_) => errors.invalid(
            path.clone(),
            text,
            "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)",
        ),
        Ok(it) if it.to_string() != text => {
            errors.invalid(path.clone(), text, format!("must be in canonical form (\"{it}\")"));
        }
        Ok(_) => {}
    }
}
