//! `CSIDriver`: what a storage driver asks of the cluster.

use k8s_openapi::api::storage::v1::CSIDriver;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, NONE, list, str_of};
use crate::kinds::checks;
use crate::table::{Cell, Column};

const POLICIES: &[&str] = &["File", "None", "ReadWriteOnceWithFSType"];
/// Ten minutes, and 2^32: how long a token may be asked for, in seconds.
const TOKEN_SECONDS_LEAST: i64 = 10 * 60;
const TOKEN_SECONDS_LIMIT: i64 = 1 << 32;
const UPDATE_PERIOD_SECONDS_LEAST: i64 = 10;

impl Strategy for CSIDriver {
    const NAMES: Names = Names { plural: "csidrivers", singular: "csidriver", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        cells::flag("AttachRequired", |it| Cell::Flag(it["spec"]["attachRequired"].as_bool().unwrap_or(true)))
            .doc(".spec.attachRequired"),
        cells::flag("PodInfoOnMount", |it| Cell::Flag(it["spec"]["podInfoOnMount"] == true))
            .doc(".spec.podInfoOnMount"),
        cells::flag("StorageCapacity", |it| Cell::Flag(it["spec"]["storageCapacity"] == true))
            .doc(".spec.storageCapacity"),
        cells::text("TokenRequests", token_requests).doc(".spec.tokenRequests"),
        cells::flag("RequiresRepublish", |it| Cell::Flag(it["spec"]["requiresRepublish"] == true))
            .doc(".spec.requiresRepublish"),
        cells::text("Modes", modes).doc(".spec.volumeLifecycleModes"),
        AGE,
    ];

    fn default(&mut self) {
        let spec = &mut self.spec;
        spec.attach_required.get_or_insert(true);
        spec.pod_info_on_mount.get_or_insert(false);
        spec.storage_capacity.get_or_insert(false);
        spec.fs_group_policy.get_or_insert_with(|| "ReadWriteOnceWithFSType".into());
        let modes = spec.volume_lifecycle_modes.get_or_insert_with(Vec::new);
        if modes.is_empty() {
            modes.push("Persistent".into());
        }
        spec.requires_republish.get_or_insert(false);
        spec.se_linux_mount.get_or_insert(false);
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        // Kubernetes counts the changes of a driver, but not its beginning.
        (!std::ptr::eq(self, old)).then(|| self.spec != old.spec)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let (spec, path) = (&self.spec, Path::new("spec"));
        checks::none_or_one_of(spec.fs_group_policy.as_deref(), POLICIES, || path.child("fsGroupPolicy"), errors);
        let requests = spec.token_requests.as_deref().unwrap_or_default();
        for (at, request) in requests.iter().enumerate() {
            let path = || path.child("tokenRequests").index(at);
            if requests[..at].iter().any(|it| it.audience == request.audience) {
                errors.duplicate(path().child("audience"), &request.audience);
                continue;
            }
            let seconds = request.expiration_seconds.unwrap_or(TOKEN_SECONDS_LEAST);
            let path = || path().child("expirationSeconds");
            if seconds < TOKEN_SECONDS_LEAST {
                errors.invalid(path(), seconds, "may not specify a duration less than 10 minutes");
            } else if seconds > TOKEN_SECONDS_LIMIT {
                errors.invalid(path(), seconds, "may not specify a duration larger than 2^32 seconds");
            }
        }
        for mode in spec.volume_lifecycle_modes.iter().flatten() {
            let path = || path.child("volumeLifecycleModes");
            checks::none_or_one_of(Some(mode), &["Persistent", "Ephemeral"], path, errors);
        }
        let period = spec.node_allocatable_update_period_seconds;
        if let Some(period) = period.filter(|it| *it < UPDATE_PERIOD_SECONDS_LEAST) {
            let path = path.child("nodeAllocatableUpdatePeriodSeconds");
            errors.invalid(path, period, "must be greater than or equal to 10 seconds");
        }
        if let Some(is_secret) = spec.service_account_token_in_secrets.filter(|_| requests.is_empty()) {
            let why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
            errors.invalid(path.child("serviceAccountTokenInSecrets"), is_secret, why);
        }
        if let Some(old) = old {
            // The first field is misspelt in Kubernetes, too.
            let attach = path.child("attachedRequired");
            checks::immutable(&spec.attach_required, &old.spec.attach_required, attach, errors);
            let modes = path.child("volumeLifecycleModes");
            checks::immutable(&spec.volume_lifecycle_modes, &old.spec.volume_lifecycle_modes, modes, errors);
        }
    }
}

fn token_requests(it: &Value) -> Cell {
    let requests = &it["spec"]["tokenRequests"];
    Cell::Text(if requests.is_array() { cells::joined(requests, "audience") } else { "<unset>".to_owned() })
}

fn modes(it: &Value) -> Cell {
    let modes: Vec<&str> = list(&it["spec"]["volumeLifecycleModes"]).iter().map(str_of).collect();
    Cell::Text(if modes.is_empty() { NONE.to_owned() } else { modes.join(",") })
}
