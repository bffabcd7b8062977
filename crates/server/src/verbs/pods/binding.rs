//! Giving a pod its node.
//!
//! # Invariants
//! A pod gets a node once: two schedulers can't both bind it.

use std::sync::Arc;

use api::status::{self, Status};
use api::validate;
use http::StatusCode;
use serde_json::{Value, json};
use store::Store;

use crate::app::{App, Ask, Place};
use crate::body;
use crate::limits::CONFLICT_RETRIES_MAX;
use crate::object::{meta, metadata_mut};
use crate::outline::Outline;
use crate::reply::{self, Reply};
use crate::request::Query;
use crate::verbs::options::WriteOptions;
use crate::verbs::write::store_over;

/// The type of the body.
const BINDING: &str = "io.k8s.api.core.v1.Binding";

/// Answers a POST to `pods/NAME/binding`.
pub(crate) async fn bind<S: Store>(app: &Arc<App<S>>, ask: Ask, place: Place<'_>) -> Reply {
    let binding = body::document(BINDING, &ask.headers, ask.body).await?;
    let binding = binding.ok_or_else(|| status::bad_request("a Binding is needed"))?;
    if !meta(&binding, "name").is_empty() && meta(&binding, "name") != place.name {
        return Err(status::bad_request("name in URL does not match name in Binding object"));
    }
    assign(app, place, &binding, &ask.query).await
}

/// Answers a POST to `bindings`, which names the pod in its body.
pub(crate) async fn bind_named<S: Store>(app: &Arc<App<S>>, ask: Ask, namespace: Option<&str>) -> Reply {
    let binding = body::document(BINDING, &ask.headers, ask.body).await?;
    let binding = binding.ok_or_else(|| status::bad_request("a Binding is needed"))?;
    let kind = api::kinds::find("", "v1", "pods").ok_or_else(status::no_such_resource)?;
    let place = Place { kind, namespace, name: meta(&binding, "name") };
    assign(app, place, &binding, &ask.query).await
}

async fn assign<S: Store>(app: &Arc<App<S>>, place: Place<'_>, binding: &Value, query: &Query) -> Reply {
    let options = WriteOptions::parse(query)?;
    let node = binding["target"]["name"].as_str().unwrap_or_default();
    let errors = validate::binding(binding);
    if !errors.is_empty() {
        return Err(status::bad_request(validate::aggregate(&errors)));
    }
    let _turn = app.event_turns.other(place.kind);
    for _ in 0..CONFLICT_RETRIES_MAX {
        let entry = app.entry(place).await?;
        let mut pod = Outline::of_few_fields(place.kind, &entry)?;
        place_on(place, &mut pod.object, binding, node)?;
        if options.dry_run || store_over(app, place, &entry, pod).await?.is_some() {
            let success =
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
            return Ok(reply::json(StatusCode::CREATED, &success));
        }
    }
    Err(place.modified())
}

fn place_on(place: Place<'_>, pod: &mut Value, binding: &Value, node: &str) -> Result<(), Status> {
    let refuse = |why: String| status::conflict("", "pods/binding", place.name, &why);
    for field in ["uid", "resourceVersion"] {
        let (asked, found) = (meta(binding, field), meta(pod, field));
        if !asked.is_empty() && asked != found {
            return Err(refuse(format!(
                "Precondition failed: {field} in precondition: {asked}, {field} in object meta: {found}"
            )));
        }
    }
    if pod["metadata"]["deletionTimestamp"].is_string() {
        return Err(refuse(format!("pod {} is being deleted, cannot be assigned to a host", place.name)));
    }
    if let Some(there) = pod["spec"]["nodeName"].as_str().filter(|n| !n.is_empty()) {
        return Err(refuse(format!("pod {} is already assigned to node \"{there}\"", place.name)));
    }
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|g| !g.is_empty()) {
        return Err(refuse(format!("pod {} has non-empty .spec.schedulingGates", place.name)));
    }
    pod["spec"]["nodeName"] = node.into();
    for field in ["annotations", "labels"] {
        if let Some(added) = binding["metadata"][field].as_object().filter(|a| !a.is_empty()) {
            let metadata = metadata_mut(pod);
            let kept = metadata.entry(field).or_insert_with(|| json!({}));
            if let Some(kept) = kept.as_object_mut() {
                kept.extend(added.clone());
            }
        }
    }
    set_scheduled(pod);
    Ok(())
}

/// Sets the condition that says that the pod has a node.
pub(crate) fn set_scheduled(pod: &mut Value) {
    if !pod["status"].is_object() {
        pod["status"] = json!({});
    }
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName");
    }
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": crate::verbs::write::now(),
    });
    match pod["status"]["conditions"].as_array_mut() {
        Some(conditions) => {
            conditions.retain(|c| c["type"] != "PodScheduled");
            conditions.push(condition);
        }
        None => pod["status"]["conditions"] = json!([condition]),
    }
}
