//! Access to devices that others use: only namespaces with a label for it may ask for it, or be given it.
//!
//! In Kubernetes the kinds' strategies ask this, with the namespace before them; here what looks beyond one object is admission. It has
//! no name that `--disable-admission-plugins` knows there. Source: `pkg/apis/resource/... AuthorizedForAdmin`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::resource::v1::{DeviceRequest, ResourceClaim, ResourceClaimTemplate};
use orlop_api::draft::Draft;
use orlop_api::field::{Errors, Path};
use orlop_api::kind::Sub;
use orlop_api::status::{self, Status};

use super::{Sight, is};
use crate::stage::{Admission, Operation, Plugin, Subject};

const GROUP: &str = "resource.k8s.io";
const LABEL: &str = "resource.kubernetes.io/admin-access";

/// See the file's header.
pub struct AdminAccess {
    sight: Sight,
}

impl AdminAccess {
    /// Looks namespaces up there.
    pub fn new(sight: &Sight) -> Self {
        AdminAccess { sight: sight.clone() }
    }

    async fn is_for_admins(&self, namespace: &str) -> status::Result<bool> {
        let Some(found) = self.sight.find("Namespace", "", namespace).await? else { return Ok(false) };
        let namespace: Namespace = serde_json::from_slice(&found.json).map_err(Status::internal)?;
        Ok(namespace.metadata.labels.is_some_and(|it| it.get(LABEL).is_some_and(|it| it == "true")))
    }
}

fn requested(requests: Option<&Vec<DeviceRequest>>) -> Option<Path> {
    let is_for_admins =
        |it: &DeviceRequest| it.exactly.as_ref().is_some_and(|exactly| exactly.admin_access == Some(true));
    let index = requests?.iter().position(is_for_admins)?;
    Some(Path::new("spec").child("devices").child("requests").index(index).child("exactly").child("adminAccess"))
}

fn given(claim: &ResourceClaim) -> Option<Path> {
    let results = claim.status.as_ref()?.allocation.as_ref()?.devices.as_ref()?.results.as_ref()?;
    let index = results.iter().position(|it| it.admin_access == Some(true))?;
    let path = Path::new("status").child("allocation").child("devices").child("results");
    Some(path.index(index).child("adminAccess"))
}

/// Where the draft first has what only admins may have. What it had before is not asked for again: neither changes once it is there.
fn first(write: &Admission<'_>, draft: &Draft<'_>) -> Option<Path> {
    let creates = write.operation == Operation::Create;
    if let Some(template) = draft.get::<ResourceClaimTemplate>() {
        return requested(template.spec.spec.devices.as_ref()?.requests.as_ref()).filter(|_| creates);
    }
    let claim = draft.get::<ResourceClaim>()?;
    if write.sub == Some(Sub::Status) {
        let before = draft.old::<ResourceClaim>().and_then(given);
        return given(claim).filter(|_| before.is_none());
    }
    requested(claim.spec.devices.as_ref()?.requests.as_ref()).filter(|_| creates)
}

#[async_trait]
impl Plugin for AdminAccess {
    fn name(&self) -> &'static str {
        "AdminAccess"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        let is_of_claims = is(write.kind, GROUP, "ResourceClaim") || is(write.kind, GROUP, "ResourceClaimTemplate");
        is_of_claims && write.operation != Operation::Delete
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(path) = subject.draft.and_then(|it| first(write, it)) else { return Ok(()) };
        if self.is_for_admins(write.namespace).await? {
            return Ok(());
        }
        let mut errors = Errors::default();
        let why = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        errors.forbidden(path, why);
        Err(Status::invalid(GROUP, write.kind.kind, write.name, &errors))
    }
}
