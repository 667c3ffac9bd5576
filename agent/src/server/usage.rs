//! What this node uses, for who asks: `/stats/summary` and `/metrics/resource`, in the kubelet's forms.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

use super::Shared;
use crate::usage::{exposition, machine, summary};

/// The form of Prometheus' text.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The Summary API. `only_cpu_and_memory=true` leaves out what takes long.
pub async fn summary(State(shared): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let Some(host) = shared.logs.host() else { return starting() };
    let query = query.unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == "only_cpu_and_memory");
    let brief = match asked.as_ref().map_or("false", |(_, value)| value.as_ref()) {
        "true" | "1" => true,
        "false" | "0" | "" => false,
        other => {
            let why = format!("only_cpu_and_memory: Invalid value: {other:?}");
            return (StatusCode::BAD_REQUEST, why).into_response();
        }
    };
    let sample = match host.meter.sample(&host).await {
        Ok(it) => it,
        Err(error) => return failed(&error.to_string()),
    };
    let nothing = host.runtime.runs_nothing();
    let disk = if brief || nothing { None } else { host.meter.disk(&host).await };
    let node = summary::NodeFacts {
        name: &host.node_name,
        started: machine::started(),
        processes: if brief || nothing { None } else { machine::processes() },
    };
    Json(summary::of(&node, &sample, disk.as_deref(), brief)).into_response()
}

/// The resource metrics, which metrics-server reads.
pub async fn resource(State(shared): State<Shared>) -> Response {
    let Some(host) = shared.logs.host() else { return starting() };
    let text = match host.meter.sample(&host).await {
        Ok(it) => exposition::of(Some(&it)),
        Err(error) => {
            tracing::debug!(%error, "what containers use is not known");
            exposition::of(None)
        }
    };
    ([(header::CONTENT_TYPE, EXPOSITION)], text).into_response()
}

fn starting() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "the agent is starting").into_response()
}

fn failed(why: &str) -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, why.to_owned()).into_response()
}
