//! What Kubernetes fills into a pod's specification where the user says nothing.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/core/v1/defaults.go`. [`default_spec`] holds for pods and templates alike;
//! [`default_pod_only`] adds what only a pod itself gets, so that a template stays as its author wrote it.

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, EmptyDirVolumeSource, HTTPGetAction, LifecycleHandler, ObjectFieldSelector,
    PodSpec, Probe, Volume,
};

use super::{pod_resources, resources};
use crate::kinds::checks::fill;

/// How long a pod may take to stop, in seconds.
pub const GRACE_PERIOD_SECONDS: i64 = 30;
/// 0644: the mode of files in volumes.
const FILE_MODE: i32 = 0o644;
/// One hour: how long projected service account tokens are valid, in seconds.
const TOKEN_EXPIRATION_SECONDS: i64 = 60 * 60;

/// Fills in what holds for pods and pod templates.
pub fn default_spec(spec: &mut PodSpec) {
    fill(&mut spec.dns_policy, "ClusterFirst");
    fill(&mut spec.restart_policy, "Always");
    fill(&mut spec.scheduler_name, "default-scheduler");
    spec.security_context.get_or_insert_with(Default::default);
    spec.termination_grace_period_seconds.get_or_insert(GRACE_PERIOD_SECONDS);
    // The older name of the field is kept equal to the newer.
    fill_alias(&mut spec.service_account_name, &mut spec.service_account);
    for flag in [&mut spec.host_network, &mut spec.host_pid, &mut spec.host_ipc] {
        flag.take_if(|it| !*it);
    }
    spec.node_name.take_if(|it| it.is_empty());
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        default_container(container);
    }
    for container in spec.ephemeral_containers.iter_mut().flatten() {
        fill_policies(
            container.image.as_deref(),
            &mut container.image_pull_policy,
            &mut container.termination_message_path,
            &mut container.termination_message_policy,
        );
    }
    for volume in spec.volumes.iter_mut().flatten() {
        default_volume(volume);
    }
}

/// Fills in what only pods get, not templates: requests from limits, host ports on the host's network, service links, and what the pod as
/// a whole asks for.
pub fn default_pod_only(spec: &mut PodSpec) {
    spec.enable_service_links.get_or_insert(true);
    let on_host = spec.host_network == Some(true);
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        if let Some(resources) = &mut container.resources
            && let Some(limits) = &resources.limits
        {
            let requests = resources.requests.get_or_insert_with(Default::default);
            for (name, limit) in limits {
                if !requests.contains_key(name) {
                    requests.insert(name.clone(), limit.clone());
                }
            }
        }
        for port in container.ports.iter_mut().flatten().filter(|_| on_host) {
            if port.host_port.unwrap_or(0) == 0 {
                port.host_port = Some(port.container_port);
            }
        }
    }
    pod_resources::default(spec);
}

fn fill_alias(name: &mut Option<String>, alias: &mut Option<String>) {
    if name.as_deref().unwrap_or_default().is_empty() {
        *name = alias.take();
    }
    name.take_if(|it| it.is_empty());
    alias.clone_from(name);
}

/// Fills in what every container says of its image and of its last words.
fn fill_policies(
    image: Option<&str>,
    pull: &mut Option<String>,
    message_path: &mut Option<String>,
    message_policy: &mut Option<String>,
) {
    fill(pull, if is_latest(image.unwrap_or_default()) { "Always" } else { "IfNotPresent" });
    fill(message_path, "/dev/termination-log");
    fill(message_policy, "File");
}

fn default_container(it: &mut Container) {
    fill_policies(
        it.image.as_deref(),
        &mut it.image_pull_policy,
        &mut it.termination_message_path,
        &mut it.termination_message_policy,
    );
    let resources = it.resources.get_or_insert_with(Default::default);
    resources::canonicalize(resources.limits.as_mut());
    resources::canonicalize(resources.requests.as_mut());
    for port in it.ports.iter_mut().flatten() {
        fill(&mut port.protocol, "TCP");
    }
    for source in it.env.iter_mut().flatten().filter_map(|it| it.value_from.as_mut()) {
        if let Some(field) = &mut source.field_ref {
            default_field(field);
        }
        if let Some(file) = &mut source.file_key_ref {
            file.optional.get_or_insert(false);
        }
    }
    for probe in [&mut it.liveness_probe, &mut it.readiness_probe, &mut it.startup_probe].into_iter().flatten() {
        default_probe(probe);
    }
    if let Some(lifecycle) = &mut it.lifecycle {
        for handler in [&mut lifecycle.post_start, &mut lifecycle.pre_stop].into_iter().flatten() {
            default_handler(handler);
        }
    }
}

