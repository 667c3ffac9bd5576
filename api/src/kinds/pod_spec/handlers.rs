//! The rules for probes and life-cycle hooks: one way each to look or to act, and sane numbers.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, GRPCAction, HTTPGetAction, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// Notes every mistake in the probes and hooks of a container that stands at `path`, in a pod that has `grace_seconds` to stop.
pub(super) fn validate(it: &Container, grace_seconds: Option<i64>, path: &Path, errors: &mut Errors) {
    if let Some(lifecycle) = &it.lifecycle {
        let path = path.child("lifecycle");
        if let Some(hook) = &lifecycle.post_start {
            validate_hook(hook, grace_seconds, &path.child("postStart"), errors);
        }
        if let Some(hook) = &lifecycle.pre_stop {
            validate_hook(hook, grace_seconds, &path.child("preStop"), errors);
        }
    }
    validate_alive(it.liveness_probe.as_ref(), || path.child("livenessProbe"), errors);
    if let Some(probe) = &it.readiness_probe {
        let path = path.child("readinessProbe");
        validate_probe(probe, &path, errors);
        if let Some(seconds) = probe.termination_grace_period_seconds {
            errors.invalid(path.child("terminationGracePeriodSeconds"), seconds, "must not be set for readinessProbes");
        }
    }
    validate_alive(it.startup_probe.as_ref(), || path.child("startupProbe"), errors);
}

/// A probe of which one success is enough.
fn validate_alive(probe: Option<&Probe>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    let Some(probe) = probe else { return };
    let path = path();
    validate_probe(probe, &path, errors);
    if let Some(threshold) = probe.success_threshold.filter(|it| *it != 1) {
        errors.invalid(path.child("successThreshold"), threshold, "must be 1");
    }
}

/// The ways to look or to act that a probe or hook may name.
#[derive(Default)]
struct Actions<'a> {
    exec: Option<&'a ExecAction>,
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
    grpc: Option<&'a GRPCAction>,
    sleep: Option<&'a SleepAction>,
    /// How long the pod has to stop, which no hook may sleep through.
    grace_seconds: Option<i64>,
}

fn validate_probe(it: &Probe, path: &Path, errors: &mut Errors) {
    let actions = Actions {
        exec: it.exec.as_ref(),
        http: it.http_get.as_ref(),
        tcp: it.tcp_socket.as_ref(),
        grpc: it.grpc.as_ref(),
        sleep: None,
        grace_seconds: None,
    };
    validate_actions(&actions, path, errors);
    for (field, number) in [
        ("initialDelaySeconds", it.initial_delay_seconds),
        ("timeoutSeconds", it.timeout_seconds),
        ("periodSeconds", it.period_seconds),
        ("successThreshold", it.success_threshold),
        ("failureThreshold", it.failure_threshold),
    ] {
        checks::not_negative(number.map(i64::from), || path.child(field), errors);
    }
    if let Some(seconds) = it.termination_grace_period_seconds.filter(|it| *it <= 0) {
        errors.invalid(path.child("terminationGracePeriodSeconds"), seconds, "must be greater than 0");
    }
}

fn validate_hook(it: &LifecycleHandler, grace_seconds: Option<i64>, path: &Path, errors: &mut Errors) {
    let actions = Actions {
        exec: it.exec.as_ref(),
        http: it.http_get.as_ref(),
        tcp: it.tcp_socket.as_ref(),
        grpc: None,
        sleep: it.sleep.as_ref(),
        grace_seconds,
    };
    validate_actions(&actions, path, errors);
}

fn validate_actions(actions: &Actions<'_>, path: &Path, errors: &mut Errors) {
    let mut seen = 0;
    // The second way and each after it are too many; they are named, and not looked into.
    let mut first = |field: &str, errors: &mut Errors| {
        seen += 1;
        let alone = seen == 1;
        if !alone {
            errors.forbidden(path.child(field), "may not specify more than 1 handler type");
        }
        alone
    };
    if let Some(exec) = actions.exec
        && first("exec", errors)
        && exec.command.as_ref().is_none_or(Vec::is_empty)
    {
        errors.required(path.child("exec").child("command"), "");
    }
    if let Some(http) = actions.http
        && first("httpGet", errors)
    {
        let path = path.child("httpGet");
        if http.path.as_deref().unwrap_or_default().is_empty() {
            errors.required(path.child("path"), "");
        }
        validate_port(&http.port, || path.child("port"), errors);
        checks::one_of(http.scheme.as_deref(), &["HTTP", "HTTPS"], || path.child("scheme"), errors);
        for header in http.http_headers.iter().flatten() {
            let good = |it: u8| it.is_ascii_alphanumeric() || it == b'-';
            if header.name.is_empty() || !header.name.bytes().all(good) {
                errors.invalid(
                    path.child("httpHeaders"),
                    &header.name,
                    "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
                );
            }
        }
    }
    if let Some(tcp) = actions.tcp
        && first("tcpSocket", errors)
    {
        validate_port(&tcp.port, || path.child("tcpSocket").child("port"), errors);
    }
    if let Some(grpc) = actions.grpc
        && first("grpc", errors)
    {
        checks::port_number(grpc.port, || path.child("grpc").child("port"), errors);
    }
    if let Some(sleep) = actions.sleep
        && first("sleep", errors)
        && let Some(grace) = actions.grace_seconds
        && !(0..=grace).contains(&sleep.seconds)
    {
        let why = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        errors.invalid(path.child("sleep"), sleep.seconds, why);
    }
    if seen == 0 {
        errors.required(path.clone(), "must specify a handler type");
    }
}

/// A port by number or by name.
pub(in crate::kinds) fn validate_port(port: &IntOrString, path: impl FnOnce() -> Path, errors: &mut Errors) {
    match port {
        IntOrString::Int(number) => checks::port_number(*number, path, errors),
        IntOrString::String(text) => {
            let complaints = name::port_name(text);
            if !complaints.is_empty() {
                let path = path();
                complaints.into_iter().for_each(|it| errors.invalid(path.clone(), text, it));
            }
        }
    }
}