fn default_handler(it: &mut LifecycleHandler) {
    if let Some(http) = &mut it.http_get {
        default_http(http);
    }
}

fn default_probe(it: &mut Probe) {
    let set = |field: &mut Option<i32>, value| {
        if field.unwrap_or(0) == 0 {
            *field = Some(value);
        }
    };
    set(&mut it.timeout_seconds, 1);
    set(&mut it.period_seconds, 10);
    set(&mut it.success_threshold, 1);
    set(&mut it.failure_threshold, 3);
    if let Some(http) = &mut it.http_get {
        default_http(http);
    }
    if let Some(grpc) = &mut it.grpc {
        grpc.service.get_or_insert_with(String::new);
    }
}

fn default_http(it: &mut HTTPGetAction) {
    fill(&mut it.path, "/");
    fill(&mut it.scheme, "HTTP");
}

fn default_field(it: &mut ObjectFieldSelector) {
    fill(&mut it.api_version, "v1");
}

fn default_files(files: Option<&mut Vec<DownwardAPIVolumeFile>>) {
    for field in files.into_iter().flatten().filter_map(|it| it.field_ref.as_mut()) {
        default_field(field);
    }
}

fn default_volume(it: &mut Volume) {
    if let Some(secret) = &mut it.secret {
        secret.default_mode.get_or_insert(FILE_MODE);
    } else if let Some(map) = &mut it.config_map {
        map.default_mode.get_or_insert(FILE_MODE);
    } else if let Some(downward) = &mut it.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        default_files(downward.items.as_mut());
    } else if let Some(projected) = &mut it.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            default_files(source.downward_api.as_mut().and_then(|it| it.items.as_mut()));
            if let Some(token) = &mut source.service_account_token {
                token.expiration_seconds.get_or_insert(TOKEN_EXPIRATION_SECONDS);
            }
        }
    } else if let Some(host) = &mut it.host_path {
        host.type_.get_or_insert_with(String::new);
    } else if let Some(claim) = it.ephemeral.as_mut().and_then(|it| it.volume_claim_template.as_mut()) {
        fill(&mut claim.spec.volume_mode, "Filesystem");
    } else if let Some(iscsi) = &mut it.iscsi {
        fill(&mut iscsi.iscsi_interface, "default");
    } else if let Some(rbd) = &mut it.rbd {
        fill(&mut rbd.pool, "rbd");
        fill(&mut rbd.user, "admin");
        fill(&mut rbd.keyring, "/etc/ceph/keyring");
    } else if let Some(image) = &mut it.image {
        let reference = image.reference.as_deref().unwrap_or_default();
        if image.pull_policy.is_none() {
            image.pull_policy = Some(if is_latest(reference) { "Always" } else { "IfNotPresent" }.to_owned());
        }
    } else if let Some(empty) = &mut it.empty_dir {
        if let Some(limit) = empty.size_limit.as_mut()
            && let Ok(quantity) = crate::quantity::Quantity::of(limit)
        {
            *limit = quantity.to_text();
        }
    } else if !has_source(it) {
        it.empty_dir = Some(EmptyDirVolumeSource::default());
    }
}

/// Whether any source is named. A volume without one is an empty directory.
fn has_source(it: &Volume) -> bool {
    it != &Volume { name: it.name.clone(), ..Volume::default() }
}

/// Whether an image's tag is `latest`, said or implied. A digest without a tag is none.
pub fn is_latest(image: &str) -> bool {
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    let last = name.rsplit('/').next().unwrap_or(name);
    match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(image: &str, latest: bool) {
        assert_eq!(is_latest(image), latest, "{image}");
    }

    #[test]
    fn reads_tags() {
        check("nginx", true);
        check("nginx:latest", true);
        check("nginx:1.27", false);
        check("localhost:5000/nginx", true);
        check("localhost:5000/nginx:1", false);
        check("nginx@sha256:00", false);
        check("nginx:latest@sha256:00", true);
    }
}
